//! A worker's end of the log: bounded, never waiting, and folding what repeats.
//!
//! A guest decides how many frames are dropped, and how much there is to tell of its flows. So events of one kind (for a drop:
//! port, reason, and what exactly was wrong) become at most so many records a second, [`allowance`] says how many; the rest is
//! counted in the `suppressed` field of the kind's next record, or of a last one when the second is over (attack F09). When the
//! log's queue is full, events are lost and counted; the worker goes on.
//!
//! So for each type of record, over any time after which nothing is pending: events = records written + their `suppressed` +
//! events lost.

use std::hash::{BuildHasher, Hash, RandomState};

use crossbeam_channel::Sender;

use crate::eve::settings::{EveSettings, EventType, EventTypes};
use crate::event::{Event, EventKind};

/// Kinds of each type whose repetition is watched at a time: so many sets of [`WAYS`]. Kinds beyond that share an allowance and
/// a count.
const SETS: usize = 64;
const WAYS: usize = 4;

/// Records of one kind in one second at most. What is dropped, and what a parser objects to, repeats itself; alerts differ
/// more, and transactions all do.
pub fn allowance(event_type: EventType) -> u16 {
    match event_type {
        EventType::Drop | EventType::Anomaly => 20,
        EventType::Alert => 100,
        _ => 1_000,
    }
}

/// Events by type.
pub type Counts = [u64; EventType::COUNT];

#[derive(Debug, Default)]
struct Kind {
    hash: u64,
    second: u32,
    records: u16,
    /// Events that no record stands for yet; the first of them is kept.
    suppressed: u64,
    first: Option<(EventType, Box<Event>)>,
}

/// One worker's end of the log.
#[derive(Debug)]
pub struct EventLog {
    sender: Sender<Event>,
    types: EventTypes,
    payload_bytes_max: usize,
    counts_flows: bool,
    kinds: Box<[Kind]>,
    hasher: RandomState,
    /// Places in `kinds` that hold suppressed events.
    pending: Vec<u16>,
    lost: Counts,
    suppressed: Counts,
    has_counted: bool,
}

impl EventLog {
    /// A log that sends everything to the writer's queue.
    pub fn new(sender: Sender<Event>) -> Self {
        let none = || Kind { second: u32::MAX, ..Kind::default() };
        let kinds = std::iter::repeat_with(none).take(EventType::COUNT * SETS * WAYS).collect();
        Self {
            sender,
            types: EventTypes::of(EventType::ALL),
            payload_bytes_max: 0,
            counts_flows: false,
            kinds,
            hasher: RandomState::new(),
            pending: Vec::new(),
            lost: [0; EventType::COUNT],
            suppressed: [0; EventType::COUNT],
            has_counted: false,
        }
    }

    /// The same for what these settings ask for only; alerts are always sent, since `show alerts` has them too.
    #[must_use]
    pub fn by(self, settings: &EveSettings) -> Self {
        let types = settings.types;
        let counts_flows = types.contains(EventType::Flow);
        Self { types, payload_bytes_max: settings.payload_bytes_max, counts_flows, ..self }
    }

    /// Whether packets of flows are to be counted for their records.
    pub fn counts_flows(&self) -> bool {
        self.counts_flows
    }

    /// Bytes of a packet's payload that go with an alert.
    pub fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max
    }

    /// Whether records of a type are sent at all.
    #[inline]
    pub fn wants(&self, event_type: EventType) -> bool {
        event_type == EventType::Alert || self.types.contains(event_type)
    }

    /// Records an event of a kind, made by `event`, unless the kind has had its records for this second. Kinds are told apart by
    /// their hash.
    pub fn record(&mut self, event_type: EventType, kind: impl Hash, now_us: u64, event: impl FnOnce() -> Event) {
        if !self.wants(event_type) {
            return;
        }
        let second = (now_us / 1_000_000) as u32;
        let place = self.place(event_type, self.hasher.hash_one(kind), second);
        let kind = &mut self.kinds[place];
        if kind.second != second {
            (kind.second, kind.records) = (second, 0);
        }
        if kind.records >= allowance(event_type) {
            kind.suppressed += 1;
            if kind.first.is_none() {
                kind.first = Some((event_type, Box::new(event())));
                self.pending.push(place as u16);
            }
            return;
        }
        kind.records += 1;
        let suppressed = std::mem::take(&mut kind.suppressed);
        kind.first = None;
        self.send(event_type, Event { suppressed, ..event() });
    }

    /// Where a kind is counted: its own place, or one that nobody needs this second, or else the first of its set.
    fn place(&mut self, event_type: EventType, hash: u64, second: u32) -> usize {
        let set = (event_type as usize * SETS + hash as usize % SETS) * WAYS;
        let ways = set..set + WAYS;
        if let Some(own) = ways.clone().find(|&place| self.kinds[place].hash == hash) {
            return own;
        }
        let Some(idle) = ways.clone().find(|&place| self.kinds[place].second != second) else { return set };
        self.conclude(idle);
        self.kinds[idle] = Kind { hash, ..Kind::default() };
        idle
    }

    /// Records a scan, sweep, flood or burst. Quiet times have made few of many.
    pub fn anomaly_event(&mut self, event: Event) {
        debug_assert!(matches!(event.kind, EventKind::Anomaly(..)));
        self.send(EventType::Alert, event);
    }

    /// Sends a record for what was suppressed and is not told yet, of kinds whose second is over.
    pub fn flush(&mut self, now_us: u64) {
        let second = (now_us / 1_000_000) as u32;
        let mut at = 0;
        while let Some(&place) = self.pending.get(at) {
            let kind = &self.kinds[usize::from(place)];
            if kind.first.is_some() && kind.second == second {
                at += 1;
                continue;
            }
            self.conclude(usize::from(place));
            self.pending.swap_remove(at);
        }
    }

    fn conclude(&mut self, place: usize) {
        let kind = &mut self.kinds[place];
        if let Some((event_type, first)) = kind.first.take() {
            // The record is one of them.
            let suppressed = std::mem::take(&mut kind.suppressed) - 1;
            self.send(event_type, Event { suppressed, ..*first });
        }
    }

    /// Events that found the queue full, folded ones included, and events that were folded into records, since the last call;
    /// `None` if there were none.
    pub fn take_counts(&mut self) -> Option<(Counts, Counts)> {
        if !std::mem::take(&mut self.has_counted) {
            return None;
        }
        let none = [0; EventType::COUNT];
        Some((std::mem::replace(&mut self.lost, none), std::mem::replace(&mut self.suppressed, none)))
    }

    fn send(&mut self, event_type: EventType, event: Event) {
        let suppressed = event.suppressed;
        if self.sender.try_send(event).is_ok() {
            self.suppressed[event_type as usize] += suppressed;
            self.has_counted |= suppressed > 0;
        } else {
            self.lost[event_type as usize] += 1 + suppressed;
            self.has_counted = true;
        }
    }
}
