//! One byte for each place of the table: nothing while it is free, else seven bits of the hash of the flow that is there.
//!
//! A line of these says of 64 places which of them can hold a flow, so a flow that does not stand where its hash says costs one
//! cache miss like any other, however far it was pushed on.

use crate::sys::HugeArray;

/// Tags that one step looks at: a word's worth.
const STEP: usize = 8;
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// The tag of no flow.
const FREE: u8 = 0;

/// The tags of all places.
#[derive(Debug)]
pub(super) struct Tags(HugeArray<u8>);

/// The tag of a flow with this hash. (Places are picked by the hash's upper half.)
#[inline(always)]
fn tag(hash: u64) -> u8 {
    hash as u8 | 0x80
}

/// The places, counted from the first of the word, whose tag is `tag`; with luck none, at worst one too many: who is behind a
/// place that differs by its last bit only may be named as well.
#[inline(always)]
fn matches(word: u64, tag: u8) -> u64 {
    let differing = word ^ (u64::from(tag) * ONES);
    differing.wrapping_sub(ONES) & !differing & HIGHS
}

impl Tags {
    /// Free places.
    ///
    /// # Errors
    /// The memory for them could not be had.
    pub(super) fn new(places: usize) -> std::io::Result<Self> {
        HugeArray::filled(places + STEP, FREE).map(Self)
    }

    /// Fetches the tags from a place on into the cache.
    #[inline(always)]
    pub(super) fn prefetch(&self, place: usize) {
        self.0.prefetch(place);
    }

    #[inline(always)]
    fn word(&self, place: usize) -> u64 {
        self.0[place..].first_chunk::<STEP>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The first of the places from `home` on, a few of them, that a flow with this hash may be in; `home` if none is.
    #[inline(always)]
    pub(super) fn guess(&self, home: usize, hash: u64) -> usize {
        match matches(self.word(home), tag(hash)) {
            0 => home,
            found => home + found.trailing_zeros() as usize / 8,
        }
    }

    /// The places from `home` on, of `count`, that a flow with this hash may be in, in order.
    pub(super) fn candidates(&self, home: usize, count: usize, hash: u64) -> impl Iterator<Item = usize> + '_ {
        let tag = tag(hash);
        (home..home + count).step_by(STEP).flat_map(move |start| {
            let mut found = matches(self.word(start), tag);
            std::iter::from_fn(move || {
                let at = start + found.trailing_zeros() as usize / 8;
                found = (found != 0).then(|| found & (found - 1))?;
                Some(at)
            })
        })
    }

    /// The first free place from `home` on, of `count`.
    pub(super) fn first_free(&self, home: usize, count: usize) -> Option<usize> {
        (home..home + count).find(|place| self.0[*place] == FREE)
    }

    /// Notes that a flow with this hash stands at a place.
    pub(super) fn set(&mut self, place: usize, hash: u64) {
        self.0[place] = tag(hash);
    }

    /// Notes that a place is free.
    pub(super) fn clear(&mut self, place: usize) {
        self.0[place] = FREE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_named_wherever_they_stand_and_free_places_never() {
        let mut tags = Tags::new(256).expect("memory");
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for n in 0..200 {
            tags.set(17 + n as usize, hash(n));
        }
        for n in 0..64 {
            let places: Vec<usize> = tags.candidates(17, 64, hash(n)).collect();
            assert!(places.contains(&(17 + n as usize)), "{n}: {places:?}");
            assert!(places.is_sorted() && places.len() < 8, "{places:?}");
            assert_eq!(tags.guess(17 + n as usize, hash(n)), 17 + n as usize);
        }
        assert_eq!(tags.first_free(17, 64), None);
        tags.clear(40);
        assert_eq!(tags.first_free(17, 64), Some(40));
        assert!(!tags.candidates(17, 64, hash(23)).any(|place| place == 40));
        assert_eq!((tags.guess(230, hash(5)), tags.candidates(230, 16, hash(5)).count()), (230, 0));
    }
}
