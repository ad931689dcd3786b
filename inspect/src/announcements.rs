//! Connections that others have announced: FTP's data connections, by the words of its control connections.
//!
//! # Theory of operation
//!
//! A control connection and the data connection that it announces are two flows, which may be with two workers. So what was
//! announced stands in a table that all workers share for the life of the switch, without a lock. It is there before the packet
//! that announces it goes on, and so before anybody can connect.
//!
//! An entry is a guest's word. All that it brings about is that the bytes of a connection are looked at as files, too, and that
//! the connection is called FTP data if its bytes are not recognised as anything else: an entry allows nothing, and hides
//! nothing from any signature. Entries of the same two hosts share a set of places; where it is full, a pair's own oldest entry
//! makes way if it has half of the set, else the oldest of all. Who has few addresses can so make few others' entries go.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::limits::{ANNOUNCED_NAME_BYTES_MAX, ANNOUNCED_SETS, ANNOUNCED_WAYS};

/// How long an announcement holds, in seconds: servers wait for their clients for one minute to five.
const HOLDS_S: u32 = 300;

/// Beside the length of a name: not the whole of the file passes.
const IS_PART: u32 = 1 << 31;

const NAME_WORDS: usize = ANNOUNCED_NAME_BYTES_MAX / 8;

/// A connection that is announced: who will connect to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announced {
    /// Who listens.
    pub listener: u128,
    /// The TCP port that it listens on.
    pub port: u16,
    /// Who will connect.
    pub connector: u128,
}

/// What became of announcements so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnnouncementCounts {
    /// Made.
    pub made: u64,
    /// Connections that were announced and came.
    pub met: u64,
    /// Forgotten before their time, for want of room.
    pub forgotten: u64,
}

/// The table.
#[derive(Debug)]
pub struct Announcements {
    entries: Box<[Entry]>,
    hasher: RandomState,
    /// No entry holds for longer: what lets most look-ups end at once.
    until_s: AtomicU32,
    made: AtomicU64,
    met: AtomicU64,
    forgotten: AtomicU64,
}

#[derive(Debug, Default)]
struct Entry {
    /// Odd while a worker writes: it is who may, and no other waits for it.
    version: AtomicU32,
    /// The second until which it holds; 0 where there is none.
    until_s: AtomicU32,
    /// Tells connections apart.
    mark: AtomicU64,
    /// Tells pairs of hosts apart.
    pair: AtomicU64,
    /// Bytes of the name, and [`IS_PART`].
    name_bytes: AtomicU32,
    name: [AtomicU64; NAME_WORDS],
}

impl Default for Announcements {
    /// A table of the smallest size, for an inspector that stands alone.
    fn default() -> Self {
        Self::with_sets(1)
    }
}

impl Announcements {
    /// A table for all workers of a switch: somewhat more than a megabyte.
    pub fn new() -> Self {
        Self::with_sets(ANNOUNCED_SETS)
    }

