//! Whole replays of captures made here.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use clap::Parser;
use inspect::wire::emit;
use serde_json::{Value, json};

use super::{ReplayArguments, ReplayError, replay, rule_file};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    arguments: ReplayArguments,
}

fn ends() -> (SocketAddr, SocketAddr) {
    (([10, 0, 0, 1], 40_000).into(), ([10, 0, 0, 2], 8_080).into())
}

/// A connection on which the client says `text`, cut into segments of `step` bytes.
fn connection(text: &[u8], step: usize) -> Vec<Vec<u8>> {
    let (client, server) = ends();
    let mut frames = vec![
        emit::tcp(client, server).syn().seq(99).build(),
        emit::tcp(server, client).syn_ack().seq(7).ack(100).build(),
        emit::tcp(client, server).seq(100).ack(8).build(),
    ];
    let mut seq = 100;
    for part in text.chunks(step) {
        frames.push(emit::tcp(client, server).seq(seq).ack(8).payload(part).build());
        seq += part.len() as u32;
        frames.push(emit::tcp(server, client).seq(8).ack(seq).build());
    }
    frames
}

fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x01\0\0\0".to_vec();
    for (second, frame) in frames.iter().enumerate() {
        let length = (frame.len() as u32).to_le_bytes();
        for word in [(second as u32).to_le_bytes(), [0; 4], length, length] {
            out.extend_from_slice(&word);
        }
        out.extend_from_slice(frame);
    }
    out
}

/// Replays and gives the events' types with their signature ids or reasons, and the summary.
fn run(dir: &Path, capture: &[u8], rules: &str, options: &[&str]) -> Result<(Vec<String>, String), ReplayError> {
    let path = |name: &str| dir.join(name).display().to_string();
    std::fs::write(path("c.pcap"), capture).unwrap();
    std::fs::write(path("a.rules"), rules).unwrap();
    // What an earlier run has left would be taken for this one's.
    drop(std::fs::remove_file(path("eve.json")));
    let (capture, rules, eve) = (path("c.pcap"), path("a.rules"), path("eve.json"));
    let words = [&["replay", &capture, "--rule-file", &rules, "--eve", &eve], options].concat();
    let mut summary = Vec::new();
    let done = replay(&Command::parse_from(words).arguments, &mut summary, &mut Vec::new());
    let text = std::fs::read_to_string(path("eve.json")).unwrap_or_default();
    let events = text.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        match event["event_type"].as_str() {
            Some("alert") if event["dest_port"] == 8080 => {
                format!("{} {}", event["alert"]["signature_id"], event["alert"]["action"])
            }
            _ => format!("{} {}", event["event_type"], event["drop"]["reason"]),
        }
    });
    let events = events.collect();
    done.map(|()| (events, String::from_utf8(summary).unwrap()))
}

const RULE: &str = "drop http any any -> $HOME_NET any (msg:\"m\"; flow:established,to_server; http.uri; \
    content:\"/evil\"; metadata:k v; sid:5;)\n";
const REQUEST: &[u8] = b"GET /x/../evil HTTP/1.1\r\nHost: h\r\n\r\nGET /evil HTTP/1.1\r\n\r\n";

#[test]
fn matches_are_told_and_in_ips_mode_end_the_flow() {
    let dir = tempfile::tempdir().unwrap();
    for step in [1000, 1, 7] {
        let capture = pcap(&connection(REQUEST, step));
        let (events, summary) = run(dir.path(), &capture, RULE, &[]).unwrap();
        assert_eq!(events, ["5 \"allowed\"", "5 \"allowed\""], "in segments of {step}");
        assert!(summary.contains("frames/s") && summary.contains(", 1 flows"), "{summary}");
    }
    let (events, _) = run(dir.path(), &pcap(&connection(REQUEST, 10)), RULE, &["--mode", "ips"]).unwrap();
    assert_eq!(events[..2], ["5 \"blocked\"", "\"drop\" \"rules\""]);
    let drops = told(dir.path(), &connection(REQUEST, 10), RULE, &["--mode", "ips", "--eve-types", "drop"]);
    assert_eq!((&drops[0]["alert"]["signature_id"], drops[1].get("alert")), (&json!(5), None));
    assert_eq!((&drops[0]["pcap_cnt"], &drops[0]["pkt_src"]), (&json!(8), &json!("wire/pcap")));
    assert!(events[2..].iter().all(|event| event == "\"drop\" \"flow drop\""), "{events:?}");
}

