//! Which port an Ethernet address is behind.
//!
//! Addresses of guests are fixed by configuration ([`FixedMacs`], part of a generation): no frame can move them, so a guest
//! cannot draw another's traffic by flooding or by claiming its address (attack F06). Only what lies behind an uplink or a
//! port without port security is learned ([`LearnedMacs`]): shared by the workers, bounded per port, aged. Each worker keeps
//! a small cache of what it learned ([`LearnedCache`]), so that the shared table is not asked for every frame.

use std::sync::atomic::{AtomicU32, Ordering};

use dashmap::DashMap;

use crate::counters::PORTS_MAX;
use crate::frame::PortId;

/// An Ethernet address as a number: its six bytes, the first one highest.
fn number(mac: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = mac;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Spreads an address over a table of 2^`bits` places.
fn place(mac: u64, bits: u32) -> usize {
    (mac.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as usize
}

/// The addresses that configuration binds to ports, for lookup once per frame.
///
/// Open addressing at a quarter load: the table is built once from trusted input and never changes, so probing stays short,
/// also for absent addresses that a guest picks.
#[derive(Debug)]
pub struct FixedMacs {
    places: Box<[(u64, u16)]>,
    bits: u32,
}

/// An address with bits above the 48th is none, and marks a free place.
const FREE: u64 = u64::MAX;

impl FixedMacs {
    /// Builds the table; of two entries for one address the first stays.
    pub fn new(entries: impl IntoIterator<Item = ([u8; 6], PortId)>) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let bits = (entries.len() * 4).max(16).next_power_of_two().trailing_zeros();
        let mut table = Self { places: vec![(FREE, 0); 1 << bits].into_boxed_slice(), bits };
        for (mac, port) in entries {
            if table.port(mac).is_none() {
                let mut at = place(number(mac), bits);
                while table.places[at].0 != FREE {
                    at = (at + 1) & (table.places.len() - 1);
                }
                table.places[at] = (number(mac), port.0);
            }
        }
        table
    }

    /// The port that an address is bound to.
    #[inline]
    pub fn port(&self, mac: [u8; 6]) -> Option<PortId> {
        let mac = number(mac);
        let mut at = place(mac, self.bits);
        loop {
            let (key, port) = self.places[at];
            if key == mac {
                return Some(PortId(port));
            }
            if key == FREE {
                return None;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }

    /// All addresses and their ports, in no order.
    pub fn iter(&self) -> impl Iterator<Item = ([u8; 6], PortId)> + '_ {
        self.places.iter().filter(|(key, _)| *key != FREE).map(|(key, port)| {
            let [_, _, mac @ ..] = key.to_be_bytes();
            (mac, PortId(*port))
        })
    }
}

/// One learned address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedMac {
    /// The port that it was last seen behind.
    pub port: PortId,
    /// When it was last seen, in milliseconds of the monotonic clock, to within [`REFRESH_MS`].
    pub seen_ms: u64,
}

/// What became of an address that was offered for learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// Known already, or learned now.
    Known,
    /// It was behind another port before.
    Moved(PortId),
    /// The port's share of the table is used up; the address stays unknown and frames to it are flooded.
    Full,
}

/// A learned address is written back to the shared table at most this often.
const REFRESH_MS: u64 = 1_000;

/// The addresses learned behind uplinks and unsecured ports, shared by all workers and the control thread.
#[derive(Debug)]
pub struct LearnedMacs {
    table: DashMap<[u8; 6], LearnedMac>,
    per_port: Box<[AtomicU32]>,
    per_port_max: u32,
    ageing_ms: u64,
}

impl LearnedMacs {
    /// An empty table that takes `per_port_max` addresses per port and forgets those unseen for `ageing_ms`.
    pub fn new(per_port_max: u32, ageing_ms: u64) -> Self {
        Self {
            table: DashMap::new(),
            per_port: (0..PORTS_MAX).map(|_| AtomicU32::new(0)).collect(),
            per_port_max,
            ageing_ms,
        }
    }

    /// The port behind which `mac` was seen lately.
    pub fn port(&self, mac: [u8; 6], now_ms: u64) -> Option<LearnedMac> {
        self.table.get(&mac).map(|entry| *entry).filter(|entry| now_ms.saturating_sub(entry.seen_ms) < self.ageing_ms)
    }

    /// Notes that `mac` was seen behind `port`.
    pub fn learn(&self, mac: [u8; 6], port: PortId, now_ms: u64) -> Learning {
        use dashmap::mapref::entry::Entry;
        let seen = LearnedMac { port, seen_ms: now_ms };
        match self.table.entry(mac) {
            Entry::Occupied(mut entry) if entry.get().port == port => {
                entry.insert(seen);
                Learning::Known
            }
            Entry::Occupied(mut entry) => {
                if !self.take_place(port) {
                    return Learning::Full;
                }
                let before = entry.insert(seen).port;
                self.give_back(before);
                Learning::Moved(before)
            }
            Entry::Vacant(entry) => {
                if !self.take_place(port) {
                    return Learning::Full;
                }
                entry.insert(seen);
                Learning::Known
            }
        }
    }