    fn with_sets(sets: usize) -> Self {
        Self {
            entries: (0..sets * ANNOUNCED_WAYS).map(|_| Entry::default()).collect(),
            hasher: RandomState::new(),
            until_s: AtomicU32::new(0),
            made: AtomicU64::new(0),
            met: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// What became of announcements so far.
    pub fn counts(&self) -> AnnouncementCounts {
        let value = |count: &AtomicU64| count.load(Ordering::Relaxed);
        AnnouncementCounts { made: value(&self.made), met: value(&self.met), forgotten: value(&self.forgotten) }
    }

    /// Notes that a connection will come, and for which file, if that is known by now; of a long name the beginning, and whether
    /// only a part of the file will pass.
    pub fn announce(&self, connection: Announced, file: (&[u8], bool), now_ms: u64) {
        let now_s = seconds(now_ms);
        let (set, pair, mark) = self.place(connection);
        let until_s = now_s + HOLDS_S;
        let known = set.iter().find(|entry| entry.holds(mark, now_s));
        if let Some(entry) = known.filter(|entry| entry.try_lock(|entry| entry.holds(mark, now_s))) {
            entry.write(mark, pair, file, until_s);
        } else {
            self.made.fetch_add(1, Ordering::Relaxed);
            // Who cannot have one place takes the next: other workers hold as many as there are workers, for a moment.
            let mut choices = (0..ANNOUNCED_WAYS).filter_map(|tries| choose(set, pair, now_s, tries));
            let taken = choices.find(|(entry, until)| entry.try_lock(|entry| entry.until_s() == *until));
            let is_one_lost = taken.is_none_or(|(_, until)| until > now_s);
            self.forgotten.fetch_add(u64::from(is_one_lost), Ordering::Relaxed);
            if let Some((entry, _)) = taken {
                entry.write(mark, pair, file, until_s);
            }
        }
        self.until_s.fetch_max(until_s, Ordering::Release);
    }

    /// Whether a connection that begins now was announced.
    pub fn is_announced(&self, connection: Announced, now_ms: u64) -> bool {
        let now_s = seconds(now_ms);
        if self.until_s.load(Ordering::Acquire) <= now_s {
            return false;
        }
        let (set, _, mark) = self.place(connection);
        let is_there = set.iter().any(|entry| entry.holds(mark, now_s));
        self.met.fetch_add(u64::from(is_there), Ordering::Relaxed);
        is_there
    }

    /// The name of the file that a connection is for, if it was announced with one, and whether only a part of it passes.
    pub fn file(&self, connection: Announced, now_ms: u64) -> Option<(Vec<u8>, bool)> {
        let (set, _, mark) = self.place(connection);
        set.iter().find(|entry| entry.holds(mark, seconds(now_ms)))?.file()
    }

    /// The places of the connection's pair of hosts, and what tells the pair and the connection apart in them.
    fn place(&self, connection: Announced) -> (&[Entry], u64, u64) {
        let Announced { listener, connector, .. } = connection;
        let pair = self.hasher.hash_one((listener.min(connector), listener.max(connector)));
        let sets = self.entries.len() / ANNOUNCED_WAYS;
        let first = pair as usize % sets * ANNOUNCED_WAYS;
        (&self.entries[first..first + ANNOUNCED_WAYS], pair, self.hasher.hash_one(connection))
    }
}

/// Seconds from 1, so that 0 is before everything.
fn seconds(now_ms: u64) -> u32 {
    u32::try_from(now_ms / 1000).unwrap_or(u32::MAX - HOLDS_S - 1) + 1
}

/// The place for a further entry of a pair, and until when it holds now: a free one, the oldest of the pair where it has half of
/// all, or the oldest; after so many tries the next.
fn choose(set: &[Entry], pair: u64, now_s: u32, tries: usize) -> Option<(&Entry, u32)> {
    let mut by_age: Vec<(&Entry, u32)> = set.iter().map(|entry| (entry, entry.until_s())).collect();
    by_age.sort_by_key(|(_, until)| *until);
    let is_full = by_age.first().is_some_and(|(_, until)| *until > now_s);
    let is_own = |(entry, _): &&(&Entry, u32)| entry.pair.load(Ordering::Relaxed) == pair;
    if is_full && tries == 0 && by_age.iter().filter(is_own).count() >= set.len() / 2 {
        return by_age.iter().find(is_own).copied();
    }
    by_age.get(tries).copied()
}

impl Entry {
    fn holds(&self, mark: u64, now_s: u32) -> bool {
        self.mark.load(Ordering::Acquire) == mark && self.until_s.load(Ordering::Acquire) > now_s
    }

    fn until_s(&self) -> u32 {
        self.until_s.load(Ordering::Acquire)
    }

    /// Whether the caller may write now, and it still is what it was chosen for.
    fn try_lock(&self, is_still: impl Fn(&Self) -> bool) -> bool {
        let version = self.version.load(Ordering::Relaxed);
        let locked = version.wrapping_add(1);
        if !version.is_multiple_of(2)
            || !is_still(self)
            || self.version.compare_exchange(version, locked, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return false;
        }
        let is_still = is_still(self);
        if !is_still {
            self.version.store(version.wrapping_add(2), Ordering::Release);
        }
        is_still
    }

    /// Writes and unlocks. Who only asks whether it is there never sees one entry's mark with another's time.
    fn write(&self, mark: u64, pair: u64, (name, is_part): (&[u8], bool), until_s: u32) {
        if self.mark.load(Ordering::Relaxed) != mark {
            self.until_s.store(0, Ordering::Release);
            self.mark.store(mark, Ordering::Release);
            self.pair.store(pair, Ordering::Release);
        }
        let name = &name[..name.len().min(ANNOUNCED_NAME_BYTES_MAX)];
        for (word, bytes) in self.name.iter().zip(name.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(whole), Ordering::Release);
        }
        let part = if is_part { IS_PART } else { 0 };
        self.name_bytes.store(name.len() as u32 | part, Ordering::Release);
        self.until_s.store(until_s, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The file as one worker wrote it; none while it is being written.
    fn file(&self) -> Option<(Vec<u8>, bool)> {
        let before = self.version.load(Ordering::Acquire);
        let name_bytes = self.name_bytes.load(Ordering::Acquire);
        let length = (name_bytes & !IS_PART) as usize;
        let words = self.name.iter().map(|word| word.load(Ordering::Acquire).to_ne_bytes());
        let bytes: Vec<u8> = words.flatten().take(length).collect();
        let is_whole = before.is_multiple_of(2) && self.version.load(Ordering::Acquire) == before;
        (is_whole && !bytes.is_empty()).then_some((bytes, name_bytes & IS_PART != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(port: u16) -> Announced {
        Announced { listener: 2, port, connector: 1 }
    }

    #[test]
    fn what_is_announced_is_known_for_a_while_with_its_name() {
        let table = Announcements::new();
        assert!(!table.is_announced(connection(20), 0));
        table.announce(connection(20), (b"", false), 5_000);
        assert!(table.is_announced(connection(20), 5_000));
        assert_eq!(table.file(connection(20), 5_000), None);
        let others = [
            connection(21),
            Announced { listener: 1, port: 20, connector: 2 },
            Announced { connector: 3, ..connection(20) },
            Announced { listener: 3, ..connection(20) },
        ];
        assert_eq!(others.map(|other| table.is_announced(other, 5_000)), [false; 4]);
        let long = [b'x'; ANNOUNCED_NAME_BYTES_MAX + 5];
        for name in [b"a b.exe".as_slice(), &long, b"short"] {
            table.announce(connection(20), (name, name.len() == 5), 6_000);
            let known = &name[..name.len().min(ANNOUNCED_NAME_BYTES_MAX)];
            assert_eq!(table.file(connection(20), 6_000), Some((known.to_vec(), name.len() == 5)));
        }
        assert!(table.is_announced(connection(20), 305_999));
        assert!(!table.is_announced(connection(20), 306_000));
        assert_eq!(table.file(connection(20), 306_000), None);
        assert_eq!(table.counts(), AnnouncementCounts { made: 1, met: 2, forgotten: 0 });
    }

    #[test]
    fn a_pair_that_announces_without_end_forgets_its_own() {
        // One set, so that both pairs share it.
        let table = Announcements::with_sets(1);
        let other = Announced { listener: 7, port: 1, connector: 8 };
        table.announce(other, (b"kept", false), 0);
        for port in 0..100 {
            table.announce(connection(port), (b"", false), 1_000 + u64::from(port));
        }
        assert!(table.is_announced(other, 2_000));
        let known: Vec<u16> = (0..100).filter(|&port| table.is_announced(connection(port), 2_000)).collect();
        assert!(known.len() >= ANNOUNCED_WAYS / 2 && known.contains(&99), "{known:?}");
        let counts = table.counts();
        assert_eq!((counts.made, counts.forgotten), (101, 101 - known.len() as u64 - 1));
        // Two pairs with nothing to spare: the oldest of all goes.
        for port in 0..ANNOUNCED_WAYS as u16 {
            table.announce(Announced { listener: 9 + u128::from(port), port, connector: 100 }, (b"", false), 200_000);
        }
        assert!(!table.is_announced(other, 200_000));
    }
}
