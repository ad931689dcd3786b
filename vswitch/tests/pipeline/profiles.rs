//! Inspection profiles on the walk: by the zones of the ports, in each mode, and with connections whose beginning nobody saw.

use inspect::inspector::{Mode, Profile, Settings};
use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::wire::emit;
use vswitch::drop_reason::DropReason;
use vswitch::eve::settings::EventType;
use vswitch::event::EventKind;
use vswitch::profiles::{NamedProfile, Profiles};
use zones::rule::{Action, Rule};

use crate::bench::*;

const RULES: &str = r#"
    drop tcp any any -> any any (msg:"evil"; flow:established; content:"EVIL"; sid:7;)
    drop udp any any -> any any (msg:"evil"; content:"EVIL"; sid:8;)"#;

fn rules() -> RuleSet {
    let file = RuleFile { name: "test.rules".into(), text: RULES.into() };
    RuleSet::compile(&[file], &Vars::default()).rules
}

fn settings(mode: Mode) -> Settings {
    Settings { mode, ..Settings::default() }
}

fn midstream(midstream: bool) -> Settings {
    Settings { midstream, ..Settings::default() }
}

/// One profile for everybody.
fn only(settings: Settings) -> Profiles {
    Profiles::only(Profile::all(settings))
}

/// `default` for everybody, but `pair` for flows from the first zone (web, db, lab, outside) to the second.
fn with_pair(default: Settings, (from, to): (usize, usize), pair: Settings) -> Profiles {
    let named = |name: &str, settings| {
        let profile = Profile::all(settings);
        NamedProfile { name: name.to_owned(), profile, signature_count: 0, stopping_count: 0 }
    };
    let mut by_zones = vec![vec![0; 4]; 4];
    by_zones[from][to] = 1;
    let zones = vec![Some(0), Some(0), Some(1), Some(2), Some(3)];
    Profiles::new(vec![named("default", default), named("pair", pair)], 0, zones, by_zones)
}

fn bench(profiles: Profiles) -> Bench {
    let mut bench = Bench::default();
    bench.reload_with(policy(Vec::new()), rules(), profiles);
    bench
}

fn datagram(from: u8, to: u8, text: &str) -> Vec<u8> {
    addressed(emit::udp((ip(from), 1_000), (ip(to), 53)).payload(text), from, to)
}

fn client(seq: u32, ack: u32, text: &str) -> Vec<u8> {
    addressed(emit::tcp((ip(11), 40_000), (ip(21), 5_432)).seq(seq).ack(ack).payload(text), 11, 21)
}

fn server(seq: u32, ack: u32, text: &str) -> Vec<u8> {
    addressed(emit::tcp((ip(21), 5_432), (ip(11), 40_000)).seq(seq).ack(ack).payload(text), 21, 11)
}

/// A connection from web1 to db1, up to where the client may send from 101 and the server from 501.
fn handshake(bench: &mut Bench) {
    let syn = emit::tcp((ip(11), 40_000), (ip(21), 5_432)).seq(100).ack(0).syn();
    bench.assert_arrives(WEB1, &addressed(syn, 11, 21), &[DB1]);
    let syn_ack = emit::tcp((ip(21), 5_432), (ip(11), 40_000)).seq(500).ack(101).syn_ack();
    bench.assert_arrives(DB1, &addressed(syn_ack, 21, 11), &[WEB1]);
    bench.assert_arrives(WEB1, &client(101, 501, ""), &[DB1]);
}

