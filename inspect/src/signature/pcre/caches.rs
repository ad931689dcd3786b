//! The automata that a worker has built lately, and their use.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use regex_automata::hybrid::dfa;

use super::walk::{Trail, walk};
use crate::limits::{REGEX_CACHE_BYTES_MAX, REGEX_CACHES_BYTES_MAX};
use crate::signature::work::weight;

/// A hash of an address of ours, which nobody else has chosen.
#[derive(Debug, Default)]
struct OfAddress(u64);

impl Hasher for OfAddress {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_usize(usize::from(byte)));
    }

    fn write_usize(&mut self, address: usize) {
        // The table takes its places from the lowest bits, and marks from the highest.
        let product = (self.0 ^ address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }
}

/// The automata that one worker has built lately, at most [`REGEX_CACHES_BYTES_MAX`] of them.
#[derive(Debug)]
pub(crate) struct RegexCaches {
    /// By the address of the automaton's program, which the entry keeps alive.
    caches: HashMap<usize, (Arc<dfa::DFA>, dfa::Cache), BuildHasherDefault<OfAddress>>,
    /// Keys in the order in which they came.
    order: VecDeque<usize>,
    /// Bytes that the caches hold, and may hold.
    held_bytes: usize,
    bytes_max: usize,
    /// Where walks over the text at hand have come by in vain.
    trail: Trail,
}

impl Default for RegexCaches {
    fn default() -> Self {
        Self::within(REGEX_CACHES_BYTES_MAX)
    }
}

impl RegexCaches {
    pub(super) fn within(bytes_max: usize) -> Self {
        Self { caches: HashMap::default(), order: VecDeque::new(), held_bytes: 0, bytes_max, trail: Trail::default() }
    }

    /// What a cache takes beside the automaton that is built in it.
    const OVERHEAD: usize = size_of::<(Arc<dfa::DFA>, dfa::Cache)>() + 64;

    /// Turns to another text: what was found out about the one before does not hold for it.
    pub(crate) fn turn(&mut self) {
        self.trail.forget();
    }

    /// The end of the match that begins at a text's start. Adds to `work` what it cost.
    pub(super) fn walk(&mut self, regex: &Arc<dfa::DFA>, text: &[u8], work: &mut u64) -> Result<Option<usize>, ()> {
        let mut trail = std::mem::take(&mut self.trail);
        let mut steps = 0;
        let found = self.search(regex, work, |cache| walk(regex, cache, text, &mut trail, &mut steps));
        self.trail = trail;
        *work += steps;
        found
    }

    /// Searches with the automaton's cache, and adds to `work` what is built on the way. While there is room, what is built
    /// stays and is soon enough for all: that is not for the first packets under a rule set to pay.
    pub(super) fn search<T>(
        &mut self,
        regex: &Arc<dfa::DFA>,
        work: &mut u64,
        search: impl FnOnce(&mut dfa::Cache) -> T,
    ) -> T {
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
    use super::super::{Found, parse};
    use super::*;

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
