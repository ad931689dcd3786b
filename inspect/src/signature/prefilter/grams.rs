//! The first question of a pass: whether any pattern can hang on the four bytes at a place.
//!
//! Every second place of a text is looked at. A look folds the case of the four bytes there, hashes them and takes a
//! cell of eight bits. Its lower half says in which of four classes some pattern has these bytes as its run, its upper
//! half in which some pattern has them two bytes behind its run: so two looks in a row stand for six bytes, and only
//! where a class has both is there a hit. Patterns that are too short for that make classes of their own.
//!
//! Where a look shows but three bytes of a pattern, all cells are marked that the fourth byte can lead to. If that is
//! the last one they are few: the lower bits of the product that is the hash come from the first three bytes alone. If
//! it is the first one they are many, but what is four or five bytes long and stands at an odd place has no other way to
//! ask for two looks, and three bytes alone are in every second word.

use std::sync::Arc;

use super::frequency::{FOLD, gram};

/// Classes of runs.
const CLASSES: u32 = 4;

/// Runs for which one look must do: those of patterns of four bytes, at even places.
const ONE_LOOK: u8 = 1;

/// Runs with one more look before them, for patterns of four and five bytes at odd places.
const LOOK_BEFORE: u8 = 2;

/// The first class of the other runs, which have one more look behind them; what has the same run is in the same class.
const LOOK_BEHIND: u8 = 4;

/// What every cell says, and what is seen behind a text's end: that nothing is missing which a class does not ask about.
const UNASKED: u8 = ONE_LOOK << CLASSES;

/// Bits of a cell's number that depend on all four bytes: the upper ones.
const LAST_BITS: u32 = 3;

/// Looks in a row of which the answers are looked at together.
const LOOKS: usize = 8;

/// Hits that are handed on together at most.
pub(super) const HITS: usize = 32;

/// Bytes that so many looks see.
const BLOCK: usize = 2 * LOOKS + 2;

/// Cells by the hash of four bytes. A copy shares them.
#[derive(Clone, Debug)]
pub(super) struct Grams {
    cells: Arc<[u8]>,
}

/// A hit: the place of the first of its looks, and behind that a bit for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hit(u32);

impl Hit {
    #[inline(always)]
    fn new(place: usize, classes: u32) -> Self {
        Self((place as u32) << CLASSES | classes)
    }

    /// Place of the first of its looks.
    #[inline(always)]
    pub(super) fn place(self) -> u32 {
        self.0 >> CLASSES
    }

    /// Whether there may be a run whose look is the first one.
    #[inline(always)]
    pub(super) fn is_at_first(self) -> bool {
        self.classes() & !u32::from(LOOK_BEFORE) != 0
    }

    /// Whether there may be one whose look is the second one, two bytes on.
    #[inline(always)]
    pub(super) fn is_at_second(self) -> bool {
        self.classes() & u32::from(LOOK_BEFORE) != 0
    }

    #[inline(always)]
    fn classes(self) -> u32 {
        self.0 & ((1 << CLASSES) - 1)
    }
}

/// Hits that are not handed on yet. They are many together, so that what each of them needs from memory is fetched while
/// others wait for theirs.
struct Hits {
    hits: [Hit; HITS],
    count: usize,
}

impl Hits {
    /// Notes a hit if it is one. It is written in any case: which look hits, no processor foresees.
    #[inline(always)]
    fn note(&mut self, hit: Hit) {
        if let Some(free) = self.hits.get_mut(self.count) {
            *free = hit;
            self.count += usize::from(hit.classes() != 0);
        }
    }

    /// Forgets those behind the text: nothing hangs on less than three bytes of it.
    fn cut(&mut self, text: &[u8]) {
        let is_behind = |hit: &&Hit| hit.place() as usize + 3 > text.len();
        self.count -= self.hits[..self.count].iter().rev().take_while(is_behind).count();
    }

    /// Hands on what is noted once the next looks might not find room.
    #[inline(always)]
    fn hand_on(&mut self, act: &mut impl FnMut(&[Hit])) {
        if self.count + LOOKS > HITS {
            act(&self.hits[..self.count]);
            self.count = 0;
        }
    }
}

/// Four bytes that a look may see; one may be unknown.
#[derive(Clone, Copy)]
struct Run {
    gram: u32,
    /// Bit at which the unknown byte begins.
    unknown: Option<u32>,
}

impl Run {
    /// From an offset of a pattern on; `None` if it shows less than three bytes there.
    fn of(bytes: &[u8], offset: usize) -> Option<Self> {
        match bytes.get(offset..)? {
            [a, b, c, d, ..] => Some(Self { gram: gram([*a, *b, *c, *d]), unknown: None }),
            [a, b, c] => Some(Self { gram: gram([*a, *b, *c, 0]), unknown: Some(24) }),
            _ => None,
        }
    }

