//! The whole engine: segments of one connection, in any order, under rules of every kind.
#![no_main]

use std::sync::OnceLock;

use inspect::inspector::{Direction, FlowSlot, FlowView, Inspector, Mode, Settings};
use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::wire::{Checksums, Packet, TcpFlags, emit};
use libfuzzer_sys::fuzz_target;

/// The rules of all cases: every keyword that there is.
fn text() -> String {
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cases/keywords");
    let folders = std::fs::read_dir(cases).expect("the cases are there").flatten();
    let mut files: Vec<_> = folders.map(|folder| folder.path().join("rules")).collect();
    files.sort();
    let mut text = String::new();
    for file in files {
        let rules = std::fs::read_to_string(&file).expect("a case has rules");
        for line in rules.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            // Each file counts from 1.
            let (before, _) = line.rsplit_once(" sid:").expect("a rule has a sid");
            text += &format!("{before} sid:{};)\n", text.lines().count() + 1);
        }
    }
    text
}

fn rules() -> &'static RuleSet {
    static LOADED: OnceLock<RuleSet> = OnceLock::new();
    LOADED.get_or_init(|| {
        let file = RuleFile { name: "fuzz".to_owned(), text: text() };
        let loaded = RuleSet::compile(&[file], &Vars::conventional());
        assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
        loaded.rules
    })
}

fuzz_target!(|data: &[u8]| {
    let mode = if data.first().is_some_and(|byte| byte & 1 == 0) { Mode::Detect } else { Mode::Prevent };
    let mut inspector = Inspector::new(Settings { mode, midstream: true, ..Settings::default() });
    let (client, server) = (([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 80));
    let (mut rest, mut now_ms, mut alerts, mut sent) = (data, 0, Vec::new(), [1u32; 2]);
    let view = |direction, is_first| FlowView { slot: Some(FlowSlot(0)), direction, established: true, is_first };
    while let Some((&[head, length], after)) = rest.split_first_chunk::<2>() {
        let (payload, left) = after.split_at(usize::from(length).min(after.len()));
        rest = left;
        now_ms += u64::from(head >> 6);
        let (direction, from, to, own) = if head & 1 == 0 {
            (Direction::ToServer, client, server, 0)
        } else {
            (Direction::ToClient, server, client, 1)
        };
        // Mostly the next segment; sometimes an old one again, or one ahead.
        let seq = match head >> 1 & 7 {
            6 => sent[own].wrapping_sub(u32::from(length)),
            7 => sent[own].wrapping_add(u32::from(length)),
            _ => sent[own],
        };
        let flags = if head & 0x30 == 0x30 { TcpFlags::ACK | TcpFlags::FIN } else { TcpFlags::ACK };
        let frame = emit::tcp(from, to).seq(seq).ack(sent[1 - own]).flags(flags).payload(payload).build();
        sent[own] = sent[own].max(seq.wrapping_add(payload.len() as u32));
        let Ok(packet) = Packet::parse(&frame, Checksums::Unchecked) else { continue };
        alerts.clear();
        inspector.inspect(rules(), &packet, &view(direction, now_ms == 0), now_ms, &mut alerts);
        assert!(alerts.len() <= inspect::limits::ALERTS_PER_PACKET_MAX);
    }
    let last = emit::tcp(client, server).build();
    if let Ok(packet) = Packet::parse(&last, Checksums::Unchecked) {
        inspector.flow_finished(rules(), &packet, &view(Direction::ToServer, false), now_ms, &mut alerts);
    }
    inspector.flow_ended(FlowSlot(0));
});
