//! The compiled policy: tables of decisions, and a property that holds it to reading the rules from the top.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use zones::group::{AddressSet, Group};
use zones::policy::{Decision, FlowFacts, Policy};
use zones::rule::{Action, Endpoint, Place, Rule, Term, Tier};
use zones::service::{ICMP, IcmpType, Service, TCP, UDP};
use zones::source::{PolicyError, PolicySource};
use zones::zone::{Port, Zone};
use zones::{PortId, ZoneId};

const WEB1: PortId = PortId(0);
const WEB2: PortId = PortId(1);
const DB1: PortId = PortId(7);
const DB2: PortId = PortId(8);
const UPLINK: PortId = PortId(100);
const NOBODY: PortId = PortId(50);

fn end(text: &str) -> Endpoint {
    text.parse().unwrap()
}

/// Two web servers, two databases and an uplink; nothing else said.
fn site(rules: Vec<Rule>) -> PolicySource {
    let labels: BTreeMap<String, String> = [("tier".to_string(), "front".to_string())].into();
    PolicySource {
        zones: vec![
            Zone::new("web", Some(Action::Allow)),
            Zone::new("db", Some(Action::Drop)),
            Zone::new("outside", None),
        ],
        ports: vec![
            Port { labels: labels.clone(), ..Port::new(WEB1, "web1", "web") },
            Port::new(WEB2, "web2", "web"),
            Port::new(DB1, "db1", "db"),
            Port { labels: labels.clone(), ..Port::new(DB2, "db2", "db") },
            Port::new(UPLINK, "up0", "outside"),
        ],
        groups: vec![Group { name: "front".into(), labels, ports: Default::default() }],
        address_sets: vec![AddressSet { name: "partners".into(), prefixes: vec!["192.0.2.0/24".parse().unwrap()] }],
        rules,
        default: Action::Drop,
    }
}

/// TCP from one port to another, to port 5432, between addresses of no set.
fn tcp(from: PortId, to: PortId) -> FlowFacts {
    FlowFacts {
        from,
        to,
        source: "10.0.1.1".parse().unwrap(),
        destination: "10.0.2.1".parse().unwrap(),
        protocol: TCP,
        source_port: 40_000,
        destination_port: 5432,
    }
}

/// Asserts who decides, in words: `allow web-db`, `deny default`.
fn check(source: &PolicySource, table: &[(FlowFacts, &str)]) {
    let policy = Policy::compile(source).unwrap();
    for (facts, expected) in table {
        let decision = policy.decide(facts);
        let word = if decision.is_allow() { "allow" } else { "deny" };
        assert_eq!(format!("{word} {}", policy.decider_name(decision.decider())), *expected, "{facts:?}");
    }
}

#[test]
fn without_rules_the_zones_and_the_default_decide() {
    check(
        &site(vec![]),
        &[
            (tcp(WEB1, WEB2), "allow intra-zone:web"),
            (tcp(DB1, DB2), "deny intra-zone:db"),
            (tcp(WEB1, DB1), "deny default"),
            (tcp(UPLINK, UPLINK), "deny default"),
        ],
    );
}

#[test]
fn an_unknown_port_talks_to_nobody_whatever_the_default() {
    let mut open = site(vec![Rule::new("all", Action::Allow)]);
    open.default = Action::Allow;
    check(
        &open,
        &[
            (tcp(WEB1, NOBODY), "deny default"),
            (tcp(NOBODY, WEB1), "deny default"),
            (tcp(PortId(u16::MAX), WEB1), "deny default"),
            (tcp(UPLINK, UPLINK), "allow all"),
        ],
    );
    assert_eq!(Policy::default().decide(&tcp(WEB1, WEB2)), Decision::Deny(zones::policy::DeciderId(0)));
    assert_eq!(Policy::default().deciders(), ["default"]);
    assert!(!Policy::default().may_talk(WEB1, WEB2));
}

