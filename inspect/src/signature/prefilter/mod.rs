//! Which signatures may match a text at all: one pass over its bytes, whatever the number of signatures.
//!
//! # Theory of operation
//!
//! Of each signature one pattern is searched for (its fast pattern); only when that occurs is the signature looked at
//! as a whole. Of each such pattern, two runs of four bytes are chosen that traffic rarely holds, one byte apart: so one
//! of them begins at an even place of the text wherever the pattern stands, and every second place is all that has to be
//! looked at. What a look costs decides how fast inspection is, so it is a hash and one byte of a table that fits into
//! the nearest caches ([`grams`]): mostly the answer is no. Where it is yes, up to eight bytes of each pattern that hangs
//! on the run are compared ([`table`]), and where they agree the pattern as a whole.
//!
//! Patterns of two and three bytes have no such runs. They are looked for by their first two bytes ([`pairs`]), in two
//! sets: nearly all of them may stand only within the first bytes of their text, and those need not be looked for in the
//! rest. Signatures with nothing but single bytes are not for a prefilter.
//!
//! A hostile text can be full of runs that patterns hang on, though it holds none of the patterns. The builder spreads
//! the patterns over different runs, and what is compared adds to the packet's count of work, like all verification.

mod frequency;
mod grams;
mod pairs;
mod search;
mod table;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use frequency::gram;
pub(crate) use frequency::{FOLD, commonness};
use grams::Grams;
use pairs::Pairs;
use search::{Places, Search};
use table::{Entry, Table};

use super::work::Work;
use crate::limits::{PREFILTER_NEAR_BYTES_MAX, PREFILTER_PATTERN_BYTES_MAX};

/// A set of patterns, each standing for some signatures. What takes memory is shared with the sets that it was built after,
/// as far as it is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prefilter {
    grams: Option<Grams>,
    /// By runs of four bytes.
    runs: Table<4>,
    /// By the three bytes behind the first one of patterns of four or five.
    rests: Table<3>,
    pairs: Option<(Pairs, Table<2>)>,
    /// Pairs of patterns that end within the first `near_reach` bytes or do not count.
    near_pairs: Option<(Pairs, Table<2>)>,
    near_reach: usize,
    patterns: Arc<[Pattern]>,
    /// The patterns' bytes in lower case.
    bytes: Arc<[u8]>,
    /// Signatures of the patterns, those with the same gate together.
    groups: Arc<[Group]>,
    signatures: Arc<[u32]>,
    /// Bytes of the longest pattern.
    length_max: usize,
}

#[derive(Clone, Copy, Debug)]
struct Pattern {
    start: u32,
    length: u16,
    /// It counts near the text's start only.
    is_near: bool,
    groups_start: u32,
    groups_end: u32,
}

/// Signatures of a pattern that have their gate in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Group {
    gate: u32,
    start: u32,
    end: u32,
}

/// Signatures that a pattern stands for, and the gate that they have in common: if a packet does not pass that, none of
/// them need be asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'p> {
    pub(crate) gate: u32,
    pub(crate) signatures: &'p [u32],
}

/// A pattern, and whether it counts near the text's start only.
type Place = (Vec<u8>, bool);

/// What a prefilter is built from.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    /// By pattern, its signatures with the numbers of their gates before them.
    patterns: HashMap<Place, Vec<(u32, u32)>>,
    near_reach: usize,
}

/// The signatures of patterns in their order.
#[derive(Debug, Default)]
struct Lists {
    groups: Vec<Group>,
    signatures: Vec<u32>,
    /// By pattern, where its groups end.
    ends: Vec<u32>,
}

impl Lists {
    fn of(patterns: &[(Place, Vec<(u32, u32)>)]) -> Self {
        let mut lists = Self::default();
        for (_, signatures) in patterns {
            for alike in signatures.chunk_by(|(one, _), (other, _)| one == other) {
                let start = index_of(&lists.signatures);
                lists.signatures.extend(alike.iter().map(|(_, signature)| signature));
                lists.groups.push(Group { gate: alike[0].0, start, end: index_of(&lists.signatures) });
            }
            lists.ends.push(index_of(&lists.groups));
        }
        lists
    }
}

