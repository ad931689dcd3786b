//! Which signatures may match a text at all: one pass over its bytes, whatever the number of signatures.
//!
//! # Theory of operation
//!
//! Of each signature one pattern is searched for (its fast pattern); only when that occurs is the signature looked at
//! as a whole. Of each such pattern, four bytes in a row are chosen that traffic rarely holds. The pass folds the case
//! of each four bytes of the text, hashes them and asks one bit of a table that fits into the nearest caches: mostly
//! the answer is no and the next byte is up. Where it is yes, the patterns that hang on these four bytes are compared
//! whole.
//!
//! Patterns of two and three bytes have no such four bytes. They have a table of pairs of their own, or rather two:
//! nearly all of them may stand only within the first bytes of their text, and those need not be looked for in the
//! rest. Signatures with nothing but single bytes are not for a prefilter.
//!
//! A hostile text can be full of four bytes that patterns hang on, though it holds none of the patterns. What is
//! compared adds to the packet's count of work, like all verification.

mod frequency;

use std::collections::HashMap;
use std::ops::Range;

use frequency::{FOLD, commonness, gram};

use crate::limits::{PREFILTER_NEAR_BYTES_MAX, PREFILTER_PATTERN_BYTES_MAX};

/// A set of patterns, each standing for some signatures.
#[derive(Debug, Default)]
pub(crate) struct Prefilter {
    grams: Option<Table>,
    pairs: Option<Table>,
    /// Pairs of patterns that end within the first `near_reach` bytes or do not count.
    near_pairs: Option<Table>,
    near_reach: usize,
    patterns: Vec<Pattern>,
    /// The patterns' bytes in lower case.
    bytes: Vec<u8>,
    /// Signatures of the patterns.
    signatures: Vec<u32>,
    /// Bytes of the longest pattern.
    length_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Pattern {
    start: u32,
    length: u16,
    signatures_start: u32,
    signatures_end: u32,
}

/// Where patterns hang on runs of bytes.
#[derive(Debug)]
struct Table {
    /// For the upper bits of the hash a word, in which each entry sets two bits.
    words: Box<[u64]>,
    /// For the upper bits of the hash, where its entries start; one more at the end.
    starts: Box<[u32]>,
    starts_shift: u32,
    entries: Box<[Entry]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    run: u32,
    pattern: u32,
    /// Offset of the run in the pattern.
    offset: u16,
}

/// What a prefilter is built from.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// By pattern, and by whether it counts near the text's start only.
    patterns: HashMap<(Vec<u8>, bool), Vec<u32>>,
    near_reach: usize,
}

impl Builder {
    /// The shortest pattern that a prefilter takes.
    pub(crate) const LENGTH_MIN: usize = 2;

    /// Adds a signature under a pattern of at least [`Builder::LENGTH_MIN`] bytes, in any case. `reach` is the place
    /// behind which the pattern cannot end, where that is known.
    pub(crate) fn add(&mut self, pattern: &[u8], reach: Option<usize>, signature: u32) {
        let near = reach.filter(|&reach| pattern.len() < 4 && reach <= PREFILTER_NEAR_BYTES_MAX);
        self.near_reach = self.near_reach.max(near.unwrap_or(0));
        let key = (cut(pattern).to_ascii_lowercase(), near.is_some());
        let signatures = self.patterns.entry(key).or_default();
        if signatures.last() != Some(&signature) {
            signatures.push(signature);
        }
    }

    pub(crate) fn build(self) -> Prefilter {
        let mut sorted: Vec<_> = self.patterns.into_iter().collect();
        sorted.sort_unstable();
        let mut filter = Prefilter { near_reach: self.near_reach, ..Prefilter::default() };
        let (mut grams, mut pairs, mut near_pairs) = (Vec::new(), Vec::new(), Vec::new());
        for (index, ((bytes, is_near), signatures)) in (0u32..).zip(sorted) {
            let signatures_start = index_of(&filter.signatures);
            filter.signatures.extend(signatures);
            let signatures_end = index_of(&filter.signatures);
            let (start, length) = (index_of(&filter.bytes), u16::try_from(bytes.len()).unwrap_or(0));
            filter.patterns.push(Pattern { start, length, signatures_start, signatures_end });
            filter.length_max = filter.length_max.max(bytes.len());
            match rarest(&bytes) {
                Some((offset, run)) => grams.push(Entry { run, pattern: index, offset }),
                None => {
                    let entry = Entry { run: pair([bytes[0], bytes[1]]), pattern: index, offset: 0 };
                    if is_near { near_pairs.push(entry) } else { pairs.push(entry) }
                }
            }
            filter.bytes.extend(bytes);
        }
        filter.grams = Table::of(grams);
        filter.pairs = Table::of(pairs);
        filter.near_pairs = Table::of(near_pairs);
        filter
    }
}

