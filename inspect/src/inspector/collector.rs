//! What parsers say, on its way to a flow's transactions, to the log and to the watch on files.

use crate::file_hashes::HashesWanted;
use crate::inspector::Direction;
use crate::inspector::files::FileWatch;
use crate::inspector::hosts::Hosts;
use crate::inspector::observer::Observed;
use crate::inspector::transactions::{Pool, TransactionSide, Transactions};
use crate::limits::NUMBERS_PER_SIDE_MAX;
use crate::protocol::{Anomaly, Buffer, Delivery, Expectation, File, Number, Piece, Sink, Stage};
use crate::record::Detail;
use crate::signature::{RuleSet, Work, weight};

/// Takes what a parser says, as far as the rule set or the log asks for it.
pub(crate) struct Collector<'a> {
    pub(crate) rules: &'a RuleSet,
    pub(crate) transactions: &'a mut Transactions,
    pub(crate) pool: &'a mut Pool,
    pub(crate) observed: Option<&'a mut Observed>,
    pub(crate) files: &'a mut FileWatch,
    /// No signature asks for this flow.
    pub(crate) is_for_files: bool,
    /// The work of the packet at hand, and whether anything comes of it when it is spent.
    pub(crate) work: &'a mut Work,
    pub(crate) is_bounded: bool,
    pub(crate) hosts: Hosts<'a>,
}

impl Collector<'_> {
    /// Counts work of a parser, or of what becomes of what it says.
    fn count(&mut self, units: u64) {
        if self.is_bounded {
            self.work.parsed(units);
        } else {
            // What is done whatever it costs leaves signatures the work that they were allowed.
            self.work.done += units;
            self.work.max += units;
        }
    }

    /// Where a transaction's side stands, if it is there.
    fn place(&mut self, transaction: u32, side: Direction) -> Option<usize> {
        let (place, looked_at) = self.transactions.place(transaction, side);
        self.count(looked_at as u64 / 2);
        place
    }

    /// A transaction's side, of which there is something new: it begins if it is not there.
    fn fresh(&mut self, transaction: u32, side: Direction) -> (&mut TransactionSide, &mut Pool) {
        let place = self.place(transaction, side).unwrap_or_else(|| {
            self.count(weight::TRANSACTION);
            self.transactions.begin(transaction, side, self.pool)
        });
        let open = &mut self.transactions.sides[place];
        open.is_fresh = true;
        (open, self.pool)
    }

    /// Whether signatures ask for numbers and events, and how far transactions have come.
    fn takes_values(&mut self) -> bool {
        self.rules.asks_for_values() && !self.is_for_files && !self.gives_up()
    }

    /// Whether the packet has spent what it may. It is refused for that, so nothing more of it is kept.
    fn gives_up(&mut self) -> bool {
        self.is_bounded && self.work.gives_up()
    }
}

impl Sink for Collector<'_> {
    fn wants(&self, buffer: Buffer) -> bool {
        self.rules.asks_for(buffer) && !self.is_for_files
            || self.observed.as_ref().is_some_and(|observed| observed.wants(buffer))
    }

    fn buffer(&mut self, transaction: u32, side: Direction, buffer: Buffer, piece: Piece, bytes: &[u8]) {
        if let Some(observed) = &mut self.observed {
            observed.buffer(transaction, side, buffer, bytes);
        }
        if !self.rules.asks_for(buffer) || self.is_for_files || self.gives_up() {
            return;
        }
        self.count(weight::BUFFER + bytes.len() as u64 / 16);
        let (open, pool) = self.fresh(transaction, side);
        let has_room = if buffer.delivery() == Delivery::Streamed {
            open.piece(buffer, piece, bytes, pool)
        } else {
            open.whole(buffer, bytes)
        };
        self.transactions.is_overrun |= !has_room;
    }

    fn number(&mut self, transaction: u32, side: Direction, number: Number, value: u64) {
        if let Some(observed) = &mut self.observed {
            observed.number(transaction, side, number, value);
        }
        if self.takes_values() {
            let (open, _) = self.fresh(transaction, side);
            if open.numbers.len() < NUMBERS_PER_SIDE_MAX {
                open.numbers.push((number, value));
            }
        }
    }

    fn stage(&mut self, transaction: u32, side: Direction, stage: Stage) {
        if stage == Stage::Complete
            && let Some(observed) = &mut self.observed
        {
            observed.complete(transaction, side);
        }
        if self.takes_values() || self.place(transaction, side).is_some() {
            let (open, _) = self.fresh(transaction, side);
            open.stage = open.stage.max(Some(stage));
        }
    }

    fn anomaly(&mut self, transaction: u32, side: Direction, anomaly: Anomaly) {
        if let Some(observed) = &mut self.observed {
            observed.anomaly(transaction, side, anomaly);
        }
        if self.takes_values() {
            let (open, _) = self.fresh(transaction, side);
            if !open.events.contains(&anomaly) {
                open.events.push(anomaly);
            }
        }
    }

    fn wants_details(&self) -> bool {
        self.observed.is_some()
    }

    fn detail(&mut self, transaction: u32, detail: &Detail<'_>) {
        if let Some(observed) = &mut self.observed {
            observed.detail(transaction, detail);
        }
    }

    fn work_left(&self) -> u64 {
        if self.is_bounded { self.work.left_for_unpacking() } else { u64::MAX }
    }

    fn worked(&mut self, units: u64) {
        self.work.unpacked(units);
        if !self.is_bounded {
            // What may be made whatever it costs leaves signatures the work that they were allowed.
            self.work.max += units;
        }
    }

    fn parsed(&mut self, units: u64) {
        self.count(units);
    }

    fn spare_bytes(&mut self) -> Vec<u8> {
        self.pool.bytes()
    }

    fn give_back(&mut self, bytes: Vec<u8>) {
        self.pool.keep_bytes(bytes);
    }

    fn wants_hashes(&self) -> Option<HashesWanted> {
        self.files.wanted()
    }

    fn expect(&mut self, expectation: &Expectation<'_>) {
        self.hosts.expect(expectation);
    }

    fn announced_file(&self) -> Option<(Vec<u8>, bool)> {
        self.hosts.announced_file()
    }

    fn file(&mut self, transaction: u32, side: Direction, name: &[u8], file: &File) -> bool {
        if let Some(observed) = &mut self.observed {
            observed.file(transaction, side, file);
        }
        self.files.file(transaction, side, name, file)
    }
}
