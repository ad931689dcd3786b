//! Files on lists of hashes, through the whole walk: the frame that would complete one never arrives, on any port, without a
//! signature, however the bytes are cut and ordered.

use std::sync::Arc;

use inspect::file_hashes::{FileChecks, FileLimits, HashListBuilder, ListAction, Unjudged};
use inspect::signature::RuleSet;
use inspect::wire::emit::{self, FrameBuilder};
use vswitch::drop_reason::DropReason;
use vswitch::event::EventKind;

use zones::rule::{Action, Rule};
use zones::service::Service;

use crate::bench::*;

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 11], 40_000);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 21], 5_432);

/// SHA-256 of "hello", and of "world".
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
const WORLD: &str = "486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7";

fn checks(hash: &str, action: ListAction, limits: FileLimits) -> Option<Arc<FileChecks>> {
    let mut list = HashListBuilder::new("malware", action);
    list.line(hash.as_bytes()).expect("a hash");
    Some(Arc::new(FileChecks::new(vec![list.build()], limits)))
}

/// Another generation, with these checks.
fn judge_by(bench: &mut Bench, checks: Option<Arc<FileChecks>>) {
    let number = bench.generation.number + 1;
    let generation = generation(number, policy(Vec::new()), RuleSet::default());
    bench.generation = Arc::new(generation.with_file_checks(checks));
}

/// A bench with these checks and a TCP connection from web1 to db1.
fn connected(checks: Option<Arc<FileChecks>>) -> Bench {
    let mut bench = Bench::new(policy(Vec::new()), RuleSet::default(), 64);
    judge_by(&mut bench, checks);
    connect(&mut bench);
    bench
}

fn connect(bench: &mut Bench) {
    let syn = addressed(emit::tcp(CLIENT, SERVER).seq(1_000).ack(0).syn(), 11, 21);
    let syn_ack = addressed(emit::tcp(SERVER, CLIENT).seq(5_000).ack(1_001).syn_ack(), 21, 11);
    bench.assert_arrives(WEB1, &syn, &[DB1]);
    bench.assert_arrives(DB1, &syn_ack, &[WEB1]);
    bench.assert_arrives(WEB1, &from_client(0, b""), &[DB1]);
}

fn from_client(offset: u32, data: &[u8]) -> Vec<u8> {
    let builder: FrameBuilder = emit::tcp(CLIENT, SERVER).seq(1_001 + offset).ack(5_001).payload(data);
    addressed(builder, 11, 21)
}

fn from_server(offset: u32, data: &[u8]) -> Vec<u8> {
    let asked = 1_001 + GET.len() as u32;
    addressed(emit::tcp(SERVER, CLIENT).seq(5_001 + offset).ack(asked).payload(data), 21, 11)
}

const GET: &[u8] = b"GET /evil.exe HTTP/1.1\r\nHost: db1\r\n\r\n";
const DOWNLOAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn drop_listed() -> Option<Arc<FileChecks>> {
    checks(HELLO, ListAction::Drop, FileLimits::default())
}

#[test]
fn a_listed_download_never_arrives_whole_wherever_it_is_cut() {
    for cut in 1..DOWNLOAD.len() {
        let mut bench = connected(drop_listed());
        bench.assert_arrives(WEB1, &from_client(0, GET), &[DB1]);
        bench.assert_arrives(DB1, &from_server(0, &DOWNLOAD[..cut]), &[WEB1]);
        bench.take_events();
        bench.assert_dropped(DB1, &from_server(cut as u32, &DOWNLOAD[cut..]), DropReason::FileHash);
        let kinds: Vec<EventKind> = bench.take_events().into_iter().map(|event| event.kind).collect();
        let [EventKind::FileAlert(alert), EventKind::FileInfo(info), EventKind::Drop { reason, .. }] = &kinds[..]
        else {
            panic!("{kinds:?}");
        };
        assert_eq!((alert, *reason), (info, DropReason::FileHash));
        assert_eq!((&info.name[..], info.length), (&b"/evil.exe"[..], 5));
        // The sender tries again, as TCP does, and so does the receiver.
        bench.assert_dropped(DB1, &from_server(cut as u32, &DOWNLOAD[cut..]), DropReason::FlowRefused);
        bench.assert_dropped(WEB1, &from_client(GET.len() as u32, GET), DropReason::FlowRefused);
        bench.assert_books_balance();
    }
}

