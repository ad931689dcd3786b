//! Our parser against etherparse, and the checksum against two others.

use std::net::IpAddr;

use etherparse::{LaxSlicedPacket, NetSlice, SlicedPacket, TransportSlice};
use inspect::wire::{Checksums, FrameSum, Headers, Likeness, Network, Packet, Transport, checksum, parse};
use proptest::prelude::*;

use crate::seeds;

/// When we accept a frame, etherparse must read the same out of it.
fn check(name: &str, frame: &[u8], checksums: Checksums) {
    if checksums == Checksums::Verify {
        // Who has summed the frame up already is told the same.
        let summed = Checksums::VerifySummed(FrameSum::of(frame));
        let headers = |checksums| Packet::parse(frame, checksums).map(|packet| *packet.headers());
        assert_eq!(headers(summed), headers(checksums), "{name}: {frame:02x?}");
    }
    let Ok(packet) = Packet::parse(frame, checksums) else {
        return;
    };
    // etherparse reads IGMP and refuses what is no IGMP; to us it is a number.
    if packet.headers().protocol == 2 {
        return;
    }
    // RFC 8200 section 4.5: what follows the header of a later fragment is data. etherparse walks on if the number that the
    // fragment header names is an extension's, and stumbles over the data.
    let is_later_fragment = packet.headers().fragment.is_some_and(|fragment| fragment.offset != 0);
    if is_later_fragment && matches!(packet.headers().protocol, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140) {
        return;
    }
    let lax = LaxSlicedPacket::from_ethernet(frame).expect("etherparse reads every frame that we accept");
    let lax_payload = lax.ip_payload().map(|payload| payload.payload);
    let sliced = SlicedPacket::from_ethernet(frame)
        .unwrap_or_else(|error| panic!("{name}: we accept what etherparse refuses ({error}): {frame:02x?}"));
    let headers = packet.headers();
    assert!(sliced.link_exts.is_empty(), "{name}: no tags");
    let (source, destination): (IpAddr, IpAddr) = match sliced.net.as_ref().expect("a network layer") {
        NetSlice::Ipv4(ip) => {
            assert_eq!(headers.network, Network::Ipv4);
            assert_eq!(ip.payload_ip_number().0, headers.protocol, "{name}");
            assert_eq!((ip.header().ttl(), Some(ip.header().identification())), (packet.ttl(), packet.ip_id()));
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Ipv6(ip) => {
            assert_eq!((headers.network, ip.header().hop_limit()), (Network::Ipv6, packet.ttl()));
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        NetSlice::Arp(arp) => {
            assert_eq!(headers.network, Network::Arp);
            let view = packet.arp().expect("ARP");
            assert_eq!(arp.sender_hw_addr(), view.sender_mac);
            assert_eq!(arp.target_protocol_addr(), view.target_address.octets());
            return;
        }
    };
    assert_eq!((source, destination), (packet.source(), packet.destination()), "{name}");
    let segment = sliced.ip_payload().expect("a payload");
    assert_eq!(lax_payload, Some(segment.payload), "{name}");
    assert_eq!(segment.fragmented, headers.fragment.is_some(), "{name}");
    if headers.fragment.is_none() {
        assert_eq!(segment.ip_number.0, headers.protocol, "{name}");
        assert_eq!(segment.payload, packet.segment(), "{name}");
        check_transport(name, &packet, sliced.transport.as_ref());
    }
}

fn check_transport(name: &str, packet: &Packet<'_>, theirs: Option<&TransportSlice<'_>>) {
    let ports = (packet.source_port(), packet.destination_port());
    match (packet.headers().transport, theirs) {
        (Transport::Tcp, Some(TransportSlice::Tcp(tcp))) => {
            let ours = packet.tcp().expect("TCP");
            assert_eq!((tcp.source_port(), tcp.destination_port()), ports, "{name}");
            assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (ours.seq, ours.ack), "{name}");
            assert_eq!((tcp.window_size(), tcp.urgent_pointer()), (ours.window, ours.urgent), "{name}");
            assert_eq!((tcp.options(), tcp.payload()), (ours.option_bytes, packet.payload()), "{name}");
        }
        (Transport::Udp, Some(TransportSlice::Udp(udp))) => {
            assert_eq!((udp.source_port(), udp.destination_port()), ports, "{name}");
            assert_eq!(udp.payload(), packet.payload(), "{name}");
        }
        (Transport::Icmp4, Some(TransportSlice::Icmpv4(icmp))) => {
            let ours = packet.icmp().expect("ICMP");
            assert_eq!((icmp.type_u8(), icmp.code_u8()), (ours.kind, ours.code), "{name}");
        }
        (Transport::Icmp6, Some(TransportSlice::Icmpv6(icmp))) => {
            let ours = packet.icmp().expect("ICMPv6");
            assert_eq!((icmp.type_u8(), icmp.code_u8()), (ours.kind, ours.code), "{name}");
        }
        (Transport::Other | Transport::None, None) => {}
        (ours, theirs) => panic!("{name}: we read {ours:?}, etherparse {theirs:?}"),
    }
}

/// The checksum as RFC 1071 section 4.1 spells it out.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn sound_frames() {
    for (name, frame) in seeds() {
        check(name, &frame, Checksums::Verify);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Sound frames with a few bytes changed, IPv4 header checksum repaired or not, transport checksum ignored: this gets
    /// deep into both parsers.
    /// A frame that is like a sound one is judged as if nobody knew, whatever differs.
    #[test]
    fn frames_that_are_alike(
        seed in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        tail in prop_oneof![3 => Just(0isize), 1 => -40isize..40],
        is_repaired in any::<bool>(),
    ) {
        let seeds = seeds();
        let (name, sound) = &seeds[seed.index(seeds.len())];
        let Ok(headers) = parse(sound, Checksums::Verify) else { return Ok(()) };
        let likeness = Likeness::of(sound, &headers);
        let mut frame = sound.clone();
        for (at, byte) in changes {
            // All but the first in what may differ: lengths, identification, checksums, and from the transport on.
            let places = [16, 17, 18, 19, 24, 25, at.index(frame.len()), 34 + at.index(frame.len() - 34)];
            frame[places[usize::from(byte) % places.len()]] = byte.rotate_left(3);
        }
        frame.resize(frame.len().saturating_add_signed(tail), 0x11);
        if is_repaired && frame.len() >= 34 && frame[14] == 0x45 {
            checksum::complete_ipv4_checksum(&mut frame, 14, 20);
        }
        for checksums in
            [Checksums::Verify, Checksums::VerifySummed(FrameSum::of(&frame)), Checksums::TransportPartial]
        {
            let mut alike = Headers::NONE;
            let is_accepted = likeness.accepts(&frame, checksums, &mut alike);
            let parsed = parse(&frame, checksums);
            let is_alike = parsed.is_ok_and(|headers| Likeness::of(&frame, &headers) == likeness);
            prop_assert_eq!(is_accepted, is_alike && likeness != Likeness::NONE, "{}", name);
            prop_assert!(!is_accepted || parsed == Ok(alike), "{}", name);
        }
        let can_be = headers.fragment.is_none()
            && headers.network == Network::Ipv4
            && headers.transport_offset == 34
            && matches!(headers.transport, Transport::Tcp | Transport::Udp);
        let is_accepted = likeness.accepts(sound, Checksums::Verify, &mut Headers::NONE.clone());
        prop_assert_eq!(is_accepted, can_be, "{} is like itself", name);
    }

    #[test]
    fn changed_frames(
        seed in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..5),
        in_headers in any::<bool>(),
        tail in prop_oneof![3 => Just(0isize), 1 => -40isize..40],
        is_repaired in any::<bool>(),
    ) {
        let seeds = seeds();
        let (name, mut frame) = seeds[seed.index(seeds.len())].clone();
        for (at, byte) in changes {
            let range = if in_headers { frame.len().min(62) - 12 } else { frame.len() };
            let at = if in_headers { 12 + at.index(range) } else { at.index(range) };
            frame[at] = byte;
        }
        frame.resize(frame.len().saturating_add_signed(tail), 0x11);
        if is_repaired && frame.len() >= 34 && frame[14] == 0x45 {
            checksum::complete_ipv4_checksum(&mut frame, 14, 20);
        }
        check(name, &frame, Checksums::Verify);
        check(name, &frame, Checksums::TransportPartial);
    }

    #[test]
    fn random_bytes_behind_a_sound_link_header(
        ethertype in prop::sample::select(vec![0x0800u16, 0x0806, 0x86dd]),
        first in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60, 0x00]),
        rest in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &ethertype.to_be_bytes(), &[first], &rest].concat();
        if frame.len() >= 34 {
            checksum::complete_ipv4_checksum(&mut frame, 14, 20);
        }
        check("random", &frame, Checksums::TransportPartial);
    }

    #[test]
    fn checksums_agree(bytes in proptest::collection::vec(any::<u8>(), 0..4000), split in any::<prop::sample::Index>()) {
        let ours = checksum::field(checksum::sum(&bytes));
        prop_assert_eq!(ours, naive(&bytes).to_be_bytes());
        let theirs = etherparse::checksum::u64_16bit_word::add_slice(0, &bytes);
        let theirs = etherparse::checksum::u64_16bit_word::ones_complement(theirs);
        prop_assert_eq!(u16::from_ne_bytes(ours), theirs);
        let split = split.index(bytes.len() + 1) & !1;
        let parts = checksum::sum(&bytes[..split]) + checksum::sum(&bytes[split..]);
        prop_assert_eq!(checksum::field(parts), ours);
    }
}

#[test]
fn checksums_of_extremes() {
    for len in [0, 1, 2, 7, 8, 31, 32, 33, 65_535] {
        for byte in [0, 0xff] {
            let bytes = vec![byte; len];
            assert_eq!(checksum::field(checksum::sum(&bytes)), naive(&bytes).to_be_bytes(), "{len} times {byte:#x}");
        }
    }
}
