//! Golden lines.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use inspect::alert::{Alert, AlertAction};
use inspect::detect::{Anomaly, AnomalyKind, Target};
use inspect::file_hashes::{Digests, FileChecks, FileLimits, HashListBuilder, ListAction};
use inspect::inspector::{Direction, FileEvent, FileFinding};
use inspect::protocol::AppProtocol;
use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::wire::Malformed;
use serde_json::{Value, json};
use zones::policy::DeciderId;

use super::*;
use crate::detect::Response;
use crate::drop_reason::DropReason;
use crate::event::{EventKind, Tuple};
use crate::frame::PortId;
use crate::generation::{Generation, PortView};

mod log;

const RULES: &str = r#"drop tcp any any -> any any (msg:"EVIL \"quoted\""; content:"evil"; sid:7; rev:3; priority:2;)"#;

fn generation() -> Arc<Generation> {
    let view = |name: &str, zone: &str| {
        Some(PortView { name: name.to_owned(), zone: zone.to_owned(), is_uplink: false, tenant: None, security: None })
    };
    let file = RuleFile { name: "test.rules".to_owned(), text: RULES.to_owned() };
    let loaded = RuleSet::compile(&[file], &Vars::default());
    assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
    let ports = vec![view("web1", "web"), view("db\"1\n", "db")];
    Arc::new(Generation::new(7, ports, Arc::default(), Arc::new(loaded.rules), 1))
}

fn tuple(protocol: u8) -> Tuple {
    Tuple {
        source: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 11)),
        destination: IpAddr::V4(Ipv4Addr::new(10, 0, 2, 21)),
        protocol,
        source_port: 3,
        destination_port: 1,
    }
}

fn drop_kind(reason: DropReason) -> EventKind {
    EventKind::Drop { reason, decider: None, cause: None, signature: None }
}

fn event(kind: EventKind) -> Event {
    Event {
        at_us: 1_000_001,
        generation: generation(),
        from: PortId(0),
        to: None,
        tuple: None,
        macs: None,
        length: 60,
        flow_id: 0,
        suppressed: 0,
        kind,
        around: None,
    }
}

fn line(event: &Event) -> String {
    let mut out = Vec::new();
    record::write(event, &EveSettings::default(), WallClock { ahead_us: 0 }, &mut out);
    String::from_utf8(out).expect("JSON is text")
}

fn check(event: &Event, expected: Value) {
    let line = line(event);
    assert_eq!(line.matches('\n').count(), 1, "one line: {line}");
    let seen: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(seen, expected, "{seen:#}");
}

#[test]
fn a_frame_of_which_little_is_known() {
    check(
        &event(drop_kind(DropReason::Runt)),
        json!({
            "timestamp": "1970-01-01T00:00:01.000001+0000",
            "in_iface": "web1",
            "event_type": "drop",
            "drop": {"len": 60, "reason": "runt"},
            "vswitch": {"from_port": "web1", "from_zone": "web", "reason": "runt", "generation": 7},
        }),
    );
}

#[test]
fn a_frame_of_which_all_is_known() {
    let mut event = event(EventKind::Drop {
        reason: DropReason::Policy,
        decider: Some(DeciderId(0)),
        cause: None,
        signature: None,
    });
    event.to = Some(PortId(1));
    event.tuple = Some(tuple(6));
    event.macs = Some(([0x52, 0x54, 0, 0, 0, 1], [0x52, 0x54, 0, 0, 0, 0xff]));
    event.flow_id = u64::MAX;
    event.suppressed = 41;
    check(
        &event,
        json!({
            "timestamp": "1970-01-01T00:00:01.000001+0000",
            "flow_id": 9_007_199_254_740_991_u64,
            "in_iface": "web1",
            "event_type": "drop",
            "src_ip": "10.0.1.11",
            "src_port": 3,
            "dest_ip": "10.0.2.21",
            "dest_port": 1,
            "proto": "TCP", "ip_v": 4,
            "ether": {"src_mac": "52:54:00:00:00:01", "dest_mac": "52:54:00:00:00:ff"},
            "drop": {"len": 60, "reason": "policy"},
            "vswitch": {
                "from_port": "web1", "to_port": "db\"1\n", "from_zone": "web", "to_zone": "db",
                "rule": "default", "rule": "default", "reason": "policy", "generation": 7, "suppressed": 41,
            },
        }),
    );
}

