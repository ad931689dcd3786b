//! Signatures on the walk: the frame that carries the match never reaches its receiver.

use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::wire::emit;
use vswitch::drop_reason::DropReason;
use vswitch::event::EventKind;

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
