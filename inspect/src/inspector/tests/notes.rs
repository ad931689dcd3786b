//! What is noted for the caller's log: once per transaction, bounded, and nothing that nobody wants.

use super::*;
use crate::limits::{NOTE_FIELD_BYTES_MAX, NOTE_TRANSACTIONS_MAX, NOTES_MAX};
use crate::protocol::{Anomaly, AppProtocol, Buffer, FileProgress};
use crate::record::{Detail, DnsData, DnsSection, Transaction, Wanted};
use crate::wire::emit;

const REQUEST: &str = "GET /a?b=1 HTTP/1.1\r\nHost: www.Example.com:8080\r\nUser-Agent: curl\r\nCookie: secret\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello";

fn noting(records: Wanted) -> Settings {
    Settings { records, ..prevent() }
}

fn http() -> Wanted {
    Wanted::NOTHING.with_protocol(AppProtocol::Http1)
}

/// Everything that is noted while the sides speak, and at the end of the flow.
fn notes(rules: &RuleSet, settings: Settings, said: &[Said], size: usize) -> Vec<Note> {
    let mut connection = Connection::new(rules, settings);
    connection.open();
    let mut notes = Vec::new();
    for said in said {
        for bytes in said.bytes.chunks(size) {
            assert_eq!(connection.say(&Said { by: said.by, bytes: bytes.to_vec() }, size), Verdict::Forward);
            notes.extend(connection.inspector.take_notes());
        }
    }
    connection.inspector.flow_ended(FlowSlot(connection.slot));
    notes.extend(connection.inspector.take_notes());
    assert_eq!(connection.inspector.lost_notes(), 0);
    notes
}

fn field(transaction: &Transaction, buffer: Buffer) -> Option<String> {
    transaction.field(buffer).map(|field| field.bytes.escape_ascii().to_string())
}

fn only(notes: &[Note]) -> &Transaction {
    match notes {
        [Note::Transaction(only)] => only,
        other => panic!("one transaction, not {other:#?}"),
    }
}

#[test]
fn a_transaction_is_noted_once_without_any_signature() {
    for size in [1, 7, usize::MAX] {
        let notes = notes(&RuleSet::empty(), noting(http()), &[request(REQUEST), response(RESPONSE)], size);
        let only = only(&notes);
        assert_eq!((only.protocol, only.number, only.is_over), (AppProtocol::Http1, 0, [true; 2]));
        assert_eq!(only.body_bytes, [0, 5]);
        let texts = [Buffer::HttpHost, Buffer::HttpUriRaw, Buffer::HttpUserAgent, Buffer::HttpStatCode]
            .map(|buffer| field(only, buffer).unwrap_or_default());
        assert_eq!(texts, ["www.example.com", "/a?b=1", "curl", "404"]);
        assert_eq!(field(only, Buffer::HttpCookie), None, "no record has it");
    }
}

#[test]
fn what_nobody_wants_is_not_made() {
    let said = [request(REQUEST), response(RESPONSE)];
    assert_eq!(notes(&RuleSet::empty(), prevent(), &said, usize::MAX), []);
    let tls = Wanted::NOTHING.with_protocol(AppProtocol::Tls);
    assert_eq!(notes(&RuleSet::empty(), noting(tls), &said, usize::MAX), []);
    let rules = rules(r#"alert http any any -> any any (msg:"x"; http.uri; content:"nothing"; sid:1;)"#);
    let mut connection = Connection::new(&rules, prevent());
    connection.open();
    assert_eq!(connection.say(&said[0], usize::MAX), Verdict::Forward);
    let flow = connection.inspector.flows.peek(FlowSlot(3)).expect("it is followed");
    assert!(flow.observed.is_none(), "not even room for it");
}

#[test]
fn a_transaction_without_its_end_is_told_with_the_flow() {
    let notes = notes(&RuleSet::empty(), noting(http()), &[request(REQUEST)], usize::MAX);
    assert_eq!(only(&notes).is_over, [true, false]);
}

#[test]
fn a_long_field_is_cut_and_says_so() {
    let request_of = |length| request(format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(length - 1)));
    let exact = notes(&RuleSet::empty(), noting(http()), &[request_of(NOTE_FIELD_BYTES_MAX)], usize::MAX);
    let uri = only(&exact).field(Buffer::HttpUriRaw).expect("a target");
    assert_eq!((uri.bytes.len(), uri.is_cut), (NOTE_FIELD_BYTES_MAX, false));
    let longer = notes(&RuleSet::empty(), noting(http()), &[request_of(NOTE_FIELD_BYTES_MAX + 1)], usize::MAX);
    let uri = only(&longer).field(Buffer::HttpUriRaw).expect("a target");
    assert_eq!((uri.bytes.len(), uri.is_cut), (NOTE_FIELD_BYTES_MAX, true));
}

