//! A worker's end of the log: bounded, never waiting, and folding what repeats.
//!
//! A guest decides how many frames are dropped, so drops of one kind (port, reason, and what exactly was wrong) become at most
//! [`RECORDS_PER_SECOND_MAX`] records a second; the rest is counted in the `suppressed` field of the kind's next record
//! (attack F09). When the log's queue is full, events are lost and counted; the worker goes on.

use std::hash::{BuildHasher, RandomState};

use crossbeam_channel::Sender;

use crate::event::{Event, EventKind};

/// Drop records of one kind in one second at most.
pub const RECORDS_PER_SECOND_MAX: u16 = 20;

/// Kinds whose repetition is watched at a time; kinds that share a place share their allowance.
const KINDS: usize = 1024;

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    second: u32,
    records: u16,
    suppressed: u64,
}

/// One worker's end of the log.
#[derive(Debug)]
pub struct EventLog {
    sender: Sender<Event>,
    kinds: Box<[Kind]>,
    hasher: RandomState,
    lost: u64,
}

impl EventLog {
    /// A log that sends to the writer's queue.
    pub fn new(sender: Sender<Event>) -> Self {
        Self { sender, kinds: vec![Kind::default(); KINDS].into_boxed_slice(), hasher: RandomState::new(), lost: 0 }
    }

    /// Records a drop of a kind, made by `event` from the number of drops that were folded into it, unless the kind has had
    /// its records for this second.
    pub fn drop_event(&mut self, kind: impl std::hash::Hash, now_us: u64, event: impl FnOnce(u64) -> Event) {
        let place = self.hasher.hash_one(kind) as usize % KINDS;
        let second = (now_us / 1_000_000) as u32;
        let kind = &mut self.kinds[place];
        if kind.second != second {
            *kind = Kind { second, records: 0, suppressed: kind.suppressed };
        }
        if kind.records >= RECORDS_PER_SECOND_MAX {
            kind.suppressed += 1;
            return;
        }
        kind.records += 1;
        let suppressed = std::mem::take(&mut kind.suppressed);
        self.send(event(suppressed));
    }

    /// Records an alert.
    pub fn alert_event(&mut self, event: Event) {
        debug_assert!(matches!(event.kind, EventKind::Alert(_)));
        self.send(event);
    }

    /// Records an anomaly. Quiet times have made few of many.
    pub fn anomaly_event(&mut self, event: Event) {
        debug_assert!(matches!(event.kind, EventKind::Anomaly(..)));
        self.send(event);
    }

    /// Events that found the queue full since the last call.
    pub fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    fn send(&mut self, event: Event) {
        if self.sender.try_send(event).is_err() {
            self.lost += 1;
        }
    }
}
