//! Finding a flow: what is fetched ahead, where it is looked for, and what the usual packet does there.

use inspect::inspector::Direction;
use inspect::stream::tcp_state::{TcpPhase, TcpState};
use inspect::wire::TcpView;

use super::entry::{Entry, HALF_OPEN, OPEN};
use super::{FlowId, FlowTable, LARGE, PROBE_MAX, TableKey, Timeouts, TrainHash};
use crate::sys::HugeArray;

const TCP: u8 = 6;
const UDP: u8 = 17;

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

impl FlowTable {
    /// The hash of keys over IPv4 that differ from this one in their transport ports only.
    #[inline(always)]
    pub(crate) fn train_hash(&self, key: &TableKey) -> TrainHash {
        self.secret.train(key)
    }

    /// The hash of a key, to be given to the other functions.
    #[inline(always)]
    pub fn hash(&self, key: &TableKey) -> u64 {
        self.secret.hash(key)
    }

    #[inline(always)]
    pub(super) fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.homes) >> 32) as usize
    }

    /// Asks for what a look-up of this hash needs first, and answers the place where the flow stands if it is at home.
    /// `is_large` is what [`FlowTable::is_large`] says.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64, is_large: bool) -> u32 {
        let home = self.home(hash);
        if is_large {
            self.tags.prefetch(home);
        } else {
            self.entries.prefetch(home);
        }
        home as u32
    }

    /// Whether [`FlowTable::prefetch_again`] has anything to ask for.
    #[inline(always)]
    pub fn is_large(&self) -> bool {
        self.len >= LARGE
    }

    /// Asks for what else a look-up needs, for a `place` that [`FlowTable::prefetch`] answered, and answers where the
    /// flow stands if anywhere near.
    #[inline(always)]
    pub fn prefetch_again(&self, place: u32, hash: u64) -> u32 {
        let place = self.tags.guess(place as usize, hash);
        self.entries.prefetch(place);
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

    /// As [`Self::find`], where the home does not hold the flow.
    #[inline(never)]
    fn find_further_on(&self, key: &TableKey, hash: u64, home: usize) -> Option<FlowId> {
        if self.entries[home].displaced == 0 {
            return None;
        }
        let mut places = self.tags.candidates(home, PROBE_MAX, hash);
        places.find(|place| self.entries[*place].holds(key)).map(|place| FlowId(place as u32))
    }

    /// Takes note of a packet in the usual course of its flow and writes what is known of it; or answers `false` and has
    /// changed nothing: then [`Self::find`] and what follows it tell what the packet is. Usual is UDP of a flow, and TCP that
    /// goes on with a connection, where `generation` has decided about the flow, its time is not over, and the packet
    /// changes nothing about how far it has come. `place` is where [`Self::prefetch`] or [`Self::prefetch_again`] says that
    /// the flow may stand.
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
            place = self.find_elsewhere(key, hash);
        }
        let Self { entries, tcp, timeouts, .. } = self;
        let now = (generation, now_ms as u32);
        go_on((entries, tcp), place, key, from_low, now, timeouts, segment, into)
    }

    /// As [`Self::find`], where the flow does not stand where it was thought to; a place that there is not if there is no flow.
    #[inline(never)]
    fn find_elsewhere(&self, key: &TableKey, hash: u64) -> usize {
        self.find(key, hash).map_or(usize::MAX, |id| id.0 as usize)
    }
}

/// [`FlowTable::usual`] for the flow at `place`, whose key this is. `now` is the generation that judges, and the time
/// in milliseconds.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn go_on<'a>(
    (entries, tcp): (&mut HugeArray<Entry>, &mut [TcpState]),
    place: usize,
    key: &TableKey,
    from_low: bool,
    (generation, now_ms): (u32, u32),
    timeouts: &Timeouts,
    segment: impl FnOnce() -> Option<(TcpView<'a>, usize)>,
    into: &mut Usual,
) -> bool {
    let Some(entry) = entries.get_mut(place) else { return false };
    if entry.generation != generation || (entry.expires_ms.wrapping_sub(now_ms) as i32) <= 0 {
        return false;
    }
    let from_responder = from_low != (entry.originator_is_low != 0);
    let (timeout_ms, is_established) = match (key.protocol, entry.state) {
        (UDP, OPEN) => (timeouts.two_way_ms, true),
        (UDP, HALF_OPEN) if !from_responder => (timeouts.one_way_ms, false),
        (TCP, OPEN) => {
            let (Some(state), Some((segment, payload_len))) = (tcp.get_mut(entry.tcp as usize), segment()) else {
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
