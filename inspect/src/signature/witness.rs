//! What rules a signature out before its programs run: bytes that it cannot do without, and that a text does not hold.
//!
//! # Theory of operation
//!
//! A prefilter finds one pattern of a signature, and most signatures ask for more. A hostile text names hundreds of them in
//! each packet by those patterns and holds nothing else of what they ask for: looking for that costs each a pass over a
//! window of kilobytes, and again for every packet while it waits for more. So where many are to be looked at, a text is
//! gone over once, and which runs of four bytes it holds is noted in a set of bits; and of each signature up to four runs
//! are known that its text must hold. Case is folded, and bits are few, so the set may say that a run is there which is
//! not; never the reverse.

use super::content::Content;
use super::definition::Signature;
use super::prefilter::{FOLD, commonness};
use super::program::{Op, Step};
use crate::protocol::{Buffer, Delivery};

/// Runs that are known of a signature at most.
const RUNS: usize = 4;

/// Bits of a set, as a power of two: one for every number that a run can have.
const BITS_LOG2: u32 = 16;

/// Bytes of text that a set takes before it says of too many runs that they are there.
pub(crate) const RUN_SET_TEXT_MAX: usize = 64 << 10;

/// The number of a run.
#[inline(always)]
fn number(run: [u8; 4]) -> u16 {
    ((u32::from_le_bytes(run) | FOLD).wrapping_mul(0x9E37_79B1) >> (32 - BITS_LOG2)) as u16
}

/// The text that must hold a signature's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// Nothing is known of the signature.
    Unknown,
    /// Its stream, or the packet's payload.
    Payload,
    /// A buffer that comes in pieces.
    Body(Buffer),
}

/// Runs of bytes that a signature cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    pub(crate) within: Within,
    /// Their numbers; the last one is repeated when there are fewer.
    runs: [u16; RUNS],
    /// Beside what its gate asks, the signature asks for nothing but bytes and transactions.
    pub(crate) is_plain: bool,
    /// It looks into the stream, in which they may be yet to come.
    pub(crate) reads_stream: bool,
}

impl Witness {
    pub(crate) const NONE: Self =
        Self { within: Within::Unknown, runs: [0; RUNS], is_plain: false, reads_stream: false };

    /// What a signature cannot do without beside the pattern that it is found by, in lower case. The text in which that
    /// pattern stands is better than another.
    pub(crate) fn of(signature: &Signature, found_by: &[u8], found_in: Option<Buffer>) -> Self {
        let nothing = Self { is_plain: is_plain(signature), reads_stream: signature.scope.stream, ..Self::NONE };
        let payload = (Within::Payload, None, &*signature.payload);
        let is_body = |buffer: Buffer| buffer.delivery() == Delivery::Streamed;
        let conditions = signature.app.iter().flat_map(|app| &app.buffers);
        let bodies = conditions
            .filter(|condition| is_body(condition.buffer) && condition.transforms.is_empty())
            .filter(|condition| condition.is_needed())
            .map(|condition| (Within::Body(condition.buffer), Some(condition.buffer), &*condition.steps));
        let witness = |(within, place, steps): (Within, Option<Buffer>, &[Step])| {
            let runs = best(runs(steps, found_by));
            let rank = (place == found_in, runs.len());
            let last = *runs.last()?;
            let mut numbers = [number(last); RUNS];
            numbers.iter_mut().zip(runs).for_each(|(known, run)| *known = number(run));
            Some((rank, Self { within, runs: numbers, ..nothing }))
        };
        let all = std::iter::once(payload).chain(bodies).filter_map(witness);
        all.max_by_key(|(rank, _)| *rank).map_or(nothing, |(_, witness)| witness)
    }
}

/// Whether all that is asked beside bytes and transactions is asked by the signature's gate.
fn is_plain(signature: &Signature) -> bool {
    let Signature { protocols, protocol_moments, asks, header_parts, .. } = signature;
    *protocols == 0 && protocol_moments.is_empty() && asks.is_empty() && header_parts.is_empty()
}

/// Runs of bytes, the best first; of each part of a program that must be there, its own.
type Part = Vec<[u8; 4]>;

/// The runs that a program's parts cannot do without, less those of a pattern that is known to be there.
fn runs(steps: &[Step], known: &[u8]) -> Vec<Part> {
    let is_new = |run: &[u8]| !known.windows(run.len()).any(|window| window.eq_ignore_ascii_case(run));
    let of = |literal: &[u8]| {
        let mut runs: Part = Vec::new();
        let mut places: Vec<(u32, usize)> = literal
            .windows(4)
            .enumerate()
            .filter(|(_, window)| is_new(window))
            .filter_map(|(place, window)| Some((commonness(window.try_into().ok()?), place)))
            .collect();
        places.sort_unstable();
        let mut taken: Vec<usize> = Vec::new();
        for (_, place) in places {
            if taken.iter().all(|&other| place.abs_diff(other) >= 4) {
                taken.push(place);
                runs.extend(literal.get(place..place + 4).and_then(|run| <[u8; 4]>::try_from(run).ok()));
            }
        }
        runs
    };
    let literals = steps.iter().flat_map(|step| match &step.op {
        Op::Content(Content { negated: false, pattern, .. }) => vec![pattern.bytes()],
        Op::Regex(regex) if !regex.negated => regex.literals().collect(),
        _ => Vec::new(),
    });
    literals.map(of).filter(|runs| !runs.is_empty()).collect()
}

