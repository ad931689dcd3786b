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

mod caches;
mod class;
mod literals;
mod translate;
mod walk;

use std::sync::Arc;

use regex_automata::hybrid::dfa;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::Look;

use super::cause::Cause;
use super::work::weight;
use crate::limits::{BACKTRACK_STEPS_MAX, REGEX_CACHE_BYTES_MAX, REGEX_PROGRAM_BYTES_MAX};
pub(crate) use caches::RegexCaches;
use translate::{Reading, approximate, translate};

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Regex {
    engine: Engine,
    anchored: bool,
    /// Each match begins with a `^` that means the text's start.
    begins_at_start: bool,
    /// Starts from the previous match (`R`).
    pub(crate) relative: bool,
    pub(crate) negated: bool,
    /// What the automaton that runs backwards is compiled from, should anyone ask for it.
    backwards: Option<Arc<(String, syntax::Config)>>,
    /// As written, for telling expressions apart.
    text: Arc<str>,
    /// Runs of bytes, in lower case, that each match holds.
    literals: Arc<[Box<[u8]>]>,
}

#[derive(Clone, Debug)]
enum Engine {
    /// Linear in the text: an automaton that finds a match's end, and, for those who ask, one that runs backwards to
    /// its start.
    Linear(Arc<dfa::DFA>, Option<Arc<dfa::DFA>>),
    Backtracking(Arc<Backtracking>),
}

/// An expression that needs backtracking.
#[derive(Debug)]
struct Backtracking {
    regex: fancy_regex::Regex,
    /// Finds a match wherever the expression does, and maybe elsewhere: where it finds none, nobody need track back.
    wider: Option<Arc<dfa::DFA>>,
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
    let syntax = syntax::Config::new()
        .unicode(false)
        .utf8(false)
        .case_insensitive(insensitive)
        .multi_line(reading.multi_line)
        .dot_matches_new_line(dot_all)
        .swap_greed(lazy);
    let mut about = Knowledge::default();
    let engine = if translated.needs_backtracking {
        // What is too large for an automaton goes without.
        let wider = approximate(pattern, reading).ok().and_then(|wider| {
            about = Knowledge::of(&wider, syntax);
            // One whose states are too many is of no use: it would be built anew all the time.
            bounded_automaton(&wider, syntax, false, Some(0)).ok()
        });
        backtracking(&translated.pattern, insensitive, reading.multi_line, dot_all, wider)?
    } else {
        about = Knowledge::of(&translated.pattern, syntax);
        let forwards = automaton(&translated.pattern, syntax, false)?;
        backwards = Some((translated.pattern, syntax));
        Engine::Linear(forwards, None)
    };
    let text: Arc<str> = Arc::from(value);
    Ok(Parsed {
        regex: Regex {
            engine,
            anchored,
            begins_at_start: about.begins_at_start,
            relative,
            negated,
            backwards: backwards.map(Arc::new),
            text,
            literals: super::definition::shared(about.literals),
        },
        buffers,
    })
}

/// What is known of all matches of a pattern.
#[derive(Debug, Default)]
struct Knowledge {
    /// Runs of bytes, in lower case, that each holds.
    literals: Vec<Box<[u8]>>,
    /// Each begins at the text's start.
    begins_at_start: bool,
}

impl Knowledge {
    fn of(pattern: &str, syntax: syntax::Config) -> Self {
        let Ok(parsed) = syntax::parse_with(pattern, &syntax) else { return Self::default() };
        let begins_at_start = parsed.properties().look_set_prefix().contains(Look::Start);
        Self { literals: literals::required(&parsed), begins_at_start }
    }
}

/// Compiles an automaton that reads forwards, or backwards.
fn automaton(pattern: &str, syntax: syntax::Config, backwards: bool) -> Result<Arc<dfa::DFA>, Cause> {
    bounded_automaton(pattern, syntax, backwards, None)
}

/// [`automaton`], whose search is given up when its states have outgrown their cache more often than that.
fn bounded_automaton(
    pattern: &str,
    syntax: syntax::Config,
    backwards: bool,
    clears_max: Option<usize>,
) -> Result<Arc<dfa::DFA>, Cause> {
    let program = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(REGEX_PROGRAM_BYTES_MAX))
        .reverse(backwards);
    let kind = if backwards { MatchKind::All } else { MatchKind::LeftmostFirst };
    let config =
        dfa::Config::new().cache_capacity(REGEX_CACHE_BYTES_MAX).skip_cache_capacity_check(true).match_kind(kind);
    let config = config.minimum_cache_clear_count(clears_max);
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

fn backtracking(
    pattern: &str,
    insensitive: bool,
    multi_line: bool,
    dot_all: bool,
    wider: Option<Arc<dfa::DFA>>,
) -> Result<Engine, Cause> {
    let built = fancy_regex::RegexBuilder::new(pattern)
        .bytes_mode(fancy_regex::BytesMode::Ascii)
        .unicode_mode(false)
        .case_insensitive(insensitive)
        .multi_line(multi_line)
        .dot_matches_new_line(dot_all)
        .backtrack_limit(BACKTRACK_STEPS_MAX)
        .delegate_size_limit(REGEX_PROGRAM_BYTES_MAX)
        .build();
    let engine = |regex| Engine::Backtracking(Arc::new(Backtracking { regex, wider }));
    built.map(engine).map_err(|error| Cause::Regex(error.to_string()))
}

