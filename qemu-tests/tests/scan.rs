//! A guest that scans another is told of and shut off, and lets nobody else feel it.

use std::time::Duration;

use qemu_tests::setup::{Member, Setup};
use qemu_tests::tools::wait_until;

const WEB_DB: &str = "{name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}";

/// Knocks at ports 1 to 300 of a host, 50 at a time, with busybox's nc.
fn scan(host: &str) -> String {
    format!(
        "p=0; while [ $p -lt 300 ]; do p=$((p+1)); nc -w 1 {host} $p </dev/null >/dev/null 2>&1 & \
         [ $((p % 50)) = 0 ] && wait; done; wait; true"
    )
}

#[test]
fn a_guest_that_scans_is_put_in_quarantine_and_nobody_else_notices() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::web2())
        .guest(Member::db1())
        .rule(WEB_DB)
        .detect("{port_scan: {threshold: 100, window: 1m, action: quarantine, quarantine_time: 1h}}")
        .start();
    let (web2, db1) = (Member::web2().ip, Member::db1().ip);
    lab.guest("db1").serve_tcp(5432);
    assert!(lab.guest("web1").can_ping(web2, 5), "before: web1 pings web2");
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "before", 5), "before: web1 reaches db1");
    assert!(lab.switch.show("threats")["threats"].as_array().is_some_and(Vec::is_empty), "nobody did anything yet");

    lab.guest("web1").run_for(&scan(web2), Duration::from_secs(120));
    let event = lab.switch.wait_eve("the scan", |event| event["alert"]["gid"] == 500);
    assert_eq!((&event["event_type"], &event["alert"]["signature_id"]), (&"alert".into(), &1.into()), "{event}");
    let (vswitch, anomaly) = (&event["vswitch"], &event["vswitch"]["anomaly"]);
    assert_eq!((&vswitch["from_port"], &vswitch["from_zone"]), (&"web1".into(), &"web".into()), "{event}");
    assert_eq!((&anomaly["kind"], &anomaly["target"]), (&"port_scan".into(), &web2.into()), "{event}");
    assert_eq!((&anomaly["threshold"], &anomaly["action"]), (&100.into(), &"quarantine".into()), "{event}");
    assert!(anomaly["count"].as_u64().is_some_and(|count| (90..130).contains(&count)), "{event}");

    let metrics = lab.switch.metrics();
    assert_eq!(metrics.labelled("vswitch_port_quarantined", "port", "web1"), 1.0, "{}", lab.switch.metrics_text());
    assert_eq!(metrics.labelled("vswitch_port_quarantined", "port", "web2"), 0.0, "{}", lab.switch.metrics_text());
    assert_eq!(metrics.labelled("vswitch_anomalies_total", "kind", "port_scan"), 1.0);
    assert!(metrics.drops("quarantined") > 0.0, "the rest of the scan");
    let ports = lab.switch.cli(&["show", "ports"]);
    let is_told = |line: &str| line.starts_with("web1 ") && line.contains(" quarantined ");
    assert!(ports.text.lines().any(is_told), "{}", ports.text);
    let threats = lab.switch.show("threats");
    assert_eq!(threats["quarantines"][0]["port"], "web1", "{threats}");
    assert_eq!(threats["threats"][0]["kind"], "port_scan", "{threats}");

    // It is cut off both ways, and the others are not.
    assert!(!lab.guest("web1").can_ping(web2, 2), "web1 sends nothing");
    assert!(!lab.guest("web2").can_ping(Member::web1().ip, 2), "web1 is sent nothing");
    assert!(lab.guest("web2").echo_tcp(db1, 5432, "meanwhile", 5), "web2 reaches db1");
    assert!(lab.guest("db1").received(5432).contains("meanwhile"));

    let released = lab.switch.cli(&["release", "web1"]);
    assert_eq!((released.status, released.text.as_str()), (0, "web1 is out of quarantine"));
    assert_eq!(lab.switch.cli(&["release", "web1"]).status, 1, "it is in none any more");
    assert!(lab.guest("web1").can_ping(web2, 5), "web1 is back");
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "after", 5), "also toward db1");

    // And a quarantine that nobody ends ends by itself.
    lab.reconfigure(|setup| {
        setup.detect("{port_scan: {threshold: 100, window: 1m, action: quarantine, quarantine_time: 10s}}")
    });
    lab.switch.reload();
    lab.guest("web1").run_for(&scan(web2), Duration::from_secs(120));
    let count = || lab.switch.metrics().labelled("vswitch_port_quarantines_total", "port", "web1");
    assert!(count() >= 2.0, "{}", lab.switch.metrics_text());
    let is_over = || lab.switch.metrics().labelled("vswitch_port_quarantined", "port", "web1") == 0.0;
    assert!(wait_until(Duration::from_secs(20), is_over), "{}", lab.switch.metrics_text());
    assert!(lab.guest("web1").can_ping(web2, 5), "web1 is back by itself");
    lab.balanced_books();
}
