//! Frames that are alike: what need not be checked again.
//!
//! A frame whose Ethernet and IPv4 headers are, but for length, identification and checksum, those of a frame that was found
//! sound, has sound addresses, type, version and options (none), time to live and protocol too. What is left to be checked is
//! what differs: lengths, both checksums, and the transport header.

use super::ethernet::HEADER_LEN as NETWORK_OFFSET;
use super::{Checksums, FRAME_LEN_MAX, Headers, Malformed, Network, Transport, ipv4, u32_at, u64_at};

/// Where the transport header starts in frames that can be alike.
const TRANSPORT_OFFSET: usize = NETWORK_OFFSET + ipv4::HEADER_LEN;

/// What frames that are alike have in common: the Ethernet header, and of an IPv4 header without options all but its length,
/// identification and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likeness {
    words: [u64; 3],
    /// Flags and fragment offset, time to live, protocol. Zero (no protocol that can be alike) while it is of nothing.
    middle: u32,
}

#[inline(always)]
fn words(head: &[u8; TRANSPORT_OFFSET]) -> Likeness {
    Likeness { words: [u64_at::<0>(head), u64_at::<8>(head), u64_at::<26>(head)], middle: u32_at::<20>(head) }
}

impl Likeness {
    /// Like no frame.
    pub const NONE: Self = Self { words: [0; 3], middle: 0 };

    /// What a frame has in common with those that are like it. `headers` is what [`super::parse`] has found in it, checksums
    /// verified or left to be completed. Only TCP and UDP over IPv4 without options and not in fragments is like anything.
    pub fn of(frame: &[u8], headers: &Headers) -> Self {
        let can_be = headers.network == Network::Ipv4
            && matches!(headers.transport, Transport::Tcp | Transport::Udp)
            && usize::from(headers.transport_offset) == TRANSPORT_OFFSET;
        frame.first_chunk().filter(|_| can_be).map_or(Self::NONE, words)
    }

    /// Reads the headers of `frame` if it is like the one that this is of: then what [`super::parse_into`] would say of it, for
    /// less. Not for frames of captures.
    #[inline(always)]
    pub fn parse_into(&self, frame: &[u8], checksums: Checksums, into: &mut Headers) -> Option<Result<(), Malformed>> {
        let head = frame.first_chunk::<TRANSPORT_OFFSET>()?;
        let Self { words: [a, b, c], middle } = words(head);
        let differing =
            (a ^ self.words[0]) | (b ^ self.words[1]) | (c ^ self.words[2]) | u64::from(middle ^ self.middle);
        if differing != 0 || middle == 0 || frame.len() > FRAME_LEN_MAX {
            return None;
        }
        Some(ipv4::parse_alike(frame, checksums, into))
    }
}