impl Builder {
    /// The shortest pattern that a prefilter takes.
    pub(crate) const LENGTH_MIN: usize = 2;

    /// Adds a signature with this gate under a pattern of at least [`Builder::LENGTH_MIN`] bytes, in any case. `reach` is the
    /// place behind which the pattern cannot end, where that is known.
    pub(crate) fn add(&mut self, pattern: &[u8], reach: Option<usize>, signature: u32, gate: u32) {
        let near = reach.filter(|&reach| pattern.len() < 4 && reach <= PREFILTER_NEAR_BYTES_MAX);
        self.near_reach = self.near_reach.max(near.unwrap_or(0));
        let key = (cut(pattern).to_ascii_lowercase(), near.is_some());
        self.patterns.entry(key).or_default().push((gate, signature));
    }

    /// Builds it, with the tables of one that was built before where the patterns are the same: then only the numbers of
    /// signatures can differ.
    pub(crate) fn build(self, before: Option<&Prefilter>) -> Prefilter {
        let mut sorted: Vec<_> = self.patterns.into_iter().collect();
        // Short patterns have the least choice of runs, so they choose first.
        sorted.sort_unstable_by(|(one, _), (other, _)| (one.0.len(), one).cmp(&(other.0.len(), other)));
        for (_, signatures) in &mut sorted {
            signatures.sort_unstable();
            signatures.dedup();
        }
        let Lists { groups, signatures, ends } = Lists::of(&sorted);
        if let Some(before) = before.filter(|before| before.has_patterns(&sorted, &ends)) {
            let (groups, signatures) = (same_or(&before.groups, groups), same_or(&before.signatures, signatures));
            return Prefilter { groups, signatures, near_reach: self.near_reach, ..before.clone() };
        }
        let mut filter = Prefilter { near_reach: self.near_reach, ..Prefilter::default() };
        let (mut patterns, mut all_bytes, mut groups_end) = (Vec::new(), Vec::new(), 0);
        let (mut runs, mut rests, mut pairs, mut near_pairs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut places = Vec::new();
        let mut loads = HashMap::new();
        for (index, (((bytes, is_near), _), end)) in (0u32..).zip(sorted.iter().zip(ends)) {
            let groups_start = std::mem::replace(&mut groups_end, end);
            let (start, length) = (index_of(&all_bytes), u16::try_from(bytes.len()).unwrap_or(0));
            patterns.push(Pattern { start, length, is_near: *is_near, groups_start, groups_end });
            filter.length_max = filter.length_max.max(bytes.len());
            let entry = |offset: usize| Entry::new(bytes, offset, index, groups_start..groups_end);
            match place_of_runs(bytes, &mut loads) {
                Some(offset) => {
                    places.push((bytes.as_slice(), offset));
                    runs.push(entry(offset));
                    let second = if bytes.len() > 5 { &mut runs } else { &mut rests };
                    second.push(entry(offset + 1));
                }
                None if *is_near => near_pairs.push((pair(bytes), entry(0))),
                None => pairs.push((pair(bytes), entry(0))),
            }
            all_bytes.extend(bytes);
        }
        filter.grams = (!places.is_empty()).then(|| Grams::of(places.iter().copied()));
        (filter.runs, filter.rests) = (Table::of(runs), Table::of(rests));
        (filter.pairs, filter.near_pairs) = (pairs_of(pairs), pairs_of(near_pairs));
        (filter.patterns, filter.bytes) = (patterns.into(), all_bytes.into());
        (filter.groups, filter.signatures) = (groups.into(), signatures.into());
        filter
    }
}

/// The list of before, if it is the same.
fn same_or<T: PartialEq>(before: &Arc<[T]>, list: Vec<T>) -> Arc<[T]> {
    if **before == *list { Arc::clone(before) } else { list.into() }
}

fn pairs_of(entries: Vec<([u8; 2], Entry)>) -> Option<(Pairs, Table<2>)> {
    let pairs = Pairs::of(entries.iter().map(|&(pair, _)| pair));
    (!entries.is_empty()).then(|| (pairs, Table::of(entries.into_iter().map(|(_, entry)| entry).collect())))
}

fn pair(bytes: &[u8]) -> [u8; 2] {
    let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
    [byte(0), byte(1)]
}

/// Offset of the first of the two runs that a pattern is searched by, one byte apart; `None` for patterns of less than
/// four bytes. `loads` counts the patterns by run: what many patterns hang on is cheap to fill a text with.
fn place_of_runs(bytes: &[u8], loads: &mut HashMap<u32, u32>) -> Option<usize> {
    let last = match bytes.len() {
        0..4 => return None,
        length => length.saturating_sub(5),
    };
    let run = |offset: usize| {
        let byte = |ahead: usize| bytes.get(offset + ahead).copied().unwrap_or(0);
        [byte(0), byte(1), byte(2), byte(3)]
    };
    let cost = |offset: usize| {
        let (own, load) = (commonness(run(offset)), loads.get(&gram(run(offset))).copied().unwrap_or(0));
        // Where the pattern shows three bytes two bytes on, these are looked at too.
        let alarms = if offset + 5 <= bytes.len() { own.min(commonness(run(offset + 2))) } else { own + LONE };
        alarms + own / 4 + LOAD * load
    };
    let offset = (0..=last).min_by_key(|&offset| cost(offset) + cost(offset + 1))?;
    for offset in [offset, offset + 1] {
        *loads.entry(gram(run(offset))).or_default() += 1;
    }
    Some(offset)
}

/// What a pattern more on the same run costs, measured as runs' commonness is.
const LOAD: u32 = 40;

/// What each look less costs that can tell where the pattern may be.
const LONE: u32 = 60;

fn index_of<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

/// The window of a long pattern that has its rarest bytes in it.
fn cut(pattern: &[u8]) -> &[u8] {
    if pattern.len() <= PREFILTER_PATTERN_BYTES_MAX {
        return pattern;
    }
    let offset = rarest(&pattern.to_ascii_lowercase()).unwrap_or(0);
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

/// Offset of the four bytes that traffic holds least often.
fn rarest(bytes: &[u8]) -> Option<usize> {
    let runs = bytes.windows(4).filter_map(|window| <[u8; 4]>::try_from(window).ok()).enumerate();
    runs.min_by_key(|&(_, run)| commonness(run)).map(|(offset, _)| offset)
}

impl Prefilter {
    /// Whether its patterns are these, each for as many groups of signatures: `ends` says where those end.
    fn has_patterns(&self, sorted: &[(Place, Vec<(u32, u32)>)], ends: &[u32]) -> bool {
        self.patterns.len() == sorted.len()
            && self.patterns.iter().zip(sorted.iter().zip(ends)).all(|(pattern, (((bytes, is_near), _), end))| {
                let (start, length) = (pattern.start as usize, usize::from(pattern.length));
                (pattern.is_near, pattern.groups_end) == (*is_near, *end)
                    && self.bytes[start..start + length] == **bytes
            })
    }

    /// Whether the two are searched for by the same tables.
    #[cfg(test)]
    pub(crate) fn shares_tables_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.patterns, &other.patterns) && Arc::ptr_eq(&self.bytes, &other.bytes)
    }

