//! Rule text that loads, and rule text that is refused: why and where.

use super::super::parse::rule;
use super::super::text::rule_lines;
use super::*;
use proptest::prelude::*;

/// Compares the refusals of a rule text, written as `line:column: cause`.
#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let loaded = load(text);
    let refused: Vec<String> =
        loaded.refused.iter().map(|refusal| format!("{}: {}", refusal.position, refusal.cause)).collect();
    assert_eq!(refused.join("\n"), expected, "{text}");
}

#[test]
fn refusals_name_place_and_cause() {
    for (text, expected) in [
        ("alarm tcp any any -> any any (sid:1;)", r#"1:1: the action "alarm" is not one of alert, drop, reject, pass"#),
        ("alert quux any any -> any any (sid:1;)", r#"1:7: the protocol "quux" is not known"#),
        ("\n# c\nalert tcp $NO any -> any any (sid:1;)", "3:11: the variable $NO is not defined"),
        ("alert tcp any any -> any 70000 (sid:1;)", "1:26: expected a port, a range, a list, $VARIABLE or any"),
        ("alert tcp any any - any any (sid:1;)", "1:19: expected -> or <>"),
        ("alert tcp any any -> any any", "1:29: expected ( before the options"),
        ("alert tcp any any -> any any (sid:1;", "1:37: expected ) behind the options"),
        ("alert tcp any any -> any any (sid:1)", "1:31: expected ; behind the option"),
        ("alert tcp any any -> any any (sid:1;) x", "1:38: expected nothing behind the closing )"),
        ("alert tcp any any -> any any (msg:\"x\";)", "1:1: the rule has no sid"),
        ("alert tcp any any -> any any (lua:x; sid:1;)", r#"1:31: the keyword "lua" is not known"#),
        ("alert tcp any any -> \\\n  any any (sid:1; nonesuch:x;)", r#"2:19: the keyword "nonesuch" is not known"#),
        ("alert tcp any any -> any any (nocase; sid:1;)", "1:31: nocase: there is no content before it"),
        (
            "alert tcp any any -> any any (content:\"|4|\"; sid:1;)",
            "1:31: content: expected bytes, |hex| and the escapes \\\" \\; \\: \\\\",
        ),
        (
            "alert tcp any any -> any any (content:\"abc\"; depth:2; sid:1;)",
            "1:46: depth: expected room for the content",
        ),
        (
            "alert tcp any any -> any any (content:\"abc\"; depth:4; within:4; sid:1;)",
            "1:55: within: the content has an offset or a depth, which excludes a relative place",
        ),
        (
            "alert tcp any any -> any any (content:\"abc\"; depth:4; depth:4; sid:1;)",
            "1:55: depth: the content has one already",
        ),
        (
            "alert tcp any any -> any any (flow:to_server,to_client; sid:1;)",
            "1:31: flow: two directions exclude each other",
        ),
        (
            "alert tcp any any -> any any (ttl:256; sid:1;)",
            "1:31: ttl: expected a number, <n, >n, <=n, >=n, !n or a<>b",
        ),
        (
            "alert tcp any any -> any any (sid:1;)\nalert ip any any -> any any (sid:1;)",
            "2:1: another rule has sid 1 already",
        ),
    ] {
        check_refused(text, expected);
    }
}

#[test]
fn one_refusal_leaves_the_others() {
    let loaded = load(
        "alert tcp any any -> any any (sid:1;)\nalert tcp any any -> any any (lua:x; sid:2;)\nalert tcp any any -> any any (sid:3;)",
    );
    assert_eq!(loaded.rules.len(), 2);
    assert_eq!(loaded.refused.len(), 1);
    assert_eq!(loaded.refused[0].to_string(), "test.rules:2:31: sid 2: the keyword \"lua\" is not known");
    assert_eq!(loaded.refused[0].cause.group(), "unknown keyword lua");
}

#[test]
fn texts_and_numbers() {
    let rules = rules(concat!(
        r#"alert tcp any any -> any any (msg:"a \"quoted\"\; text"; classtype:bad-unknown; reference:url,example.com/a; "#,
        r#"reference:cve,2020-1; metadata:created_at 2020_01_01, tag Some Thing; target:src_ip; sid:7; rev:3; gid:2;)"#
    ));
    let info = rules.signature(0).unwrap();
    assert_eq!(info.msg, r#"a "quoted"; text"#);
    assert_eq!((info.sid, info.rev, info.gid, info.priority), (7, 3, 2, 2));
    assert_eq!(info.references[1], ("cve".into(), "2020-1".into()));
    assert_eq!(info.metadata[1], ("tag".into(), "Some Thing".into()));
    assert!(rules.signature(1).is_none());
}

#[test]
fn order_is_by_action_then_priority() {
    let rules = rules(
        "alert tcp any any -> any any (priority:2; sid:1;)
         alert tcp any any -> any any (priority:1; sid:2;)
         drop tcp any any -> any any (priority:4; sid:3;)
         pass tcp any any -> any any (sid:4;)
         alert tcp any any -> any any (priority:2; sid:5;)",
    );
    let sids: Vec<u32> = (0..5).map(|index| rules.signature(index).unwrap().sid).collect();
    assert_eq!(sids, [4, 3, 2, 1, 5]);
}

fn expression(leaf: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = String> {
    let leaf = prop_oneof![Just("any".to_owned()), Just("$HOME_NET".to_owned()), leaf];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("!{inner}")),
            proptest::collection::vec(inner, 1..4).prop_map(|members| format!("[{}]", members.join(", "))),
        ]
    })
}

proptest! {
    /// What is written from a tree reads back as the same tree.
    #[test]
    fn trees_survive_writing(
        action in prop_oneof![Just("alert"), Just("drop"), Just("pass"), Just("reject")],
        source in expression("[1-9]\\.2\\.3\\.[0-9](/2[0-9])?"),
        port in expression("[1-9][0-9]{0,3}(:[1-9][0-9]{4})?".prop_filter("order", |text| !text.ends_with("99999"))),
        arrow in prop_oneof![Just("->"), Just("<>")],
        options in proptest::collection::vec("[a-z][a-z._]{0,9}(:[ !]{0,2}\"([a-zA-Z0-9 |,:()]|\\\\[;\"\\\\]){0,12}\")?;[ ]{0,2}", 0..6),
    ) {
        let text = format!("{action} tcp {source} {port} {arrow} any any ({})", options.concat());
        let Ok(tree) = rule(&rule_lines(&text).next().unwrap()) else { return Ok(()) };
        let written = tree.to_string();
        let again = rule(&rule_lines(&written).next().unwrap()).unwrap();
        prop_assert_eq!(&again.to_string(), &written);
        prop_assert_eq!((again.action, &again.source.addresses, &again.source.ports, again.bidirectional),
            (tree.action, &tree.source.addresses, &tree.source.ports, tree.bidirectional));
        let pairs = |options: &[super::super::syntax::RuleOption]| {
            options.iter().map(|o| (o.name.clone(), o.value.clone())).collect::<Vec<_>>()
        };
        prop_assert_eq!(pairs(&again.options), pairs(&tree.options));
    }

    /// No text makes the loader panic.
    #[test]
    fn any_text_is_answered(text in "(alert|drop|x) (tcp|ip|udp) [a-z0-9$!\\[\\],:/. ]{0,20} -> any any \\([\\PC]{0,60}\\)?") {
        let loaded = load(&text);
        prop_assert!(loaded.rules.len() + loaded.refused.len() <= text.lines().count());
    }
}
