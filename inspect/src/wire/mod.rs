//! The only code that reads header bytes for a verdict.

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
    /// IP protocol number of the transport header (after IPv6 extension headers); 0 for ARP.
    pub protocol: u8,
    /// Offset of the network header from the frame's start, in bytes.
    pub network_offset: u16,
    /// Offset of the transport header; equal to `payload_offset` when there is none.
    pub transport_offset: u16,
    /// Offset of what the transport carries.
    pub payload_offset: u16,
    /// Offset just behind the last byte of the datagram: what follows is padding that nobody may read.
    pub end: u32,
    /// Set for fragments; atomic fragments (offset 0, none following) are not fragments (RFC 6946).
    pub fragment: Option<Fragment>,
}

/// A frame together with its validated headers.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    frame: &'a [u8],
    headers: Headers,
}

/// Whether and how checksums are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// Verify the IPv4 header's and the transport's checksum; a wrong one is [`Malformed::TransportChecksum`].
    Verify,
    /// The transport checksum is left to be completed by whoever sends the frame on (virtio-net `NEEDS_CSUM`): verify all
    /// but the transport's.
    TransportPartial,
}

/// Why a frame's bytes were refused. One variant per cause; the caller gives each a counter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The frame ends before a header that it announces.
    Truncated,
}

/// Reads the headers of `frame`, once, and answers where they are.
///
/// # Errors
/// The first thing that is wrong with the frame, as a [`Malformed`].
pub fn parse(frame: &[u8], checksums: Checksums) -> Result<Headers, Malformed> {
    let _ = (frame, checksums);
    Err(Malformed::Truncated)
}

impl<'a> Packet<'a> {
    /// Joins a frame with the headers that [`parse`] found in these very bytes.
    pub fn new(frame: &'a [u8], headers: Headers) -> Self {
        Self { frame, headers }
    }

    /// The whole frame, padding included.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// Where the parts of the frame are.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// What the transport carries, without padding.
    pub fn payload(&self) -> &'a [u8] {
        &self.frame[usize::from(self.headers.payload_offset)..self.headers.end as usize]
    }
}