#[test]
fn requests_that_nobody_answers_are_told_when_there_are_too_many() {
    let mut connection = Connection::new(&RULES_NONE, noting(http()));
    connection.open();
    for _ in 0..NOTE_TRANSACTIONS_MAX {
        assert_eq!(connection.say(&request(REQUEST), usize::MAX), Verdict::Forward);
        assert_eq!(connection.inspector.take_notes().count(), 0);
    }
    assert_eq!(connection.say(&request(REQUEST), usize::MAX), Verdict::Forward);
    let told: Vec<Note> = connection.inspector.take_notes().collect();
    assert_eq!((only(&told).number, only(&told).is_over), (0, [true, false]));
}

static RULES_NONE: std::sync::LazyLock<RuleSet> = std::sync::LazyLock::new(RuleSet::empty);

#[test]
fn an_alert_knows_its_transaction_and_flow_even_when_it_ends_them() {
    let rules = rules(
        r#"drop http any any -> any any (msg:"x"; flow:to_client; http.stat_code; content:"404"; sid:1;)
           alert tcp any any -> any any (msg:"y"; content:"curl"; sid:2;)"#,
    );
    let context = Wanted { context: true, ..Wanted::NOTHING };
    let mut connection = Connection::new(&rules, noting(context));
    connection.open();
    assert_eq!(connection.say(&request(REQUEST), usize::MAX), Verdict::Forward);
    assert_eq!(connection.sids, [2]);
    let guessed = connection.inspector.take_context(0).and_then(|context| context.transaction);
    assert_eq!(guessed.and_then(|known| field(&known, Buffer::HttpUserAgent)).as_deref(), Some("curl"));
    assert!(matches!(connection.say(&response(RESPONSE), usize::MAX), Verdict::Drop(_)));
    let context = connection.inspector.take_context(0).expect("the alert's context");
    assert_eq!((context.flow.protocol, context.flow.packets), (Some(AppProtocol::Http1), (3, 2)));
    let transaction = context.transaction.expect("the alert's transaction");
    assert_eq!(field(&transaction, Buffer::HttpUriRaw).as_deref(), Some("/a?b=1"));
    assert_eq!(connection.inspector.take_notes().count(), 0, "transactions themselves are not wanted");
}

