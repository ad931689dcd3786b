//! Counting in constant memory: how many different things, and how many things at all, within a sliding window.
//!
//! Theory of operation: a window is two halves, the current and the previous one. Time moves on by forgetting the older half,
//! so what is seen covers between half and all of the window, and a burst across the seam of two windows is seen whole.
//!
//! Different things are counted by *linear counting* (Whang and others, 1990): each sets one bit of `m`, chosen by a hash,
//! and `n` things set about `m (1 - exp(-n / m))` bits. The hash is keyed, or a guest would scan only ports that fall on one
//! bit.

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

/// A set of which only the size is known.
#[derive(Clone, Debug, Default)]
pub(super) struct SlidingSet {
    half: u64,
    current: [u64; WORD_COUNT],
    previous: [u64; WORD_COUNT],
}

impl SlidingSet {
    /// Puts a hashed thing in.
    pub(super) fn insert(&mut self, hash: u64, now_ms: u64, window_ms: u32) {
        self.advance(now_ms, window_ms);
        let bit = hash as usize % BIT_COUNT;
        self.current[bit / 64] |= 1 << (bit % 64);
    }

    fn advance(&mut self, now_ms: u64, window_ms: u32) {
        let half = half_of(now_ms, window_ms);
        match half.saturating_sub(self.half) {
            0 => return,
            1 => self.previous = std::mem::take(&mut self.current),
            _ => *self = Self::default(),
        }
        self.half = half;
    }

    /// Bits set in either half.
    pub(super) fn bit_count(&self) -> u32 {
        self.current.iter().zip(&self.previous).map(|(current, previous)| (current | previous).count_ones()).sum()
    }

    /// How many different things there are, about.
    pub(super) fn distinct_count(&self) -> u32 {
        let (m, zeros) = (BIT_COUNT as f64, (BIT_COUNT as u32 - self.bit_count()).max(1));
        (m * (m / f64::from(zeros)).ln()).round() as u32
    }
}

/// How often something happened.
#[derive(Clone, Debug, Default)]
pub(super) struct SlidingCount {
    half: u64,
    current: u32,
    previous: u32,
}

impl SlidingCount {
    /// Counts one more and answers how many there are in the whole window.
    pub(super) fn add(&mut self, now_ms: u64, window_ms: u32) -> u32 {
        let half = half_of(now_ms, window_ms);
        match half.saturating_sub(self.half) {
            0 => {}
            1 => (self.previous, self.current) = (self.current, 0),
            _ => (self.previous, self.current) = (0, 0),
        }
        self.half = self.half.max(half);
        self.current = self.current.saturating_add(1);
        self.current.saturating_add(self.previous)
    }
}

/// A few [`SlidingSet`]s by key. A new key takes the place of the smallest set: what is nearest to its threshold stays.
#[derive(Clone, Debug)]
pub(super) struct KeyedSets<const N: usize> {
    entries: [(u64, SlidingSet); N],
}

impl<const N: usize> Default for KeyedSets<N> {
    fn default() -> Self {
        Self { entries: std::array::from_fn(|_| (0, SlidingSet::default())) }
    }
}

impl<const N: usize> KeyedSets<N> {
    /// Puts a hashed thing into the set of `key` (hashed too), and answers that set.
    pub(super) fn insert(&mut self, key: u64, hash: u64, now_ms: u64, window_ms: u32) -> &SlidingSet {
        for (_, set) in &mut self.entries {
            set.advance(now_ms, window_ms);
        }
        let found = self.entries.iter().position(|(held, set)| *held == key && set.bit_count() != 0);
        let smallest = || (0..N).min_by_key(|index| self.entries[*index].1.bit_count()).unwrap_or_default();
        let index = found.unwrap_or_else(smallest);
        let (held, set) = &mut self.entries[index];
        if found.is_none() {
            *held = key;
            *set = SlidingSet::default();
        }
        set.insert(hash, now_ms, window_ms);
        set
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
                let mut set = SlidingSet::default();
                for thing in 0..count {
                    for _ in 0..3 {
                        set.insert(SEED.hash(round, thing.into()), 0, 1000);
                    }
                }
                let tolerance = (count / 10).max(3);
                let counted = set.distinct_count();
                assert!(counted.abs_diff(count) <= tolerance, "{counted} of {count}");
                assert!(set.bit_count().abs_diff(expected_bit_count(count)) <= tolerance, "{count}");
            }
        }
    }

    #[test]
    fn windows_slide() {
        let mut set = SlidingSet::default();
        set.insert(1, 0, 1000);
        set.insert(2, 600, 1000);
        assert_eq!(set.bit_count(), 2);
        set.insert(3, 1000, 1000);
        assert_eq!(set.bit_count(), 2, "the first half is forgotten");
        set.insert(4, 9000, 1000);
        assert_eq!(set.bit_count(), 1, "after a pause everything is");
        set.insert(4, 9500, 1000);
        assert_eq!(set.bit_count(), 1, "known from the previous half");

        let mut count = SlidingCount::default();
        assert_eq!([0, 499, 500, 999, 1000, 1500, 5000].map(|now_ms| count.add(now_ms, 1000)), [1, 2, 3, 4, 3, 2, 1]);
    }

    #[test]
    fn a_new_key_takes_the_smallest_place() {
        let mut sets = KeyedSets::<2>::default();
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
