//! Keywords on single packets.

use super::*;
use crate::limits::ALERTS_PER_PACKET_MAX;
use crate::verdict::Refused;

const ANY: &str = "tcp any any -> any any";

#[test]
fn headers() {
    let draft = tcp(b"x").from([10, 0, 0, 1], 1024).to([8, 8, 8, 8], 80);
    for (header, matches) in [
        ("tcp any any -> any any", true),
        ("ip any any -> any any", true),
        ("tcp-pkt any any -> any any", true),
        ("ip6 any any -> any any", false),
        ("ipv4 any any -> any any", true),
        ("udp any any -> any any", false),
        ("icmp any any -> any any", false),
        ("tcp $HOME_NET any -> $EXTERNAL_NET $HTTP_PORTS", true),
        ("tcp $EXTERNAL_NET any -> $HOME_NET any", false),
        ("tcp $EXTERNAL_NET any <> $HOME_NET any", true),
        ("tcp any 80 <> any 1000:2000", true),
        ("tcp any 80 <> any 80", false),
        ("tcp any ![80,443] -> any [1:100,!81]", true),
        ("tcp any any -> any ![80,443]", false),
        ("tcp [10.0.0.0/8,!10.0.0.0/30] any -> any any", false),
        ("tcp !10.0.0.2 any -> 8.8.8.0/24 :80", true),
        ("tcp any any -> 2001:db8::/32 any", false),
    ] {
        check(header, "", &draft, matches);
    }
}

