//! ARP for IPv4 over Ethernet (RFC 826), the only kind let in.

use std::net::Ipv4Addr;

use super::ethernet::HEADER_LEN;
use super::{Headers, Malformed, Network, Transport};

/// Length of an ARP packet for IPv4 over Ethernet, in bytes.
pub(super) const PACKET_LEN: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, hardware length 6, protocol length 4.
const FORMAT: [u8; 6] = [0, 1, 0x08, 0, 6, 4];

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArpOperation {
    /// Asks for the hardware address of the target; a gratuitous one announces the sender.
    Request,
    /// Tells the sender's hardware address.
    Reply,
}

/// The contents of an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpView {
    /// Request or reply.
    pub operation: ArpOperation,
    /// The hardware address that the sender claims; port security compares it with the frame's source too.
    pub sender_mac: [u8; 6],
    /// The protocol address that the sender claims; unspecified in a probe (RFC 5227).
    pub sender_address: Ipv4Addr,
    /// The target's hardware address; meaningless in requests.
    pub target_mac: [u8; 6],
    /// The protocol address asked for.
    pub target_address: Ipv4Addr,
}

impl ArpView {
    pub(super) fn read(packet: &[u8; PACKET_LEN]) -> Self {
        let mac =
            |at: usize| [packet[at], packet[at + 1], packet[at + 2], packet[at + 3], packet[at + 4], packet[at + 5]];
        let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
        Self {
            operation: if packet[7] == 1 { ArpOperation::Request } else { ArpOperation::Reply },
            sender_mac: mac(8),
            sender_address: address(14),
            target_mac: mac(18),
            target_address: address(24),
        }
    }
}

#[inline(never)]
pub(super) fn parse(frame: &[u8], into: &mut Headers) -> Result<(), Malformed> {
    let packet: &[u8; PACKET_LEN] = frame[HEADER_LEN..].first_chunk().ok_or(Malformed::Truncated)?;
    if packet[..6] != FORMAT {
        return Err(Malformed::ArpFormat);
    }
    if !matches!([packet[6], packet[7]], [0, 1 | 2]) {
        return Err(Malformed::ArpOperation);
    }
    let view = ArpView::read(packet);
    if view.sender_mac[0] & 1 != 0 || view.sender_mac == [0; 6] {
        return Err(Malformed::ArpSenderMac);
    }
    let sender = view.sender_address;
    if sender.is_multicast() || sender.is_broadcast() || sender.is_loopback() {
        return Err(Malformed::ArpSenderAddress);
    }
    let end = HEADER_LEN + PACKET_LEN;
    *into = Headers {
        network: Network::Arp,
        transport: Transport::None,
        protocol: 0,
        network_offset: HEADER_LEN as u16,
        transport_offset: end as u16,
        payload_offset: end as u16,
        end: end as u32,
        fragment: None,
    };
    Ok(())
}
