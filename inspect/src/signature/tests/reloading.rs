//! Rule sets that are compiled after another: what they share with it, and what is remembered across the change.

use super::tcp as tcp_packet;
use super::*;
use crate::protocol::Buffer;
use crate::signature::{Signature, Vars};
use std::sync::Arc;

fn compile_after(before: &RuleSet, text: &str, vars: &Vars) -> Loaded {
    let file = RuleFile { name: "test.rules".into(), text: text.into() };
    RuleSet::compile_after(before, &[file], vars)
}

fn after(before: &RuleSet, text: &str) -> RuleSet {
    let loaded = compile_after(before, text, &Vars::conventional());
    assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
    loaded.rules
}

fn by_sid(rules: &RuleSet, sid: u32) -> &Signature {
    let index = (0..rules.len()).find(|&index| rules.signature(index as u32).unwrap().sid == sid);
    &rules.signatures[index.unwrap_or_else(|| panic!("no sid {sid}"))]
}

/// Whether two sets hold the very same program for a signature.
fn is_shared(one: &RuleSet, other: &RuleSet, sid: u32) -> bool {
    Arc::ptr_eq(&by_sid(one, sid).payload, &by_sid(other, sid).payload)
}

const THREE: &str = r#"alert tcp any any -> any any (content:"first"; pcre:"/first[0-9]+/"; sid:1;)
alert tcp any any -> any any (content:"second"; sid:2;)
alert http any any -> any any (http.uri; content:"third"; sid:3;)
"#;

#[test]
fn what_has_not_changed_is_shared() {
    let before = rules(THREE);
    // One rule changes, one is new and comes first, and the lines have other places.
    let text = THREE.replace("\"second\"", "\"other\"");
    let text = format!("# a comment\ndrop udp any any -> any any (content:\"new\"; sid:4;)\n\n{text}");
    let now = after(&before, &text);
    assert_eq!((before.kept_count(), now.kept_count(), now.len()), (0, 2, 4));
    assert!(is_shared(&before, &now, 1));
    assert!(!is_shared(&before, &now, 2));
    assert!(Arc::ptr_eq(by_sid(&before, 3).app.as_ref().unwrap(), by_sid(&now, 3).app.as_ref().unwrap()));
    assert_eq!([1, 2, 3].map(|sid| by_sid(&before, sid).identity == by_sid(&now, sid).identity), [true, false, true]);
    // All signatures have other numbers, but the URI's patterns are searched for by the same tables.
    let uri = |rules: &RuleSet| rules.selection.buffer_group(Buffer::HttpUri).unwrap().prefilter.clone();
    assert!(uri(&now).shares_tables_with(&uri(&before)));
    let tcp = |rules: &RuleSet| rules.payload_patterns(rules.group(6, 1, 2, Direction::ToServer).unwrap());
    assert_eq!(tcp(&now), [(b"first".to_vec(), 1), (b"other".to_vec(), 1)]);
    // What is shared works under its new number.
    let (verdict, sids) = tcp_packet(b"first1 other").show(&mut inspector(Mode::Prevent), &now, 0);
    assert_eq!((verdict, sids), (Verdict::Forward, vec![1, 2]));
}

