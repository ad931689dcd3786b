//! The virtio-net header (virtio 1.2 section 5.1.6.1): read from senders without believing it, built anew for receivers.
//!
//! The header that a receiver gets is never the sender's. Of what a sender claims, the pipeline has let through only what its
//! own parse of the frame bears out, as an [`Offload`]; from that, the parsed [`Headers`] and what the receiver negotiated,
//! the header is computed here.

use inspect::wire::checksum::expected_partial;
use inspect::wire::{Headers, Network, Transport};

use super::features::Features;
use crate::frame::{ClaimedOffload, Offload};

/// Length of the longest header form in bytes.
pub(crate) const HEADER_LEN_MAX: usize = 12;

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// Takes a sender's header apart.
pub(crate) fn claimed(header: &[u8; HEADER_LEN_MAX]) -> ClaimedOffload {
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    // Bytes 2 and 3 are hdr_len, a hint that we do not take; bytes 10 and 11 mean nothing from a sender.
    ClaimedOffload {
        flags: header[0],
        gso_type: header[1],
        gso_size: word(4),
        csum_start: word(6),
        csum_offset: word(8),
    }
}

/// Whether the sender says that the transport's checksum is not there yet.
#[inline(always)]
pub(crate) fn leaves_checksum(claimed: ClaimedOffload) -> bool {
    claimed.flags & F_NEEDS_CSUM != 0
}

/// A header to be written, as the two words that it is compared and stored by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetHeader {
    /// flags, gso_type, hdr_len, gso_size, csum_start.
    pub(crate) low: u64,
    /// csum_offset, and num_buffers above it (0 until it is known).
    pub(crate) high: u32,
}

impl NetHeader {
    fn new(flags: u8, gso_type: u8, hdr_len: u16, gso_size: u16, csum_start: u16, csum_offset: u16) -> Self {
        let low = u64::from(flags)
            | u64::from(gso_type) << 8
            | u64::from(hdr_len) << 16
            | u64::from(gso_size) << 32
            | u64::from(csum_start) << 48;
        Self { low, high: u32::from(csum_offset) }
    }

    /// The header of a frame that is complete; see [`complete_flags`].
    #[inline(always)]
    pub(crate) fn complete(flags: u8) -> Self {
        Self { low: u64::from(flags), high: 0 }
    }

    /// The header with its last field, the number of receive buffers that the frame takes.
    #[inline(always)]
    pub(crate) fn with_buffers(self, buffers: u16) -> Self {
        Self { high: self.high | u32::from(buffers) << 16, ..self }
    }

    /// The bytes of the header.
    pub(crate) fn bytes(self) -> [u8; HEADER_LEN_MAX] {
        let mut bytes = [0; HEADER_LEN_MAX];
        bytes[..8].copy_from_slice(&self.low.to_le_bytes());
        bytes[8..].copy_from_slice(&self.high.to_le_bytes());
        bytes
    }
}

/// How a frame can be handed to a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handing {
    /// As it is, under this header.
    Whole(NetHeader),
    /// After its transport checksum was completed.
    CompleteChecksum,
    /// Cut into segments of so many payload bytes, checksums completed.
    Segment(u16),
    /// Not at all: an offload that this kind of frame cannot have.
    Not,
}

/// Decides how a frame with this much left to be done reaches a receiver with these features.
#[inline(always)]
pub(crate) fn handing(offload: Offload, headers: &Headers, receiver: Features) -> Handing {
    match offload {
        Offload::None => Handing::Whole(NetHeader::complete(complete_flags(headers, receiver))),
        Offload::Checksum => partial(headers, receiver),
        Offload::Segments { size, ecn } => segments(size, ecn, headers, receiver),
    }
}

/// A checksum that we verified need not be verified again. Fragments and other protocols were not.
#[inline(always)]
pub(crate) fn complete_flags(headers: &Headers, receiver: Features) -> u8 {
    let verified = matches!(headers.transport, Transport::Tcp | Transport::Udp) && headers.fragment.is_none();
    if verified && receiver.has(Features::GUEST_CSUM) { F_DATA_VALID } else { 0 }
}

fn partial(headers: &Headers, receiver: Features) -> Handing {
    match expected_partial(headers) {
        None => Handing::Not,
        Some((start, offset)) if receiver.has(Features::GUEST_CSUM) => {
            Handing::Whole(NetHeader::new(F_NEEDS_CSUM, GSO_NONE, 0, 0, start, offset))
        }
        Some(_) => Handing::CompleteChecksum,
    }
}

fn segments(size: u16, ecn: bool, headers: &Headers, receiver: Features) -> Handing {
    let (gso_type, needed) = match headers.network {
        Network::Ipv4 => (GSO_TCPV4, Features::GUEST_TSO4),
        Network::Ipv6 => (GSO_TCPV6, Features::GUEST_TSO6),
        Network::Arp => return Handing::Not,
    };
    let (Transport::Tcp, Some((start, offset)), 1..) = (headers.transport, expected_partial(headers), size) else {
        return Handing::Not;
    };
    if !receiver.has(needed) || (ecn && !receiver.has(Features::GUEST_ECN)) {
        return Handing::Segment(size);
    }
    let gso_type = if ecn { gso_type | GSO_ECN } else { gso_type };
    Handing::Whole(NetHeader::new(F_NEEDS_CSUM, gso_type, headers.payload_offset, size, start, offset))
}
