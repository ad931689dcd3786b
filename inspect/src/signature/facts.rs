//! What signatures test of a packet's headers, read once per packet through [`crate::wire`]'s accessors.

use super::definition::Transports;
use super::ranges::address_number;
use crate::wire::{Fragment, Network, Packet, Transport};

/// The facts of one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) packet: &'a Packet<'a>,
    pub(crate) source: u128,
    pub(crate) destination: u128,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) transport: Transports,
    pub(crate) ip_version: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Facts<'a> {
    /// The facts of an IP packet; `None` for ARP, of which no signature asks anything.
    pub(crate) fn of(packet: &'a Packet<'a>) -> Option<Self> {
        let headers = packet.headers();
        let ip_version = match headers.network {
            Network::Arp => return None,
            Network::Ipv4 => 4,
            Network::Ipv6 => 6,
        };
        Some(Self {
            packet,
            source: address_number(packet.source()),
            destination: address_number(packet.destination()),
            source_port: packet.source_port(),
            destination_port: packet.destination_port(),
            transport: transports(headers.transport),
            ip_version,
            payload: packet.payload(),
        })
    }

    pub(crate) fn fragment(&self) -> Option<Fragment> {
        self.packet.headers().fragment
    }

    /// Identifier and sequence number of an ICMP echo (or of another message that has them in the same place).
    pub(crate) fn icmp_echo(&self) -> Option<(u16, u16)> {
        self.packet.icmp()?.echo_identifier?;
        let segment = self.packet.segment();
        let word = |at: usize| Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]));
        Some((word(4)?, word(6)?))
    }
}

/// The bit of a transport.
pub(crate) fn transports(transport: Transport) -> Transports {
    match transport {
        Transport::Tcp => Transports::TCP,
        Transport::Udp => Transports::UDP,
        Transport::Icmp4 => Transports::ICMP4,
        Transport::Icmp6 => Transports::ICMP6,
        Transport::None | Transport::Other => Transports::OTHER,
    }
}