/// Whatever comes before it, a set is what its text says, down to the refusals and their places.
#[test]
fn what_came_before_does_not_show() {
    let texts = [
        "",
        THREE,
        "alert tcp any any -> any any (content:\"first\"; sid:2;)\nalert tcp any any -> any $HTTP_PORTS (sid:1;)",
        "alert tcp any any -> any any (sid:1;)\nalert tcp $HOME_NET any -> any any (sid:1;)\nalert nonesuch (sid:9;)",
        "\n\nalert tcp $HOME_NET any -> any any (sid:1;)\nalert tcp any any -> any $HTTP_PORTS (sid:1;)",
    ];
    let mut home = Vars::conventional();
    home.set("HOME_NET", "10.1.0.0/16");
    home.set("HTTP_PORTS", "any");
    let told = |loaded: &Loaded| {
        let Loaded { rules, refused } = loaded;
        let signatures: Vec<String> = rules.signatures.iter().map(|signature| format!("{signature:?}")).collect();
        let infos: Vec<_> = (0..rules.len()).map(|index| rules.signature(index as u32).cloned()).collect();
        let groups: Vec<_> = [Direction::ToServer, Direction::ToClient]
            .into_iter()
            .flat_map(|side| rules.group(6, 80, 80, side).map(|id| rules.payload_patterns(id)))
            .collect();
        (signatures, infos, groups, format!("{:?}{:?}", rules.addresses, rules.ports), refused.clone())
    };
    for (before_text, now_text) in texts.iter().flat_map(|before| texts.iter().map(move |now| (before, now))) {
        let (none, usual) = (Vars::new(), Vars::conventional());
        for (before_vars, now_vars) in [(&home, &home), (&home, &usual), (&none, &home), (&home, &none)] {
            let before = compile_after(&RuleSet::empty(), before_text, before_vars).rules;
            let now = compile_after(&before, now_text, now_vars);
            let alone = compile_after(&RuleSet::empty(), now_text, now_vars);
            assert_eq!(told(&now), told(&alone), "{before_text:?} then {now_text:?}");
        }
    }
}

#[test]
fn variables_change_where_a_signature_looks_and_nothing_else() {
    let text = r#"alert tcp $HOME_NET any -> any any (content:"home"; sid:1;)
        alert tcp any any -> any any (content:"elsewhere"; sid:2;)
        alert tcp any any -> any $HTTP_PORTS (content:"ports"; sid:3;)"#;
    let before = rules(text);
    let mut vars = Vars::conventional();
    vars.set("HOME_NET", "172.16.0.1");
    vars.set("HTTP_PORTS", "8080");
    let now = compile_after(&before, text, &vars).rules;
    assert_eq!([1, 2, 3].map(|sid| is_shared(&before, &now, sid)), [true, true, false]);
    // Who asks for other addresses is another signature, and counts anew.
    assert_eq!([1, 2, 3].map(|sid| by_sid(&before, sid).identity == by_sid(&now, sid).identity), [false, true, false]);
    let (_, sids) = tcp_packet(b"home elsewhere").show(&mut inspector(Mode::Prevent), &now, 0);
    assert_eq!(sids, [2]);
}

#[test]
fn a_file_of_another_name_makes_another_group() {
    let before = rules(THREE);
    let file = RuleFile { name: "/rules/other.rules".into(), text: THREE.into() };
    let now = RuleSet::compile_after(&before, &[file], &Vars::conventional()).rules;
    assert_eq!((&*before.signature(0).unwrap().group, &*now.signature(0).unwrap().group), ("test", "other"));
    assert!(is_shared(&before, &now, 1));
}

#[test]
fn what_is_shared_outlives_the_set_that_it_came_from() {
    let mut current = rules(THREE);
    let first = by_sid(&current, 1).identity;
    for round in 0..20 {
        let more: String = (0..round % 5)
            .map(|index| format!("alert tcp any any -> any any (content:\"more{round}\"; sid:{};)\n", 10 + index))
            .collect();
        let next = after(&current, &format!("{more}{THREE}"));
        assert!(is_shared(&current, &next, 1));
        current = next;
    }
    assert_eq!(by_sid(&current, 1).identity, first);
    // Two sets at most ever held it, and one is left.
    assert_eq!(Arc::strong_count(&by_sid(&current, 1).payload), 1);
    assert_eq!(tcp_packet(b"first7").show(&mut inspector(Mode::Prevent), &current, 0).1, [1]);
}