    /// What begins one byte before a pattern.
    fn before(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, ..] = bytes else { return None };
        Some(Self { gram: gram([0, a, b, c]), unknown: Some(0) })
    }

    /// All that a look can see there.
    fn grams(self) -> impl Iterator<Item = u32> {
        let count = if self.unknown.is_some() { 256 } else { 1 };
        let shift = self.unknown.unwrap_or(0);
        (0..count).map(move |byte| self.gram | byte << shift)
    }
}

/// The number of a cell, of `1 << BITS`: the upper bits of the product that the first three bytes make alone, and above
/// them some that come from all four.
#[inline(always)]
fn cell<const BITS: u32>(gram: u32) -> usize {
    (gram.wrapping_mul(0x9E37_79B1) >> (24 + LAST_BITS - BITS)) as usize & ((1 << BITS) - 1)
}

fn mark(cells: &mut [u8], run: Run, bits: u8) {
    for gram in run.grams() {
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
        // Eight cells keep a pattern's false alarms rare.
        let wanted = (16 * places.clone().count()).next_power_of_two().trailing_zeros();
        let bits = Self::SIZES_LOG2.into_iter().find(|&size| wanted <= size).unwrap_or(Self::SIZES_LOG2[3]);
        let mut cells = vec![UNASKED; 1 << bits];
        for (bytes, first) in places {
            for offset in [first, first + 1] {
                let (run, next) = (Run::of(bytes, offset), Run::of(bytes, offset + 2));
                let (first, second, class) = match (run, next) {
                    (Some(run), Some(next)) => (Some(run), Some(next), LOOK_BEHIND << ((run.gram & 0x00ff_ffff) % 2)),
                    _ if offset == 1 => (Run::before(bytes), run, LOOK_BEFORE),
                    _ => (run, None, ONE_LOOK),
                };
                first.into_iter().for_each(|run| mark(&mut cells, run, class));
                second.into_iter().for_each(|run| mark(&mut cells, run, class << CLASSES));
            }
        }
        Self { cells: cells.into() }
    }

    /// Looks at a text and calls `act` with the places at which a run may lie, many at a time.
    #[inline(always)]
    pub(super) fn pass(&self, text: &[u8], act: &mut impl FnMut(&[Hit])) {
        // Chosen by the table's size.
        if let Ok(cells) = <&[u8; 1 << 9]>::try_from(&*self.cells) {
            sized_pass::<9, { 1 << 9 }>(cells, text, act);
        } else if let Ok(cells) = <&[u8; 1 << 12]>::try_from(&*self.cells) {
            sized_pass::<12, { 1 << 12 }>(cells, text, act);
        } else if let Ok(cells) = <&[u8; 1 << 16]>::try_from(&*self.cells) {
            sized_pass::<16, { 1 << 16 }>(cells, text, act);
        } else if let Ok(cells) = <&[u8; 1 << 17]>::try_from(&*self.cells) {
            sized_pass::<17, { 1 << 17 }>(cells, text, act);
        }
    }
}

#[inline(never)]
fn sized_pass<const BITS: u32, const CELLS: usize>(cells: &[u8; CELLS], text: &[u8], act: &mut impl FnMut(&[Hit])) {
    let mut hits = Hits { hits: [Hit::default(); HITS], count: 0 };
    // What the look before the block has seen.
    let mut before = 0;
    let mut place = 0;
    while let Some(block) = text.get(place..place + BLOCK).and_then(|block| <&[u8; BLOCK]>::try_from(block).ok()) {
        before = looks::<BITS, CELLS>(cells, block, before, place, &mut hits);
        hits.hand_on(act);
        place += 2 * LOOKS;
    }
    let rest = &text[place..];
    let mut block = [0; BLOCK];
    block[..rest.len()].copy_from_slice(rest);
    let last = looks::<BITS, CELLS>(cells, &block, before, place, &mut hits);
    hits.cut(text);
    hits.hand_on(act);
    hits.note(Hit::new(place + 2 * LOOKS - 2, classes_of(last, u32::from(UNASKED))));
    hits.cut(text);
    if hits.count > 0 {
        act(&hits.hits[..hits.count]);
    }
}

/// The classes of which two looks in a row have seen what they ask about.
#[inline(always)]
fn classes_of(first: u32, second: u32) -> u32 {
    first & (second >> CLASSES)
}

/// None of the looks waits for another. Answers what the last one has seen.
#[inline(always)]
fn looks<const BITS: u32, const CELLS: usize>(
    cells: &[u8; CELLS],
    block: &[u8; BLOCK],
    before: u32,
    place: usize,
    hits: &mut Hits,
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
    let classes = |index: usize| classes_of(seen[index], seen[index + 1]);
    if (0..LOOKS).fold(0, |any, index| any | classes(index)) != 0 {
        for index in 0..LOOKS {
            hits.note(Hit::new((place + 2 * index).wrapping_sub(2), classes(index)));
        }
    }
    seen[LOOKS]
}
