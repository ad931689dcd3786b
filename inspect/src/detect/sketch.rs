//! Counting in constant memory: how many different things, and how many things at all, within a sliding window.
//!
//! Theory of operation: a window is two halves, the current and the previous one. Time moves on by forgetting the older half,
//! so what is seen covers between half and all of the window, and a burst across the seam of two windows is seen whole.
//!
//! Different things are counted by *linear counting* (Whang and others, 1990): each sets one bit of `m`, chosen by a hash,
//! and `n` things set about `m (1 - exp(-n / m))` bits. The hash is keyed, or a guest would scan only ports that fall on one
//! bit.
//!
//! Several workers count in the same sketches, without waiting for each other. Where two of them move a window on at the same
//! moment, or take the same place for two keys, some bits or counts are lost or land in the other's set: a sketch is off by
//! what came in those nanoseconds, in the direction of too few.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits per half. With 1,024 the error stays under 5 % up to 2,000 things.
const BIT_COUNT: usize = 1024;
const WORD_COUNT: usize = BIT_COUNT / 64;

/// The most different things that can be told apart reliably.
pub(super) const DISTINCT_MAX: u32 = 2048;

/// A secret that guests cannot know, for hashing what they choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seed(pub [u64; 2]);

impl Seed {
    /// Hashes two words: each is mixed with a secret by a widening multiplication whose halves are folded.
    pub(super) fn hash(self, first: u64, second: u64) -> u64 {
        let [k0, k1] = self.0;
        let mixed = fold_multiply(first ^ k0 ^ 0x9e37_79b9_7f4a_7c15, second ^ k1 ^ 0xd1b5_4a32_d192_ed03);
        fold_multiply(mixed ^ k1, k0 ^ 0x8cb9_2ba7_2f3d_8dd7)
    }
}

fn fold_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// The number of bits that `count` different things are expected to set.
pub(super) fn expected_bit_count(count: u32) -> u32 {
    let (m, n) = (BIT_COUNT as f64, f64::from(count));
    (m * (1.0 - (-n / m).exp())).floor() as u32
}

/// Which half of a window a time falls into.
fn half_of(now_ms: u64, window_ms: u32) -> u64 {
    now_ms / u64::from((window_ms / 2).max(1))
}

type Bits = [AtomicU64; WORD_COUNT];

/// A set of which only the size is known.
#[derive(Debug, Default)]
pub(super) struct SlidingSet {
    half: AtomicU64,
    current: Bits,
    previous: Bits,
}

impl SlidingSet {
    /// Puts a hashed thing in.
    pub(super) fn insert(&self, hash: u64, now_ms: u64, window_ms: u32) {
        self.advance(now_ms, window_ms);
        let bit = hash as usize % BIT_COUNT;
        let (word, mask) = (&self.current[bit / 64], 1 << (bit % 64));
        // Most things are there already, and looking costs less than an atomic read-modify-write.
        if word.load(Ordering::Relaxed) & mask == 0 {
            word.fetch_or(mask, Ordering::Relaxed);
        }
    }

    fn advance(&self, now_ms: u64, window_ms: u32) {
        let half = half_of(now_ms, window_ms);
        let ahead = half.saturating_sub(self.half.load(Ordering::Acquire));
        if ahead == 0 {
            return;
        }
        for (current, previous) in self.current.iter().zip(&self.previous) {
            let bits = current.swap(0, Ordering::Relaxed);
            previous.store(if ahead == 1 { bits } else { 0 }, Ordering::Relaxed);
        }
        // Last, so that nobody takes old bits for new ones.
        self.half.fetch_max(half, Ordering::Release);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for bits in self.current.iter().chain(&self.previous).chain([&self.half]) {
            bits.store(0, Ordering::Relaxed);
        }
    }

    /// Bits set in either half.
    pub(super) fn bit_count(&self) -> u32 {
        let bits = |(current, previous): (&AtomicU64, &AtomicU64)| {
            (current.load(Ordering::Relaxed) | previous.load(Ordering::Relaxed)).count_ones()
        };
        self.current.iter().zip(&self.previous).map(bits).sum()
    }

    /// How many different things there are, about.
    pub(super) fn distinct_count(&self) -> u64 {
        let (m, zeros) = (BIT_COUNT as f64, (BIT_COUNT as u32 - self.bit_count()).max(1));
        (m * (m / f64::from(zeros)).ln()).round() as u64
    }
}

/// How often something happened.
#[derive(Debug, Default)]
pub(super) struct SlidingCount {
    half: AtomicU64,
    current: AtomicU64,
    previous: AtomicU64,
}

