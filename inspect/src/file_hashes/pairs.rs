//! Between whom a listed file was stopped lately.
//!
//! A downloader whose connection breaks asks for the rest of the file (`Range`, RFC 9110 section 14), which has another
//! hash than the whole: stopping the last packet of a listed file would only cost a second request. So for a while
//! parts of files do not pass between the same two addresses, whatever worker their flows belong to.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::FILE_PAIRS_MAX;

/// How long parts are refused after a listed file, in seconds. Downloaders give up in less.
const REFUSED_S: u64 = 600;

/// Bits of a place that hold the second until which it counts; the rest tells pairs apart.
const TIME_BITS: u32 = 32;

/// A table of pairs of addresses, shared by all workers, without a lock: a pair has one place, and the newest stays.
#[derive(Debug)]
pub struct RecentPairs {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for RecentPairs {
    fn default() -> Self {
        let places = (0..FILE_PAIRS_MAX).map(|_| AtomicU64::new(0)).collect();
        Self { places, hasher: RandomState::new() }
    }
}

impl RecentPairs {
    /// A listed file was stopped between two addresses, now.
    pub fn note(&self, one: u128, other: u128, now_ms: u64) {
        let (place, mark) = self.place(one, other);
        place.store(mark | (now_ms / 1000 + REFUSED_S).min((1 << TIME_BITS) - 1), Ordering::Relaxed);
    }

    /// Whether that happened lately.
    pub fn is_noted(&self, one: u128, other: u128, now_ms: u64) -> bool {
        let (place, mark) = self.place(one, other);
        let held = place.load(Ordering::Relaxed);
        held >> TIME_BITS == mark >> TIME_BITS && now_ms / 1000 < held & ((1 << TIME_BITS) - 1)
    }

    fn place(&self, one: u128, other: u128) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one((one.min(other), one.max(other)));
        (&self.places[hash as usize % self.places.len()], hash >> TIME_BITS << TIME_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_remembered_both_ways_and_for_a_while() {
        let pairs = RecentPairs::default();
        assert!(!pairs.is_noted(1, 2, 0));
        pairs.note(1, 2, 5_000);
        assert!(pairs.is_noted(1, 2, 5_000));
        assert!(pairs.is_noted(2, 1, 604_999));
        assert!(!pairs.is_noted(2, 1, 605_000));
        assert!(!pairs.is_noted(1, 3, 5_000));
        for other in 10..10_000 {
            assert!(!pairs.is_noted(1, other, 5_000), "{other}");
        }
    }
}
