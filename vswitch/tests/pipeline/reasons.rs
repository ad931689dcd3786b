//! The reasons that need a conversation before they come up, and the promise that each reason comes up in some test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::wire::emit::{self, FrameBuilder};
use vswitch::drop_reason::DropReason;

use crate::bench::*;

const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 11], 40_000);
const SERVER: ([u8; 4], u16) = ([10, 0, 0, 21], 5_432);

/// A signature that no frame here matches: it makes inspection follow the streams between web and db.
fn watched() -> RuleSet {
    let text = r#"drop tcp any any -> any 5432 (msg:"never"; content:"never seen"; sid:1;)"#;
    let loaded = RuleSet::compile(&[RuleFile { name: "t".into(), text: text.into() }], &Vars::default());
    assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
    loaded.rules
}

/// A bench with a TCP connection from web1 to db1, whose windows take 64 MiB.
fn connected() -> Bench {
    let mut bench = Bench::new(policy(Vec::new()), watched(), 64);
    let syn = addressed(emit::tcp(CLIENT, SERVER).seq(1_000).ack(0).window_scale(10).syn(), 11, 21);
    let syn_ack = addressed(emit::tcp(SERVER, CLIENT).seq(5_000).ack(1_001).window_scale(10).syn_ack(), 21, 11);
    bench.assert_arrives(WEB1, &syn, &[DB1]);
    bench.assert_arrives(DB1, &syn_ack, &[WEB1]);
    // The first window that is scaled.
    bench.assert_arrives(DB1, &addressed(emit::tcp(SERVER, CLIENT).seq(5_001).ack(1_001), 21, 11), &[WEB1]);
    bench
}

/// A segment of the client with data at `offset` of its stream.
fn segment(offset: u32, data: &[u8]) -> Vec<u8> {
    let builder: FrameBuilder = emit::tcp(CLIENT, SERVER).seq(1_001 + offset).ack(5_001).payload(data);
    addressed(builder, 11, 21)
}

#[test]
fn a_segment_outside_of_its_window_is_no_part_of_the_connection() {
    let mut bench = connected();
    bench.assert_arrives(WEB1, &segment(0, b"select"), &[DB1]);
    bench.assert_dropped(WEB1, &segment(1 << 30, b"later"), DropReason::TcpState);
    bench.assert_arrives(WEB1, &segment(6, b" 1"), &[DB1]);
    bench.assert_books_balance();
}

#[test]
fn other_bytes_for_a_place_that_was_inspected_end_the_flow() {
    let mut bench = connected();
    bench.assert_arrives(WEB1, &segment(0, b"select"), &[DB1]);
    bench.assert_arrives(WEB1, &segment(0, b"select"), &[DB1]);
    bench.assert_dropped(WEB1, &segment(0, b"delete"), DropReason::Overlap);
    bench.assert_dropped(WEB1, &segment(6, b" 1"), DropReason::FlowRefused);
    bench.assert_books_balance();
}

#[test]
fn more_in_flight_than_inspection_remembers_is_dropped_and_the_flow_goes_on() {
    let mut bench = connected();
    let data = [b'x'; 32_768];
    let mut offset = 0;
    while offset as usize + data.len() <= inspect::limits::STREAM_UNACKED_BYTES_MAX {
        bench.assert_arrives(WEB1, &segment(offset, &data), &[DB1]);
        offset += data.len() as u32;
    }
    bench.assert_dropped(WEB1, &segment(offset, &data), DropReason::InspectionMemory);
    let confirm = addressed(emit::tcp(SERVER, CLIENT).seq(5_001).ack(1_001 + offset), 21, 11);
    bench.assert_arrives(DB1, &confirm, &[WEB1]);
    bench.assert_arrives(WEB1, &segment(offset, &data), &[DB1]);
    bench.assert_books_balance();
}

#[test]
fn bytes_that_break_the_protocol_that_they_began_with_end_the_flow() {
    let mut bench = connected();
    let banner = b"SSH-2.0-client\r\n";
    bench.assert_arrives(WEB1, &segment(0, banner), &[DB1]);
    // A packet of 4 GiB.
    bench.assert_dropped(WEB1, &segment(banner.len() as u32, &[0xff; 64]), DropReason::ProtocolError);
    bench.assert_dropped(WEB1, &segment(banner.len() as u32 + 64, b"more"), DropReason::FlowRefused);
    bench.assert_books_balance();
}

#[test]
fn ports_that_may_not_talk_cannot_resolve_each_other() {
    let mut bench = Bench::default();
    let reply = emit::arp_reply(mac(11), ip(11), [2, 0, 0, 0, 0, 9], [10, 0, 0, 99]).build();
    // lab1's guest lets itself be learned by asking for web1; web and lab have no rule between them.
    let question = emit::arp_request([2, 0, 0, 0, 0, 9], [10, 0, 0, 99], ip(11)).build();
    bench.send(LAB1, &question);
    for port in [WEB1, WEB2, DB1] {
        assert_eq!(bench.received(port), []);
    }
    assert_eq!(bench.received(UP0).len(), 1);
    bench.assert_dropped(WEB1, &reply, DropReason::NeighbourIsolated);
}

/// The text of every test of this crate: the tests' folders, and what stands behind `mod tests` in the sources.
fn test_texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("tests")];
    let mut texts = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
            let tests =
                if is_test { Some(text) } else { text.split_once("mod tests {").map(|(_, tests)| tests.into()) };
            texts.extend(tests.map(|tests| (path, tests)));
        }
    }
    texts
}

#[test]
fn every_reason_for_a_drop_comes_up_in_some_test() {
    // Reasons that no test provokes through the whole walk, and where the same is tested instead.
    let elsewhere = [(DropReason::InspectionBudget, "inspect/src/signature/tests/matching.rs", "Refused::Budget")];
    let texts = test_texts();
    // By its variant, or by its counter's name in the bench.
    let is_named = |reason: &DropReason| {
        let (variant, counter) = (format!("DropReason::{reason:?}"), format!(" drop {}\"", reason.word()));
        texts.iter().any(|(_, text)| {
            let mut places = text.match_indices(&variant);
            let is_whole = |at: usize| !text[at + variant.len()..].starts_with(char::is_alphanumeric);
            text.contains(&counter) || places.any(|(at, _)| is_whole(at))
        })
    };
    let unnamed: BTreeSet<_> = DropReason::ALL.iter().copied().filter(|reason| !is_named(reason)).collect();
    let in_list = |reason: &&DropReason| elsewhere.iter().any(|(listed, ..)| listed == *reason);
    let missing: Vec<_> = unnamed.iter().filter(|reason| !in_list(reason)).collect();
    assert!(missing.is_empty(), "no test brings up {missing:?}");
    for (reason, file, word) in elsewhere {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = std::fs::read_to_string(path).expect("the test file is there");
        assert!(text.contains(word), "{reason:?}: {file} has no {word}");
    }
}
