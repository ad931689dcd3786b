//! What is told of traffic that passes: records in Suricata's words, from the whole walk.

use std::collections::BTreeMap;

use inspect::inspector::{Mode, Profile, Settings};
use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::wire::emit;
use serde_json::{Value, json};
use vswitch::drop_reason::DropReason;
use vswitch::eve::record;
use vswitch::eve::settings::{EveSettings, EventType, EventTypes};
use vswitch::eve::timestamp::WallClock;
use vswitch::profiles::Profiles;

use crate::bench::*;

fn rules(text: &str) -> RuleSet {
    let file = RuleFile { name: "test.rules".into(), text: text.into() };
    let loaded = RuleSet::compile(&[file], &Vars::default());
    assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
    loaded.rules
}

pub fn only(types: &[EventType]) -> EveSettings {
    EveSettings { types: EventTypes::of(types), ..EveSettings::default() }
}

pub fn bench(rules: RuleSet, settings: EveSettings) -> Bench {
    Bench::telling(policy(Vec::new()), rules, 64, settings)
}

/// The records of what happened since the last call; flow ids, which are drawn at random, are left out.
pub fn take_records(bench: &Bench, settings: &EveSettings) -> Vec<Value> {
    let mut out = Vec::new();
    // As the log's thread does it.
    let is_wanted = |kind: Option<EventType>| kind.is_some_and(|kind| settings.types.contains(kind));
    for event in bench.take_events().iter().filter(|event| is_wanted(event.kind.event_type())) {
        record::write(event, settings, WallClock { ahead_us: 0 }, &mut out);
    }
    let text = String::from_utf8(out).expect("JSON is text");
    let record = |line: &str| {
        let mut record: Value = serde_json::from_str(line).expect("JSON");
        assert!(record.as_object_mut().is_some_and(|record| record.remove("flow_id").is_some()), "{line}");
        record
    };
    text.lines().map(record).collect()
}

/// A TCP connection between web1 and db1 that has just been opened.
pub struct Connection<'b> {
    pub bench: &'b mut Bench,
    /// Next sequence numbers, of web1 and of db1.
    seq: [u32; 2],
}

impl<'b> Connection<'b> {
    pub fn open(bench: &'b mut Bench) -> Self {
        let client = emit::tcp((ip(11), 40_000), (ip(21), 5_432));
        let server = emit::tcp((ip(21), 5_432), (ip(11), 40_000));
        bench.assert_arrives(WEB1, &addressed(client.seq(100).syn(), 11, 21), &[DB1]);
        bench.assert_arrives(DB1, &addressed(server.seq(500).ack(101).syn_ack(), 21, 11), &[WEB1]);
        let client = emit::tcp((ip(11), 40_000), (ip(21), 5_432));
        bench.assert_arrives(WEB1, &addressed(client.seq(101).ack(501), 11, 21), &[DB1]);
        Self { bench, seq: [101, 501] }
    }

    /// web1 says something.
    pub fn ask(&mut self, text: impl AsRef<[u8]>) {
        let [seq, ack] = self.seq;
        let segment = emit::tcp((ip(11), 40_000), (ip(21), 5_432)).seq(seq).ack(ack).payload(text.as_ref());
        self.seq[0] += text.as_ref().len() as u32;
        self.bench.send(WEB1, &addressed(segment, 11, 21));
    }

    /// db1 says something.
    pub fn answer(&mut self, text: impl AsRef<[u8]>) {
        let [ack, seq] = self.seq;
        let segment = emit::tcp((ip(21), 5_432), (ip(11), 40_000)).seq(seq).ack(ack).payload(text.as_ref());
        self.seq[1] += text.as_ref().len() as u32;
        self.bench.send(DB1, &addressed(segment, 21, 11));
    }
}

const REQUEST: &str = "GET /a?b=1 HTTP/1.1\r\nHost: Shop.example\r\nUser-Agent: curl/8\r\nReferer: http://x/\r\n\r\n";
const RESPONSE: &str =
    "HTTP/1.1 302 Found\r\nContent-Type: text/html\r\nLocation: /login\r\nContent-Length: 4\r\n\r\nbody";

