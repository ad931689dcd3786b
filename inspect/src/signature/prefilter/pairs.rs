//! The first question of a pass for patterns of two and three bytes, which is asked at every place.

use std::sync::Arc;

use super::frequency::FOLD;

/// Which pairs patterns begin with. A copy shares what takes memory.
#[derive(Clone, Debug)]
pub(super) enum Pairs {
    /// So few that a text is compared with each: some are there several times.
    Few([[u8; 2]; FEW]),
    /// A bit for each, by its number.
    Many(Arc<[u64; 1 << 10]>),
}

/// Pairs that are compared one by one.
const FEW: usize = 4;

/// Places that are compared together.
const BLOCK: usize = 32;

/// Places that are looked up together.
const MANY: usize = 16;

impl Pairs {
    pub(super) fn of(starts: impl Iterator<Item = [u8; 2]>) -> Self {
        let mut pairs: Vec<[u8; 2]> = starts.map(|pair| pair.map(fold)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        if let (1..=FEW, Some(&first)) = (pairs.len(), pairs.first()) {
            let mut few = [first; FEW];
            few[..pairs.len()].copy_from_slice(&pairs);
            return Self::Few(few);
        }
        let mut bits = [0; 1 << 10];
        for pair in pairs {
            let number = u16::from_le_bytes(pair);
            bits[usize::from(number >> 6)] |= 1 << (number & 63);
        }
        Self::Many(Arc::new(bits))
    }

    /// Looks at a text from a place on and calls `hit` with the places of the pairs.
    #[inline(always)]
    pub(super) fn pass(&self, text: &[u8], from: usize, hit: &mut impl FnMut(usize)) {
        match self {
            Self::Few(few) => few_pass(few, text, from, hit),
            Self::Many(bits) => many_pass(bits, text, from, hit),
        }
    }
}

fn fold(byte: u8) -> u8 {
    byte | FOLD as u8
}

/// Places of a block are looked at without a branch for each.
#[inline(never)]
fn many_pass(bits: &[u64; 1 << 10], text: &[u8], from: usize, hit: &mut impl FnMut(usize)) {
    let bit = |first: u8, second: u8| {
        let number = u16::from_le_bytes([fold(first), fold(second)]);
        bits[usize::from(number >> 6)] >> (number & 63) & 1
    };
    let mut place = from;
    while let Some(block) = text.get(place..place + MANY + 1).and_then(|block| <&[u8; MANY + 1]>::try_from(block).ok())
    {
        let mut found = (0..MANY).fold(0, |found, index| found | bit(block[index], block[index + 1]) << index);
        while found != 0 {
            hit(place + found.trailing_zeros() as usize);
            found &= found - 1;
        }
        place += MANY;
    }
    for (index, pair) in text.get(place..).unwrap_or_default().windows(2).enumerate() {
        if bit(pair[0], pair[1]) != 0 {
            hit(place + index);
        }
    }
}

/// Blocks are compared in vectors.
#[inline(never)]
fn few_pass(few: &[[u8; 2]; FEW], text: &[u8], from: usize, hit: &mut impl FnMut(usize)) {
    let mut place = from;
    while let Some(block) = text.get(place..place + BLOCK + 1) {
        let (Ok(firsts), Ok(seconds)) =
            (<&[u8; BLOCK]>::try_from(&block[..BLOCK]), <&[u8; BLOCK]>::try_from(&block[1..]))
        else {
            return;
        };
        let mut found = [0u8; BLOCK];
        for [first, second] in few {
            for index in 0..BLOCK {
                found[index] |= u8::from(fold(firsts[index]) == *first) & u8::from(fold(seconds[index]) == *second);
            }
        }
        if found != [0; BLOCK] {
            (0..BLOCK).filter(|&index| found[index] != 0).for_each(|index| hit(place + index));
        }
        place += BLOCK;
    }
    for (index, pair) in text.get(place..).unwrap_or_default().windows(2).enumerate() {
        if few.contains(&[fold(pair[0]), fold(pair[1])]) {
            hit(place + index);
        }
    }
}
