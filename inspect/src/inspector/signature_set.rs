//! A set of signatures that is filled in any order and emptied in rising order.

/// Signatures by their index, bit by bit, with one bit above for each word that is not empty: putting one in takes a few
/// instructions, and going through them takes as long as there are words with any.
#[derive(Debug, Default)]
pub(super) struct SignatureSet {
    words: Vec<u64>,
    above: Vec<u64>,
}

impl SignatureSet {
    /// Makes room for a rule set of so many signatures; it is empty before and after.
    pub(super) fn resize(&mut self, count: usize) {
        let words = count.div_ceil(64);
        if self.words.len() < words {
            self.words.resize(words, 0);
            self.above.resize(words.div_ceil(64), 0);
        }
    }

    /// Whether it is in.
    #[inline]
    pub(super) fn contains(&self, signature: u32) -> bool {
        self.words[signature as usize / 64] >> (signature % 64) & 1 != 0
    }

    /// Puts one in that is within the room.
    #[inline]
    pub(super) fn insert(&mut self, signature: u32) {
        let word = signature as usize / 64;
        self.words[word] |= 1 << (signature % 64);
        self.above[word / 64] |= 1 << (word % 64);
    }
}

/// Takes all signatures out of two sets that have the same room, the lowest first; of one that is in both, that of the first
/// set first. `take` is told whether it is that.
pub(super) fn take_all(first: &mut SignatureSet, second: &mut SignatureSet, mut take: impl FnMut(u32, bool)) {
    for (place, (one, other)) in first.above.iter_mut().zip(&mut second.above).enumerate() {
        let mut marked = std::mem::take(one) | std::mem::take(other);
        while marked != 0 {
            let word = place * 64 + marked.trailing_zeros() as usize;
            marked &= marked - 1;
            let (one, other) = (std::mem::take(&mut first.words[word]), std::mem::take(&mut second.words[word]));
            let mut bits = one | other;
            while bits != 0 {
                let bit = bits.trailing_zeros();
                let signature = word as u32 * 64 + bit;
                if one >> bit & 1 != 0 {
                    take(signature, true);
                }
                if other >> bit & 1 != 0 {
                    take(signature, false);
                }
                bits &= bits - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn they_are_sets(rounds in proptest::collection::vec(
            proptest::collection::vec((0u32..40_000, any::<bool>()), 0..300), 1..4,
        )) {
            let (mut first, mut second) = (SignatureSet::default(), SignatureSet::default());
            first.resize(40_000);
            second.resize(40_000);
            for round in rounds {
                let mut plain = BTreeSet::new();
                for (signature, is_second) in round {
                    let set = if is_second { &mut second } else { &mut first };
                    prop_assert_eq!(set.contains(signature), plain.contains(&(signature, is_second)));
                    set.insert(signature);
                    plain.insert((signature, is_second));
                }
                let mut taken = Vec::new();
                take_all(&mut first, &mut second, |signature, is_first| taken.push((signature, !is_first)));
                prop_assert_eq!(taken, plain.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
