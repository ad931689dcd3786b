//! For tests: writes the events of a conversation down as one line of text, pieces of a buffer joined, and compares.
//!
//! `0> name[bytes]` is a buffer of transaction 0 from the client (`<` from the server), `0> name=1` a number,
//! `0> Complete` a stage, `0> !name` an anomaly, `0> file(5,whole)` a file.

use super::buffer::Buffer;
use super::conversation::Conversation;
use super::settings::Settings;
use super::sink::{Expectation, File, FileProgress, Number, Piece, Sink, Stage};
use super::{Anomaly, AppProtocol};
use crate::file_hashes::{Digests, HashesWanted};
use crate::inspector::Direction;

/// One side's bytes.
#[derive(Clone, Copy)]
pub(super) struct Case<'a>(pub(super) Direction, pub(super) &'a [u8]);

#[derive(Debug, Default)]
pub(super) struct Recorder {
    events: Vec<String>,
    open: Vec<(u32, Direction, Buffer, Vec<u8>, usize)>,
    /// When not empty, only events of these names are written down.
    wanted: Vec<&'static str>,
    /// What is asked for of files.
    pub(super) hashes: Option<HashesWanted>,
    /// Every hash that was shown, with what it is of.
    pub(super) digests: Vec<(Vec<u8>, FileProgress, u64, Digests)>,
}

fn arrow(side: Direction) -> char {
    match side {
        Direction::ToServer => '>',
        Direction::ToClient => '<',
    }
}

impl Recorder {
    /// Writes down only events of these names; all, if there are none.
    pub(super) fn wanting(names: &[&'static str]) -> Self {
        Recorder { wanted: names.to_vec(), ..Recorder::default() }
    }

    pub(super) fn text(&self) -> String {
        assert!(self.open.is_empty(), "buffers left open: {:?}", self.open);
        self.events.iter().filter(|event| !event.is_empty()).cloned().collect::<Vec<_>>().join("|")
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.contains(&name)
    }

    fn push(&mut self, name: &str, event: String) {
        if self.wants(name) {
            self.events.push(event);
        }
    }
}

impl Sink for Recorder {
    fn buffer(&mut self, transaction: u32, side: Direction, buffer: Buffer, piece: Piece, bytes: &[u8]) {
        if !self.wants(buffer.name()) {
            return;
        }
        let place = self.open.iter().position(|open| (open.0, open.1, open.2) == (transaction, side, buffer));
        let place = match (place, piece.first) {
            (None, true) => {
                // The event keeps the place of its first piece, so that cut points do not change the order.
                self.events.push(String::new());
                self.open.push((transaction, side, buffer, Vec::new(), self.events.len() - 1));
                self.open.len() - 1
            }
            (Some(place), false) => place,
            (Some(_), true) => panic!("{} begins twice", buffer.name()),
            (None, false) => panic!("{} goes on without having begun", buffer.name()),
        };
        self.open[place].3.extend_from_slice(bytes);
        if piece.last {
            let (_, _, _, bytes, at) = self.open.remove(place);
            self.events[at] = format!("{transaction}{} {}[{}]", arrow(side), buffer.name(), bytes.escape_ascii());
        }
    }

    fn number(&mut self, transaction: u32, side: Direction, number: Number, value: u64) {
        self.push(number.name(), format!("{transaction}{} {}={value}", arrow(side), number.name()));
    }

    fn stage(&mut self, transaction: u32, side: Direction, stage: Stage) {
        let name = format!("{stage:?}");
        self.push(&name, format!("{transaction}{} {name}", arrow(side)));
    }

    fn anomaly(&mut self, transaction: u32, side: Direction, anomaly: Anomaly) {
        self.push("anomaly", format!("{transaction}{} !{}", arrow(side), anomaly.name()));
    }

    fn wants_hashes(&self) -> Option<HashesWanted> {
        self.hashes
    }

    fn file(&mut self, transaction: u32, side: Direction, name: &[u8], file: &File) -> bool {
        if !file.is_over && file.digests != Digests::default() {
            self.digests.push((name.to_vec(), file.progress, file.length, file.digests));
        }
        if file.is_over && !file.is_aside {
            let end = if file.progress == FileProgress::Complete { "whole" } else { "cut" };
            self.push("file", format!("{transaction}{} file({},{end})", arrow(side), file.length));
        }
        false
    }

    fn expect(&mut self, expectation: &Expectation<'_>) {
        let Expectation { listener, port, file, is_part, .. } = *expectation;
        let name = if file.is_empty() { String::new() } else { format!(",{}", file.escape_ascii()) };
        self.push("expect", format!("expect({},{port}{name}{})", arrow(listener), if is_part { ",part" } else { "" }));
    }
}

/// Runs the conversation whole, then again with every side's bytes one at a time, and wants the same events. Both sides
/// are closed at the end.
#[track_caller]
pub(super) fn check_stream(cases: &[Case], expected: &str) {
    check_stream_for(cases, &[], expected);
}

/// As [`check_stream`], looking only at the events named; an empty list means all.
#[track_caller]
pub(super) fn check_stream_for(cases: &[Case], wanted: &[&'static str], expected: &str) {
    check_stream_with(&Settings::default(), cases, wanted, expected);
}

#[track_caller]
pub(super) fn check_stream_with(settings: &Settings, cases: &[Case], wanted: &[&'static str], expected: &str) {
    let run = |step: usize| {
        let mut recorder = Recorder { wanted: wanted.to_vec(), ..Recorder::default() };
        let mut conversation = Conversation::new();
        for Case(side, bytes) in cases {
            for part in bytes.chunks(step) {
                conversation.stream(*side, part, settings, &mut recorder);
            }
        }
        conversation.closed(Direction::ToServer, settings, &mut recorder);
        conversation.closed(Direction::ToClient, settings, &mut recorder);
        recorder.text()
    };
    assert_eq!(run(usize::MAX), expected, "whole");
    for step in [1, 2, 3, 7] {
        assert_eq!(run(step), expected, "in pieces of {step}");
    }
    // Every single cut point of every part.
    for (which, Case(_, bytes)) in cases.iter().enumerate() {
        for cut in 1..bytes.len() {
            let mut recorder = Recorder { wanted: wanted.to_vec(), ..Recorder::default() };
            let mut conversation = Conversation::new();
            for (place, Case(side, bytes)) in cases.iter().enumerate() {
                let at = if place == which { cut } else { 0 };
                conversation.stream(*side, &bytes[..at], settings, &mut recorder);
                conversation.stream(*side, &bytes[at..], settings, &mut recorder);
            }
            conversation.closed(Direction::ToServer, settings, &mut recorder);
            conversation.closed(Direction::ToClient, settings, &mut recorder);
            assert_eq!(recorder.text(), expected, "part {which} cut at {cut}");
        }
    }
}

/// Runs datagrams through one conversation.
#[track_caller]
pub(super) fn check_datagrams(datagrams: &[(Direction, &[u8])], expected: &str) {
    let mut recorder = Recorder::default();
    let mut conversation = Conversation::new();
    for (side, bytes) in datagrams {
        conversation.datagram(*side, bytes, &mut recorder);
    }
    assert_eq!(recorder.text(), expected);
}

/// The protocol that a conversation ends in.
pub(super) fn protocol_of(cases: &[Case]) -> Option<AppProtocol> {
    let mut recorder = Recorder::default();
    let mut conversation = Conversation::new();
    for Case(side, bytes) in cases {
        conversation.stream(*side, bytes, &Settings::default(), &mut recorder);
    }
    conversation.protocol()
}
