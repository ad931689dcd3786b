//! The table of what hangs on a run: which patterns are worth comparing where a text holds it.

use std::sync::Arc;

/// [`super::frequency::FOLD`] for eight bytes.
const FOLD_EIGHT: u64 = 0x2020_2020_2020_2020;

/// Patterns by the first `KEY` bytes of a run of theirs. A copy shares everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Table<const KEY: usize> {
    /// For the upper bits of the key's hash, where its entries start; one more at the end.
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

impl<const KEY: usize> Table<KEY> {
    pub(super) fn of(mut entries: Vec<Entry>) -> Self {
        let starts_log2 = entries.len().next_power_of_two().trailing_zeros().clamp(4, 16);
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

    /// What may hang on a run, of which eight folded bytes are given.
    #[inline(always)]
    pub(super) fn entries(&self, eight: u64) -> &[Entry] {
        let bucket = (Self::hash(eight) >> self.starts_shift) as usize;
        &self.entries[self.starts[bucket] as usize..self.starts[bucket + 1] as usize]
    }
}
