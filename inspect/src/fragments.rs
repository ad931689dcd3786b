//! Fragments put together again before anybody may have them.
//!
//! Theory of operation: no fragment is forwarded before its datagram is whole and judged, for a fragment by itself says
//! nothing (attack N04). So each one is copied and held; when the last gap closes, the table gives back the datagram as one
//! frame, to be parsed and judged like any other, and the fragments as they came, in order of their offsets, to be
//! forwarded if the whole may go.
//!
//! Receivers disagree about overlapping fragments, which is the oldest evasion of all. Here any overlap dooms its datagram
//! (RFC 5722): what was held is discarded, and what still comes is refused until the datagram would have timed out. Only an
//! exact repetition is merely dropped (RFC 8200 section 4.5).
//!
//! A datagram belongs to the caller's *domain*, a number that stands for the port it came by. Each domain has its own share
//! of datagrams and bytes, and when it runs out its own oldest datagram goes: a flood through one port costs no other
//! port a fragment (attack N05). Both MAC addresses are part of a datagram's name too, since the frame given back carries the
//! first fragment's and must not lend it to the others.

mod datagram;

use std::collections::BTreeMap;

use datagram::{Datagram, Name, Piece};

use crate::causes::causes;
use crate::limits;
use crate::wire::Packet;

causes! {
    /// Why a fragment was refused, or held fragments were discarded.
    FragmentRefused {
        Overlap "overlap" "It overlaps a fragment of the same datagram with other bounds or other bytes (RFC 5722)."
        EndMoved "end_moved" "It says that the datagram ends elsewhere than another fragment says."
        Doomed "doomed" "Its datagram was given up because of an earlier fragment."
        Duplicate "duplicate" "It repeats a fragment that is held already."
        TooMany "too_many" "Its datagram is cut into more fragments than any sound path cuts."
        Oversize "oversize" "With the first fragment's headers the datagram is longer than 65,535 bytes."
        Evicted "evicted" "A newer datagram of the same domain needed the room."
        Memory "memory" "There is no room left, and its domain holds nothing that could make room."
        TimedOut "timed_out" "The rest of the datagram did not come in time."
        NotFragment "not_fragment" "The packet is no fragment."
    }
}

/// How much a table holds; the defaults are those of [`crate::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Incomplete datagrams per domain.
    pub datagrams_per_domain_max: usize,
    /// Bytes held per domain, overhead included.
    pub bytes_per_domain_max: usize,
    /// Bytes held in all.
    pub bytes_max: usize,
    /// How long an incomplete datagram is held, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        Self {
            datagrams_per_domain_max: limits::DATAGRAMS_PER_DOMAIN_MAX,
            bytes_per_domain_max: limits::FRAGMENT_BYTES_PER_DOMAIN_MAX,
            bytes_max: limits::FRAGMENT_BYTES_MAX,
            timeout_ms: limits::FRAGMENT_TIMEOUT_MS,
        }
    }
}

/// A datagram whose fragments have all come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The datagram as one frame: the first fragment's headers without their fragment fields, lengths and IPv4 header
    /// checksum put right. Not checked beyond that: parse it.
    pub frame: Vec<u8>,
    /// The fragments as they came, padding cut off, by offset.
    pub fragments: Vec<Vec<u8>>,
}

/// What became of a fragment that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FragmentOutcome {
    /// It waits for the others.
    Held,
    /// It was the last one missing.
    Complete(Whole),
}

/// Held frames that are gone, so that the caller's books balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// The domain that they had come by.
    pub domain: u32,
    /// How many frames.
    pub frame_count: usize,
    /// Why.
    pub why: FragmentRefused,
}

/// The incomplete datagrams of all domains.
#[derive(Debug, Default)]
pub struct FragmentTable {
    limits: FragmentLimits,
    /// In order of arrival, oldest first, per domain; domains without datagrams are not kept.
    domains: BTreeMap<u32, Domain>,
    byte_count: usize,
}

#[derive(Debug, Default)]
struct Domain {
    datagrams: Vec<Datagram>,
    byte_count: usize,
}

impl FragmentTable {
    /// An empty table.
    pub fn new(limits: FragmentLimits) -> Self {
        Self { limits, domains: BTreeMap::new(), byte_count: 0 }
    }

    /// Bytes held in all domains, overhead included; never more than the limit.
    pub fn byte_count(&self) -> usize {
        self.byte_count
    }

    /// Incomplete datagrams in all domains, doomed ones included.
    pub fn datagram_count(&self) -> usize {
        self.domains.values().map(|domain| domain.datagrams.len()).sum()
    }

    /// Frames held in all domains.
    pub fn frame_count(&self) -> usize {
        let datagrams = self.domains.values().flat_map(|domain| &domain.datagrams);
        datagrams.map(|datagram| datagram.pieces.len()).sum()
    }