#[test]
fn a_file_on_a_list_is_an_alert_and_a_file() {
    let mut list = HashListBuilder::new("malware", ListAction::Drop);
    list.line(&[b'a'; 64]).expect("a hash");
    let checks = Arc::new(FileChecks::new(vec![list.build()], FileLimits::default()));
    let file = Arc::new(FileEvent {
        finding: FileFinding::Listed(0),
        action: AlertAction::Blocked,
        name: b"/evil\"\xff.exe".to_vec(),
        length: 5,
        is_complete: true,
        digests: Digests { sha256: Some([0x2c; 32]), ..Digests::default() },
        side: Direction::ToClient,
        transaction: 3,
        protocol: Some(AppProtocol::Http1),
    });
    let mut event = event(EventKind::FileInfo(Arc::clone(&file)));
    let generation = Arc::into_inner(event.generation).expect("ours alone");
    event.generation = Arc::new(generation.with_file_checks(Some(checks)));
    let mut expected = json!({
        "timestamp": "1970-01-01T00:00:01.000001+0000",
        "in_iface": "web1",
        "event_type": "fileinfo",
        "app_proto": "http",
        "tx_id": 3,
        "direction": "to_client",
        "fileinfo": {
            "filename": "/evil\"\\xff.exe", "gaps": false, "state": "CLOSED", "sha256": "2c".repeat(32),
            "stored": false, "size": 5, "tx_id": 3,
        },
        "vswitch": {"from_port": "web1", "from_zone": "web", "generation": 7, "transaction": 3, "hash_list": "malware"},
    });
    check(&event, expected.clone());
    event.kind = EventKind::FileAlert(file);
    expected["event_type"] = json!("alert");
    expected["alert"] = json!({
        "action": "blocked", "gid": 501, "signature_id": 1, "rev": 1, "signature": "file on hash list malware",
        "category": "A file on a list of hashes was detected", "severity": 1,
    });
    check(&event, expected);
    let recent = recent::RecentAlerts::default();
    recent.note(&event, WallClock { ahead_us: 0 });
    assert_eq!(recent.newest(9)[0].signature, "file on hash list malware");
}

#[test]
fn icmp_has_a_type_and_a_code_and_others_have_no_ports() {
    let mut event = event(drop_kind(DropReason::Policy));
    let fields = |event: &Event| -> Value { serde_json::from_str(&line(event)).expect("JSON") };
    event.tuple = Some(tuple(1));
    let icmp = fields(&event);
    assert_eq!((&icmp["proto"], &icmp["icmp_type"], &icmp["icmp_code"]), (&json!("ICMP"), &json!(3), &json!(1)));
    assert_eq!((icmp.get("src_port"), icmp.get("dest_port")), (None, None));
    event.tuple = Some(Tuple { source: IpAddr::V6(Ipv6Addr::LOCALHOST), ..tuple(253) });
    let other = fields(&event);
    assert_eq!((&other["proto"], &other["src_ip"]), (&json!("253"), &json!("0000:0000:0000:0000:0000:0000:0000:0001")));
    assert_eq!((other.get("src_port"), other.get("icmp_type")), (None, None));
}

#[test]
fn a_port_that_the_generation_does_not_have_is_a_number() {
    let mut event = event(drop_kind(DropReason::Policy));
    event.to = Some(PortId(9));
    let record: Value = serde_json::from_str(&line(&event)).expect("JSON");
    assert_eq!(record["vswitch"]["to_port"], json!("port-9"));
    assert_eq!(record["vswitch"]["to_zone"], json!(""));
}

#[test]
fn an_alert_names_its_signature() {
    let alert = Alert { signature: 0, action: AlertAction::Allowed, transaction: Some(4) };
    let texts = |action: &str| {
        json!({
            "action": action, "gid": 1, "signature_id": 7, "rev": 3, "signature": "EVIL \"quoted\"",
            "category": "", "severity": 2,
        })
    };
    let record: Value = serde_json::from_str(&line(&event(EventKind::Alert(alert)))).expect("JSON");
    assert_eq!(record["event_type"], json!("alert"));
    assert_eq!(record["alert"], texts("allowed"));
    assert_eq!(record["vswitch"]["transaction"], json!(4));
    let kind = EventKind::Drop { reason: DropReason::Signature, decider: None, cause: None, signature: Some(0) };
    let record: Value = serde_json::from_str(&line(&event(kind))).expect("JSON");
    assert_eq!((&record["event_type"], &record["drop"]["reason"]), (&json!("drop"), &json!("signature")));
    assert_eq!(record["alert"], texts("blocked"));
}

#[test]
fn a_malformed_frame_says_how() {
    let kind = EventKind::Drop {
        reason: DropReason::Malformed,
        decider: None,
        cause: Some(Malformed::TtlZero.name()),
        signature: None,
    };
    let record: Value = serde_json::from_str(&line(&event(kind))).expect("JSON");
    assert_eq!(record["vswitch"]["cause"], json!("ttl_zero"));
}

