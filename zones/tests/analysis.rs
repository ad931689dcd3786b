//! Findings about rules: each table is a policy of a few rules and what is said about them.

use zones::PortId;
use zones::analysis::analyse;
use zones::group::AddressSet;
use zones::rule::{Action, Rule, Tier};
use zones::service::Service;
use zones::source::PolicySource;
use zones::zone::{Port, Zone};

fn allow(name: &str, from: &str, to: &str) -> Rule {
    Rule::new(name, Action::Allow).between(from.parse().unwrap(), to.parse().unwrap())
}

fn drop(name: &str, from: &str, to: &str) -> Rule {
    Rule { action: Action::Drop, ..allow(name, from, to) }
}

fn check(rules: Vec<Rule>, expected: &[&str]) {
    let set = |name: &str, prefix: &str| AddressSet { name: name.into(), prefixes: vec![prefix.parse().unwrap()] };
    let source = PolicySource {
        zones: ["web", "db", "empty"].map(|name| Zone::new(name, None)).into(),
        ports: vec![
            Port::new(PortId(0), "web1", "web"),
            Port::new(PortId(1), "web2", "web"),
            Port::new(PortId(2), "db1", "db"),
        ],
        address_sets: vec![set("wide", "10.0.0.0/8"), set("narrow", "10.1.0.0/16"), set("apart", "192.0.2.0/24")],
        rules,
        ..PolicySource::default()
    };
    let found: Vec<String> = analyse(&source).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(found, expected);
}

#[test]
fn hidden_rules_are_found() {
    check(
        vec![drop("all", "web", "any"), allow("db", "web1", "db").about(Service::tcp(5432))],
        &["rule \"db\" never decides: rule \"all\" does the opposite first"],
    );
    check(
        vec![allow("web", "web", "db").about(Service::protocol(6)), allow("one", "web2", "db1").about(Service::tcp(1))],
        &["rule \"one\" never decides: rule \"web\" does the same first"],
    );
    check(
        vec![allow("wide", "any", "$wide"), drop("narrow", "web", "$narrow")],
        &["rule \"narrow\" never decides: rule \"wide\" does the opposite first"],
    );
}

#[test]
fn the_tier_says_which_comes_first() {
    check(
        vec![allow("late", "web", "db").in_tier(Tier::Baseline), drop("early", "web", "db").in_tier(Tier::Emergency)],
        &["rule \"late\" never decides: rule \"early\" does the opposite first"],
    );
}

#[test]
fn disagreement_is_found_within_a_tier() {
    let https = || Service::tcp(443);
    check(
        vec![drop("no-https", "web1", "any").about(https()), allow("to-db", "any", "db")],
        &["rules \"no-https\" and \"to-db\" disagree about some flows: their order decides"],
    );
    check(vec![drop("a", "web1", "any").about(https()).in_tier(Tier::Emergency), allow("b", "any", "db")], &[]);
}

#[test]
fn sound_policies_are_left_alone() {
    // An exception before its rule is how policies are written.
    check(vec![drop("except", "web1", "db"), allow("rule", "web", "db")], &[]);
    check(vec![allow("a", "web", "$narrow"), drop("b", "web", "$apart"), allow("c", "web", "$wide")], &[]);
    check(vec![allow("tcp", "web", "db").about(Service::tcp(1)), drop("udp", "web", "db").about(Service::udp(1))], &[]);
    // A zone without ports hides nothing, and is hidden by nothing.
    check(vec![allow("a", "empty", "db"), drop("b", "empty", "db"), allow("c", "web", "db")], &[]);
}

#[test]
fn findings_are_bounded() {
    let rules: Vec<Rule> = (0..400).map(|n| Rule::new(format!("r{n}"), Action::Allow)).collect();
    let source = PolicySource {
        zones: vec![Zone::new("web", None)],
        ports: vec![Port::new(PortId(0), "web1", "web")],
        rules,
        ..PolicySource::default()
    };
    assert_eq!(analyse(&source).unwrap().len(), zones::analysis::FINDINGS_MAX);
}
