//! Both sides of a TCP conversation, cut where the input says: every protocol's recognition and parser.
#![no_main]

use inspect::inspector::Direction;
use inspect::protocol::{Anomaly, Buffer, Conversation, Number, Piece, Settings, Sink, Stage};
use libfuzzer_sys::fuzz_target;

/// Holds parsers to the sink's rules: an instance of a buffer begins once and ends once.
#[derive(Default)]
struct Rules {
    open: Vec<(u32, Direction, Buffer)>,
}

impl Sink for Rules {
    fn buffer(&mut self, transaction: u32, side: Direction, buffer: Buffer, piece: Piece, _bytes: &[u8]) {
        let instance = (transaction, side, buffer);
        let place = self.open.iter().position(|open| *open == instance);
        assert_eq!(place.is_none(), piece.first, "{} of {transaction}", buffer.name());
        match (place, piece.last) {
            (None, false) => self.open.push(instance),
            (Some(place), true) => drop(self.open.swap_remove(place)),
            (None, true) | (Some(_), false) => {}
        }
    }
    fn number(&mut self, _: u32, _: Direction, _: Number, _: u64) {}
    fn stage(&mut self, _: u32, _: Direction, _: Stage) {}
    fn anomaly(&mut self, _: u32, _: Direction, _: Anomaly) {}
}

fuzz_target!(|data: &[u8]| {
    let settings = Settings { hash_files: true, ..Settings::default() };
    let mut sink = Rules::default();
    let mut conversation = Conversation::new();
    let mut rest = data;
    // Each piece: a byte that says whose and how long, and the bytes.
    while let Some((&head, after)) = rest.split_first() {
        let side = if head & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        let length = usize::from(head >> 2) * if head & 2 == 0 { 1 } else { 32 };
        let (piece, next) = after.split_at(length.min(after.len()));
        rest = next;
        if head == 0xff {
            conversation.gap(side, length as u64, &settings, &mut sink);
        } else {
            conversation.stream(side, piece, &settings, &mut sink);
        }
    }
    conversation.closed(Direction::ToServer, &settings, &mut sink);
    conversation.closed(Direction::ToClient, &settings, &mut sink);
    assert!(sink.open.is_empty(), "left open: {:?}", sink.open);
});
