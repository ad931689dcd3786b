//! The first question of a pass: whether any pattern can hang on the four bytes at a place.
//!
//! Every second place of a text is looked at. A look folds the case of the four bytes there, hashes them and takes a
//! cell of eight bits. Its lower half says in which of four classes some pattern has these bytes as its run, its upper
//! half in which some pattern has them two bytes behind its run: so the looks at one place and at the next one stand for
//! six bytes, and only where a class has both is there a hit. Patterns that are too short to show so many bytes make a
//! class of their own, which asks one look alone.
//!
//! A pattern of four bytes at an odd place shows only its last three at an even one. The lower bits of the product that
//! is the hash come from the first three bytes alone, so that all cells in which they can end up are few.

use std::sync::Arc;

use super::frequency::{FOLD, gram};

/// The class of patterns that one look must do for.
const SHORT: u8 = 1;

/// The other classes; what hangs on the same run is in the same one.
const CLASSES: u32 = 3;

/// Bits of a cell's number that depend on all four bytes: the upper ones.
const LAST_BITS: u32 = 3;

/// Looks in a row of which the answers are looked at together.
const LOOKS: usize = 8;

/// Bytes that so many looks see.
const BLOCK: usize = 2 * LOOKS + 2;

/// Cells by the hash of four bytes. A copy shares them.
#[derive(Clone, Debug)]
pub(super) struct Grams {
    cells: Arc<[u8]>,
}

/// The four bytes, all of them or the first three, from an offset of a pattern on.
struct Run {
    gram: u32,
    is_whole: bool,
}

impl Run {
    fn of(bytes: &[u8], offset: usize) -> Option<Self> {
        match bytes.get(offset..)? {
            [a, b, c, d, ..] => Some(Self { gram: gram([*a, *b, *c, *d]), is_whole: true }),
            [a, b, c] => Some(Self { gram: gram([*a, *b, *c, 0]), is_whole: false }),
            _ => None,
        }
    }
}

/// The number of a cell, of `1 << BITS`: the upper bits of the product that the first three bytes make alone, and above
/// them some that come from all four.
#[inline(always)]
fn cell<const BITS: u32>(gram: u32) -> usize {
    (gram.wrapping_mul(0x9E37_79B1) >> (24 + LAST_BITS - BITS)) as usize & ((1 << BITS) - 1)
}

fn mark(cells: &mut [u8], run: &Run, bits: u8) {
    let lasts = if run.is_whole { 0..=0 } else { 0..=u8::MAX };
    for last in lasts {
        let gram = if run.is_whole { run.gram } else { run.gram & 0x00ff_ffff | u32::from(last | 0x20) << 24 };
        let cell = match cells.len() {
            0x200 => cell::<9>(gram),
            0x1000 => cell::<12>(gram),
            0x1_0000 => cell::<16>(gram),
            _ => cell::<17>(gram),
        };
        cells[cell] |= bits;
    }
}

impl Grams {
    /// The sizes that tables come in, as powers of two. Few and fixed, so that the pass is compiled for each and knows
    /// without looking that a cell lies within.
    const SIZES_LOG2: [u32; 4] = [9, 12, 16, 17];

    /// `places` are patterns of at least four bytes, with the offset of the first of their two runs.
    pub(super) fn of<'b>(places: impl Iterator<Item = (&'b [u8], usize)> + Clone) -> Self {
        // Eight cells for each of its two runs keep a pattern's false alarms rare.
        let wanted = (16 * places.clone().count()).next_power_of_two().trailing_zeros();
        let bits = Self::SIZES_LOG2.into_iter().find(|&size| wanted <= size).unwrap_or(Self::SIZES_LOG2[3]);
        let mut cells = vec![0; 1 << bits];
        for (bytes, first) in places {
            for offset in [first, first + 1] {
                let Some(run) = Run::of(bytes, offset) else { continue };
                match Run::of(bytes, offset + 2) {
                    Some(next) => {
                        let class = SHORT << (1 + (run.gram & 0x00ff_ffff) % CLASSES);
                        mark(&mut cells, &run, class);
                        mark(&mut cells, &next, class << 4);
                    }
                    None => mark(&mut cells, &run, SHORT),
                }
            }
        }
        cells.iter_mut().for_each(|cell| *cell |= SHORT << 4);
        Self { cells: cells.into() }
    }

    /// Looks at a text and calls `hit` with the places at which a run may lie and
    /// with whether it may be one of a short pattern.
    #[inline(always)]
    pub(super) fn pass(&self, text: &[u8], hit: &mut impl FnMut(usize, bool)) {
        // Chosen by the table's size.
        if let Ok(cells) = <&[u8; 1 << 9]>::try_from(&*self.cells) {
            sized_pass::<9, { 1 << 9 }>(cells, text, hit);
        } else if let Ok(cells) = <&[u8; 1 << 12]>::try_from(&*self.cells) {
            sized_pass::<12, { 1 << 12 }>(cells, text, hit);
        } else if let Ok(cells) = <&[u8; 1 << 16]>::try_from(&*self.cells) {
            sized_pass::<16, { 1 << 16 }>(cells, text, hit);
        } else if let Ok(cells) = <&[u8; 1 << 17]>::try_from(&*self.cells) {
            sized_pass::<17, { 1 << 17 }>(cells, text, hit);
        }
    }
}

#[inline(never)]
fn sized_pass<const BITS: u32, const CELLS: usize>(
    cells: &[u8; CELLS],
    text: &[u8],
    hit: &mut impl FnMut(usize, bool),
) {
    // What the look before the block has seen.
    let mut before = 0;
    let mut place = 0;
    while let Some(block) = text.get(place..place + BLOCK).and_then(|block| <&[u8; BLOCK]>::try_from(block).ok()) {
        before = looks::<BITS, CELLS>(cells, block, before, place, hit);
        place += 2 * LOOKS;
    }
    let rest = &text[place..];
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    // Nothing hangs on less than three bytes of the text.
    let mut hit_within = |place, is_short| {
        if place + 3 <= text.len() {
            hit(place, is_short);
        }
    };
    let last = looks::<BITS, CELLS>(cells, &block, before, place, &mut hit_within);
    if last & u32::from(SHORT) != 0 {
        hit_within(place + 2 * LOOKS - 2, true);
    }
}

/// None of the looks waits for another. Answers what the last one has seen.
#[inline(always)]
fn looks<const BITS: u32, const CELLS: usize>(
    cells: &[u8; CELLS],
    block: &[u8; BLOCK],
    before: u32,
    place: usize,
    hit: &mut impl FnMut(usize, bool),
) -> u32 {
    let look = |index: usize| {
        let at = 2 * index;
        let gram = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]) | FOLD;
        u32::from(cells[cell::<BITS>(gram)])
    };
    let mut seen = [before; LOOKS + 1];
    for index in 0..LOOKS {
        seen[index + 1] = look(index);
    }
    let mut any = 0;
    for index in 0..LOOKS {
        any |= seen[index] & (seen[index + 1] >> 4);
    }
    if any != 0 {
        for index in 0..LOOKS {
            let classes = seen[index] & (seen[index + 1] >> 4);
            if classes != 0 {
                hit((place + 2 * index).wrapping_sub(2), classes & u32::from(SHORT) != 0);
            }
        }
    }
    seen[LOOKS]
}
