//! The IPv4 header (RFC 791).

use super::ethernet::HEADER_LEN as NETWORK_OFFSET;
use super::fragment;
use super::transport::{self, Datagram};
use super::{Checksums, Fragment, Headers, Malformed, Network, checksum, protocol, u32_at, udp};

/// Length of an IPv4 header without options, in bytes.
pub(super) const HEADER_LEN: usize = 20;

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_LOOSE_SOURCE_ROUTE: u8 = 131;
const OPTION_STRICT_SOURCE_ROUTE: u8 = 137;

#[inline(always)]
pub(super) fn parse(frame: &[u8], checksums: Checksums, into: &mut Headers) -> Result<(), Malformed> {
    let Some(head) = frame.get(NETWORK_OFFSET..).and_then(|bytes| bytes.first_chunk::<HEADER_LEN>()) else {
        return Err(Malformed::Truncated);
    };
    let total_len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let end = NETWORK_OFFSET + total_len;
    if head[0] >> 4 != 4 {
        return Err(Malformed::IpVersion);
    }
    if end > frame.len() || total_len < HEADER_LEN {
        return Err(Malformed::Ipv4TotalLength);
    }
    let header_len = if head[0] == 0x45 {
        if !checksums.is_captured() && !checksum::is_sound(checksum::sum_ipv4_header(head)) {
            return Err(Malformed::Ipv4HeaderChecksum);
        }
        HEADER_LEN
    } else {
        check_options(&frame[NETWORK_OFFSET..end], checksums)?
    };
    if let Err(why) = check_addresses(u32_at::<12>(head), u32_at::<16>(head))
        && !checksums.is_captured()
    {
        return Err(why);
    }
    if head[8] == 0 {
        return Err(Malformed::TtlZero);
    }
    let datagram = Datagram {
        network: Network::Ipv4,
        protocol: head[9],
        offset: NETWORK_OFFSET + header_len,
        end,
        hop_limit: head[8],
        has_fragment_header: false,
    };
    // The reserved bit, MF and the offset, all zero in nearly every frame; DF means nothing to a receiver.
    if (head[6] & 0xbf) | head[7] != 0 {
        return parse_fragment(frame, head, &datagram, into);
    }
    transport::parse(frame, &datagram, checksums, into)
}

/// Length of the shortest transport header that frames that are alike have, in bytes.
pub(super) const ALIKE_TRANSPORT_LEN: usize = udp::HEADER_LEN;

/// Whether a frame is sound whose headers are those of a sound one but for length, identification and checksum; see
/// [`super::Likeness`]. If so, its headers are written.
#[inline(always)]
pub(super) fn accepts_alike(frame: &[u8], checksums: Checksums, into: &mut Headers) -> bool {
    let Some(head) = frame.get(NETWORK_OFFSET..).and_then(|bytes| bytes.first_chunk::<HEADER_LEN>()) else {
        return false;
    };
    let total_len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let end = NETWORK_OFFSET + total_len;
    if end > frame.len()
        || total_len < HEADER_LEN + ALIKE_TRANSPORT_LEN
        || !checksum::is_sound(checksum::sum_ipv4_header(head))
    {
        return false;
    }
    let datagram = Datagram {
        network: Network::Ipv4,
        protocol: head[9],
        offset: NETWORK_OFFSET + HEADER_LEN,
        end,
        hop_limit: head[8],
        has_fragment_header: false,
    };
    transport::accepts_common(frame, &datagram, checksums, into)
}

#[inline(always)]
fn check_addresses(source: u32, destination: u32) -> Result<(), Malformed> {
    let is_source_bad = source >> 28 == 0xe || source == u32::MAX || source >> 24 == 127;
    let is_destination_bad = destination == 0 || destination >> 24 == 127;
    if is_source_bad || is_destination_bad || source == destination {
        return Err(if is_source_bad {
            Malformed::SourceAddress
        } else if is_destination_bad {
            Malformed::DestinationAddress
        } else {
            Malformed::SourceIsDestination
        });
    }
    Ok(())
}

/// Checks a header that has options (or lies about its length) and answers its length.
#[cold]
fn check_options(datagram: &[u8], checksums: Checksums) -> Result<usize, Malformed> {
    let header_len = usize::from(datagram[0] & 0xf) * 4;
    if header_len < HEADER_LEN || header_len > datagram.len() {
        return Err(Malformed::Ipv4HeaderLength);
    }
    let header = &datagram[..header_len];
    if !checksums.is_captured() && checksum::fold(checksum::sum(header)) != 0xffff {
        return Err(Malformed::Ipv4HeaderChecksum);
    }
    let mut options = &header[HEADER_LEN..];
    while let [kind, rest @ ..] = options {
        options = match *kind {
            OPTION_END => break,
            OPTION_NOP => rest,
            OPTION_LOOSE_SOURCE_ROUTE | OPTION_STRICT_SOURCE_ROUTE if !checksums.is_captured() => {
                return Err(Malformed::Ipv4SourceRoute);
            }
            _ => {
                let len = usize::from(*rest.first().ok_or(Malformed::Ipv4OptionLength)?);
                if len < 2 {
                    return Err(Malformed::Ipv4OptionLength);
                }
                options.get(len..).ok_or(Malformed::Ipv4OptionLength)?
            }
        };
    }
    Ok(header_len)
}

#[cold]
fn parse_fragment(
    frame: &[u8],
    head: &[u8; HEADER_LEN],
    datagram: &Datagram,
    into: &mut Headers,
) -> Result<(), Malformed> {
    if head[6] & 0x80 != 0 {
        return Err(Malformed::Ipv4ReservedFlag);
    }
    let header_len = datagram.offset - NETWORK_OFFSET;
    let fragment = Fragment {
        identification: u32::from(u16::from_be_bytes([head[4], head[5]])),
        offset: (u16::from_be_bytes([head[6], head[7]]) & 0x1fff) << 3,
        more: head[6] & 0x20 != 0,
    };
    let payload = &frame[datagram.offset..datagram.end];
    fragment::check_length(&fragment, payload.len(), header_len)?;
    protocol::check_for_ipv4(datagram.protocol)?;
    if fragment.offset == 0 {
        fragment::check_first(datagram.protocol, payload)?;
    }
    *into = datagram.fragment_headers(fragment);
    Ok(())
}
