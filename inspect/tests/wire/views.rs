//! What the accessors of a packet answer.

use std::net::{IpAddr, Ipv6Addr};

use inspect::flow_key::{FlowKey, Way};
use inspect::wire::emit::{self, FrameBuilder};
use inspect::wire::{ArpOperation, Checksums, NeighbourKind, Packet, TcpFlags, TcpOption, Transport};

use crate::{tcp4, udp4, udp6};

fn packet(frame: &[u8]) -> Packet<'_> {
    Packet::parse(frame, Checksums::Verify).expect("a sound frame")
}

fn key(builder: &FrameBuilder) -> Option<(FlowKey, Way)> {
    FlowKey::of(&packet(&builder.build()))
}

#[test]
fn addresses_ports_and_payload() {
    let frame =
        udp4().macs([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ttl(9).ip_id(0xbeef).payload(b"data").padding(&[9; 7]);
    let frame = frame.build();
    let udp = packet(&frame);
    assert_eq!((udp.source_mac(), udp.destination_mac()), ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]));
    assert_eq!((udp.source(), udp.destination()), (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])));
    assert_eq!((udp.source_port(), udp.destination_port()), (1000, 2000));
    assert_eq!((udp.ttl(), udp.ip_id(), udp.payload()), (9, Some(0xbeef), &b"data"[..]));
    assert_eq!(udp.without_padding().len() + 7, udp.frame().len());
    assert_eq!((udp.tcp(), udp.icmp(), udp.arp(), udp.neighbour()), (None, None, None, None));
    assert!(udp.is_longer_than_mtu(31) && !udp.is_longer_than_mtu(32));
}

#[test]
fn tcp_options() {
    let frame = tcp4().syn().seq(7).mss(1460).sack_permitted().timestamps(5, 6).window_scale(15).window(99).build();
    let tcp = packet(&frame).tcp().expect("a TCP segment");
    assert_eq!((tcp.seq, tcp.ack, tcp.flags, tcp.window), (7, 0, TcpFlags::SYN, 99));
    assert_eq!((tcp.mss(), tcp.timestamps(), tcp.is_sack_permitted()), (Some(1460), Some((5, 6)), true));
    assert_eq!(tcp.window_shift(), Some(14), "RFC 7323 section 2.3 caps the shift");
    assert!(tcp.options().any(|option| option == TcpOption::WindowScale(15)));
    let sack = [5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1];
    let frame = tcp4().tcp_options(&sack).payload(b"more").build();
    let options: Vec<_> = packet(&frame).tcp().expect("a TCP segment").options().collect();
    assert_eq!(options, [TcpOption::Sack(&[0, 0, 0, 1, 0, 0, 0, 2])]);
    assert_eq!(packet(&frame).payload(), b"more");
}

#[test]
fn arp_and_neighbours() {
    let mac = [2, 0, 0, 0, 0, 7];
    let frame = emit::arp_request(mac, [10, 0, 0, 1], [10, 0, 0, 2]).build();
    let arp = packet(&frame).arp().expect("ARP");
    assert_eq!((arp.operation, arp.sender_mac, arp.target_mac), (ArpOperation::Request, mac, [0; 6]));
    assert_eq!(packet(&frame).source(), IpAddr::from(arp.sender_address));
    assert_eq!(packet(&frame).destination(), IpAddr::from(arp.target_address));
    assert_eq!(FlowKey::of(&packet(&frame)), None);

    let v6 = |last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
    for (frame, kind, target, source_mac, target_mac) in [
        (emit::router_solicitation(mac, v6(1)), NeighbourKind::RouterSolicitation, None, Some(mac), None),
        (emit::router_advertisement(mac, v6(1)), NeighbourKind::RouterAdvertisement, None, Some(mac), None),
        (
            emit::neighbour_solicitation(mac, v6(1), v6(2)),
            NeighbourKind::NeighbourSolicitation,
            Some(v6(2)),
            Some(mac),
            None,
        ),
        (
            emit::neighbour_advertisement(mac, v6(1), v6(2), v6(1)),
            NeighbourKind::NeighbourAdvertisement,
            Some(v6(1)),
            None,
            Some(mac),
        ),
        (emit::redirect(mac, v6(1), v6(2), v6(3), v6(4)), NeighbourKind::Redirect, Some(v6(3)), None, None),
    ] {
        let frame = frame.build();
        let view = packet(&frame).neighbour().expect("neighbour discovery");
        assert_eq!((view.kind, view.target, view.source_mac, view.target_mac), (kind, target, source_mac, target_mac));
        assert_eq!(view.is_override, kind == NeighbourKind::NeighbourAdvertisement);
        assert_eq!(view.destination, (kind == NeighbourKind::Redirect).then(|| v6(4)));
    }
    let probe = emit::neighbour_solicitation(mac, Ipv6Addr::UNSPECIFIED, v6(2)).build();
    assert_eq!(packet(&probe).neighbour().expect("duplicate address detection").source_mac, None);
}

