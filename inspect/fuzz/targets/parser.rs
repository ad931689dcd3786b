//! Conversations for the targets that each fuzz one protocol's parser, with no recognition before it, or recognition and all.

use inspect::file_hashes::HashesWanted;
use inspect::inspector::Direction::{self, ToClient, ToServer};
use inspect::protocol::{Anomaly, AppProtocol, Buffer, Conversation, Number, Piece, Settings, Sink, Stage};

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
    fn wants_details(&self) -> bool {
        true
    }
    fn wants_hashes(&self) -> Option<HashesWanted> {
        Some(HashesWanted { sha256: true, sha1: true, md5: true, size_max: 1000 })
    }
}

/// Both sides of a conversation over TCP, with pauses and gaps. The first byte chooses how it begins, so that what lies deep
/// is soon found: one of `openings`, or nothing. Then come pieces: a byte that says whose and how long, and the bytes.
pub fn converse(mut conversation: Conversation, openings: &[&[(Direction, &[u8])]], data: &[u8]) {
    let settings = Settings::default();
    let mut sink = Rules::default();
    let Some((&opening, mut rest)) = data.split_first() else { return };
    for (side, bytes) in openings.get(usize::from(opening)).into_iter().flat_map(|opening| opening.iter()) {
        conversation.stream(*side, bytes, &settings, &mut sink);
    }
    while let Some((&head, after)) = rest.split_first() {
        let side = if head & 1 == 0 { ToServer } else { ToClient };
        let length = usize::from(head >> 2) * if head & 2 == 0 { 1 } else { 32 };
        let (piece, next) = after.split_at(length.min(after.len()));
        rest = next;
        match head {
            0xff => {
                conversation.gap(side, length as u64, &settings, &mut sink);
            }
            0xfe => conversation.pause(side, &mut sink),
            _ => {
                conversation.stream(side, piece, &settings, &mut sink);
            }
        }
    }
    conversation.closed(ToServer, &settings, &mut sink);
    conversation.closed(ToClient, &settings, &mut sink);
    assert!(sink.open.is_empty(), "left open: {:?}", sink.open);
}

/// Datagrams of both sides.
#[allow(dead_code, reason = "not every protocol has them")]
pub fn exchange(protocol: AppProtocol, data: &[u8]) {
    let mut sink = Rules::default();
    let mut conversation = Conversation::speaking(protocol);
    let mut rest = data;
    while let Some((&head, after)) = rest.split_first() {
        let side = if head & 1 == 0 { ToServer } else { ToClient };
        let (datagram, next) = after.split_at((usize::from(head) * 2).min(after.len()));
        rest = next;
        conversation.datagram(side, datagram, &mut sink);
    }
    assert!(sink.open.is_empty(), "left open: {:?}", sink.open);
}
