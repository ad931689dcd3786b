//! Each reason for a drop at least once, with exactly one counter moving for it.

use inspect::wire::emit;
use vswitch::drop_reason::DropReason;
use vswitch::frame::{ClaimedOffload, FRAME_LEN_MAX};
use vswitch::port::PortFault;

use crate::bench::*;

fn udp(from: u8, to: u8) -> Vec<u8> {
    addressed(emit::udp((ip(from), 1_000), (ip(to), 2_000)).payload("x"), from, to)
}

#[test]
fn frames_that_port_security_refuses() {
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address");
    let cases = [
        (emit::udp((ip(11), 1), (ip(12), 2)).macs(mac(99), mac(12)).build(), DropReason::SpoofMac),
        (addressed(emit::udp((ip(12), 1), (ip(21), 2)), 11, 21), DropReason::SpoofIpv4),
        (
            emit::udp((v6("2001:db8::1"), 1), (v6("2001:db8::2"), 2)).macs(mac(11), mac(12)).build(),
            DropReason::SpoofIpv6,
        ),
        (emit::arp_request(mac(11), ip(12), ip(21)).build(), DropReason::SpoofArp),
        (emit::arp_request(mac(12), ip(11), ip(21)).macs(mac(11), [0xff; 6]).build(), DropReason::SpoofArp),
        (addressed(emit::udp((ip(11), 67), (ip(12), 68)), 11, 12), DropReason::SpoofDhcpServer),
    ];
    for (frame, reason) in cases {
        let mut bench = Bench::default();
        bench.assert_dropped(WEB1, &frame, reason);
        bench.assert_books_balance();
    }
}

#[test]
fn neighbour_discovery_that_port_security_refuses() {
    let link_local = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0x00ff, 0xfe00, 11);
    let mut bench = Bench::default();
    let advertisement = emit::router_advertisement(mac(11), link_local).build();
    bench.assert_dropped(WEB1, &advertisement, DropReason::SpoofRouter);
    let other = std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0x00ff, 0xfe00, 12);
    let stolen = emit::neighbour_advertisement(mac(11), link_local, other, other).macs(mac(11), mac(12)).build();
    bench.assert_dropped(WEB1, &stolen, DropReason::SpoofNeighbour);
}

#[test]
fn frames_that_go_nowhere() {
    let mut bench = Bench::default();
    bench.assert_dropped(WEB1, &udp(11, 11), DropReason::Malformed);
    let hairpin = addressed(emit::udp((ip(11), 1), (ip(12), 2)), 11, 11);
    bench.assert_dropped(WEB1, &hairpin, DropReason::Hairpin);
    bench.unplug(WEB2);
    bench.assert_dropped(WEB1, &udp(11, 12), DropReason::PortDown);
    for port in [DB1, LAB1, UP0] {
        bench.unplug(port);
    }
    let broadcast = emit::arp_request(mac(11), ip(11), ip(12)).build();
    bench.assert_dropped(WEB1, &broadcast, DropReason::NoEgress);
    bench.assert_books_balance();
}

#[test]
fn frames_that_no_frame_may_be() {
    let mut bench = Bench::default();
    bench.assert_dropped(WEB1, &[0; 13], DropReason::Runt);
    bench.assert_dropped(WEB1, &vec![0; FRAME_LEN_MAX + 1], DropReason::Oversize);
    let mut tagged = udp(11, 12);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    bench.assert_dropped(WEB1, &tagged, DropReason::Malformed);
    let mut bad_sum = udp(11, 12);
    let last = bad_sum.len() - 1;
    bad_sum[last] ^= 1;
    bench.assert_dropped(WEB1, &bad_sum, DropReason::Malformed);
    bench.assert_books_balance();
}

#[test]
fn offload_claims_that_do_not_fit() {
    let mut bench = Bench::default();
    let frame = addressed(emit::udp((ip(11), 1), (ip(12), 2)).payload("x").partial_checksum(), 11, 12);
    let claim = |csum_start| ClaimedOffload { flags: 1, csum_start, csum_offset: 6, ..ClaimedOffload::default() };
    bench.moved();
    bench.send_with(WEB1, &frame, claim(35));
    bench.assert_only_drop(WEB1, DropReason::OffloadClaim);
    bench.send_with(WEB1, &frame, claim(34));
    let arrived = bench.received(WEB2);
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].offload, vswitch::frame::Offload::Checksum);
    bench.assert_books_balance();
}

fn fragments(text: &[u8]) -> Vec<Vec<u8>> {
    emit::udp((ip(11), 1_000), (ip(12), 2_000)).macs(mac(11), mac(12)).payload(text).fragments(1_500)
}

#[test]
fn fragments_wait_for_each_other_and_go_on_as_they_came() {
    let mut bench = Bench::default();
    let fragments = fragments(&[7; 4_000]);
    assert!(fragments.len() > 2);
    for frame in fragments.iter().skip(1).rev() {
        bench.send(WEB1, frame);
        assert_eq!(bench.received(WEB2), []);
        bench.assert_books_balance();
    }
    bench.send(WEB1, &fragments[0]);
    let arrived: Vec<_> = bench.received(WEB2).into_iter().map(|sent| sent.frame).collect();
    assert_eq!(arrived, fragments);
    assert_eq!(bench.counters.port(WEB1).held.value(), 0);
    bench.assert_books_balance();
}

#[test]
fn fragments_of_a_datagram_that_policy_denies_all_end_there() {
    let mut bench = Bench::default();
    let fragments = emit::udp((ip(11), 1_000), (ip(21), 9)).macs(mac(11), mac(21)).payload([1; 3_000]).fragments(1_500);
    for frame in &fragments {
        bench.send(WEB1, frame);
    }
    assert_eq!(bench.received(DB1), []);
    assert_eq!(bench.drops(), [("web1 drop policy".to_owned(), fragments.len() as u64)]);
    bench.assert_books_balance();
}

