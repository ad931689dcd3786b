//! Signatures in blocks of 64, with marks that say which of them a packet's state leaves.
//!
//! Some signatures are looked at for each packet, whatever it holds. Which of them the state of a flow leaves is looked up
//! for a block at once; what is left is asked for addresses and ports, once per flow, for these do not change.

use super::facts::Facts;
use super::gate::{Gates, situation};
use super::header_match::FlowFacts;
use super::ruleset::RuleSet;
use crate::limits::BLOCKS_NOTED_MAX;

/// A list of signatures, each of which may stand for more with the same gate.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    blocks: Box<[Block]>,
}

/// Marks of 64 signatures.
#[derive(Debug)]
struct Block {
    signatures: Box<[u32]>,
    /// Who accepts packets of a situation, by its bit.
    situations: [u64; 8],
    /// Who asks for no protocol.
    without_protocol: u64,
    /// Who asks for a protocol, perhaps among others, by its bit.
    by_protocol: [u64; 32],
}

/// What a flow has found out about the signatures of a list in one direction.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    first: Asked,
    /// For the blocks behind the first one.
    more: Box<[Asked]>,
}

/// Which signatures of a block were asked for their addresses and ports, and which of these are the flow's.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    asked: u64,
    met: u64,
}

impl Blocks {
    pub(crate) fn of(gates: &Gates, signatures: impl Iterator<Item = u32>) -> Self {
        let all: Vec<u32> = signatures.collect();
        Self { blocks: all.chunks(64).map(|signatures| Block::of(gates, signatures)).collect() }
    }

    /// Calls `left` with the places, and the signatures there, that packets of a flow leave, tests of header fields aside.
    #[inline]
    pub(crate) fn left(
        &self,
        rules: &RuleSet,
        facts: &Facts<'_>,
        flow: &FlowFacts,
        protocols: u32,
        noted: &mut Noted,
        mut left: impl FnMut(usize, u32),
    ) {
        let situation = situation(flow.direction, flow.established, facts.ip_version).trailing_zeros() as usize;
        for (number, block) in self.blocks.iter().enumerate() {
            let allowed = block.situations[situation] & block.of_protocols(protocols);
            if allowed == 0 {
                continue;
            }
            let mut unknown = Asked::default();
            let asked = noted.block(number, self.blocks.len()).unwrap_or(&mut unknown);
            let mut missing = allowed & !asked.asked;
            while missing != 0 {
                let place = missing.trailing_zeros();
                let meets = rules.gates.ends_match(rules, block.signatures[place as usize], facts);
                asked.met |= u64::from(meets) << place;
                missing &= missing - 1;
            }
            asked.asked |= allowed;
            let mut marks = allowed & asked.met;
            while marks != 0 {
                let place = marks.trailing_zeros() as usize;
                left(64 * number + place, block.signatures[place]);
                marks &= marks - 1;
            }
        }
    }
}

impl Block {
    fn of(gates: &Gates, signatures: &[u32]) -> Self {
        let mut block =
            Self { signatures: signatures.into(), situations: [0; 8], without_protocol: 0, by_protocol: [0; 32] };
        for (place, &signature) in signatures.iter().enumerate() {
            let (situations, protocols) = gates.states(signature);
            for (bit, marks) in block.situations.iter_mut().enumerate() {
                *marks |= u64::from(situations >> bit & 1) << place;
            }
            for (bit, marks) in block.by_protocol.iter_mut().enumerate() {
                *marks |= u64::from(protocols >> bit & 1) << place;
            }
            block.without_protocol |= u64::from(protocols == 0) << place;
        }
        block
    }

    #[inline]
    fn of_protocols(&self, mut protocols: u32) -> u64 {
        if protocols == u32::MAX {
            return u64::MAX;
        }
        let mut marks = self.without_protocol;
        while protocols != 0 {
            marks |= self.by_protocol[protocols.trailing_zeros() as usize];
            protocols &= protocols - 1;
        }
        marks
    }
}

impl Noted {
    #[inline]
    fn block(&mut self, number: usize, count: usize) -> Option<&mut Asked> {
        if number == 0 {
            return Some(&mut self.first);
        }
        if self.more.is_empty() {
            self.more = vec![Asked::default(); count.min(BLOCKS_NOTED_MAX) - 1].into();
        }
        self.more.get_mut(number - 1)
    }
}