#[test]
fn a_listed_download_out_of_order_never_arrives_whole() {
    let mut bench = connected(drop_listed());
    bench.assert_arrives(WEB1, &from_client(0, GET), &[DB1]);
    bench.assert_arrives(DB1, &from_server(20, &DOWNLOAD[20..]), &[WEB1]);
    bench.assert_dropped(DB1, &from_server(0, &DOWNLOAD[..20]), DropReason::FileHash);
    assert_eq!(bench.counters.alerts_blocked.value(), 1);
    assert_eq!(bench.generation.file_hits[0][0].value(), 1);
    bench.housekeep(0);
    assert_eq!(bench.counters.files.each_ref().map(|cell| cell.value()), [1, 0, 0, 0, 0, 0]);
}

#[test]
fn what_is_not_listed_or_only_alerted_of_arrives() {
    for (checks, listed) in [
        (None, 0),
        (checks(WORLD, ListAction::Drop, FileLimits::default()), 0),
        (checks(HELLO, ListAction::Alert, FileLimits::default()), 1),
    ] {
        let is_on = checks.is_some();
        let mut bench = connected(checks);
        bench.assert_arrives(WEB1, &from_client(0, GET), &[DB1]);
        bench.assert_arrives(DB1, &from_server(0, DOWNLOAD), &[WEB1]);
        assert_eq!(bench.counters.alerts_allowed.value(), listed);
        bench.housekeep(0);
        let unlisted = u64::from(is_on) - listed;
        assert_eq!(bench.counters.files.each_ref().map(|cell| cell.value()), [listed, unlisted, 0, 0, 0, 0]);
    }
}

#[test]
fn a_file_that_is_too_big_to_be_judged_is_dropped_where_such_are_not_to_pass() {
    let limits = FileLimits { size_max: 4, too_big: Unjudged::Drop, partial: Unjudged::Pass };
    let mut bench = connected(checks(WORLD, ListAction::Drop, limits));
    bench.assert_arrives(WEB1, &from_client(0, GET), &[DB1]);
    bench.assert_dropped(DB1, &from_server(0, DOWNLOAD), DropReason::FileUnjudged);
    let kinds: Vec<EventKind> = bench.take_events().into_iter().map(|event| event.kind).collect();
    assert!(matches!(&kinds[..], [EventKind::FileInfo(_), EventKind::Drop { .. }]), "{kinds:?}");
    assert_eq!(bench.counters.alerts_blocked.value(), 0);
}

/// Once a generation is set, no file is judged by the lists of an older one, those under way included.
#[test]
fn lists_change_while_a_file_is_under_way() {
    let begin = |old| {
        let mut bench = connected(old);
        bench.assert_arrives(WEB1, &from_client(0, GET), &[DB1]);
        bench.assert_arrives(DB1, &from_server(0, &DOWNLOAD[..DOWNLOAD.len() - 2]), &[WEB1]);
        bench
    };
    let rest = from_server(DOWNLOAD.len() as u32 - 2, &DOWNLOAD[DOWNLOAD.len() - 2..]);
    let other = || checks(WORLD, ListAction::Drop, FileLimits::default());
    let mut bench = begin(other());
    judge_by(&mut bench, drop_listed());
    bench.assert_dropped(DB1, &rest, DropReason::FileHash);
    for new in [other(), None] {
        let mut bench = begin(drop_listed());
        judge_by(&mut bench, new);
        bench.assert_arrives(DB1, &rest, &[WEB1]);
    }
}

