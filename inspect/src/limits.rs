//! Every bound of the crate, in one place, with the reason for each number.

/// IPv6 extension headers walked before a packet is refused. Real stacks send at most three; the bound keeps the walk of a
/// hostile chain constant (attack N03).
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Alerts raised by one packet at most; the same number as Suricata's `packet-alert-max`. Further matches only count.
pub const ALERTS_PER_PACKET_MAX: usize = 15;

/// Longest frame that is parsed, in bytes: Ethernet header, IPv6 header and the 65,535 bytes that a payload length can
/// name. A driver's segmentation super-segments stay below (virtio 1.2 section 5.1.6.3.1: 65,550).
pub const FRAME_LEN_MAX: usize = 14 + 40 + 65_535;

/// Options (paddings included) in one IPv6 hop-by-hop or destination options header. Linux accepts 8 options, each of
/// which may need a padding.
pub const IPV6_OPTIONS_PER_HEADER_MAX: usize = 16;

/// Options in one neighbour discovery message. Router advertisements of real routers carry less than ten.
pub const ND_OPTIONS_MAX: usize = 32;

/// Frames that one super-segment may be cut into. 65,535 bytes at an MSS of 256 make that many; a smaller segment size on a
/// larger frame is an amplifier, not a link (the least IPv6 MSS is 1,220, the least IPv4 default 536).
pub const SEGMENTS_PER_FRAME_MAX: usize = 256;