#[test]
fn variables_and_midstream_are_heeded() {
    let dir = tempfile::tempdir().unwrap();
    let middle = pcap(&connection(REQUEST, 1000)[3..]);
    assert_eq!(run(dir.path(), &middle, RULE, &[]).unwrap().0.len(), 0);
    assert_eq!(run(dir.path(), &middle, RULE, &["--midstream"]).unwrap().0.len(), 2);
    // A capture that begins with the server's answer.
    let (client, server) = ends();
    let answer = emit::tcp(server, client).seq(8).ack(100).payload(b"HTTP/1.1 404 Gone\r\n\r\n").build();
    let rule = "alert http any any -> any any (flow:to_client; http.stat_code; content:\"404\"; sid:6;)\n";
    let told = told(dir.path(), &[answer], rule, &["--midstream"]);
    assert_eq!(told.iter().map(|alert| &alert["direction"]).collect::<Vec<_>>(), [&json!("to_client")]);
    let capture = pcap(&connection(REQUEST, 1000));
    assert_eq!(run(dir.path(), &capture, RULE, &["--var", "HOME_NET=[192.0.2.0/24]"]).unwrap().0.len(), 0);
}

#[test]
fn a_client_is_followed_though_its_servers_packets_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (client, server) = ends();
    let mut frames = connection(b"GET /evil HTTP/1.1\r\n", 1000);
    let rule = "drop http any any -> any any (http.host; content:\"h\"; sid:5;)\n";
    // The answer to it, which is not there, had five bytes.
    frames.push(emit::tcp(client, server).seq(120).ack(13).payload(b"Host: h\r\n\r\n").build());
    assert_eq!(run(dir.path(), &pcap(&frames), rule, &[]).unwrap().0, ["5 \"allowed\""]);
    // A switch would not let it pass.
    let (events, _) = run(dir.path(), &pcap(&frames), rule, &["--mode", "ips"]).unwrap();
    assert_eq!(events, ["\"drop\" \"stream\""]);
}

#[test]
fn what_is_missing_in_a_capture_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let said =
        b"POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\nlost bytes of a bodyGET /evil HTTP/1.1\r\n\r\n";
    // Segments of ten bytes, each acknowledged; the second half of the body is not there.
    let mut frames = connection(said, 10);
    let all = run(dir.path(), &pcap(&frames), RULE, &[]).unwrap().0;
    frames.remove(3 + 2 * 6);
    assert_eq!((all.len(), run(dir.path(), &pcap(&frames), RULE, &[]).unwrap().0), (1, all));
    // What stands on both sides of it does not touch.
    let rule = |word: &str| format!("alert tcp any any -> any any (content:\"{word}\"; sid:5;)\n");
    assert_eq!(run(dir.path(), &pcap(&frames), &rule("lost bytes"), &[]).unwrap().0.len(), 1);
    assert_eq!(run(dir.path(), &pcap(&frames), &rule("bytesGET"), &[]).unwrap().0.len(), 0);
    // A switch drops what acknowledges bytes that it has not let pass.
    let (events, _) = run(dir.path(), &pcap(&frames), RULE, &["--mode", "ips"]).unwrap();
    assert_eq!(events.first().map(String::as_str), Some("\"drop\" \"stream\""));
}

#[test]
fn wrong_checksums_are_left_out_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let mut frames = connection(REQUEST, 1000);
    frames[3][50] ^= 0xff;
    let capture = pcap(&frames);
    assert_eq!(run(dir.path(), &capture, RULE, &[]).unwrap().0.len(), 0);
    assert_eq!(run(dir.path(), &capture, RULE, &["--checksum-validation", "off"]).unwrap().0.len(), 2);
}

#[test]
fn files_on_lists_are_told_and_in_ips_mode_end_the_flow() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("bad.sha256");
    // SHA-256 of "hello".
    std::fs::write(&list, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824  hello\n").unwrap();
    let list = list.display().to_string();
    let put = b"PUT /up HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    for step in [1000, 1, 7] {
        let capture = pcap(&connection(put, step));
        let (events, _) = run(dir.path(), &capture, RULE, &["--file-hashes", &list]).unwrap();
        assert_eq!(events, ["1 \"allowed\"", "\"fileinfo\" null"], "in segments of {step}");
        let (events, _) = run(dir.path(), &capture, RULE, &["--file-hashes", &list, "--mode", "ips"]).unwrap();
        assert_eq!(events[..3], ["1 \"blocked\"", "\"fileinfo\" null", "\"drop\" \"file hash\""]);
    }
    std::fs::write(&list, "oops\n").unwrap();
    let broken = run(dir.path(), &pcap(&[]), RULE, &["--file-hashes", &list]);
    assert!(matches!(broken, Err(ReplayError::Hashes(fault)) if fault.contains("bad.sha256, line 1: ")));
}

