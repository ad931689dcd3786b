//! The table that a text is held against: which runs of bytes patterns hang on.
//!
//! Three bytes of a run choose a word, and all four two bits in it. A pattern of four bytes that stands at an odd place
//! shows only its last three at an even one: for those there are two bits that the three choose alone, so that one look at
//! the word answers both questions. Pairs are asked about at every place.

use std::sync::Arc;

use super::frequency::FOLD;

/// [`FOLD`] for eight bytes.
const FOLD_EIGHT: u64 = 0x2020_2020_2020_2020;

/// Where patterns hang on runs of `LENGTH` bytes: two, or four. A copy shares everything.
#[derive(Clone, Debug)]
pub(super) struct Table<const LENGTH: usize> {
    /// For the upper bits of the hash a word.
    words: Arc<[u64]>,
    /// For the upper bits of the hash, where its entries start; one more at the end.
    starts: Arc<[u32]>,
    starts_shift: u32,
    entries: Arc<[Entry]>,
}

/// A run of a pattern.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Up to eight bytes of the pattern from the run on, folded, and which bits of them count.
    value: u64,
    mask: u64,
    pub(super) pattern: u32,
    /// Offset of the run in the pattern.
    pub(super) offset: u16,
}

impl Entry {
    pub(super) fn new(bytes: &[u8], offset: usize, pattern: u32) -> Self {
        let count = bytes.len().saturating_sub(offset).min(8);
        let mask = if count == 8 { u64::MAX } else { (1 << (8 * count)) - 1 };
        Self { value: eight(bytes, offset) & mask, mask, pattern, offset: u16::try_from(offset).unwrap_or(0) }
    }

    /// Whether eight folded bytes of a text can be those of the pattern from the run on.
    #[inline(always)]
    pub(super) fn agrees(&self, eight: u64) -> bool {
        (eight ^ self.value) & self.mask == 0
    }
}

/// Eight bytes of a text from a place on, folded; zeros behind its end.
#[inline(always)]
pub(super) fn eight(text: &[u8], place: usize) -> u64 {
    let bytes = match text.get(place..place + 8).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
        Some(bytes) => bytes,
        None => {
            let mut bytes = [0; 8];
            let rest = text.get(place..).unwrap_or_default();
            let count = rest.len().min(8);
            bytes[..count].copy_from_slice(&rest[..count]);
            bytes
        }
    };
    u64::from_le_bytes(bytes) | FOLD_EIGHT
}