    /// Takes a fragment that came by `domain`. Frames that had been held and are given up for it are told in `discarded`;
    /// the fragment itself, if refused, is not among them. `now_ms` is a monotonic time in milliseconds.
    ///
    /// # Errors
    /// Why the fragment was refused.
    pub fn insert(
        &mut self,
        domain: u32,
        packet: &Packet<'_>,
        now_ms: u64,
        discarded: &mut Vec<Discarded>,
    ) -> Result<FragmentOutcome, FragmentRefused> {
        let fragment = packet.headers().fragment.ok_or(FragmentRefused::NotFragment)?;
        self.expire_domain(domain, now_ms, discarded);
        let name = Name::of(packet, &fragment);
        let piece = Piece::new(packet, &fragment);
        let index = self.place(domain, name, piece.cost(), now_ms, discarded)?;
        let entry = self.domains.entry(domain).or_default();
        let datagram = &mut entry.datagrams[index];
        let (before, frame_count) = (datagram.byte_count, datagram.pieces.len());
        let answer = datagram.add(piece);
        let (after, is_doomed) = (datagram.byte_count, datagram.is_doomed);
        entry.byte_count = entry.byte_count + after - before;
        self.byte_count = self.byte_count + after - before;
        match answer {
            Err(why) if is_doomed && frame_count > 0 => discarded.push(Discarded { domain, frame_count, why }),
            Err(_) | Ok(false) => {}
            Ok(true) => return self.complete(domain, index, discarded),
        }
        answer.map(|_| FragmentOutcome::Held)
    }

    fn complete(
        &mut self,
        domain: u32,
        index: usize,
        discarded: &mut Vec<Discarded>,
    ) -> Result<FragmentOutcome, FragmentRefused> {
        let datagram = self.remove(domain, index).ok_or(FragmentRefused::Doomed)?;
        datagram.join().map(FragmentOutcome::Complete).map_err(|frame_count| {
            let why = FragmentRefused::Oversize;
            // The last fragment is refused, not discarded.
            discarded.push(Discarded { domain, frame_count: frame_count - 1, why });
            why
        })
    }

    /// Gives up what has waited too long, in all domains. To be called now and then; [`FragmentTable::insert`] does it
    /// for its own domain.
    pub fn expire(&mut self, now_ms: u64, discarded: &mut Vec<Discarded>) {
        let domains: Vec<u32> = self.domains.keys().copied().collect();
        for domain in domains {
            self.expire_domain(domain, now_ms, discarded);
        }
    }

    /// Forgets a domain whose port is gone.
    pub fn remove_domain(&mut self, domain: u32, discarded: &mut Vec<Discarded>) {
        while self.discard(domain, 0, FragmentRefused::Evicted, discarded) {}
    }

    fn expire_domain(&mut self, domain: u32, now_ms: u64, discarded: &mut Vec<Discarded>) {
        let timeout_ms = self.limits.timeout_ms;
        while self
            .domains
            .get(&domain)
            .and_then(|entry| entry.datagrams.first())
            .is_some_and(|oldest| now_ms.saturating_sub(oldest.since_ms) >= timeout_ms)
        {
            self.discard(domain, 0, FragmentRefused::TimedOut, discarded);
        }
    }

    /// Finds or makes the datagram's place in its domain, with room for `len` bytes more: the oldest datagrams of this
    /// domain are evicted until there is. The datagram itself, if it is there, stays.
    fn place(
        &mut self,
        domain: u32,
        name: Name,
        len: usize,
        now_ms: u64,
        discarded: &mut Vec<Discarded>,
    ) -> Result<usize, FragmentRefused> {
        let mut found = self.position(domain, &name);
        loop {
            let (datagram_count, byte_count) =
                self.domains.get(&domain).map_or((0, 0), |entry| (entry.datagrams.len(), entry.byte_count));
            let has_room = byte_count + len <= self.limits.bytes_per_domain_max
                && self.byte_count + len <= self.limits.bytes_max
                && (found.is_some() || datagram_count < self.limits.datagrams_per_domain_max);
            if has_room {
                break;
            }
            // The oldest that is not the very datagram.
            let oldest = usize::from(found == Some(0));
            if !self.discard(domain, oldest, FragmentRefused::Evicted, discarded) {
                return Err(FragmentRefused::Memory);
            }
            found = found.map(|index| if index > oldest { index - 1 } else { index });
        }
        Ok(found.unwrap_or_else(|| {
            let datagrams = &mut self.domains.entry(domain).or_default().datagrams;
            datagrams.push(Datagram::new(name, now_ms));
            datagrams.len() - 1
        }))
    }

    fn position(&self, domain: u32, name: &Name) -> Option<usize> {
        self.domains.get(&domain)?.datagrams.iter().position(|datagram| datagram.name == *name)
    }

    /// Gives up one datagram; answers whether it was there.
    fn discard(&mut self, domain: u32, index: usize, why: FragmentRefused, discarded: &mut Vec<Discarded>) -> bool {
        let Some(datagram) = self.remove(domain, index) else {
            return false;
        };
        if !datagram.pieces.is_empty() {
            discarded.push(Discarded { domain, frame_count: datagram.pieces.len(), why });
        }
        true
    }

    fn remove(&mut self, domain: u32, index: usize) -> Option<Datagram> {
        let entry = self.domains.get_mut(&domain)?;
        if index >= entry.datagrams.len() {
            return None;
        }
        let datagram = entry.datagrams.remove(index);
        entry.byte_count -= datagram.byte_count;
        self.byte_count -= datagram.byte_count;
        if entry.datagrams.is_empty() {
            self.domains.remove(&domain);
        }
        Some(datagram)
    }
}