#[test]
fn the_first_matching_rule_decides() {
    let source = site(vec![
        Rule::new("no-db2", Action::Drop).between(end("web"), end("db2")),
        Rule::new("web-db", Action::Allow).between(end("web"), end("db")).about(Service::tcp(5432)),
        Rule::new("front", Action::Allow).between(end("@front"), end("@front")),
    ]);
    let udp = FlowFacts { protocol: UDP, ..tcp(WEB1, DB1) };
    let other_port = FlowFacts { destination_port: 22, ..tcp(WEB1, DB1) };
    check(
        &source,
        &[
            (tcp(WEB1, DB1), "allow web-db"),
            (tcp(WEB1, DB2), "deny no-db2"),
            (tcp(DB2, WEB1), "allow front"),
            (tcp(DB1, WEB1), "deny default"),
            (udp, "deny default"),
            (other_port, "deny default"),
        ],
    );
}

#[test]
fn tiers_come_before_file_order() {
    let source = site(vec![
        Rule::new("base", Action::Drop).in_tier(Tier::Baseline),
        Rule::new("app", Action::Allow),
        Rule::new("quarantine", Action::Drop).between(end("web1"), Endpoint::any()).in_tier(Tier::Emergency),
    ]);
    check(&source, &[(tcp(WEB1, DB1), "deny quarantine"), (tcp(WEB2, DB1), "allow app")]);
}

#[test]
fn addresses_narrow_a_place() {
    let source = site(vec![
        Rule::new("partners", Action::Allow).between(end("outside & $partners"), end("web")),
        Rule::new("to-partners", Action::Allow).between(end("web"), end("$partners")),
    ]);
    let partner: IpAddr = "192.0.2.9".parse().unwrap();
    let inward = FlowFacts { source: partner, ..tcp(UPLINK, WEB1) };
    let outward = FlowFacts { destination: partner, ..tcp(WEB1, UPLINK) };
    let disguised = FlowFacts { source: partner, ..tcp(DB1, WEB1) };
    check(
        &source,
        &[
            (inward, "allow partners"),
            (tcp(UPLINK, WEB1), "deny default"),
            (outward, "allow to-partners"),
            (disguised, "deny default"),
        ],
    );
}

#[test]
fn an_endpoint_may_have_several_terms() {
    let terms = Endpoint { terms: vec!["db1".parse().unwrap(), "outside & $partners".parse().unwrap()] };
    let source = site(vec![Rule::new("mixed", Action::Allow).between(terms, end("web"))]);
    let partner = FlowFacts { source: "192.0.2.9".parse().unwrap(), ..tcp(UPLINK, WEB1) };
    check(
        &source,
        &[
            (tcp(DB1, WEB1), "allow mixed"),
            (partner, "allow mixed"),
            (tcp(UPLINK, WEB1), "deny default"),
            (tcp(DB2, WEB1), "deny default"),
        ],
    );
}

#[test]
fn names_and_zones_are_kept() {
    let policy = Policy::compile(&site(vec![Rule::new("a", Action::Allow)])).unwrap();
    assert_eq!(policy.deciders(), ["a", "intra-zone:web", "intra-zone:db", "intra-zone:outside", "default"]);
    assert_eq!((policy.zone_of(DB1), policy.zone_of(NOBODY)), (Some(ZoneId(1)), None));
    assert_eq!((policy.zone_name(ZoneId(1)), policy.zone_name(ZoneId(3))), (Some("db"), None));
    assert_eq!(policy.zone_count(), 3);
}

#[test]
fn address_resolution_follows_what_could_be_allowed() {
    let check = |rules: Vec<Rule>, a: PortId, b: PortId, expected: bool| {
        let policy = Policy::compile(&site(named(rules))).unwrap();
        assert_eq!((policy.may_talk(a, b), policy.may_talk(b, a)), (expected, expected), "{a:?} {b:?}");
    };
    let allow =
        |from: &str, to: &str| Rule::new("allow", Action::Allow).between(end(from), end(to)).about(Service::tcp(1));
    let drop = |from: &str, to: &str| Rule::new("drop", Action::Drop).between(end(from), end(to));
    check(vec![], WEB1, WEB2, true);
    check(vec![], DB1, DB2, false);
    check(vec![], WEB1, DB1, false);
    check(vec![allow("web", "db")], WEB1, DB1, true);
    check(vec![allow("web", "db")], WEB1, UPLINK, false);
    check(vec![drop("any", "any"), allow("web", "db")], WEB1, DB1, false);
    check(vec![drop("web", "any"), allow("web", "db")], WEB1, DB1, false);
    check(vec![drop("web1", "any"), drop("any", "web1")], WEB1, WEB2, false);
    // One direction is enough.
    check(vec![drop("web1", "any"), drop("any", "web1").about(Service::tcp(2))], WEB1, WEB2, true);
    // A drop of some flows leaves the others.
    check(vec![drop("any", "any").about(Service::tcp(9)), allow("db", "web").in_tier(Tier::Baseline)], WEB1, DB1, true);
    check(vec![allow("web", "$partners")], WEB1, UPLINK, true);
    check(vec![Rule::new("all", Action::Allow)], WEB1, NOBODY, false);
}

