//! The flows that one worker knows, with the decision that each was opened under.
//!
//! # Theory of operation
//!
//! Open addressing over an array of 64-byte entries, one cache line each, on huge pages. A key's home is given by its keyed
//! hash; the entry is in the first place from there on that was free when it was opened, at most [`PROBE_MAX`] places away.
//! Entries never move (the inspector keeps state under their index), and removing one leaves no tombstone: each home counts
//! the flows that had to go further on (`displaced`), and where there are any, a byte per place ([`tags`]) says which places are
//! worth a look. A burst hashes all its keys and fetches what they need before the first look-up, so that the misses overlap:
//! in a table that caches do not hold, first the tags of all, then by them the one entry of each.
//!
//! What grows with TCP only (sequence windows) is in a second array, [`TcpState`] per place in a pool of `limit` entries.
//! All arrays are made at start and never grow: 65 bytes times 6/5 and at most 48 bytes for each flow of the limit.
//!
//! At the limit, or when all places within reach are taken, flows that only one side has spoken on go first (attack F04); if
//! there is none within reach, the new flow is refused and the old ones stay. Each port has a share of its own.

use inspect::inspector::Direction;
use inspect::stream::tcp_state::{TcpPhase, TcpState};
use inspect::wire::TcpView;

use crate::counters::PORTS_MAX;
use crate::frame::PortId;
use crate::sys::{self, HugeArray};

mod key;
mod tags;

pub use key::{HashSecret, TableKey};
use tags::Tags;

/// Places that are searched for a key at most. A keyed hash keeps real searches short; this bounds the worst one.
pub const PROBE_MAX: usize = 64;

/// Flows from which on caches do not hold the table, and asking for tags first pays: half of a second-level cache.
const LARGE: u32 = 8_192;

/// How long a flow without traffic stays, by what is known of it, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP, ICMP and others while only the originator has sent.
    pub one_way_ms: u32,
    /// UDP and others once both sides have sent.
    pub two_way_ms: u32,
    /// ICMP echo and the like.
    pub icmp_ms: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { one_way_ms: 30_000, two_way_ms: 180_000, icmp_ms: 30_000 }
    }
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowState {
    /// Only the originator has sent; for TCP, the handshake is not complete.
    HalfOpen = 1,
    /// Both sides have sent.
    Open = 2,
    /// TCP: one side or both have said that they are done.
    Closing = 3,
    /// Inspection refused the flow: nothing of it passes any more.
    Refused = 4,
}

const FREE: u8 = 0;
const HALF_OPEN: u8 = FlowState::HalfOpen as u8;
const OPEN: u8 = FlowState::Open as u8;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// One flow, one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Entry {
    addresses: [u64; 4],
    ports: u64,
    protocol: u8,
    state: u8,
    originator_is_low: u8,
    displaced: u8,
    generation: u32,
    expires_ms: u32,
    tcp: u32,
    opened_ms: u32,
    decider: u16,
    spare: u16,
}

const _: () = assert!(size_of::<Entry>() == 64);
const _: () = assert!(size_of::<TcpState>() <= 48);

impl Entry {
    #[inline(always)]
    fn holds(&self, key: &TableKey) -> bool {
        let differing = (self.addresses[0] ^ key.addresses[0])
            | (self.addresses[1] ^ key.addresses[1])
            | (self.addresses[2] ^ key.addresses[2])
            | (self.addresses[3] ^ key.addresses[3])
            | (self.ports ^ key.ports);
        differing == 0 && self.protocol == key.protocol && self.state != FREE
    }

    fn key(&self) -> TableKey {
        TableKey { addresses: self.addresses, ports: self.ports, protocol: self.protocol }
    }

    fn state(&self) -> Option<FlowState> {
        match self.state {
            1 => Some(FlowState::HalfOpen),
            2 => Some(FlowState::Open),
            3 => Some(FlowState::Closing),
            4 => Some(FlowState::Refused),
            _ => None,
        }
    }
}

/// The place of a flow, valid until the flow ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId(pub u32);

/// Why a flow could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowRefused {
    /// The table has no place within reach.
    Full,
    /// The originating port has used up its share.
    Quota,
}

