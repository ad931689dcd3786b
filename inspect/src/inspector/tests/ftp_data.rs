//! FTP's data connections: named by what a control connection has said, whoever looks at them, and hiding nothing.

use super::*;
use crate::announcements::Announcements;
use crate::file_hashes::{FileChecks, FileLimits, HashListBuilder, ListAction};
use crate::protocol::{AppProtocol, FileProgress};
use crate::record::Wanted;
use crate::wire::emit;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const HOST_CLIENT: [u8; 4] = [10, 0, 0, 1];
const HOST_SERVER: [u8; 4] = [10, 0, 0, 2];

/// One connection: who opens it, to whom, and the slot that it has with its worker.
#[derive(Clone, Copy)]
struct Line {
    from: SocketAddr,
    to: SocketAddr,
    slot: u32,
    /// Bytes that each side has sent.
    sent: [u32; 2],
}

impl Line {
    fn new(from: (impl Into<IpAddr>, u16), to: (impl Into<IpAddr>, u16), slot: u32) -> Self {
        Self { from: (from.0.into(), from.1).into(), to: (to.0.into(), to.1).into(), slot, sent: [0; 2] }
    }
}

/// Workers that see each other's announcements.
struct Bench<'r> {
    rules: &'r RuleSet,
    workers: [Inspector; 2],
    now_ms: u64,
    sids: Vec<u32>,
}

impl<'r> Bench<'r> {
    fn new(rules: &'r RuleSet, records: Wanted) -> Self {
        let announcements = Arc::new(Announcements::new());
        let settings = Settings { records, ..prevent() };
        let workers = [(); 2].map(|()| Inspector::sharing(settings, Arc::clone(&announcements)));
        Self { rules, workers, now_ms: 1_000, sids: Vec::new() }
    }

    /// A segment of a line, shown to one worker.
    fn show(&mut self, worker: usize, line: &mut Line, by: Direction, bytes: &[u8], flags: &str) -> Verdict {
        let (own, other) = (index(by), index(by.reversed()));
        let (from, to) = if by == Direction::ToServer { (line.from, line.to) } else { (line.to, line.from) };
        let (seq, ack) = (100 + line.sent[own], 100 + line.sent[other]);
        let segment = emit::tcp(from, to);
        let frame = match flags {
            "S" => segment.seq(99).syn(),
            "SA" => segment.seq(99).ack(100).syn_ack(),
            "F" => segment.seq(seq).ack(ack).fin(),
            _ => segment.seq(seq).ack(ack),
        };
        let frame = frame.payload(bytes).build();
        line.sent[own] += u32::try_from(bytes.len()).unwrap();
        let packet = Packet::parse(&frame, Checksums::Verify).unwrap();
        let is_first = flags == "S";
        let view = FlowView { slot: Some(FlowSlot(line.slot)), direction: by, established: !is_first, is_first };
        let mut alerts = Vec::new();
        let verdict = self.workers[worker].inspect(self.rules, &packet, &view, self.now_ms, &mut alerts);
        self.sids.extend(alerts.iter().map(|alert| self.rules.signature(alert.signature).unwrap().sid));
        verdict
    }

    #[track_caller]
    fn open(&mut self, worker: usize, line: &mut Line) {
        for (by, flags) in [(Direction::ToServer, "S"), (Direction::ToClient, "SA"), (Direction::ToServer, "A")] {
            assert_eq!(self.show(worker, line, by, b"", flags), Verdict::Forward);
        }
    }

    #[track_caller]
    fn say(&mut self, worker: usize, line: &mut Line, by: Direction, bytes: &[u8]) {
        assert_eq!(self.show(worker, line, by, bytes, "A"), Verdict::Forward, "{}", bytes.escape_ascii());
    }

    /// A control connection with worker 0, on which both sides say these lines in turn, the server first.
    #[track_caller]
    fn control(&mut self, lines: &[&str]) -> Line {
        let mut control = Line::new((HOST_CLIENT, 40_000), (HOST_SERVER, 2121), 0);
        self.open(0, &mut control);
        for (line, by) in lines.iter().zip([Direction::ToClient, Direction::ToServer].into_iter().cycle()) {
            self.say(0, &mut control, by, format!("{line}\r\n").as_bytes());
        }
        control
    }