#[test]
fn what_cannot_be_read_or_loaded_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let capture = pcap(&connection(REQUEST, 1000));
    assert!(matches!(run(dir.path(), b"no capture", RULE, &[]), Err(ReplayError::Capture(..))));
    assert!(matches!(run(dir.path(), &capture, "drop nonsense\n", &[]), Err(ReplayError::NoRules)));
    assert!(matches!(run(dir.path(), &capture, RULE, &["--rule-file", "/nowhere/a"]), Err(ReplayError::Read(..))));
    // Neither a file without end nor one that is too long is read.
    let huge = dir.path().join("huge.rules");
    std::fs::File::create(&huge).and_then(|file| file.set_len(rule_file::FILE_LEN_MAX + 1)).unwrap();
    let refused = |path: &str| {
        run(dir.path(), &capture, RULE, &["--rule-file", path]).map_err(|error| error.to_string()).unwrap_err()
    };
    let huge = huge.display().to_string();
    assert_eq!(refused(&huge), format!("{huge}: it has more than 64 MiB; split it, or name another file"));
    assert_eq!(refused("/dev/zero"), "/dev/zero: it is a device; name a regular file, for nothing else is read");
    // What comes before the damage is played and told.
    let cut = &capture[..capture.len() - 3];
    assert!(matches!(run(dir.path(), cut, RULE, &[]), Err(ReplayError::Capture(..))));
    assert_eq!(std::fs::read_to_string(dir.path().join("eve.json")).unwrap().lines().count(), 2);
}

#[test]
fn transactions_are_written_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let capture = pcap(&connection(b"GET /evil HTTP/1.1\r\nHost: h\r\n\r\n", 7));
    let rule = r#"alert http any any -> any any (msg:"x"; http.uri; content:"evil"; sid:1;)"#;
    let records = |options: &[&str]| -> Vec<Value> {
        run(dir.path(), &capture, rule, options).unwrap();
        let text = std::fs::read_to_string(dir.path().join("eve.json")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let alerts = records(&[]);
    assert_eq!((alerts.len(), &alerts[0]["http"]["url"]), (1, &Value::from("/evil")));
    assert!(alerts[0]["flow"]["pkts_toserver"].as_u64().is_some_and(|packets| packets > 2), "{alerts:#?}");
    let all = records(&["--eve-types", "alert,http"]);
    let kinds: Vec<&Value> = all.iter().map(|record| &record["event_type"]).collect();
    assert_eq!(kinds, ["alert", "http"]);
    assert_eq!((&all[1]["src_ip"], &all[1]["http"]["hostname"]), (&Value::from("10.0.0.1"), &Value::from("h")));
    assert_eq!(all[0]["flow_id"], all[1]["flow_id"]);
    assert!(Command::try_parse_from(["replay", "c.pcap", "--eve-types", "nonsense"]).is_err());
}

/// The records of some types that a replay writes, with the ids of their flows left out.
fn told(dir: &Path, frames: &[Vec<u8>], rules: &str, options: &[&str]) -> Vec<Value> {
    run(dir, &pcap(frames), rules, options).unwrap();
    let text = std::fs::read_to_string(dir.join("eve.json")).unwrap();
    let record = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record.as_object_mut().unwrap().remove("flow_id");
        record
    };
    text.lines().map(record).collect()
}

