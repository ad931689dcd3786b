//! What is done at the places of a text where a pattern may stand: the patterns that may are compared with it.
//!
//! Where a text is hostile these places are many, and what is asked for at each depends on the answer before: where its
//! entries are, what these say, which signatures that comes to. Place by place, each would wait for memory several times,
//! and for the processor to find that it has guessed wrong. So one question is asked for many places before the next one is,
//! and answers are written down whatever they are, and kept if they are those that count.

use std::ops::Range;

use super::grams::Hit;
use super::table::{self, Entry, Table};
use super::{Named, Prefilter};
use crate::limits::PREFILTER_PATTERN_BYTES_MAX;
use crate::signature::work::Work;

/// Patterns that a search remembers to have found.
const SEEN: usize = 16;

/// Places that are looked at together at most.
const PLACES: usize = super::grams::HITS;

/// Hits that are too few to be worth it.
const FEW: usize = 8;

/// Places of a text that wait to be looked at.
pub(super) struct Places {
    all: [u32; PLACES],
    count: usize,
}

impl Places {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { all: [0; PLACES], count: 0 }
    }

    /// Notes a place if it is one. There must be room.
    #[inline(always)]
    pub(super) fn note(&mut self, place: u32, is_one: bool) {
        if let Some(free) = self.all.get_mut(self.count) {
            *free = place;
            self.count += usize::from(is_one);
        }
    }

    pub(super) fn are_full(&self) -> bool {
        self.count == PLACES
    }
}

/// Bytes around a place, on either side, that a comparison can look at: patterns that hang on less than four bytes have no
/// more than five.
const fn reach(key: usize) -> usize {
    8 + if key == 4 { PREFILTER_PATTERN_BYTES_MAX } else { 4 }
}

/// A search under way.
pub(super) struct Search<'s, F> {
    pub(super) text: &'s [u8],
    /// Patterns that end within so many bytes were found before.
    old: usize,
    work: &'s mut Work,
    /// Patterns that were found, by their lowest bits: a text that repeats one costs its signatures once.
    seen: [u32; SEEN],
    /// Where the text is one byte again and again, the last such part that was met.
    uniform: Range<usize>,
    /// By the length of the table's keys, less 2: places in it that look just like one that was compared there.
    settled: [Range<usize>; 3],
    found: F,
}

impl Prefilter {
    /// Compares the patterns that may hang on what hits have seen.
    #[inline(never)]
    pub(super) fn compare_at<F: FnMut(Named<'_>, usize)>(&self, hits: &[Hit], search: &mut Search<'_, F>) {
        if hits.len() < FEW {
            for hit in hits {
                if hit.is_at_first() {
                    self.compare_one(&self.runs, hit.place(), search);
                }
                if hit.is_at_second() {
                    self.compare_one(&self.rests, hit.place() + 2, search);
                }
            }
            return;
        }
        let (mut at_first, mut at_second) = (Places::new(), Places::new());
        for hit in hits {
            at_first.note(hit.place(), hit.is_at_first());
            at_second.note(hit.place() + 2, hit.is_at_second());
        }
        self.compare(&self.runs, &at_first, search);
        self.compare(&self.rests, &at_second, search);
    }

    /// Compares the patterns that may hang on a run with the text around its place.
    #[inline(never)]
    fn compare_one<const KEY: usize, F: FnMut(Named<'_>, usize)>(
        &self,
        table: &Table<KEY>,
        place: u32,
        search: &mut Search<'_, F>,
    ) {
        if table.entries().is_empty() || search.work.is_spent() {
            return;
        }
        let place = place as usize;
        let (eight, before) = table::around(search.text, place);
        let (first, end) = table.bucket(eight);
        if eight == eight.rotate_left(8) && search.is_settled::<KEY>(place) {
            return;
        }
        search.work.done += 2 + u64::from(end - first) / 2;
        for entry in &table.entries()[first as usize..end as usize] {
            if entry.agrees(eight, before) {
                self.meet(entry, place, search);
            }
        }
    }

    /// Compares the patterns that may hang on runs with the text around their places.
    pub(super) fn compare<const KEY: usize, F: FnMut(Named<'_>, usize)>(
        &self,
        table: &Table<KEY>,
        places: &Places,
        search: &mut Search<'_, F>,
    ) {
        let places = &places.all[..places.count];
        let settled = &search.settled[KEY - 2];
        // Their places rise, so that all are settled if the first and the last one are.
        let are_settled =
            |first: &u32, last: &u32| settled.contains(&(*first as usize)) && settled.contains(&(*last as usize));
        match (places.first(), places.last()) {
            _ if places.len() < FEW => places.iter().for_each(|&place| self.compare_one(table, place, search)),
            (Some(first), Some(last)) if !table.entries().is_empty() && !are_settled(first, last) => {
                self.compare_all(table, places, search);
            }
            _ => {}
        }
    }

