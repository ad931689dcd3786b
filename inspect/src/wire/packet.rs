//! The validated view of a frame: accessors that cannot fail, because [`parse`] checked every offset.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::arp::{self, ArpView};
use super::icmp::{self, IcmpView, NeighbourView};
use super::tcp::{TcpFlags, TcpView};
use super::{Checksums, Headers, Malformed, Network, Transport, parse};
use crate::flow_key::{FlowKey, Way};

/// A frame together with its validated headers.
///
/// The accessors read the very bytes that were checked. Handing [`Packet::new`] headers of another frame voids that:
/// accessors then answer nonsense or panic.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    frame: &'a [u8],
    headers: Headers,
}

impl<'a> Packet<'a> {
    /// Joins a frame with the headers that [`parse`] found in these very bytes.
    #[inline]
    pub fn new(frame: &'a [u8], headers: Headers) -> Self {
        debug_assert!(headers.end as usize <= frame.len());
        Self { frame, headers }
    }

    /// Parses a frame.
    ///
    /// # Errors
    /// As [`parse`].
    #[inline]
    pub fn parse(frame: &'a [u8], checksums: Checksums) -> Result<Self, Malformed> {
        parse(frame, checksums).map(|headers| Self { frame, headers })
    }

    /// The whole frame, padding included.
    #[inline]
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// The frame without padding: from the Ethernet header to the last byte of the datagram. Only these bytes were looked
    /// at, so only these may be sent on.
    #[inline]
    pub fn without_padding(&self) -> &'a [u8] {
        &self.frame[..self.headers.end as usize]
    }

    /// Where the parts of the frame are.
    #[inline]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// What the transport carries, without padding.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.frame[usize::from(self.headers.payload_offset)..self.headers.end as usize]
    }

    /// The transport header and its payload; for a fragment, its part of the datagram's payload.
    #[inline]
    pub fn segment(&self) -> &'a [u8] {
        &self.frame[usize::from(self.headers.transport_offset)..self.headers.end as usize]
    }

    #[inline]
    fn bytes<const LEN: usize>(&self, at: usize) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(&self.frame[at..at + LEN]);
        bytes
    }

    #[inline]
    fn network_bytes<const LEN: usize>(&self, at: usize) -> [u8; LEN] {
        self.bytes(usize::from(self.headers.network_offset) + at)
    }

    /// The destination MAC address.
    #[inline]
    pub fn destination_mac(&self) -> [u8; 6] {
        self.bytes(0)
    }

    /// The source MAC address: neither zero nor multicast.
    #[inline]
    pub fn source_mac(&self) -> [u8; 6] {
        self.bytes(6)
    }

    /// The source address; for ARP, the sender's protocol address.
    #[inline]
    pub fn source(&self) -> IpAddr {
        match self.headers.network {
            Network::Arp => Ipv4Addr::from(self.network_bytes::<4>(14)).into(),
            Network::Ipv4 => Ipv4Addr::from(self.network_bytes::<4>(12)).into(),
            Network::Ipv6 => Ipv6Addr::from(self.network_bytes::<16>(8)).into(),
        }
    }

    /// The destination address; for ARP, the target's protocol address.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        match self.headers.network {
            Network::Arp => Ipv4Addr::from(self.network_bytes::<4>(24)).into(),
            Network::Ipv4 => Ipv4Addr::from(self.network_bytes::<4>(16)).into(),
            Network::Ipv6 => Ipv6Addr::from(self.network_bytes::<16>(24)).into(),
        }
    }

    /// Source and destination of an IPv6 packet.
    #[inline]
    pub(crate) fn ipv6_addresses(&self) -> ([u8; 16], [u8; 16]) {
        (self.network_bytes(8), self.network_bytes(24))
    }

    /// TTL or hop limit; 0 for ARP.
    #[inline]
    pub fn ttl(&self) -> u8 {
        match self.headers.network {
            Network::Arp => 0,
            Network::Ipv4 => self.network_bytes::<1>(8)[0],
            Network::Ipv6 => self.network_bytes::<1>(7)[0],
        }
    }

    /// The IPv4 header's identification.
    #[inline]
    pub fn ip_id(&self) -> Option<u16> {
        (self.headers.network == Network::Ipv4).then(|| u16::from_be_bytes(self.network_bytes(4)))
    }

    /// Source and destination address of an IPv4 packet, as numbers.
    #[inline(always)]
    pub fn ipv4_addresses(&self) -> Option<(u32, u32)> {
        if self.headers.network != Network::Ipv4 {
            return None;
        }
        let addresses = u64::from_be_bytes(self.network_bytes(12));
        Some(((addresses >> 32) as u32, addresses as u32))
    }

    /// Source and destination port of a TCP or UDP packet.
    #[inline(always)]
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.headers.transport {
            Transport::Tcp | Transport::Udp => {
                let ports = u32::from_be_bytes(self.bytes(usize::from(self.headers.transport_offset)));
                Some(((ports >> 16) as u16, ports as u16))
            }
            Transport::None | Transport::Icmp4 | Transport::Icmp6 | Transport::Other => None,
        }
    }

    /// The transport's source port; 0 for all but TCP and UDP, which never have port 0.
    #[inline]
    pub fn source_port(&self) -> u16 {
        self.port_at(0)
    }

    /// The transport's destination port; 0 for all but TCP and UDP, which never have port 0.
    #[inline]
    pub fn destination_port(&self) -> u16 {
        self.port_at(2)
    }

    #[inline]
    fn port_at(&self, at: usize) -> u16 {
        match self.headers.transport {
            Transport::Tcp | Transport::Udp => {
                u16::from_be_bytes(self.bytes(usize::from(self.headers.transport_offset) + at))
            }
            Transport::None | Transport::Icmp4 | Transport::Icmp6 | Transport::Other => 0,
        }
    }

    /// The TCP header.
    #[inline]
    pub fn tcp(&self) -> Option<TcpView<'a>> {
        let header_len = self.headers.payload_offset - self.headers.transport_offset;
        (self.headers.transport == Transport::Tcp).then(|| TcpView::read(self.segment(), usize::from(header_len)))
    }

    /// Whether this is a TCP segment that asks for a connection: SYN without ACK.
    #[inline]
    pub fn is_bare_syn(&self) -> bool {
        self.tcp().is_some_and(|tcp| tcp.flags.contains(TcpFlags::SYN) && !tcp.flags.contains(TcpFlags::ACK))
    }

    /// The ICMP header, of either family.
    #[inline]
    pub fn icmp(&self) -> Option<IcmpView> {
        let is_v6 = match self.headers.transport {
            Transport::Icmp4 => false,
            Transport::Icmp6 => true,
            Transport::None | Transport::Tcp | Transport::Udp | Transport::Other => return None,
        };
        let head = self.bytes::<{ icmp::HEADER_LEN }>(usize::from(self.headers.transport_offset));
        Some(IcmpView::read(&head, is_v6))
    }

    /// The ARP packet.
    #[inline]
    pub fn arp(&self) -> Option<ArpView> {
        (self.headers.network == Network::Arp).then(|| ArpView::read(&self.network_bytes::<{ arp::PACKET_LEN }>(0)))
    }

    /// The neighbour discovery message.
    pub fn neighbour(&self) -> Option<NeighbourView> {
        let is_neighbour =
            self.headers.transport == Transport::Icmp6 && icmp::is_neighbour_discovery(self.segment()[0]);
        is_neighbour.then(|| NeighbourView::read(self.segment()).ok()).flatten()
    }

    /// Whether this is an ICMP message that reports an error and quotes the packet that caused it.
    pub fn is_icmp_error(&self) -> bool {
        let is_v6 = self.headers.network == Network::Ipv6;
        self.icmp().is_some_and(|message| icmp::is_error(message.kind, is_v6))
    }

    /// For an ICMP error, the flow of the packet that it quotes and the way in which that packet went. A related error
    /// comes towards the quoted packet's sender. `None` also when the quotation is unusable: then it belongs to no flow.
    pub fn quoted_flow(&self) -> Option<(FlowKey, Way)> {
        let is_v6 = self.headers.network == Network::Ipv6;
        if !self.is_icmp_error() {
            return None;
        }
        icmp::quoted_flow(self.payload(), is_v6)
    }

    /// Whether the IP datagram is longer than `mtu` bytes, so that it must be segmented or refused at egress.
    #[inline]
    pub fn is_longer_than_mtu(&self, mtu: u16) -> bool {
        self.headers.end - u32::from(self.headers.network_offset) > u32::from(mtu)
    }
}
