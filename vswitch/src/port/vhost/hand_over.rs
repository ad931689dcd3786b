//! Handing rings to workers, and getting them back before anything about them changes.
//!
//! # Theory of operation
//! A queue pair is two rings: even (the guest receives) and odd (the guest sends). It is with a worker only while everything
//! about it is settled: features acknowledged, memory mapped, both rings ready (kick given) and enabled. Each message that
//! changes one of these takes the pair back first, changes it, and hands it over again if it is still (or now) complete:
//!
//! ```text
//!                       complete: give()                     the worker met a fault, or the
//!      +---------+   ---------------------->  +----------+   memory was lost     +---------+
//!      | resting |                            | attached | --------------------> | dropped |
//!      +---------+   <----------------------  +----------+                       +---------+
//!           |          a change: take_back(),      |                                  |
//!           |          the worker answered         | the worker did not answer        | alarm
//!           | close()                              v in HAND_OVER_TIMEOUT              v
//!           |                                 +---------+      alarm             +--------+
//!           +--------------------------+      |  stuck  | ---------------------> | closed |
//!                                      |      +---------+                        +--------+
//!                                      +--------------------------------------------> ^
//! ```
//!
//! What keeps memory from being unmapped under a worker: a [`VhostQueue`] owns an `Arc` of the map that it works on. Taking a
//! pair back drops that queue; a pair that is stuck keeps its map alive for as long as the worker holds on to it, which is the
//! leak that we want, and is counted. A new memory table becomes current only after all pairs came back, so the front-end's
//! message is answered only when nobody looks at the old one any more.
//!
//! Where a ring goes on: each queue leaves the position of its rings behind when it is dropped. A ring that is set up anew
//! (SET_VRING_ADDR or SET_VRING_BASE) starts at the used index that stands in guest memory, whatever the base says: we give
//! entries back in order, so that is where whoever served the ring before us stopped, be it a switch that was killed. QEMU
//! sends that same index as base; DPDK's virtio-user always sends 0.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use vhost_user_backend::{VringMutex, VringT};
use virtio_queue::QueueT;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use super::alarm::Alarm;
use super::call::Call;
use super::features::Features;
use super::from_guest::FromGuest;
use super::queue::VhostQueue;
use super::ring::{Ring, RingSetup};
use super::status::PortStatus;
use super::to_guest::ToGuest;
use crate::frame::PortId;
use crate::memory::GuestMap;
use crate::port::PortFault;
use crate::worker::{Attach, Detached, QueueId};

/// Guest memory as vhost-user-backend keeps it.
pub(crate) type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// What an attached queue tells whoever attached it.
pub(crate) struct PairNews {
    alarm: Arc<Alarm>,
    /// Positions of the receive and the transmit ring, once the queue was dropped.
    positions: Mutex<Option<[u16; 2]>>,
    /// Whether the queue is being taken back, so that its end is no news.
    is_wanted_back: AtomicBool,
}

impl PairNews {
    pub(crate) fn new(alarm: Arc<Alarm>) -> Self {
        Self { alarm, positions: Mutex::new(None), is_wanted_back: AtomicBool::new(false) }
    }

    /// The queue met a fault: its port is to be isolated.
    pub(crate) fn fault(&self, fault: PortFault) {
        self.alarm.raise(fault.word);
    }

    /// The queue was dropped, its rings standing where they stand. A worker that drops a queue which nobody asked for has
    /// given it up, and the guest must not wait for ever.
    pub(crate) fn released(&self, to_guest: u16, from_guest: u16) {
        *self.positions.lock().unwrap_or_else(|e| e.into_inner()) = Some([to_guest, from_guest]);
        if !self.is_wanted_back.load(Ordering::SeqCst) {
            self.alarm.raise("queue_given_up");
        }
    }

    fn positions(&self) -> Option<[u16; 2]> {
        *self.positions.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// One connection's rings and who has them.
pub(crate) struct HandOver {
    port: PortId,
    attach: Arc<dyn Attach>,
    status: Arc<PortStatus>,
    alarm: Arc<Alarm>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    features: Option<Features>,
    map: Option<Arc<GuestMap>>,
    rings: Vec<RingState>,
    pairs: Vec<Option<Arc<PairNews>>>,
    is_closed: bool,
}

struct RingState {
    vring: VringMutex<Memory>,
    /// Set up anew, so its position is still to be taken from guest memory.
    is_new: bool,
}

impl HandOver {
    pub(crate) fn new(port: PortId, attach: Arc<dyn Attach>, status: Arc<PortStatus>, alarm: Arc<Alarm>) -> Self {
        Self { port, attach, status, alarm, state: Mutex::default() }
    }

    /// Adds the next ring; answers its index.
    pub(crate) fn add(&self, vring: VringMutex<Memory>) -> usize {
        let mut state = self.lock();
        state.rings.push(RingState { vring, is_new: true });
        let pairs = state.rings.len().div_ceil(2);
        state.pairs.resize_with(pairs, || None);
        state.rings.len() - 1
    }

    /// Changes one ring, while nobody serves it. `is_new` says whether the ring's position is to be found anew.
    pub(crate) fn change<R>(&self, index: usize, is_new: bool, change: impl FnOnce(&VringMutex<Memory>) -> R) -> R {
        let mut state = self.lock();
        self.take_back(&mut state, index / 2);
        let ring = &mut state.rings[index];
        ring.is_new |= is_new;
        let result = change(&ring.vring);
        self.give(&mut state, index / 2);
        result
    }

    /// Takes note of the acknowledged features.
    pub(crate) fn acknowledge(&self, features: Features) {
        self.change_all(|state| state.features = Some(features));
        self.status.update(|s| s.features = Some(features));
    }

    /// Makes a new memory map current. The old one has no user left when this returns, unless a worker is stuck.
    pub(crate) fn replace_memory(&self, map: GuestMap) {
        self.status.update(|s| s.memory_len = map.regions().iter().map(|r| r.len).sum());
        self.change_all(|state| state.map = Some(Arc::new(map)));
    }

    /// Takes everything back, for good.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        for pair in 0..state.pairs.len() {
            self.take_back(&mut state, pair);
        }
        state.map = None;
    }