/// What the walk needs to know of a packet in the usual course of a flow; see [`FlowTable::usual`].
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    /// The flow.
    pub id: FlowId,
    /// What of the policy decided about it.
    pub decider: u16,
    /// Whether the packet comes from the responder.
    pub from_responder: bool,
    /// Whether both sides have sent; for TCP, whether the handshake is complete.
    pub is_established: bool,
}

impl Usual {
    /// To be written over by [`FlowTable::usual`].
    pub const NONE: Self = Self { id: FlowId(0), decider: 0, from_responder: false, is_established: false };
}

/// What is known of one flow, for the decision about a packet of it.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// How far it has come.
    pub state: FlowState,
    /// Generation that last decided about it.
    pub generation: u32,
    /// What of the policy decided.
    pub decider: u16,
    /// Whether the low end of its key opened it.
    pub originator_is_low: bool,
}

/// One line of `vswitch show flows`.
#[derive(Clone, Copy, Debug)]
pub struct FlowRecord {
    /// Its key.
    pub key: TableKey,
    /// How far it has come.
    pub state: FlowState,
    /// Whether the low end of its key opened it.
    pub originator_is_low: bool,
    /// Milliseconds since it was opened.
    pub age_ms: u32,
    /// Milliseconds until it ends without further traffic.
    pub remaining_ms: u32,
    /// What of the policy decided, as an index into the deciders of the generation below.
    pub decider: u16,
    /// Generation that last decided about it.
    pub generation: u32,
}

/// A flow that has just left the table. Times are the low 32 bits of the worker's clock in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct EndedFlow {
    /// Where it was.
    pub id: FlowId,
    /// Its key.
    pub key: TableKey,
    /// How far it had come.
    pub state: FlowState,
    /// Whether the low end of its key opened it.
    pub originator_is_low: bool,
    /// When it was opened.
    pub opened_ms: u32,
    /// When it would have ended for its silence.
    pub expires_ms: u32,
    /// What of the policy decided.
    pub decider: u16,
    /// Generation that last decided about it.
    pub generation: u32,
    /// How far its connection had come, if it was one.
    pub tcp: Option<TcpPhase>,
}

impl EndedFlow {
    /// Whether its time was over.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        (self.expires_ms.wrapping_sub(now_ms as u32) as i32) <= 0
    }
}

/// The flows of one worker.
#[derive(Debug)]
pub struct FlowTable {
    entries: HugeArray<Entry>,
    tags: Tags,
    homes: u64,
    secret: HashSecret,
    tcp: Vec<TcpState>,
    tcp_free: Vec<u32>,
    len: u32,
    limit: u32,
    per_port: Box<[u32]>,
    per_port_max: u32,
    timeouts: Timeouts,
    swept: usize,
}

impl FlowTable {
    /// A table for `limit` flows, of which each port may open `per_port_max`.
    ///
    /// # Errors
    /// The memory for it could not be had.
    pub fn new(limit: u32, per_port_max: u32, timeouts: Timeouts, secret: HashSecret) -> std::io::Result<Self> {
        let limit = limit.max(1);
        let homes = u64::from(limit) + u64::from(limit) / 5 + 1;
        Ok(Self {
            entries: HugeArray::filled(homes as usize + PROBE_MAX, FREE_ENTRY)?,
            tags: Tags::new(homes as usize + PROBE_MAX)?,
            homes,
            secret,
            tcp: Vec::with_capacity(limit as usize),
            tcp_free: Vec::with_capacity(limit as usize),
            len: 0,
            limit,
            per_port: vec![0; PORTS_MAX].into_boxed_slice(),
            per_port_max,
            timeouts,
            swept: 0,
        })
    }

    /// Flows in the table.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash of a key over IPv4.
    #[inline(always)]
    pub(crate) fn hash_ipv4(&self, key: &TableKey) -> u64 {
        self.secret.hash_ipv4(key)
    }

