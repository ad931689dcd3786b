//! Profiles: modes, exception policies, and which signatures apply.

use super::*;
use ExceptionPolicy::{Auto, Bypass, DropFlow, DropPacket, Ignore, PassFlow, PassPacket};
use Verdict::{Drop, Forward, WouldDrop};

const ATTACK: &str = r#"drop tcp any any -> any any (content:"attack"; sid:1;)"#;

fn segment(at: u32, bytes: impl AsRef<[u8]>) -> Segment {
    Segment { by: Direction::ToServer, at, bytes: bytes.as_ref().to_vec(), flags: "A" }
}

/// Shows segments behind a handshake and compares the verdicts.
#[track_caller]
fn check(rules: &RuleSet, settings: Settings, segments: &[Segment], expected: &[Verdict]) {
    let mut connection = Connection::new(rules, settings);
    connection.open();
    let verdicts: Vec<Verdict> = segments.iter().map(|segment| connection.show(segment)).collect();
    assert_eq!(verdicts, expected, "{settings:?}");
}

/// What a packet with an exception, one with the attack behind it, and the mode and policy come to.
const OUTCOMES: [(Mode, ExceptionPolicy, [&str; 2]); 15] = [
    (Mode::Prevent, Auto, ["drop", "refused"]),
    (Mode::Prevent, DropFlow, ["drop", "refused"]),
    (Mode::Prevent, ExceptionPolicy::Reject, ["drop", "refused"]),
    (Mode::Prevent, DropPacket, ["drop", "match"]),
    (Mode::Prevent, PassFlow, ["forward", "forward"]),
    (Mode::Prevent, Bypass, ["forward", "forward"]),
    (Mode::Prevent, PassPacket, ["forward", "match"]),
    (Mode::Prevent, Ignore, ["forward", "match"]),
    (Mode::Audit, Auto, ["would", "would refused"]),
    (Mode::Audit, DropPacket, ["would", "would match"]),
    (Mode::Audit, PassFlow, ["forward", "forward"]),
    (Mode::Audit, Ignore, ["forward", "would match"]),
    (Mode::Detect, Auto, ["forward", "forward"]),
    (Mode::Detect, DropFlow, ["forward", "forward"]),
    (Mode::Detect, DropPacket, ["forward", "forward"]),
];

fn verdict(word: &str, why: Refused) -> Verdict {
    match word {
        "forward" => Forward,
        "drop" => Drop(why),
        "refused" => Drop(Refused::FlowRefused),
        "match" => Drop(Refused::Signature(0)),
        "would" => WouldDrop(why),
        "would refused" => WouldDrop(Refused::FlowRefused),
        "would match" => WouldDrop(Refused::Signature(0)),
        other => panic!("{other}"),
    }
}

#[test]
fn contradicting_bytes_meet_the_stream_policy() {
    let rules = rules(ATTACK);
    for (mode, policy, expected) in OUTCOMES {
        let settings = Settings { mode, stream_exception: policy, ..Settings::default() };
        let expected = expected.map(|word| verdict(word, Refused::Overlap));
        let segments = [segment(0, "harmless"), segment(2, "XX"), segment(8, " attack")];
        check(&rules, settings, &segments, &[&[Forward], expected.as_slice()].concat());
    }
}

#[test]
fn spent_work_meets_the_budget_policy() {
    let text = concat!(
        r#"alert tcp any any -> any any (content:"aaaa"; content:"a"; within:900; content:"a"; within:900; "#,
        r#"content:"a"; within:900; content:"a"; within:900; content:"b"; within:900; sid:2;)"#
    );
    let rules = rules(&format!("{ATTACK}\n{text}"));
    for (mode, policy, expected) in OUTCOMES {
        let settings = Settings { mode, budget_exception: policy, ..Settings::default() };
        let expected = expected.map(|word| verdict(word, Refused::Budget));
        // So far behind that nothing of it is looked at together with the attack.
        let hostile = segment(0, [b'a'; 1400]);
        let mut connection = Connection::new(&rules, settings);
        connection.open();
        assert_eq!(connection.show(&hostile), expected[0], "{settings:?}");
        let behind = connection.show(&segment(1400, [b"x".repeat(2600), b"attack".to_vec()].concat()));
        assert_eq!(behind, expected[1], "{settings:?}");
    }
}