#[test]
fn anomalies_are_noted_where_signatures_follow() {
    let wanted = Wanted { anomalies: true, ..Wanted::NOTHING };
    let bad = request("GET / HTTP/1.1\r\nno colon\r\nHost: h\r\n\r\n");
    assert_eq!(notes(&RuleSet::empty(), noting(wanted), std::slice::from_ref(&bad), usize::MAX), []);
    let rules = rules(r#"alert http any any -> any any (msg:"x"; http.uri; content:"nothing"; sid:1;)"#);
    let anomaly = Anomaly::HttpRequestFieldMissingColon;
    let note = Note::Anomaly { transaction: 0, side: Direction::ToServer, anomaly };
    assert_eq!(notes(&rules, noting(wanted), &[bad], usize::MAX), [note]);
}

#[test]
fn files_are_noted_when_they_are_over() {
    let wanted = Wanted { files: true, ..Wanted::NOTHING };
    let notes = notes(&RuleSet::empty(), noting(wanted), &[request(REQUEST), response(RESPONSE)], 3);
    let [Note::File(file)] = notes.as_slice() else { panic!("one file, not {notes:#?}") };
    assert_eq!((file.name.as_slice(), file.side), (b"/a".as_slice(), Direction::ToClient));
    assert_eq!((file.file.length, file.file.progress), (5, FileProgress::Complete));
    assert_eq!(file.protocol, Some(AppProtocol::Http1));
}

fn datagram(inspector: &mut Inspector, direction: Direction, payload: &[u8]) -> Vec<Note> {
    let (client, server) = (([10, 0, 0, 1], 40_000), ([8, 8, 8, 8], 53));
    let (from, to) = if direction == Direction::ToServer { (client, server) } else { (server, client) };
    let frame = emit::udp(from, to).payload(payload).build();
    let packet = Packet::new(&frame, parse(&frame, Checksums::Verify).unwrap());
    let view = FlowView { slot: Some(FlowSlot(0)), direction, established: false, is_first: false };
    let verdict = inspector.inspect(&RuleSet::empty(), &packet, &view, 0, &mut Vec::new());
    assert_eq!(verdict, Verdict::Forward);
    inspector.take_notes().collect()
}

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x01b\0\0\x01\0\x01";

#[test]
fn dns_messages_are_noted_with_their_answers() {
    let mut inspector = Inspector::new(noting(Wanted::NOTHING.with_protocol(AppProtocol::Dns)));
    let query = datagram(&mut inspector, Direction::ToServer, QUERY);
    let question = Detail::DnsQuestion { name: b"a.b".as_slice().into(), kind: 1 };
    assert_eq!(only(&query).details, [Detail::DnsHeader { id: 0x1234, flags: 0x0100 }, question.clone()]);
    let answer = [
        b"\x12\x34\x81\x80\0\x01\0\x03\0\0\0\0\x01a\x01b\0\0\x01\0\x01".as_slice(),
        b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01c\xc0\x0e",
        b"\xc0\x21\0\x01\0\x01\0\x01\0\0\0\x04\x0a\0\0\x01",
        b"\xc0\x21\0\x10\0\x01\0\0\0\0\0\x06\x02hi\x02yo",
    ];
    let answer = datagram(&mut inspector, Direction::ToClient, &answer.concat());
    let answers = [
        (b"a.b".as_slice(), 5, 60, DnsData::Name(b"c.b".as_slice().into())),
        (b"c.b", 1, 65_536, DnsData::Address([10, 0, 0, 1].into())),
        (b"c.b", 16, 0, DnsData::Text(b"hi".as_slice().into())),
        (b"c.b", 16, 0, DnsData::Text(b"yo".as_slice().into())),
    ];
    let section = DnsSection::Answer;
    let answers =
        answers.map(|(name, kind, ttl, data)| Detail::DnsRecord { section, name: name.into(), kind, ttl, data });
    let header = Detail::DnsHeader { id: 0x1234, flags: 0x8180 };
    assert_eq!(only(&answer).details, [vec![header, question], answers.to_vec()].concat());
}

#[test]
fn one_packet_cannot_raise_more_notes_than_there_is_room_for() {
    let framed = [&[0, QUERY.len() as u8], QUERY].concat();
    let dns = Wanted::NOTHING.with_protocol(AppProtocol::Dns);
    let mut connection = Connection::new(&RULES_NONE, noting(dns));
    connection.open();
    assert_eq!(connection.say(&request(framed.repeat(NOTES_MAX + 3)), usize::MAX), Verdict::Forward);
    assert_eq!(connection.inspector.take_notes().count(), NOTES_MAX);
    assert_eq!(connection.inspector.lost_notes(), 3);
}
