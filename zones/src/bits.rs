//! A set of small numbers as a row of bits: rules by port, ports by rule.

/// A set over `0..size`, with the size fixed when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Box<[u64]>,
}

impl Bits {
    pub(crate) fn none(size: usize) -> Self {
        Self { words: vec![0; size.div_ceil(64)].into_boxed_slice() }
    }

    pub(crate) fn all(size: usize) -> Self {
        let mut bits = Self::none(size);
        (0..size).for_each(|index| bits.insert(index));
        bits
    }

    /// Adds a number. Panics when it is not below the size: sizes come from the value being compiled, never from input.
    pub(crate) fn insert(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    pub(crate) fn contains(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(crate) fn is_subset(&self, of: &Self) -> bool {
        self.words.iter().zip(&of.words).all(|(own, other)| own & !other == 0)
    }

    pub(crate) fn intersects(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(own, other)| own & other != 0)
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_behave_across_word_borders() {
        let mut bits = Bits::none(130);
        assert!(bits.is_empty());
        for index in [0, 63, 64, 129] {
            bits.insert(index);
        }
        let members: Vec<usize> = (0..200).filter(|index| bits.contains(*index)).collect();
        assert_eq!(members, [0, 63, 64, 129]);
        assert!(bits.is_subset(&Bits::all(130)) && !Bits::all(130).is_subset(&bits));
        let mut other = Bits::none(130);
        other.insert(65);
        assert!(!bits.intersects(&other));
        bits.insert(65);
        assert!(bits.intersects(&other) && other.is_subset(&bits));
    }
}
