//! From the values of a [`FrameBuilder`] to bytes.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::checksum::u64_16bit_word as words;
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header,
    Ipv4Options, Ipv6FragmentHeader, Ipv6Header, TcpHeader, UdpHeader,
};

use super::{Body, FrameBuilder, Tcp};
use crate::wire::{TcpFlags, protocol};

/// Where a fragment lies in its datagram's payload.
#[derive(Clone, Copy)]
struct Piece {
    offset: u16,
    more: bool,
}

impl FrameBuilder {
    /// The whole frame. Lengths that do not fit their fields are cut to the fields' width.
    pub fn build(&self) -> Vec<u8> {
        let mut frame = self.ethernet();
        match &self.body {
            Body::Arp { operation, sender_mac, target_mac } => {
                frame.extend(self.arp(*operation, *sender_mac, *target_mac))
            }
            Body::Tcp(_) | Body::Udp { .. } | Body::Icmp { .. } | Body::Raw(_) => {
                let segment = self.segment();
                frame.extend(self.ip_headers(segment.len(), None));
                frame.extend(segment);
            }
        }
        frame.extend_from_slice(&self.padding);
        frame
    }

    /// The datagram's fragments in order, each with at most `len_max` bytes (rounded down to a multiple of 8, at least 8)
    /// of its payload.
    pub fn fragments(&self, len_max: usize) -> Vec<Vec<u8>> {
        let segment = self.segment();
        let len_max = (len_max & !7).max(8);
        let count = segment.len().div_ceil(len_max);
        let fragment =
            |(index, data): (usize, &[u8])| self.fragment((index * len_max) as u16, index + 1 != count, data);
        segment.chunks(len_max).enumerate().map(fragment).collect()
    }

    /// One fragment of the datagram, with any `data` at `offset`, which is cut to a multiple of 8.
    pub fn fragment(&self, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
        let mut frame = self.ethernet();
        frame.extend(self.ip_headers(data.len(), Some(Piece { offset, more })));
        frame.extend_from_slice(data);
        frame.extend_from_slice(&self.padding);
        frame
    }

    /// The transport header and its payload: what fragments cut up.
    pub fn segment(&self) -> Vec<u8> {
        let (mut segment, checksum_at) = match &self.body {
            Body::Arp { .. } => return Vec::new(),
            Body::Raw(_) => return self.payload.clone(),
            Body::Tcp(tcp) => (tcp_header(tcp), 16),
            Body::Udp { source_port, destination_port } => {
                let length = (UdpHeader::LEN + self.payload.len()) as u16;
                let (source_port, destination_port) = (*source_port, *destination_port);
                (UdpHeader { source_port, destination_port, length, checksum: 0 }.to_bytes().to_vec(), 6)
            }
            Body::Icmp { kind, code, rest } => ([&[*kind, *code, 0, 0], &rest[..]].concat(), 2),
        };
        segment.extend_from_slice(&self.payload);
        let pseudo = self.pseudo_header(segment.len());
        let field = if self.is_partial {
            (!words::ones_complement(pseudo)).to_be()
        } else if matches!(self.body, Body::Udp { .. }) {
            words::ones_complement_with_no_zero(words::add_slice(pseudo, &segment)).to_be()
        } else {
            words::ones_complement(words::add_slice(pseudo, &segment)).to_be()
        };
        segment[checksum_at..checksum_at + 2].copy_from_slice(&field.to_be_bytes());
        segment
    }

