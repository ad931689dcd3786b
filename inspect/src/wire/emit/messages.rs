//! The messages of ARP, ICMP and neighbour discovery.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Body, FrameBuilder};

const BROADCAST_MAC: [u8; 6] = [0xff; 6];

/// An ARP request, broadcast: who has `target`, tell `sender`. A gratuitous one has both the same.
pub fn arp_request(sender_mac: [u8; 6], sender: impl Into<Ipv4Addr>, target: impl Into<Ipv4Addr>) -> FrameBuilder {
    arp(1, sender_mac, sender.into(), [0; 6], target.into()).macs(sender_mac, BROADCAST_MAC)
}

/// An ARP reply to `target`: `sender` is at `sender_mac`.
pub fn arp_reply(
    sender_mac: [u8; 6],
    sender: impl Into<Ipv4Addr>,
    target_mac: [u8; 6],
    target: impl Into<Ipv4Addr>,
) -> FrameBuilder {
    arp(2, sender_mac, sender.into(), target_mac, target.into())
}

fn arp(operation: u16, sender_mac: [u8; 6], sender: Ipv4Addr, target_mac: [u8; 6], target: Ipv4Addr) -> FrameBuilder {
    let body = Body::Arp { operation, sender_mac, target_mac };
    FrameBuilder::new(sender.into(), target.into(), body).macs(sender_mac, target_mac)
}

/// An ICMP message, ICMPv6 between IPv6 addresses. `rest` is the second half of its first 8 bytes; what follows is the
/// payload.
pub fn icmp(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    kind: u8,
    code: u8,
    rest: [u8; 4],
) -> FrameBuilder {
    FrameBuilder::new(source.into(), destination.into(), Body::Icmp { kind, code, rest })
}

/// An echo request of the addresses' family.
pub fn icmp_echo_request(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    identifier: u16,
    sequence: u16,
) -> FrameBuilder {
    echo(source.into(), destination.into(), [8, 128], identifier, sequence)
}

/// An echo reply of the addresses' family.
pub fn icmp_echo_reply(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    identifier: u16,
    sequence: u16,
) -> FrameBuilder {
    echo(source.into(), destination.into(), [0, 129], identifier, sequence)
}

fn echo(source: IpAddr, destination: IpAddr, kinds: [u8; 2], identifier: u16, sequence: u16) -> FrameBuilder {
    let ([i0, i1], [s0, s1]) = (identifier.to_be_bytes(), sequence.to_be_bytes());
    icmp(source, destination, kinds[usize::from(source.is_ipv6())], 0, [i0, i1, s0, s1])
}

/// An ICMP error that quotes `offending`, an Ethernet frame: its datagram up to 576 bytes of error (RFC 1812 section
/// 4.3.2.3) or, for IPv6, 1,280 (RFC 4443 section 3.1).
pub fn icmp_error(
    source: impl Into<IpAddr>,
    destination: impl Into<IpAddr>,
    kind: u8,
    code: u8,
    offending: &[u8],
) -> FrameBuilder {
    let source = source.into();
    let quoted_len_max = if source.is_ipv6() { 1280 - 48 } else { 576 - 28 };
    let quoted = offending.get(14..).unwrap_or_default();
    icmp(source, destination, kind, code, [0; 4]).payload(&quoted[..quoted.len().min(quoted_len_max)])
}

/// A neighbour solicitation from `source` to the target's solicited-node address, with the source link-layer option
/// unless the source is unspecified (duplicate address detection).
pub fn neighbour_solicitation(source_mac: [u8; 6], source: Ipv6Addr, target: Ipv6Addr) -> FrameBuilder {
    let [.., t1, t2, t3] = target.octets();
    let [h, l] = [u16::from_be_bytes([0xff, t1]), u16::from_be_bytes([t2, t3])];
    let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, h, l);
    let option = if source.is_unspecified() { Vec::new() } else { link_layer_option(1, source_mac) };
    neighbour(source_mac, source, solicited, 135, [0; 4], &[&target.octets(), &option])
}

/// A neighbour advertisement: `target` is at `target_mac`, override and solicited flags set.
pub fn neighbour_advertisement(
    target_mac: [u8; 6],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
) -> FrameBuilder {
    let option = link_layer_option(2, target_mac);
    neighbour(target_mac, source, destination, 136, [0x60, 0, 0, 0], &[&target.octets(), &option])
}

/// A router solicitation to all routers.
pub fn router_solicitation(source_mac: [u8; 6], source: Ipv6Addr) -> FrameBuilder {
    let option = if source.is_unspecified() { Vec::new() } else { link_layer_option(1, source_mac) };
    neighbour(source_mac, source, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2), 133, [0; 4], &[&option])
}

/// A router advertisement to all nodes, lifetime 1,800 s, without prefixes.
pub fn router_advertisement(source_mac: [u8; 6], source: Ipv6Addr) -> FrameBuilder {
    let option = link_layer_option(1, source_mac);
    let rest = [64, 0, 0x07, 0x08];
    neighbour(source_mac, source, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 134, rest, &[&[0; 8], &option])
}

/// A redirect of `redirected` to `target`.
pub fn redirect(
    source_mac: [u8; 6],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    target: Ipv6Addr,
    redirected: Ipv6Addr,
) -> FrameBuilder {
    neighbour(source_mac, source, destination, 137, [0; 4], &[&target.octets(), &redirected.octets()])
}

fn neighbour(
    source_mac: [u8; 6],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    kind: u8,
    rest: [u8; 4],
    parts: &[&[u8]],
) -> FrameBuilder {
    let frame = icmp(source, destination, kind, 0, rest).ttl(255).payload(parts.concat());
    let destination_mac = if destination.is_multicast() {
        // RFC 2464 section 7.
        let [.., m0, m1, m2, m3] = destination.octets();
        [0x33, 0x33, m0, m1, m2, m3]
    } else {
        super::DESTINATION_MAC
    };
    frame.macs(source_mac, destination_mac)
}

fn link_layer_option(kind: u8, mac: [u8; 6]) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}
