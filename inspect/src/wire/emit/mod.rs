//! Frames built from values: for what the switch itself originates (ARP answers, resets, ICMP errors) and for tests.
//!
//! A frame starts as one of the functions here and is finished by [`FrameBuilder::build`]:
//!
//! ```
//! use inspect::wire::emit;
//! let frame = emit::udp(([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 53)).payload(b"hello").build();
//! let syn = emit::tcp(([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 80)).syn().seq(7).mss(1460).build();
//! # let packet = inspect::wire::Packet::parse(&frame, inspect::wire::Checksums::Verify).unwrap();
//! # assert_eq!(packet.payload(), b"hello");
//! # assert!(inspect::wire::parse(&syn, inspect::wire::Checksums::Verify).is_ok());
//! ```
//!
//! The defaults make a sound frame: locally administered MAC addresses, TTL 64 (255 for neighbour discovery), right
//! lengths and checksums, no padding. Headers are serialised by etherparse, whose checksums are an opinion independent
//! of [`super::checksum`]. Nothing here reads frames, and nothing here checks that a frame makes sense: tests need the
//! ones that do not.

mod messages;
mod write;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use messages::{
    arp_reply, arp_request, icmp, icmp_echo_reply, icmp_echo_request, icmp_error, neighbour_advertisement,
    neighbour_solicitation, redirect, router_advertisement, router_solicitation,
};

use super::TcpFlags;

/// The source MAC address of frames that set none.
pub const SOURCE_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
/// The destination MAC address of frames that set none.
pub const DESTINATION_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    source_mac: [u8; 6],
    destination_mac: [u8; 6],
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    identification: u32,
    dont_fragment: bool,
    ip_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    body: Body,
    payload: Vec<u8>,
    padding: Vec<u8>,
    is_partial: bool,
}

#[derive(Clone, Debug)]
enum Body {
    Arp { operation: u16, sender_mac: [u8; 6], target_mac: [u8; 6] },
    Tcp(Tcp),
    Udp { source_port: u16, destination_port: u16 },
    Icmp { kind: u8, code: u8, rest: [u8; 4] },
    Raw(u8),
}

#[derive(Clone, Debug)]
struct Tcp {
    source_port: u16,
    destination_port: u16,
    seq: u32,
    ack: u32,
    flags: TcpFlags,
    window: u16,
    urgent: u16,
    options: Vec<u8>,
}