#[test]
fn every_fault_is_named_at_once() {
    let mut source = site(vec![
        Rule::new("a", Action::Allow).between(end("wbe"), end("@db")),
        Rule::new("b", Action::Allow).between(end("web"), end("$nowhere")),
    ]);
    source.groups[0].ports.insert("web9".into());
    let unknown =
        |what, name: &str, used_by: &str| PolicyError::Unknown { what, name: name.into(), used_by: used_by.into() };
    assert_eq!(
        Policy::compile(&source).unwrap_err(),
        [
            unknown("port", "web9", "group \"front\""),
            unknown("zone or port", "wbe", "rule \"a\""),
            unknown("group", "db", "rule \"a\""),
            unknown("address set", "nowhere", "rule \"b\""),
        ]
    );
    let mut source = site(vec![Rule::new("a", Action::Allow), Rule::new("a", Action::Drop)]);
    source.ports[1].id = WEB1;
    source.zones.push(Zone::new("web", None));
    assert_eq!(
        Policy::compile(&source).unwrap_err(),
        [
            PolicyError::Duplicate { what: "zone", name: "web".into() },
            PolicyError::Duplicate { what: "rule", name: "a".into() },
            PolicyError::DuplicateId(WEB1),
        ]
    );
    let mut source = site(vec![Rule::new("a", Action::Allow).between(end("web"), end("any"))]);
    source.ports[0].name = "web".into();
    let ambiguous = PolicyError::Ambiguous { name: "web".into(), rule: "a".into() };
    assert_eq!(Policy::compile(&source).unwrap_err(), [ambiguous]);
    let source = site((0..4097).map(|n| Rule::new(format!("r{n}"), Action::Allow)).collect());
    let too_many = PolicyError::TooMany { what: "rules", count: 4097, count_max: 4096 };
    assert_eq!(Policy::compile(&source).unwrap_err(), [too_many]);
}

// ---- The compiled policy is the list, read from its top ----

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let place = prop_oneof![
        2 => Just(Place::Any),
        3 => prop::sample::select(vec!["web", "db", "outside"]).prop_map(|name| Place::Named(name.into())),
        2 => prop::sample::select(vec!["web1", "db1", "up0"]).prop_map(|name| Place::Named(name.into())),
        1 => Just(Place::Group("front".into())),
    ];
    let addresses = prop_oneof![3 => Just(None), 1 => Just(Some("partners".to_string()))];
    let term = (place, addresses).prop_map(|(place, addresses)| Term { place, addresses });
    prop::collection::vec(term, 1..3).prop_map(|terms| Endpoint { terms })
}