    fn change_all(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        for pair in 0..state.pairs.len() {
            self.take_back(&mut state, pair);
        }
        change(&mut state);
        for pair in 0..state.pairs.len() {
            self.give(&mut state, pair);
        }
    }

    fn id(&self, pair: usize) -> QueueId {
        QueueId { port: self.port, pair: pair as u16 }
    }

    /// Gets a pair back from its worker, if one has it, and keeps the positions of its rings.
    fn take_back(&self, state: &mut State, pair: usize) {
        let Some(news) = state.pairs[pair].take() else {
            return;
        };
        news.is_wanted_back.store(true, Ordering::SeqCst);
        match self.attach.detach(self.id(pair)) {
            Detached::Queue(queue) => drop(queue),
            // Dropped by the worker, after a fault that has raised the alarm.
            Detached::Absent => {}
            Detached::Stuck => {
                state.is_closed = true;
                self.status.count_stuck();
                self.alarm.raise("worker_stuck");
            }
        }
        for (ring, position) in news.positions().into_iter().flatten().enumerate() {
            let vring = &state.rings[2 * pair + ring].vring;
            vring.set_queue_next_avail(position);
            vring.set_queue_next_used(position);
        }
        self.show_attached(state);
    }

    /// Hands a pair to a worker, if it is complete.
    fn give(&self, state: &mut State, pair: usize) {
        if state.is_closed || self.alarm.reason().is_some() {
            return;
        }
        let (Some(features), Some(map)) = (state.features, state.map.clone()) else {
            return;
        };
        let Some([to_guest, from_guest]) = state.rings.get_mut(2 * pair..2 * pair + 2) else {
            return;
        };
        if !to_guest.is_running() || !from_guest.is_running() {
            return;
        }
        let news = Arc::new(PairNews::new(self.alarm.clone()));
        match build(to_guest, from_guest, &map, features, news.clone()) {
            Ok(queue) => {
                state.pairs[pair] = Some(news);
                self.attach.attach(self.id(pair), Box::new(queue));
                self.show_attached(state);
            }
            Err(fault) => self.alarm.raise(fault.word),
        }
    }

    fn show_attached(&self, state: &State) {
        let attached = state.pairs.iter().flatten().count();
        let sizes =
            state.rings.iter().filter(|r| r.is_running()).map(|r| r.vring.get_ref().get_queue().size()).collect();
        self.status.update(|s| {
            s.pairs_attached = attached as u16;
            s.ring_sizes = sizes;
            if attached > 0 {
                s.isolated = None;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl RingState {
    fn is_running(&self) -> bool {
        let vring = self.vring.get_ref();
        vring.get_queue().ready() && vring.is_enabled() && vring.get_kick().is_some()
    }
}

/// Builds the queue of a pair whose rings are both running.
fn build(
    to_guest: &mut RingState,
    from_guest: &mut RingState,
    map: &Arc<GuestMap>,
    features: Features,
    news: Arc<PairNews>,
) -> Result<VhostQueue, PortFault> {
    let (to_ring, _) = start(to_guest, map, features)?;
    let (from_ring, kick) = start(from_guest, map, features)?;
    Ok(VhostQueue::new(FromGuest::new(from_ring, features), ToGuest::new(to_ring, features), kick, news))
}

/// Starts one ring; answers it with its kick descriptor.
fn start(ring: &mut RingState, map: &Arc<GuestMap>, features: Features) -> Result<(Ring, OwnedFd), PortFault> {
    let vring = ring.vring.get_ref();
    let queue = vring.get_queue();
    let position = if ring.is_new { Ring::used_index(map, queue.used_ring())? } else { queue.next_avail() };
    let setup = RingSetup {
        size: queue.size(),
        descriptors: queue.desc_table(),
        avail: queue.avail_ring(),
        used: queue.used_ring(),
        position,
    };
    let no_descriptor = |_| PortFault { word: "no_descriptor" };
    let call = match vring.get_call() {
        Some(call) => Some(duplicate(call).map_err(no_descriptor)?),
        None => None,
    };
    let kick = vring.get_kick().as_ref().ok_or(PortFault { word: "no_kick" })?;
    let kick = duplicate(kick).map_err(no_descriptor)?;
    let started = Ring::new(map.clone(), setup, features.has(Features::EVENT_IDX), Call::new(call))?;
    drop(vring);
    ring.is_new = false;
    Ok((started, kick))
}

fn duplicate(fd: &impl AsRawFd) -> std::io::Result<OwnedFd> {
    // SAFETY: the descriptor belongs to the vring, whose guard the caller holds for as long as it borrows the descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd.as_raw_fd()) };
    borrowed.as_fd().try_clone_to_owned()
}
