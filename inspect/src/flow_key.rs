//! The name of a conversation: two addresses, two transport ports and a protocol, the same for both directions.

/// Which way a packet goes within its flow key's canonical order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the key's `low` end to its `high` end.
    LowToHigh,
    /// From the key's `high` end to its `low` end.
    HighToLow,
}

impl Way {
    /// The opposite way.
    pub fn reversed(self) -> Self {
        match self {
            Way::LowToHigh => Way::HighToLow,
            Way::HighToLow => Way::LowToHigh,
        }
    }
}

/// A flow's key in canonical order, so that both directions give the same key.
///
/// IPv4 addresses are held as IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2); real IPv6 packets with mapped
/// addresses are refused by [`crate::wire`], so the two families cannot meet in one key. For ICMP echo (both
/// families) both ports are the echo identifier; for other ICMP messages `low_port` is type << 8 | code and `high_port` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The end that compares smaller as (address, port).
    pub low_address: [u8; 16],
    /// The other end.
    pub high_address: [u8; 16],
    /// Transport port of the low end, host byte order.
    pub low_port: u16,
    /// Transport port of the high end, host byte order.
    pub high_port: u16,
    /// IP protocol number of the transport.
    pub protocol: u8,
}
