//! Properties of every conversation, whatever its bytes.

use proptest::prelude::*;

use super::recorder::Recorder;
use super::{AppProtocol, Buffer, Conversation, Settings};
use crate::inspector::Direction::{self, ToClient, ToServer};

/// Beginnings of conversations of every protocol, to be changed at random.
const SEEDS: [(&[u8], &[u8]); 9] = [
    (
        b"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=X\r\nTransfer-Encoding: chunked\r\n\r\n\
          5\r\n--X\r\n\r\n40\r\nContent-Disposition: form-data; filename=f\r\n\r\nabc\r\n--X--aaaaaaaaaaaaaaaa\r\n0\r\nT: r\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, deflate\r\nContent-Length: 30\r\n\r\n\x1f\x8b\x08\x1e\0\0\0\0\0\0\
          \x03\0abcname\0comment\0zzabcdef",
    ),
    (b"CONNECT h:1 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabc"),
    (
        b"\x16\x03\x01\0\x37\x01\0\0\x33\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0\0\x02\x13\x01\x01\0\0\x08\0\0\0\x04\0\x02\0\0",
        b"\x16\x03\x03\0\x14\x0b\0\0\x10\0\0\x0d\0\0\x0a\x30\x08\x30\x06\x02\x01\x05\x30\x01\0\x18\x03\x03\0\x03\x01\x40\0",
    ),
    (b"EHLO a\r\nDATA\r\nContent-Type: multipart/mixed; boundary=X\r\n\r\n--X\r\nContent-Disposition: a; filename=b\r\n\
       Content-Transfer-Encoding: base64\r\n\r\nTVo=\r\n--X--\r\n.\r\nBDAT 5 LAST\r\nabcdeQUIT\r\n", b"220 x ESMTP\r\n250 a\r\n354 b\r\n"),
    (b"USER a\r\nPASV\r\nEPSV\r\nPORT 1,2,3,4,5,6\r\n", b"220-FTP\r\n220 x\r\n331 y\r\n227 (1,2,3,4,5,6)\r\n229 (|||5|)\r\n"),
    (b"SSH-2.0-a b\r\n\0\0\0\x20\x04\x14aaaaaaaaaaaaaaaa\0\0\0\x02ab\0\0\0\x01c", b"SSH-2.0-c\r\n\0\0\0\x0c\x0a\x15aaaaaaaaaa"),
    (
        b"\0\0\0\x50\xfeSMB\x40\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x48\0\0\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        b"\0\0\0\x30\xffSMB\xa2aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    (
        b"\0\x1c\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x01a\x02de\0\0\x01\0\x01",
        b"\0\x22\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x01a\0\0\x01\0\x01\xc0\x0c\0\x05\0\x01\0\0\0\x01\0\x02\xc0\x0c",
    ),
    (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\r\n c\n\r\n2\r\nab\r\nx"),
];

/// A change of some bytes of a conversation.
#[derive(Clone, Debug)]
enum Change {
    Put(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<usize>(), proptest::collection::vec(any::<u8>(), 1..5))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<usize>(), 1usize..8).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<usize>(), 1usize..32).prop_map(|(at, count)| Change::Repeat(at, count)),
    ]
}

fn changed(seed: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for change in changes {
        let place = |at: usize, bytes: &[u8]| at % (bytes.len() + 1);
        match change {
            Change::Put(at, byte) => {
                let at = place(*at, &bytes);
                if let Some(target) = bytes.get_mut(at) {
                    *target = *byte;
                }
            }
            Change::Insert(at, new) => {
                let at = place(*at, &bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Remove(at, count) => {
                let at = place(*at, &bytes);
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            Change::Repeat(at, count) => {
                let at = place(*at, &bytes);
                let copy = bytes[at..(at + count).min(bytes.len())].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

/// Feeds both sides in turn, in pieces of the given lengths, with a gap and an end.
fn converse(client: &[u8], server: &[u8], steps: &[usize], gap_at: usize) {
    let settings = Settings::default();
    let mut recorder = Recorder::default();
    let mut conversation = Conversation::new();
    let mut sides: [(Direction, &[u8]); 2] = [(ToServer, client), (ToClient, server)];
    for (turn, step) in steps.iter().cycle().enumerate().take(4096) {
        if sides.iter().all(|(_, bytes)| bytes.is_empty()) {
            break;
        }
        if turn == gap_at {
            conversation.gap(sides[turn % 2].0, *step as u64, &settings, &mut recorder);
        }
        let (side, bytes) = &mut sides[turn % 2];
        let (piece, rest) = bytes.split_at((*step).min(bytes.len()));
        *bytes = rest;
        conversation.stream(*side, piece, &settings, &mut recorder);
    }
    for side in [ToServer, ToClient] {
        conversation.closed(side, &settings, &mut recorder);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The recorder panics when a buffer goes on that has not begun, or begins twice.
    #[test]
    fn changed_conversations_break_no_rule_of_the_sink(
        which in 0usize..SEEDS.len(),
        client_changes in proptest::collection::vec(change(), 0..6),
        server_changes in proptest::collection::vec(change(), 0..6),
        steps in proptest::collection::vec(1usize..64, 1..6),
        gap_at in 0usize..64,
    ) {
        let (client, server) = SEEDS[which];
        converse(&changed(client, &client_changes), &changed(server, &server_changes), &steps, gap_at);
    }

    #[test]
    fn arbitrary_bytes_break_no_rule_of_the_sink(
        client in proptest::collection::vec(any::<u8>(), 0..300),
        server in proptest::collection::vec(any::<u8>(), 0..300),
        step in 1usize..50,
    ) {
        converse(&client, &server, &[step], usize::MAX);
    }

    #[test]
    fn arbitrary_datagrams_break_no_rule_of_the_sink(
        datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..6),
        head in prop_oneof![Just(&b""[..]), Just(&b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01"[..])],
    ) {
        let mut recorder = Recorder::default();
        let mut conversation = Conversation::new();
        for datagram in &datagrams {
            conversation.datagram(ToServer, &[head, datagram].concat(), &mut recorder);
            conversation.datagram(ToClient, datagram, &mut recorder);
        }
    }
}

#[test]
fn every_buffer_of_a_protocol_names_one_that_exists() {
    for buffer in Buffer::ALL {
        let expected = buffer.name().split('.').next().unwrap_or_default();
        match buffer.protocol() {
            Some(AppProtocol::Tls) => assert!(["tls", "ja3", "ja3s"].contains(&expected), "{}", buffer.name()),
            Some(AppProtocol::Smtp) => assert!(["smtp", "email"].contains(&expected), "{}", buffer.name()),
            Some(protocol) => assert_eq!(protocol.name(), expected, "{}", buffer.name()),
            None => assert_eq!(expected, "file"),
        }
    }
}

/// What a flow costs at rest. The boxes of parsers come on top: none before a protocol is recognised.
#[test]
fn a_conversation_is_small() {
    let sizes = [
        ("conversation", size_of::<Conversation>(), 160),
        ("http", size_of::<super::http1::Http1>(), 640),
        ("tls", size_of::<super::tls::Tls>(), 320),
        ("dns", size_of::<super::dns::Dns>(), 64),
        ("smtp", size_of::<super::smtp::Smtp>(), 192),
    ];
    for (what, bytes, bytes_max) in sizes {
        assert!(bytes <= bytes_max, "{what} takes {bytes} bytes");
    }
}
