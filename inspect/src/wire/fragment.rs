//! Rules for single fragments, the same for both families. Putting them together is [`crate::fragments`]' work.

use super::{Fragment, Malformed, icmp, protocol, tcp, udp};

/// The largest datagram that either family's length field can describe, in bytes.
pub(super) const DATAGRAM_LEN_MAX: usize = 65_535;

/// Checks where a fragment of `len` bytes ends, in a datagram whose headers take `header_len` of the 65,535 bytes.
pub(super) fn check_length(fragment: &Fragment, len: usize, header_len: usize) -> Result<(), Malformed> {
    // A zero-length fragment fills nothing and is a favourite of reassembly bugs.
    if len == 0 || (fragment.more && !len.is_multiple_of(8)) {
        return Err(Malformed::FragmentLength);
    }
    if header_len + usize::from(fragment.offset) + len > DATAGRAM_LEN_MAX {
        return Err(Malformed::FragmentBeyondDatagram);
    }
    Ok(())
}

/// Checks that a first fragment holds the whole transport header (RFC 7112 section 5; RFC 1858 for IPv4), so that no
/// filter on the way ever has to guess ports or flags.
pub(super) fn check_first(number: u8, payload: &[u8]) -> Result<(), Malformed> {
    let needed = match number {
        protocol::TCP => match payload.get(12) {
            Some(data_offset) => tcp::HEADER_LEN.max(usize::from(data_offset >> 4) * 4),
            None => tcp::HEADER_LEN,
        },
        protocol::UDP => udp::HEADER_LEN,
        protocol::ICMP4 | protocol::ICMP6 => icmp::HEADER_LEN,
        protocol::NO_NEXT_HEADER => 0,
        // GRE, SCTP, ESP and their like keep what identifies them in the first 8 bytes.
        _ => 8,
    };
    if payload.len() < needed {
        return Err(Malformed::FirstFragmentIncomplete);
    }
    if number == protocol::ICMP6 && icmp::is_neighbour_discovery(payload[0]) {
        return Err(Malformed::NdFragmented);
    }
    Ok(())
}