#[test]
fn fragments_that_overlap_or_stay_alone() {
    let mut bench = Bench::default();
    let (good, other) = (fragments(&[1; 3_000]), fragments(&[2; 3_000]));
    bench.send(WEB1, &good[1]);
    bench.send(WEB1, &other[1]);
    assert_eq!(bench.drops(), [("web1 drop fragment".to_owned(), 2)], "the overlap, and what was held");
    bench.assert_books_balance();
    let mut bench = Bench::default();
    bench.send(WEB1, &good[0]);
    assert_eq!(bench.counters.port(WEB1).held.value(), 1);
    bench.advance_ms(20_000);
    bench.housekeep(1);
    assert_eq!(bench.drops(), [("web1 drop fragment".to_owned(), 1)]);
    bench.assert_books_balance();
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_old_ones() {
    let mut bench = Bench::new(policy(Vec::new()), inspect::signature::RuleSet::default(), 8);
    // Open six flows of web1's share, each answered, so that none is half-open.
    for port in 0..6 {
        bench.send(WEB1, &addressed(emit::udp((ip(11), 100 + port), (ip(12), 53)), 11, 12));
        bench.send(WEB2, &addressed(emit::udp((ip(12), 53), (ip(11), 100 + port)), 12, 11));
    }
    for port in [WEB1, WEB2, DB1] {
        bench.received(port);
    }
    bench.assert_dropped(WEB1, &addressed(emit::udp((ip(11), 200), (ip(12), 53)), 11, 12), DropReason::FlowQuota);
    for port in 0..2 {
        bench.send(WEB2, &addressed(emit::udp((ip(12), 300 + port), (ip(21), 53)), 12, 21));
        bench.send(DB1, &addressed(emit::udp((ip(21), 53), (ip(12), 300 + port)), 21, 12));
    }
    for port in [WEB1, WEB2, DB1] {
        bench.received(port);
    }
    bench.assert_dropped(WEB2, &addressed(emit::udp((ip(12), 400), (ip(21), 53)), 12, 21), DropReason::FlowTableFull);
    let old = addressed(emit::udp((ip(11), 100), (ip(12), 53)), 11, 12);
    bench.assert_arrives(WEB1, &old, &[WEB2]);
    bench.assert_books_balance();
}

#[test]
fn half_open_flows_make_way_for_new_ones() {
    let mut bench = Bench::new(policy(Vec::new()), inspect::signature::RuleSet::default(), 4);
    for port in 0..3 {
        bench.send(WEB1, &addressed(emit::udp((ip(11), 100 + port), (ip(12), 53)), 11, 12));
        bench.advance_ms(10);
    }
    bench.send(WEB2, &addressed(emit::udp((ip(12), 1), (ip(21), 53)), 12, 21));
    for port in [WEB1, WEB2, DB1] {
        bench.received(port);
    }
    assert_eq!(bench.pipeline.flows().len(), 4);
    bench.assert_arrives(WEB2, &addressed(emit::udp((ip(12), 2), (ip(21), 53)), 12, 21), &[DB1]);
    assert_eq!(bench.pipeline.flows().len(), 4);
}

#[test]
fn receivers_that_do_not_take_their_frames() {
    let mut bench = Bench::default();
    bench.peer(WEB2).set_room(Some(0));
    bench.assert_dropped(WEB1, &udp(11, 12), DropReason::ReceiveBuffers);
    bench.peer(WEB2).set_room(Some(1));
    for _ in 0..3 {
        bench.peer(WEB1).send(&udp(11, 12));
    }
    bench.walk(WEB1);
    assert_eq!(bench.received(WEB2).len(), 1);
    bench.peer(WEB2).set_fault(PortFault { word: "test" });
    bench.assert_dropped(WEB1, &udp(11, 12), DropReason::PortFault);
    bench.assert_books_balance();
}

#[test]
fn a_port_that_is_not_in_the_generation_sends_nothing() {
    let mut bench = Bench::default();
    let generation = std::sync::Arc::get_mut(&mut bench.generation).expect("no other owner");
    generation.ports[0] = None;
    bench.assert_dropped(WEB1, &udp(11, 12), DropReason::PortDown);
}

/// Within a burst, what port security and egress look-up said of one packet stands for those that are equal in all that
/// they asked about, and for no others.
#[test]
fn each_frame_of_a_burst_is_judged_by_what_it_says_itself() {
    let good = udp(11, 12);
    let dhcp_server = addressed(emit::udp((ip(11), 67), (ip(12), 2_000)).payload("x"), 11, 12);
    let others = [
        (addressed(emit::udp((ip(12), 1_000), (ip(11), 2_000)).payload("x"), 11, 12), DropReason::SpoofIpv4),
        (emit::udp((ip(11), 1_000), (ip(12), 2_000)).macs(mac(99), mac(12)).build(), DropReason::SpoofMac),
        (addressed(emit::udp((ip(11), 1_000), (ip(12), 2_000)).payload("x"), 11, 11), DropReason::Hairpin),
        (dhcp_server, DropReason::SpoofDhcpServer),
        (emit::arp_request(mac(11), ip(12), ip(12)).macs(mac(11), mac(12)).build(), DropReason::SpoofArp),
    ];
    for (other, reason) in others {
        let mut bench = Bench::default();
        for frame in [&good, &good, &other, &good, &other] {
            bench.peer(WEB1).send(frame);
        }
        bench.walk(WEB1);
        assert_eq!(bench.drops(), [(format!("web1 drop {}", reason.word()), 2)]);
        assert_eq!(bench.received(WEB2).len(), 3);
        bench.assert_books_balance();
    }
}
