//! The key of a flow in the table, and its keyed hash.

use inspect::flow_key::{FlowKey, Way};

use crate::counters::PORTS_MAX;
use crate::frame::PortId;

/// A flow's key together with the switch ports at its two ends, as words.
///
/// The ports belong to the key because the verdict depends on them: the zones that policy asks about come from the ports
/// that a frame enters and leaves by, not from its addresses (invariant 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableKey {
    /// Low address, then high address, as numbers, the lower half of each first.
    pub addresses: [u64; 4],
    /// Transport ports and switch ports of the low and high end, 16 bits each.
    pub ports: u64,
    /// IP protocol number.
    pub protocol: u8,
}

/// The lower half of an IPv4-mapped IPv6 address, above the IPv4 address.
const V4_MAPPED: u64 = 0xffff_0000_0000;

#[inline(always)]
fn words(address: [u8; 16]) -> [u64; 2] {
    let number = u128::from_be_bytes(address);
    [number as u64, (number >> 64) as u64]
}

fn bytes(words: [u64; 2]) -> [u8; 16] {
    (u128::from(words[0]) | u128::from(words[1]) << 64).to_be_bytes()
}

impl TableKey {
    /// The key of nothing.
    pub const ZERO: Self = Self { addresses: [0; 4], ports: 0, protocol: 0 };

    /// The key of a packet that goes `way` from switch port `ingress` to switch port `egress`.
    #[inline(always)]
    pub fn new(key: &FlowKey, way: Way, ingress: PortId, egress: PortId) -> Self {
        let (low, high) = match way {
            Way::LowToHigh => (ingress, egress),
            Way::HighToLow => (egress, ingress),
        };
        let [a, b] = words(key.low_address);
        let [c, d] = words(key.high_address);
        let ports = u64::from(key.low_port) | u64::from(key.high_port) << 16;
        let ports = ports | u64::from(low.0) << 32 | u64::from(high.0) << 48;
        Self { addresses: [a, b, c, d], ports, protocol: key.protocol }
    }

    /// The key of a TCP or UDP packet over IPv4, with the flag that says whether it goes from the low end: the same as by way
    /// of [`FlowKey`], without the detour.
    #[inline(always)]
    pub fn of_ipv4(
        (source, destination): (u32, u32),
        (source_port, destination_port): (u16, u16),
        protocol: u8,
        ingress: PortId,
        egress: PortId,
    ) -> (Self, bool) {
        let from = u64::from(source) << 16 | u64::from(source_port);
        let to = u64::from(destination) << 16 | u64::from(destination_port);
        let from_low = from <= to;
        let (low, high) = if from_low { (from, to) } else { (to, from) };
        let (low_place, high_place) = if from_low { (ingress, egress) } else { (egress, ingress) };
        let ports = low & 0xffff | (high & 0xffff) << 16 | u64::from(low_place.0) << 32 | u64::from(high_place.0) << 48;
        let addresses = [V4_MAPPED | low >> 16, 0, V4_MAPPED | high >> 16, 0];
        (Self { addresses, ports, protocol }, from_low)
    }

    /// The flow's ends again: the key without switch ports, then the switch ports of the low and of the high end.
    pub fn parts(&self) -> (FlowKey, PortId, PortId) {
        let [a, b, c, d] = self.addresses;
        let key = FlowKey {
            low_address: bytes([a, b]),
            high_address: bytes([c, d]),
            low_port: self.ports as u16,
            high_port: (self.ports >> 16) as u16,
            protocol: self.protocol,
        };
        (key, PortId((self.ports >> 32) as u16), PortId((self.ports >> 48) as u16))
    }
}

/// The secret of the table's hash, drawn anew at each start.
///
/// NH (Black, Halevi, Krawczyk, Krovetz, Rogaway: UMAC, CRYPTO 1999) over 64-bit words: two different keys collide with a
/// probability of at most 2^-64 over the choice of the secret, so whoever does not know it cannot make flows collide
/// (attack F05). Three multiplications for a whole key, one for IPv4's; a final one spreads the sum over the bits that pick the
/// place.
#[derive(Clone, Copy)]
pub struct HashSecret {
    words: [u64; 6],
    finish: u64,
}

impl HashSecret {
    /// A secret from 56 random bytes.
    pub fn new(random: [u8; 56]) -> Self {
        let word = |n: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&random[n * 8..n * 8 + 8]);
            u64::from_le_bytes(bytes)
        };
        Self { words: std::array::from_fn(word), finish: word(6) | 1 }
    }

    /// The hash of a key. Its high half picks the place; all of it names the flow in logs.
    #[inline]
    pub fn hash(&self, key: &TableKey) -> u64 {
        let [low, low_rest, high, high_rest] = key.addresses;
        if low >> 32 == V4_MAPPED >> 32 && high >> 32 == V4_MAPPED >> 32 && low_rest | high_rest == 0 {
            return self.hash_ipv4(key);
        }
        let k = &self.words;
        let sum = product(low, k[0], high, k[1])
            .wrapping_add(product(low_rest, k[2], high_rest, k[3]))
            .wrapping_add(product(key.ports, k[4], u64::from(key.protocol), k[5]));
        self.spread(sum)
    }

    /// The hash of a key whose addresses are IPv4-mapped: what of it can differ fits two words, so one multiplication does.
    #[inline(always)]
    pub fn hash_ipv4(&self, key: &TableKey) -> u64 {
        // Switch ports are below 256, so the last byte is free.
        const { assert!(PORTS_MAX <= 1 << 8) };
        let addresses = key.addresses[0] & 0xffff_ffff | key.addresses[2] << 32;
        let ports = key.ports ^ u64::from(key.protocol) << 56;
        self.spread(product(addresses, self.words[0], ports, self.words[1]))
    }

    /// The part of [`HashSecret::hash_ipv4`] that keys share which differ in their transport ports only.
    #[inline(always)]
    pub(super) fn train(&self, key: &TableKey) -> TrainHash {
        let addresses = key.addresses[0] & 0xffff_ffff | key.addresses[2] << 32;
        let rest = (key.ports ^ u64::from(key.protocol) << 56) & !0xffff_ffff;
        TrainHash { addresses: addresses.wrapping_add(self.words[0]), rest, word: self.words[1], finish: self.finish }
    }

    /// Spreads a sum over all bits.
    #[inline(always)]
    fn spread(&self, sum: u128) -> u64 {
        spread(sum, self.finish)
    }
}

