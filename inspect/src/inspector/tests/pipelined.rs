//! Super-segments that hold hundreds of messages: each of them is judged, and hostile ones cost no more than is granted.

use super::*;
use crate::inspector::transactions::{Pool, TransactionSide, Transactions};
use crate::limits::{
    TRANSACTION_SIDES_MAX, TRANSACTION_SIDES_PER_PACKET_MAX, WORK_PARSING_PER_BYTE, WORK_PARSING_PER_PACKET,
    WORK_PER_PACKET, WORK_PER_PARSED_BYTE, WORK_SAVED_MAX,
};
use crate::protocol::AppProtocol;

/// Bytes that one segment carries at most here: a super-segment's 64 KiB less headers.
const SEGMENT_BYTES: usize = 65_400;

/// So many requests, of which one asks for something else.
fn requests(count: usize, other: usize, path: &str) -> Vec<u8> {
    let request = |number| {
        let path = if number == other { path } else { "/index.html" };
        format!("GET {path} HTTP/1.1\r\nHost: www.example.com\r\nX: {number:04}\r\n\r\n")
    };
    (0..count).flat_map(|number| request(number).into_bytes()).collect()
}

fn responses(count: usize, other: usize, status: &str) -> Vec<u8> {
    let response = |number| {
        let status = if number == other { status } else { "304 Not Modified" };
        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")
    };
    (0..count).flat_map(|number| response(number).into_bytes()).collect()
}

/// So many queries for a name, as TCP carries them.
fn queries(count: usize, other: usize, name: &[u8]) -> Vec<u8> {
    let query = |number| {
        let label = if number == other { name } else { b"benign" };
        let head = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, label.len() as u8];
        let message = [&head[..], label, &[0, 0, 1, 0, 1]].concat();
        [&(message.len() as u16).to_be_bytes()[..], &message].concat()
    };
    (0..count).flat_map(query).collect()
}

/// A connection that is open and speaks HTTP.
fn speaking<'r>(rules: &'r RuleSet, settings: Settings) -> Connection<'r> {
    let mut connection = Connection::new(rules, settings);
    connection.open();
    assert_eq!(connection.say(&request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), usize::MAX), Verdict::Forward);
    let answer = response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(connection.say(&answer, usize::MAX), Verdict::Forward);
    connection
}

/// What is said in one segment, or in two of the same size, and the signature ids that it raises.
#[track_caller]
fn say(connection: &mut Connection<'_>, said: &Said) -> (Verdict, Vec<u32>) {
    assert!(said.bytes.len() <= SEGMENT_BYTES, "{} bytes", said.bytes.len());
    connection.sids.clear();
    let verdict = connection.say(said, usize::MAX);
    connection.sids.sort_unstable();
    (verdict, std::mem::take(&mut connection.sids))
}

#[test]
fn each_request_of_a_super_segment_is_judged() {
    let rules = rules(
        r#"drop http any any -> any any (http.uri; content:"/evil"; sid:1;)
           alert http any any -> any any (http.uri; content:"/odd"; sid:2;)
           alert http any any -> any any (content:"X|3a 20|0000"; http.uri; content:"/odd"; sid:3;)
           alert http any any -> any any (http.stat_code; content:"418"; sid:4;)"#,
    );
    for number in [0, 63, 64, 900, 999] {
        let mut connection = speaking(&rules, prevent());
        let drop = Verdict::Drop(Refused::Signature(0));
        assert_eq!(say(&mut connection, &request(requests(1000, number, "/evil"))), (drop, vec![1]), "{number}");
        let mut connection = speaking(&rules, prevent());
        // The payload holds what one request has said, and another one's path is asked for too.
        let odd = say(&mut connection, &request(requests(1000, number, "/odd")));
        assert_eq!(odd, (Verdict::Forward, vec![2, 3]), "{number}");
        let answer = say(&mut connection, &response(responses(1000, number, "418 Teapot")));
        assert_eq!(answer, (Verdict::Forward, vec![4]), "{number}");
        // What is over is forgotten, and the flow goes on.
        assert_eq!(connection.inspector.flows.peek(FlowSlot(3)).unwrap().transactions.sides.len(), 0);
        let evil = say(&mut connection, &request(requests(1, 0, "/evil")));
        assert_eq!(evil, (drop, vec![1]), "{number}");
    }
}