    /// Forgets addresses that were not seen for the ageing time, and those of ports that `keep` does not name.
    pub fn expire(&self, now_ms: u64, keep: impl Fn(PortId) -> bool) {
        self.table.retain(|_, entry| {
            let stays = keep(entry.port) && now_ms.saturating_sub(entry.seen_ms) < self.ageing_ms;
            if !stays {
                self.give_back(entry.port);
            }
            stays
        });
    }

    /// All learned addresses, in no order.
    pub fn snapshot(&self) -> Vec<([u8; 6], LearnedMac)> {
        self.table.iter().map(|entry| (*entry.key(), *entry.value())).collect()
    }

    fn take_place(&self, port: PortId) -> bool {
        let count = &self.per_port[port.index()];
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.per_port_max).then_some(n + 1)).is_ok()
    }

    fn give_back(&self, port: PortId) {
        self.per_port[port.index()].fetch_sub(1, Ordering::Relaxed);
    }
}

const CACHE_BITS: u32 = 8;

/// One worker's recent look-ups in [`LearnedMacs`], direct-mapped. An entry is believed for [`REFRESH_MS`].
#[derive(Debug)]
pub struct LearnedCache {
    places: Box<[(u64, LearnedMac)]>,
}

impl Default for LearnedCache {
    fn default() -> Self {
        let none = LearnedMac { port: PortId(0), seen_ms: 0 };
        Self { places: vec![(FREE, none); 1 << CACHE_BITS].into_boxed_slice() }
    }
}

impl LearnedCache {
    /// As [`LearnedMacs::port`], from the cache where it is fresh.
    pub fn port(&mut self, shared: &LearnedMacs, mac: [u8; 6], now_ms: u64) -> Option<PortId> {
        let key = number(mac);
        let cached = &mut self.places[place(key, CACHE_BITS)];
        if cached.0 == key && now_ms.saturating_sub(cached.1.seen_ms) < REFRESH_MS {
            return Some(cached.1.port);
        }
        let found = shared.port(mac, now_ms)?;
        *cached = (key, LearnedMac { port: found.port, seen_ms: now_ms });
        Some(found.port)
    }

    /// As [`LearnedMacs::learn`], going to the shared table only when the cache does not say the same already.
    pub fn learn(&mut self, shared: &LearnedMacs, mac: [u8; 6], port: PortId, now_ms: u64) -> Learning {
        let key = number(mac);
        let cached = &mut self.places[place(key, CACHE_BITS)];
        if cached.0 == key && cached.1.port == port && now_ms.saturating_sub(cached.1.seen_ms) < REFRESH_MS {
            return Learning::Known;
        }
        let learning = shared.learn(mac, port, now_ms);
        if learning != Learning::Full {
            *cached = (key, LearnedMac { port, seen_ms: now_ms });
        }
        learning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
    const B: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];

    #[test]
    fn fixed_addresses_are_found_and_others_are_not() {
        let table = FixedMacs::new((0..200u8).map(|n| ([0x52, 0x54, 0, 0, 1, n], PortId(u16::from(n)))));
        for n in 0..200u8 {
            assert_eq!(table.port([0x52, 0x54, 0, 0, 1, n]), Some(PortId(u16::from(n))));
            assert_eq!(table.port([0x52, 0x54, 0, 0, 2, n]), None);
        }
        assert_eq!(table.iter().count(), 200);
        assert_eq!(FixedMacs::new([]).port(A), None);
    }

    #[test]
    fn a_port_learns_up_to_its_share_and_no_further() {
        let shared = LearnedMacs::new(2, 1_000);
        let (one, two) = (PortId(1), PortId(2));
        assert_eq!(shared.learn(A, one, 0), Learning::Known);
        assert_eq!(shared.learn(B, one, 0), Learning::Known);
        assert_eq!(shared.learn([2; 6], one, 0), Learning::Full);
        assert_eq!(shared.learn([2; 6], two, 0), Learning::Known);
        assert_eq!(shared.learn(A, two, 0), Learning::Moved(one));
        assert_eq!(shared.learn([4; 6], one, 0), Learning::Known, "the place that A left is free again");
    }

    #[test]
    fn addresses_age_and_leave_their_place() {
        let shared = LearnedMacs::new(1, 1_000);
        shared.learn(A, PortId(1), 0);
        assert_eq!(shared.port(A, 999).map(|entry| entry.port), Some(PortId(1)));
        assert_eq!(shared.port(A, 1_000), None);
        shared.expire(1_000, |_| true);
        assert_eq!(shared.learn(B, PortId(1), 1_000), Learning::Known);
        shared.expire(1_001, |port| port != PortId(1));
        assert!(shared.snapshot().is_empty());
    }

    #[test]
    fn the_cache_says_what_the_table_says() {
        let shared = LearnedMacs::new(8, 10_000);
        let mut cache = LearnedCache::default();
        assert_eq!(cache.port(&shared, A, 0), None);
        assert_eq!(cache.learn(&shared, A, PortId(3), 0), Learning::Known);
        assert_eq!(cache.port(&shared, A, 10), Some(PortId(3)));
        assert_eq!(shared.learn(A, PortId(4), 20), Learning::Moved(PortId(3)));
        assert_eq!(cache.port(&shared, A, REFRESH_MS), Some(PortId(4)), "believed for a second, not longer");
    }
}
