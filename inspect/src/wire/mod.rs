//! The only code that reads header bytes for a verdict: a slicer of our own, one file per protocol.
//!
//! Theory of operation: [`parse`] walks Ethernet, the IP headers and the transport header once, checks every rule that a
//! sound host's frame follows, and answers a small [`Headers`] of offsets, or the first [`Malformed`] cause. A [`Packet`]
//! joins the frame with its headers; its accessors cannot fail and read no length field again. What is refused here is
//! what two receivers could understand in two ways: two parsers are two opinions, and the gap between them is the evasion.
//!
//! The usual frame (untagged, no IP options, TCP or UDP, no fragment) takes the straight path of inlined checks; all else
//! is out of line. Checksums dominate the cost and are therefore summed in wide lanes ([`checksum`]).
//!
//! [`segment`] cuts a TCP super-segment into frames that fit an MTU, and [`emit`] builds frames for the switch's own
//! messages and for tests, by way of etherparse: an opinion independent of this parser's.

mod arp;
pub mod checksum;
pub mod emit;
mod ethernet;
mod fragment;
pub mod icmp;
mod ipv4;
pub(crate) mod ipv6;
mod likeness;
mod malformed;
mod packet;
pub mod protocol;
pub mod segment;
mod tcp;
mod transport;
mod udp;

pub use arp::{ArpOperation, ArpView};
pub use checksum::{complete_transport_checksum, expected_partial};
pub use ethernet::HEADER_LEN as ETHERNET_HEADER_LEN;
pub use icmp::{IcmpView, NeighbourKind, NeighbourView};
pub use likeness::Likeness;
pub use malformed::Malformed;
pub use packet::Packet;
pub use tcp::{TcpFlags, TcpOption, TcpOptions, TcpView, WINDOW_SHIFT_MAX};

use crate::limits::FRAME_LEN_MAX;

/// What the network layer of a frame is. Nothing else is let into the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp,
    /// IPv4 (RFC 791).
    Ipv4,
    /// IPv6 (RFC 8200).
    Ipv6,
}

/// What the transport layer of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// None that was read: ARP, or a fragment (see [`Headers::fragment`]), or no next header.
    None,
    /// TCP (RFC 9293).
    Tcp,
    /// UDP (RFC 768).
    Udp,
    /// ICMP for IPv4 (RFC 792).
    Icmp4,
    /// ICMPv6 (RFC 4443).
    Icmp6,
    /// Another IP protocol; only its number is known, and its payload is what follows the IP headers.
    Other,
}

/// How a datagram is fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Identification that the fragments of one datagram share (16 bits in IPv4, 32 in IPv6).
    pub identification: u32,
    /// Offset of this fragment's first byte in the datagram's payload, in bytes.
    pub offset: u16,
    /// Whether further fragments follow.
    pub more: bool,
}

/// Where the parts of one frame are, each offset validated against the frame's length: the accessors of [`Packet`]
/// cannot fail. `Copy` and small, so that a burst's worth stays in the first-level cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The network layer.
    pub network: Network,
    /// The transport layer.
    pub transport: Transport,
    /// IP protocol number of the transport header (after IPv6 extension headers); 0 for ARP. For IPv6 fragments the
    /// number that the fragment header names, which is the same in all fragments of a datagram.
    pub protocol: u8,
    /// Offset of the network header from the frame's start, in bytes.
    pub network_offset: u16,
    /// Offset of the transport header; equal to `payload_offset` when there is none.
    pub transport_offset: u16,
    /// Offset of what the transport carries; for fragments, of their part of the datagram's payload.
    pub payload_offset: u16,
    /// Offset just behind the last byte of the datagram: what follows is padding that nobody may read.
    pub end: u32,
    /// Set for fragments; atomic fragments (offset 0, none following) are not fragments (RFC 6946).
    pub fragment: Option<Fragment>,
}

