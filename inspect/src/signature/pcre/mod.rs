//! Regular expressions: PCRE's syntax on engines whose cost is bounded.
//!
//! # Theory of operation
//!
//! Almost all expressions in rules are regular, and run on finite automata in time linear in the text. The lazily built
//! automata live in caches that belong to the worker, not to the expression: [`RegexCaches`] keeps a fixed amount of
//! them, which is enough for every expression of a large set as far as traffic explores it. A guest that blows many up
//! makes us build automata anew, never hold more of them (attack F07). The few expressions with lookaround,
//! backreferences or atomic groups run on a backtracking engine with a limit of steps; a search that reaches it counts as
//! "out of budget".

mod class;
mod translate;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use regex_automata::hybrid::dfa;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use super::cause::Cause;
use super::work::weight;
use crate::limits::{BACKTRACK_STEPS_MAX, REGEX_CACHE_BYTES_MAX, REGEX_CACHES_BYTES_MAX, REGEX_PROGRAM_BYTES_MAX};
use translate::{Reading, translate};

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Regex {
    engine: Engine,
    anchored: bool,
    /// Starts from the previous match (`R`).
    pub(crate) relative: bool,
    pub(crate) negated: bool,
    /// What the automaton that runs backwards is compiled from, should anyone ask for it.
    backwards: Option<Arc<(String, syntax::Config)>>,
    /// As written, for telling expressions apart.
    text: Arc<str>,
}

#[derive(Clone, Debug)]
enum Engine {
    /// Linear in the text: an automaton that finds a match's end, and, for those who ask, one that runs backwards to
    /// its start.
    Linear(Arc<dfa::DFA>, Option<Arc<dfa::DFA>>),
    Backtracking(Arc<fancy_regex::Regex>),
}

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Start and end of the first match; the start is known only after [`Regex::find_starts`].
    At(usize, usize),
    Nothing,
    Exhausted,
}

/// What stands in a `pcre` option.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub(crate) regex: Regex,
    /// The letters that name a buffer (`U`, `P`, `H`, ...), in their order.
    pub(crate) buffers: Vec<char>,
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Regex {}

/// Reads the value of `pcre`: `"/expression/letters"`, perhaps after `!`.
pub(crate) fn parse(value: &str) -> Result<Parsed, Cause> {
    let error = || Cause::value("pcre", "\"/expression/letters\"");
    let (negated, quoted) = match value.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, value),
    };
    let inner = super::content::unquote(quoted).unwrap_or(quoted);
    if inner.contains('"') && inner.len() == quoted.len() {
        return Err(error());
    }
    // `m` and another delimiter, as in Perl, is part of the language too.
    let (delimiter, body) = match inner.strip_prefix('m') {
        Some(rest) if !rest.is_empty() => rest.split_at(rest.chars().next().map_or(0, char::len_utf8)),
        _ => ("/", inner.strip_prefix('/').ok_or_else(error)?),
    };
    let (pattern, letters) = body.rsplit_once(delimiter).ok_or_else(error)?;
    let mut reading = Reading::default();
    let (mut insensitive, mut dot_all, mut anchored, mut lazy) = (false, false, false, false);
    let (mut relative, mut buffers) = (false, Vec::new());
    for letter in letters.chars() {
        match letter {
            'i' => insensitive = true,
            'm' => reading.multi_line = true,
            's' => dot_all = true,
            'x' => reading.extended = true,
            'A' => anchored = true,
            'E' => reading.dollar_end_only = true,
            'G' => lazy = true,
            'R' => relative = true,
            // Raw bytes are all there are, and our limits are not for a rule to lift.
            'B' | 'O' => {}
            'U' | 'I' | 'P' | 'Q' | 'H' | 'D' | 'M' | 'C' | 'S' | 'Y' | 'V' | 'W' | 'Z' => buffers.push(letter),
            _ => {
                return Err(Cause::Regex(format!("the letter {letter} behind the expression is not known")));
            }
        }
    }
    let translated = translate(pattern, reading).map_err(Cause::Regex)?;
    let mut backwards = None;
    let engine = if translated.needs_backtracking {
        backtracking(&translated.pattern, insensitive, reading.multi_line, dot_all)?
    } else {
        let syntax = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .case_insensitive(insensitive)
            .multi_line(reading.multi_line)
            .dot_matches_new_line(dot_all)
            .swap_greed(lazy);
        let forwards = automaton(&translated.pattern, syntax, false)?;
        backwards = Some((translated.pattern, syntax));
        Engine::Linear(forwards, None)
    };
    let text: Arc<str> = Arc::from(value);
    Ok(Parsed {
        regex: Regex { engine, anchored, relative, negated, backwards: backwards.map(Arc::new), text },
        buffers,
    })
}

