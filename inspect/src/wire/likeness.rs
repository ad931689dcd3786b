//! Frames that are alike: what need not be checked again.
//!
//! A frame whose Ethernet and IPv4 headers are, but for length, identification and checksum, those of a frame that was found
//! sound, has sound addresses, type, version and options (none), time to live and protocol too. What is left to be checked is
//! what differs: lengths, both checksums, and the transport header.

use super::ethernet::HEADER_LEN as NETWORK_OFFSET;
use super::{Checksums, FRAME_LEN_MAX, Headers, Network, Transport, ipv4};

/// Where the transport header starts in frames that can be alike.
const TRANSPORT_OFFSET: usize = NETWORK_OFFSET + ipv4::HEADER_LEN;

/// What is read of a frame to begin with: the shortest transport header is there.
const HEAD_LEN: usize = TRANSPORT_OFFSET + ipv4::ALIKE_TRANSPORT_LEN;

/// What frames that are alike have in common: the Ethernet header, and of an IPv4 header without options all but its length,
/// identification and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likeness {
    words: [u64; 3],
    /// Flags and fragment offset, time to live, protocol. Zero (no protocol that can be alike) while it is of nothing.
    middle: u32,
}

/// The eight bytes at `AT` as they stand: they are only compared.
#[inline(always)]
fn word<const AT: usize>(head: &[u8; HEAD_LEN]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[AT..AT + 8]);
    u64::from_ne_bytes(bytes)
}

#[inline(always)]
fn words(head: &[u8; HEAD_LEN]) -> Likeness {
    Likeness { words: [word::<0>(head), word::<8>(head), word::<26>(head)], middle: word::<20>(head).to_le() as u32 }
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

    /// Whether `frame` is like the one that this is of, and sound: then its headers are written, the same as by
    /// [`super::parse_into`] for less. Of all others `into` means nothing, and [`super::parse_into`] says what they
    /// are. Not for frames of captures.
    #[inline(always)]
    pub fn accepts(&self, frame: &[u8], checksums: Checksums, into: &mut Headers) -> bool {
        let Some(head) = frame.first_chunk::<HEAD_LEN>() else { return false };
        let Self { words: [a, b, c], middle } = words(head);
        let differing =
            (a ^ self.words[0]) | (b ^ self.words[1]) | (c ^ self.words[2]) | u64::from(middle ^ self.middle);
        differing == 0
            && self.middle != 0
            && frame.len() <= FRAME_LEN_MAX
            && ipv4::accepts_alike(frame, checksums, into)
    }
}