/// A bench with a list, and web1's FTP control connection to db1, on which both sides say these lines in turn.
fn with_control(lines: &[&str]) -> Bench {
    let allow = Rule::new("ftp-data", Action::Allow)
        .between("web".parse().expect("a zone"), "db".parse().expect("a zone"))
        .about(Service::tcp(2_050));
    let mut bench = Bench::new(policy(Vec::new()), RuleSet::default(), 64);
    let generation = generation(2, policy(vec![allow]), RuleSet::default());
    bench.generation = Arc::new(generation.with_file_checks(drop_listed()));
    connect(&mut bench);
    let mut sent = [0; 2];
    for (index, line) in lines.iter().enumerate() {
        let (text, own) = (format!("{line}\r\n"), index % 2);
        let (seq, ack) = ([5_001, 1_001][own] + sent[own], [1_001, 5_001][own] + sent[1 - own]);
        sent[own] += text.len() as u32;
        match own {
            0 => {
                let segment = emit::tcp(SERVER, CLIENT).seq(seq).ack(ack).payload(&text);
                bench.assert_arrives(DB1, &addressed(segment, 21, 11), &[WEB1]);
            }
            _ => {
                let segment = emit::tcp(CLIENT, SERVER).seq(seq).ack(ack).payload(&text);
                bench.assert_arrives(WEB1, &addressed(segment, 11, 21), &[DB1]);
            }
        }
    }
    bench
}

const PASSIVE: [&str; 5] = ["220 FTP", "USER a", "331 who?", "PASV", "227 (10,0,0,21,8,2)"];

#[test]
fn a_listed_file_never_arrives_whole_over_ftp() {
    let (client, server) = (([10, 0, 0, 11], 40_001), ([10, 0, 0, 21], 2_050));
    for cut in 0..5_u32 {
        let mut bench = with_control(&[&PASSIVE[..], &["RETR evil.exe"]].concat());
        bench.assert_arrives(WEB1, &addressed(emit::tcp(client, server).seq(99).syn(), 11, 21), &[DB1]);
        bench.assert_arrives(DB1, &addressed(emit::tcp(server, client).seq(99).ack(100).syn_ack(), 21, 11), &[WEB1]);
        bench.assert_arrives(WEB1, &addressed(emit::tcp(client, server).seq(100).ack(100), 11, 21), &[DB1]);
        let part = |offset: u32, bytes: &[u8]| {
            addressed(emit::tcp(server, client).seq(100 + offset).ack(100).payload(bytes), 21, 11)
        };
        if cut > 0 {
            bench.assert_arrives(DB1, &part(0, &b"hello"[..cut as usize]), &[WEB1]);
        }
        bench.take_events();
        bench.assert_dropped(DB1, &part(cut, &b"hello"[cut as usize..]), DropReason::FileHash);
        let events = bench.take_events();
        let named =
            events.iter().any(|event| matches!(&event.kind, EventKind::FileAlert(file) if file.name == b"evil.exe"));
        assert!(named, "{events:?}");
        bench.assert_books_balance();
    }
}

/// What a guest says names connections; it opens none.
#[test]
fn what_is_announced_is_still_policys_matter() {
    let lines = |reply: &'static str| [&PASSIVE[..4], &[reply]].concat();
    // A port that no rule has, from web to db; and a connection back from db to web, which never may be.
    let mut bench = with_control(&lines("227 (10,0,0,21,8,3)"));
    let syn = emit::tcp(([10, 0, 0, 11], 40_001), ([10, 0, 0, 21], 2_051)).seq(99).syn();
    bench.assert_dropped(WEB1, &addressed(syn, 11, 21), DropReason::Policy);
    let mut bench = with_control(&["220 FTP", "USER a", "331 who?", "PORT 10,0,0,11,200,1", "200 ok"]);
    let syn = emit::tcp(([10, 0, 0, 21], 20), ([10, 0, 0, 11], 51_201)).seq(99).syn();
    bench.assert_dropped(DB1, &addressed(syn, 21, 11), DropReason::Policy);
    bench.assert_books_balance();
}