    /// The hash of a key, to be given to the other functions.
    #[inline(always)]
    pub fn hash(&self, key: &TableKey) -> u64 {
        self.secret.hash(key)
    }

    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.homes) >> 32) as usize
    }

    /// Asks for what a look-up of this hash needs first, and answers the place where the flow stands if it is at home.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) -> u32 {
        let home = self.home(hash);
        if self.len >= LARGE {
            self.tags.prefetch(home);
        } else {
            sys::prefetch(&self.entries[home]);
        }
        home as u32
    }

    /// Whether [`FlowTable::prefetch_again`] has anything to ask for.
    #[inline(always)]
    pub fn is_large(&self) -> bool {
        self.len >= LARGE
    }

    /// Asks for what else a look-up needs, for a `place` that [`FlowTable::prefetch`] answered, and answers where the flow stands
    /// if anywhere near.
    #[inline(always)]
    pub fn prefetch_again(&self, place: u32, hash: u64) -> u32 {
        let place = self.tags.guess(place as usize, hash);
        sys::prefetch(&self.entries[place]);
        place as u32
    }

    /// The flow with this key, expired or not.
    #[inline]
    pub fn find(&self, key: &TableKey, hash: u64) -> Option<FlowId> {
        let home = self.home(hash);
        if self.entries[home].holds(key) {
            return Some(FlowId(home as u32));
        }
        self.find_further_on(key, hash, home)
    }

    #[inline(never)]
    fn find_elsewhere(&self, key: &TableKey, hash: u64) -> Option<FlowId> {
        self.find(key, hash)
    }

    /// As [`Self::find`], where the home does not hold the flow.
    #[inline(never)]
    fn find_further_on(&self, key: &TableKey, hash: u64, home: usize) -> Option<FlowId> {
        if self.entries[home].displaced == 0 {
            return None;
        }
        let mut places = self.tags.candidates(home, PROBE_MAX, hash);
        places.find(|place| self.entries[*place].holds(key)).map(|place| FlowId(place as u32))
    }

    /// Takes note of a packet in the usual course of its flow and writes what is known of it; or answers `false` and has changed
    /// nothing: then [`Self::find`] and what follows it tell what the packet is. Usual is UDP of a flow, and TCP that goes on with
    /// a connection, where `generation` has decided about the flow, its time is not over, and the packet changes nothing about
    /// how far it has come. `place` is where [`Self::prefetch`] or [`Self::prefetch_again`] says that the flow may stand.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub fn usual<'a>(
        &mut self,
        (key, hash, place): (&TableKey, u64, u32),
        from_low: bool,
        generation: u32,
        now_ms: u64,
        segment: impl FnOnce() -> Option<(TcpView<'a>, usize)>,
        into: &mut Usual,
    ) -> bool {
        let mut place = place as usize;
        if !self.entries.get(place).is_some_and(|entry| entry.holds(key)) {
            match self.find_elsewhere(key, hash) {
                Some(id) => place = id.0 as usize,
                None => return false,
            }
        }
        let entry = &mut self.entries[place];
        let now_ms = now_ms as u32;
        if entry.generation != generation || (entry.expires_ms.wrapping_sub(now_ms) as i32) <= 0 {
            return false;
        }
        let from_responder = from_low != (entry.originator_is_low != 0);
        let (timeout_ms, is_established) = match (key.protocol, entry.state) {
            (UDP, OPEN) => (self.timeouts.two_way_ms, true),
            (UDP, HALF_OPEN) if !from_responder => (self.timeouts.one_way_ms, false),
            (TCP, OPEN) => {
                let (Some(state), Some((segment, payload_len))) = (self.tcp.get_mut(entry.tcp as usize), segment())
                else {
                    return false;
                };
                let direction = if from_responder { Direction::ToClient } else { Direction::ToServer };
                if !state.goes_on(direction, &segment, payload_len) {
                    return false;
                }
                (TcpPhase::Established.timeout_ms() as u32, true)
            }
            _ => return false,
        };
        let expires_ms = now_ms.wrapping_add(timeout_ms);
        // Once a millisecond is often enough: a line that is only read need not be written back.
        if entry.expires_ms != expires_ms {
            entry.expires_ms = expires_ms;
        }
        into.id = FlowId(place as u32);
        into.decider = entry.decider;
        into.from_responder = from_responder;
        into.is_established = is_established;
        true
    }

    /// Whether a flow's time is over.
    #[inline]
    pub fn is_expired(&self, id: FlowId, now_ms: u64) -> bool {
        let expires = self.entries[id.0 as usize].expires_ms;
        (expires.wrapping_sub(now_ms as u32) as i32) <= 0
    }

    /// What is known of a flow. Of a place whose flow has ended, it says refused: nothing passes on its word.
    #[inline]
    pub fn flow(&self, id: FlowId) -> Flow {
        let entry = &self.entries[id.0 as usize];
        Flow {
            state: entry.state().unwrap_or(FlowState::Refused),
            generation: entry.generation,
            decider: entry.decider,
            originator_is_low: entry.originator_is_low != 0,
        }
    }

    /// Opens a flow in state half-open. `ended` is told of flows that had to go for it.
    ///
    /// # Errors
    /// Why there is no place for it.
    pub fn open(
        &mut self,
        key: &TableKey,
        hash: u64,
        originator_is_low: bool,
        now_ms: u64,
        ended: &mut impl FnMut(&EndedFlow),
    ) -> Result<FlowId, FlowRefused> {
        let originator = originator(key, originator_is_low);
        if self.per_port[originator.index()] >= self.per_port_max {
            return Err(FlowRefused::Quota);
        }
        let home = self.home(hash);
        let place = self.free_place(home, now_ms, ended).ok_or(FlowRefused::Full)?;
        self.entries[home].displaced += u8::from(place != home);
        self.tags.set(place, hash);
        let entry = &mut self.entries[place];
        entry.addresses = key.addresses;
        entry.ports = key.ports;
        entry.protocol = key.protocol;
        entry.state = FlowState::HalfOpen as u8;
        entry.originator_is_low = u8::from(originator_is_low);
        entry.tcp = u32::MAX;
        entry.opened_ms = now_ms as u32;
        entry.expires_ms = (now_ms as u32).wrapping_add(self.timeouts.one_way_ms);
        self.per_port[originator.index()] += 1;
        self.len += 1;
        Ok(FlowId(place as u32))
    }

    /// The first free place from `home` on, freeing an expired or, if need be, the half-open flow that would end first.
    fn free_place(&mut self, home: usize, now_ms: u64, ended: &mut impl FnMut(&EndedFlow)) -> Option<usize> {
        let mut victim: Option<(i32, usize)> = None;
        let at_limit = self.len >= self.limit;
        if !at_limit && let Some(place) = self.tags.first_free(home, PROBE_MAX) {
            return Some(place);
        }
        for place in home..home + PROBE_MAX {
            let entry = &self.entries[place];
            let remaining = entry.expires_ms.wrapping_sub(now_ms as u32) as i32;
            if entry.state == FREE {
                continue;
            }
            if remaining <= 0 {
                self.end(FlowId(place as u32), ended);
                return Some(place);
            } else if entry.state == FlowState::HalfOpen as u8 && victim.is_none_or(|(least, _)| remaining < least) {
                victim = Some((remaining, place));
            }
        }
        let (_, place) = victim?;
        self.end(FlowId(place as u32), ended);
        Some(place)
    }

    /// Ends a flow. The place is free at once.
    pub fn end(&mut self, id: FlowId, ended: &mut impl FnMut(&EndedFlow)) {
        let place = id.0 as usize;
        let entry = self.entries[place];
        let Some(state) = entry.state() else { return };
        let home = self.home(self.secret.hash(&entry.key()));
        self.entries[home].displaced -= u8::from(place != home);
        self.tags.clear(place);
        if entry.tcp != u32::MAX {
            self.tcp_free.push(entry.tcp);
        }
        self.entries[place] = Entry { displaced: self.entries[place].displaced, ..FREE_ENTRY };
        self.per_port[originator(&entry.key(), entry.originator_is_low != 0).index()] -= 1;
        self.len -= 1;
        ended(&EndedFlow {
            id,
            key: entry.key(),
            state,
            originator_is_low: entry.originator_is_low != 0,
            opened_ms: entry.opened_ms,
            expires_ms: entry.expires_ms,
            decider: entry.decider,
            generation: entry.generation,
            tcp: self.tcp.get(entry.tcp as usize).map(TcpState::phase),
        });
    }

    /// Notes under which generation and by what the flow was allowed.
    pub fn decided(&mut self, id: FlowId, generation: u32, decider: u16) {
        let entry = &mut self.entries[id.0 as usize];
        entry.generation = generation;
        entry.decider = decider;
    }

    /// Notes a packet of a flow without states of its own (all but TCP): the flow is open once the responder has sent.
    #[inline]
    pub fn seen(&mut self, id: FlowId, from_responder: bool, is_icmp: bool, now_ms: u64) {
        let entry = &mut self.entries[id.0 as usize];
        if from_responder && entry.state == FlowState::HalfOpen as u8 {
            entry.state = FlowState::Open as u8;
        }
        let timeout = match (is_icmp, entry.state == FlowState::HalfOpen as u8) {
            (true, _) => self.timeouts.icmp_ms,
            (false, true) => self.timeouts.one_way_ms,
            (false, false) => self.timeouts.two_way_ms,
        };
        entry.expires_ms = (now_ms as u32).wrapping_add(timeout);
    }

    /// Keeps TCP state for a flow that was just opened.
    pub fn attach_tcp(&mut self, id: FlowId, state: TcpState, now_ms: u64) {
        let slot = match self.tcp_free.pop() {
            Some(slot) => {
                self.tcp[slot as usize] = state;
                slot
            }
            // One state per flow: never more than the limit, for which there is room from the start.
            None => {
                self.tcp.push(state);
                (self.tcp.len() - 1) as u32
            }
        };
        let entry = &mut self.entries[id.0 as usize];
        entry.tcp = slot;
        entry.expires_ms = (now_ms as u32).wrapping_add(state.timeout_ms() as u32);
    }

    /// The TCP state of a flow, if it has one.
    pub fn tcp(&mut self, id: FlowId) -> Option<&mut TcpState> {
        self.tcp.get_mut(self.entries[id.0 as usize].tcp as usize)
    }

    /// Writes back how far a TCP flow has come after its state changed.
    pub fn tcp_seen(&mut self, id: FlowId, state: FlowState, timeout_ms: u32, now_ms: u64) {
        let entry = &mut self.entries[id.0 as usize];
        entry.state = state as u8;
        entry.expires_ms = (now_ms as u32).wrapping_add(timeout_ms);
    }

    /// Marks a flow as refused by inspection: its later frames are dropped until it has been silent for its timeout.
    pub fn refuse(&mut self, id: FlowId) {
        self.entries[id.0 as usize].state = FlowState::Refused as u8;
    }

    /// Looks at the next `places` places and ends the flows whose time is over.
    pub fn sweep(&mut self, places: usize, now_ms: u64, ended: &mut impl FnMut(&EndedFlow)) {
        for _ in 0..places.min(self.entries.len()) {
            self.swept = if self.swept + 1 >= self.entries.len() { 0 } else { self.swept + 1 };
            let id = FlowId(self.swept as u32);
            if self.entries[self.swept].state != FREE && self.is_expired(id, now_ms) {
                self.end(id, ended);
            }
        }
    }

    /// Ends all flows.
    pub fn end_all(&mut self, ended: &mut impl FnMut(&EndedFlow)) {
        for place in 0..self.entries.len() {
            self.end(FlowId(place as u32), ended);
        }
    }

    /// Places in the table, for a sweep that wants to see each in a given time.
    pub fn places(&self) -> usize {
        self.entries.len()
    }

    /// Up to `max` flows, from a place on; with the place to go on from, if there is more.
    pub fn records(&self, from: usize, max: usize, now_ms: u64) -> (Vec<FlowRecord>, Option<usize>) {
        let mut records = Vec::new();
        for place in from..self.entries.len() {
            let entry = &self.entries[place];
            let Some(state) = entry.state() else { continue };
            if records.len() == max {
                return (records, Some(place));
            }
            records.push(FlowRecord {
                key: entry.key(),
                state,
                originator_is_low: entry.originator_is_low != 0,
                age_ms: (now_ms as u32).wrapping_sub(entry.opened_ms),
                remaining_ms: (entry.expires_ms.wrapping_sub(now_ms as u32) as i32).max(0) as u32,
                decider: entry.decider,
                generation: entry.generation,
            });
        }
        (records, None)
    }
}

const FREE_ENTRY: Entry = Entry {
    addresses: [0; 4],
    ports: 0,
    protocol: 0,
    state: FREE,
    originator_is_low: 0,
    displaced: 0,
    generation: 0,
    expires_ms: 0,
    tcp: u32::MAX,
    opened_ms: 0,
    decider: 0,
    spare: 0,
};

fn originator(key: &TableKey, is_low: bool) -> PortId {
    let (_, low, high) = key.parts();
    if is_low { low } else { high }
}