/// Compiles an automaton that reads forwards, or backwards.
fn automaton(pattern: &str, syntax: syntax::Config, backwards: bool) -> Result<Arc<dfa::DFA>, Cause> {
    let program = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(REGEX_PROGRAM_BYTES_MAX))
        .reverse(backwards);
    let kind = if backwards { MatchKind::All } else { MatchKind::LeftmostFirst };
    let config =
        dfa::Config::new().cache_capacity(REGEX_CACHE_BYTES_MAX).skip_cache_capacity_check(true).match_kind(kind);
    let built = dfa::Builder::new().configure(config).thompson(program).syntax(syntax).build(pattern);
    built.map(Arc::new).map_err(|error| Cause::Regex(describe(&error)))
}

/// The innermost reason, on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}

fn backtracking(pattern: &str, insensitive: bool, multi_line: bool, dot_all: bool) -> Result<Engine, Cause> {
    let built = fancy_regex::RegexBuilder::new(pattern)
        .bytes_mode(fancy_regex::BytesMode::Ascii)
        .unicode_mode(false)
        .case_insensitive(insensitive)
        .multi_line(multi_line)
        .dot_matches_new_line(dot_all)
        .backtrack_limit(BACKTRACK_STEPS_MAX)
        .delegate_size_limit(REGEX_PROGRAM_BYTES_MAX)
        .build();
    built.map(|regex| Engine::Backtracking(Arc::new(regex))).map_err(|error| Cause::Regex(error.to_string()))
}

impl Regex {
    /// Makes the starts of matches known: only where a search may have to go on behind one.
    pub(crate) fn find_starts(&mut self) -> Result<(), Cause> {
        if let (Engine::Linear(_, reverse @ None), Some(source)) = (&mut self.engine, self.backwards.take()) {
            *reverse = Some(automaton(&source.0, source.1, true)?);
        }
        Ok(())
    }

    /// Gives up what only [`Regex::find_starts`] needs.
    pub(crate) fn settle(&mut self) {
        self.backwards = None;
    }

    /// The first match in `text` that starts at `from` or later; `^` is the text's start, wherever `from` lies. Adds to
    /// `work` what it cost.
    pub(crate) fn find(&self, text: &[u8], from: usize, caches: &mut RegexCaches, work: &mut u64) -> Found {
        if from > text.len() || (self.anchored && from > 0) {
            return Found::Nothing;
        }
        match &self.engine {
            Engine::Linear(forward, reverse) => {
                *work += weight::AUTOMATON + (text.len() - from) as u64;
                let anchored = if self.anchored { Anchored::Yes } else { Anchored::No };
                let input = Input::new(text).range(from..).anchored(anchored);
                let end = match caches.search(forward, work, |cache| forward.try_search_fwd(cache, &input)) {
                    Ok(Some(end)) => end.offset(),
                    Ok(None) => return Found::Nothing,
                    Err(_) => return Found::Exhausted,
                };
                let Some(reverse) = reverse else {
                    return Found::At(from, end);
                };
                let input = Input::new(text).range(from..end).anchored(Anchored::Yes);
                match caches.search(reverse, work, |cache| reverse.try_search_rev(cache, &input)) {
                    Ok(start) => Found::At(start.map_or(from, |start| start.offset()), end),
                    Err(_) => Found::Exhausted,
                }
            }
            Engine::Backtracking(regex) => {
                // It takes no more steps than it may, and mostly at least one to a byte.
                let steps = (text.len() - from).min(2 * BACKTRACK_STEPS_MAX);
                *work += weight::BACKTRACKING + weight::BACKTRACKING_BYTE * steps as u64;
                match regex.find_from_pos(text, from) {
                    Ok(Some(found)) if self.anchored && found.start() != from => Found::Nothing,
                    Ok(Some(found)) => Found::At(found.start(), found.end()),
                    Ok(None) => Found::Nothing,
                    Err(_) => Found::Exhausted,
                }
            }
        }
    }

    /// Whether it runs on the backtracking engine.
    #[cfg(test)]
    fn is_backtracking(&self) -> bool {
        matches!(self.engine, Engine::Backtracking(_))
    }
}

/// The automata that one worker has built lately, at most [`REGEX_CACHES_BYTES_MAX`] of them.
#[derive(Debug)]
pub(crate) struct RegexCaches {
    /// By the address of the automaton's program, which the entry keeps alive.
    caches: HashMap<usize, (Arc<dfa::DFA>, dfa::Cache)>,
    /// Keys in the order in which they came.
    order: VecDeque<usize>,
    /// Bytes that the caches hold, and may hold.
    held_bytes: usize,
    bytes_max: usize,
}