/// Rules whose tallies are kept across a reload, and what becomes of them when they change.
#[test]
fn unchanged_rules_keep_their_counts_and_changed_ones_start_anew() {
    let limit = |content: &str, sid: u32| {
        format!(
            "alert udp any any -> any any (content:\"{content}\"; \
             threshold: type limit, track by_src, count 2, seconds 60; sid:{sid};)\n"
        )
    };
    let filter =
        "alert udp any any -> any any (content:\"f\"; detection_filter: track by_src, count 2, seconds 60; sid:9;)\n";
    let first = rules(&format!("{}{}{filter}", limit("a", 1), limit("b", 2)));
    let mut inspector = inspector(Mode::Prevent);
    let mut show = |rules: &RuleSet, now_ms| udp(b"a b c f").show(&mut inspector, rules, now_ms).1;
    assert_eq!(show(&first, 0), [1, 2]);
    assert_eq!(show(&first, 1), [1, 2]);
    // A new rule takes the first place, so that all others move; rule 2 changes.
    let changed = limit("b", 2).replace("sid", "rev:2; sid");
    let second = after(&first, &format!("{}{}{changed}{filter}", limit("c", 3), limit("a", 1)));
    assert_eq!(show(&second, 2), [3, 2, 9]);
    assert_eq!(show(&second, 3), [3, 2, 9]);
    assert_eq!(show(&second, 4), [9]);
    // Without a common ancestor, too: what counts is what the rules say.
    assert_eq!(show(&rules(&limit("a", 1)), 5), []);
    assert_eq!(show(&rules(&limit("a", 7)), 6), [7]);
}

#[test]
fn bits_of_addresses_keep_their_names_across_reloads() {
    let set =
        r#"alert udp any any -> any any (content:"set"; xbits:set,marked,track ip_src,expire 60; noalert; sid:1;)"#;
    let ask = |name: &str, sid: u32| {
        format!("alert udp any any -> any any (content:\"ask\"; xbits:isset,{name},track ip_src; sid:{sid};)\n")
    };
    let first = rules(set);
    let mut inspector = inspector(Mode::Prevent);
    udp(b"set").show(&mut inspector, &first, 0);
    // Another name comes first in the file: it is not taken for the one that was set.
    let second = after(&first, &format!("{}{}", ask("other", 2), ask("marked", 3)));
    assert_eq!(udp(b"ask").show(&mut inspector, &second, 1).1, [3]);
}

/// A flow without a stream: what refuses it may be gone, and then nothing of it is missing.
#[test]
fn a_datagram_flow_is_refused_for_as_long_as_what_refused_it_is_there() {
    let query = |name: &[u8]| {
        let name = [&[name.len() as u8], name, &[0]].concat();
        udp(&[&[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], &name[..], &[0, 1, 0, 1]].concat())
    };
    let evil = r#"drop dns any any -> any any (dns.query; content:"evil"; sid:1;)"#;
    let other = r#"alert dns any any -> any any (dns.query; content:"nice"; sid:2;)"#;
    let refused = Verdict::Drop(crate::verdict::Refused::FlowRefused);
    let first = rules(evil);
    for (text, stays) in [
        (format!("drop udp any any -> any any (content:\"never\"; sid:9;)\n{other}\n{evil}"), true),
        (evil.replace("drop", "alert"), false),
        (evil.replace("\"evil\"", "\"wicked\""), false),
        (other.to_owned(), false),
        (String::new(), false),
    ] {
        let mut inspector = inspector(Mode::Prevent);
        let verdict = query(b"evil").show(&mut inspector, &first, 0).0;
        assert_eq!(verdict, Verdict::Drop(crate::verdict::Refused::Signature(0)));
        assert_eq!(query(b"nice").show(&mut inspector, &first, 1).0, refused);
        let now = after(&first, &text);
        let expected = if stays { refused } else { Verdict::Forward };
        assert_eq!(query(b"nice").show(&mut inspector, &now, 2).0, expected, "{text}");
        assert_eq!(query(b"nice").show(&mut inspector, &now, 3).0, expected, "{text}");
    }
}
