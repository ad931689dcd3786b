//! Holding the sender's virtio-net header against our own parse of the frame.
//!
//! Whoever completes a checksum later writes two bytes after inspection, at a place that the header names: a bypass, unless
//! the place is the one where our own parse finds the transport's checksum (attack H01). So the header is only believed
//! where it says what we would have said ourselves, and the header that leaves is built from [`Offload`], never copied.

use inspect::wire::{Checksums, FrameSum, Headers, Network, Transport};

use crate::frame::{ClaimedOffload, Offload};

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// How the parser is to judge checksums, going by what the header claims and by whether the frame was summed up as it was copied.
/// A claim that the data was validated is no reason to skip it (attack H02).
#[inline(always)]
pub(super) fn checksums(claimed: ClaimedOffload, sum: Option<FrameSum>) -> Checksums {
    if claimed.flags & NEEDS_CSUM != 0 {
        return Checksums::TransportPartial;
    }
    sum.map_or(Checksums::Verify, Checksums::VerifySummed)
}

#[inline(always)]
/// What is left to be done to the frame; `None` when the claims do not fit the frame.
pub(super) fn validate(claimed: ClaimedOffload, headers: &Headers) -> Option<Offload> {
    if claimed.is_none() {
        return Some(Offload::None);
    }
    if claimed.flags & !(NEEDS_CSUM | DATA_VALID) != 0 {
        return None;
    }
    if claimed.flags & NEEDS_CSUM == 0 {
        return (claimed.gso_type == GSO_NONE).then_some(Offload::None);
    }
    let csum_offset = match headers.transport {
        Transport::Tcp => 16,
        Transport::Udp => 6,
        Transport::None | Transport::Icmp4 | Transport::Icmp6 | Transport::Other => return None,
    };
    if claimed.csum_start != headers.transport_offset || claimed.csum_offset != csum_offset {
        return None;
    }
    let ecn = claimed.gso_type & GSO_ECN != 0;
    match (claimed.gso_type & !GSO_ECN, headers.network, headers.transport) {
        (GSO_NONE, _, _) => (!ecn).then_some(Offload::Checksum),
        (GSO_TCPV4, Network::Ipv4, Transport::Tcp) | (GSO_TCPV6, Network::Ipv6, Transport::Tcp) => {
            let payload_len = (headers.end as usize).saturating_sub(usize::from(headers.payload_offset));
            match claimed.gso_size {
                0 => None,
                size if payload_len <= usize::from(size) => Some(Offload::Checksum),
                size => Some(Offload::Segments { size, ecn }),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(network: Network, transport: Transport) -> Headers {
        Headers {
            network,
            transport,
            protocol: 6,
            network_offset: 14,
            transport_offset: 34,
            payload_offset: 54,
            end: 3_054,
            fragment: None,
        }
    }

    #[test]
    fn only_claims_that_our_parse_confirms_are_believed() {
        let tcp4 = headers(Network::Ipv4, Transport::Tcp);
        let claim = |flags, gso_type, gso_size, csum_start, csum_offset| ClaimedOffload {
            flags,
            gso_type,
            gso_size,
            csum_start,
            csum_offset,
        };
        let cases = [
            (claim(0, 0, 0, 0, 0), Some(Offload::None)),
            (claim(DATA_VALID, 0, 0, 0, 0), Some(Offload::None)),
            (claim(NEEDS_CSUM, 0, 0, 34, 16), Some(Offload::Checksum)),
            (claim(NEEDS_CSUM, 0, 0, 34, 6), None),
            (claim(NEEDS_CSUM, 0, 0, 14, 16), None),
            (claim(NEEDS_CSUM, 0, 0, u16::MAX, u16::MAX), None),
            (claim(NEEDS_CSUM, 1, 1_448, 34, 16), Some(Offload::Segments { size: 1_448, ecn: false })),
            (claim(NEEDS_CSUM, 1 | GSO_ECN, 1_448, 34, 16), Some(Offload::Segments { size: 1_448, ecn: true })),
            (claim(NEEDS_CSUM, 1, 3_000, 34, 16), Some(Offload::Checksum)),
            (claim(NEEDS_CSUM, 1, 0, 34, 16), None),
            (claim(NEEDS_CSUM, 4, 1_448, 34, 16), None),
            (claim(NEEDS_CSUM, 3, 1_448, 34, 16), None),
            (claim(NEEDS_CSUM, GSO_ECN, 0, 34, 16), None),
            (claim(0, 1, 1_448, 0, 0), None),
            (claim(0x80, 0, 0, 0, 0), None),
        ];
        for (claimed, expected) in cases {
            assert_eq!(validate(claimed, &tcp4), expected, "{claimed:?}");
        }
        let icmp = headers(Network::Ipv4, Transport::Icmp4);
        assert_eq!(validate(claim(NEEDS_CSUM, 0, 0, 34, 16), &icmp), None);
        let tcp6 = headers(Network::Ipv6, Transport::Tcp);
        let segments = Some(Offload::Segments { size: 1_428, ecn: false });
        assert_eq!(validate(claim(NEEDS_CSUM, 4, 1_428, 34, 16), &tcp6), segments);
    }
}