/// What every record of a flow from web1 to db1 says.
pub fn common(event_type: &str, tuple: Value) -> Value {
    let mut record = json!({
        "timestamp": "1970-01-01T00:00:01.000000+0000",
        "in_iface": "web1",
        "event_type": event_type,
        "src_ip": "10.0.0.11",
        "dest_ip": "10.0.0.21",
        "vswitch": {
            "from_port": "web1", "to_port": "db1", "from_zone": "web", "to_zone": "db", "tenant": "acme",
            "generation": 1,
        },
    });
    merge(&mut record, tuple);
    record
}

pub fn merge(record: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("an object") };
    record.as_object_mut().expect("an object").extend(more);
}

fn http() -> Value {
    json!({
        "hostname": "shop.example", "url": "/a?b=1", "http_user_agent": "curl/8", "http_content_type": "text/html",
        "http_refer": "http://x/", "http_method": "GET", "protocol": "HTTP/1.1", "status": 302, "redirect": "/login",
        "length": 4,
    })
}

pub const TCP: fn() -> Value = || json!({"src_port": 40_000, "dest_port": 5_432, "proto": "TCP", "ip_v": 4});

#[test]
fn an_http_transaction_is_told_as_suricata_tells_it() {
    let settings = EveSettings { community_id: Some(0), ..only(&[EventType::Http]) };
    let mut bench = bench(RuleSet::default(), settings);
    let mut connection = Connection::open(&mut bench);
    connection.ask(REQUEST);
    connection.answer(RESPONSE);
    let mut expected = common("http", TCP());
    merge(&mut expected, json!({"app_proto": "http", "tx_id": 0, "http": http()}));
    merge(&mut expected, json!({"community_id": "1:IFAycvEwQ6yO0QOg9MQzcd0Jlic="}));
    assert_eq!(take_records(&bench, &settings), [expected]);
    bench.assert_books_balance();
}

#[test]
fn dns_messages_are_told_with_what_they_ask_and_answer() {
    let settings = only(&[EventType::Dns]);
    let mut bench = bench(RuleSet::default(), settings);
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x01x\0\0\x1c\0\x01";
    bench.send(WEB1, &addressed(emit::udp((ip(11), 40_000), (ip(21), 53)).payload(query), 11, 21));
    let answer = [
        b"\x12\x34\x81\xc3\0\x01\0\x02\0\x01\0\x02\x03www\x01x\0\0\x1c\0\x01".as_slice(),
        b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01c\xc0\x10",
        b"\xc0\x23\0\x1c\0\x01\0\0\0\x05\0\x10\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x21",
        b"\xc0\x10\0\x06\0\x01\0\0\0\x06\0\x1d\x02ns\xc0\x10\x01r\xc0\x10\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05",
        b"\xc0\x10\0\x21\0\x01\0\0\0\x07\0\x0a\0\x01\0\x02\0\x35\x01s\xc0\x10",
        b"\xc0\x10\0\x2c\0\x01\0\0\0\x08\0\x04\x04\x02\xab\xcd",
    ]
    .concat();
    bench.send(DB1, &addressed(emit::udp((ip(21), 53), (ip(11), 40_000)).payload(&answer), 21, 11));
    let udp = || json!({"src_port": 40_000, "dest_port": 53, "proto": "UDP", "ip_v": 4, "app_proto": "dns"});
    let queries = json!([{"rrname": "www.x", "rrtype": "AAAA"}]);
    let address = "fd00:0000:0000:0000:0000:0000:0000:0021";
    let (mut asked, mut answered) = (common("dns", udp()), common("dns", udp()));
    merge(
        &mut asked,
        json!({"tx_id": 0, "dns": {
            "version": 3, "tx_id": 0, "type": "request", "id": 0x1234, "flags": "100", "rd": true, "opcode": 0,
            "rcode": "NOERROR", "queries": queries,
        }}),
    );
    merge(
        &mut answered,
        json!({"tx_id": 1, "dns": {
            "version": 3, "tx_id": 1, "type": "response", "id": 0x1234, "flags": "81c3", "qr": true, "rd": true,
            "ra": true, "z": true, "opcode": 0, "rcode": "NXDOMAIN", "queries": queries,
            "answers": [
                {"rrname": "www.x", "rrtype": "CNAME", "ttl": 60, "rdata": "c.x"},
                {"rrname": "c.x", "rrtype": "AAAA", "ttl": 5, "rdata": address},
            ],
            "grouped": {"CNAME": ["c.x"], "AAAA": [address]},
            "authorities": [{"rrname": "x", "rrtype": "SOA", "ttl": 6, "soa": {
                "mname": "ns.x", "rname": "r.x", "serial": 1, "refresh": 2, "retry": 3, "expire": 4, "minimum": 5,
            }}],
            "additionals": [
                {"rrname": "x", "rrtype": "SRV", "ttl": 7, "srv": {"priority": 1, "weight": 2, "port": 53, "name": "s.x"}},
                {"rrname": "x", "rrtype": "SSHFP", "ttl": 8, "sshfp": {"algo": 4, "type": 2, "fingerprint": "ab:cd"}},
            ],
        }}),
    );
    // A message is told with its own ends.
    let vswitch = json!({"from_port": "db1", "to_port": "web1", "from_zone": "db", "to_zone": "web", "tenant": "acme", "generation": 1});
    merge(
        &mut answered,
        json!({
            "in_iface": "db1", "src_ip": "10.0.0.21", "src_port": 53, "dest_ip": "10.0.0.11", "dest_port": 40_000,
            "vswitch": vswitch,
        }),
    );
    assert_eq!(take_records(&bench, &settings), [asked, answered]);
}

