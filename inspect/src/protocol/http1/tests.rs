//! Conversations, each run whole, in small pieces and with every cut point.

use super::super::recorder::{Case, Recorder, check_stream, check_stream_for, protocol_of};
use super::super::{AppProtocol, Conversation, Settings};
use crate::inspector::Direction::{ToClient, ToServer};

const GET: Case<'_> = Case(ToServer, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");

#[track_caller]
fn check_bodies(response: &[u8], expected: &str) {
    check_stream_for(&[GET, Case(ToClient, response)], &["file.data"], expected);
}

#[test]
fn a_request_and_its_response() {
    check_stream(
        &[
            Case(ToServer, b"GET /a%62/../c?d HTTP/1.1\r\nHost: H.com:80\r\nUser-Agent: u\r\nCookie: k\r\n\r\n"),
            Case(ToClient, b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 2\r\n\r\nhi"),
        ],
        "0> http.request_line[GET /a%62/../c?d HTTP/1.1]|0> http.method[GET]|0> http.uri[/c?d]\
         |0> http.uri.raw[/a%62/../c?d]|0> http.protocol[HTTP/1.1]|0> Line\
         |0> http.start[GET /a%62/../c?d HTTP/1.1\\r\\nHost: H.com:80\\r\\nUser-Agent: u\\r\\nCookie: k\\r\\n\\r\\n]\
         |0> http.header[Host: H.com:80\\r\\nUser-Agent: u\\r\\n]\
         |0> http.header.raw[Host: H.com:80\\r\\nUser-Agent: u\\r\\nCookie: k\\r\\n\\r\\n]\
         |0> http.header_names[\\r\\nHost\\r\\nUser-Agent\\r\\nCookie\\r\\n\\r\\n]\
         |0> http.user_agent[u]|0> http.cookie[k]\
         |0> http.request_header[Host: H.com:80]|0> http.request_header[User-Agent: u]\
         |0> http.request_header[Cookie: k]|0> http.host[h.com]|0> http.host.raw[H.com:80]|0> Headers|0> Complete\
         |0< http.response_line[HTTP/1.1 200 OK]|0< http.protocol[HTTP/1.1]|0< http.stat_code[200]\
         |0< http.stat_msg[OK]|0< http.start[HTTP/1.1 200 OK\\r\\nServer: s\\r\\nContent-Length: 2\\r\\n\\r\\n]\
         |0< http.header[Server: s\\r\\nContent-Length: 2\\r\\n]|0< http.header.raw[Server: s\\r\\nContent-Length: 2\\r\\n\\r\\n]\
         |0< http.header_names[\\r\\nServer\\r\\nContent-Length\\r\\n\\r\\n]|0< http.server[s]|0< http.content_len[2]\
         |0< http.response_header[Server: s]|0< http.response_header[Content-Length: 2]|0< Headers\
         |0< http.response_body[hi]|0< file.name[/c]|0< file.data[hi]|0< file(2,whole)|0< Body|0< Complete",
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    check_stream_for(
        &[
            Case(
                ToServer,
                b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyzGET /c HTTP/1.1\r\n\r\n",
            ),
            Case(
                ToClient,
                b"HTTP/1.1 404 a\r\nContent-Length: 1\r\n\r\nAHTTP/1.1 304 b\r\n\r\nHTTP/1.1 200 c\r\n\r\nC",
            ),
        ],
        &["http.uri", "http.request_body", "http.stat_code", "http.response_body"],
        "0> http.uri[/a]|1> http.uri[/b]|1> http.request_body[xyz]|2> http.uri[/c]|0< http.stat_code[404]\
         |0< http.response_body[A]|1< http.stat_code[304]|2< http.stat_code[200]|2< http.response_body[C]",
    );
}

#[test]
fn bodies_end_where_receivers_end_them() {
    let chunked =
        |head: &str| format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n").into_bytes();
    check_bodies(&chunked("Transfer-Encoding: chunked"), "0< file.data[abcde]");
    check_bodies(&chunked("Transfer-Encoding: xchunked"), "0< file.data[abcde]");
    check_bodies(&chunked("Transfer-Encoding:\r\n chunked"), "0< file.data[abcde]");
    check_bodies(&chunked("Transfer\0-Encoding: chun\0ked"), "0< file.data[abcde]");
    check_bodies(&chunked("Content-Length: 2\r\nTransfer-Encoding: chunked"), "0< file.data[abcde]");
    check_bodies(b"HTTP/1.1 200 OK\n\rContent-Length: 5\n\rA: b\r\n\r\nabcde", "0< file.data[abcde]");
    check_bodies(b"HTTP/1.1 200 OK\n\rTransfer-Encoding: chunked\n\r\n1\r\na\r\n0\r\n\r\n", "0< file.data[a]");
    check_bodies(b"HTTP/1.1 200 OK\n\r\nabcde", "0< file.data[abcde]");
    check_bodies(b"HTTP/1.1 200 OK\r\rA: b\r\n\r\n", "0< file.data[A: b\\r\\n\\r\\n]");
    check_bodies(b"HTTP/1.1 200 OK\r\nContent-Length: xx5yy\r\n\r\nabcde", "0< file.data[abcde]");
    check_bodies(b"HTTP/1.1 200 OK\r\n\r\nabcde", "0< file.data[abcde]");
    check_bodies(b"HTTP/1.1 200 OK\n\nabcde", "0< file.data[abcde]");
    check_bodies(b"http/9 x\n\nabcde", "0< file.data[abcde]");
    check_bodies(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot chunked", "0< file.data[not chunked]");
    check_bodies(b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabcde", "0< file.data[abcde]");
    check_bodies(b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\nabcde", "0< file.data[abcde]");
    check_bodies(b"HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nabcde", "0< file.data[abcde]");
    check_bodies(b"HTTP/1.1 204 None\r\n\r\n", "");
    check_bodies(b"no header at all", "0< file.data[no header at all]");
    check_bodies(b"no header\r\nin\rlines\nhere", "0< file.data[no header\\r\\nin\\rlines\\nhere]");
    check_bodies(b"junk\r\nHTTP/1.1 200 OK\r\n\r\nabcde", "0< file.data[junk\\r\\n]|0< file.data[abcde]");
}

#[test]
fn a_packed_body_is_unpacked() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(b"packed exploit").unwrap();
    let packed = encoder.finish().unwrap();
    for encoding in ["gzip", "x-gzip", "GZIP", "deflate", "identity, gzip", "br", "xgzipx"] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n\r\n");
        let expected = "0< file.data[packed exploit]";
        check_bodies(&[head.as_bytes(), &packed].concat(), expected);
    }
}

#[test]
fn methods_and_targets_survive_odd_spacing() {
    let check = |line: &[u8], expected: &str| {
        let bytes = [line, b"\r\n\r\n"].concat();
        check_stream_for(&[Case(ToServer, &bytes)], &["http.method", "http.uri", "http.protocol"], expected);
    };
    check(b"GET /a b HTTP/1.1", "0> http.method[GET]|0> http.uri[/a b]|0> http.protocol[HTTP/1.1]");
    check(b"GET\t/a\tHTTP/1.1", "0> http.method[GET]|0> http.uri[/a]|0> http.protocol[HTTP/1.1]");
    check(b"GET /a", "0> http.method[GET]|0> http.uri[/a]");
    check(b"GET http://h/a HTTP/1.0", "0> http.method[GET]|0> http.uri[/a]|0> http.protocol[HTTP/1.0]");
}

#[test]
fn what_follows_a_message_at_once_is_body() {
    let run = |cases: &[Case<'_>]| {
        let mut recorder = Recorder::wanting(&["http.request_body", "file.data", "anomaly", "http.uri"]);
        let mut conversation = Conversation::new();
        for Case(side, bytes) in cases {
            conversation.stream(*side, bytes, &Settings::default(), &mut recorder);
        }
        recorder.text()
    };
    let request = Case(ToServer, b"POST /a HTTP/1.1\r\nHost: h\r\n\r\nx=y\r\n");
    assert_eq!(run(&[request]), "0> http.uri[/a]|0> !http.request_body_unexpected|0> http.request_body[x=y\\r\\n]");
    let response = Case(ToClient, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab cd\r\nHTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(
        run(&[GET, response]),
        "0> http.uri[/]|0< file.data[ab cd\\r\\n]|1< !http.unable_to_match_response_to_request"
    );
}

#[test]
fn a_tunnel_is_recognised_anew() {
    let connect = Case(ToServer, b"CONNECT h:443 HTTP/1.1\r\n\r\n");
    let inner = Case(ToServer, b"GET /inner HTTP/1.1\r\n\r\n");
    check_stream_for(
        &[connect, Case(ToClient, b"HTTP/1.1 200 OK\r\n\r\n"), inner],
        &["http.uri", "http.host"],
        "0> http.host[h]|1> http.uri[/inner]",
    );
    check_stream_for(
        &[connect, inner, Case(ToClient, b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")],
        &["http.uri", "http.host"],
        "0> http.host[h]|1> http.uri[/inner]",
    );
    let hello = Case(ToServer, &[0x16, 3, 1, 0, 100, 1, 0]);
    assert_eq!(protocol_of(&[connect, Case(ToClient, b"HTTP/1.1 200 OK\r\n\r\n"), hello]), Some(AppProtocol::Tls));
}

#[test]
fn a_gap_in_a_body_leaves_the_rest_readable() {
    use super::super::Status;
    let mut recorder = Recorder::wanting(&["http.response_body", "http.uri"]);
    let mut conversation = Conversation::new();
    let settings = Settings::default();
    conversation.stream(ToServer, GET.1, &settings, &mut recorder);
    conversation.stream(ToClient, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", &settings, &mut recorder);
    conversation.gap(ToClient, 4, &settings, &mut recorder);
    let status = conversation.stream(ToClient, b"hi", &settings, &mut recorder);
    assert_eq!(status, Status::Speaking(AppProtocol::Http1));
    assert_eq!(recorder.text(), "0> http.uri[/]|0< http.response_body[abc]|0< http.response_body[hi]");
}

/// Found by fuzzing.
#[test]
fn what_breaks_one_side_ends_the_body_of_the_other() {
    use super::super::Status;
    let mut recorder = Recorder::wanting(&["http.request_body", "Complete"]);
    let mut conversation = Conversation::new();
    let settings = Settings::default();
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc";
    conversation.stream(ToServer, request, &settings, &mut recorder);
    let status = conversation.gap(ToClient, 1, &settings, &mut recorder);
    assert_eq!(status, Status::Broken(AppProtocol::Http1));
    // The recorder would complain about a buffer without an end.
    assert_eq!(recorder.text(), "0> http.request_body[abc]|0> Complete");
}