#[test]
fn broken_protocols_meet_the_protocol_policy() {
    let rules = rules(&format!("{ATTACK}\n{}", r#"alert ssh any any -> any any (ssh.proto; content:"9"; sid:2;)"#));
    for (mode, policy, expected) in OUTCOMES {
        let settings = Settings { mode, protocol_exception: policy, ..Settings::default() };
        let mut connection = Connection::new(&rules, settings);
        connection.open();
        assert_eq!(connection.show(&segment(0, "SSH-2.0-x\r\n")), Forward);
        // A key exchange packet that is longer than any may be.
        let broken = connection.show(&segment(11, b"\xff\xff\xff\xff\x05\x14"));
        assert_eq!(broken, verdict(expected[0], Refused::Protocol), "{settings:?}");
    }
}

#[test]
fn what_breaks_a_protocol_is_still_told_and_nothing_lets_it_pass() {
    let rule = |action: &str| {
        format!(
            "{action} ssh any any -> any any (msg:\"x\"; flow:established; app-layer-event:ssh.invalid_record; sid:2;)"
        )
    };
    let signature = Verdict::Drop(Refused::Signature(0));
    let protocol = Verdict::Drop(Refused::Protocol);
    for (action, sids, expected) in
        [("alert", vec![2], protocol), ("drop", vec![2], signature), ("pass", Vec::new(), protocol)]
    {
        let rules = rules(&rule(action));
        let mut connection = Connection::new(&rules, prevent());
        connection.open();
        assert_eq!(connection.show(&segment(0, "SSH-2.0-x\r\n")), Forward);
        assert_eq!(connection.show(&segment(11, b"\xff\xff\xff\xff\x05\x14")), expected, "{action}");
        assert_eq!(connection.show(&segment(17, b"more")), Verdict::Drop(Refused::FlowRefused), "{action}");
        assert_eq!(connection.sids, sids, "{action}");
    }
}

#[test]
fn a_segment_without_room_meets_the_memory_policy() {
    let rules = rules(ATTACK);
    let gap = |count: u32| (0..count).map(|n| segment(100 + n * 4096, [b'x'; 4096]));
    let count = u32::try_from(crate::limits::STREAM_QUEUED_BYTES_MAX / 4096).unwrap() - 2;
    for (mode, policy, expected) in OUTCOMES {
        let settings = Settings { mode, memory_exception: policy, ..Settings::default() };
        let mut connection = Connection::new(&rules, settings);
        connection.open();
        for segment in gap(count) {
            assert_eq!(connection.show(&segment), Forward);
        }
        let beyond = connection.show(&segment(100 + count * 4096, [b'x'; 16_000]));
        assert_eq!(beyond, verdict(expected[0], Refused::Memory), "{settings:?}");
        // Without a choice, want of memory is the packet's end and not the flow's: it is sent again.
        let expected = match (mode, policy) {
            (Mode::Prevent, Auto) => Drop(Refused::Signature(0)),
            (Mode::Audit, Auto) => WouldDrop(Refused::Signature(0)),
            _ => verdict(expected[1], Refused::Memory),
        };
        assert_eq!(connection.show(&segment(0, "attack")), expected, "{settings:?}");
    }
}

#[test]
fn modes_differ_in_what_becomes_of_a_match() {
    let rules = rules(ATTACK);
    let segments = [segment(0, "an attack"), segment(9, "more"), segment(13, "attack")];
    let own = Refused::Signature(0);
    let refused = Drop(Refused::FlowRefused);
    check(&rules, prevent(), &segments, &[Drop(own), refused, refused]);
    check(&rules, detect(), &segments, &[Forward; 3]);
    let audit = Settings { mode: Mode::Audit, ..Settings::default() };
    let gone = WouldDrop(Refused::FlowRefused);
    check(&rules, audit, &segments, &[WouldDrop(own), gone, gone]);
}

#[test]
fn an_audit_alerts_as_prevention_does() {
    let rules = rules(r#"alert tcp any any -> any any (content:"att"; sid:1;)"#);
    let mut connection = Connection::new(&rules, Settings { mode: Mode::Audit, ..Settings::default() });
    connection.open();
    // An alert stops nothing, so there is nothing that would have been stopped.
    assert_eq!(connection.say(&request("attack"), 100), Forward);
    assert_eq!(connection.sids, [1]);
}

const SEVERAL: &str = r#"
    drop tcp any any -> any any (msg:"one"; content:"one"; classtype:trojan-activity; sid:1;)
    alert tcp any any -> any any (msg:"two"; content:"two"; classtype:policy-violation; sid:2;)
    alert tcp any any -> any any (msg:"bit"; content:"two"; flowbits:set,two; noalert; sid:3;)
    alert udp any any -> any any (msg:"udp"; content:"two"; sid:4;)"#;

#[test]
fn only_signatures_that_apply_are_heard() {
    let rules = rules(SEVERAL);
    let mut connection = Connection::new(&rules, prevent());
    connection.profile = Profile::of(&rules, prevent(), |info| info.sid != 1, |_| false);
    assert_eq!(connection.profile.signature_count(&rules), 3);
    assert_eq!(connection.profile.stopping_count(&rules), 0);
    connection.open();
    assert_eq!(connection.say(&request("one two"), 100), Forward);
    assert_eq!(connection.sids, [2]);
}

#[test]
fn alerts_can_count_as_drops() {
    let rules = rules(SEVERAL);
    let mut connection = Connection::new(&rules, prevent());
    connection.profile = Profile::of(&rules, prevent(), |info| info.sid != 1, |info| info.sid != 4);
    assert_eq!(connection.profile.stopping_count(&rules), 1, "not those that only remember");
    connection.open();
    assert_eq!(connection.say(&request("one"), 100), Forward);
    let index = (0..4).find(|&index| rules.signature(index).unwrap().sid == 2).unwrap();
    assert_eq!(connection.say(&request("two"), 100), Drop(Refused::Signature(index)));
}

#[test]
fn a_profile_of_other_transports_looks_at_nothing() {
    let rules = rules(SEVERAL);
    let mut connection = Connection::new(&rules, prevent());
    connection.profile = Profile::of(&rules, prevent(), |info| info.sid == 4, |_| false);
    connection.open();
    assert_eq!(connection.say(&request("one two"), 100), Forward);
    assert!(connection.sids.is_empty());
    assert!(connection.inspector.protocol_of(FlowSlot(3)).is_none());
}

#[test]
fn an_open_flow_is_judged_by_the_profile_of_the_moment() {
    let rules = rules(SEVERAL);
    let mut connection = Connection::new(&rules, detect());
    connection.open();
    assert_eq!(connection.say(&request("one"), 100), Forward);
    connection.profile = Profile::all(prevent());
    assert_eq!(connection.say(&request("x one"), 100), Drop(Refused::Signature(0)));
}

#[test]
fn what_one_profile_let_pass_another_looks_at() {
    let rules = rules(
        r#"pass tcp any any -> any any (content:"trusted"; sid:1;)
           drop tcp any any -> any any (content:"attack"; sid:2;)"#,
    );
    let mut connection = Connection::new(&rules, prevent());
    connection.open();
    assert_eq!(connection.say(&request("trusted attack"), 100), Forward);
    assert_eq!(connection.say(&request("attack"), 100), Forward);
    connection.profile = Profile::of(&rules, prevent(), |info| info.sid == 2, |_| false);
    assert_eq!(connection.say(&request("attack"), 100), Drop(Refused::Signature(1)));
}
