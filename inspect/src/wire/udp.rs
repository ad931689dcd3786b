//! The UDP header (RFC 768).

use super::{Checksums, Malformed, Network};

/// Length of the UDP header, in bytes.
pub(super) const HEADER_LEN: usize = 8;
/// Offset of the checksum in the header.
pub(super) const CHECKSUM_AT: usize = 6;

/// Checks the header and answers whether it carries a checksum.
#[inline(always)]
pub(super) fn check(segment: &[u8], network: Network, checksums: Checksums) -> Result<bool, Malformed> {
    let Some(&[s0, s1, d0, d1, l0, l1, c0, c1]) = segment.first_chunk::<HEADER_LEN>() else {
        return Err(Malformed::Truncated);
    };
    if [s0, s1] == [0, 0] {
        return Err(Malformed::SourcePortZero);
    }
    if [d0, d1] == [0, 0] {
        return Err(Malformed::DestinationPortZero);
    }
    // Shorter than the IP payload would hide bytes behind the datagram, longer would invent some.
    if usize::from(u16::from_be_bytes([l0, l1])) != segment.len() {
        return Err(Malformed::UdpLength);
    }
    let has_checksum = [c0, c1] != [0, 0];
    if !has_checksum && network == Network::Ipv6 && checksums.verifies_udp() {
        return Err(Malformed::UdpChecksumMissing);
    }
    Ok(has_checksum)
}