fn service() -> impl Strategy<Value = Service> {
    let range = (0u16..6, 0u16..3).prop_map(|(first, more)| (first, first + more));
    let ports = prop::collection::vec(range, 0..3);
    prop_oneof![
        Just(Service::any()),
        prop::sample::select(vec![1u8, 6, 17, 132]).prop_map(Service::protocol),
        (prop::sample::subsequence(vec![TCP, UDP], 1..=2), ports.clone(), ports)
            .prop_map(|(protocols, from, to)| Service::new(protocols, from, to, vec![]).unwrap()),
        (0u8..3, prop::option::of(0u8..2)).prop_map(|(icmp_type, code)| {
            Service::new([ICMP], vec![], vec![], vec![IcmpType { icmp_type, code }]).unwrap()
        }),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let action = prop::sample::select(vec![Action::Allow, Action::Drop]);
    let tier = prop::sample::select(Tier::ALL.to_vec());
    (endpoint(), endpoint(), service(), action, tier).prop_map(|(from, to, service, action, tier)| {
        Rule::new("", action).between(from, to).about(service).in_tier(tier)
    })
}

fn flow() -> impl Strategy<Value = FlowFacts> {
    let port = prop::sample::select(vec![WEB1, WEB2, DB1, DB2, UPLINK, NOBODY]);
    let address = prop::sample::select(vec!["10.0.0.1", "192.0.2.1", "fd00::1"]);
    let protocol = prop::sample::select(vec![ICMP, TCP, UDP, 132]);
    let transport_port = prop_oneof![0u16..8, (0u16..3, 0u16..2).prop_map(|(t, c)| t << 8 | c)];
    (port.clone(), port, address.clone(), address, protocol, transport_port.clone(), transport_port).prop_map(
        |(from, to, source, destination, protocol, source_port, destination_port)| FlowFacts {
            from,
            to,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol,
            source_port,
            destination_port,
        },
    )
}

/// Reads the policy as a person would: tier by tier, from the top, name by name.
fn naive(source: &PolicySource, facts: &FlowFacts) -> (bool, String) {
    let port = |id: PortId| source.ports.iter().find(|port| port.id == id);
    let (Some(from), Some(to)) = (port(facts.from), port(facts.to)) else {
        return (false, "default".into());
    };
    let is_at = |endpoint: &Endpoint, port: &Port, address: IpAddr| {
        endpoint.terms.iter().any(|term| {
            let is_place = match &term.place {
                Place::Any => true,
                Place::Named(name) => *name == port.zone || *name == port.name,
                Place::Group(name) => source.groups.iter().any(|group| group.name == *name && group.contains(port)),
            };
            let is_address = term.addresses.as_ref().is_none_or(|name| {
                let set = source.address_sets.iter().find(|set| set.name == *name).unwrap();
                set.prefixes.iter().any(|prefix| prefix.contains(&address))
            });
            is_place && is_address
        })
    };
    for tier in Tier::ALL {
        for rule in source.rules.iter().filter(|rule| rule.tier == tier) {
            if is_at(&rule.from, from, facts.source)
                && is_at(&rule.to, to, facts.destination)
                && rule.service.contains(facts)
            {
                return (rule.action == Action::Allow, rule.name.clone());
            }
        }
    }
    let zone = source.zones.iter().find(|zone| zone.name == from.zone).unwrap();
    match zone.intra_zone {
        Some(action) if from.zone == to.zone => (action == Action::Allow, format!("intra-zone:{}", zone.name)),
        _ => (source.default == Action::Allow, "default".into()),
    }
}

/// A name of its own for each rule.
fn named(mut rules: Vec<Rule>) -> Vec<Rule> {
    for (index, rule) in rules.iter_mut().enumerate() {
        rule.name = format!("r{index}");
    }
    rules
}

proptest! {
    #[test]
    fn compiled_is_naive(
        rules in prop::collection::vec(rule(), 0..90),
        flows in prop::collection::vec(flow(), 1..40),
        is_open in any::<bool>(),
    ) {
        let mut source = site(named(rules));
        source.default = if is_open { Action::Allow } else { Action::Drop };
        let policy = Policy::compile(&source).unwrap();
        for facts in &flows {
            let decision = policy.decide(facts);
            let answer = (decision.is_allow(), policy.decider_name(decision.decider()).to_string());
            prop_assert_eq!(answer, naive(&source, facts), "{:?}", facts);
            // Who may open a flow must be able to find out the other's address.
            prop_assert!(!decision.is_allow() || policy.may_talk(facts.to, facts.from));
        }
    }

    #[test]
    fn a_rule_that_is_reported_hidden_never_decides(
        rules in prop::collection::vec(rule(), 0..12),
        flows in prop::collection::vec(flow(), 1..200),
    ) {
        let source = site(named(rules));
        let policy = Policy::compile(&source).unwrap();
        let findings = zones::analysis::analyse(&source).unwrap();
        for facts in &flows {
            let decider = policy.decider_name(policy.decide(facts).decider()).to_string();
            for finding in &findings {
                let is_hidden = finding.kind != zones::analysis::FindingKind::Conflicting;
                prop_assert!(!is_hidden || finding.rule_name != decider, "{} decided {:?}", finding, facts);
            }
        }
    }
}