    /// SHA-256 of "hello" is on a list that drops.
    fn watch_hello(&mut self) {
        let mut list = HashListBuilder::new("malware", ListAction::Drop);
        list.line(b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824").unwrap();
        let checks = Arc::new(FileChecks::new(vec![list.build()], FileLimits::default()));
        self.workers.iter_mut().for_each(|worker| worker.judge_files_by(Some(&checks)));
    }
}

const PASSIVE: [&str; 6] =
    ["220 FTP", "USER a", "331 who?", "PASV", "227 Entering (10,0,0,2,8,2).", "RETR dir/evil.exe"];

fn passive() -> Line {
    Line::new((HOST_CLIENT, 40_001), (HOST_SERVER, 2050), 7)
}

#[test]
fn a_listed_file_is_stopped_with_whichever_worker_its_connection_is() {
    let none = RuleSet::empty();
    for worker in [0, 1] {
        for cut in 0..5 {
            let mut bench = Bench::new(&none, Wanted::NOTHING);
            bench.watch_hello();
            bench.control(&PASSIVE);
            let mut data = passive();
            bench.open(worker, &mut data);
            if cut > 0 {
                bench.say(worker, &mut data, Direction::ToClient, &b"hello"[..cut]);
            }
            let verdict = bench.show(worker, &mut data, Direction::ToClient, &b"hello"[cut..], "A");
            assert_eq!(verdict, Verdict::Drop(Refused::File(0)), "worker {worker}, cut at {cut}");
            let events = bench.workers[worker].take_file_events();
            let told = events.first().map(|event| (&event.name[..], event.length, event.finding));
            assert_eq!(told, Some((b"dir/evil.exe".as_slice(), 5, FileFinding::Listed(0))));
        }
    }
    // The same connection without a word about it is anybody's.
    let mut bench = Bench::new(&none, Wanted::NOTHING);
    bench.watch_hello();
    let mut data = passive();
    bench.open(1, &mut data);
    bench.say(1, &mut data, Direction::ToClient, b"hello");
}

#[test]
fn every_way_to_announce_is_understood() {
    let none = RuleSet::empty();
    let client_v6: std::net::Ipv6Addr = "fd00::1".parse().unwrap();
    let active = || Line::new((HOST_SERVER, 20), (HOST_CLIENT, 51_201), 7);
    let ways: [(&[&str], Line, bool); 8] = [
        (&["220 FTP", "USER a", "331", "PASV", "227 (10,0,0,2,8,2)"], passive(), true),
        (&["220 FTP", "USER a", "331", "EPSV", "229 (|||2050|)"], passive(), true),
        // A server behind a translator says an address of its own, which clients ignore, or do not.
        (&["220 FTP", "USER a", "331", "PASV", "227 (192,0,2,9,8,2)"], passive(), true),
        (
            &["220 FTP", "USER a", "331", "PASV", "227 (192,0,2,9,8,2)"],
            Line::new((HOST_CLIENT, 40_001), ([192, 0, 2, 9], 2050), 7),
            true,
        ),
        (&["220 FTP", "USER a", "331", "PORT 10,0,0,1,200,1"], active(), true),
        (&["220 FTP", "USER a", "331", "EPRT |1|10.0.0.1|51201|"], active(), true),
        // Another port; and others than the two.
        (&["220 FTP", "USER a", "331", "PORT 10,0,0,1,200,2"], active(), false),
        (
            &["220 FTP", "USER a", "331", "PORT 10,0,0,1,200,1"],
            Line::new(([10, 0, 0, 3], 20), (HOST_CLIENT, 51_201), 7),
            false,
        ),
    ];
    for (said, mut data, is_known) in ways {
        let mut bench = Bench::new(&none, Wanted::NOTHING);
        bench.watch_hello();
        bench.control(said);
        bench.open(1, &mut data);
        let verdict = bench.show(1, &mut data, Direction::ToServer, b"hello", "A");
        let expected = if is_known { Verdict::Drop(Refused::File(0)) } else { Verdict::Forward };
        assert_eq!(verdict, expected, "{said:?}");
    }
    let mut bench = Bench::new(&none, Wanted::NOTHING);
    bench.watch_hello();
    let mut control = Line::new((client_v6, 40_000), ("fd00::2".parse::<IpAddr>().unwrap(), 21), 0);
    bench.open(0, &mut control);
    bench.say(0, &mut control, Direction::ToClient, b"220 FTP\r\n");
    bench.say(0, &mut control, Direction::ToServer, b"USER a\r\nEPRT |2|fd00::1|99|\r\n");
    let mut data = Line::new(("fd00::2".parse::<IpAddr>().unwrap(), 20), (client_v6, 99), 7);
    bench.open(1, &mut data);
    let verdict = bench.show(1, &mut data, Direction::ToServer, b"hello", "A");
    assert_eq!(verdict, Verdict::Drop(Refused::File(0)));
}

#[test]
fn a_word_hides_nothing_from_signatures() {
    let rules = rules(
        r#"drop http any any -> any any (msg:"http"; http.uri; content:"/evil"; sid:1;)
           alert ftp-data any any -> any any (msg:"data"; file.data; content:"MZ"; sid:2;)
           alert tcp any any -> any any (msg:"bytes"; content:"MZ"; sid:3;)"#,
    );
    // The server says that its web server is a data connection.
    let mut bench = Bench::new(&rules, Wanted::NOTHING);
    bench.control(&["220 FTP", "USER a", "331", "PASV", "227 (10,0,0,2,0,80)"]);
    let mut web = Line::new((HOST_CLIENT, 40_002), (HOST_SERVER, 80), 7);
    bench.open(1, &mut web);
    let verdict = bench.show(1, &mut web, Direction::ToServer, b"GET /evil HTTP/1.1\r\n\r\n", "A");
    assert!(matches!(verdict, Verdict::Drop(Refused::Signature(_))), "{verdict:?}");
    assert_eq!(bench.sids, [1]);

    let mut bench = Bench::new(&rules, Wanted::NOTHING);
    bench.control(&PASSIVE);
    let mut data = passive();
    bench.open(1, &mut data);
    bench.say(1, &mut data, Direction::ToClient, b"MZ and more");
    bench.sids.sort_unstable();
    assert_eq!(bench.sids, [2, 3]);
    assert_eq!(bench.workers[1].protocol_of(FlowSlot(7)), Some(AppProtocol::FtpData));
}

#[test]
fn a_file_is_noted_with_its_name_and_protocol() {
    let none = RuleSet::empty();
    let mut bench = Bench::new(&none, Wanted { files: true, ..Wanted::NOTHING });
    bench.control(&PASSIVE);
    let mut data = passive();
    bench.open(1, &mut data);
    bench.say(1, &mut data, Direction::ToClient, b"con");
    bench.say(1, &mut data, Direction::ToClient, b"tent");
    assert_eq!(bench.show(1, &mut data, Direction::ToClient, b"", "F"), Verdict::Forward);
    let notes: Vec<Note> = bench.workers[1].take_notes().collect();
    let [Note::File(file)] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!((&file.name[..], file.protocol), (b"dir/evil.exe".as_slice(), Some(AppProtocol::FtpData)));
    assert_eq!((file.file.length, file.file.progress), (7, FileProgress::Complete));
}

#[test]
fn the_rest_of_a_stopped_file_is_not_to_be_had_by_restarting() {
    let none = RuleSet::empty();
    let mut bench = Bench::new(&none, Wanted::NOTHING);
    bench.watch_hello();
    let mut control = bench.control(&PASSIVE);
    let mut data = passive();
    bench.open(1, &mut data);
    bench.say(1, &mut data, Direction::ToClient, b"hell");
    assert!(matches!(bench.show(1, &mut data, Direction::ToClient, b"o", "A"), Verdict::Drop(_)));
    bench.say(0, &mut control, Direction::ToClient, b"426 broken\r\n");
    bench.say(0, &mut control, Direction::ToServer, b"PASV\r\n");
    bench.say(0, &mut control, Direction::ToClient, b"227 (10,0,0,2,8,3)\r\n");
    bench.say(0, &mut control, Direction::ToServer, b"REST 4\r\nRETR dir/evil.exe\r\n");
    let mut rest = Line::new((HOST_CLIENT, 40_002), (HOST_SERVER, 2051), 8);
    bench.open(0, &mut rest);
    let verdict = bench.show(0, &mut rest, Direction::ToClient, b"o", "A");
    assert_eq!(verdict, Verdict::Drop(Refused::FileUnjudged));
}