fn index_of<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

/// The window of a long pattern that has its rarest bytes in it.
fn cut(pattern: &[u8]) -> &[u8] {
    if pattern.len() <= PREFILTER_PATTERN_BYTES_MAX {
        return pattern;
    }
    let offset = rarest(&pattern.to_ascii_lowercase()).map_or(0, |(offset, _)| usize::from(offset));
    let start = offset.saturating_sub(PREFILTER_PATTERN_BYTES_MAX / 2);
    let start = start.min(pattern.len() - PREFILTER_PATTERN_BYTES_MAX);
    &pattern[start..start + PREFILTER_PATTERN_BYTES_MAX]
}

/// How much is gained by searching for these bytes rather than for others: more for rare and long ones.
pub(crate) fn rarity(bytes: &[u8]) -> u32 {
    let folded = bytes.to_ascii_lowercase();
    let runs = folded.windows(4).filter_map(|window| <[u8; 4]>::try_from(window).ok());
    let commonest = runs.map(commonness).min().unwrap_or(5000);
    (10_000 - commonest.min(10_000)) + u32::try_from(bytes.len().min(32)).unwrap_or(32) * 4
}

/// Offset and value of the four bytes that traffic holds least often.
fn rarest(bytes: &[u8]) -> Option<(u16, u32)> {
    let runs = bytes.windows(4).filter_map(|window| <[u8; 4]>::try_from(window).ok()).enumerate();
    let (offset, run) = runs.min_by_key(|&(_, run)| commonness(run))?;
    Some((u16::try_from(offset).ok()?, gram(run)))
}

fn pair(bytes: [u8; 2]) -> u32 {
    u32::from(u16::from_le_bytes(bytes)) | (FOLD & 0xffff)
}

/// [`FOLD`] for eight bytes.
const FOLD_EIGHT: u64 = 0x2020_2020_2020_2020;

#[inline(always)]
fn hash(run: u32) -> u32 {
    run.wrapping_mul(0x9E37_79B1)
}

/// The two bits of a hash within its word.
#[inline(always)]
fn bits(hash: u32) -> (u32, u32) {
    (hash >> 12 & 63, hash >> 6 & 63)
}

/// Odd when something may hang on the run.
#[inline(always)]
fn held<const WORDS_LOG2: u32, const WORDS: usize>(words: &[u64; WORDS], run: u32) -> u64 {
    let hash = hash(run);
    let word = words[(hash >> (32 - WORDS_LOG2)) as usize];
    let (first, second) = bits(hash);
    (word >> first) & (word >> second)
}

impl Table {
    /// The sizes that tables come in, in words, as powers of two. Few and fixed, so that the pass is compiled for each
    /// and knows without looking that a hash lies within.
    const SIZES_LOG2: [u32; 4] = [6, 9, 12, 14];

