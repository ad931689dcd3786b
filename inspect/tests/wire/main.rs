//! The wire parser, the frame builder and the segmenter, tested from outside.

mod differential;
mod malformed;
mod segments;
mod views;

use inspect::wire::emit::{self, FrameBuilder};

/// One sound frame of every shape that the builder knows, by name.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let v6 = |last: u16| std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    let mac = emit::SOURCE_MAC;
    let offending = emit::any_udp4(b"lost");
    let offending6 = udp6().payload(b"lost").build();
    vec![
        ("udp4", emit::any_udp4(b"payload")),
        ("udp4 padded", emit::udp(([10, 0, 0, 1], 1), ([10, 0, 0, 2], 2)).padding(&[7; 20]).build()),
        ("udp4 with router alert", udp4().ip_options(&[148, 4, 0, 0]).payload(b"x").build()),
        ("udp6", udp6().payload(b"payload").build()),
        ("tcp4 syn", tcp4().syn().mss(1460).sack_permitted().timestamps(1, 0).window_scale(7).build()),
        ("tcp4 data", tcp4().timestamps(5, 6).payload([b'a'; 100]).build()),
        ("tcp6 fin", tcp6().fin().payload(b"bye").build()),
        ("tcp6 rst", tcp6().rst().build()),
        ("tcp6 behind options", tcp6().extension(0, &[5, 2, 0, 0]).extension(60, &[1, 0]).payload(b"z").build()),
        ("udp6 atomic fragment", udp6().extension(44, &[0, 0, 0, 0, 0, 9]).payload(b"whole").build()),
        ("echo4", emit::icmp_echo_request([10, 0, 0, 1], [10, 0, 0, 2], 77, 1).payload(b"ping").build()),
        ("echo6", emit::icmp_echo_reply(v6(1), v6(2), 77, 1).payload(b"pong").build()),
        ("error4", emit::icmp_error([10, 0, 0, 2], [10, 0, 0, 1], 3, 3, &offending).build()),
        ("error6", emit::icmp_error(v6(2), v6(1), 1, 4, &offending6).build()),
        ("gre4", emit::ip([10, 0, 0, 1], [10, 0, 0, 2], 47).payload([0; 12]).build()),
        ("no next header", emit::ip(v6(1), v6(2), 59).extension(60, &[1, 4]).build()),
        ("arp request", emit::arp_request(mac, [10, 0, 0, 1], [10, 0, 0, 2]).build()),
        ("arp reply", emit::arp_reply(mac, [10, 0, 0, 1], emit::DESTINATION_MAC, [10, 0, 0, 2]).build()),
        ("neighbour solicitation", emit::neighbour_solicitation(mac, v6(1), v6(2)).build()),
        ("neighbour advertisement", emit::neighbour_advertisement(mac, v6(1), v6(2), v6(1)).build()),
        ("router solicitation", emit::router_solicitation(mac, v6(1)).build()),
        ("router advertisement", emit::router_advertisement(mac, v6(1)).build()),
        ("redirect", emit::redirect(mac, v6(1), v6(2), v6(3), v6(4)).build()),
        ("first fragment4", udp4().payload([1; 64]).fragments(32).swap_remove(0)),
        ("last fragment4", udp4().payload([1; 64]).fragments(32).swap_remove(2)),
        ("first fragment6", udp6().payload([1; 64]).fragments(32).swap_remove(0)),
        ("last fragment6", udp6().payload([1; 64]).fragments(32).swap_remove(2)),
    ]
}

fn udp4() -> FrameBuilder {
    emit::udp(([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 2000))
}

fn udp6() -> FrameBuilder {
    emit::udp(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 1000), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 2000))
}

fn tcp4() -> FrameBuilder {
    emit::tcp(([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 2000))
}

fn tcp6() -> FrameBuilder {
    emit::tcp(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 1000), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 2000))
}