impl SlidingCount {
    /// Counts `n` more and answers how many there are in the whole window.
    pub(super) fn add(&self, n: u64, now_ms: u64, window_ms: u32) -> u64 {
        let half = half_of(now_ms, window_ms);
        let ahead = half.saturating_sub(self.half.load(Ordering::Acquire));
        if ahead > 0 {
            let count = self.current.swap(0, Ordering::Relaxed);
            self.previous.store(if ahead == 1 { count } else { 0 }, Ordering::Relaxed);
            self.half.fetch_max(half, Ordering::Release);
        }
        let current = self.current.fetch_add(n, Ordering::Relaxed).saturating_add(n);
        current.saturating_add(self.previous.load(Ordering::Relaxed))
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for count in [&self.current, &self.previous, &self.half] {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// A few [`SlidingSet`]s by key. A new key takes the place of the smallest set: what is nearest to its threshold stays.
#[derive(Debug)]
pub(super) struct KeyedSets<const N: usize> {
    entries: [(AtomicU64, SlidingSet); N],
}

impl<const N: usize> Default for KeyedSets<N> {
    fn default() -> Self {
        Self { entries: std::array::from_fn(|_| (AtomicU64::default(), SlidingSet::default())) }
    }
}

impl<const N: usize> KeyedSets<N> {
    /// Puts a hashed thing into the set of `key` (hashed too), and answers that set.
    pub(super) fn insert(&self, key: u64, hash: u64, now_ms: u64, window_ms: u32) -> &SlidingSet {
        for (_, set) in &self.entries {
            set.advance(now_ms, window_ms);
        }
        let is_of_key =
            |(held, set): &(AtomicU64, SlidingSet)| held.load(Ordering::Relaxed) == key && set.bit_count() != 0;
        let found = self.entries.iter().position(is_of_key);
        let smallest = || (0..N).min_by_key(|index| self.entries[*index].1.bit_count()).unwrap_or_default();
        let index = found.unwrap_or_else(smallest);
        let (held, set) = &self.entries[index];
        if found.is_none() {
            set.clear();
            held.store(key, Ordering::Relaxed);
        }
        set.insert(hash, now_ms, window_ms);
        set
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.entries.iter().for_each(|(_, set)| set.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed([0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321]);

    #[test]
    fn distinct_things_are_counted_within_a_tenth() {
        for count in [1u32, 10, 50, 100, 500, 1000, DISTINCT_MAX] {
            for round in 0..20u64 {
                let set = SlidingSet::default();
                for thing in 0..count {
                    for _ in 0..3 {
                        set.insert(SEED.hash(round, thing.into()), 0, 1000);
                    }
                }
                let tolerance = (count / 10).max(3);
                let counted = set.distinct_count();
                assert!(counted.abs_diff(count.into()) <= tolerance.into(), "{counted} of {count}");
                assert!(set.bit_count().abs_diff(expected_bit_count(count)) <= tolerance, "{count}");
            }
        }
    }

    #[test]
    fn windows_slide() {
        let set = SlidingSet::default();
        set.insert(1, 0, 1000);
        set.insert(2, 600, 1000);
        assert_eq!(set.bit_count(), 2);
        set.insert(3, 1000, 1000);
        assert_eq!(set.bit_count(), 2, "the first half is forgotten");
        set.insert(4, 9000, 1000);
        assert_eq!(set.bit_count(), 1, "after a pause everything is");
        set.insert(4, 9500, 1000);
        assert_eq!(set.bit_count(), 1, "known from the previous half");

        let count = SlidingCount::default();
        assert_eq!(
            [0, 499, 500, 999, 1000, 1500, 5000].map(|now_ms| count.add(1, now_ms, 1000)),
            [1, 2, 3, 4, 3, 2, 1]
        );
    }

    #[test]
    fn a_new_key_takes_the_smallest_place() {
        let sets = KeyedSets::<2>::default();
        for thing in 0..5 {
            sets.insert(100, SEED.hash(1, thing), 0, 1000);
        }
        sets.insert(200, 1, 0, 1000);
        sets.insert(300, 1, 0, 1000);
        assert_eq!(sets.insert(100, SEED.hash(1, 99), 0, 1000).bit_count(), 6, "the largest set stayed");
        assert_eq!(sets.insert(300, 2, 0, 1000).bit_count(), 2, "and the newest");
        assert_eq!(sets.insert(200, 2, 0, 1000).bit_count(), 1, "the smallest did not");
    }

    /// Without the secret, ports that fall on one bit cannot be found by calculation.
    #[test]
    fn the_seed_matters() {
        let with = |seed: Seed| (0..64).map(|port| seed.hash(7, port) as usize % BIT_COUNT).collect::<Vec<_>>();
        assert_ne!(with(SEED), with(Seed([1, 2])));
        assert_ne!(with(Seed([1, 2])), with(Seed([1, 3])));
    }
}
