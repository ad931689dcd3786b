//! What a decision costs, in nanoseconds: `cargo bench -p zones --bench policy`. It is asked once per flow and generation, so
//! it bounds new flows, not frames. Port security is asked for every frame.
//!
//! Each line is the best of many rounds over 32 questions: best, because everything that disturbs a round makes it slower.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Instant;

use zones::PortId;
use zones::binding::PortSecurity;
use zones::policy::{FlowFacts, Policy};
use zones::rule::{Action, Rule};
use zones::service::{Service, TCP};
use zones::source::PolicySource;
use zones::zone::{Port, Zone};

const BATCH: u16 = 32;

fn main() {
    let round_count = if std::env::args().any(|word| word == "--short") { 10 } else { 20_000 };
    for rule_count in [10, 100, 1_000] {
        let policy = policy(rule_count);
        // Half of the questions are answered by some rule, half by the default behind all of them.
        let facts: Vec<FlowFacts> = (0..BATCH).map(|index| facts(index, rule_count)).collect();
        let name = format!("policy-decision, one of {rule_count} rules between two zones");
        measure(&name, round_count, &facts, |facts| policy.decide(facts));
    }
    let own: Ipv4Addr = "10.0.0.10".parse().expect("an address");
    let security = PortSecurity::parse(&["52:54:00:00:00:0a 10.0.0.10".to_owned()]).expect("a binding");
    let sources: Vec<([u8; 6], u32)> =
        (0..BATCH).map(|index| ([0x52, 0x54, 0, 0, 0, 0x0a], u32::from(own) + u32::from(index & 1))).collect();
    measure("port-security, IPv4", round_count, &sources, |(mac, source)| security.is_own_ipv4(*mac, *source));
}

/// Two zones, and so many rules from one to the other, each about a port of its own.
fn policy(rule_count: u16) -> Policy {
    let between = |port: u16| {
        let (from, to) = ("left".parse().expect("a zone"), "right".parse().expect("a zone"));
        Rule::new(format!("port-{port}"), Action::Allow).between(from, to).about(Service::tcp(port))
    };
    let source = PolicySource {
        zones: vec![Zone::new("left", None), Zone::new("right", None)],
        ports: vec![Port::new(PortId(0), "a", "left"), Port::new(PortId(1), "b", "right")],
        rules: (1..=rule_count).map(between).collect(),
        default: Action::Drop,
        ..PolicySource::default()
    };
    Policy::compile(&source).expect("the policy compiles")
}

fn facts(index: u16, rule_count: u16) -> FlowFacts {
    FlowFacts {
        from: PortId(0),
        to: PortId(1),
        source: "10.0.0.10".parse().expect("an address"),
        destination: "10.0.0.11".parse().expect("an address"),
        protocol: TCP,
        source_port: 40_000 + index,
        destination_port: 1 + index * 2 * rule_count / BATCH,
    }
}

fn measure<Q, A>(name: &str, round_count: usize, questions: &[Q], answer: impl Fn(&Q) -> A) {
    let mut best_ns = f64::MAX;
    for _ in 0..round_count {
        let start = Instant::now();
        for question in questions {
            black_box(answer(black_box(question)));
        }
        best_ns = best_ns.min(start.elapsed().as_nanos() as f64 / questions.len() as f64);
    }
    println!("{name}: ns {best_ns:.1}");
}