    /// The sum, as etherparse adds, of what the transport checksum covers beside the segment.
    fn pseudo_header(&self, segment_len: usize) -> u64 {
        let sum = match (self.source, self.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) if matches!(self.body, Body::Icmp { .. }) => return 0,
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                words::add_4bytes(words::add_4bytes(0, source.octets()), destination.octets())
            }
            (source, destination) => {
                let sum = words::add_slice(0, &octets(source));
                words::add_slice(sum, &octets(destination))
            }
        };
        let sum = words::add_4bytes(sum, (segment_len as u32).to_be_bytes());
        words::add_2bytes(sum, [0, self.protocol()])
    }

    fn protocol(&self) -> u8 {
        match &self.body {
            Body::Arp { .. } => 0,
            Body::Tcp(_) => protocol::TCP,
            Body::Udp { .. } => protocol::UDP,
            Body::Icmp { .. } if self.source.is_ipv6() => protocol::ICMP6,
            Body::Icmp { .. } => protocol::ICMP4,
            Body::Raw(number) => *number,
        }
    }

    fn ethernet(&self) -> Vec<u8> {
        let ether_type = match (&self.body, self.source) {
            (Body::Arp { .. }, _) => EtherType::ARP,
            (_, IpAddr::V4(_)) => EtherType::IPV4,
            (_, IpAddr::V6(_)) => EtherType::IPV6,
        };
        Ethernet2Header { source: self.source_mac, destination: self.destination_mac, ether_type }.to_bytes().to_vec()
    }

    fn arp(&self, operation: u16, sender_mac: [u8; 6], target_mac: [u8; 6]) -> Vec<u8> {
        let (IpAddr::V4(sender), IpAddr::V4(target)) = (self.source, self.destination) else {
            return Vec::new();
        };
        let packet = ArpPacket::new(
            ArpHardwareId::ETHERNET,
            EtherType::IPV4,
            ArpOperation(operation),
            &sender_mac,
            &sender.octets(),
            &target_mac,
            &target.octets(),
        );
        packet.map_or_else(|_| Vec::new(), |packet| packet.to_bytes().to_vec())
    }

    fn ip_headers(&self, payload_len: usize, piece: Option<Piece>) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4_header(source.octets(), destination.octets(), payload_len, piece)
            }
            (source, destination) => self.ipv6_headers(octets(source), octets(destination), payload_len, piece),
        }
    }

    fn ipv4_header(&self, source: [u8; 4], destination: [u8; 4], payload_len: usize, piece: Option<Piece>) -> Vec<u8> {
        let mut options = self.ip_options.clone();
        options.resize(options.len().next_multiple_of(4).min(40), 0);
        let mut header = Ipv4Header {
            identification: self.identification as u16,
            dont_fragment: self.dont_fragment && piece.is_none(),
            more_fragments: piece.is_some_and(|piece| piece.more),
            fragment_offset: fragment_offset(piece),
            time_to_live: self.ttl,
            protocol: IpNumber(self.protocol()),
            source,
            destination,
            options: Ipv4Options::try_from(&options[..]).unwrap_or_default(),
            ..Ipv4Header::default()
        };
        header.total_len = (header.header_len() + payload_len) as u16;
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn ipv6_headers(
        &self,
        source: [u8; 16],
        destination: [u8; 16],
        payload_len: usize,
        piece: Option<Piece>,
    ) -> Vec<u8> {
        let mut chain: Vec<(u8, Vec<u8>)> =
            self.extensions.iter().map(|(number, body)| (*number, padded(body))).collect();
        if piece.is_some() {
            chain.push((protocol::FRAGMENT, Vec::new()));
        }
        let numbers: Vec<u8> = chain.iter().map(|(number, _)| *number).chain([self.protocol()]).collect();
        let mut bytes = Vec::new();
        for ((number, body), next) in chain.iter().zip(&numbers[1..]) {
            if let (protocol::FRAGMENT, Some(piece), true) = (*number, piece, body.is_empty()) {
                let fragment = Ipv6FragmentHeader::new(
                    IpNumber(*next),
                    fragment_offset(Some(piece)),
                    piece.more,
                    self.identification,
                );
                bytes.extend(fragment.to_bytes());
            } else {
                // The length of a fragment header is fixed; its second byte is reserved.
                let units = if *number == protocol::FRAGMENT { 0 } else { (body.len() + 2) / 8 - 1 };
                bytes.extend([*next, units as u8]);
                bytes.extend_from_slice(body);
            }
        }
        let header = Ipv6Header {
            traffic_class: 0,
            flow_label: etherparse::Ipv6FlowLabel::ZERO,
            payload_length: (bytes.len() + payload_len) as u16,
            next_header: IpNumber(numbers[0]),
            hop_limit: self.ttl,
            source,
            destination,
        };
        [&header.to_bytes()[..], &bytes].concat()
    }
}

fn fragment_offset(piece: Option<Piece>) -> IpFragOffset {
    piece.map_or(IpFragOffset::ZERO, |piece| IpFragOffset::try_new(piece.offset / 8).unwrap_or_default())
}

/// An extension header's body filled up with zeros, so that its two first bytes make it a multiple of 8.
fn padded(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize((body.len() + 2).next_multiple_of(8) - 2, 0);
    body
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => Ipv6Addr::octets(&v6),
    }
}

fn tcp_header(tcp: &Tcp) -> Vec<u8> {
    let mut options = tcp.options.clone();
    options.resize(options.len().next_multiple_of(4).min(40), 0);
    let has = |flag| tcp.flags.contains(flag);
    let mut header = TcpHeader {
        source_port: tcp.source_port,
        destination_port: tcp.destination_port,
        sequence_number: tcp.seq,
        acknowledgment_number: tcp.ack,
        fin: has(TcpFlags::FIN),
        syn: has(TcpFlags::SYN),
        rst: has(TcpFlags::RST),
        psh: has(TcpFlags::PSH),
        ack: has(TcpFlags::ACK),
        urg: has(TcpFlags::URG),
        ece: has(TcpFlags::ECE),
        cwr: has(TcpFlags::CWR),
        window_size: tcp.window,
        urgent_pointer: tcp.urgent,
        ..TcpHeader::default()
    };
    // At most 40 bytes in multiples of four always fit.
    let _ = header.set_options_raw(&options);
    header.to_bytes().to_vec()
}
