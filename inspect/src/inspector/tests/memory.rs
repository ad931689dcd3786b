//! What signatures remember between packets.

use super::*;

/// Sends requests one after another and compares the signature ids that each raises.
#[track_caller]
fn check(text: &str, said: &[&str], expected: &[&[u32]]) {
    let rules = rules(text);
    let mut connection = Connection::new(&rules, detect());
    connection.open();
    let mut got = Vec::new();
    for said in said {
        connection.sids.clear();
        connection.say(&request(said), 100);
        got.push(std::mem::take(&mut connection.sids));
    }
    assert_eq!(got, expected);
}

#[test]
fn flow_bits() {
    let text = r#"
        alert tcp any any -> any any (content:"login"; flowbits:set,user; flowbits:noalert; sid:1;)
        alert tcp any any -> any any (content:"delete"; flowbits:isset,user; sid:2;)
        alert tcp any any -> any any (content:"delete"; flowbits:isnotset,user; sid:3;)
        alert tcp any any -> any any (content:"logout"; flowbits:unset,user; sid:4;)
        alert tcp any any -> any any (content:"either"; flowbits:isset,other|user; sid:5;)"#;
    let said = ["delete", "login", "delete", "either", "logout", "delete", "login delete"];
    check(text, &said, &[&[3], &[], &[2], &[5], &[4], &[3], &[2]]);
}

#[test]
fn flow_numbers() {
    let text = r#"
        alert tcp any any -> any any (content:"try"; flowint:count,+,1; noalert; sid:1;)
        alert tcp any any -> any any (content:"try"; flowint:count,isset; flowint:count,>=,2; sid:2;)
        alert tcp any any -> any any (content:"reset"; flowint:count,=,0; sid:3;)
        alert tcp any any -> any any (content:"try"; flowint:absent,notset; sid:4;)"#;
    check(text, &["try", "try", "reset", "try"], &[&[4], &[2, 4], &[3], &[4]]);
}

#[test]
fn flow_counts() {
    let rules = rules(
        r#"alert tcp any any -> any any (content:"x"; flow.age:>1; sid:1;)
           alert tcp any any -> any any (content:"x"; flow.pkts_toserver:>3; sid:2;)
           alert tcp any any -> any any (content:"x"; flow.bytes:toclient,<100; stream_size:client,>,1; sid:3;)"#,
    );
    let mut connection = Connection::new(&rules, detect());
    connection.open();
    for (wait_ms, expected) in [(0, vec![]), (0, vec![2, 3]), (3_000, vec![1, 2, 3])] {
        connection.now_ms += wait_ms;
        connection.say(&request("x"), 100);
        connection.sids.sort_unstable();
        assert_eq!(std::mem::take(&mut connection.sids), expected);
    }
}

#[test]
fn address_bits() {
    let text = r#"
        alert tcp any any -> any any (content:"mark"; xbits:set,bad,track ip_src,expire 10; sid:1;)
        alert tcp any any -> any any (content:"check"; xbits:isset,bad,track ip_src; sid:2;)"#;
    check(text, &["check", "mark", "check"], &[&[], &[1], &[2]]);
    let rules = rules(text);
    let mut connection = Connection::new(&rules, detect());
    connection.open();
    connection.say(&request("mark"), 100);
    connection.now_ms += 10_000;
    connection.say(&request("check"), 100);
    assert_eq!(connection.sids, [1]);
}

#[test]
fn every_slot_is_as_good_as_the_first() {
    let rules = rules(r#"drop tcp any any -> any any (content:"ab"; sid:1;)"#);
    let last = crate::limits::FLOW_SLOTS_MAX as u32 - 1;
    for slot in [0, 4_095, 4_096, 1 << 20, last] {
        let mut connection = Connection::new(&rules, prevent());
        connection.slot = slot;
        connection.open();
        assert_eq!(connection.say(&request("a"), 1), Verdict::Forward, "slot {slot}");
        assert_ne!(connection.say(&request("b"), 1), Verdict::Forward, "slot {slot}: both bytes are seen together");
        assert!(connection.inspector.flows.is_refused(FlowSlot(slot)));
    }
}

#[test]
fn the_end_of_a_flow_forgets_nothing_before_it_is_told() {
    let rules = rules(
        r#"drop tcp any any -> any any (content:"bad"; sid:1;)
           pass tcp any any -> any any (content:"good"; sid:2;)"#,
    );
    let refused = Ended { is_refused: true, ..Ended::default() };
    let passed = Ended { is_passed: true, ..Ended::default() };
    for (said, stays_refused, ended) in [("bad", true, refused), ("good", false, passed)] {
        for is_finished in [false, true] {
            let mut connection = Connection::new(&rules, prevent());
            connection.open();
            let verdict = connection.say(&request(said), 10);
            assert_eq!(verdict != Verdict::Forward, stays_refused);
            if is_finished {
                assert_eq!(connection.finish(), [0; 0]);
            }
            assert_eq!(connection.inspector.flows.is_refused(FlowSlot(connection.slot)), stays_refused, "{said}");
            let outlook = connection.inspector.flows.outlook(FlowSlot(connection.slot));
            assert_ne!(outlook, crate::inspector::flow_slots::Outlook::Unknown, "{said}");
            assert_eq!(connection.inspector.flow_ended(FlowSlot(connection.slot)), ended, "{said}");
            assert_eq!(connection.inspector.flow_ended(FlowSlot(connection.slot)), Ended::default(), "{said}");
        }
    }
    let mut connection = Connection::new(&rules, prevent());
    connection.open();
    connection.say(&request("neither"), 10);
    let ended = connection.inspector.flow_ended(FlowSlot(connection.slot));
    assert_eq!((ended.is_refused, ended.summary.map(|summary| summary.packets)), (false, Some((3, 1))));
}