/// Whether and how checksums are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Verify the IPv4 header's and the transport's checksum; a wrong one is [`Malformed::TransportChecksum`].
    Verify,
    /// As [`Checksums::Verify`], for a frame whose bytes were summed up already, by whoever copied them.
    VerifySummed(FrameSum),
    /// The checksum of TCP or UDP is left to be completed by whoever sends the frame on (virtio-net `NEEDS_CSUM`): verify
    /// all but that one.
    TransportPartial,
    /// For captures, which are often taken before the sending hardware computed checksums: verify none. Also lets pass what
    /// is sound and only never goes between hosts: loopback addresses, a packet to its own sender, IPv4-mapped addresses,
    /// source routes. Never for frames that are forwarded: their receivers would discard what we inspected.
    Unchecked,
    /// As [`Checksums::Unchecked`], but verify TCP's, on which it depends whether a stream's receiver has a segment.
    VerifyCaptured,
}

/// The one's complement sum (RFC 1071) of all bytes of one frame behind its Ethernet header, as 16-bit words in native order,
/// not folded: what [`checksum::sum`] says of them, up to multiples of 65,535. Wrong sums make good frames bad and bad ones
/// good, so it is to be taken from the very bytes that are parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSum(pub u64);

impl FrameSum {
    /// The sum of a frame.
    pub fn of(frame: &[u8]) -> Self {
        Self(frame.get(ETHERNET_HEADER_LEN..).map_or(0, checksum::sum))
    }
}

impl Checksums {
    /// Whether TCP's checksum is verified.
    #[inline(always)]
    fn verifies_tcp(self) -> bool {
        matches!(self, Self::Verify | Self::VerifySummed(_) | Self::VerifyCaptured)
    }

    /// Whether UDP's checksum is verified, and demanded where it must be there.
    #[inline(always)]
    fn verifies_udp(self) -> bool {
        matches!(self, Self::Verify | Self::VerifySummed(_))
    }

    /// Whether the frame is of a capture, and will not be forwarded.
    fn is_captured(self) -> bool {
        matches!(self, Self::VerifyCaptured | Self::Unchecked)
    }
}

impl Headers {
    /// Headers of nothing, to be written over by [`parse_into`].
    pub const NONE: Self = Self {
        network: Network::Arp,
        transport: Transport::None,
        protocol: 0,
        network_offset: 0,
        transport_offset: 0,
        payload_offset: 0,
        end: 0,
        fragment: None,
    };
}

/// The four bytes at `AT`, in one load. (The compiler does not always merge four.)
#[inline(always)]
fn u32_at<const AT: usize>(head: &[u8]) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&head[AT..AT + 4]);
    u32::from_be_bytes(bytes)
}

/// The eight bytes at `AT`, in one load.
#[inline(always)]
fn u64_at<const AT: usize>(head: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[AT..AT + 8]);
    u64::from_be_bytes(bytes)
}

/// Reads the headers of `frame`, once, and answers where they are.
///
/// # Errors
/// The first thing that is wrong with the frame, as a [`Malformed`].
#[inline]
pub fn parse(frame: &[u8], checksums: Checksums) -> Result<Headers, Malformed> {
    let mut headers = Headers::NONE;
    parse_into(frame, checksums, &mut headers).map(|()| headers)
}

/// As [`parse`], writing the headers to where they stay: a burst's headers are read again soon, and what was just written in
/// small pieces is slow to copy in large ones (the store is not forwarded).
///
/// # Errors
/// As [`parse`]; what `into` holds then means nothing.
#[inline(always)]
pub fn parse_into(frame: &[u8], checksums: Checksums, into: &mut Headers) -> Result<(), Malformed> {
    let Some(head) = frame.first_chunk() else {
        return Err(Malformed::Truncated);
    };
    if frame.len() > FRAME_LEN_MAX {
        return Err(Malformed::Oversize);
    }
    match ethernet::check(head)? {
        Network::Ipv4 => ipv4::parse(frame, checksums, into),
        Network::Ipv6 => ipv6::parse(frame, checksums, into),
        Network::Arp => arp::parse(frame, into),
    }
}
