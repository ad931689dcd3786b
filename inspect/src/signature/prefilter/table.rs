//! The table of what hangs on a run: which patterns are worth comparing where a text holds it.

use std::ops::Range;
use std::sync::Arc;

/// Patterns by the first `KEY` bytes of a run of theirs. A copy shares everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Table<const KEY: usize> {
    /// For the upper bits of the key's hash, where its entries start; one more at the end.
    starts: Arc<[u32]>,
    starts_shift: u32,
    entries: Arc<[Entry]>,
}

/// A run of a pattern, with what is asked about the pattern where a text holds the run: half a cache line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Up to eight bytes of the pattern from the run on, in lower case, and which bits of them count.
    value: u64,
    mask: u64,
    pub(super) pattern: u32,
    /// The pattern's groups of signatures, by their places among all.
    pub(super) groups_start: u32,
    pub(super) groups_end: u32,
    /// The pattern's byte before the run, in lower case, or [`NONE_BEFORE`]. What hangs on a run of zeros mostly differs there.
    before: u16,
    /// Offset of the run in the pattern.
    pub(super) offset: u8,
    /// Bytes of the pattern.
    pub(super) length: u8,
}

/// No byte: the run is the pattern's beginning, or the text's.
pub(super) const NONE_BEFORE: u16 = 0x100;

impl Entry {
    /// A run of a pattern of [`crate::limits::PREFILTER_PATTERN_BYTES_MAX`] bytes at most, which stands for some groups of
    /// signatures.
    pub(super) fn new(bytes: &[u8], offset: usize, pattern: u32, groups: Range<u32>) -> Self {
        let count = bytes.len().saturating_sub(offset).min(8);
        let mask = if count == 8 { u64::MAX } else { (1 << (8 * count)) - 1 };
        let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        Self {
            value: eight(bytes, offset) & mask,
            mask,
            pattern,
            groups_start: groups.start,
            groups_end: groups.end,
            before: before(bytes, offset),
            offset: byte(offset),
            length: byte(bytes.len()),
        }
    }

    /// Whether eight bytes of a text in lower case can be those of the pattern from the run on, and the byte before them.
    #[inline(always)]
    pub(super) fn agrees(&self, eight: u64, before: u16) -> bool {
        // Without a branch for each question.
        ((eight ^ self.value) & self.mask == 0) & ((self.before == before) | (self.before == NONE_BEFORE))
    }

    /// Whether these bytes are the whole pattern.
    #[inline(always)]
    pub(super) fn is_whole(&self) -> bool {
        self.offset <= 1 && self.length - self.offset <= 8
    }
}

/// The byte before a place of a text, in lower case.
#[inline(always)]
pub(super) fn before(text: &[u8], place: usize) -> u16 {
    let byte = place.checked_sub(1).and_then(|before| text.get(before));
    byte.map_or(NONE_BEFORE, |byte| u16::from(byte.to_ascii_lowercase()))
}

/// Eight bytes with ASCII letters in lower case and all others as they are. Where nothing but a pass over the text depends on
/// it, more is folded; here the spaces of indented lines would be taken for the zeros that binary patterns are full of.
#[inline(always)]
fn lower(bytes: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = 0x80 * EACH;
    // A byte's highest bit is set by the sum if its other seven reach a bound.
    let seven = bytes & !TOP;
    let from_a = seven + (0x80 - b'A' as u64) * EACH;
    let behind_z = seven + (0x7f - b'Z' as u64) * EACH;
    let is_upper = !bytes & (from_a ^ behind_z) & TOP;
    bytes | is_upper >> 2
}

/// Eight bytes of a text from a place on, in lower case; zeros behind its end.
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
    lower(u64::from_le_bytes(bytes))
}

/// [`eight`] and [`before`] of a place.
#[inline(always)]
pub(super) fn around(text: &[u8], place: usize) -> (u64, u16) {
    let nine = place.checked_sub(1).and_then(|from| text.get(from..from + 9));
    match nine.and_then(|nine| nine.split_first_chunk::<1>()) {
        Some(([byte], &[a, b, c, d, e, f, g, h])) => {
            (lower(u64::from_le_bytes([a, b, c, d, e, f, g, h])), u16::from(byte.to_ascii_lowercase()))
        }
        _ => (eight(text, place), before(text, place)),
    }
}

impl<const KEY: usize> Table<KEY> {
    pub(super) fn of(mut entries: Vec<Entry>) -> Self {
        // Several for each entry: what is there because of another run is in the way.
        let starts_log2 = (2 * entries.len()).next_power_of_two().trailing_zeros().clamp(4, 16);
        let starts_shift = 64 - starts_log2;
        entries.sort_unstable_by_key(|entry| (Self::hash(entry.value), entry.pattern));
        let mut starts = vec![0u32; (1 << starts_log2) + 1];
        for entry in &entries {
            starts[(Self::hash(entry.value) >> starts_shift) as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Self { starts: starts.into(), starts_shift, entries: entries.into() }
    }

    /// A hash of the key; its upper bits are the best ones.
    #[inline(always)]
    fn hash(eight: u64) -> u64 {
        (eight & (u64::MAX >> (64 - 8 * KEY))).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// Where the entries begin and end that may hang on a run, of which eight bytes are given in lower case.
    #[inline(always)]
    pub(super) fn bucket(&self, eight: u64) -> (u32, u32) {
        let bucket = (Self::hash(eight) >> self.starts_shift) as usize;
        (self.starts[bucket], self.starts[bucket + 1])
    }

    #[inline(always)]
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_letters_are_folded() {
        for byte in 0..=255u8 {
            for place in 0..8 {
                let mut text = [byte.wrapping_mul(37).wrapping_add(11); 8];
                text[place] = byte;
                assert_eq!(eight(&text, 0), u64::from_le_bytes(text.map(|byte| byte.to_ascii_lowercase())));
            }
        }
    }
}
