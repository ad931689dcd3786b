//! Automata that can match at one place only: from a text's start.
//!
//! # Theory of operation
//!
//! Most of these are given up after a few bytes. Those that are not can be made to go on to the text's end, again for each
//! place at which something before them is found: all of it for every `=` of a text full of them. But an automaton that
//! comes by a place in the state in which one before it came by there, and went on in vain, will go on in vain too. So every
//! few bytes the state is noted, and a walk that meets the trail of an earlier one ends there.

use std::sync::Arc;

use regex_automata::hybrid::{LazyStateID, dfa};
use regex_automata::{Anchored, Input};

/// Bytes between two places of which the state is noted.
const STRIDE: usize = 64;

/// Where walks of one automaton over one text have come by in vain.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// Addresses of the automaton and of the text's end: all texts of walks that can meet end there.
    walked: (usize, usize),
    /// How often the automaton's states had been given other numbers.
    cleared: usize,
    /// By the count of strides to the text's end, the state.
    states: Vec<Option<LazyStateID>>,
    /// Of the walk at hand, which may yet find something.
    pending: Vec<(usize, LazyStateID)>,
}

impl Trail {
    /// Nothing is known of the next text.
    pub(super) fn forget(&mut self) {
        self.walked = (0, 0);
        self.states.clear();
    }

    fn begin(&mut self, automaton: &Arc<dfa::DFA>, cache: &dfa::Cache, text: &[u8]) {
        let walked = (Arc::as_ptr(automaton).addr(), text.as_ptr_range().end.addr());
        if (self.walked, self.cleared) != (walked, cache.clear_count()) {
            self.forget();
            (self.walked, self.cleared) = (walked, cache.clear_count());
        }
        self.pending.clear();
    }

    /// Whether a walk has come by here in this state, in vain; notes that one comes by now.
    fn was_here(&mut self, strides: usize, state: LazyStateID) -> bool {
        let is_known = self.states.get(strides).is_some_and(|known| *known == Some(state));
        if !is_known {
            self.pending.push((strides, state));
        }
        is_known
    }

    /// The walk at hand was in vain.
    fn end_in_vain(&mut self, cache: &dfa::Cache) {
        if self.cleared != cache.clear_count() {
            self.forget();
            return;
        }
        for &(strides, state) in &self.pending {
            if self.states.len() <= strides {
                self.states.resize(strides + 1, None);
            }
            self.states[strides] = Some(state);
        }
    }
}

/// The end of the match that begins at a text's start. Adds to `steps` the bytes that it took to know.
pub(super) fn walk(
    automaton: &Arc<dfa::DFA>,
    cache: &mut dfa::Cache,
    text: &[u8],
    trail: &mut Trail,
    steps: &mut u64,
) -> Result<Option<usize>, ()> {
    trail.begin(automaton, cache, text);
    let end = walk_on(automaton, cache, text, trail, steps)?;
    if end.is_none() {
        trail.end_in_vain(cache);
    }
    Ok(end)
}

fn walk_on(
    automaton: &dfa::DFA,
    cache: &mut dfa::Cache,
    text: &[u8],
    trail: &mut Trail,
    steps: &mut u64,
) -> Result<Option<usize>, ()> {
    let input = Input::new(text).anchored(Anchored::Yes);
    let mut state = automaton.start_state_forward(cache, &input).map_err(|_| ())?;
    let mut end = None;
    for (place, &byte) in text.iter().enumerate() {
        state = automaton.next_state(cache, state, byte).map_err(|_| ())?;
        *steps += 1;
        if state.is_tagged() {
            if state.is_match() {
                // Known one byte later.
                end = Some(place);
            } else if state.is_dead() {
                return Ok(end);
            } else if state.is_quit() {
                return Err(());
            }
        }
        let left = text.len() - place - 1;
        if left.is_multiple_of(STRIDE) && trail.was_here(left / STRIDE, state) {
            return Ok(end);
        }
    }
    state = automaton.next_eoi_state(cache, state).map_err(|_| ())?;
    Ok(if state.is_match() { Some(text.len()) } else { end })
}

#[cfg(test)]
mod tests {
    use super::super::{Engine, Found, RegexCaches, parse, tests::part};
    use super::*;
    use crate::signature::work::weight;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_begins_at_the_start_is_walked_as_it_is_searched(
            inner in part(),
            texts in proptest::collection::vec("[abA\n]{0,9}", 1..20),
        ) {
            let Ok(parsed) = parse(&format!("\"/^(?:a|{inner})b?/\"")) else { return Ok(()) };
            let Engine::Linear(automaton, _) = &parsed.regex.engine else { return Ok(()) };
            prop_assert!(parsed.regex.begins_at_start);
            let mut caches = RegexCaches::default();
            for text in &texts {
                let (mut steps, text) = (0, text.as_bytes());
                let walked = caches.walk(automaton, text, &mut steps);
                let input = Input::new(text);
                let searched = caches.search(automaton, &mut 0, |cache| automaton.try_search_fwd(cache, &input));
                prop_assert_eq!(walked, Ok(searched.unwrap().map(|end| end.offset())), "{} in {:?}", inner, text);
                prop_assert!(steps <= weight::AUTOMATON + text.len() as u64);
            }
        }
    }

    /// An expression of a kind that walks far, from every place of a text.
    fn far() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("[^c]*?c[ab]{2}"),
            Just(".*b.{0,3}c"),
            Just("(?:ab|a)*c"),
            Just("[ab]{3,}[bc]$"),
            Just("a?.{60,70}bc"),
            Just("(?:.{8})*c"),
        ]
        .prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn walks_that_meet_end_alike(pattern in far(), text in "[ab]{0,20}([abc]|[ab]{64}|[ab]{30}){0,8}[ab]{0,90}") {
            let parsed = parse(&format!("\"/^{pattern}/R\"")).unwrap();
            let mut caches = RegexCaches::default();
            for from in 0..text.len() {
                let rest = &text.as_bytes()[from..];
                let alone = parsed.regex.find(rest, 0, &mut RegexCaches::default(), &mut 0);
                prop_assert_eq!(parsed.regex.find(rest, 0, &mut caches, &mut 0), alone, "from {}", from);
            }
        }
    }

    #[test]
    fn walks_from_everywhere_cost_little() {
        let regex = parse(r#""/^[^\x22]*?\x22x/R""#).unwrap().regex;
        let text = b"= a text without that mark ".repeat(1000);
        let (mut caches, mut work) = (RegexCaches::default(), 0);
        for from in (0..text.len()).step_by(27) {
            assert_eq!(regex.find(&text[from..], 0, &mut caches, &mut work), Found::Nothing);
        }
        assert!(work < 30 * text.len() as u64, "{work}");
        // What is known of one text says nothing about another in the same memory.
        let mut memory = b"aaaa".repeat(100);
        let regex = parse(r#""/^a*b/R""#).unwrap().regex;
        assert_eq!(regex.find(&memory, 0, &mut caches, &mut work), Found::Nothing);
        memory[399] = b'b';
        caches.turn();
        assert_eq!(regex.find(&memory, 0, &mut caches, &mut work), Found::At(0, 400));
    }
}