    #[inline(never)]
    fn compare_all<const KEY: usize, F: FnMut(Named<'_>, usize)>(
        &self,
        table: &Table<KEY>,
        places: &[u32],
        search: &mut Search<'_, F>,
    ) {
        if search.work.is_spent() {
            return;
        }
        let (text, entries) = (search.text, table.entries());
        let (mut agreed, mut agreed_count) = ([(0u32, 0u32); PLACES], 0);
        let (mut longer, mut longer_count) = ([(0u32, 0u32, 0u32); PLACES], 0);
        for &place in places {
            let (eight, before) = table::around(text, place as usize);
            let (first, end) = table.bucket(eight);
            if eight == eight.rotate_left(8) && search.is_settled::<KEY>(place as usize) {
                continue;
            }
            search.work.done += 2 + u64::from(end - first) / 2;
            // The first entry, and for later, where there are more.
            let Some(entry) = entries.get(first as usize) else { continue };
            agreed[agreed_count] = (first, place);
            agreed_count += usize::from((first < end) & entry.agrees(eight, before));
            longer[longer_count] = (first + 1, end, place);
            longer_count += usize::from(first + 1 < end);
        }
        for &(entry, place) in &agreed[..agreed_count] {
            self.meet(&entries[entry as usize], place as usize, search);
        }
        for &(from, end, place) in &longer[..longer_count] {
            let (eight, before) = table::around(text, place as usize);
            for entry in entries[from as usize..end as usize].iter().filter(|entry| entry.agrees(eight, before)) {
                self.meet(entry, place as usize, search);
            }
        }
    }

    /// Compares the pattern of an entry that agrees with the text, and names its signatures.
    #[inline(always)]
    fn meet<F: FnMut(Named<'_>, usize)>(&self, entry: &Entry, place: usize, search: &mut Search<'_, F>) {
        if search.seen[entry.pattern as usize % SEEN] == entry.pattern || search.work.is_spent() {
            return;
        }
        search.work.done += 6;
        let length = usize::from(entry.length);
        let Some(start) = place.checked_sub(usize::from(entry.offset)) else { return };
        let Some(candidate) = search.text.get(start..start + length) else { return };
        if start + length <= search.old || !(entry.is_whole() || self.is_pattern(entry.pattern, candidate)) {
            return;
        }
        search.seen[entry.pattern as usize % SEEN] = entry.pattern;
        let groups = &self.groups[entry.groups_start as usize..entry.groups_end as usize];
        search.work.done += 2 * groups.len() as u64;
        for group in groups {
            let signatures = &self.signatures[group.start as usize..group.end as usize];
            (search.found)(Named { gate: group.gate, signatures }, start + length);
        }
    }

    fn is_pattern(&self, pattern: u32, text: &[u8]) -> bool {
        let start = self.patterns[pattern as usize].start as usize;
        self.bytes.get(start..start + text.len()).is_some_and(|bytes| text.eq_ignore_ascii_case(bytes))
    }
}

impl<'s, F> Search<'s, F> {
    pub(super) fn new(text: &'s [u8], old: usize, work: &'s mut Work, found: F) -> Self {
        Self { text, old, work, seen: [u32::MAX; SEEN], uniform: 0..0, settled: [0..0, 0..0, 0..0], found }
    }

    /// Turns to another text.
    pub(super) fn turn(&mut self, text: &'s [u8]) {
        (self.text, self.uniform, self.settled) = (text, 0..0, [0..0, 0..0, 0..0]);
    }

    /// Whether a place of one byte again and again looks just like one that was compared.
    #[inline(never)]
    fn is_settled<const KEY: usize>(&mut self, place: usize) -> bool {
        let is_settled = self.settled[KEY - 2].contains(&place);
        if !is_settled {
            self.settle::<KEY>(place);
        }
        is_settled
    }

    /// The text is one byte again and again from a place on, as in padding or an empty disk. Where that goes on for longer than
    /// comparisons reach, they all come to the same: one of them will do, this one if it is the first of them.
    fn settle<const KEY: usize>(&mut self, place: usize) {
        if place >= self.uniform.end {
            let byte = self.text[place];
            let (before, behind) = self.text.split_at(place);
            let back = before.iter().rev().take(reach(4)).take_while(|&&other| other == byte).count();
            let ahead = behind.iter().position(|&other| other != byte).unwrap_or(behind.len());
            self.work.done += ahead as u64 / 4;
            self.uniform = place - back..place + ahead;
        }
        let reach = reach(KEY);
        if place >= self.uniform.start + reach && place + reach <= self.uniform.end && place >= self.old {
            self.settled[KEY - 2] = place + 1..self.uniform.end - reach + 1;
        }
    }
}
