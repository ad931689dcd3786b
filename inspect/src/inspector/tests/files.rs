//! Files on lists: the segment that would give their receiver the last byte is dropped, however they are cut and ordered.

use sha2::{Digest, Sha256};

use super::*;
use crate::alert::AlertAction;
use crate::file_hashes::{Digests, FileChecks, FileLimits, HashListBuilder, ListAction, Unjudged};
use crate::protocol::AppProtocol;

const FILE: &[u8] = b"MZ this program\r\ncannot be run";

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn checks_of(files: &[&[u8]], action: ListAction, limits: FileLimits) -> Arc<FileChecks> {
    let mut builder = HashListBuilder::new("malware", action);
    for file in files {
        let hex: String = sha256(file).iter().map(|byte| format!("{byte:02x}")).collect();
        builder.line(hex.as_bytes()).unwrap();
    }
    Arc::new(FileChecks::new(vec![builder.build()], limits))
}

fn checks() -> Arc<FileChecks> {
    checks_of(&[FILE], ListAction::Drop, FileLimits::default())
}

fn connection<'r>(rules: &'r RuleSet, settings: Settings, checks: &Arc<FileChecks>) -> Connection<'r> {
    let mut connection = Connection::new(rules, settings);
    connection.inspector.judge_files_by(Some(checks));
    assert!(!connection.inspector.is_idle(rules));
    connection.open();
    connection
}

