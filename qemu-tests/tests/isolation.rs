//! What the policy does not open stays shut, and the log names the rule.

use qemu_tests::setup::{Member, Setup};
use serde_json::Value;

/// Whether `event` tells of a dropped frame from `from` for TCP port `port`.
fn is_drop(event: &Value, from: &str, port: u64) -> bool {
    event["event_type"] == "drop" && event["vswitch"]["from_port"] == from && event["dest_port"] == port
}

#[test]
fn a_denied_flow_never_arrives_and_its_drop_names_the_rule() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::db1())
        .rule("{name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}")
        .rule("{name: no-telnet, from: web, to: db, proto: tcp, dport: 23, action: drop}")
        .start();
    let db1 = Member::db1().ip;
    for port in [5432, 23, 8080] {
        lab.guest("db1").serve_tcp(port);
    }
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "select 1", 5), "the allowed port answers");

    // a rule that denies
    assert!(!lab.guest("web1").echo_tcp(db1, 23, "login", 2), "port 23 is denied by a rule");
    assert_eq!(lab.guest("db1").received(23), "");
    let drop = lab.switch.wait_eve("the drop by no-telnet", |event| is_drop(event, "web1", 23));
    assert_eq!(drop["vswitch"]["rule"], "no-telnet", "{drop}");
    assert_eq!(drop["vswitch"]["reason"], "policy", "{drop}");
    assert_eq!(drop["vswitch"]["to_port"], "db1", "{drop}");
    assert_eq!((&drop["vswitch"]["from_zone"], &drop["vswitch"]["to_zone"]), (&"web".into(), &"db".into()), "{drop}");

    // no rule at all: the default
    assert!(!lab.guest("web1").echo_tcp(db1, 8080, "hello", 2), "port 8080 is denied by default");
    assert_eq!(lab.guest("db1").received(8080), "");
    let drop = lab.switch.wait_eve("the drop by default", |event| is_drop(event, "web1", 8080));
    assert_eq!(drop["vswitch"]["reason"], "policy", "{drop}");
    assert_ne!(drop["vswitch"]["rule"], "no-telnet", "{drop}");

    let metrics = lab.switch.metrics();
    assert!(metrics.drops("policy") >= 2.0, "{}", lab.switch.metrics_text());
    assert!(metrics.labelled("vswitch_rule_hits_total", "rule", "no-telnet") >= 1.0);
    assert!(metrics.labelled("vswitch_rule_hits_total", "rule", "web-db") >= 1.0);
    lab.balanced_books();
}

#[test]
fn zones_without_any_rule_cannot_even_see_each_other() {
    let mut lab = Setup::new().guest(Member::web1()).guest(Member::db1()).start();
    let db1 = Member::db1().ip;
    assert!(!lab.guest("web1").can_ping(db1, 2));
    // not even the hardware address: a neighbour that never answers
    let neighbour = lab.guest("web1").must("ip neigh show dev eth0");
    assert!(!neighbour.contains(Member::db1().mac), "{neighbour}");
    assert_eq!(lab.guest("db1").snmp("Icmp", "InEchos"), 0);
    lab.balanced_books();
}