impl Default for RegexCaches {
    fn default() -> Self {
        Self::within(REGEX_CACHES_BYTES_MAX)
    }
}

impl RegexCaches {
    fn within(bytes_max: usize) -> Self {
        Self { caches: HashMap::new(), order: VecDeque::new(), held_bytes: 0, bytes_max }
    }

    /// What a cache takes beside the automaton that is built in it.
    const OVERHEAD: usize = size_of::<(Arc<dfa::DFA>, dfa::Cache)>() + 64;

    /// Searches with the automaton's cache, and adds to `work` what is built on the way. While there is room, what is built
    /// stays and is soon enough for all: that is not for the first packets under a rule set to pay.
    fn search<T>(&mut self, regex: &Arc<dfa::DFA>, work: &mut u64, search: impl FnOnce(&mut dfa::Cache) -> T) -> T {
        let key = Arc::as_ptr(regex).addr();
        while self.held_bytes > self.bytes_max && self.order.front().is_some_and(|&oldest| oldest != key) {
            let oldest = self.order.pop_front().and_then(|oldest| self.caches.remove(&oldest));
            self.held_bytes -= oldest.map_or(0, |(_, cache)| cache.memory_usage() + Self::OVERHEAD);
        }
        let has_room = self.held_bytes < self.bytes_max / 2;
        let cache = match self.caches.entry(key) {
            Entry::Occupied(known) => &mut known.into_mut().1,
            Entry::Vacant(vacant) => {
                *work += if has_room { weight::AUTOMATON } else { weight::AUTOMATON_BUILT };
                self.order.push_back(key);
                let (_, cache) = vacant.insert((regex.clone(), regex.create_cache()));
                self.held_bytes += cache.memory_usage() + Self::OVERHEAD;
                cache
            }
        };
        let (held, cleared) = (cache.memory_usage(), cache.clear_count());
        let result = search(cache);
        let (holds, cleared) = (cache.memory_usage(), cache.clear_count() - cleared);
        // States that nobody has come to before are built on the way, at about a nanosecond per byte of them.
        let built = if has_room { 0 } else { holds.saturating_sub(held) };
        *work += (built + cleared * REGEX_CACHE_BYTES_MAX) as u64;
        self.held_bytes = self.held_bytes + holds - held;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches `text` from its start: start and end of the match.
    fn find(value: &str, text: &[u8]) -> Found {
        let mut parsed = parse(value).unwrap_or_else(|cause| panic!("{value}: {cause}"));
        parsed.regex.find_starts().unwrap();
        parsed.regex.find(text, 0, &mut RegexCaches::default(), &mut 0)
    }

    #[track_caller]
    fn check(value: &str, text: impl AsRef<[u8]>, expected: Option<(usize, usize)>) {
        let expected = expected.map_or(Found::Nothing, |(start, end)| Found::At(start, end));
        assert_eq!(find(value, text.as_ref()), expected, "{value}");
    }

    #[test]
    fn reads_as_pcre_does() {
        check(r#""/a.c/""#, "xabc", Some((1, 4)));
        check(r#""/a.c/""#, "a\nc", None);
        check(r#""/a.c/s""#, "a\nc", Some((0, 3)));
        check(r#""/ABC/i""#, "xabc", Some((1, 4)));
        check(r#""/^b/""#, "a\nb", None);
        check(r#""/^b/m""#, "a\nb", Some((2, 3)));
        check(r#""/b$/""#, "ab\n", Some((1, 3)));
        check(r#""/b$/E""#, "ab\n", None);
        check(r#""/a$/m""#, "a\nb", Some((0, 1)));
        check(r#""/b/A""#, "ab", None);
        check(r#""/a b # note/x""#, "ab", Some((0, 2)));
        check(r#""/a+?/""#, "aaa", Some((0, 1)));
        check(r#""/a+/G""#, "aaa", Some((0, 1)));
        check(r#""/\/\<\>\_\-\"\;/""#, "/<>_-\";", Some((0, 7)));
        check(r#""/{a}{1/""#, "{a}{1", Some((0, 5)));
        check(r#""/a{2}b{1,}c{0,2}/""#, "aabbc", Some((0, 5)));
        check(r#""/[]a]+[^]b][[&~-]/""#, "]ax[", Some((0, 4)));
        check(r#""/[[:digit:]a-c\d-]+/""#, "1b-x", Some((0, 3)));
        check(r#""/[\x41-\x43\b]+/""#, b"AC\x08", Some((0, 3)));
        check(r#""/\xff\x0\101\e/""#, b"\xff\0A\x1b", Some((0, 4)));
        check(r#""/[^\xff]/""#, b"\xff\xfe", Some((1, 2)));
        check(r#""/\h\R\N\Z/""#, "\t\r\nx", Some((0, 4)));
        check(r#""/\Qa.b\E./""#, "a.bc", Some((0, 4)));
        check(r#""/(?i)a(?-i:b)(?#note)/""#, "Ab", Some((0, 2)));
        check(r#""/(?P<n>a)(?<m>b)/""#, "ab", Some((0, 2)));
        check("\"m%a/b%i\"", "A/B", Some((0, 3)));
        check("\"/é/\"", "é", Some((0, 2)));
    }

    #[test]
    fn the_start_is_that_of_the_text() {
        let find = |value: &str, text: &str, from| {
            parse(value).unwrap().regex.find(text.as_bytes(), from, &mut RegexCaches::default(), &mut 0)
        };
        assert_eq!(find(r#""/^b/""#, "bb", 1), Found::Nothing);
        assert_eq!(find(r#""/^b/m""#, "b\nb", 1), Found::At(1, 3));
        assert_eq!(find(r#""/b/A""#, "bb", 1), Found::Nothing);
        assert_eq!(find(r#""/^b(?=c)/""#, "bbc", 1), Found::Nothing);
        assert_eq!(find(r#""/\bb/""#, "bbc b", 1), Found::At(1, 5));
    }

    #[test]
    fn what_is_built_costs_work() {
        let regex = parse(r#""/a.{0,40}b.{0,40}c/""#).unwrap().regex;
        let text = b"aXbaabXbaXabbabaXb".repeat(10);
        let cost = |caches: &mut RegexCaches| {
            let mut work = 0;
            regex.find(&text, 0, caches, &mut work);
            work
        };
        // It stays, and there is room.
        assert_eq!(cost(&mut RegexCaches::default()), 2 * weight::AUTOMATON + text.len() as u64);
        let mut caches = RegexCaches::within(0);
        let (first, second) = (cost(&mut caches), cost(&mut caches));
        assert!(first > second + weight::AUTOMATON_BUILT + 1000, "{first} {second}");
        assert_eq!(second, weight::AUTOMATON + text.len() as u64);
    }

    #[test]
    fn what_automata_cannot_do() {
        for (value, text, expected) in [
            (r#""/(a)b\1/""#, "aba", Some((0, 3))),
            (r#""/(.)\g{1}x/""#, "abbx", Some((1, 4))),
            (r#""/(?P<n>a|b)(x)(?P=n)/""#, "axbaxa", Some((3, 6))),
            (r#""/a(?=b)/""#, "acab", Some((2, 3))),
            (r#""/a(?!b)/""#, "abac", Some((2, 3))),
            (r#""/(?<=a)b/""#, "bab", Some((2, 3))),
            (r#""/(?<!a)b/i""#, "aBb", Some((2, 3))),
            (r#""/(?>a+)b/""#, "aab", Some((0, 3))),
            (r#""/a++a/""#, "aaa", None),
            (r#""/(?=\xff)[^a]/""#, "a\u{0}", None),
        ] {
            assert!(parse(value).unwrap().regex.is_backtracking(), "{value}");
            check(value, text, expected);
        }
    }

    #[test]
    fn refusals_and_limits() {
        for value in [r#""/a""#, r#""/a/q""#, r#""/(/""#, r#""/[b-a]/""#, r#""/(?R)/""#, r#""/\p{L}/""#, r#""/*a/""#] {
            assert!(parse(value).is_err(), "{value}");
        }
        assert!(matches!(parse(r#""/((a{1000}){1000}){1000}/""#), Err(Cause::Regex(_))));
        let hostile = "a".repeat(5000);
        assert_eq!(find(r#""/(?=x?)(a+)+(a+)+\1b/""#, hostile.as_bytes()), Found::Exhausted);
    }

    #[test]
    fn caches_are_bounded() {
        let mut caches = RegexCaches::within(100_000);
        let mut used = 0;
        for index in 0..200 {
            let regex = parse(&format!(r#""/a{index}/""#)).unwrap().regex;
            let text = format!("a{index}");
            assert_eq!(regex.find(text.as_bytes(), 0, &mut caches, &mut 0), Found::At(0, text.len()));
            let held: usize =
                caches.caches.values().map(|(_, cache)| cache.memory_usage() + RegexCaches::OVERHEAD).sum();
            assert_eq!((caches.held_bytes, caches.order.len()), (held, caches.caches.len()));
            assert!(held < 100_000 + 2 * held / caches.caches.len(), "{held}");
            used = used.max(caches.caches.len());
        }
        assert!(1 < used && used < 200, "{used}");
    }
}