    /// The patterns, with the number of signatures that each stands for.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = (Vec<u8>, usize)> {
        self.patterns.iter().map(|pattern| {
            let bytes = &self.bytes[pattern.start as usize..pattern.start as usize + usize::from(pattern.length)];
            let groups = &self.groups[pattern.groups_start as usize..pattern.groups_end as usize];
            (bytes.to_vec(), groups.iter().map(|group| (group.end - group.start) as usize).sum())
        })
    }

    /// Bytes before a text's start that must be scanned with it so that patterns across the border are found.
    pub(crate) fn overlap(&self) -> usize {
        self.length_max.saturating_sub(1)
    }

    /// Bytes from the start of a text within which short patterns that may stand only there are looked for.
    pub(crate) fn near_reach(&self) -> usize {
        self.near_reach
    }

    /// Calls `found` with the signatures of each pattern that occurs in `text` and ends behind its first `old` bytes, and
    /// with the place behind it; perhaps several times. `near` is the part of the text that counts as its buffer's
    /// start. Adds what comparing costs to `work`, and compares no more when that is spent; the pass itself, which costs
    /// the same for every text, is not counted.
    pub(crate) fn scan(
        &self,
        text: &[u8],
        old: usize,
        near: Range<usize>,
        work: &mut Work,
        found: impl FnMut(Named<'_>, usize),
    ) {
        let mut search = Search::new(text, old, work, found);
        if let Some(grams) = &self.grams {
            grams.pass(text, &mut |hits| self.compare_at(hits, &mut search));
        }
        if let Some((pairs, table)) = &self.pairs {
            self.pass_pairs(pairs, table, 0, &mut search);
        }
        self.pass_near(near, &mut search);
    }

    /// As [`Prefilter::scan`], for those patterns alone that count near the start.
    pub(crate) fn scan_near(
        &self,
        text: &[u8],
        old: usize,
        near: Range<usize>,
        work: &mut Work,
        found: impl FnMut(Named<'_>, usize),
    ) {
        self.pass_near(near, &mut Search::new(text, old, work, found));
    }

    fn pass_near<F: FnMut(Named<'_>, usize)>(&self, near: Range<usize>, search: &mut Search<'_, F>) {
        if let Some((pairs, table)) = &self.near_pairs {
            let near = near.start.min(search.text.len())..near.end.min(search.text.len());
            search.turn(&search.text[..near.end]);
            self.pass_pairs(pairs, table, near.start, search);
        }
    }

    fn pass_pairs<F: FnMut(Named<'_>, usize)>(
        &self,
        pairs: &Pairs,
        table: &Table<2>,
        from: usize,
        search: &mut Search<'_, F>,
    ) {
        let mut places = Places::new();
        pairs.pass(search.text, from, &mut |place| {
            places.note(place as u32, true);
            if places.are_full() {
                self.compare(table, &places, search);
                places = Places::new();
            }
        });
        self.compare(table, &places, search);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Calls `found` for each signature by itself.
    fn each(mut found: impl FnMut(u32, usize)) -> impl FnMut(Named<'_>, usize) {
        move |named, end| named.signatures.iter().for_each(|&signature| found(signature, end))
    }

    fn scan(patterns: &[Vec<u8>], text: &[u8]) -> BTreeSet<u32> {
        let mut builder = Builder::default();
        for (index, pattern) in (0..).zip(patterns) {
            builder.add(pattern, None, index, index % 3);
        }
        let mut hits = BTreeSet::new();
        builder.build(None).scan(
            text,
            0,
            0..0,
            &mut Work::of(u64::MAX),
            each(|signature, _| {
                hits.insert(signature);
            }),
        );
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
                prop_oneof!["[abAB@`\\x00 ]{2,9}", "[ab]{4,5}", "[a-zA-Z./]{2,20}"].prop_map(String::into_bytes), 1..40),
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
    fn sets_of_every_size_are_found_wherever_they_stand() {
        // Numbers that look random, of our own making.
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for count in [1, 3, 40, 600, 9000] {
            let patterns: Vec<Vec<u8>> =
                (0..count).map(|_| (0..2 + random(11)).map(|_| random(256) as u8).collect()).collect();
            let mut builder = Builder::default();
            for (index, pattern) in (0..).zip(&patterns) {
                builder.add(pattern, None, index, index % 3);
            }
            let filter = builder.build(None);
            for (index, pattern) in (0u32..).zip(&patterns) {
                let (before, behind) = (random(40) as usize, random(40) as usize);
                let text = [&vec![b'.'; before], pattern.as_slice(), &vec![b'.'; behind]].concat();
                let mut hits = Vec::new();
                filter.scan(&text, 0, 0..0, &mut Work::of(u64::MAX), each(|signature, _| hits.push(signature)));
                assert!(hits.contains(&index), "{pattern:?} of {count} behind {before} bytes, before {behind}");
            }
        }
    }

    #[test]
    fn near_patterns_count_near_the_start() {
        let mut builder = Builder::default();
        builder.add(b"MZ", Some(2), 1, 0);
        builder.add(b"PE", Some(10), 2, 0);
        builder.add(b"zz", Some(100_000), 3, 0);
        let filter = builder.build(None);
        let scan = |text: &[u8], near: Range<usize>| {
            let mut hits = Vec::new();
            filter.scan(text, 0, near, &mut Work::of(u64::MAX), each(|signature, end| hits.push((signature, end))));
            hits
        };
        assert_eq!(filter.near_reach(), 10);
        assert_eq!(scan(b"mzxxpeMZpeZZ", 0..10), [(3, 12), (1, 2), (2, 6)]);
        assert_eq!(scan(b"MZxxxxxxxx", 2..12), []);
    }

    #[test]
    fn what_was_seen_is_not_found_again_and_work_ends() {
        let mut builder = Builder::default();
        builder.add(b"needle", None, 7, 0);
        let filter = builder.build(None);
        let scan = |old, work: &mut Work| {
            let mut hits = Vec::new();
            filter.scan(b"needle.needle.needle", old, 0..0, work, |_, end| hits.push(end));
            hits
        };
        assert_eq!(scan(0, &mut Work::of(u64::MAX)), [6]);
        assert_eq!(scan(6, &mut Work::of(u64::MAX)), [13]);
        assert_eq!(scan(20, &mut Work::of(u64::MAX)), []);
        let mut work = Work::of(10);
        work.done = 11;
        assert_eq!(scan(0, &mut work), []);
        assert_eq!(work.done, 11);
    }

    #[test]
    fn hostile_texts_cost_little_per_byte() {
        // Patterns that have all but a few letters in common, and texts that are full of what they have in common.
        let patterns: Vec<Vec<u8>> =
            (0..3000u32).map(|index| format!("http://www.evil{index:x}.example/gate.php?id=").into_bytes()).collect();
        let mut builder = Builder::default();
        for (index, pattern) in (0..).zip(&patterns) {
            builder.add(pattern, None, index, index % 3);
        }
        let filter = builder.build(None);
        let starts: Vec<u8> = patterns.iter().flat_map(|pattern| pattern[..18].to_vec()).collect();
        let ends: Vec<u8> = patterns.iter().flat_map(|pattern| pattern[pattern.len() - 20..].to_vec()).collect();
        for text in [starts, ends, b"gate.php?id=".repeat(1000), b"http://www.evil".repeat(1000), patterns.concat()] {
            let mut work = Work::of(u64::MAX);
            filter.scan(&text, 0, 0..0, &mut work, |_, _| {});
            assert!(work.done / 20 < text.len() as u64, "{} for {} bytes", work.done, text.len());
        }
    }

    #[test]
    fn what_is_one_byte_all_along_costs_next_to_nothing() {
        // All of these hang on zeros.
        let patterns: Vec<Vec<u8>> = (1..60u8)
            .flat_map(|byte| {
                [[&[byte][..], &[0; 7]].concat(), [&[0; 9][..], &[byte]].concat(), vec![0; usize::from(byte) + 3]]
            })
            .chain([vec![0; 2], vec![7, 0], vec![0, 7]])
            .collect();
        let mut builder = Builder::default();
        for (index, pattern) in (0..).zip(&patterns) {
            builder.add(pattern, None, index, index % 3);
        }
        let filter = builder.build(None);
        let mut work = Work::of(u64::MAX);
        filter.scan(&[0; 100_000], 0, 0..0, &mut work, |_, _| {});
        assert!(work.done < 200_000, "{}", work.done);
        for length in [1, 8, 71, 72, 73, 143, 144, 145, 146, 300] {
            for old in [0, 1, length / 2, length] {
                let text = [&[1; 3][..], &vec![0; length], &[7; 2], &vec![0; length], &[9]].concat();
                let fresh =
                    |pattern: &[u8], place: usize| text[place..].starts_with(pattern) && place + pattern.len() > old;
                let naive: BTreeSet<u32> = (0u32..)
                    .zip(&patterns)
                    .filter(|(_, pattern)| (0..text.len()).any(|place| fresh(pattern, place)))
                    .map(|(index, _)| index)
                    .collect();
                let mut hits = BTreeSet::new();
                filter.scan(
                    &text,
                    old,
                    0..0,
                    &mut Work::of(u64::MAX),
                    each(|signature, _| {
                        hits.insert(signature);
                    }),
                );
                assert_eq!(hits, naive, "{length} zeros, {old} bytes old");
            }
        }
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
