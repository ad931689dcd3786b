//! Patterns across segments, and what is stopped.

use super::*;

/// Whether a rule matches a conversation: in one piece, cut at every byte, and in small pieces, always alike.
#[track_caller]
fn check(rule: &str, said: &[Said], matches: bool) {
    let rules = rules(rule);
    let expected: Vec<u32> = if matches { vec![1] } else { vec![] };
    for size in [usize::MAX, 1, 2, 3, 5, 7, 64] {
        assert_eq!(alerts(&rules, said, size), expected, "in pieces of {size}: {rule}");
    }
    // Each place of each speech once as a cut.
    for (which, whole) in said.iter().enumerate() {
        for cut in 1..whole.bytes.len() {
            let mut pieces = said.to_vec();
            let rest = pieces[which].bytes.split_off(cut);
            pieces.insert(which + 1, Said { by: whole.by, bytes: rest });
            assert_eq!(alerts(&rules, &pieces, usize::MAX), expected, "cut at {cut} of {which}: {rule}");
        }
    }
}

const GET: &str =
    "GET /a/evil.php?x=1 HTTP/1.1\r\nHost: bad.example.com\r\nUser-Agent: tool/1.0\r\nCookie: id=7\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nhello attack";

#[test]
fn raw_streams() {
    let said = [request("hello attack of the kind"), response("answer")];
    for (options, matches) in [
        (r#"content:"attack"; sid:1;"#, true),
        (r#"flow:to_server,established; content:"ATTACK"; nocase; sid:1;"#, true),
        (r#"flow:to_client; content:"attack"; sid:1;"#, false),
        (r#"flow:to_client; content:"answer"; sid:1;"#, true),
        (r#"content:"kind"; content:"attack"; distance:-18; sid:1;"#, true),
        (r#"content:"attack"; content:"hello"; sid:1;"#, true),
        (r#"content:"attack"; content:"kind"; distance:1; sid:1;"#, true),
        (r#"content:"attack"; content:"kind"; within:5; sid:1;"#, false),
        (r#"content:"of"; pcre:"/^ the\s+kind/R"; sid:1;"#, true),
        (r#"content:"attack"; pcre:"/k(?=ind)/"; sid:1;"#, true),
        (r#"content:"attack"; byte_test:4,>,5,0,relative; sid:1;"#, true),
    ] {
        check(&format!("alert tcp any any -> any any ({options})"), &said, matches);
    }
}

#[test]
fn http_buffers() {
    let said = [request(GET), response(OK)];
    for (options, matches) in [
        (r#"http.uri; content:"evil.php"; sid:1;"#, true),
        (r#"http.uri; content:"evil.php"; endswith; sid:1;"#, false),
        (
            r#"http.method; content:"GET"; http.uri; content:"evil"; http.host; content:"bad.example.com"; bsize:15; sid:1;"#,
            true,
        ),
        (r#"http.method; content:"POST"; http.uri; content:"evil"; sid:1;"#, false),
        (r#"http.host; dotprefix; content:".example.com"; endswith; sid:1;"#, true),
        (r#"http.host; dotprefix; content:".bad.example.com"; endswith; sid:1;"#, true),
        (r#"http.host; dotprefix; content:".xample.com"; endswith; sid:1;"#, false),
        (r#"content:"tool"; http_user_agent; content:"id=7"; http_cookie; sid:1;"#, true),
        (r#"content:"evil"; http_uri; pcre:"/x=\d$/U"; sid:1;"#, true),
        (r#"http.uri; to_uppercase; content:"EVIL.PHP"; sid:1;"#, true),
        (r#"http.referer; content:!"x"; sid:1;"#, false),
        (r#"http.uri; content:"evil"; http.referer; absent; sid:1;"#, true),
        (r#"http.uri; content:"evil"; http.user_agent; absent; sid:1;"#, false),
        (r#"urilen:15; http.uri; content:"evil"; sid:1;"#, true),
        (r#"urilen:<15; http.uri; content:"evil"; sid:1;"#, false),
        (r#"http.stat_code; content:"200"; file.data; content:"attack"; endswith; sid:1;"#, true),
        (r#"http.stat_code; content:"404"; file.data; content:"attack"; sid:1;"#, false),
        (r#"flow:to_client; file.data; content:"hello"; content:"attack"; distance:1; within:6; sid:1;"#, true),
        (r#"flow:to_server; http.header_names; content:"|0d 0a|Host|0d 0a|"; startswith; sid:1;"#, true),
        (r#"flow:to_server; content:"evil"; http.host; content:"bad"; sid:1;"#, true),
    ] {
        check(&format!("alert http any any -> any any ({options})"), &said, matches);
    }
}

#[test]
fn what_has_ended_holds_no_window() {
    let rules = rules(r#"alert tcp any any -> any any (content:"first"; content:"last"; distance:0; sid:1;)"#);
    let mut connection = Connection::new(&rules, detect());
    connection.open();
    let held = |connection: &mut Connection| {
        let flow = connection.inspector.flows.peek(FlowSlot(connection.slot)).unwrap();
        [0, 1].map(|side| flow.windows[side].bytes.capacity() > 0)
    };
    assert_eq!(connection.say(&request("first, "), 100), Verdict::Forward);
    assert_eq!(connection.say(&response("answer"), 100), Verdict::Forward);
    assert_eq!(held(&mut connection), [true, true]);
    let last = Segment { by: Direction::ToServer, at: 7, bytes: b"last".to_vec(), flags: "AF" };
    assert_eq!(connection.show(&last), Verdict::Forward);
    assert_eq!((held(&mut connection), connection.sids.as_slice()), ([false, true], &[1][..]));
    // Again, and the other side's end.
    assert_eq!(connection.show(&last), Verdict::Forward);
    let end = Segment { by: Direction::ToClient, at: 6, bytes: Vec::new(), flags: "AF" };
    assert_eq!(connection.show(&end), Verdict::Forward);
    assert_eq!((held(&mut connection), connection.sids.as_slice()), ([false, false], &[1][..]));
}

#[test]
fn bodies_that_fill_segments() {
    let rules = rules(
        r##"alert tcp any any -> any any (flow:to_client; content:"needle in the stream"; sid:1;)
        alert http any any -> any any (flow:to_client; file.data; content:"needle in the file"; sid:2;)
        alert http any any -> any any (flow:to_client; http.response_body; content:"needle in the body"; sid:3;)
        alert http any any -> any any (flow:to_client; file.data; content:"@#@"; sid:4;)
        alert http any any -> any any (flow:to_client; http.stat_code; content:"200"; file.data; content:"far"; sid:5;)
        alert http any any -> any any (flow:to_client; file.data; content:"#!"; within:2; sid:6;)"##,
    );
    let head = |more: &str| format!("HTTP/1.1 200 OK\r\n{more}\r\n\r\n");
    for place in [0, 40, 900, 1443, 1460, 1500, 2800, 2925, 9000] {
        let mut body = vec![b'.'; 10_000];
        for text in ["needle in the stream", "needle in the file", "@#@", "#!", "needle in the body", "far"] {
            body.splice(place..place, text.bytes());
        }
        let whole = [head(&format!("Content-Length: {}", body.len())).as_bytes(), &body].concat();
        let half = body.len() / 2;
        let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        let (first, second) = (chunk(&body[..half]), chunk(&body[half..]));
        let chunked = [head("Transfer-Encoding: chunked").as_bytes(), &first, &second, b"0\r\n\r\n"].concat();
        for answer in [whole, chunked] {
            for size in [usize::MAX, 1460, 100, 64, 7, 1] {
                let said = [request(GET), response(&answer)];
                assert_eq!(alerts(&rules, &said, size), [1, 2, 3, 4, 5], "at {place}, in pieces of {size}");
            }
        }
    }
}

/// What becomes of a conversation when a signature drops: the sizes are those of the segments.
#[test]
fn the_segment_that_completes_a_match_is_dropped() {
    let rules = rules(r#"drop tcp any any -> any any (flow:established,to_server; content:"attack"; sid:1;)"#);
    let text = b"an attack at last".to_vec();
    for size in 1..=text.len() {
        let mut connection = Connection::new(&rules, prevent());
        connection.open();
        let verdict = connection.say(&request(&text), size);
        assert_eq!(verdict, Verdict::Drop(Refused::Signature(0)), "in pieces of {size}");
        // The pattern ends with byte 9, and no byte from there on has passed.
        let passed = connection.sent[0] as usize - connection.sent[0] as usize % size.min(9);
        assert!(passed <= 9 + size, "{passed} bytes passed in pieces of {size}");
        let again = Segment { by: Direction::ToServer, at: 0, bytes: text.clone(), flags: "A" };
        assert_eq!(connection.show(&again), Verdict::Drop(Refused::FlowRefused));
        let answer = Segment { by: Direction::ToClient, at: 0, bytes: b"x".to_vec(), flags: "A" };
        assert_eq!(connection.show(&answer), Verdict::Drop(Refused::FlowRefused));
        connection.inspector.flow_ended(FlowSlot(connection.slot));
        assert_eq!(connection.inspector.stream_memory().total(), crate::stream::StreamBytes::default());
    }
}

#[test]
fn order_and_repetition_do_not_matter() {
    let rules = rules(r#"drop tcp any any -> any any (flow:established,to_server; content:"attack"; sid:1;)"#);
    let segment = |at: u32, bytes: &str| Segment { by: Direction::ToServer, at, bytes: bytes.into(), flags: "A" };
    let pieces = [segment(0, "xxat"), segment(4, "ta"), segment(6, "ck")];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for repeated in 0..3 {
            let mut connection = Connection::new(&rules, prevent());
            connection.open();
            let shown = order.iter().flat_map(|&which| {
                let times = if which == repeated { 2 } else { 1 };
                std::iter::repeat_n(which, times)
            });
            let verdicts: Vec<Verdict> = shown.map(|which| connection.show(&pieces[which])).collect();
            assert!(verdicts.contains(&Verdict::Drop(Refused::Signature(0))), "{order:?}: {verdicts:?}");
            assert_ne!(verdicts.last(), Some(&Verdict::Forward), "{order:?}");
        }
    }
}

#[test]
fn other_bytes_for_the_same_place_end_the_flow() {
    let rules = rules(r#"alert tcp any any -> any any (content:"attack"; sid:1;)"#);
    let mut connection = Connection::new(&rules, prevent());
    connection.open();
    let segment = |at: u32, bytes: &str| Segment { by: Direction::ToServer, at, bytes: bytes.into(), flags: "A" };
    assert_eq!(connection.show(&segment(0, "atXXck")), Verdict::Forward);
    assert_eq!(connection.show(&segment(2, "ta")), Verdict::Drop(Refused::Overlap));
    assert_eq!(connection.show(&segment(6, "more")), Verdict::Drop(Refused::FlowRefused));
}

#[test]
fn a_connection_closes_in_peace() {
    let rules = rules(r#"alert http any any -> any any (file.data; content:"attack"; sid:1;)"#);
    let mut connection = Connection::new(&rules, prevent());
    connection.open();
    assert_eq!(connection.say(&request("GET / HTTP/1.0\r\n\r\n"), 100), Verdict::Forward);
    assert_eq!(connection.say(&response("HTTP/1.0 200 OK\r\n\r\nno end of atta"), 100), Verdict::Forward);
    let at = connection.sent;
    let last = Segment { by: Direction::ToClient, at: at[1], bytes: b"ck".to_vec(), flags: "FA" };
    assert_eq!(connection.show(&last), Verdict::Forward);
    let acknowledged = Segment { by: Direction::ToServer, at: at[0], bytes: Vec::new(), flags: "FA" };
    assert_eq!(connection.show(&acknowledged), Verdict::Forward);
    for (by, at) in [(Direction::ToClient, at[1] + 3), (Direction::ToServer, at[0] + 1)] {
        assert_eq!(connection.show(&Segment { by, at, bytes: Vec::new(), flags: "A" }), Verdict::Forward);
    }
    assert_eq!(connection.sids, [1]);
}

#[test]
fn passing_a_flow_ends_its_inspection() {
    let rules = rules(
        r#"pass tcp any any -> any any (content:"trusted"; sid:1;)
           drop tcp any any -> any any (content:"attack"; sid:2;)"#,
    );
    let mut connection = Connection::new(&rules, prevent());
    connection.open();
    assert_eq!(connection.say(&request("trusted attack"), 100), Verdict::Forward);
    assert_eq!(connection.say(&request("attack"), 100), Verdict::Forward);
    assert!(connection.sids.is_empty());
}

#[test]
fn a_new_rule_set_reaches_open_flows() {
    let old = rules(r#"alert tcp any any -> any any (content:"nothing"; sid:1;)"#);
    let new = rules(r#"drop tcp any any -> any any (content:"attack"; sid:2;)"#);
    let mut connection = Connection::new(&old, prevent());
    connection.open();
    assert_eq!(connection.say(&request("an att"), 100), Verdict::Forward);
    connection.rules = &new;
    // The bytes that came before are not forgotten.
    assert_eq!(connection.say(&request("ack"), 100), Verdict::Drop(Refused::Signature(0)));
}

#[test]
fn midstream_is_followed_when_asked_for() {
    let rules = rules(r#"alert tcp any any -> any any (content:"attack"; sid:1;)"#);
    for (midstream, expected) in [(false, vec![]), (true, vec![1])] {
        let mut connection = Connection::new(&rules, Settings { midstream, ..detect() });
        connection.say(&request("an att"), 100);
        connection.say(&request("ack"), 100);
        assert_eq!(connection.sids, expected);
    }
}

#[test]
fn a_window_s_first_byte_is_not_the_stream_s_start() {
    let rules = rules(concat!(
        r#"alert tcp any any -> any any (content:"needle"; pcre:"/^needle/"; sid:1;)"#,
        "\n",
        r#"alert tcp any any -> any any (content:"needle"; pcre:"/^needle/m"; sid:2;)"#,
        "\n",
        r#"alert tcp any any -> any any (content:"needle"; pcre:"/needle/A"; sid:3;)"#,
        "\n",
        r#"alert tcp any any -> any any (content:"needle"; pcre:"/\bneedle/"; sid:4;)"#,
    ));
    // The window is cut to its last bytes, of which "needle" is the first, before the last segment is looked at.
    let window = crate::limits::STREAM_WINDOW_BYTES;
    let first = request([vec![b'.'; window + 500], b"needle".to_vec(), vec![b'.'; window - 6]].concat());
    let last = request(b".needle\nneedle");
    let mut expected = alerts(&rules, std::slice::from_ref(&first), usize::MAX);
    assert_eq!(expected, [4]);
    // Segments that begin with the pattern match by themselves, so that is the only way to see the stream's window.
    expected.extend([2, 4]);
    expected.sort_unstable();
    assert_eq!(alerts(&rules, &[first, last], usize::MAX), expected);
    assert_eq!(alerts(&rules, &[request("needle in the stream")], usize::MAX), [1, 2, 3, 4]);
}