/// A TCP segment between two ends of one family. Flags are ACK unless set otherwise, sequence and acknowledgement
/// number 1, window 65,535.
pub fn tcp(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> FrameBuilder {
    let (source, destination) = (source.into(), destination.into());
    let body = Body::Tcp(Tcp {
        source_port: source.port(),
        destination_port: destination.port(),
        seq: 1,
        ack: 1,
        flags: TcpFlags::ACK,
        window: 65_535,
        urgent: 0,
        options: Vec::new(),
    });
    FrameBuilder::new(source.ip(), destination.ip(), body)
}

/// A UDP datagram between two ends of one family.
pub fn udp(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>) -> FrameBuilder {
    let (source, destination) = (source.into(), destination.into());
    let body = Body::Udp { source_port: source.port(), destination_port: destination.port() };
    FrameBuilder::new(source.ip(), destination.ip(), body)
}

/// A datagram of any IP protocol; its payload is all that follows the IP headers.
pub fn ip(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, protocol: u8) -> FrameBuilder {
    FrameBuilder::new(source.into(), destination.into(), Body::Raw(protocol))
}

/// A UDP datagram over IPv4 between ports 1000 and 2000 of 10.0.0.1 and 10.0.0.2: any frame that is sound.
pub fn any_udp4(payload: &[u8]) -> Vec<u8> {
    udp((Ipv4Addr::new(10, 0, 0, 1), 1000), (Ipv4Addr::new(10, 0, 0, 2), 2000)).payload(payload).build()
}

impl FrameBuilder {
    fn new(source: IpAddr, destination: IpAddr, body: Body) -> Self {
        // A mixed pair is written as IPv6 with a mapped address, which the parser refuses by name.
        let (source, destination) = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V6(_)) => (source.to_ipv6_mapped().into(), destination),
            (IpAddr::V6(_), IpAddr::V4(destination)) => (source, destination.to_ipv6_mapped().into()),
            same => same,
        };
        Self {
            source_mac: SOURCE_MAC,
            destination_mac: DESTINATION_MAC,
            source,
            destination,
            ttl: 64,
            identification: 1,
            dont_fragment: true,
            ip_options: Vec::new(),
            extensions: Vec::new(),
            body,
            payload: Vec::new(),
            padding: Vec::new(),
            is_partial: false,
        }
    }

    /// Sets both MAC addresses.
    pub fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    /// Sets what the transport carries.
    pub fn payload(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.payload = payload.as_ref().to_vec();
        self
    }

    /// Sets the TTL or hop limit.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets the IPv4 identification, or that of IPv6 fragments.
    pub fn ip_id(mut self, identification: u32) -> Self {
        self.identification = identification;
        self
    }

    /// Sets or clears IPv4's DF, which is set by default. [`FrameBuilder::fragments`] clears it.
    pub fn dont_fragment(mut self, is_set: bool) -> Self {
        self.dont_fragment = is_set;
        self
    }

    /// Appends bytes to the IPv4 options; they are padded to a multiple of four with zeros.
    pub fn ip_options(mut self, options: &[u8]) -> Self {
        self.ip_options.extend_from_slice(options);
        self
    }

    /// Appends an IPv6 extension header of kind `number`. `body` is what follows its next-header and length bytes; it is
    /// padded with zeros to the next multiple of 8 bytes. (For a fragment header give its 6 bytes behind the second.)
    pub fn extension(mut self, number: u8, body: &[u8]) -> Self {
        self.extensions.push((number, body.to_vec()));
        self
    }

    /// Appends bytes behind the datagram.
    pub fn padding(mut self, padding: &[u8]) -> Self {
        self.padding.extend_from_slice(padding);
        self
    }

    /// Leaves the TCP or UDP checksum to others: its field holds only the pseudo-header's sum, as drivers write it with
    /// virtio-net's `NEEDS_CSUM`.
    pub fn partial_checksum(mut self) -> Self {
        self.is_partial = true;
        self
    }

    fn tcp_mut(mut self, change: impl FnOnce(&mut Tcp)) -> Self {
        if let Body::Tcp(tcp) = &mut self.body {
            change(tcp);
        }
        self
    }

    /// Sets the TCP flags to just these.
    pub fn flags(self, flags: TcpFlags) -> Self {
        self.tcp_mut(|tcp| tcp.flags = flags)
    }

    /// Makes it a SYN without ACK.
    pub fn syn(self) -> Self {
        self.tcp_mut(|tcp| (tcp.flags, tcp.ack) = (TcpFlags::SYN, 0))
    }

    /// Makes it a SYN with ACK.
    pub fn syn_ack(self) -> Self {
        self.flags(TcpFlags::SYN | TcpFlags::ACK)
    }

    /// Makes it a RST without ACK.
    pub fn rst(self) -> Self {
        self.tcp_mut(|tcp| (tcp.flags, tcp.ack) = (TcpFlags::RST, 0))
    }

    /// Makes it a FIN with ACK.
    pub fn fin(self) -> Self {
        self.flags(TcpFlags::FIN | TcpFlags::ACK)
    }

    /// Sets the TCP sequence number.
    pub fn seq(self, seq: u32) -> Self {
        self.tcp_mut(|tcp| tcp.seq = seq)
    }

    /// Sets the TCP acknowledgement number (not the flag).
    pub fn ack(self, ack: u32) -> Self {
        self.tcp_mut(|tcp| tcp.ack = ack)
    }

    /// Sets the TCP window field.
    pub fn window(self, window: u16) -> Self {
        self.tcp_mut(|tcp| tcp.window = window)
    }

    /// Sets the urgent pointer (not the flag).
    pub fn urgent(self, urgent: u16) -> Self {
        self.tcp_mut(|tcp| tcp.urgent = urgent)
    }

    /// Appends raw bytes to the TCP options; all are padded to a multiple of four with zeros, at most 40 count.
    pub fn tcp_options(self, options: &[u8]) -> Self {
        self.tcp_mut(|tcp| tcp.options.extend_from_slice(options))
    }

    /// Appends the maximum segment size option.
    pub fn mss(self, mss: u16) -> Self {
        let [high, low] = mss.to_be_bytes();
        self.tcp_options(&[2, 4, high, low])
    }

    /// Appends the window scale option.
    pub fn window_scale(self, shift: u8) -> Self {
        self.tcp_options(&[1, 3, 3, shift])
    }

    /// Appends the SACK-permitted option.
    pub fn sack_permitted(self) -> Self {
        self.tcp_options(&[1, 1, 4, 2])
    }

    /// Appends the timestamps option.
    pub fn timestamps(self, value: u32, echo: u32) -> Self {
        self.tcp_options(&[1, 1, 8, 10]).tcp_options(&value.to_be_bytes()).tcp_options(&echo.to_be_bytes())
    }
}