fn get(path: &str) -> Said {
    request(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

fn download(fields: &str, body: &[u8]) -> Said {
    response([format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").as_bytes(), body].concat())
}

fn with_length(file: &[u8]) -> Said {
    download(&format!("Content-Length: {}", file.len()), file)
}

const LISTED: Verdict = Verdict::Drop(Refused::File(0));

/// Shows a conversation whose last speech carries the file, in segments of all sizes and with a cut at every byte; the file's
/// last byte stands `behind` bytes before the end. It is always stopped, and never has its receiver all of it.
#[track_caller]
fn check_stopped(said: &[Said], behind: usize) {
    let rules = RuleSet::empty();
    let (last, before) = said.split_last().unwrap();
    let file_end = last.bytes.len() - behind;
    let run = |cuts: &[usize]| {
        let mut connection = connection(&rules, prevent(), &checks());
        for said in before {
            assert_eq!(connection.say(said, usize::MAX), Verdict::Forward);
        }
        let mut passed = 0;
        for (&from, &to) in cuts.iter().zip(cuts.iter().skip(1).chain([&last.bytes.len()])) {
            let at = connection.sent[index(last.by)];
            let bytes = last.bytes[from..to].to_vec();
            match connection.show(&Segment { by: last.by, at, bytes, flags: "A" }) {
                Verdict::Forward => passed = to,
                verdict => {
                    assert_eq!(verdict, LISTED, "{cuts:?}");
                    break;
                }
            }
        }
        assert!(passed < file_end, "{passed} bytes of a file that ends at {file_end} passed: {cuts:?}");
        let events = connection.inspector.take_file_events();
        assert_eq!(events.len(), 1, "{cuts:?}");
        assert_eq!((events[0].finding, events[0].action), (FileFinding::Listed(0), AlertAction::Blocked));
        assert_eq!((events[0].digests.sha256, events[0].length), (Some(sha256(FILE)), FILE.len() as u64));
        // Neither the rest nor a repetition gets through.
        for by in [Direction::ToServer, Direction::ToClient] {
            let again = Segment { by, at: 0, bytes: last.bytes.clone(), flags: "A" };
            assert_eq!(connection.show(&again), Verdict::Drop(Refused::FlowRefused));
        }
        connection.inspector.flow_ended(FlowSlot(connection.slot));
        assert_eq!(connection.inspector.stream_memory().total(), crate::stream::StreamBytes::default());
        assert_eq!(connection.inspector.held_bytes, 0);
    };
    for size in [1, 2, 3, 7, 64, usize::MAX] {
        run(&(0..last.bytes.len()).step_by(size).collect::<Vec<_>>());
    }
    for cut in 1..last.bytes.len() {
        run(&[0, cut]);
    }
}

#[test]
fn a_listed_file_never_arrives_whole() {
    check_stopped(&[get("/evil"), with_length(FILE)], 0);
    check_stopped(
        &[get("/evil"), download("Transfer-Encoding: chunked", b"1e\r\nMZ this program\r\ncannot be run\r\n0\r\n\r\n")],
        7,
    );
    check_stopped(&[get("/evil"), download("Connection: close", FILE)], 0);
    check_stopped(&[get("/evil"), download("Content-Length: 99", FILE)], 0);
    check_stopped(
        &[get("/evil"), with_length(FILE), response("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")][..2],
        0,
    );
    let put = |fields: &str, body: &[u8]| {
        request([format!("PUT /up HTTP/1.1\r\n{fields}\r\n\r\n").as_bytes(), body].concat())
    };
    check_stopped(&[put(&format!("Content-Length: {}", FILE.len()), FILE)], 0);
    let form = [b"--X\r\nContent-Disposition: form-data; filename=f\r\n\r\n", FILE, b"\r\n--X--\r\n"].concat();
    let fields = format!("Content-Type: multipart/form-data; boundary=X\r\nContent-Length: {}", form.len());
    check_stopped(&[put(&fields, &form)], 9);
}

#[test]
fn a_listed_mail_attachment_never_arrives() {
    let mail = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
                Content-Disposition: attachment; filename=f\r\nContent-Transfer-Encoding: base64\r\n\r\n\
                TVogdGhpcyBwcm9ncmFtDQpjYW5ub3QgYmUgcnVu\r\n--b--\r\n.\r\nQUIT\r\n";
    let behind = "\r\n--b--\r\n.\r\nQUIT\r\n".len();
    // The line with the last byte is taken when it is whole, and the mail is one when its dot has come.
    check_stopped(
        &[response("220 mail\r\n"), request("EHLO a\r\n"), response("250 hi\r\n"), request(mail)],
        behind - 2,
    );
}

/// All orders of the segments of a download, and each repeated.
#[test]
fn order_and_repetition_let_no_listed_file_pass() {
    let rules = RuleSet::empty();
    let text = with_length(FILE).bytes;
    let cuts = [0, text.len() / 3, text.len() - 9, text.len()];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for repeated in 0..3 {
            let mut connection = connection(&rules, prevent(), &checks());
            connection.say(&get("/evil"), 1000);
            let mut has_passed = [false; 3];
            for which in
                order.into_iter().flat_map(|which| std::iter::repeat_n(which, 1 + usize::from(which == repeated)))
            {
                let bytes = text[cuts[which]..cuts[which + 1]].to_vec();
                let at = u32::try_from(cuts[which]).unwrap();
                let verdict = connection.show(&Segment { by: Direction::ToClient, at, bytes, flags: "A" });
                has_passed[which] |= verdict == Verdict::Forward;
            }
            assert_ne!(has_passed, [true; 3], "{order:?}, {repeated} twice");
            assert_eq!(connection.inspector.take_file_events().len(), 1);
        }
    }
}

/// How a conversation ends under some checks: its first verdict that is not "forward", and what was found.
fn outcome(said: &[Said], settings: Settings, checks: &Arc<FileChecks>) -> (Verdict, Vec<FileEvent>, FileCounts) {
    let rules = RuleSet::empty();
    let mut connection = connection(&rules, settings, checks);
    let verdicts: Vec<Verdict> = said.iter().map(|said| connection.say(said, 20)).collect();
    let verdict = verdicts.into_iter().find(|verdict| *verdict != Verdict::Forward).unwrap_or(Verdict::Forward);
    (verdict, connection.inspector.take_file_events(), connection.inspector.file_counts())
}

#[test]
fn what_is_on_no_list_passes_and_is_counted() {
    let said = [get("/good"), with_length(b"another file"), get("/"), with_length(b"")];
    let expected = (Verdict::Forward, vec![], FileCounts { unlisted: 1, ..FileCounts::default() });
    assert_eq!(outcome(&said, prevent(), &checks()), expected);
}

#[test]
fn who_only_watches_stops_nothing_and_says_it_once() {
    let said = [get("/evil"), with_length(FILE), get("/b"), with_length(b"b")];
    let alerting = checks_of(&[FILE], ListAction::Alert, FileLimits::default());
    for (settings, checks) in [(detect(), checks()), (prevent(), alerting)] {
        let (verdict, events, counts) = outcome(&said, settings, &checks);
        assert_eq!(verdict, Verdict::Forward);
        let expected = FileEvent {
            finding: FileFinding::Listed(0),
            action: AlertAction::Allowed,
            name: b"/evil".to_vec(),
            length: FILE.len() as u64,
            is_complete: true,
            digests: Digests { sha256: Some(sha256(FILE)), ..Digests::default() },
            side: Direction::ToClient,
            transaction: 0,
            protocol: Some(AppProtocol::Http1),
        };
        assert_eq!(events, [expected]);
        assert_eq!(counts, FileCounts { listed: 1, unlisted: 1, ..FileCounts::default() });
    }
}

#[test]
fn an_audit_says_what_would_have_been_stopped() {
    let audit = Settings { mode: Mode::Audit, ..Settings::default() };
    let checks = checks();
    let (verdict, events, _) = outcome(&[get("/evil"), with_length(FILE)], audit, &checks);
    assert_eq!((verdict, events[0].action), (Verdict::WouldDrop(Refused::File(0)), AlertAction::WouldBlock));
    // Nobody was refused anything, so parts may pass.
    let part = response("HTTP/1.1 206 P\r\nContent-Range: bytes 3-5/6\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(outcome(&[get("/evil"), part], prevent(), &checks).0, Verdict::Forward);
}

#[test]
fn what_cannot_be_judged_goes_by_its_policy() {
    let big = || with_length(&[b'x'; 100]);
    let range =
        |range: &str| response(format!("HTTP/1.1 206 P\r\nContent-Range: {range}\r\nContent-Length: 3\r\n\r\nabc"));
    let limits = |too_big, partial| FileLimits { size_max: 99, too_big, partial };
    let refused = Verdict::Drop(Refused::FileUnjudged);
    for (said, pass, drop, finding) in [
        (big(), FileCounts { too_big: 1, ..FileCounts::default() }, refused, FileFinding::TooBig),
        (range("bytes 3-5/6"), FileCounts { part: 1, ..FileCounts::default() }, refused, FileFinding::Part),
    ] {
        let said = [get("/"), said];
        let checks = |policy| checks_of(&[FILE], ListAction::Drop, limits(policy, policy));
        assert_eq!(outcome(&said, prevent(), &checks(Unjudged::Pass)), (Verdict::Forward, vec![], pass));
        let (verdict, events, _) = outcome(&said, prevent(), &checks(Unjudged::Drop));
        assert_eq!((verdict, events.len(), events[0].finding), (drop, 1, finding));
    }
    let whole = [get("/"), range("bytes 0-2/3")];
    let strict = checks_of(&[b"abc"], ListAction::Drop, limits(Unjudged::Drop, Unjudged::Drop));
    assert_eq!(outcome(&whole, prevent(), &strict).0, LISTED);
    let other = checks_of(&[b"abd"], ListAction::Drop, limits(Unjudged::Drop, Unjudged::Drop));
    assert_eq!(outcome(&whole, prevent(), &other).0, Verdict::Forward);
}

/// A downloader asks for the rest of what broke off.
#[test]
fn the_rest_of_a_stopped_file_is_not_to_be_had() {
    let checks = checks();
    let (got, rest) = FILE.split_at(FILE.len() - 4);
    let range = format!("bytes {}-{}/{}", got.len(), FILE.len() - 1, FILE.len());
    let resumed = response(
        [format!("HTTP/1.1 206 P\r\nContent-Range: {range}\r\nContent-Length: 4\r\n\r\n").as_bytes(), rest].concat(),
    );
    let resume = [get("/evil"), resumed];
    assert_eq!(outcome(&resume, prevent(), &checks).0, Verdict::Forward);
    assert_eq!(outcome(&[get("/evil"), with_length(FILE)], prevent(), &checks).0, LISTED);
    assert_eq!(outcome(&resume, prevent(), &checks).0, Verdict::Drop(Refused::FileUnjudged));
    // Lists that come later do not make it forgotten.
    let reloaded = checks_of(&[b"other"], ListAction::Drop, FileLimits::default());
    let reloaded = Arc::new(reloaded.sharing_with(&checks));
    assert_eq!(outcome(&resume, prevent(), &reloaded).0, Verdict::Drop(Refused::FileUnjudged));
}

#[test]
fn a_file_under_way_is_judged_by_the_lists_that_hold_at_its_end() {
    let (with, without) = (checks(), checks_of(&[b"other"], ListAction::Drop, FileLimits::default()));
    for (first, then, expected) in [(&with, &without, Verdict::Forward), (&without, &with, LISTED)] {
        let rules = RuleSet::empty();
        let mut connection = connection(&rules, prevent(), first);
        let mut text = with_length(FILE);
        let rest = Said { by: text.by, bytes: text.bytes.split_off(60) };
        assert_eq!(connection.say(&get("/evil"), 100), Verdict::Forward);
        assert_eq!(connection.say(&text, 100), Verdict::Forward);
        connection.inspector.judge_files_by(Some(then));
        assert_eq!(connection.say(&rest, 100), expected);
    }
}

#[test]
fn what_carries_no_files_is_let_go() {
    let rules = RuleSet::empty();
    let mut connection = connection(&rules, prevent(), &checks());
    assert!(connection.inspector.flows.peek(FlowSlot(3)).is_some());
    let profile = Profile::default();
    assert!(!connection.inspector.passes_unseen(&rules, || &profile, FlowSlot(3)));
    let noise =
        "\u{1}\u{2}\u{3} no protocol that anybody knows, and on and on it goes, for more than one line\r\n".repeat(2);
    for by in [Direction::ToServer, Direction::ToClient] {
        assert_eq!(connection.say(&Said { by, bytes: noise.clone().into_bytes() }, 100), Verdict::Forward);
    }
    assert!(connection.inspector.flows.peek(FlowSlot(3)).is_none(), "nothing is remembered of it");
    assert_eq!(connection.inspector.stream_memory().total(), crate::stream::StreamBytes::default());
    assert_eq!(connection.say(&request(FILE), 100), Verdict::Forward);
    assert!(connection.inspector.flows.peek(FlowSlot(3)).is_none());
}

/// Signatures for single packets go on to look at what was let go, and what they refuse stays refused.
#[test]
fn what_is_let_go_is_still_judged_by_signatures() {
    let rules = rules("drop tcp any any -> any 80 (flow:to_server; dsize:7; sid:1;)");
    let mut connection = connection(&rules, prevent(), &checks());
    let noise = "no protocol that anybody knows, and on and on it goes, for more than one line\r\n".repeat(2);
    for by in [Direction::ToServer, Direction::ToClient] {
        assert_eq!(connection.say(&Said { by, bytes: noise.clone().into_bytes() }, 1000), Verdict::Forward);
    }
    assert!(connection.inspector.flows.peek(FlowSlot(3)).is_none(), "it was let go");
    assert_eq!(connection.say(&request("7 bytes"), 1000), Verdict::Drop(Refused::Signature(0)));
    assert_eq!(connection.say(&request("8 bytes."), 1000), Verdict::Forward);
    assert!(connection.inspector.flows.peek(FlowSlot(3)).is_none(), "and stays so");
}

#[test]
fn without_a_list_nothing_is_followed() {
    let rules = RuleSet::empty();
    for checks in [None, Some(Arc::new(FileChecks::default()))] {
        let mut connection = Connection::new(&rules, prevent());
        connection.inspector.judge_files_by(checks.as_ref());
        connection.open();
        assert_eq!(connection.say(&get("/evil"), 100), Verdict::Forward);
        assert_eq!(connection.say(&with_length(FILE), 100), Verdict::Forward);
        assert!(connection.inspector.flows.peek(FlowSlot(3)).is_none());
        assert_eq!(connection.inspector.file_counts(), FileCounts::default());
    }
}

/// Signatures that look at some other port, or at single packets, see what they saw before.
#[test]
fn signatures_and_files_do_not_disturb_each_other() {
    let text = r#"alert tcp any any -> any 80 (flow:to_server; content:"GET"; sid:1;)
                  alert tcp any 80 -> any any (flags:A+; dsize:>80; sid:2;)
                  alert http any any -> any 8080 (http.uri; content:"evil"; sid:3;)
                  alert http any any -> any any (file.data; content:"program"; sid:4;)"#;
    for text in text.lines().map(str::trim).chain([text]) {
        let rules = rules(text);
        let run = |checks: Option<&Arc<FileChecks>>| {
            let mut connection = Connection::new(&rules, detect());
            connection.inspector.judge_files_by(checks);
            connection.open();
            connection.say(&get("/evil"), 1000);
            connection.say(&with_length(FILE), 1000);
            connection.sids.sort_unstable();
            (connection.sids, connection.inspector.take_file_events().len())
        };
        let (with, without) = (run(Some(&checks())), run(None));
        assert_eq!(with.0, without.0, "{text}");
        assert_eq!((with.1, without.1), (1, 0), "{text}");
    }
}
