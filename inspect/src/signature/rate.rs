//! `threshold` and `detection_filter`: how often a signature may, or must, match before it counts.
//!
//! # Theory of operation
//!
//! A tally is kept per signature and tracked address (or pair, or flow) in a table of fixed size. Time is cut into
//! windows that start with the first match. When the table is full, the tally whose window started first gives way: a
//! guest that matches from many addresses can shorten its own memory, never grow ours. Forgetting a tally makes `limit`
//! speak again and `threshold` start counting anew.

use std::collections::HashMap;
use std::collections::VecDeque;

use crate::limits::RATE_TALLIES_MAX;

/// What a rate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RateKind {
    /// `threshold: type limit`: at most `count` alerts per window.
    Limit,
    /// `threshold: type threshold`: an alert for each `count` matches within a window.
    Threshold,
    /// `threshold: type both`: one alert per window, once there were `count` matches.
    Both,
    /// `detection_filter`: no match counts before `count` have been seen within the window.
    Filter,
}

/// By what matches are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    Source,
    Destination,
    Both,
    Rule,
    Flow,
}

/// `threshold` or `detection_filter` of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) kind: RateKind,
    pub(crate) track: Track,
    pub(crate) count: u32,
    pub(crate) window_ms: u64,
}

/// What a rate makes of a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rated {
    /// The match counts and is told.
    Speak,
    /// The match counts (its action is taken), but nobody is told.
    Quiet,
    /// The match does not count.
    Ignore,
}

/// What a tally is kept under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RateKey {
    /// The signature's identity, which a reload leaves it while its rule stays the same.
    pub(crate) signature: u64,
    pub(crate) first: u128,
    pub(crate) second: u128,
}

#[derive(Clone, Copy, Debug)]
struct Tally {
    window_start_ms: u64,
    count: u32,
}

/// The tallies of one worker.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    tallies: HashMap<RateKey, Tally>,
    /// Keys with the start of their window as it was when they were noted, oldest first. An entry whose tally has moved
    /// on is stale and is passed over.
    order: VecDeque<(u64, RateKey)>,
    /// Tallies that had to give way while their window was open.
    pub(crate) evicted_count: u64,
}

impl Rates {
    /// Counts a match and says what becomes of it.
    pub(crate) fn judge(&mut self, rate: &Rate, key: RateKey, now_ms: u64) -> Rated {
        let tally = match self.tallies.get_mut(&key) {
            Some(tally) if now_ms.saturating_sub(tally.window_start_ms) < rate.window_ms => {
                tally.count = tally.count.saturating_add(1);
                tally
            }
            _ => self.open(key, now_ms),
        };
        let count = tally.count;
        match rate.kind {
            RateKind::Limit if count <= rate.count => Rated::Speak,
            RateKind::Limit => Rated::Quiet,
            RateKind::Threshold if count >= rate.count => {
                tally.count = 0;
                Rated::Speak
            }
            RateKind::Threshold => Rated::Ignore,
            RateKind::Both if count == rate.count => Rated::Speak,
            RateKind::Both if count > rate.count => Rated::Quiet,
            RateKind::Both => Rated::Ignore,
            RateKind::Filter if count > rate.count => Rated::Speak,
            RateKind::Filter => Rated::Ignore,
        }
    }

    /// Starts a window with its first match.
    fn open(&mut self, key: RateKey, now_ms: u64) -> &mut Tally {
        while self.tallies.len() >= RATE_TALLIES_MAX || self.order.len() >= 2 * RATE_TALLIES_MAX {
            let Some((start_ms, oldest)) = self.order.pop_front() else {
                break;
            };
            if self.tallies.get(&oldest).is_some_and(|tally| tally.window_start_ms == start_ms) {
                self.tallies.remove(&oldest);
                self.evicted_count += 1;
            }
        }
        self.order.push_back((now_ms, key));
        let tally = Tally { window_start_ms: now_ms, count: 1 };
        self.tallies.entry(key).insert_entry(tally).into_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds matches at the given times (ms) and compares what becomes of each: S speak, q quiet, - ignore.
    #[track_caller]
    fn check(kind: RateKind, count: u32, times_ms: &[u64], expected: &str) {
        let rate = Rate { kind, track: Track::Source, count, window_ms: 1000 };
        let mut rates = Rates::default();
        let key = RateKey { signature: 1, first: 2, second: 0 };
        let letters: String = times_ms
            .iter()
            .map(|&now_ms| match rates.judge(&rate, key, now_ms) {
                Rated::Speak => 'S',
                Rated::Quiet => 'q',
                Rated::Ignore => '-',
            })
            .collect();
        assert_eq!(letters, expected);
    }

    #[test]
    fn kinds() {
        let times = [0, 1, 2, 3, 4, 1500, 1501];
        check(RateKind::Limit, 2, &times, "SSqqqSS");
        check(RateKind::Threshold, 2, &times, "-S-S--S");
        check(RateKind::Both, 2, &times, "-Sqqq-S");
        check(RateKind::Filter, 2, &times, "--SSS--");
        check(RateKind::Limit, 1, &[0, 999, 1000], "SqS");
    }

    #[test]
    fn the_table_is_bounded() {
        let rate = Rate { kind: RateKind::Limit, track: Track::Source, count: 1, window_ms: 1000 };
        let mut rates = Rates::default();
        for first in 0..RATE_TALLIES_MAX as u128 + 10 {
            rates.judge(&rate, RateKey { signature: 1, first, second: 0 }, 5);
        }
        assert_eq!((rates.tallies.len(), rates.evicted_count), (RATE_TALLIES_MAX, 10));
        // One key that starts window after window does not grow the order either.
        for now_ms in 0..5 * RATE_TALLIES_MAX as u64 {
            rates.judge(&rate, RateKey { signature: 2, first: 0, second: 0 }, 1000 * now_ms);
        }
        assert!(rates.order.len() <= 2 * RATE_TALLIES_MAX);
    }
}
