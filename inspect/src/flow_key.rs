//! The name of a conversation: two addresses, two transport ports and a protocol, the same for both directions.

use std::net::IpAddr;

use crate::wire::{Network, Packet, Transport};

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

impl FlowKey {
    /// The key of a packet's flow and the way in which the packet goes. `None` for ARP and for fragments, which name no
    /// conversation (a datagram does, once it is whole).
    #[inline]
    pub fn of(packet: &Packet<'_>) -> Option<(Self, Way)> {
        let headers = packet.headers();
        if headers.network == Network::Arp || headers.fragment.is_some() {
            return None;
        }
        let (source, destination) = (packet.source(), packet.destination());
        let (source_port, destination_port) = match headers.transport {
            Transport::Tcp | Transport::Udp => (packet.source_port(), packet.destination_port()),
            Transport::Icmp4 | Transport::Icmp6 => {
                let (low_port, high_port) = packet.icmp()?.key_ports();
                return Some(Self::with_ports(source, destination, low_port, high_port, headers.protocol));
            }
            Transport::None | Transport::Other => (0, 0),
        };
        Some(Self::between(source, source_port, destination, destination_port, headers.protocol))
    }

    /// The key of the flow between two ends, and the way from `source` to `destination`. Of equal ends (which
    /// [`crate::wire`] refuses) the source counts as the low one.
    #[inline]
    pub fn between(
        source: IpAddr,
        source_port: u16,
        destination: IpAddr,
        destination_port: u16,
        protocol: u8,
    ) -> (Self, Way) {
        let (source, destination) = (mapped(source), mapped(destination));
        if (source, source_port) <= (destination, destination_port) {
            let key = Self::ordered(source, source_port, destination, destination_port, protocol);
            (key, Way::LowToHigh)
        } else {
            let key = Self::ordered(destination, destination_port, source, source_port, protocol);
            (key, Way::HighToLow)
        }
    }

    /// As [`FlowKey::between`], for protocols whose port fields do not change ends with the direction.
    #[inline]
    fn with_ports(source: IpAddr, destination: IpAddr, low_port: u16, high_port: u16, protocol: u8) -> (Self, Way) {
        let (source, destination) = (mapped(source), mapped(destination));
        if source <= destination {
            (Self::ordered(source, low_port, destination, high_port, protocol), Way::LowToHigh)
        } else {
            (Self::ordered(destination, low_port, source, high_port, protocol), Way::HighToLow)
        }
    }

    #[inline]
    fn ordered(low: u128, low_port: u16, high: u128, high_port: u16, protocol: u8) -> Self {
        Self { low_address: low.to_be_bytes(), high_address: high.to_be_bytes(), low_port, high_port, protocol }
    }
}

/// An address as the 16 bytes of the key, first byte most significant.
#[inline]
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => 0xffff_0000_0000 | u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}
