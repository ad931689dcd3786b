//! Every bound of the crate, in one place, with the reason for each number.

/// IPv6 extension headers walked before a packet is refused. Real stacks send at most three; the bound keeps the walk of a
/// hostile chain constant (attack N03).
pub const EXTENSION_HEADERS_MAX: usize = 8;

/// Alerts raised by one packet at most; the same number as Suricata's `packet-alert-max`. Further matches only count.
pub const ALERTS_PER_PACKET_MAX: usize = 15;