#[test]
fn contents() {
    for (options, payload, matches) in [
        (r#"content:"abc";"#, "xxabcxx", true),
        (r#"content:"abc";"#, "xxABCxx", false),
        (r#"content:"aBc"; nocase;"#, "xxAbCxx", true),
        (r#"content:!"abc";"#, "xxabcxx", false),
        (r#"content:!"abc";"#, "xxabxcx", true),
        (r#"content:"|61 62|c";"#, "abc", true),
        (r#"content:"abc"; offset:2;"#, "xabcx", false),
        (r#"content:"abc"; offset:1;"#, "xabcx", true),
        (r#"content:"abc"; depth:3;"#, "xabc", false),
        (r#"content:"abc"; depth:4;"#, "xabc", true),
        (r#"content:"abc"; offset:1; depth:3;"#, "xabc", true),
        (r#"content:"abc"; offset:1; depth:3;"#, "xxabc", false),
        (r#"content:"abc"; startswith;"#, "abcx", true),
        (r#"content:"abc"; startswith;"#, "xabc", false),
        (r#"content:"abc"; endswith;"#, "xabc", true),
        (r#"content:"abc"; endswith;"#, "abcabcx", false),
        (r#"content:!"abc"; endswith;"#, "abcx", true),
        (r#"content:"abc"; startswith; endswith;"#, "abc", true),
        (r#"content:"abc"; startswith; endswith;"#, "abcabc", false),
        (r#"content:"a"; content:"b"; distance:0;"#, "ba", false),
        (r#"content:"a"; content:"b";"#, "ba", true),
        (r#"content:"a"; content:"b"; distance:2;"#, "axb", false),
        (r#"content:"a"; content:"b"; distance:1;"#, "axb", true),
        (r#"content:"a"; content:"b"; within:1;"#, "axb", false),
        (r#"content:"a"; content:"b"; within:2;"#, "axb", true),
        (r#"content:"b"; content:"a"; distance:-2; within:2;"#, "ab", true),
        (r#"content:"a"; content:"b"; distance:1; within:1;"#, "axb", true),
        (r#"content:"a"; content:"b"; distance:1; within:1;"#, "axxb", false),
        // Another occurrence of the first pattern is what the second needs.
        (r#"content:"a"; content:"b"; within:1;"#, "axxab", true),
        (r#"content:"a"; content:"b"; within:1; content:"c"; within:1;"#, "ab-aab-abc", true),
        (r#"content:"a"; content:!"b"; within:1;"#, "abab", false),
        (r#"content:"a"; content:!"b"; within:1;"#, "abac", true),
        (r#"content:"a"; content:!"b"; distance:0; content:"c"; distance:0;"#, "abac", true),
        (r#"content:"a"; fast_pattern; content:"bcd"; fast_pattern:1,2;"#, "abcd", true),
        (r#"content:"abc"; isdataat:1,relative;"#, "abcd", true),
        (r#"content:"abc"; isdataat:1,relative;"#, "abc", false),
        (r#"content:"abc"; isdataat:!1,relative;"#, "abc", true),
        (r#"content:"abc"; isdataat:!1,relative;"#, "abcd", false),
        ("isdataat:3;", "abcd", true),
        ("isdataat:4;", "abcd", false),
        ("isdataat:!4,rawbytes;", "abcd", true),
        ("bsize:4;", "abcd", true),
        ("bsize:>4;", "abcd", false),
        ("dsize:3<>5;", "abcd", true),
        ("dsize:4<>6;", "abcd", false),
        ("dsize:!4;", "abcd", false),
        ("dsize:>3;", "abcd", true),
        (r#"content:"a"; rawbytes; content:"\;";"#, "a;", true),
    ] {
        check(ANY, options, &tcp(payload.as_bytes()), matches);
    }
}

#[test]
fn flow_and_header_fields() {
    let plain = tcp(b"x");
    for (options, draft, matches) in [
        ("flow:to_server;", plain.clone(), true),
        ("flow:from_client,established;", plain.clone(), true),
        ("flow:to_client;", plain.clone(), false),
        ("flow:to_client;", plain.clone().answering(), true),
        ("flow:established;", plain.clone().not_established(), false),
        ("flow:not_established;", plain.clone().not_established(), true),
        ("flow:stateless;", plain.clone().not_established(), true),
        ("flags:PA;", plain.clone(), true),
        ("flags:A;", plain.clone(), false),
        ("flags:A+;", plain.clone(), true),
        ("flags:+A;", plain.clone(), true),
        ("flags:*SA;", plain.clone(), true),
        ("flags:!S;", plain.clone(), true),
        ("flags:S,12;", plain.clone().flags("S"), true),
        ("tcp.flags:S;", plain.clone().flags("SA"), false),
        ("ttl:64;", plain.clone(), true),
        ("ttl:<64;", plain.clone().ttl(63), true),
        ("ttl:>=65;", plain.clone(), false),
        ("seq:1000;", plain.clone(), true),
        ("ack:2;", plain.clone(), false),
        ("window:500;", plain.clone(), true),
        ("window:!500;", plain.clone(), false),
        ("ip_proto:6;", plain.clone(), true),
        ("ip_proto:udp;", plain.clone(), false),
        ("ip_proto:!udp;", plain.clone(), true),
        ("sameip;", plain.clone(), false),
        ("fragbits:D;", plain.clone(), true),
        ("fragbits:!M;", plain.clone(), true),
        ("ipopts:any;", plain, false),
    ] {
        check(ANY, options, &draft, matches);
    }
    for (options, matches) in [
        ("itype:8;", true),
        ("itype:>8;", false),
        ("itype:7<>9;", true),
        ("icode:0;", true),
        ("icode:1;", false),
        ("icmp_id:7;", true),
        ("icmp_seq:9;", true),
        ("icmp_seq:8;", false),
        (r#"content:"x"; dsize:1;"#, true),
    ] {
        check("icmp any any -> any any", options, &icmp(8, 0, b"x"), matches);
    }
}

/// Shows packets one after another and compares the verdicts (`.` forward, `X` by signature, `F` flow refused) and
/// alerts.
#[track_caller]
fn check_sequence(text: &str, mode: Mode, drafts: &[Draft], expected: &[(char, &[u32])]) {
    let rules = rules(text);
    let mut inspector = inspector(mode);
    let got: Vec<(char, Vec<u32>)> = (0..)
        .zip(drafts)
        .map(|(now_ms, draft)| {
            let (verdict, sids) = draft.show(&mut inspector, &rules, now_ms);
            let letter = match verdict {
                Verdict::Forward => '.',
                Verdict::Drop(Refused::Signature(_)) => 'X',
                Verdict::Drop(Refused::FlowRefused) => 'F',
                Verdict::Drop(_) => '?',
                Verdict::WouldDrop(_) => 'W',
            };
            (letter, sids)
        })
        .collect();
    let expected: Vec<(char, Vec<u32>)> = expected.iter().map(|&(letter, sids)| (letter, sids.to_vec())).collect();
    assert_eq!(got, expected);
}

#[test]
fn actions() {
    let (bad, good) = (tcp(b"bad"), tcp(b"good"));
    let drop = r#"drop tcp any any -> any any (content:"bad"; sid:1;)"#;
    check_sequence(
        drop,
        Mode::Prevent,
        &[good.clone(), bad.clone(), good.clone()],
        &[('.', &[]), ('X', &[1]), ('F', &[])],
    );
    check_sequence(drop, Mode::Prevent, &[bad.clone(), bad.clone().slot(1)], &[('X', &[1]), ('X', &[1])]);
    check_sequence(drop, Mode::Detect, &[bad.clone(), bad.clone()], &[('.', &[1]), ('.', &[1])]);
    let reject = drop.replace("drop", "reject");
    // An audit says of the packet, and of those behind it, what would have become of them.
    check_sequence(
        drop,
        Mode::Audit,
        &[bad.clone(), good.clone(), bad.clone()],
        &[('W', &[1]), ('W', &[]), ('W', &[1])],
    );
    check_sequence(&reject, Mode::Prevent, &[bad.clone(), good.clone()], &[('X', &[1]), ('F', &[])]);
    // A datagram speaks for itself only.
    let datagram = r#"drop udp any any -> any any (content:"bad"; sid:1;)"#;
    check_sequence(datagram, Mode::Prevent, &[udp(b"bad"), udp(b"good")], &[('X', &[1]), ('.', &[])]);
    let both = r#"
        alert tcp any any -> any any (content:"bad"; sid:3;)
        drop tcp any any -> any any (content:"bad"; sid:2;)
        pass tcp any any -> any 8080 (content:"bad"; sid:1;)"#;
    check_sequence(both, Mode::Prevent, std::slice::from_ref(&bad), &[('X', &[2, 3])]);
    let elsewhere = bad.clone().to([8, 8, 8, 8], 8080);
    check_sequence(both, Mode::Prevent, &[elsewhere.clone(), elsewhere], &[('.', &[]), ('.', &[])]);
    check_sequence(&drop.replace("sid:1;", "noalert; sid:1;"), Mode::Prevent, &[bad], &[('X', &[])]);
}

#[test]
fn rates() {
    let one = tcp(b"bad");
    let many = [one.clone(), one.clone(), one.clone(), one.clone().from([10, 0, 0, 2], 1024)];
    let with = |action: &str, rate: &str| format!(r#"{action} tcp any any -> any any (content:"bad"; {rate}; sid:1;)"#);
    let limit = with("alert", "threshold:type limit, track by_src, count 1, seconds 60");
    check_sequence(&limit, Mode::Prevent, &many, &[('.', &[1]), ('.', &[]), ('.', &[]), ('.', &[1])]);
    let threshold = with("alert", "threshold:type threshold, track by_dst, count 2, seconds 60");
    check_sequence(&threshold, Mode::Prevent, &many, &[('.', &[]), ('.', &[1]), ('.', &[]), ('.', &[1])]);
    let filter = with("drop", "detection_filter:track by_rule, count 2, seconds 60");
    check_sequence(&filter, Mode::Prevent, &many, &[('.', &[]), ('.', &[]), ('X', &[1]), ('F', &[])]);
}

#[test]
fn a_tally_by_flow_ends_with_its_flow() {
    let rate = "threshold:type limit, track by_flow, count 1, seconds 60";
    let rules = rules(&format!("alert udp any any -> any any (content:\"bad\"; {rate}; sid:1;)"));
    let mut inspector = inspector(Mode::Prevent);
    let show = |slot, inspector: &mut Inspector| udp(b"bad").slot(slot).show(inspector, &rules, 0).1.len();
    assert_eq!([show(0, &mut inspector), show(0, &mut inspector), show(1, &mut inspector)], [1, 0, 1]);
    // Another flow in the same place of the table counts anew.
    inspector.flow_ended(FlowSlot(0));
    assert_eq!([show(0, &mut inspector), show(0, &mut inspector), show(1, &mut inspector)], [1, 0, 0]);
}

#[test]
fn alerts_are_bounded() {
    let text: String =
        (1..=17).map(|sid| format!("alert tcp any any -> any any (content:\"bad\"; sid:{sid};)\n")).collect();
    let rules = rules(&text);
    let mut inspector = inspector(Mode::Prevent);
    let (_, sids) = tcp(b"bad").show(&mut inspector, &rules, 0);
    assert_eq!(sids.len(), ALERTS_PER_PACKET_MAX);
    assert_eq!(inspector.suppressed_count(), 17 - ALERTS_PER_PACKET_MAX as u64);
}

#[test]
fn hostile_backtracking_ends() {
    let rules = rules(concat!(
        r#"alert tcp any any -> any any (content:"a"; content:"a"; within:900; content:"a"; within:900; content:"a"; "#,
        r#"within:900; content:"a"; within:900; content:"b"; within:900; sid:1;)"#
    ));
    let (verdict, _) = tcp(&[b'a'; 1400]).show(&mut inspector(Mode::Prevent), &rules, 0);
    assert_eq!(verdict, Verdict::Drop(Refused::Budget));
}

#[test]
fn patterns_that_may_stand_anywhere_behind_one_another_are_gone_through_once() {
    let rules = rules(concat!(
        r#"alert tcp any any -> any any (content:"a"; content:"a"; distance:0; content:"a"; distance:0; content:"a"; "#,
        r#"distance:0; content:"a"; distance:0; content:"b"; distance:0; sid:1;)"#
    ));
    let (verdict, sids) = tcp(&[b'a'; 1400]).show(&mut inspector(Mode::Prevent), &rules, 0);
    assert_eq!((verdict, sids), (Verdict::Forward, vec![]));
    let (_, sids) = tcp(&[&[b'a'; 1400][..], b"b"].concat()).show(&mut inspector(Mode::Prevent), &rules, 0);
    assert_eq!(sids, [1]);
}

#[test]
fn groups_tell_what_needs_no_look() {
    let rules = rules(
        r#"alert tcp any any -> any 80 (flow:to_server; content:"x"; sid:1;)
           alert icmp any any -> any any (itype:8; sid:2;)"#,
    );
    let group = |protocol, port, direction| rules.group(protocol, 1024, port, direction).is_some();
    assert!(group(6, 80, Direction::ToServer));
    assert!(!group(6, 81, Direction::ToServer));
    // A stream is followed in both directions, whichever a signature looks at.
    assert!(group(6, 80, Direction::ToClient));
    assert!(!group(17, 80, Direction::ToServer));
    assert!(group(1, 0, Direction::ToClient) && group(58, 0, Direction::ToServer));
    assert!(RuleSet::empty().group(6, 1, 2, Direction::ToServer).is_none());
}
