//! What becomes of a flow when the rule set or its profile changes under it.

use super::*;
use Verdict::{Drop, Forward, WouldDrop};

const ATTACK: &str = r#"drop tcp any any -> any any (content:"attack"; sid:1;)"#;
const ALERT: &str = r#"alert tcp any any -> any any (content:"attack"; sid:1;)"#;
const OTHER: &str = r#"alert tcp any any -> any any (content:"other"; sid:20;)"#;

fn all(mode: Mode) -> Profile {
    Profile::all(Settings { mode, ..Settings::default() })
}

/// A connection that has been refused for an attack.
#[track_caller]
fn refused(rules: &RuleSet) -> Connection<'_> {
    let mut connection = Connection::new(rules, prevent());
    connection.open();
    assert_eq!(connection.say(&request("an attack"), 100), Drop(Refused::Signature(0)));
    connection
}

#[test]
fn a_refusal_outlives_every_reload_while_its_profile_prevents() {
    let first = rules(ATTACK);
    let changes = [rules(&format!("{ATTACK}\n{OTHER}")), rules(ALERT), rules(OTHER), RuleSet::empty()];
    let mut connection = refused(&first);
    for rules in &changes {
        connection.rules = rules;
        // The segment that was taken out of the stream is sent again: nobody could put it where it belongs.
        let again = Segment { by: Direction::ToServer, at: 0, bytes: b"an attack".to_vec(), flags: "A" };
        assert_eq!(connection.show(&again), Drop(Refused::FlowRefused));
        assert_eq!(connection.say(&response("answer"), 100), Drop(Refused::FlowRefused));
    }
    connection.rules = &changes[3];
    connection.profile = Profile::of(&changes[3], prevent(), |_| false, |_| false);
    assert_eq!(connection.say(&request("more"), 100), Drop(Refused::FlowRefused));
    // Another flow in its place is another flow.
    connection.inspector.flow_ended(FlowSlot(connection.slot));
    connection.sent = [0, 0];
    connection.rules = &first;
    connection.open();
    assert_eq!(connection.say(&request("harmless"), 100), Forward);
}

#[test]
fn who_only_watches_refuses_nothing() {
    let rules = rules(&format!("{ATTACK}\n{}", r#"alert tcp-pkt any any -> any any (content:"other"; sid:2;)"#));
    let mut connection = refused(&rules);
    connection.sids.clear();
    connection.profile = all(Mode::Detect);
    assert!(!connection.inspector.passes_unseen(&rules, || &connection.profile, FlowSlot(connection.slot)));
    assert_eq!(connection.say(&request("some other"), 100), Forward);
    assert_eq!(connection.sids, [2], "it is looked at, packet by packet");
    // One who prevents again starts from what is there then.
    connection.profile = all(Mode::Prevent);
    assert_eq!(connection.say(&response("answer"), 100), Forward);
}

#[test]
fn an_audit_says_what_prevention_would_go_on_doing() {
    let rules = rules(ATTACK);
    let mut connection = refused(&rules);
    connection.profile = all(Mode::Audit);
    assert_eq!(connection.say(&request("more"), 100), WouldDrop(Refused::FlowRefused));
    connection.profile = all(Mode::Prevent);
    assert_eq!(connection.say(&request("more"), 100), Drop(Refused::FlowRefused));
    // What it has found itself it stays with, too.
    let mut connection = Connection::new(&rules, Settings { mode: Mode::Audit, ..Settings::default() });
    connection.open();
    assert_eq!(connection.say(&request("an attack"), 100), WouldDrop(Refused::Signature(0)));
    let other = super::rules(OTHER);
    connection.rules = &other;
    assert_eq!(connection.say(&request("more"), 100), WouldDrop(Refused::FlowRefused));
    connection.profile = all(Mode::Prevent);
    assert_eq!(connection.say(&request("more"), 100), Forward);
}

#[test]
fn what_ended_a_flow_without_a_signature_stands_too() {
    let rules = rules(ATTACK);
    let mut connection = Connection::new(&rules, prevent());
    connection.open();
    let segment = |at, bytes: &[u8]| Segment { by: Direction::ToServer, at, bytes: bytes.to_vec(), flags: "A" };
    assert_eq!(connection.show(&segment(0, b"harmless")), Forward);
    assert_eq!(connection.show(&segment(2, b"XX")), Drop(Refused::Overlap));
    let other = super::rules(OTHER);
    connection.rules = &other;
    assert_eq!(connection.show(&segment(8, b"more")), Drop(Refused::FlowRefused));
    connection.profile = all(Mode::Detect);
    assert_eq!(connection.show(&segment(8, b"more")), Forward);
}

/// An attack that is under way when an unrelated rule changes is the same attack behind it.
#[test]
fn what_has_begun_goes_on_across_a_reload() {
    let attack = concat!(
        r#"drop tcp any any -> any any (content:"exploit"; content:"shell"; distance:0; sid:1;)"#,
        "\n",
        r#"alert http any any -> any any (http.uri; content:"/login"; flowbits:set,login; noalert; sid:2;)"#,
        "\n",
        r#"drop http any any -> any any (http.stat_code; content:"500"; flowbits:isset,login; sid:3;)"#,
        "\n",
        r#"alert http any any -> any any (http.uri; content:"/seen"; sid:4;)"#,
        "\n"
    );
    let before = rules(&format!("{attack}{OTHER}"));
    // The new one takes the first place, so that all have other numbers.
    let after = rules(&format!("drop tcp any any -> any any (content:\"new\"; priority:1; sid:9;)\n{attack}"));
    let sid = |rules: &RuleSet, verdict| match verdict {
        Drop(Refused::Signature(index)) => rules.signature(index).map(|info| info.sid),
        _ => None,
    };
    // A signature of which the half has been seen.
    let mut connection = Connection::new(&before, prevent());
    connection.open();
    assert_eq!(connection.say(&request("an exploit, and a"), 100), Forward);
    connection.rules = &after;
    assert_eq!(sid(&after, connection.say(&request(" shell"), 100)), Some(1));
    // One that does not come back is forgotten.
    let mut connection = Connection::new(&before, prevent());
    connection.open();
    assert_eq!(connection.say(&request("an exploit, and a"), 100), Forward);
    let other = rules(OTHER);
    connection.rules = &other;
    assert_eq!(connection.say(&request(" shell"), 100), Forward);
    // A bit that was set, and a transaction that was alerted of.
    let mut connection = Connection::new(&before, prevent());
    connection.open();
    assert_eq!(connection.say(&request("POST /login/seen HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"), 1000), Forward);
    assert_eq!(connection.sids, [4]);
    connection.rules = &after;
    assert_eq!(connection.say(&request("cd"), 100), Forward);
    assert_eq!(connection.sids, [4], "it is not told again");
    assert_eq!(sid(&after, connection.say(&response("HTTP/1.1 500 No\r\n\r\n"), 100)), Some(3));
    // A signature that is new sees what the open transaction has said before it.
    let mut connection = Connection::new(&other, prevent());
    connection.open();
    let late = rules(&format!("{OTHER}\n{}", r#"alert http any any -> any any (http.uri; content:"/seen"; sid:4;)"#));
    let early = rules(&format!("{OTHER}\n{}", r#"alert http any any -> any any (http.uri; content:"/other"; sid:5;)"#));
    connection.rules = &early;
    assert_eq!(connection.say(&request("POST /seen HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"), 1000), Forward);
    connection.rules = &late;
    assert_eq!(connection.say(&request("cd"), 100), Forward);
    assert_eq!(connection.sids, [4]);
}
