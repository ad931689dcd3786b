//! What passes: zones, flows and their answers, floods, learning, reloads.

use inspect::wire::emit;
use zones::rule::{Action, Rule};
use zones::service::Service;

use crate::bench::*;
use vswitch::drop_reason::DropReason;

fn syn(from: u8, to: u8, port: u16) -> Vec<u8> {
    addressed(emit::tcp((ip(from), 40_000), (ip(to), port)).seq(1_000).ack(0).syn(), from, to)
}

fn syn_ack(from: u8, to: u8, port: u16) -> Vec<u8> {
    addressed(emit::tcp((ip(from), port), (ip(to), 40_000)).seq(5_000).ack(1_001).syn_ack(), from, to)
}

fn data(from: u8, to: u8, port: u16, text: &str) -> Vec<u8> {
    addressed(emit::tcp((ip(from), 40_000), (ip(to), port)).seq(1_001).ack(5_001).payload(text), from, to)
}

#[test]
fn a_frame_within_a_zone_arrives_unchanged_and_every_counter_says_so() {
    let mut bench = Bench::default();
    let frame = addressed(emit::udp((ip(11), 1_000), (ip(12), 2_000)).payload("hello"), 11, 12);
    bench.assert_arrives(WEB1, &frame, &[WEB2]);
    let len = frame.len() as u64;
    let moved = bench.moved();
    let expected = [
        ("cleared", 1),
        ("flows opened", 1),
        ("web1 delivered", 1),
        ("web1 received", 1),
        ("web1 received bytes", len),
        ("web2 transmitted", 1),
        ("web2 transmitted bytes", len),
    ];
    assert_eq!(moved, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

#[test]
fn a_connection_on_the_allowed_port_passes_both_ways_and_only_when_opened_the_allowed_way() {
    let mut bench = Bench::default();
    bench.assert_arrives(WEB1, &syn(11, 21, 5_432), &[DB1]);
    bench.assert_arrives(DB1, &syn_ack(21, 11, 5_432), &[WEB1]);
    bench.assert_arrives(WEB1, &data(11, 21, 5_432, "select"), &[DB1]);
    let answer = addressed(emit::tcp((ip(21), 5_432), (ip(11), 40_000)).seq(5_001).ack(1_007).payload("row"), 21, 11);
    bench.assert_arrives(DB1, &answer, &[WEB1]);

    bench.assert_dropped(WEB1, &syn(11, 21, 22), DropReason::Policy);
    assert_eq!(bench.last_decider().as_deref(), Some("default"));
    let backwards = addressed(emit::tcp((ip(21), 40_000), (ip(11), 5_432)).seq(1).ack(0).syn(), 21, 11);
    bench.assert_dropped(DB1, &backwards, DropReason::Policy);
    bench.assert_books_balance();
}

#[test]
fn an_answer_without_a_question_is_not_let_in() {
    let mut bench = Bench::default();
    bench.assert_dropped(DB1, &syn_ack(21, 11, 5_432), DropReason::NotOpened);
    let reply = addressed(emit::icmp_echo_reply(ip(21), ip(11), 7, 1), 21, 11);
    bench.assert_dropped(DB1, &reply, DropReason::NotOpened);
    let request = addressed(emit::icmp_echo_request(ip(11), ip(21), 7, 1), 11, 21);
    bench.assert_arrives(WEB1, &request, &[DB1]);
    bench.assert_arrives(DB1, &reply, &[WEB1]);
}

#[test]
fn an_icmp_error_passes_only_about_a_flow_that_is_there() {
    let mut bench = Bench::default();
    let query = addressed(emit::udp((ip(11), 3_000), (ip(21), 53)).payload("?"), 11, 21);
    let error = addressed(emit::icmp_error(ip(21), ip(11), 3, 3, &query), 21, 11);
    bench.assert_dropped(DB1, &error, DropReason::IcmpUnrelated);
    bench.assert_arrives(WEB1, &query, &[DB1]);
    bench.assert_arrives(DB1, &error, &[WEB1]);
    let other = addressed(emit::udp((ip(11), 3_001), (ip(21), 53)).payload("?"), 11, 21);
    let about_other = addressed(emit::icmp_error(ip(21), ip(11), 3, 3, &other), 21, 11);
    bench.assert_dropped(DB1, &about_other, DropReason::IcmpUnrelated);
}

#[test]
fn address_resolution_passes_between_ports_that_may_talk_and_no_others() {
    let mut bench = Bench::default();
    let request = emit::arp_request(mac(11), ip(11), ip(21)).build();
    // web may talk to web, db and the outside; nobody but the outside talks to lab.
    bench.send(WEB1, &request);
    let arrived: Vec<_> = [WEB2, DB1, UP0].map(|port| bench.received(port).len()).into();
    assert_eq!(arrived, [1, 1, 1]);
    assert_eq!(bench.received(LAB1), []);
    assert_eq!(bench.drops(), [("web1 drop neighbour_isolated".to_owned(), 1)]);
    let moved = bench.moved();
    assert_eq!(moved.get("web1 copies"), Some(&3));
    let reply = emit::arp_reply(mac(21), ip(21), mac(11), ip(11)).macs(mac(21), mac(11)).build();
    bench.assert_arrives(DB1, &reply, &[WEB1]);
    bench.assert_books_balance();
}

#[test]
fn a_broadcast_is_judged_for_each_port_by_itself() {
    let mut bench = Bench::default();
    let frame =
        emit::udp((ip(11), 1_000), ([255, 255, 255, 255], 2_000)).macs(mac(11), [0xff; 6]).payload("all").build();
    bench.send(WEB1, &frame);
    let arrived = [WEB2, DB1, LAB1, UP0].map(|port| bench.received(port).len());
    assert_eq!(arrived, [1, 0, 0, 1], "web may talk to web and to the outside");
    assert_eq!(bench.drops(), [("web1 drop policy".to_owned(), 2)]);
    bench.assert_books_balance();
}

#[test]
fn the_uplinks_addresses_are_learned_and_guests_addresses_are_not_taken_from_them() {
    let mut bench = Bench::default();
    let out = emit::udp((ip(11), 1_000), ([192, 0, 2, 1], 53)).macs(mac(11), OUTSIDE_MAC).payload("x").build();
    bench.send(WEB1, &out);
    assert_eq!(bench.received(UP0).len(), 1, "unknown: to the uplink");
    assert_eq!(bench.received(LAB1).len(), 0, "lab1 has no fixed address, but web may not talk to lab");
    assert_eq!(bench.drops(), [("web1 drop policy".to_owned(), 1)]);
    let back = emit::udp(([192, 0, 2, 1], 53), (ip(11), 1_000)).macs(OUTSIDE_MAC, mac(11)).payload("y").build();
    bench.assert_arrives(UP0, &back, &[WEB1]);
    bench.assert_arrives(WEB1, &out, &[UP0]);
    let stolen = emit::udp((ip(11), 1_000), (ip(12), 2_000)).macs(mac(11), mac(12)).build();
    bench.assert_dropped(UP0, &stolen, DropReason::SpoofMac);
    bench.assert_arrives(WEB2, &addressed(emit::udp((ip(12), 1), (ip(11), 2)), 12, 11), &[WEB1]);
}

#[test]
fn a_reload_that_narrows_the_policy_reaches_flows_that_are_open() {
    let mut bench = Bench::default();
    bench.assert_arrives(WEB1, &syn(11, 21, 5_432), &[DB1]);
    bench.assert_arrives(DB1, &syn_ack(21, 11, 5_432), &[WEB1]);
    bench.assert_arrives(WEB1, &data(11, 21, 5_432, "before"), &[DB1]);
    let deny = Rule::new("closed", Action::Drop)
        .between("web".parse().expect("a zone"), "db".parse().expect("a zone"))
        .about(Service::tcp(5_432));
    bench.reload(policy(vec![deny]));
    let answer = addressed(emit::tcp((ip(21), 5_432), (ip(11), 40_000)).seq(5_001).ack(1_007).payload("row"), 21, 11);
    bench.assert_dropped(DB1, &answer, DropReason::Policy);
    assert_eq!(bench.last_decider().as_deref(), Some("closed"));
    bench.reload(policy(Vec::new()));
    bench.assert_dropped(WEB1, &data(11, 21, 5_432, "after"), DropReason::NotOpened);
}

#[test]
fn an_unchanged_reload_leaves_flows_open() {
    let mut bench = Bench::default();
    bench.assert_arrives(WEB1, &syn(11, 21, 5_432), &[DB1]);
    bench.assert_arrives(DB1, &syn_ack(21, 11, 5_432), &[WEB1]);
    bench.reload(policy(Vec::new()));
    bench.assert_arrives(WEB1, &data(11, 21, 5_432, "still"), &[DB1]);
}

#[test]
fn flows_end_when_their_time_is_over() {
    let mut bench = Bench::default();
    let query = addressed(emit::udp((ip(11), 3_000), (ip(21), 53)).payload("?"), 11, 21);
    let answer = addressed(emit::udp((ip(21), 53), (ip(11), 3_000)).payload("!"), 21, 11);
    bench.assert_arrives(WEB1, &query, &[DB1]);
    bench.advance_ms(29_999);
    bench.assert_arrives(DB1, &answer, &[WEB1]);
    bench.advance_ms(179_999);
    bench.assert_arrives(DB1, &answer, &[WEB1]);
    bench.advance_ms(180_000);
    bench.assert_dropped(DB1, &answer, DropReason::Policy);
    bench.assert_arrives(WEB1, &query, &[DB1]);
    let places = bench.pipeline.flows().places();
    bench.advance_ms(30_000);
    bench.housekeep(places);
    assert!(bench.pipeline.flows().is_empty());
}

#[test]
fn padding_behind_the_datagram_is_cut_off() {
    let mut bench = Bench::default();
    let sound = addressed(emit::udp((ip(11), 1_000), (ip(12), 2_000)).payload("hello"), 11, 12);
    let padded = addressed(emit::udp((ip(11), 1_000), (ip(12), 2_000)).payload("hello").padding(b"secret"), 11, 12);
    assert_eq!(padded.len(), sound.len() + 6);
    bench.send(WEB1, &padded);
    let arrived = bench.received(WEB2);
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].frame, sound);
}

#[test]
fn a_long_burst_to_many_ports_keeps_each_ports_order_and_the_books() {
    let mut bench = Bench::new(policy(Vec::new()), inspect::signature::RuleSet::default(), 4_096);
    for n in 0..200u16 {
        let to = if n % 3 == 0 { 12 } else { 21 };
        let frame = addressed(emit::udp((ip(11), 10_000 + n % 7), (ip(to), 53)).payload(n.to_be_bytes()), 11, to);
        bench.peer(WEB1).send(&frame);
    }
    bench.walk(WEB1);
    for port in [WEB2, DB1] {
        let order: Vec<_> = bench.received(port).iter().map(|sent| sent.frame[42..44].to_vec()).collect();
        assert!(order.is_sorted(), "{order:?}");
        assert!(!order.is_empty());
    }
    bench.assert_books_balance();
}