impl Regex {
    /// Runs of bytes, in lower case, that each match holds.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &[u8]> {
        self.literals.iter().map(|literal| &**literal)
    }

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
                let end = match self.find_end(forward, text, from, caches, work) {
                    Ok(Some(end)) => end,
                    Ok(None) => return Found::Nothing,
                    Err(()) => return Found::Exhausted,
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
            Engine::Backtracking(backtracking) => {
                let Backtracking { regex, wider } = &**backtracking;
                let before = *work;
                if let Some(wider) = wider
                    && self.find_end(wider, text, from, caches, work) == Ok(None)
                {
                    return Found::Nothing;
                }
                // It takes no more steps than it may, and mostly at least one to a byte: where it can begin but at one place,
                // to those that the automaton went through to find out.
                let bytes =
                    if self.begins_at_start && wider.is_some() { *work - before } else { (text.len() - from) as u64 };
                *work += weight::BACKTRACKING + weight::BACKTRACKING_BYTE * bytes.min(2 * BACKTRACK_STEPS_MAX as u64);
                match regex.find_input(fancy_regex::RegexInput::new(text).from_pos(from).anchored(self.anchored)) {
                    Ok(Some(found)) => Found::At(found.start(), found.end()),
                    Ok(None) => Found::Nothing,
                    Err(_) => Found::Exhausted,
                }
            }
        }
    }

    /// The end of the first match of an automaton that reads forwards; an error when it was given up.
    fn find_end(
        &self,
        automaton: &Arc<dfa::DFA>,
        text: &[u8],
        from: usize,
        caches: &mut RegexCaches,
        work: &mut u64,
    ) -> Result<Option<usize>, ()> {
        *work += weight::AUTOMATON;
        if !self.anchored && !self.begins_at_start {
            *work += (text.len() - from) as u64;
            let input = Input::new(text).range(from..);
            let found = caches.search(automaton, work, |cache| automaton.try_search_fwd(cache, &input));
            return found.map(|end| end.map(|end| end.offset())).map_err(|_| ());
        }
        if from > 0 {
            // There is but one place where it can begin.
            return Ok(None);
        }
        caches.walk(automaton, text, work)
    }

    /// Whether it runs on the backtracking engine.
    #[cfg(test)]
    fn is_backtracking(&self) -> bool {
        matches!(self.engine, Engine::Backtracking(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    /// Parts of expressions, some of which need backtracking.
    pub(super) fn part() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("a".to_owned()),
            Just("b".to_owned()),
            Just(".".to_owned()),
            Just("[^a]".to_owned()),
            Just("\\b".to_owned()),
            Just("^".to_owned()),
            Just("$".to_owned()),
            Just("\\1".to_owned()),
            Just("(?P=n)".to_owned()),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let group = prop_oneof![
                Just("("),
                Just("(?:"),
                Just("(?="),
                Just("(?!"),
                Just("(?<!"),
                Just("(?<="),
                Just("(?>"),
                Just("(?m:"),
                Just("(?i:")
            ];
            let count = prop_oneof![Just(""), Just("?"), Just("*?"), Just("+"), Just("++"), Just("?+"), Just("{1,2}")];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
                (group, inner.clone(), count).prop_map(|(group, inner, count)| format!("{group}{inner}){count}")),
                (inner.clone(), inner).prop_map(|(one, other)| format!("(?:{one}|{other})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_is_wider_matches_wherever_the_expression_does(
            inner in part(),
            texts in proptest::collection::vec("[abA\n]{0,9}", 1..20),
        ) {
            let Ok(parsed) = parse(&format!("\"/(a|.b)(?P<n>b?){inner}/\"")) else { return Ok(()) };
            let Engine::Backtracking(backtracking) = &parsed.regex.engine else { return Ok(()) };
            let wider = backtracking.wider.as_ref();
            prop_assert!(wider.is_some());
            for text in &texts {
                let found = backtracking.regex.find(text.as_bytes());
                if let (Ok(Some(_)), Some(wider)) = (found, wider) {
                    let end = parsed.regex.find_end(wider, text.as_bytes(), 0, &mut RegexCaches::default(), &mut 0);
                    prop_assert!(matches!(end, Ok(Some(_))), "{inner} in {text:?}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_begin_is_given_up_soon() {
        let regex = parse(r#""/^[a-c]{3}x/R""#).unwrap().regex;
        let text = b"abab".repeat(1000);
        let mut work = 0;
        assert_eq!(regex.find(&text, 0, &mut RegexCaches::default(), &mut work), Found::Nothing);
        assert!(work < 3 * weight::AUTOMATON, "{work}");
        assert_eq!(regex.find(&text, 1, &mut RegexCaches::default(), &mut work), Found::Nothing);
        assert!(!parse(r#""/^a/m""#).unwrap().regex.begins_at_start);
    }

    #[test]
    fn letters_in_a_group_end_with_it() {
        check(r#""/a(?x: b )c d/""#, "abc d", Some((0, 5)));
        check(r#""/(?:(?m)a$)b?$/""#, "a\nb", None);
        check(r#""/(?m:a$)\nb$/""#, "a\nb\nc", None);
    }

    #[test]
    fn refusals_and_limits() {
        for value in [r#""/a""#, r#""/a/q""#, r#""/(/""#, r#""/[b-a]/""#, r#""/(?R)/""#, r#""/\p{L}/""#, r#""/*a/""#] {
            assert!(parse(value).is_err(), "{value}");
        }
        assert!(matches!(parse(r#""/((a{1000}){1000}){1000}/""#), Err(Cause::Regex(_))));
        let hostile = "a".repeat(5000);
        // No `b`: that is seen without tracking back.
        assert_eq!(find(r#""/(?=x?)(a+)+(a+)+\1b/""#, hostile.as_bytes()), Found::Nothing);
        let hostile = hostile + ".b";
        assert_eq!(find(r#""/(?=x?)(a+)+(a+)+\1b/""#, hostile.as_bytes()), Found::Exhausted);
    }
}