#[test]
fn both_directions_share_a_key() {
    let v6 = |last: u16| [0x2001, 0xdb8, 0, 0, 0, 0, 0, last];
    let pairs = [
        (udp4(), emit::udp(([10, 0, 0, 2], 2000), ([10, 0, 0, 1], 1000))),
        (udp6(), emit::udp((v6(2), 2000), (v6(1), 1000))),
        (emit::tcp((v6(9), 5), (v6(9 << 8), 6)), emit::tcp((v6(9 << 8), 6), (v6(9), 5))),
        (
            emit::icmp_echo_request([10, 0, 0, 1], [10, 0, 0, 2], 7, 1),
            emit::icmp_echo_reply([10, 0, 0, 2], [10, 0, 0, 1], 7, 1),
        ),
        (emit::icmp_echo_request(v6(1), v6(2), 7, 1), emit::icmp_echo_reply(v6(2), v6(1), 7, 9)),
        (emit::ip([10, 0, 0, 1], [10, 0, 0, 2], 47), emit::ip([10, 0, 0, 2], [10, 0, 0, 1], 47)),
    ];
    for (there, back) in pairs {
        let ((there_key, there_way), (back_key, back_way)) = (key(&there).expect("a key"), key(&back).expect("a key"));
        assert_eq!((there_key, there_way), (back_key, back_way.reversed()));
        assert!((there_key.low_address, there_key.low_port) <= (there_key.high_address, there_key.high_port));
    }
    assert_ne!(key(&udp4()).map(|(key, _)| key), key(&tcp4()).map(|(key, _)| key), "the protocol is part of the key");
    let mapped = key(&udp4()).expect("a key").0;
    assert_eq!(mapped.low_address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1]);
    let unreachable = emit::icmp_error([10, 0, 0, 2], [10, 0, 0, 1], 3, 1, &[]);
    let error_key = key(&unreachable).expect("a key").0;
    assert_eq!((error_key.low_port, error_key.high_port, error_key.protocol), (0x0301, 0, 1));
    assert_eq!(FlowKey::of(&packet(&udp4().payload([0; 64]).fragments(32)[0])), None);
}

#[test]
fn errors_name_the_flow_that_they_quote() {
    let v6 = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    let echo = emit::icmp_echo_request([10, 0, 0, 1], [10, 0, 0, 2], 7, 1);
    let extended = udp6().extension(0, &[1, 4]).payload(b"x");
    let long = tcp4().payload([0; 2000]);
    for quoted in [&udp4(), &tcp4(), &long, &echo] {
        let error = emit::icmp_error([10, 0, 0, 9], [10, 0, 0, 1], 11, 0, &quoted.build()).build();
        assert!(packet(&error).is_icmp_error());
        assert_eq!(packet(&error).quoted_flow(), key(quoted));
    }
    for quoted in [&udp6(), &extended] {
        let error = emit::icmp_error(v6(9), v6(1), 1, 0, &quoted.build()).build();
        assert_eq!(packet(&error).quoted_flow(), key(quoted));
    }
    // Quotations that lie or say too little name no flow; none of them may panic.
    let frame = udp4().payload(b"quoted").build();
    let quoted = |bytes: &[u8]| {
        let error = emit::icmp([10, 0, 0, 9], [10, 0, 0, 1], 3, 3, [0; 4]).payload(bytes).build();
        packet(&error).quoted_flow()
    };
    for len in 0..28 {
        assert_eq!(quoted(&frame[14..14 + len]), None, "{len} bytes quoted");
    }
    assert_eq!(quoted(&frame[14..42]), key(&udp4()));
    let edited = |at: usize, byte: u8| {
        let mut bytes = frame[14..].to_vec();
        bytes[at] = byte;
        quoted(&bytes)
    };
    assert_eq!(edited(0, 0x44), None, "header length under 20");
    assert_eq!(edited(0, 0x4f), None, "header longer than the quotation");
    assert_eq!(edited(0, 0x65), None, "version");
    assert_eq!(edited(7, 1), None, "a later fragment");
    assert_eq!(edited(2, 0xff), key(&udp4()), "the total length is not believed");
    let nested = emit::icmp_error([10, 0, 0, 1], [10, 0, 0, 9], 3, 3, &frame).build();
    assert_eq!(quoted(&nested[14..]), None, "an error about an error");
    let redirect = emit::icmp_error([10, 0, 0, 9], [10, 0, 0, 1], 5, 1, &frame).build();
    assert_eq!(packet(&redirect).quoted_flow(), None, "redirects belong to no flow");
}

#[test]
fn fragments_have_no_transport() {
    for (udp, header_len) in [(udp4(), 34), (udp6(), 62)] {
        for (index, frame) in udp.payload([5; 64]).ip_id(0x77).fragments(32).iter().enumerate() {
            let fragment = packet(frame).headers().fragment.expect("a fragment");
            assert_eq!(packet(frame).headers().transport, Transport::None);
            assert_eq!((fragment.identification, fragment.more), (0x77, index != 2));
            assert_eq!(usize::from(fragment.offset), index * 32);
            assert_eq!(usize::from(packet(frame).headers().payload_offset), header_len);
            assert_eq!(packet(frame).headers().protocol, 17);
            assert_eq!((packet(frame).source_port(), packet(frame).tcp()), (0, None));
        }
    }
}