#[test]
fn each_query_of_a_super_segment_is_judged() {
    let rules = rules(
        r#"drop dns any any -> any any (dns.query; content:"evil"; sid:1;)
           alert dns any any -> any any (dns.query; content:"odd"; sid:2;)"#,
    );
    for number in [0, 64, 1000] {
        let mut connection = Connection::new(&rules, prevent());
        connection.open();
        assert_eq!(say(&mut connection, &request(queries(1000, 9999, b""))), (Verdict::Forward, vec![]));
        assert_eq!(connection.inspector.protocol_of(FlowSlot(3)), Some(AppProtocol::Dns));
        assert_eq!(say(&mut connection, &request(queries(1001, number, b"odd"))), (Verdict::Forward, vec![2]));
        let evil = say(&mut connection, &request(queries(1001, number, b"evil")));
        assert_eq!(evil, (Verdict::Drop(Refused::Signature(0)), vec![1]), "{number}");
    }
}

/// What rule sets are full of: signatures that hold a name which every request has, or a byte at the start of a host.
#[test]
fn signatures_that_requests_hardly_concern_cost_them_next_to_nothing() {
    let of_host = |sid| {
        let digit = sid % 10;
        format!(
            r#"alert http any any -> any any (http.host; content:"{digit}"; depth:1; pcre:"/^\d+\.2$/"; sid:{sid};)"#
        )
    };
    let of_uri = |sid| {
        let names = r#"http.header_names; content:"|0d 0a|Host|0d 0a|"; startswith;"#;
        let digit = sid % 10;
        format!(r#"alert http any any -> any any (http.uri; content:"_{digit}"; fast_pattern; {names} sid:1{sid:02};)"#)
    };
    let text: Vec<String> = (1..=40).flat_map(|sid| [of_host(sid), of_uri(sid)]).collect();
    let rules = rules(&text.join("\n"));
    let work = |connection: &mut Connection<'_>, bytes: Vec<u8>, verdict, sids: Vec<u32>| {
        let before = connection.inspector.work_done();
        assert_eq!(say(connection, &request(bytes)), (verdict, sids));
        connection.inspector.work_done() - before
    };
    let mut connection = speaking(&rules, prevent());
    let done = work(&mut connection, requests(12, 99, ""), Verdict::Forward, Vec::new());
    // Eighty of them would come to more than 150 units each.
    assert!(done < 12 * 2_000, "{done}");
    let odd = b"GET /_7 HTTP/1.1\r\nHost: 71.2\r\n\r\n".to_vec();
    work(&mut connection, odd, Verdict::Forward, vec![7, 17, 27, 37, 107, 117, 127, 137]);
}

#[test]
fn requests_that_concern_many_signatures_are_judged_too() {
    let text: String = (1..=4)
        .map(|sid| {
            format!("alert http any any -> any any (http.uri; content:\"index\"; content:\"x{sid}\"; sid:{sid};)\n")
        })
        .collect();
    let rules = rules(&text);
    let mut connection = speaking(&rules, prevent());
    assert_eq!(say(&mut connection, &request(requests(1000, 900, "/index/x3/"))), (Verdict::Forward, vec![3]));
}