#[inline(always)]
fn spread(sum: u128, finish: u64) -> u64 {
    let folded = (sum as u64) ^ ((sum >> 64) as u64);
    let spread = u128::from(folded) * u128::from(finish);
    (spread as u64) ^ ((spread >> 64) as u64)
}

/// The hash of keys over IPv4 that differ in their transport ports only, but for these.
#[derive(Clone, Copy)]
pub(crate) struct TrainHash {
    addresses: u64,
    rest: u64,
    word: u64,
    finish: u64,
}

impl TrainHash {
    /// The hash of the key with these transport ports, the low end's in the lower half.
    #[inline(always)]
    pub(crate) fn with_ports(&self, ports: u32) -> u64 {
        let ports = (self.rest | u64::from(ports)).wrapping_add(self.word);
        spread(u128::from(self.addresses) * u128::from(ports), self.finish)
    }
}

#[inline(always)]
fn product(a: u64, ka: u64, b: u64, kb: u64) -> u128 {
    u128::from(a.wrapping_add(ka)) * u128::from(b.wrapping_add(kb))
}

impl std::fmt::Debug for HashSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u16) -> FlowKey {
        FlowKey { low_address: [1; 16], high_address: [2; 16], low_port: n, high_port: 53, protocol: 17 }
    }

    #[test]
    fn both_ways_give_one_key_and_parts_give_it_back() {
        let there = TableKey::new(&key(7), Way::LowToHigh, PortId(3), PortId(9));
        let back = TableKey::new(&key(7), Way::HighToLow, PortId(9), PortId(3));
        assert_eq!(there, back);
        assert_eq!(there.parts(), (key(7), PortId(3), PortId(9)));
        assert_ne!(
            there,
            TableKey::new(&key(7), Way::HighToLow, PortId(3), PortId(9)),
            "switch ports belong to the key"
        );
    }

    #[test]
    fn the_short_way_to_a_key_is_the_same_way() {
        use std::net::IpAddr;
        let ends = [([10, 0, 0, 1], 80), ([10, 0, 0, 1], 81), ([9, 255, 0, 1], 5_000), ([192, 168, 1, 1], 1)];
        for (source, source_port) in ends {
            for (destination, destination_port) in ends {
                let addresses = (IpAddr::from(source), IpAddr::from(destination));
                let (key, way) = FlowKey::between(addresses.0, source_port, addresses.1, destination_port, 6);
                let numbers = (u32::from_be_bytes(source), u32::from_be_bytes(destination));
                let ports = (source_port, destination_port);
                let (short, from_low) = TableKey::of_ipv4(numbers, ports, 6, PortId(4), PortId(5));
                assert_eq!(short, TableKey::new(&key, way, PortId(4), PortId(5)));
                assert_eq!(from_low, way == Way::LowToHigh);
            }
        }
    }

    #[test]
    fn every_part_of_an_ipv4_key_changes_its_hash() {
        let secret = HashSecret::new(std::array::from_fn(|n| (n * 37 + 11) as u8));
        let key = |source, sport, protocol, egress| {
            let (key, _) = TableKey::of_ipv4((source, 0x0a00_0002), (sport, 80), protocol, PortId(1), PortId(egress));
            assert_eq!(secret.hash(&key), secret.hash_ipv4(&key));
            let (first, _) = TableKey::of_ipv4((source, 0x0a00_0002), (1, 2), protocol, PortId(1), PortId(egress));
            assert_eq!(secret.hash(&key), secret.train(&first).with_ports(key.ports as u32));
            secret.hash(&key)
        };
        let keys = [
            key(0x0a00_0001, 7, 6, 2),
            key(0x0a00_0003, 7, 6, 2),
            key(0x0a00_0001, 8, 6, 2),
            key(0x0a00_0001, 7, 17, 2),
            key(0x0a00_0001, 7, 6, 255),
        ];
        assert_eq!(std::collections::HashSet::from(keys).len(), keys.len());
    }

    #[test]
    fn hashes_of_consecutive_ports_spread_evenly() {
        let secret = HashSecret::new(std::array::from_fn(|n| (n * 37 + 11) as u8));
        let mut places = [0u32; 64];
        for n in 0..64_000u32 {
            let hash = secret.hash(&TableKey::new(&key(n as u16), Way::LowToHigh, PortId(0), PortId(1)));
            places[(hash >> 58) as usize] += 1;
        }
        assert!(places.iter().all(|count| (800..1_200).contains(count)), "{places:?}");
    }
}