/// The best run of each part, the rarest first; then the next ones.
fn best(mut parts: Vec<Part>) -> Part {
    parts.sort_by_key(|runs| runs.first().map_or(u32::MAX, |&run| commonness(run)));
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|index| parts.iter().filter_map(move |runs| runs.get(index).copied())).take(RUNS).collect()
}

/// Which runs of four bytes a text holds, 8 KiB.
#[derive(Clone, Debug)]
pub(crate) struct RunSet {
    words: Box<[u64; 1 << (BITS_LOG2 - 6)]>,
}

impl Default for RunSet {
    fn default() -> Self {
        Self { words: Box::new([0; 1 << (BITS_LOG2 - 6)]) }
    }
}

impl RunSet {
    /// Bytes that one takes.
    pub(crate) const BYTES: usize = 1 << (BITS_LOG2 - 3);

    /// Forgets all runs.
    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Notes the runs of a text.
    pub(crate) fn note(&mut self, text: &[u8]) {
        for window in text.windows(4) {
            if let Ok(run) = <[u8; 4]>::try_from(window) {
                let number = number(run);
                self.words[usize::from(number >> 6)] |= 1 << (number & 63);
            }
        }
    }

    /// Whether the text may hold all that a signature cannot do without.
    #[inline]
    pub(crate) fn may_hold(&self, witness: &Witness) -> bool {
        witness.runs.iter().all(|&run| self.words[usize::from(run >> 6)] >> (run & 63) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Evaluation, Outcome, RegexCaches, RuleFile, RuleSet, Vars};
    use super::*;
    use proptest::prelude::*;

    fn rules(options: &str) -> RuleSet {
        let text = format!("alert tcp any any -> any any ({options} sid:1;)");
        let loaded = RuleSet::compile(&[RuleFile { name: "rules".to_owned(), text }], &Vars::default());
        assert!(loaded.refused.is_empty(), "{options}: {:?}", loaded.refused);
        loaded.rules
    }

    fn noted(text: &[u8]) -> RunSet {
        let mut set = RunSet::default();
        set.note(text);
        set
    }

    fn is_match(rules: &RuleSet, text: &[u8]) -> bool {
        let (mut work, mut caches) = (0, RegexCaches::default());
        let steps = &rules.signatures[0].payload;
        Evaluation::new(&mut work, u64::MAX, &mut caches).run_at(steps, text, 0) == Outcome::Match
    }

    #[test]
    fn what_is_missing_is_seen() {
        let rules =
            rules(r#"content:"needle"; fast_pattern; content:"Haystack"; nocase; pcre:"/straw\s+(?=x)[a-z]/";"#);
        let witness = rules.witnesses[0];
        assert_eq!(witness.within, Within::Payload);
        assert!(noted(b"needle hAYSTACK straw  x").may_hold(&witness));
        assert!(!noted(b"needle haystac straw  x").may_hold(&witness));
        assert!(!noted(b"needle haystack strax  x").may_hold(&witness));
        assert!(!noted(b"").may_hold(&witness));
    }

    #[test]
    fn what_a_signature_is_found_by_is_no_witness() {
        assert_eq!(rules(r#"content:"needle";"#).witnesses[0].within, Within::Unknown);
        assert_eq!(
            rules(r#"content:"needle"; content:!"haystack"; content:"abc";"#).witnesses[0].within,
            Within::Unknown
        );
        assert_eq!(rules(r#"content:!"haystack"; pcre:"/abcdef|ghijkl/";"#).witnesses[0].within, Within::Unknown);
        let body = rules(r#"file.data; content:"needle"; content:"haystack"; content:"needles in a"; fast_pattern;"#);
        assert_eq!(body.witnesses[0].within, Within::Body(Buffer::FileData));
        let other = rules(r#"http.uri; content:"needles"; fast_pattern; file.data; content:"haystack";"#);
        assert_eq!(other.witnesses[0].within, Within::Body(Buffer::FileData));
        let changed = rules(r#"file.data; to_lowercase; content:"needle"; content:"haystack"; fast_pattern;"#);
        assert_eq!(changed.witnesses[0].within, Within::Unknown);
        let absent =
            rules(r#"http.uri; content:"needles"; fast_pattern; file.data; absent:or_else; content:"haystack";"#);
        assert_eq!(absent.witnesses[0].within, Within::Unknown);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn what_matches_holds_its_witness(
            patterns in proptest::collection::vec("[abAB]{4,9}", 1..4),
            expression in "[abA]{2,4}(\\.\\*|b\\?|\\(a\\|b\\)|\\+)?[abB]{2,4}(\\(\\?=[ab]?\\))?",
            match_of_expression in "[abAB]{4,9}",
            order in Just((0usize..5).collect::<Vec<_>>()).prop_shuffle(),
            noise in "[abAB.]{0,3}",
        ) {
            let contents: String =
                patterns.iter().map(|pattern| format!("content:\"{pattern}\"; ")).collect();
            let part = |index: usize| patterns.get(index).unwrap_or(&match_of_expression).as_bytes();
            let text: Vec<u8> = order.iter().flat_map(|&index| [part(index), noise.as_bytes()].concat()).collect();
            let (set, witness) = (noted(&text), |rules: &RuleSet| rules.witnesses[0]);
            for rules in [rules(&contents), rules(&format!("{contents} pcre:\"/{expression}/i\";"))] {
                if is_match(&rules, &text) && witness(&rules).within != Within::Unknown {
                    prop_assert!(set.may_hold(&witness(&rules)));
                }
            }
        }
    }
}