/// A handshake record with one message.
fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[kind][..], &length[1..], body].concat();
    [&[22, 3, 1][..], &(message.len() as u16).to_be_bytes(), &message].concat()
}

/// A client hello that asks for a server by name.
fn client_hello(name: &[u8]) -> Vec<u8> {
    let name = [&[0][..], &(name.len() as u16).to_be_bytes(), name].concat();
    let list = [&(name.len() as u16).to_be_bytes()[..], &name].concat();
    let sni = [&[0, 0][..], &(list.len() as u16).to_be_bytes(), &list].concat();
    let body = [b"\x03\x03".as_slice(), &[7; 32], b"\0\0\x02\x13\x01\x01\0", &(sni.len() as u16).to_be_bytes(), &sni];
    handshake(1, &body.concat())
}

#[test]
fn a_tls_handshake_is_told_with_its_server_name() {
    let settings = only(&[EventType::Tls]);
    let mut bench = bench(RuleSet::default(), settings);
    let mut connection = Connection::open(&mut bench);
    connection.ask(client_hello(b"www.example"));
    let versions = b"\0\x2b\0\x02\x03\x04";
    let server_hello = [b"\x03\x03".as_slice(), &[9; 32], b"\0\x13\x01\0\0\x06", versions].concat();
    let change_cipher = b"\x14\x03\x03\0\x01\x01";
    connection.answer([handshake(2, &server_hello), change_cipher.to_vec()].concat());
    assert_eq!(take_records(connection.bench, &settings), [] as [Value; 0], "not before both sides are through");
    connection.ask(change_cipher);
    let mut expected = common("tls", TCP());
    let mut records = take_records(&bench, &settings);
    let tls = &mut records[0]["tls"];
    // Their hashes are the parser's business.
    let [ja3, ja3s] = ["ja3", "ja3s"].map(|key| tls.as_object_mut().and_then(|tls| tls.remove(key)));
    assert_eq!(ja3.map(|ja3| ja3["string"].clone()), Some(json!("771,4865,0,,")));
    assert_eq!(ja3s.map(|ja3s| ja3s["string"].clone()), Some(json!("771,4865,43")));
    let tls = json!({"sni": "www.example", "version": "TLS 1.3"});
    merge(&mut expected, json!({"app_proto": "tls", "tx_id": 0, "tls": tls}));
    assert_eq!(records, [expected]);
}

