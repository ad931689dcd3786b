//! What signatures make the inspector remember: bits and numbers of flows, bits of addresses.

use std::collections::{HashMap, VecDeque};

use crate::limits::{ADDRESS_BITS_MAX, FLOW_BITS_MAX};
use crate::signature::{BitChange, BitTrack, Facts, IntChange, IntValue, MemoryEffect, MemoryTest, NameId};

/// Bits and numbers of one flow.
#[derive(Debug, Default)]
pub(crate) struct FlowNotes {
    bits: Vec<NameId>,
    numbers: Vec<(NameId, u32)>,
}

impl FlowNotes {
    fn number(&self, name: NameId) -> Option<u32> {
        self.numbers.iter().find(|&&(known, _)| known == name).map(|&(_, value)| value)
    }

    fn value(&self, value: IntValue) -> Option<u32> {
        match value {
            IntValue::Literal(value) => Some(value),
            IntValue::Variable(name) => self.number(name),
        }
    }

    fn change_bit(&mut self, name: NameId, change: BitChange) {
        let place = self.bits.iter().position(|&bit| bit == name);
        match (change, place) {
            (BitChange::Unset | BitChange::Toggle, Some(place)) => {
                self.bits.swap_remove(place);
            }
            (BitChange::Set | BitChange::Toggle, None) if self.bits.len() < FLOW_BITS_MAX => self.bits.push(name),
            (BitChange::Set, _) | (BitChange::Unset | BitChange::Toggle, None) => {}
        }
    }

    fn change_number(&mut self, name: NameId, change: IntChange, value: IntValue) {
        let Some(operand) = self.value(value) else { return };
        let place = self.numbers.iter().position(|&(known, _)| known == name);
        let before = place.map_or(0, |place| self.numbers[place].1);
        let after = match change {
            IntChange::Set => operand,
            IntChange::Add => before.saturating_add(operand),
            IntChange::Subtract => before.saturating_sub(operand),
        };
        match place {
            Some(place) => self.numbers[place].1 = after,
            None if self.numbers.len() < FLOW_BITS_MAX => self.numbers.push((name, after)),
            None => {}
        }
    }
}

/// Bits of addresses and pairs of them, for one worker.
#[derive(Debug, Default)]
pub(crate) struct AddressBits {
    /// When each bit ends, in milliseconds.
    bits: HashMap<(NameId, u128, u128), u64>,
    /// Keys in the order in which they came.
    order: VecDeque<(NameId, u128, u128)>,
}

impl AddressBits {
    fn key(name: NameId, track: BitTrack, facts: &Facts<'_>) -> (NameId, u128, u128) {
        match track {
            BitTrack::Source => (name, facts.source, 0),
            BitTrack::Destination => (name, facts.destination, 0),
            BitTrack::Pair => (name, facts.source.min(facts.destination), facts.source.max(facts.destination)),
        }
    }

    fn is_set(&self, key: (NameId, u128, u128), now_ms: u64) -> bool {
        self.bits.get(&key).is_some_and(|&end_ms| now_ms < end_ms)
    }

    fn set(&mut self, key: (NameId, u128, u128), end_ms: u64) {
        if self.bits.insert(key, end_ms).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > ADDRESS_BITS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.bits.remove(&oldest);
            }
        }
    }
}

/// Whether everything that is asked holds.
pub(crate) fn all_hold(
    asks: &[MemoryTest],
    notes: &FlowNotes,
    addresses: &AddressBits,
    facts: &Facts<'_>,
    now_ms: u64,
) -> bool {
    asks.iter().all(|ask| match ask {
        MemoryTest::FlowBitsSet(names) => names.iter().any(|name| notes.bits.contains(name)),
        MemoryTest::FlowBitsNotSet(names) => names.iter().any(|name| !notes.bits.contains(name)),
        MemoryTest::XBit { name, track, set } => {
            addresses.is_set(AddressBits::key(*name, *track, facts), now_ms) == *set
        }
        MemoryTest::FlowInt { name, relation, value } => match (notes.number(*name), notes.value(*value)) {
            (Some(left), Some(right)) => relation.holds(left, right),
            _ => false,
        },
        MemoryTest::FlowIntSet { name, set } => notes.number(*name).is_some() == *set,
    })
}

/// Does what a match asks for.
pub(crate) fn apply(
    effects: &[MemoryEffect],
    notes: &mut FlowNotes,
    addresses: &mut AddressBits,
    facts: &Facts<'_>,
    now_ms: u64,
) {
    for effect in effects {
        match *effect {
            MemoryEffect::FlowBit { name, change } => notes.change_bit(name, change),
            MemoryEffect::FlowInt { name, change, value } => notes.change_number(name, change, value),
            MemoryEffect::XBit { name, track, change, expire_ms } => {
                let key = AddressBits::key(name, track, facts);
                let set = match change {
                    BitChange::Set => true,
                    BitChange::Unset => false,
                    BitChange::Toggle => !addresses.is_set(key, now_ms),
                };
                addresses.set(key, if set { now_ms.saturating_add(expire_ms) } else { 0 });
            }
        }
    }
}