#[test]
fn the_last_alerts_are_kept() {
    let recent = RecentAlerts::default();
    let clock = WallClock { ahead_us: 0 };
    let alert = |action| event(EventKind::Alert(Alert { signature: 0, action, transaction: None }));
    recent.note(&event(drop_kind(DropReason::Runt)), clock);
    assert_eq!(recent.newest(9), [], "a drop is no alert");
    for _ in 0..recent::RECENT_MAX {
        recent.note(&alert(AlertAction::Allowed), clock);
    }
    let last = Event { tuple: Some(tuple(6)), to: Some(PortId(1)), ..alert(AlertAction::Blocked) };
    recent.note(&last, clock);
    let rows = recent.newest(usize::MAX);
    assert_eq!(rows.len(), recent::RECENT_MAX);
    let actions: Vec<&str> = rows.iter().take(2).map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["blocked", "allowed"], "the newest first");
    let row = &rows[0];
    assert_eq!((row.signature_id, row.signature.as_str(), row.severity), (7, "EVIL \"quoted\"", 2));
    assert_eq!((row.from_port.as_str(), row.proto.as_deref()), ("web1", Some("TCP")));
    assert_eq!((row.source.as_deref(), row.destination.as_deref()), (Some("10.0.1.11:3"), Some("10.0.2.21:1")));
    recent.note(&Event { tuple: Some(tuple(1)), ..alert(AlertAction::Blocked) }, clock);
    assert_eq!(recent.newest(1)[0].source.as_deref(), Some("10.0.1.11"), "ICMP has no ports");
}

#[test]
fn an_anomaly_is_an_alert_of_our_own() {
    let anomaly = Anomaly {
        source: 0,
        kind: AnomalyKind::PortScan,
        target: Target::Host(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 21))),
        count: 51,
        count_max: 50,
        window_ms: 10_000,
        suppressed: 7,
    };
    let mut event = event(EventKind::Anomaly(anomaly, Response::Quarantine { ms: 600_000 }));
    (event.tuple, event.to, event.flow_id) = (Some(tuple(6)), Some(PortId(1)), 9);
    let expected = json!({
        "timestamp": "1970-01-01T00:00:01.000001+0000",
        "flow_id": 9,
        "in_iface": "web1",
        "event_type": "alert",
        "src_ip": "10.0.1.11", "src_port": 3, "dest_ip": "10.0.2.21", "dest_port": 1, "proto": "TCP", "ip_v": 4,
        "alert": {
            "action": "blocked", "gid": 500, "signature_id": 1, "rev": 1,
            "signature": "VSWITCH port scan: many ports of one host",
            "category": "Detection of a Network Scan", "severity": 3,
        },
        "vswitch": {
            "from_port": "web1", "to_port": "db\"1\n", "from_zone": "web", "to_zone": "db", "tenant": "acme",
            "generation": 7, "suppressed": 7,
            "anomaly": {
                "kind": "port_scan", "target": "10.0.2.21", "count": 51, "threshold": 50, "window_ms": 10_000,
                "action": "quarantine", "quarantine_ms": 600_000,
            },
        },
    });
    let mut generation = Arc::into_inner(event.generation).expect("ours alone");
    generation.ports[0].as_mut().expect("a port").tenant = Some("acme".to_owned());
    event.generation = Arc::new(generation);
    check(&event, expected);

    let sweep =
        |kind, target| line(&self::event(EventKind::Anomaly(Anomaly { kind, target, ..anomaly }, Response::Alert)));
    let ssh = sweep(AnomalyKind::HostSweep, Target::Service { protocol: 6, port: 22 });
    assert!(ssh.contains(r#""target":"tcp/22""#) && ssh.contains(r#""action":"allowed""#), "{ssh}");
    assert!(!ssh.contains("quarantine_ms"), "{ssh}");
    let ping = sweep(AnomalyKind::HostSweep, Target::Service { protocol: 58, port: 0 });
    assert!(ping.contains(r#""target":"ipv6-icmp""#), "{ping}");
    let signatures: std::collections::BTreeSet<(u32, &str)> =
        AnomalyKind::ALL.map(anomaly::text).iter().map(|text| (text.signature_id, text.signature)).collect();
    assert_eq!(signatures.len(), AnomalyKind::ALL.len(), "each kind has its own");
}

#[test]
fn the_last_anomaly_of_each_port_and_kind_is_kept() {
    let recent = RecentAlerts::default();
    let target = Target::Service { protocol: 6, port: 22 };
    let anomaly = |kind, count| {
        let anomaly = Anomaly { source: 0, kind, target, count, count_max: 50, window_ms: 10_000, suppressed: 0 };
        event(EventKind::Anomaly(anomaly, Response::Drop))
    };
    let clock = WallClock { ahead_us: 0 };
    let told = [(AnomalyKind::HostSweep, 51), (AnomalyKind::PortScan, 60), (AnomalyKind::HostSweep, 70)];
    for (kind, count) in told {
        recent.note(&anomaly(kind, count), clock);
    }
    recent.note(&event(drop_kind(DropReason::Anomaly)), clock);
    let rows: Vec<_> = recent.threats().into_values().map(|row| (row.kind, row.count, row.action)).collect();
    let row = |kind: &str, count| (kind.to_owned(), count, "drop".to_owned());
    assert_eq!(rows, [row("port_scan", 60), row("host_sweep", 70)]);
    let alerts: Vec<u32> = recent.newest(10).iter().map(|row| row.signature_id).collect();
    assert_eq!(alerts, [2, 1, 2], "they are alerts too");
}
