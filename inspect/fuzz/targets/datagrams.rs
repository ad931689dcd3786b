//! Datagrams of one UDP flow.
#![no_main]

use inspect::inspector::Direction;
use inspect::protocol::{Anomaly, Buffer, Conversation, Number, Piece, Sink, Stage};
use libfuzzer_sys::fuzz_target;

struct Nothing;

impl Sink for Nothing {
    fn buffer(&mut self, _: u32, _: Direction, _: Buffer, piece: Piece, _: &[u8]) {
        assert_eq!(piece, Piece::WHOLE);
    }
    fn number(&mut self, _: u32, _: Direction, _: Number, _: u64) {}
    fn stage(&mut self, _: u32, _: Direction, _: Stage) {}
    fn anomaly(&mut self, _: u32, _: Direction, _: Anomaly) {}
}

fuzz_target!(|data: &[u8]| {
    let mut conversation = Conversation::new();
    let mut rest = data;
    while let Some((&head, after)) = rest.split_first() {
        let side = if head & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        let (datagram, next) = after.split_at((usize::from(head) * 2).min(after.len()));
        rest = next;
        conversation.datagram(side, datagram, &mut Nothing);
    }
});
