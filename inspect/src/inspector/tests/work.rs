//! What hostile payload may cost, counted in units of work: the same on every machine.

use super::*;
use crate::limits::{
    WORK_PARSING_PER_BYTE, WORK_PARSING_PER_PACKET, WORK_PER_BYTE, WORK_PER_PACKED_BYTE, WORK_PER_PACKET,
    WORK_PER_PARSED_BYTE, WORK_RECOGNISED, WORK_SAVED_FIRST, WORK_SAVED_MAX,
};

/// One step that was begun within the budget may end beyond it: a search of a window, a pass over a packet.
const LAST_STEP: u64 = 200_000;

/// Many rules that have much in common, so that one text concerns them all.
fn alike(rule_count: u32) -> RuleSet {
    let rule = |sid: u32| {
        let letter = char::from(b'a' + (sid % 26) as u8);
        let options = match sid % 4 {
            0 => format!(r#"content:"common"; pcre:"/common(x+x+)+{letter}{{3}}[0-9]{{{}}}/";"#, 1 + sid % 9),
            1 => format!(r#"content:"common"; content:"x"; distance:0; content:"{letter}{sid}"; distance:0;"#),
            2 => format!(r#"content:"common{letter}"; nocase; content:"never{sid}";"#),
            _ => format!(r#"http.uri; content:"common"; content:"/"; distance:0; pcre:"/\/x{{2,}}{sid}$/";"#),
        };
        format!("alert {} any any -> any any ({options} sid:{sid};)\n", if sid % 4 == 3 { "http" } else { "tcp" })
    };
    rules(&(1..=rule_count).map(rule).collect::<String>())
}

fn repeated(text: &str, count: usize) -> Vec<u8> {
    text.bytes().cycle().take(count).collect()
}

/// Shows what is said; the work that it cost, the work that was granted, and the last verdict.
#[track_caller]
fn work_of(rules: &RuleSet, text: &[u8], size: usize) -> (u64, u64, Verdict) {
    let mut connection = Connection::new(rules, prevent());
    connection.open();
    let mut granted = WORK_SAVED_FIRST + WORK_RECOGNISED + 4 * WORK_PER_PACKET;
    for piece in text.chunks(size) {
        granted += WORK_PER_PACKET + WORK_PER_PARSED_BYTE * piece.len() as u64;
        granted += WORK_PARSING_PER_PACKET + WORK_PARSING_PER_BYTE * piece.len() as u64;
        let verdict = connection.say(&request(piece), usize::MAX);
        let done = connection.inspector.work_done();
        assert!(done <= granted + LAST_STEP, "{done} of {granted}");
        if verdict != Verdict::Forward {
            return (done, granted, verdict);
        }
    }
    (connection.inspector.work_done(), granted, Verdict::Forward)
}

#[test]
fn no_text_costs_more_than_is_granted() {
    let rules = alike(800);
    let uris = b"GET /common/xxxxxxxxxxxx/common HTTP/1.1\r\nHost: a\r\n\r\n".repeat(600);
    let fields = [b"GET /common/x HTTP/1.1\r\n".to_vec(), b"A: common/xx\r\n".repeat(2000)].concat();
    let mut refused = 0;
    for text in [
        repeated("common", 30_000),
        repeated("commonx", 30_000),
        repeated("common xxxxxxxxxxxxxxxxxxxxxxxx a", 30_000),
        [b"common".to_vec(), repeated("x", 30_000)].concat(),
        uris,
        fields,
    ] {
        for size in [1, 100, 1448] {
            let text = &text[..text.len().min(size * 200)];
            let (_, _, verdict) = work_of(&rules, text, size);
            assert!(matches!(verdict, Verdict::Forward | Verdict::Drop(Refused::Budget)), "{verdict:?}");
            refused += usize::from(verdict != Verdict::Forward);
        }
    }
    // The budget is what stops some of them, else this would show nothing.
    assert!(refused > 3, "{refused}");
}

#[test]
fn benign_text_stays_far_below() {
    let rules = alike(800);
    // Small requests, one behind the other, cost parsers more than anything else.
    for (text, times) in [
        (repeated("The quick brown fox jumps over the lazy dog. ", 60_000), 10),
        (b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nAccept: */*\r\n\r\n".repeat(500), 2),
    ] {
        let (done, granted, verdict) = work_of(&rules, &text, 1448);
        assert_eq!(verdict, Verdict::Forward);
        assert!(times * done < granted, "{done} of {granted}");
    }
}

#[test]
fn unpacked_bytes_are_paid_for() {
    let rules = rules(r#"alert http any any -> any any (file.data; content:"needle"; sid:1;)"#);
    // Deflate (RFC 1951): one block of fixed codes, the byte 0 and then the longest repetitions of it.
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &vec![0; 15_000]).unwrap();
    let packed = packed.finish().unwrap();
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: ";
    let answer = [format!("{head}{}\r\n\r\n", packed.len()).into_bytes(), packed].concat();
    let mut connection = Connection::new(&rules, prevent());
    connection.open();
    assert_eq!(connection.say(&request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), usize::MAX), Verdict::Forward);
    let before = connection.inspector.work_done();
    assert_eq!(connection.say(&response(answer), 1448), Verdict::Forward);
    let done = connection.inspector.work_done() - before;
    assert!(done >= 15_000 + 15_000 / 4, "{done}");
}

#[test]
fn taking_messages_apart_is_paid_for() {
    let rules = rules(r#"alert http any any -> any any (http.uri; content:"needle"; sid:1;)"#);
    let field = |index: u32| format!("X{index}: {index}\r\n");
    let fields: String = (0..500).map(field).collect();
    for (text, least) in
        [("GET / HTTP/1.1\r\n\r\n".repeat(30), 30 * 200), (format!("GET / HTTP/1.1\r\n{fields}\r\n"), 500 * 60)]
    {
        let mut connection = Connection::new(&rules, prevent());
        connection.open();
        assert_eq!(connection.say(&request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), usize::MAX), Verdict::Forward);
        let before = connection.inspector.work_done();
        assert_eq!(connection.say(&request(&text), 1448), Verdict::Forward);
        let done = connection.inspector.work_done() - before;
        assert!((least..4 * least).contains(&done), "{done} for {} bytes", text.len());
    }
}

/// A segment that was lost holds up what follows it; once it comes again, one packet has all of that looked at.
#[test]
fn what_waited_behind_a_gap_is_paid_for() {
    let rule = |sid: u32| {
        let patterns = format!(r#"content:"common"; fast_pattern; content:"never{sid}"; distance:0;"#);
        format!("alert http any any -> any any (file.data; {patterns} sid:{sid};)\n")
    };
    let rules = rules(&(1..=8).map(rule).collect::<String>());
    let body = repeated("What is common stands here, and here, and at every sixty bytes.\n", 220_000);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let answer = [head.into_bytes(), body].concat();
    let pieces: Vec<&[u8]> = answer.chunks(1448).collect();
    let in_order = (0..pieces.len()).collect::<Vec<_>>();
    let late = in_order.iter().copied().filter(|&place| place != 3).chain([3]).collect();
    for (order, is_late) in [(in_order, false), (late, true)] {
        let mut connection = Connection::new(&rules, prevent());
        connection.open();
        assert_eq!(connection.say(&request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), usize::MAX), Verdict::Forward);
        let mut most = 0;
        for &place in &order {
            let before = connection.inspector.work_done();
            let (by, at, bytes) = (Direction::ToClient, (place * 1448) as u32, pieces[place].to_vec());
            let verdict = connection.show(&Segment { by, at, bytes, flags: "A" });
            most = most.max(connection.inspector.work_done() - before);
            assert_eq!(verdict, Verdict::Forward, "segment {place}: {most}");
        }
        // More than a packet is granted for its own bytes, with all that its flow can have saved.
        let per_byte = WORK_PER_PARSED_BYTE + WORK_PARSING_PER_BYTE + WORK_PER_PACKED_BYTE;
        let own = WORK_PER_PACKET + WORK_PARSING_PER_PACKET + 1448 * per_byte + WORK_SAVED_MAX;
        assert_eq!(most > own, is_late, "{most} of {own}");
    }
}

#[test]
fn what_waited_behind_a_gap_is_bounded_too() {
    let rules = alike(800);
    for text in [repeated("common", 250_000), repeated("common xxxxxxxxxxxxxxxxxxxxxxxx a", 250_000)] {
        let mut connection = Connection::new(&rules, prevent());
        connection.open();
        let pieces: Vec<&[u8]> = text.chunks(1448).collect();
        let (mut last, mut before) = (Verdict::Forward, 0);
        for place in (1..pieces.len()).chain([0]) {
            before = connection.inspector.work_done();
            let (by, at, bytes) = (Direction::ToServer, (place * 1448) as u32, pieces[place].to_vec());
            last = connection.show(&Segment { by, at, bytes, flags: "A" });
        }
        let done = connection.inspector.work_done() - before;
        let granted = WORK_PER_PACKET + WORK_SAVED_MAX + WORK_PER_BYTE * (text.len() as u64 + 1448);
        assert!(done <= granted + LAST_STEP, "{done} of {granted}: {last:?}");
    }
}