#[test]
fn what_a_guest_writes_is_cut_and_escaped() {
    let settings = only(&[EventType::Http]);
    let mut bench = bench(RuleSet::default(), settings);
    let mut connection = Connection::open(&mut bench);
    let agent = b"\x1b[2J\xff\"}\x07";
    let head = [b"GET /".as_slice(), &[b'a'; 3_000], b" HTTP/1.1\r\nHost: h\r\nUser-Agent: ", agent, b"\r\n\r\n"];
    connection.ask(head.concat());
    connection.answer("HTTP/1.1 2\x1b0 OK\r\nContent-Length: 0\r\n\r\n");
    let records = take_records(&bench, &settings);
    let http = &records[0]["http"];
    assert_eq!(http["url"].as_str().map(str::len), Some(1_024));
    assert_eq!(records[0]["vswitch"]["cut"], json!(["http.uri.raw"]));
    assert_eq!(http["http_user_agent"], json!("\\x1b[2J\\xff\"}\\x07"));
    assert_eq!((http.get("status"), &http["status_string"]), (None, &json!("2\\x1b0")));
}

#[test]
fn what_is_not_wanted_is_not_told() {
    for types in [&[][..], &[EventType::Tls], &[EventType::Alert, EventType::Drop, EventType::Anomaly]] {
        let settings = only(types);
        let mut bench = bench(RuleSet::default(), settings);
        let mut connection = Connection::open(&mut bench);
        connection.ask(REQUEST);
        connection.answer(RESPONSE);
        assert_eq!(take_records(&bench, &settings), [] as [Value; 0], "{types:?}");
    }
    let mut bench = bench(RuleSet::default(), only(&[EventType::Http]));
    bench.assert_dropped(WEB1, &[0; 5], DropReason::Runt);
    assert_eq!(bench.take_events().len(), 0, "drops are not wanted");
}

#[test]
fn an_alert_shows_its_flow_and_transaction() {
    let rules = rules(
        r#"drop http any any -> any any (msg:"moved"; flow:to_client; http.stat_code; content:"302"; sid:7; rev:2;
           metadata:attack_target Client, created_at 2026_01_01, attack_target Server;)"#
            .replace('\n', "")
            .as_str(),
    );
    let settings = EveSettings { payload_bytes_max: 8, ..only(&[EventType::Alert]) };
    let mut bench = bench(rules, settings);
    let mut connection = Connection::open(&mut bench);
    connection.ask(REQUEST);
    connection.bench.advance_ms(1_000);
    connection.answer(RESPONSE);
    let request_len = 54 + REQUEST.len();
    let response_len = 54 + RESPONSE.len();
    let mut expected = common("alert", json!({"src_port": 5_432, "dest_port": 40_000, "proto": "TCP", "ip_v": 4}));
    merge(
        &mut expected,
        json!({
            "timestamp": "1970-01-01T00:00:02.000000+0000", "in_iface": "db1",
            "src_ip": "10.0.0.21", "dest_ip": "10.0.0.11",
            "ether": {"src_mac": "52:54:00:00:00:15", "dest_mac": "52:54:00:00:00:0b"},
            "app_proto": "http", "direction": "to_client", "tx_id": 0,
            "alert": {
                "action": "blocked", "gid": 1, "signature_id": 7, "rev": 2, "signature": "moved", "category": "",
                "severity": 3,
                "metadata": {"attack_target": ["Client", "Server"], "created_at": ["2026_01_01"]},
            },
            "flow": {
                "pkts_toserver": 3, "pkts_toclient": 2, "bytes_toserver": 108 + request_len,
                "bytes_toclient": 54 + response_len, "start": "1970-01-01T00:00:01.000000+0000",
                "src_ip": "10.0.0.11", "src_port": 40_000, "dest_ip": "10.0.0.21", "dest_port": 5_432,
            },
            "http": http(), "verdict": {"action": "drop"},
            "payload": "SFRUUC8xLjE=", "payload_printable": "HTTP/1.1",
            "vswitch": {
                "from_port": "db1", "to_port": "web1", "from_zone": "db", "to_zone": "web", "tenant": "acme",
                "generation": 1,
                "transaction": 0, "cut": ["payload"],
            },
        }),
    );
    assert_eq!(take_records(&bench, &settings), [expected]);
    let plain = EveSettings { app_layer: false, metadata: false, ..only(&[EventType::Alert]) };
    assert_eq!(plain.wanted(), inspect::record::Wanted::NOTHING);
}

