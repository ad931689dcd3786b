//! The name of a conversation: two addresses, two transport ports and a protocol, the same for both directions.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
        if headers.fragment.is_some() {
            return None;
        }
        let ports = match headers.transport {
            Transport::Tcp | Transport::Udp => Ports::OfEnds(packet.source_port(), packet.destination_port()),
            Transport::Icmp4 | Transport::Icmp6 => {
                let (low_port, high_port) = packet.icmp()?.key_ports();
                Ports::Fixed(low_port, high_port)
            }
            Transport::None | Transport::Other => Ports::Fixed(0, 0),
        };
        match headers.network {
            Network::Arp => None,
            // Mapped addresses compare as their last four bytes do.
            Network::Ipv4 => {
                let (source, destination) = packet.ipv4_addresses()?;
                let is_low = is_low(source, destination, ports);
                let (source, destination) = (mapped(source.to_be_bytes()), mapped(destination.to_be_bytes()));
                Some(Self::ordered(source, destination, ports, is_low, headers.protocol))
            }
            Network::Ipv6 => {
                let (source, destination) = packet.ipv6_addresses();
                let is_low = is_low(u128::from_be_bytes(source), u128::from_be_bytes(destination), ports);
                Some(Self::ordered(source, destination, ports, is_low, headers.protocol))
            }
        }
    }

    /// The key of the flow between two ends, and the way from `source` to `destination`. Of equal ends (which
    /// [`crate::wire`] refuses) the source counts as the low one.
    pub fn between(
        source: IpAddr,
        source_port: u16,
        destination: IpAddr,
        destination_port: u16,
        protocol: u8,
    ) -> (Self, Way) {
        let octets = |address| match address {
            IpAddr::V4(v4) => mapped(Ipv4Addr::octets(&v4)),
            IpAddr::V6(v6) => Ipv6Addr::octets(&v6),
        };
        let (source, destination) = (octets(source), octets(destination));
        let ports = Ports::OfEnds(source_port, destination_port);
        let is_low = is_low(source, destination, ports);
        Self::ordered(source, destination, ports, is_low, protocol)
    }

    #[inline(always)]
    fn ordered(source: [u8; 16], destination: [u8; 16], ports: Ports, is_low: bool, protocol: u8) -> (Self, Way) {
        let (low_port, high_port) = match ports {
            Ports::Fixed(low_port, high_port) => (low_port, high_port),
            Ports::OfEnds(source_port, destination_port) if is_low => (source_port, destination_port),
            Ports::OfEnds(source_port, destination_port) => (destination_port, source_port),
        };
        let (low_address, high_address, way) =
            if is_low { (source, destination, Way::LowToHigh) } else { (destination, source, Way::HighToLow) };
        (Self { low_address, high_address, low_port, high_port, protocol }, way)
    }
}

/// The port fields of a key, before its ends are put in order.
#[derive(Clone, Copy)]
enum Ports {
    /// Of the source and of the destination.
    OfEnds(u16, u16),
    /// The same for both ways.
    Fixed(u16, u16),
}

/// Whether the source is the low end.
#[inline(always)]
fn is_low<T: Ord>(source: T, destination: T, ports: Ports) -> bool {
    match source.cmp(&destination) {
        Ordering::Less => true,
        Ordering::Greater => false,
        Ordering::Equal => match ports {
            Ports::OfEnds(source_port, destination_port) => source_port <= destination_port,
            Ports::Fixed(..) => true,
        },
    }
}

/// An IPv4 address as an IPv4-mapped IPv6 address.
#[inline(always)]
fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