    fn of(mut entries: Vec<Entry>) -> Option<Self> {
        if entries.is_empty() {
            return None;
        }
        // Thirty-two bits per entry, two of them set, keep false alarms below one in a hundred; the largest table is
        // 128 KiB.
        let wanted = entries.len().div_ceil(2).next_power_of_two().trailing_zeros();
        let words_log2 = Self::SIZES_LOG2.into_iter().find(|&size| wanted <= size).unwrap_or(Self::SIZES_LOG2[3]);
        let starts_log2 = entries.len().next_power_of_two().trailing_zeros().clamp(4, 16);
        let (shift, starts_shift) = (32 - words_log2, 32 - starts_log2);
        entries.sort_unstable_by_key(|entry| (hash(entry.run), entry.pattern));
        let mut words = vec![0u64; 1 << words_log2];
        let mut starts = vec![0u32; (1 << starts_log2) + 1];
        for entry in &entries {
            let hash = hash(entry.run);
            let (first, second) = bits(hash);
            words[(hash >> shift) as usize] |= 1 << first | 1 << second;
            starts[(hash >> starts_shift) as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Some(Self { words: words.into(), starts: starts.into(), starts_shift, entries: entries.into() })
    }

    fn entries(&self, run: u32) -> impl Iterator<Item = &Entry> {
        let bucket = (hash(run) >> self.starts_shift) as usize;
        let range = self.starts[bucket] as usize..self.starts[bucket + 1] as usize;
        self.entries[range].iter().filter(move |entry| entry.run == run)
    }
}

impl Prefilter {
    /// Bytes before a text's start that must be scanned with it so that patterns across the border are found.
    pub(crate) fn overlap(&self) -> usize {
        self.length_max.saturating_sub(1)
    }

    /// Bytes from the start of a text within which short patterns that may stand only there are looked for.
    pub(crate) fn near_reach(&self) -> usize {
        self.near_reach
    }

    /// Calls `found` with each signature of which a pattern occurs in `text` and the place behind it, perhaps several
    /// times. `near` is the part of the text that counts as its buffer's start. Adds what comparing costs to `work`;
    /// the pass itself, which costs the same for every text, is not counted.
    pub(crate) fn scan(&self, text: &[u8], near: Range<usize>, work: &mut u64, found: &mut impl FnMut(u32, usize)) {
        if let Some(grams) = &self.grams {
            self.pass::<4>(grams, text, 0, work, found);
        }
        if let Some(pairs) = &self.pairs {
            self.pass::<2>(pairs, text, 0, work, found);
        }
        if let Some(pairs) = &self.near_pairs {
            let near = near.start.min(text.len())..near.end.min(text.len());
            if near.start < near.end {
                self.pass::<2>(pairs, &text[..near.end], near.start, work, found);
            }
        }
    }

    /// Chooses the pass for the table's size.
    fn pass<const LENGTH: usize>(
        &self,
        table: &Table,
        text: &[u8],
        from: usize,
        work: &mut u64,
        found: &mut impl FnMut(u32, usize),
    ) {
        if let Ok(words) = <&[u64; 1 << 6]>::try_from(&*table.words) {
            self.sized_pass::<LENGTH, 6, { 1 << 6 }>(table, words, text, from, work, found);
        } else if let Ok(words) = <&[u64; 1 << 9]>::try_from(&*table.words) {
            self.sized_pass::<LENGTH, 9, { 1 << 9 }>(table, words, text, from, work, found);
        } else if let Ok(words) = <&[u64; 1 << 12]>::try_from(&*table.words) {
            self.sized_pass::<LENGTH, 12, { 1 << 12 }>(table, words, text, from, work, found);
        } else if let Ok(words) = <&[u64; 1 << 14]>::try_from(&*table.words) {
            self.sized_pass::<LENGTH, 14, { 1 << 14 }>(table, words, text, from, work, found);
        }
    }

    /// Asks the table about each `LENGTH` bytes of the text. Five places are asked at a time: the eight bytes that hold
    /// them are read at once, and none of the questions waits for another.
    fn sized_pass<const LENGTH: usize, const WORDS_LOG2: u32, const WORDS: usize>(
        &self,
        table: &Table,
        words: &[u64; WORDS],
        text: &[u8],
        from: usize,
        work: &mut u64,
        found: &mut impl FnMut(u32, usize),
    ) {
        const STEP: usize = 5;
        let mask = u32::MAX >> (32 - 8 * LENGTH);
        let mut place = from;
        while let Some(bytes) = text.get(place..place + 8).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
            let eight = u64::from_le_bytes(bytes) | FOLD_EIGHT;
            let run = |ahead: u32| (eight >> (8 * ahead)) as u32 & mask;
            let held = [0, 1, 2, 3, 4].map(|ahead| held::<WORDS_LOG2, WORDS>(words, run(ahead)));
            if held.into_iter().fold(0, |any, held| any | held) & 1 != 0 {
                for (ahead, held) in (0u32..).zip(held) {
                    if held & 1 != 0 {
                        self.compare(table, run(ahead), text, place + ahead as usize, work, found);
                    }
                }
            }
            place += STEP;
        }
        let rest = text.get(place..).unwrap_or_default();
        for (ahead, window) in rest.windows(LENGTH).enumerate() {
            let run = window.iter().rev().fold(0, |run, &byte| run << 8 | u32::from(byte | 0x20));
            if held::<WORDS_LOG2, WORDS>(words, run) & 1 != 0 {
                self.compare(table, run, text, place + ahead, work, found);
            }
        }
    }

    /// Compares the patterns that hang on `run` with the text around its place.
    #[inline(never)]
    fn compare(
        &self,
        table: &Table,
        run: u32,
        text: &[u8],
        place: usize,
        work: &mut u64,
        found: &mut impl FnMut(u32, usize),
    ) {
        *work += 3;
        for entry in table.entries(run) {
            *work += 4;
            let pattern = self.patterns[entry.pattern as usize];
            let Some(start) = place.checked_sub(usize::from(entry.offset)) else {
                continue;
            };
            let Some(candidate) = text.get(start..start + usize::from(pattern.length)) else {
                continue;
            };
            let bytes = &self.bytes[pattern.start as usize..pattern.start as usize + usize::from(pattern.length)];
            if candidate.eq_ignore_ascii_case(bytes) {
                let signatures = &self.signatures[pattern.signatures_start as usize..pattern.signatures_end as usize];
                *work += 2 * signatures.len() as u64;
                let end = start + usize::from(pattern.length);
                signatures.iter().for_each(|&signature| found(signature, end));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn scan(patterns: &[Vec<u8>], text: &[u8]) -> BTreeSet<u32> {
        let mut builder = Builder::default();
        for (index, pattern) in (0..).zip(patterns) {
            builder.add(pattern, None, index);
        }
        let (mut hits, mut work) = (BTreeSet::new(), 0);
        builder.build().scan(text, 0..0, &mut work, &mut |signature, _| {
            hits.insert(signature);
        });
        hits
    }

    fn naive(patterns: &[Vec<u8>], text: &[u8]) -> BTreeSet<u32> {
        let holds = |pattern: &[u8]| text.windows(pattern.len()).any(|window| window.eq_ignore_ascii_case(pattern));
        (0u32..).zip(patterns).filter(|(_, pattern)| holds(pattern)).map(|(index, _)| index).collect()
    }

    proptest! {
        #[test]
        fn finds_what_a_naive_search_finds(
            patterns in proptest::collection::vec(
                prop_oneof!["[abAB@`\\x00 ]{2,9}", "[a-zA-Z./]{2,20}"].prop_map(String::into_bytes), 1..40),
            text in "[abAB@`\\x00 ]{0,80}",
            planted: prop::sample::Index,
        ) {
            let mut text = text.into_bytes();
            let plant = &patterns[planted.index(patterns.len())];
            let place = planted.index(text.len() + 1);
            text.splice(place..place, plant.iter().copied());
            prop_assert_eq!(scan(&patterns, &text), naive(&patterns, &text));
        }
    }

    #[test]
    fn near_patterns_count_near_the_start() {
        let mut builder = Builder::default();
        builder.add(b"MZ", Some(2), 1);
        builder.add(b"PE", Some(10), 2);
        builder.add(b"zz", Some(100_000), 3);
        let filter = builder.build();
        let scan = |text: &[u8], near: Range<usize>| {
            let mut hits = Vec::new();
            filter.scan(text, near, &mut 0, &mut |signature, end| hits.push((signature, end)));
            hits
        };
        assert_eq!(filter.near_reach(), 10);
        assert_eq!(scan(b"mzxxpeMZpeZZ", 0..10), [(3, 12), (1, 2), (2, 6), (1, 8), (2, 10)]);
        assert_eq!(scan(b"MZxxxxxxxx", 2..12), []);
    }

    #[test]
    fn long_patterns_are_cut_and_still_found() {
        let long: Vec<u8> = (0..200u8).collect();
        let mut text = vec![b'x'; 50];
        text.extend(&long);
        assert_eq!(scan(std::slice::from_ref(&long), &text), BTreeSet::from([0]));
        assert_eq!(
            scan(std::slice::from_ref(&long), &text[..200]).len(),
            naive(&[cut(&long).to_vec()], &text[..200]).len()
        );
    }
}
