//! A signature sees the attack before the victim does.

use qemu_tests::setup::{Member, Setup};

/// Two signatures: one that stops what it finds, one that only tells.
const DROP: &str = "drop tcp any any -> any 5432 (msg:\"LAB attack string\"; flow:established,to_server; \
                    content:\"drop|20|table\"; nocase; classtype:attempted-admin; sid:1000001; rev:3;)";
const ALERT: &str = "alert tcp any any -> any 5432 (msg:\"LAB curious client\"; content:\"select version\"; \
                     sid:1000002; rev:1;)";

#[test]
fn an_attack_is_dropped_and_told_and_a_suspicion_is_only_told() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::db1())
        .rule("{name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}")
        .signature(DROP)
        .signature(ALERT)
        .start();
    let db1 = Member::db1().ip;
    lab.guest("db1").serve_tcp(5432);

    assert!(lab.guest("web1").echo_tcp(db1, 5432, "select 1", 5), "harmless data passes");
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "select version()", 5), "suspicious data passes");
    let alert = lab.switch.wait_eve("the alert", |event| event["alert"]["signature_id"] == 1_000_002);
    assert_eq!(alert["alert"]["action"], "allowed", "{alert}");

    assert!(!lab.guest("web1").echo_tcp(db1, 5432, "; DROP table users", 3), "the attack gets no answer");
    let alert = lab.switch.wait_eve("the attack", |event| event["alert"]["signature_id"] == 1_000_001);
    assert_eq!(alert["event_type"], "alert", "{alert}");
    assert_eq!(alert["alert"]["action"], "blocked", "{alert}");
    assert_eq!(alert["alert"]["signature"], "LAB attack string", "{alert}");
    assert_eq!(alert["alert"]["rev"], 3, "{alert}");
    assert_eq!(
        (&alert["vswitch"]["from_port"], &alert["vswitch"]["to_port"]),
        (&"web1".into(), &"db1".into()),
        "{alert}"
    );
    assert_eq!(alert["src_ip"], Member::web1().ip, "{alert}");

    // TCP sends the same bytes again for a while; none of it may ever arrive
    lab.guest("web1").must("sleep 2");
    let received = lab.guest("db1").received(5432);
    assert_eq!(received, "select 1\nselect version()", "the victim saw nothing of the attack");

    // and the victim is not cut off for others
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "select 2", 5), "a new, harmless connection works");

    let metrics = lab.switch.metrics();
    assert!(metrics.drops("signature") >= 1.0, "{}", lab.switch.metrics_text());
    assert!(metrics.total("vswitch_alerts_total") >= 2.0, "{}", lab.switch.metrics_text());
    lab.balanced_books();
}

#[test]
fn an_attack_that_is_split_over_segments_never_reaches_the_victims_application() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::db1())
        .rule("{name: web-db, from: web, to: db, proto: tcp, dport: [5432, 5433], action: allow}")
        .signature(&DROP.replace("5432", "any"))
        .start();
    let db1 = Member::db1().ip;
    for port in [5432, 5433] {
        lab.guest("db1").serve_tcp(port);
    }

    // Two segments, with a second between them, and what looks like it and is none.
    let halves = |last: &str, port: u16| {
        format!("(printf '; DROP ta'; sleep 1; printf '{last} users'; sleep 1) | timeout 8 nc -w 5 {db1} {port}")
    };
    lab.guest("web1").run(&halves("xi", 5432));
    assert_eq!(lab.guest("db1").received(5432), "; DROP taxi users", "harmless segments arrive, one by one");
    lab.guest("web1").run(&halves("ble", 5433));
    let attack =
        |event: &serde_json::Value| event["event_type"] == "alert" && event["alert"]["signature_id"] == 1_000_001;
    let alert = lab.switch.wait_eve("the attack in two segments", attack);
    assert_eq!(alert["alert"]["action"], "blocked", "{alert}");
    // TCP sends the second half again for a while; none of it may ever arrive
    lab.guest("web1").must("sleep 2");
    assert_eq!(lab.guest("db1").received(5433), "; DROP ta", "the victim has the first half and no more");

    // A segment for each byte.
    let bytes = "for byte in d r o p ' ' t a b l e; do printf '%s' \"$byte\"; sleep 0.2; done";
    lab.guest("web1").run(&format!("({bytes}) | timeout 8 nc -w 5 {db1} 5432"));
    lab.guest("web1").must("sleep 2");
    let received = lab.guest("db1").received(5432);
    assert_eq!(received, "; DROP taxi usersdrop tabl", "the victim has all bytes but the last");
    let alerts = lab.switch.eve().into_iter().filter(attack).count();
    assert_eq!(alerts, 2, "one alert for each attack");
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "select 1", 5), "a new, harmless connection works");
    lab.balanced_books();
}
