//! Packed bodies that become much: what they cost is counted, and what is too much is refused wherever it shows.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::limits::{WORK_PER_PACKED_BYTE, WORK_PER_PACKET, WORK_PER_PARSED_BYTE, WORK_RECOGNISED, WORK_SAVED_FIRST};
use Verdict::{Drop, Forward, WouldDrop};

const FILES: &str = r#"alert http any any -> any any (file.data; content:"never"; sid:1;)"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What unpacks to the name of a gzip member that never ends: a layer within takes all of it and gives nothing.
fn endless(count: usize) -> Vec<u8> {
    gzip(&[b"\x1f\x8b\x08\x08\0\0\0\0\0\x03".as_slice(), &vec![b'a'; count]].concat())
}

fn answer(encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Without a bound on bombs that would end them sooner.
fn boundless(mut settings: Settings) -> Settings {
    settings.protocol.bomb_bytes_max = u64::MAX;
    settings
}

/// What an answer comes to, and the work that all has cost.
#[track_caller]
fn show(settings: Settings, said: &[u8]) -> (Verdict, Connection<'static>) {
    let rules: &'static RuleSet = Box::leak(Box::new(rules(FILES)));
    let mut connection = Connection::new(rules, settings);
    connection.open();
    assert_eq!(connection.say(&request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 1000), Forward);
    (connection.say(&response(said), 60_000), connection)
}

#[test]
fn unpacking_is_part_of_a_packets_work() {
    let said = answer("gzip, gzip, gzip", &gzip(&endless(16 << 20)));
    let granted = WORK_SAVED_FIRST
        + WORK_RECOGNISED
        + 5 * WORK_PER_PACKET
        + (WORK_PER_PARSED_BYTE + WORK_PER_PACKED_BYTE) * (said.len() as u64 + 100);
    // Within the bounds that hold without any choice, either ends it.
    assert!(matches!(show(prevent(), &said).0, Drop(Refused::Budget | Refused::Protocol)));
    let (verdict, mut connection) = show(boundless(prevent()), &said);
    assert_eq!(verdict, Drop(Refused::Budget));
    let done = connection.inspector.work_done();
    // One piece of each layer is under way when it ends.
    assert!(done <= granted + 3 * 8192, "{done} of {granted}");
    assert_eq!(connection.say(&response("more"), 100), Drop(Refused::FlowRefused));

    // Small bodies count too, each with what it takes to begin with it.
    let (verdict, connection) = show(prevent(), &answer("gzip", &gzip(b"x")).repeat(10));
    let done = connection.inspector.work_done();
    let (verdict_plain, connection) = show(prevent(), &answer("identity", b"x").repeat(10));
    assert_eq!((verdict, verdict_plain), (Forward, Forward));
    assert!(done > connection.inspector.work_done() + 10 * 2_000, "{done}");
}

#[test]
fn spent_work_meets_the_budget_policy() {
    let said = answer("gzip, gzip", &endless(16 << 20));
    let by = |mode, budget_exception| boundless(Settings { mode, budget_exception, ..Settings::default() });
    assert_eq!(show(by(Mode::Prevent, ExceptionPolicy::Auto), &said).0, Drop(Refused::Budget));
    assert_eq!(show(by(Mode::Prevent, ExceptionPolicy::DropPacket), &said).0, Drop(Refused::Budget));
    assert_eq!(show(by(Mode::Audit, ExceptionPolicy::Auto), &said).0, WouldDrop(Refused::Budget));
    assert_eq!(show(by(Mode::Prevent, ExceptionPolicy::Ignore), &said).0, Forward);
    assert_eq!(show(by(Mode::Detect, ExceptionPolicy::Auto), &said).0, Forward);
}

/// Who goes on whatever it costs unpacks all of it, and looks at it as before.
#[test]
fn one_who_watches_still_sees_what_is_packed() {
    let text = [vec![b'a'; 90_000], b"never".to_vec(), vec![b'a'; 8_000]].concat();
    let said = answer("gzip, gzip", &gzip(&gzip(&text)));
    let (verdict, connection) = show(detect(), &said);
    assert_eq!((verdict, connection.sids.as_slice()), (Forward, [1].as_slice()));
}

#[test]
fn benign_bodies_stay_within_their_work() {
    // Text as pages are made of, packed to a tenth, in segments of full size.
    let words = ["lorem", "ipsum", "dolor", "sit", "amet", "<p>", "</p>", "href", "consectetur", "adipiscing"];
    let mut state = 7u32;
    let page: String = (0..60_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            words[(state >> 24) as usize % words.len()].to_owned() + " "
        })
        .collect();
    let body = gzip(page.as_bytes());
    let rules = rules(FILES);
    let mut connection = Connection::new(&rules, prevent());
    connection.open();
    assert_eq!(connection.say(&request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 1000), Forward);
    assert_eq!(connection.say(&response(answer("gzip", &body)), 1448), Forward);
}

/// LZMA holds back what its dictionary holds until the end, and that may be packed in its turn.
#[test]
fn a_bomb_that_is_held_back_to_the_end_meets_the_protocol_policy() {
    let mut packed = Vec::new();
    lzma_rs::lzma_compress(&mut gzip(&vec![0; 20 << 10]).as_slice(), &mut packed).unwrap();
    let chunked = |last: &str| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip, lzma\r\nTransfer-Encoding: chunked\r\n\r\n";
        let size = format!("{:x}\r\n", packed.len());
        [head.as_bytes(), size.as_bytes(), &packed, b"\r\n", last.as_bytes()].concat()
    };
    let until_close = [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, lzma\r\n\r\n".as_slice(), &packed].concat();
    let mut settings = prevent();
    // Below what the work allows, so that it is the bomb that ends it.
    settings.protocol.bomb_bytes_max = 2 << 10;
    settings.protocol.bomb_ratio_max = 1;
    for (mode, policy, expected) in [
        (Mode::Prevent, ExceptionPolicy::Auto, Drop(Refused::Protocol)),
        (Mode::Audit, ExceptionPolicy::Auto, WouldDrop(Refused::Protocol)),
        (Mode::Detect, ExceptionPolicy::Auto, Forward),
        (Mode::Prevent, ExceptionPolicy::Ignore, Forward),
    ] {
        let settings = Settings { mode, protocol_exception: policy, ..settings };
        assert_eq!(show(settings, &chunked("0\r\n\r\n")).0, expected, "at once, {mode:?} {policy:?}");
        let (verdict, mut connection) = show(settings, &chunked(""));
        assert_eq!(verdict, Forward, "not before the end");
        assert_eq!(connection.say(&response("0\r\n\r\n"), 100), expected, "at the last chunk, {mode:?} {policy:?}");
        let (verdict, mut connection) = show(settings, &until_close);
        assert_eq!(verdict, Forward);
        let at = u32::try_from(until_close.len()).unwrap();
        let fin = Segment { by: Direction::ToClient, at, bytes: Vec::new(), flags: "FA" };
        assert_eq!(connection.show(&fin), expected, "at the connection's end, {mode:?} {policy:?}");
    }
}
