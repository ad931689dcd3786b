//! Signatures on the walk: the frame that carries the match never reaches its receiver.

use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::wire::emit;
use vswitch::drop_reason::DropReason;
use vswitch::event::EventKind;
use vswitch::frame::ClaimedOffload;

use crate::bench::*;

fn rules(text: &str) -> RuleSet {
    let file = RuleFile { name: "test.rules".into(), text: text.into() };
    let loaded = RuleSet::compile(&[file], &Vars::default());
    assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
    loaded.rules
}

fn datagram(text: &str) -> Vec<u8> {
    addressed(emit::udp((ip(11), 1_000), (ip(21), 53)).payload(text), 11, 21)
}

#[test]
fn a_match_with_action_drop_is_dropped_and_names_its_signature() {
    let rules = rules(r#"drop udp any any -> any 53 (msg:"evil"; content:"EVIL"; nocase; sid:7; rev:2;)"#);
    let mut bench = Bench::new(policy(Vec::new()), rules, 64);
    bench.assert_arrives(WEB1, &datagram("benign"), &[DB1]);
    bench.assert_dropped(WEB1, &datagram("some evil text"), DropReason::Signature);
    let kinds: Vec<_> = bench.take_events().into_iter().map(|event| event.kind).collect();
    let signature = kinds.iter().find_map(|kind| match kind {
        EventKind::Drop { signature, .. } => *signature,
        EventKind::WouldDrop { .. }
        | EventKind::Alert(_)
        | EventKind::Anomaly(..)
        | EventKind::FileAlert(_)
        | EventKind::FileInfo(_)
        | EventKind::Note(_)
        | EventKind::Flow(_) => None,
    });
    let sid = signature.and_then(|index| bench.generation.rules.signature(index)).map(|info| info.sid);
    assert_eq!(sid, Some(7));
    assert_eq!(kinds.iter().filter(|kind| matches!(kind, EventKind::Alert(_))).count(), 1);
    assert_eq!(bench.counters.alerts_blocked.value(), 1);
    bench.assert_books_balance();
}

#[test]
fn an_alert_is_no_verdict() {
    let rules = rules(r#"alert udp any any -> any 53 (msg:"odd"; content:"odd"; sid:8;)"#);
    let mut bench = Bench::new(policy(Vec::new()), rules, 64);
    bench.assert_arrives(WEB1, &datagram("odd"), &[DB1]);
    assert_eq!(bench.counters.alerts_allowed.value(), 1);
    assert_eq!(bench.counters.alerts_blocked.value(), 0);
}

#[test]
fn what_policy_denies_is_not_inspected() {
    let rules = rules(r#"alert udp any any -> any any (msg:"any"; content:"x"; sid:9;)"#);
    let mut bench = Bench::new(policy(Vec::new()), rules, 64);
    let frame = addressed(emit::udp((ip(21), 1_000), (ip(11), 53)).payload("x"), 21, 11);
    bench.assert_dropped(DB1, &frame, DropReason::Policy);
    assert_eq!(bench.counters.alerts_allowed.value() + bench.counters.alerts_blocked.value(), 0);
}

#[test]
fn a_connection_under_inspection_may_close_by_halves() {
    let rules = rules(r#"drop tcp any any -> any any (msg:"evil"; flow:established; content:"EVIL"; sid:7;)"#);
    let mut bench = Bench::new(policy(Vec::new()), rules, 64);
    let client = |seq, ack| emit::tcp((ip(11), 40_000), (ip(21), 5_432)).seq(seq).ack(ack);
    let server = |seq, ack| emit::tcp((ip(21), 5_432), (ip(11), 40_000)).seq(seq).ack(ack);
    let conversation = [
        (WEB1, DB1, client(100, 0).syn()),
        (DB1, WEB1, server(500, 101).syn_ack()),
        (WEB1, DB1, client(101, 501)),
        (WEB1, DB1, client(101, 501).payload("question")),
        (DB1, WEB1, server(501, 109)),
        (WEB1, DB1, client(109, 501).fin()),
        (DB1, WEB1, server(501, 110)),
        (DB1, WEB1, server(501, 110).payload("answer")),
        (WEB1, DB1, client(110, 507)),
        (DB1, WEB1, server(507, 110).fin()),
        (WEB1, DB1, client(110, 508)),
    ];
    for (from, to, segment) in conversation {
        let (source, destination) = if from == WEB1 { (11, 21) } else { (21, 11) };
        bench.assert_arrives(from, &addressed(segment, source, destination), &[to]);
    }
    assert_eq!(bench.drops(), []);
}

/// A thousand requests in one super-segment, of which one asks for something else.
#[test]
fn each_request_of_a_super_segment_is_looked_at() {
    let rule = r#"drop http any any -> any any (msg:"evil"; http.uri; content:"/evil"; sid:7;)"#;
    let client = |seq, ack| emit::tcp((ip(11), 40_000), (ip(21), 5_432)).seq(seq).ack(ack).window(60_000);
    let server = |seq, ack| emit::tcp((ip(21), 5_432), (ip(11), 40_000)).seq(seq).ack(ack).window(60_000);
    let requests = |other: usize| -> Vec<u8> {
        let path = |number| if number == other { "/evil" } else { "/index.html" };
        let request = |number| format!("GET {} HTTP/1.1\r\nHost: www.example.com\r\n\r\n", path(number));
        (0..1000).flat_map(|number| request(number).into_bytes()).collect()
    };
    let claimed = ClaimedOffload { flags: 1, gso_type: 1, gso_size: 1448, csum_start: 34, csum_offset: 16 };
    for evil in [usize::MAX, 900] {
        let mut bench = Bench::new(policy(Vec::new()), rules(rule), 64);
        for (from, to, step) in [
            (WEB1, DB1, client(100, 0).syn().window_scale(2)),
            (DB1, WEB1, server(500, 101).syn_ack().window_scale(2)),
            (WEB1, DB1, client(101, 501)),
        ] {
            let (from_number, to_number) = if from == WEB1 { (11, 21) } else { (21, 11) };
            bench.assert_arrives(from, &addressed(step, from_number, to_number), &[to]);
        }
        let frame = addressed(client(101, 501).payload(requests(evil)).partial_checksum(), 11, 21);
        bench.moved();
        bench.send_with(WEB1, &frame, claimed);
        if evil == 900 {
            bench.assert_only_drop(WEB1, DropReason::Signature);
            assert!(bench.received(DB1).is_empty());
        } else {
            let received = bench.received(DB1);
            assert_eq!(received.iter().map(|sent| sent.frame.len()).collect::<Vec<_>>(), [frame.len()]);
        }
        bench.assert_books_balance();
    }
}