/// A hash of the first three bytes of a run; its upper bits are the best ones.
#[inline(always)]
fn hash(run: u32) -> u64 {
    u64::from(run & 0x00ff_ffff).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The two bits of a run within its word.
#[inline(always)]
fn bits(run: u32) -> u64 {
    let mixed = run.wrapping_mul(0x85EB_CA6B);
    1 << (mixed >> 26) | 1 << (mixed >> 20 & 63)
}

/// The two bits of a run of three bytes, by their hash.
#[inline(always)]
fn short_bits(hash: u64) -> u64 {
    1 << (hash >> 44 & 63) | 1 << (hash >> 38 & 63)
}

/// Whether something may hang on the run.
#[inline(always)]
fn is_held<const LENGTH: usize, const WORDS_LOG2: u32, const WORDS: usize>(words: &[u64; WORDS], run: u32) -> bool {
    let hash = hash(run);
    let word = words[(hash >> (64 - WORDS_LOG2)) as usize];
    // Bits that are asked for and are not there.
    let whole = bits(run) & !word == 0;
    if LENGTH == 2 { whole } else { whole | (short_bits(hash) & !word == 0) }
}

impl<const LENGTH: usize> Table<LENGTH> {
    /// The sizes that tables come in, in words, as powers of two. Few and fixed, so that the pass is compiled for each
    /// and knows without looking that a hash lies within. The largest takes 128 KiB.
    const SIZES_LOG2: [u32; 4] = [6, 9, 12, 14];

    /// The bytes of a run that count.
    const MASK: u32 = u32::MAX >> (32 - 8 * LENGTH);

    pub(super) fn of(mut entries: Vec<Entry>) -> Option<Self> {
        if entries.is_empty() {
            return None;
        }
        // A word per entry or two keeps false alarms below one in a hundred.
        let wanted = entries.len().div_ceil(2).next_power_of_two().trailing_zeros();
        let words_log2 = Self::SIZES_LOG2.into_iter().find(|&size| wanted <= size).unwrap_or(Self::SIZES_LOG2[3]);
        let starts_log2 = entries.len().next_power_of_two().trailing_zeros().clamp(4, 16);
        let starts_shift = 64 - starts_log2;
        let run = |entry: &Entry| entry.value as u32 & Self::MASK;
        entries.sort_unstable_by_key(|entry| (hash(run(entry)), entry.pattern));
        let mut words = vec![0u64; 1 << words_log2];
        let mut starts = vec![0u32; (1 << starts_log2) + 1];
        for entry in &entries {
            let hash = hash(run(entry));
            let is_whole = entry.mask as u32 & Self::MASK == Self::MASK;
            words[(hash >> (64 - words_log2)) as usize] |= if is_whole { bits(run(entry)) } else { short_bits(hash) };
            starts[(hash >> starts_shift) as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Some(Self { words: words.into(), starts: starts.into(), starts_shift, entries: entries.into() })
    }

    /// What may hang on a run.
    pub(super) fn entries(&self, run: u32) -> &[Entry] {
        let bucket = (hash(run) >> self.starts_shift) as usize;
        &self.entries[self.starts[bucket] as usize..self.starts[bucket + 1] as usize]
    }

    /// Asks the table about the runs of a text, from a place on, and calls `hit` with those on which something may hang,
    /// and their places.
    #[inline(always)]
    pub(super) fn pass(&self, text: &[u8], from: usize, hit: &mut impl FnMut(u32, usize)) {
        // Chosen by the table's size.
        if let Ok(words) = <&[u64; 1 << 6]>::try_from(&*self.words) {
            Self::sized_pass::<6, { 1 << 6 }>(words, text, from, hit);
        } else if let Ok(words) = <&[u64; 1 << 9]>::try_from(&*self.words) {
            Self::sized_pass::<9, { 1 << 9 }>(words, text, from, hit);
        } else if let Ok(words) = <&[u64; 1 << 12]>::try_from(&*self.words) {
            Self::sized_pass::<12, { 1 << 12 }>(words, text, from, hit);
        } else if let Ok(words) = <&[u64; 1 << 14]>::try_from(&*self.words) {
            Self::sized_pass::<14, { 1 << 14 }>(words, text, from, hit);
        }
    }

    /// Four places are asked about at a time, every second one (every one, for pairs): none of the questions waits for
    /// another, and the answers are looked at together.
    #[inline(never)]
    fn sized_pass<const WORDS_LOG2: u32, const WORDS: usize>(
        words: &[u64; WORDS],
        text: &[u8],
        from: usize,
        hit: &mut impl FnMut(u32, usize),
    ) {
        let step = if LENGTH == 2 { 1 } else { 2 };
        let mut place = from;
        while let Some(bytes) = text.get(place..place + 10).and_then(|bytes| <&[u8; 10]>::try_from(bytes).ok()) {
            let [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9] = *bytes;
            let low = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]) | FOLD_EIGHT;
            let high = u32::from_le_bytes([b6, b7, b8, b9]) | FOLD;
            let runs = if LENGTH == 2 {
                [low as u32, (low >> 8) as u32, (low >> 16) as u32, (low >> 24) as u32]
            } else {
                [low as u32, (low >> 16) as u32, (low >> 32) as u32, high]
            };
            let held = [
                is_held::<LENGTH, WORDS_LOG2, WORDS>(words, runs[0] & Self::MASK),
                is_held::<LENGTH, WORDS_LOG2, WORDS>(words, runs[1] & Self::MASK),
                is_held::<LENGTH, WORDS_LOG2, WORDS>(words, runs[2] & Self::MASK),
                is_held::<LENGTH, WORDS_LOG2, WORDS>(words, runs[3] & Self::MASK),
            ];
            if held[0] | held[1] | held[2] | held[3] {
                for (index, (run, is_held)) in runs.into_iter().zip(held).enumerate() {
                    if is_held {
                        hit(run & Self::MASK, place + index * step);
                    }
                }
            }
            place += 4 * step;
        }
        // The least that a pattern shows of itself at the text's end: a pair, or three bytes of four.
        let least = if LENGTH == 2 { 2 } else { 3 };
        while place + least <= text.len() {
            let run = eight(text, place) as u32 & Self::MASK;
            if is_held::<LENGTH, WORDS_LOG2, WORDS>(words, run) {
                hit(run, place);
            }
            place += step;
        }
    }
}