#[test]
fn every_flow_is_told_when_it_ends_and_what_was_counted_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (client, server) = ends();
    let request = b"GET /evil HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut frames = connection(request, 1000);
    frames.push(emit::udp(([10, 0, 0, 1], 1_000), ([10, 0, 0, 3], 53)).payload(b"?").build());
    frames.push(emit::icmp_echo_request(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 4), 7, 1).build());
    frames.push(emit::tcp(client, server).seq(100 + request.len() as u32).ack(8).rst().build());
    // The same connection anew.
    frames.push(emit::tcp(client, server).seq(500_000).syn().build());
    let at = |second: u32| format!("1970-01-01T00:00:0{second}.000000+0000");
    let flow = |packets: [usize; 2], bytes: [usize; 2], times: [u32; 2], state: &str, reason: &str, alerted: bool| {
        json!({
            "pkts_toserver": packets[0], "pkts_toclient": packets[1], "bytes_toserver": bytes[0],
            "bytes_toclient": bytes[1], "start": at(times[0]), "end": at(times[1]), "age": times[1] - times[0],
            "state": state, "reason": reason, "alerted": alerted,
        })
    };
    let tcp = json!({"src_port": 40_000, "dest_ip": "10.0.0.2", "dest_port": 8_080, "proto": "TCP", "ip_v": 4});
    let expected = [
        json!([tcp, {
            "timestamp": at(8), "app_proto": "http",
            "flow": flow([4, 2], [3 * 54 + 54 + request.len(), 108], [0, 7], "closed", "tcp_reuse", true),
            "tcp": {
                "tcp_flags": "16", "tcp_flags_ts": "16", "tcp_flags_tc": "12", "syn": true, "rst": true, "ack": true,
                "state": "closed",
            },
        }]),
        json!([{
            "timestamp": at(8), "src_port": 1_000, "dest_ip": "10.0.0.3", "dest_port": 53, "proto": "UDP", "ip_v": 4,
            "flow": flow([1, 0], [frames[5].len(), 0], [5, 5], "new", "shutdown", false),
        }]),
        json!([{
            "timestamp": at(8), "dest_ip": "10.0.0.4", "proto": "ICMP", "ip_v": 4, "icmp_type": 8, "icmp_code": 0,
            "flow": flow([1, 0], [frames[6].len(), 0], [6, 6], "new", "shutdown", false),
        }]),
        json!([tcp, {
            "timestamp": at(8), "flow": flow([1, 0], [54, 0], [8, 8], "new", "shutdown", false),
            "tcp": {"tcp_flags": "02", "tcp_flags_ts": "02", "tcp_flags_tc": "00", "syn": true, "state": "syn_sent"},
        }]),
    ];
    let mut told = told(dir.path(), &frames, RULE, &["--eve-types", "flow,stats"]);
    let stats = told.pop().unwrap();
    let expected = expected.map(|parts| {
        let mut record = json!({"event_type": "flow", "src_ip": "10.0.0.1"});
        for part in parts.as_array().unwrap() {
            record.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        record
    });
    assert_eq!(told, expected, "{told:#?}");
    let expected = json!({
        "timestamp": at(8),
        "event_type": "stats",
        "stats": {
            "uptime": 8,
            "decoder": {"pkts": 9, "bytes": frames.iter().map(Vec::len).sum::<usize>()},
            "flow": {"total": 4, "active": 0, "limit": 500_000},
            "detect": {"alert": 1},
            "ips": {"accepted": 9, "blocked": 0, "drop_reason": {}},
            "eve": {"lost": 0, "suppressed": 0},
        },
    });
    assert_eq!(stats, expected, "{stats:#}");
}

#[test]
fn flows_that_are_refused_or_silent_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut frames = connection(REQUEST, 10);
    frames.truncate(12);
    let told = told(dir.path(), &frames, RULE, &["--eve-types", "flow,stats", "--mode", "ips"]);
    let [flow, stats] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!((&flow["flow"]["action"], &flow["flow"]["alerted"]), (&json!("drop"), &json!(true)));
    let ips = &stats["stats"]["ips"];
    let reasons = [&ips["drop_reason"]["rules"], &ips["drop_reason"]["flow_drop"]].map(|count| count.as_u64().unwrap());
    assert!(reasons[0] == 1 && reasons[1] > 0, "{ips}");
    assert_eq!(
        (ips["blocked"].as_u64(), ips["accepted"].as_u64()),
        (Some(reasons[0] + reasons[1]), Some(12 - reasons[0] - reasons[1]))
    );

    // A query each minute, between the same ends.
    let frame = emit::udp(([10, 0, 0, 1], 1_000), ([10, 0, 0, 3], 53)).payload(b"?").build();
    let mut capture = pcap(&[]);
    for second in [0_u32, 60, 61] {
        let length = (frame.len() as u32).to_le_bytes();
        [second.to_le_bytes(), [0; 4], length, length].iter().for_each(|word| capture.extend_from_slice(word));
        capture.extend_from_slice(&frame);
    }
    run(dir.path(), &capture, RULE, &["--eve-types", "flow"]).unwrap();
    let text = std::fs::read_to_string(dir.path().join("eve.json")).unwrap();
    let flows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends: Vec<_> = flows.iter().map(|flow| (&flow["flow"]["reason"], &flow["flow"]["pkts_toserver"])).collect();
    assert_eq!(ends, [(&json!("timeout"), &json!(1)), (&json!("shutdown"), &json!(2))]);
}
