//! Whole conversations against rules: cut at every byte, out of order, repeated, and still the same answer.

mod eligible;
mod files;
mod ftp_data;
mod gates;
mod memory;
mod notes;
mod pipelined;
mod profiles;
mod properties;
mod reloads;
mod streams;
mod unpacking;
mod work;

use super::*;
use crate::alert::Alert;
use crate::inspector::flow::index;
use crate::signature::{RuleFile, Vars};
use crate::wire::{Checksums, parse};

pub(super) const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
pub(super) const SERVER: ([u8; 4], u16) = ([8, 8, 8, 8], 80);

/// Compiles rules that must all load.
#[track_caller]
pub(super) fn rules(text: &str) -> RuleSet {
    let file = RuleFile { name: "test.rules".into(), text: text.into() };
    let loaded = RuleSet::compile(&[file], &Vars::conventional());
    let refused: Vec<String> = loaded.refused.iter().map(ToString::to_string).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    loaded.rules
}

/// What one side says next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) by: Direction,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn request(bytes: impl AsRef<[u8]>) -> Said {
    Said { by: Direction::ToServer, bytes: bytes.as_ref().to_vec() }
}

pub(super) fn response(bytes: impl AsRef<[u8]>) -> Said {
    Said { by: Direction::ToClient, bytes: bytes.as_ref().to_vec() }
}

/// A segment to be shown: who sends it, from where in the sender's stream, what.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) by: Direction,
    pub(super) at: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) flags: &'static str,
}

/// One TCP connection that is shown to an inspector.
pub(super) struct Connection<'r> {
    pub(super) inspector: Inspector,
    pub(super) rules: &'r RuleSet,
    pub(super) profile: Profile,
    pub(super) slot: u32,
    /// Bytes that each side has sent.
    sent: [u32; 2],
    pub(super) now_ms: u64,
    pub(super) sids: Vec<u32>,
}

const FIRST_SEQ: [u32; 2] = [1000, 0xffff_fff0];

impl<'r> Connection<'r> {
    pub(super) fn new(rules: &'r RuleSet, settings: Settings) -> Self {
        let profile = Profile::all(settings);
        Self { inspector: Inspector::new(settings), rules, profile, slot: 3, sent: [0, 0], now_ms: 0, sids: Vec::new() }
    }

    /// The handshake, every segment of which must pass.
    #[track_caller]
    pub(super) fn open(&mut self) {
        for (by, flags) in [(Direction::ToServer, "S"), (Direction::ToClient, "SA"), (Direction::ToServer, "A")] {
            let verdict = self.show(&Segment { by, at: 0, bytes: Vec::new(), flags });
            assert_eq!(verdict, Verdict::Forward);
        }
    }

    /// Shows a segment; the alerts' signature ids are added to `sids`.
    pub(super) fn show(&mut self, segment: &Segment) -> Verdict {
        let (own, other) = (index(segment.by), index(segment.by.reversed()));
        let (from, to) = if segment.by == Direction::ToServer { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let is_syn = segment.flags.contains('S');
        let seq = FIRST_SEQ[own].wrapping_add(segment.at).wrapping_sub(u32::from(is_syn));
        let ack = FIRST_SEQ[other].wrapping_add(self.sent[other]);
        let mut step = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(from.0, to.0, 64)
            .tcp(from.1, to.1, seq, 60_000);
        for flag in segment.flags.chars() {
            step = match flag {
                'S' => step.syn(),
                'F' => step.fin(),
                'R' => step.rst(),
                _ => step.ack(ack),
            };
        }
        let mut frame = Vec::new();
        step.write(&mut frame, &segment.bytes).unwrap();
        self.sent[own] = self.sent[own].max(segment.at + u32::try_from(segment.bytes.len()).unwrap());
        let packet = Packet::new(&frame, parse(&frame, Checksums::Verify).unwrap());
        let view = FlowView {
            slot: Some(FlowSlot(self.slot)),
            direction: segment.by,
            established: !is_syn,
            is_first: segment.flags == "S",
        };
        self.now_ms += 1;
        let mut alerts: Vec<Alert> = Vec::new();
        let (rules, now_ms) = (self.rules, self.now_ms);
        let verdict = self.inspector.inspect_by(rules, &self.profile, &packet, &view, now_ms, &mut alerts);
        self.sids.extend(alerts.iter().map(|alert| self.rules.signature(alert.signature).unwrap().sid));
        verdict
    }

    /// The flow is over; the signature ids that its end raises.
    pub(super) fn finish(&mut self) -> Vec<u32> {
        let frame = crate::wire::emit::tcp(CLIENT, SERVER).build();
        let packet = Packet::parse(&frame, Checksums::Unchecked).unwrap();
        let slot = Some(FlowSlot(self.slot));
        let view = FlowView { slot, direction: Direction::ToServer, established: true, is_first: false };
        let mut alerts: Vec<Alert> = Vec::new();
        self.inspector.flow_finished(self.rules, &packet, &view, self.now_ms, &mut alerts);
        alerts.iter().map(|alert| self.rules.signature(alert.signature).unwrap().sid).collect()
    }

    /// Sends what is said next in segments of at most `size` bytes; the first verdict that is not "forward".
    pub(super) fn say(&mut self, said: &Said, size: usize) -> Verdict {
        for bytes in said.bytes.chunks(size) {
            let at = self.sent[index(said.by)];
            let verdict = self.show(&Segment { by: said.by, at, bytes: bytes.to_vec(), flags: "A" });
            if verdict != Verdict::Forward {
                return verdict;
            }
        }
        Verdict::Forward
    }
}

pub(super) fn prevent() -> Settings {
    Settings::default()
}

pub(super) fn detect() -> Settings {
    Settings { mode: Mode::Detect, ..Settings::default() }
}

/// The signature ids that a conversation raises, sorted, when its sides speak in segments of this size.
#[track_caller]
pub(super) fn alerts(rules: &RuleSet, said: &[Said], size: usize) -> Vec<u32> {
    let mut connection = Connection::new(rules, detect());
    connection.open();
    for said in said {
        assert_eq!(connection.say(said, size), Verdict::Forward);
    }
    connection.sids.sort_unstable();
    connection.sids
}
