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

use inspect::stream::tcp_state::TcpState;

use crate::counters::PORTS_MAX;
use crate::frame::PortId;
use crate::sys::HugeArray;

mod entry;
mod key;
mod look_up;
mod records;
mod tags;

pub use entry::FlowState;
use entry::{Entry, FREE, FREE_ENTRY};
pub(crate) use key::TrainHash;
pub use key::{HashSecret, TableKey};
pub use look_up::Usual;
pub use records::{EndedFlow, FlowRecord};
use tags::Tags;

/// Places that are searched for a key at most. A keyed hash keeps real searches short; this bounds the worst one.
pub const PROBE_MAX: usize = 64;

/// The largest table that can be configured, in flows; inspection has a slot for each of its places.
pub const FLOWS_MAX: u32 = 4_194_304;
const _: () = assert!(places_for(FLOWS_MAX) <= inspect::limits::FLOW_SLOTS_MAX);

/// Places of a table for so many flows.
const fn places_for(limit: u32) -> usize {
    let limit = limit as usize;
    limit + limit / 5 + 1 + PROBE_MAX
}

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

const _: () = assert!(size_of::<TcpState>() <= 48);

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
        let places = places_for(limit);
        Ok(Self {
            entries: HugeArray::filled(places, FREE_ENTRY)?,
            tags: Tags::new(places)?,
            homes: (places - PROBE_MAX) as u64,
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
}

fn originator(key: &TableKey, is_low: bool) -> PortId {
    let (_, low, high) = key.parts();
    if is_low { low } else { high }
}