#[test]
fn as_many_requests_as_any_client_sends_may_wait_for_their_responses() {
    let rules = rules(r#"alert http any any -> any any (http.stat_code; content:"418"; sid:1;)"#);
    let mut connection = speaking(&rules, prevent());
    for _ in 0..4 {
        assert_eq!(say(&mut connection, &request(requests(1000, 0, "/"))), (Verdict::Forward, vec![]));
    }
    assert_eq!(say(&mut connection, &response(responses(1000, 999, "418 No"))), (Verdict::Forward, vec![1]));
    for more in [1000, 96] {
        assert_eq!(say(&mut connection, &request(requests(more, 0, "/"))), (Verdict::Forward, vec![]));
    }
    let (verdict, _) = say(&mut connection, &request(requests(1, 0, "/")));
    assert_eq!(verdict, Verdict::Drop(Refused::Protocol));
}

#[test]
fn tiny_messages_cost_no_more_than_is_granted() {
    let rules = rules(
        r#"alert http any any -> any any (http.uri; content:"/evil"; sid:1;)
           alert http any any -> any any (http.method; content:"POST"; sid:2;)
           alert http any any -> any any (content:"G"; http.uri; content:"never"; sid:3;)
           alert dns any any -> any any (dns.query; content:"evil"; sid:4;)
           alert ftp any any -> any any (ftp.command; content:"evil"; sid:5;)"#,
    );
    let usual = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let tiny: [(&str, Vec<u8>, &[u8]); 5] = [
        ("", usual.clone(), b"GET /\n\n"),
        ("", usual, b"GET / HTTP/1.0\r\n\r\n"),
        ("", queries(1, 1, b""), &[0, 12, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ("", queries(1, 1, b""), &[0, 19, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1]),
        ("220 FTP server ready\r\n", b"USER anonymous\r\n".to_vec(), b"NOOP\r\n"),
    ];
    for (greeting, first, tiny) in tiny {
        for settings in [prevent(), detect()] {
            let mut connection = Connection::new(&rules, settings);
            connection.open();
            assert_eq!(connection.say(&response(greeting), usize::MAX), Verdict::Forward);
            assert_eq!(connection.say(&request(&first), usize::MAX), Verdict::Forward);
            assert!(connection.inspector.protocol_of(FlowSlot(3)).is_some(), "{tiny:?}");
            let before = connection.inspector.work_done();
            let text = tiny.repeat(SEGMENT_BYTES / tiny.len());
            let (verdict, _) = say(&mut connection, &request(&text));
            let done = connection.inspector.work_done() - before;
            let granted = WORK_PER_PACKET
                + WORK_SAVED_MAX
                + WORK_PARSING_PER_PACKET
                + (WORK_PER_PARSED_BYTE + WORK_PARSING_PER_BYTE) * text.len() as u64;
            if settings.mode == Mode::Detect {
                // Taking messages apart is done whatever it costs, as nothing is stopped for it.
                assert_eq!(verdict, Verdict::Forward);
                assert!(done <= 2 * granted, "{done} of {granted} for {tiny:?}");
            } else {
                // What is begun within the budget may end beyond it.
                assert!(done <= granted + 10_000, "{done} of {granted} for {tiny:?}: {verdict:?}");
            }
            // Nothing of it is kept.
            let flow = connection.inspector.flows.peek(FlowSlot(3));
            assert!(flow.is_none_or(|flow| flow.transactions.sides.capacity() <= TRANSACTION_SIDES_MAX), "{tiny:?}");
        }
    }
}

#[test]
fn what_no_segment_can_hold_is_bounded_all_the_same() {
    let mut transactions = Transactions::default();
    let mut pool = Pool::default();
    let most = TRANSACTION_SIDES_PER_PACKET_MAX as u32;
    for number in 0..most {
        transactions.begin(number, Direction::ToServer, &mut pool);
    }
    assert!(!transactions.is_overrun);
    assert_eq!(transactions.place(0, Direction::ToServer), (Some(0), most as usize));
    assert_eq!(transactions.place(most - 1, Direction::ToServer), (Some(most as usize - 1), 1));
    // What is newer than all is not looked for.
    assert_eq!(transactions.place(most, Direction::ToServer), (None, 0));
    assert_eq!(transactions.place(0, Direction::ToClient), (None, 0));
    transactions.begin(most, Direction::ToServer, &mut pool);
    assert!(std::mem::take(&mut transactions.is_overrun));
    assert_eq!(transactions.place(0, Direction::ToServer).0, None);
    assert!(transactions.place(most, Direction::ToServer).0.is_some());
    // Behind the packet fewer may stay open, of which the newest are kept, and no room is.
    transactions.tidy(&mut pool);
    assert!(std::mem::take(&mut transactions.is_overrun));
    assert_eq!(transactions.sides.len(), TRANSACTION_SIDES_MAX);
    assert_eq!(transactions.place(most, Direction::ToServer).0, Some(TRANSACTION_SIDES_MAX - 1));
    assert!(transactions.sides.capacity() < 2 * TRANSACTION_SIDES_MAX);
    transactions.sides.iter_mut().skip(1).for_each(TransactionSide::close);
    transactions.tidy(&mut pool);
    assert_eq!((transactions.sides.len(), transactions.is_overrun), (1, false));
    assert_eq!(transactions.sides[0].number, most + 1 - TRANSACTION_SIDES_MAX as u32);
}