#[test]
fn an_audit_tells_what_would_have_been_dropped() {
    let settings = only(&[EventType::Alert, EventType::Drop]);
    let text = r#"drop udp any any -> any 53 (msg:"evil"; content:"EVIL"; sid:7;)"#;
    let mut bench = bench(rules(text), settings);
    let audit = Settings { mode: Mode::Audit, ..Settings::default() };
    bench.reload_with(policy(Vec::new()), rules(text), Profiles::only(Profile::all(audit)));
    let evil = addressed(emit::udp((ip(11), 1_000), (ip(21), 53)).payload("EVIL"), 11, 21);
    bench.assert_arrives(WEB1, &evil, &[DB1]);
    let records = take_records(&bench, &settings);
    let told = records.iter().map(|record| {
        let (alert, own) = (&record["alert"], &record["vswitch"]);
        let action = (&alert["action"], &alert["signature_id"], &record["verdict"]["action"]);
        json!([record["event_type"], action.0, action.1, action.2, record["drop"], own["reason"], own["would_drop"]])
    });
    let drop = json!({"len": evil.len(), "reason": "signature"});
    let expected = [
        json!(["alert", "allowed", 7, "alert", null, null, true]),
        json!(["drop", "allowed", 7, "alert", drop, "signature", true]),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn anomalies_of_flows_under_inspection_are_told() {
    let settings = only(&[EventType::Anomaly]);
    let rules = rules(r#"alert http any any -> any any (msg:"x"; http.uri; content:"nothing"; sid:1;)"#);
    let mut bench = bench(rules, settings);
    let mut connection = Connection::open(&mut bench);
    connection.ask("GET / HTTP/1.1\r\nno colon\r\nHost: h\r\n\r\n");
    let mut expected = common("anomaly", TCP());
    let anomaly = json!({
        "app_proto": "http", "type": "applayer", "event": "REQUEST_FIELD_MISSING_COLON", "layer": "proto_parser",
    });
    merge(&mut expected, json!({"app_proto": "http", "tx_id": 0, "direction": "to_server", "anomaly": anomaly}));
    assert_eq!(take_records(&bench, &settings), [expected]);
}

#[test]
fn files_are_told_with_their_sender() {
    let settings = only(&[EventType::Fileinfo]);
    let mut bench = bench(RuleSet::default(), settings);
    let mut connection = Connection::open(&mut bench);
    connection.ask(REQUEST);
    connection.answer(RESPONSE);
    let records = take_records(&bench, &settings);
    assert_eq!(
        (records.len(), &records[0]["src_ip"], &records[0]["in_iface"]),
        (1, &json!("10.0.0.21"), &json!("db1"))
    );
    let expected = json!({
        "filename": "/a", "gaps": false, "state": "CLOSED", "stored": false, "size": 4, "tx_id": 0,
    });
    assert_eq!(records[0]["fileinfo"], expected);
    assert_eq!((&records[0]["http"]["hostname"], &records[0]["http"]["status"]), (&json!("shop.example"), &json!(302)));
}

/// Records, and events that they stand for, by type.
fn counted(records: &[Value]) -> BTreeMap<String, (u64, u64)> {
    let mut counts = BTreeMap::new();
    for record in records {
        let (lines, events): &mut (u64, u64) = counts.entry(record["event_type"].to_string()).or_default();
        *lines += 1;
        *events += 1 + record["vswitch"]["suppressed"].as_u64().unwrap_or(0);
    }
    counts
}

#[test]
fn a_flood_is_told_in_few_records_and_to_the_last_frame() {
    let settings = only(&[EventType::Drop, EventType::Alert]);
    let rules = rules(r#"alert udp any any -> any 53 (msg:"odd"; content:"odd"; sid:8;)"#);
    let mut bench = bench(rules, settings);
    let odd = addressed(emit::udp((ip(11), 1_000), (ip(21), 53)).payload("odd"), 11, 21);
    let denied = addressed(emit::udp((ip(11), 1_000), (ip(21), 54)).payload("x"), 11, 21);
    for _ in 0..333 {
        bench.send(WEB1, &odd);
        bench.send(WEB1, &denied);
        bench.advance_ms(1);
    }
    bench.advance_ms(1_000);
    bench.housekeep(1);
    let mut out = Vec::new();
    for event in bench.take_events() {
        record::write(&event, &settings, WallClock { ahead_us: 0 }, &mut out);
    }
    let lines = String::from_utf8(out).expect("text");
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let expected = [("\"alert\"".to_owned(), (101, 333)), ("\"drop\"".to_owned(), (21, 333))];
    assert_eq!(counted(&records), BTreeMap::from(expected));
    let folded = |kind| bench.counters.events_suppressed[kind as usize].value();
    assert_eq!((folded(EventType::Alert), folded(EventType::Drop)), (232, 312));
    assert_eq!(bench.counters.events_lost.iter().map(|cell| cell.value()).sum::<u64>(), 0);
}

#[test]
fn a_flow_is_told_when_it_ends_with_what_passed_in_it() {
    let settings = only(&[EventType::Flow, EventType::Http]);
    let rules = rules(r#"alert tcp any any -> any any (msg:"x"; content:"curl"; sid:1;)"#);
    let mut bench = bench(rules, settings);
    let mut connection = Connection::open(&mut bench);
    connection.bench.advance_ms(1_500);
    connection.ask(REQUEST);
    bench.advance_ms(7_440_000);
    let places = bench.pipeline.flows().places();
    bench.housekeep(places);
    let records = take_records(&bench, &settings);
    let [http, flow] = records.as_slice() else { panic!("{records:#?}") };
    assert_eq!((&http["http"]["url"], http["http"].get("status")), (&json!("/a?b=1"), None), "it was not answered");
    let mut expected = common("flow", TCP());
    merge(
        &mut expected,
        json!({
            "timestamp": "1970-01-01T02:04:02.500000+0000",
            "app_proto": "http",
            "flow": {
                "pkts_toserver": 3, "pkts_toclient": 1, "bytes_toserver": 108 + 54 + REQUEST.len(), "bytes_toclient": 54,
                "start": "1970-01-01T00:00:01.000000+0000", "end": "1970-01-01T00:00:02.500000+0000", "age": 1,
                "state": "established", "reason": "timeout", "alerted": true,
            },
            "tcp": {
                "tcp_flags": "12", "tcp_flags_ts": "12", "tcp_flags_tc": "12", "syn": true, "ack": true,
                "state": "established",
            },
        }),
    );
    expected["vswitch"]["rule"] = json!("web-db");
    assert_eq!(*flow, expected);
    assert_eq!(take_records(&bench, &settings), [] as [Value; 0], "once");
}

#[test]
fn flows_end_for_several_reasons() {
    let settings = only(&[EventType::Flow]);
    let mut bench = bench(RuleSet::default(), settings);
    let query = |port| addressed(emit::udp((ip(11), port), (ip(21), 53)).payload("x"), 11, 21);
    // 48 flows are a port's share of the table for 64.
    for port in 0..40 {
        bench.send(WEB1, &query(1_000 + port));
    }
    bench.advance_ms(30_000);
    // One whose time is over and that comes again is another.
    bench.send(WEB1, &query(1_000));
    let reasons = |bench: &Bench| -> BTreeMap<String, usize> {
        let mut reasons = BTreeMap::new();
        for record in take_records(bench, &settings) {
            assert_eq!((&record["proto"], &record["flow"]["state"]), (&json!("UDP"), &json!("new")), "{record}");
            *reasons.entry(record["flow"]["reason"].as_str().expect("a word").to_owned()).or_default() += 1;
        }
        reasons
    };
    assert_eq!(reasons(&bench), BTreeMap::from([("timeout".to_owned(), 1)]));
    bench.reload(policy(vec![
        zones::rule::Rule::new("no-dns", zones::rule::Action::Drop)
            .in_tier(zones::rule::Tier::Emergency)
            .about(zones::service::Service::udp(53)),
    ]));
    bench.send(WEB1, &query(1_000));
    assert_eq!(reasons(&bench), BTreeMap::from([("forced".to_owned(), 1)]));
    bench.finish();
    assert_eq!(reasons(&bench), BTreeMap::from([("shutdown".to_owned(), 39)]));
    assert_eq!(bench.pipeline.flows().len(), 0);
}
