//! Numbers for ports that stay the same from one configuration to the next: flows and counters are kept under them.

use crate::counters::PORTS_MAX;
use std::collections::BTreeMap;
use zones::PortId;

/// Which port has which number, now and earlier.
///
/// A number is not given to another port before every number has been used once, and then the one that has been free the
/// longest is next: what a flow table still remembers of a port that is gone must not become true of a new one.
#[derive(Clone, Debug, Default)]
pub struct PortNumbering {
    numbers: BTreeMap<String, Holder>,
    unused: u16,
    /// Counts configurations.
    now: u64,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    id: PortId,
    /// The configuration that named the port last.
    seen: u64,
}

/// There are more ports than numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfNumbers;

impl PortNumbering {
    /// No port has had a number yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Numbers the ports of the next configuration, in their order.
    pub(super) fn number(&mut self, names: &[&str]) -> Result<Vec<PortId>, OutOfNumbers> {
        self.now += 1;
        for name in names {
            if let Some(holder) = self.numbers.get_mut(*name) {
                holder.seen = self.now;
            }
        }
        names.iter().map(|name| self.number_of(name)).collect()
    }

    fn number_of(&mut self, name: &str) -> Result<PortId, OutOfNumbers> {
        if let Some(holder) = self.numbers.get(name) {
            return Ok(holder.id);
        }
        let id = if usize::from(self.unused) < PORTS_MAX {
            self.unused += 1;
            PortId(self.unused - 1)
        } else {
            self.take_back().ok_or(OutOfNumbers)?
        };
        self.numbers.insert(name.to_string(), Holder { id, seen: self.now });
        Ok(id)
    }

    /// The number that has been free the longest. A port that the last configuration still had keeps its number in this
    /// one, in which its queues are only now being taken back.
    fn take_back(&mut self) -> Option<PortId> {
        let (name, holder) = self
            .numbers
            .iter()
            .filter(|(_, holder)| holder.seen + 1 < self.now)
            .min_by_key(|(_, holder)| holder.seen)
            .map(|(name, holder)| (name.clone(), *holder))?;
        self.numbers.remove(&name);
        Some(holder.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(numbering: &mut PortNumbering, names: &[&str]) -> Vec<u16> {
        numbering.number(names).unwrap().into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn a_port_keeps_its_number_and_leaves_it_unused() {
        let mut numbering = PortNumbering::new();
        assert_eq!(numbers(&mut numbering, &["a", "b"]), [0, 1]);
        assert_eq!(numbers(&mut numbering, &["b", "c"]), [1, 2]);
        assert_eq!(numbers(&mut numbering, &["c", "a", "d"]), [2, 0, 3]);
    }

    #[test]
    fn numbers_come_round_the_longest_free_first() {
        let mut numbering = PortNumbering::new();
        let names: Vec<String> = (0..PORTS_MAX).map(|n| format!("p{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        numbers(&mut numbering, &names);
        numbers(&mut numbering, &names[1..]);
        numbers(&mut numbering, &names[2..]);
        // p0 went before p1, and p1 only one configuration ago.
        let mut next: Vec<&str> = names[2..].to_vec();
        next.push("new");
        assert_eq!(numbers(&mut numbering, &next).last(), Some(&0));
        next.push("newer");
        assert_eq!(numbers(&mut numbering, &next).last(), Some(&1));
        next.push("one too many");
        assert_eq!(numbering.number(&next), Err(OutOfNumbers));
    }

    #[test]
    fn a_number_rests_for_one_configuration() {
        let mut numbering = PortNumbering::new();
        let names: Vec<String> = (0..PORTS_MAX).map(|n| format!("p{n}")).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        numbers(&mut numbering, &names);
        names[0] = "new";
        assert_eq!(numbering.number(&names), Err(OutOfNumbers));
    }
}