#[test]
fn each_mode_does_what_it_says() {
    let evil = datagram(11, 21, "EVIL");
    let mut ips = bench(only(settings(Mode::Prevent)));
    ips.assert_dropped(WEB1, &evil, DropReason::Signature);
    assert_eq!((ips.counters.alerts_blocked.value(), ips.counters.alerts_allowed.value()), (1, 0));
    let mut ids = bench(only(settings(Mode::Detect)));
    ids.assert_arrives(WEB1, &evil, &[DB1]);
    assert_eq!((ids.counters.alerts_blocked.value(), ids.counters.alerts_allowed.value()), (0, 1));
    assert!(ids.take_events().iter().all(|event| !matches!(event.kind, EventKind::WouldDrop { .. })));

    let mut audit = bench(only(settings(Mode::Audit)));
    audit.assert_arrives(WEB1, &evil, &[DB1]);
    assert_eq!((audit.counters.alerts_blocked.value(), audit.counters.alerts_allowed.value()), (0, 1));
    assert_eq!(audit.counters.would_drops[DropReason::Signature as usize].value(), 1);
    let told: Vec<_> = audit.take_events().into_iter().map(|event| (event.kind, event.to)).collect();
    let [(EventKind::Alert(alert), _), (EventKind::WouldDrop { reason, signature }, to)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!((*reason, *signature), (DropReason::Signature, Some(alert.signature)));
    assert_eq!(*to, Some(DB1));
    let cells = &audit.generation.profile_cells[0][0];
    assert_eq!((cells.alerts.value(), cells.drops.value(), cells.would_drops.value()), (1, 0, 1));
    for bench in [ips, ids, audit] {
        bench.assert_books_balance();
    }
}

#[test]
fn an_audit_says_of_the_rest_of_the_flow_what_would_have_become_of_it() {
    let mut bench = bench(only(settings(Mode::Audit)));
    handshake(&mut bench);
    bench.assert_arrives(WEB1, &client(101, 501, "EVIL"), &[DB1]);
    bench.assert_arrives(DB1, &server(501, 105, "answer"), &[WEB1]);
    bench.assert_arrives(WEB1, &client(105, 507, "more"), &[DB1]);
    let would = |reason: DropReason| bench.counters.would_drops[reason as usize].value();
    assert_eq!((would(DropReason::Signature), would(DropReason::FlowRefused)), (1, 2));
    assert_eq!(bench.drops(), []);
}

#[test]
fn records_of_an_audit_are_folded_as_drops_are() {
    let mut bench = bench(only(settings(Mode::Audit)));
    for _ in 0..100 {
        bench.assert_arrives(WEB1, &datagram(11, 21, "EVIL"), &[DB1]);
    }
    let told = bench.take_events().iter().filter(|event| matches!(event.kind, EventKind::WouldDrop { .. })).count();
    assert_eq!(told, usize::from(vswitch::event_log::allowance(EventType::Drop)));
    assert_eq!(bench.counters.would_drops[DropReason::Signature as usize].value(), 100);
}

#[test]
fn the_profile_is_that_of_the_zones_that_the_flow_goes_between() {
    let between = |frame: &[u8], at| {
        let mut bench = bench(with_pair(settings(Mode::Prevent), (0, 1), settings(Mode::Detect)));
        match at {
            Some(port) => bench.assert_arrives(WEB1, frame, &[port]),
            None => bench.assert_dropped(WEB1, frame, DropReason::Signature),
        }
    };
    between(&datagram(11, 21, "EVIL"), Some(DB1));
    between(&datagram(11, 12, "EVIL"), None);
}

#[test]
fn answers_are_inspected_by_the_profile_of_their_flow() {
    // From db to web nothing may be opened, and whatever that pair's profile is, no answer gets it.
    for (pair, passes) in [((0, 1), true), ((1, 0), false)] {
        let mut bench = bench(with_pair(settings(Mode::Prevent), pair, settings(Mode::Detect)));
        handshake(&mut bench);
        let answer = server(501, 101, "EVIL");
        if passes {
            bench.assert_arrives(DB1, &answer, &[WEB1]);
        } else {
            bench.assert_dropped(DB1, &answer, DropReason::Signature);
        }
    }
}

#[test]
fn an_open_flow_is_judged_by_the_newest_profile() {
    let mut bench = bench(only(settings(Mode::Detect)));
    handshake(&mut bench);
    bench.assert_arrives(WEB1, &client(101, 501, "EVIL"), &[DB1]);
    bench.reload_with(policy(Vec::new()), rules(), only(settings(Mode::Audit)));
    bench.assert_arrives(WEB1, &client(105, 501, "EVIL"), &[DB1]);
    assert_eq!(bench.counters.would_drops[DropReason::Signature as usize].value(), 1);
    bench.reload_with(policy(Vec::new()), rules(), with_pair(settings(Mode::Detect), (0, 1), settings(Mode::Prevent)));
    bench.assert_arrives(WEB1, &client(109, 501, "fine"), &[DB1]);
    bench.assert_dropped(WEB1, &client(113, 501, "EVIL"), DropReason::Signature);
}

#[test]
fn a_refusal_lasts_for_as_long_as_its_profile_prevents() {
    let evil = client(101, 501, "EVIL");
    let mut bench = bench(only(settings(Mode::Prevent)));
    handshake(&mut bench);
    bench.assert_dropped(WEB1, &evil, DropReason::Signature);
    bench.assert_dropped(WEB1, &evil, DropReason::FlowRefused);
    // Not even without the signature: what was taken out of the stream is missing.
    bench.reload_with(policy(Vec::new()), RuleSet::empty(), only(settings(Mode::Prevent)));
    bench.assert_dropped(WEB1, &evil, DropReason::FlowRefused);
    bench.assert_dropped(DB1, &server(501, 101, "hello?"), DropReason::FlowRefused);
    bench.reload_with(policy(Vec::new()), rules(), only(settings(Mode::Audit)));
    bench.assert_arrives(WEB1, &evil, &[DB1]);
    assert_eq!(bench.counters.would_drops[DropReason::FlowRefused as usize].value(), 1);
    // The pair of zones decides, not what holds for others.
    bench.reload_with(policy(Vec::new()), rules(), with_pair(settings(Mode::Detect), (0, 1), settings(Mode::Prevent)));
    bench.assert_dropped(WEB1, &evil, DropReason::FlowRefused);
    bench.reload_with(policy(Vec::new()), rules(), with_pair(settings(Mode::Prevent), (0, 1), settings(Mode::Detect)));
    bench.assert_arrives(WEB1, &evil, &[DB1]);
    bench.assert_arrives(DB1, &server(501, 105, "well"), &[WEB1]);
    // Who prevents from then on judges what comes from then on.
    bench.reload_with(policy(Vec::new()), rules(), only(settings(Mode::Prevent)));
    bench.assert_arrives(WEB1, &client(105, 505, "fine"), &[DB1]);
}

#[test]
fn a_connection_is_picked_up_in_the_middle_only_where_the_profile_says_so() {
    let mut strict = bench(only(midstream(false)));
    strict.assert_dropped(WEB1, &client(101, 501, "select"), DropReason::NotOpened);

    let mut loose = bench(with_pair(midstream(false), (0, 1), midstream(true)));
    loose.assert_arrives(WEB1, &client(101, 501, "select"), &[DB1]);
    loose.assert_arrives(DB1, &server(501, 107, "row"), &[WEB1]);
    loose.assert_dropped(DB1, &server(504, 107, "an EVIL row"), DropReason::Signature);
    // Not between zones of another profile.
    let elsewhere = emit::tcp((ip(11), 40_000), (ip(12), 80)).seq(1).ack(1).payload("x");
    loose.assert_dropped(WEB1, &addressed(elsewhere, 11, 12), DropReason::NotOpened);
}

#[test]
fn who_picks_up_in_the_middle_asks_policy_first() {
    let mut bench = bench(only(midstream(true)));
    // The server spoke first: from db to web nothing may be opened.
    bench.assert_dropped(DB1, &server(501, 101, "row"), DropReason::Policy);
    let other = emit::tcp((ip(11), 40_000), (ip(21), 22)).seq(1).ack(1).payload("x");
    bench.assert_dropped(WEB1, &addressed(other, 11, 21), DropReason::Policy);
    // And a policy that allows it no more ends it.
    bench.assert_arrives(WEB1, &client(101, 501, "select"), &[DB1]);
    let closed = Rule::new("closed", Action::Drop).between("web".parse().unwrap(), "db".parse().unwrap());
    bench.reload_with(policy(vec![closed]), rules(), only(midstream(true)));
    bench.assert_dropped(WEB1, &client(107, 501, "select"), DropReason::Policy);
}

#[test]
fn what_cannot_be_in_the_middle_is_not_picked_up() {
    let mut bench = bench(only(midstream(true)));
    let segment = || emit::tcp((ip(11), 40_000), (ip(21), 5_432)).seq(101).ack(501);
    bench.assert_dropped(WEB1, &addressed(segment().syn_ack(), 11, 21), DropReason::NotOpened);
    bench.assert_dropped(WEB1, &addressed(segment().rst(), 11, 21), DropReason::NotOpened);
    // Handshakes are followed as ever.
    handshake(&mut bench);
    bench.assert_dropped(WEB1, &client(101, 90_000, "x"), DropReason::TcpState);
}

#[test]
fn a_flow_that_was_picked_up_goes_first_until_it_goes_on() {
    let mut bench = bench(only(midstream(true)));
    bench.assert_arrives(WEB1, &client(101, 501, "select"), &[DB1]);
    bench.advance_ms(41_000);
    bench.reload_with(policy(Vec::new()), rules(), only(midstream(false)));
    bench.assert_dropped(WEB1, &client(107, 501, "select"), DropReason::NotOpened);

    bench.reload_with(policy(Vec::new()), rules(), only(midstream(true)));
    bench.assert_arrives(WEB1, &client(107, 501, "select"), &[DB1]);
    bench.assert_arrives(DB1, &server(501, 113, "row"), &[WEB1]);
    bench.advance_ms(3_600_000);
    // What began while it was allowed goes on.
    bench.reload_with(policy(Vec::new()), rules(), only(midstream(false)));
    bench.assert_arrives(WEB1, &client(113, 504, "more"), &[DB1]);
}
