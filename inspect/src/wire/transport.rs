//! The step from the IP headers to what they carry: which transport, where its payload starts, whether its checksum holds.

use super::ethernet::HEADER_LEN as NETWORK_OFFSET;
use super::{
    Checksums, Fragment, FrameSum, Headers, Malformed, Network, Transport, checksum, icmp, protocol, tcp, udp,
};

/// What the IP headers say of the datagram, every offset within the frame.
#[derive(Clone, Copy)]
pub(super) struct Datagram {
    pub(super) network: Network,
    /// Protocol number of what stands at `offset`.
    pub(super) protocol: u8,
    /// Offset behind the IP headers, from the frame's start.
    pub(super) offset: usize,
    /// Offset behind the datagram; `offset <= end <= frame.len()`.
    pub(super) end: usize,
    pub(super) hop_limit: u8,
    /// Whether an IPv6 fragment header, if only an atomic one, was among the headers.
    pub(super) has_fragment_header: bool,
}

impl Datagram {
    /// The casts keep every value: header chains end below 17 KiB ([`crate::limits::EXTENSION_HEADERS_MAX`] headers of at
    /// most 2,048 bytes), frames below 64 KiB + 54.
    #[inline(always)]
    fn headers(&self, transport: Transport, transport_len: usize) -> Headers {
        Headers {
            network: self.network,
            transport,
            protocol: self.protocol,
            network_offset: NETWORK_OFFSET as u16,
            transport_offset: self.offset as u16,
            payload_offset: (self.offset + transport_len) as u16,
            end: self.end as u32,
            fragment: None,
        }
    }

    /// The headers of a fragment whose part of the datagram's payload starts at `offset`.
    pub(super) fn fragment_headers(&self, fragment: Fragment) -> Headers {
        Headers { fragment: Some(fragment), ..self.headers(Transport::None, 0) }
    }

    /// Checks a checksum that covers the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1).
    #[inline(always)]
    fn check_sum(&self, frame: &[u8], segment: &[u8], checksums: Checksums) -> Result<(), Malformed> {
        let pseudo = checksum::pseudo_header(frame, self.network, self.protocol, segment.len());
        let sum = match checksums {
            Checksums::VerifySummed(FrameSum(whole)) if self.end == frame.len() => {
                whole.wrapping_add(self.sum_to_take_off(frame))
            }
            _ => checksum::sum(segment),
        };
        // The pseudo-header holds the protocol, so the sum is not zero.
        if !checksum::is_sound(pseudo.wrapping_add(sum)) {
            return Err(Malformed::TransportChecksum);
        }
        Ok(())
    }
}

impl Datagram {
    /// What a frame's sum counts beside the segment's, as its complement: the IP headers of IPv6. (Those of IPv4 sum up to
    /// nothing, by their own checksum, which was verified.)
    #[inline(always)]
    fn sum_to_take_off(&self, frame: &[u8]) -> u64 {
        match self.network {
            Network::Ipv4 | Network::Arp => 0,
            Network::Ipv6 => u64::from(!checksum::fold(checksum::sum(&frame[NETWORK_OFFSET..self.offset]))),
        }
    }
}

#[inline(always)]
pub(super) fn parse(
    frame: &[u8],
    datagram: &Datagram,
    checksums: Checksums,
    into: &mut Headers,
) -> Result<(), Malformed> {
    let segment = &frame[datagram.offset..datagram.end];
    match datagram.protocol {
        protocol::TCP => {
            let len = tcp::check(segment)?;
            if checksums.verifies_tcp() {
                datagram.check_sum(frame, segment, checksums)?;
            }
            *into = datagram.headers(Transport::Tcp, len);
        }
        protocol::UDP => {
            let has_checksum = udp::check(segment, datagram.network, checksums)?;
            if checksums.verifies_udp() && has_checksum {
                datagram.check_sum(frame, segment, checksums)?;
            }
            *into = datagram.headers(Transport::Udp, udp::HEADER_LEN);
        }
        _ => *into = parse_uncommon(frame, datagram, segment, checksums)?,
    }
    Ok(())
}

/// Whether a datagram is TCP or UDP and sound: then, the same as [`parse`] for less.
#[inline(always)]
pub(super) fn accepts_common(frame: &[u8], datagram: &Datagram, checksums: Checksums, into: &mut Headers) -> bool {
    let segment = &frame[datagram.offset..datagram.end];
    if datagram.protocol == protocol::UDP {
        let Ok(has_checksum) = udp::check(segment, datagram.network, checksums) else { return false };
        if checksums.verifies_udp() && has_checksum && datagram.check_sum(frame, segment, checksums).is_err() {
            return false;
        }
        *into = Datagram { protocol: protocol::UDP, ..*datagram }.headers(Transport::Udp, udp::HEADER_LEN);
        return true;
    }
    datagram.protocol == protocol::TCP && accepts_tcp(frame, datagram, segment, checksums, into)
}

#[inline(never)]
fn accepts_tcp(frame: &[u8], datagram: &Datagram, segment: &[u8], checksums: Checksums, into: &mut Headers) -> bool {
    let Ok(len) = tcp::check(segment) else { return false };
    if checksums.verifies_tcp() && datagram.check_sum(frame, segment, checksums).is_err() {
        return false;
    }
    *into = Datagram { protocol: protocol::TCP, ..*datagram }.headers(Transport::Tcp, len);
    true
}

/// ICMP and the rest. ICMP checksums are never left to others: virtio-net offloads only TCP and UDP.
#[inline(never)]
fn parse_uncommon(
    frame: &[u8],
    datagram: &Datagram,
    segment: &[u8],
    checksums: Checksums,
) -> Result<Headers, Malformed> {
    match datagram.network {
        Network::Ipv4 => protocol::check_for_ipv4(datagram.protocol)?,
        Network::Ipv6 | Network::Arp => protocol::check_for_ipv6(datagram.protocol)?,
    }
    let is_checked = !checksums.is_captured();
    match datagram.protocol {
        protocol::ICMP4 => {
            icmp::check_length(segment)?;
            if is_checked && checksum::fold(checksum::sum(segment)) != 0xffff {
                return Err(Malformed::TransportChecksum);
            }
            Ok(datagram.headers(Transport::Icmp4, icmp::HEADER_LEN))
        }
        protocol::ICMP6 => {
            icmp::check_length(segment)?;
            if is_checked {
                datagram.check_sum(frame, segment, checksums)?;
            }
            icmp::check_neighbour_discovery(segment, datagram.hop_limit, datagram.has_fragment_header)?;
            Ok(datagram.headers(Transport::Icmp6, icmp::HEADER_LEN))
        }
        protocol::NO_NEXT_HEADER => Ok(datagram.headers(Transport::None, 0)),
        _ => Ok(datagram.headers(Transport::Other, 0)),
    }
}
