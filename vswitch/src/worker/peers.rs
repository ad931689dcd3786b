//! What a worker has of the other ones: a lane to and from each, and which queue is whose.
//!
//! A lane is a ring of parcels with one producer and one consumer, and a second ring by which the empty parcels come back, so
//! that nothing is allocated on the way. Parcels are sent off when they are full and at the end of each round; but once half of
//! a lane's parcels are under way, a round's few frames wait for more, so that the lane holds as many as it can. When all
//! parcels of a lane are under way, frames for it are dropped and counted (`worker_overload`): a worker never waits for
//! another, so they cannot block one another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use super::bell::Bell;
use super::queues::Queues;
use super::{QueueId, owner_of};
use crate::counters::PORTS_MAX;
use crate::forward::{Egress, QueueIndex};
use crate::frame::PortId;
use crate::inspection::Cleared;
use crate::pipeline::Parcel;
use crate::port::{PortFault, Refusals};

/// Parcels of one lane. At a burst each, a worker may be 2,048 frames behind; the memory of a parcel grows to some 200 KiB if
/// it must carry super-segments, so a lane takes 13 MiB at the very worst.
pub(super) const PARCELS: usize = 64;

/// Which queue pairs are attached, for all workers to see: a bit for each pair of a port.
#[derive(Debug)]
pub(super) struct Directory {
    pairs: Box<[AtomicU32]>,
    worker_count: usize,
}

impl Directory {
    pub(super) fn new(worker_count: usize) -> Self {
        Self { pairs: (0..PORTS_MAX).map(|_| AtomicU32::new(0)).collect(), worker_count }
    }

    /// Notes that a queue pair was attached or given up by its worker.
    pub(super) fn set(&self, id: QueueId, is_attached: bool) {
        let (Some(pairs), Some(bit)) = (self.pairs.get(id.port.index()), 1u32.checked_shl(u32::from(id.pair))) else {
            return;
        };
        match is_attached {
            true => pairs.fetch_or(bit, Ordering::Relaxed),
            false => pairs.fetch_and(!bit, Ordering::Relaxed),
        };
    }

    /// The worker that serves the pair of a port by which a flow with this hash leaves.
    fn worker(&self, port: PortId, flow_hash: u64) -> Option<usize> {
        let mut pairs = self.pairs.get(port.index())?.load(Ordering::Relaxed);
        if pairs == 0 {
            return None;
        }
        for _ in 0..flow_hash % u64::from(pairs.count_ones()) {
            pairs &= pairs - 1;
        }
        Some(owner_of(QueueId { port, pair: pairs.trailing_zeros() as u16 }, self.worker_count))
    }
}

/// How a worker is woken by others.
#[derive(Debug)]
pub(super) struct Doorbell {
    pub(super) bell: Bell,
    pub(super) waker: mio::Waker,
}

impl Doorbell {
    /// Wakes the worker if it sleeps.
    fn ring(&self) {
        if self.bell.must_ring()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a worker could not be woken");
        }
    }
}

/// The near end of a lane to another worker.
struct Outgoing {
    full: Producer<Box<Parcel>>,
    empty: Consumer<Box<Parcel>>,
    open: Option<Box<Parcel>>,
    has_sent: bool,
    doorbell: Arc<Doorbell>,
}

impl Outgoing {
    fn parcel(&mut self) -> Option<&mut Parcel> {
        if self.open.as_ref().is_some_and(|parcel| parcel.is_full()) {
            self.send();
        }
        if self.open.is_none() {
            self.open = self.empty.pop().ok();
        }
        self.open.as_deref_mut()
    }

    fn send(&mut self) {
        if let Some(parcel) = self.open.take_if(|parcel| !parcel.is_empty()) {
            self.has_sent = true;
            // There are no more parcels than the ring has places.
            if self.full.push(parcel).is_err() {
                tracing::error!("a lane between workers has more parcels than places");
            }
        }
    }

    fn flush(&mut self) {
        if self.empty.slots() >= PARCELS / 2 {
            self.send();
        }
        if std::mem::take(&mut self.has_sent) {
            self.doorbell.ring();
        }
    }
}

/// The far end of a lane from another worker.
pub(super) struct Incoming {
    full: Consumer<Box<Parcel>>,
    empty: Producer<Box<Parcel>>,
}

impl Incoming {
    /// Whether a parcel waits.
    pub(super) fn has_parcel(&self) -> bool {
        !self.full.is_empty()
    }

    /// The next parcel, unless one of its frames was received under a newer generation than `generation`.
    pub(super) fn take(&mut self, generation: u32) -> Option<Box<Parcel>> {
        if self.full.peek().ok()?.newest_generation() > generation {
            return None;
        }
        self.full.pop().ok()
    }

    /// Gives a parcel back, to be filled again.
    pub(super) fn give_back(&mut self, mut parcel: Box<Parcel>) {
        parcel.clear();
        // There are no more parcels than the ring has places.
        let _ = self.empty.push(parcel);
    }
}

fn lane(doorbell: Arc<Doorbell>) -> (Outgoing, Incoming) {
    let (full, full_end) = RingBuffer::new(PARCELS);
    let (mut empty_end, empty) = RingBuffer::new(PARCELS);
    for _ in 0..PARCELS {
        let _ = empty_end.push(Box::default());
    }
    (Outgoing { full, empty, open: None, has_sent: false, doorbell }, Incoming { full: full_end, empty: empty_end })
}

/// A worker's view of the other ones.
pub(super) struct Peers {
    index: usize,
    worker_count: usize,
    directory: Arc<Directory>,
    outgoing: Vec<Option<Outgoing>>,
    pub(super) incoming: Vec<Incoming>,
    doorbell: Arc<Doorbell>,
}

impl Peers {
    /// The views of all workers on one another; each is rung by its doorbell.
    pub(super) fn of(doorbells: &[Arc<Doorbell>], directory: &Arc<Directory>) -> Vec<Self> {
        let mut all: Vec<Self> = doorbells
            .iter()
            .enumerate()
            .map(|(index, doorbell)| Self {
                index,
                worker_count: doorbells.len(),
                directory: Arc::clone(directory),
                outgoing: Vec::new(),
                incoming: Vec::new(),
                doorbell: Arc::clone(doorbell),
            })
            .collect();
        for from in 0..all.len() {
            for (to, doorbell) in doorbells.iter().enumerate() {
                let ends = (from != to).then(|| lane(Arc::clone(doorbell)));
                let (outgoing, incoming) = ends.unzip();
                all[from].outgoing.push(outgoing);
                all[to].incoming.extend(incoming);
            }
        }
        all
    }

    /// Sends off what is in open parcels, unless much is under way already, and wakes whoever sleeps.
    pub(super) fn flush(&mut self) {
        self.outgoing.iter_mut().flatten().for_each(Outgoing::flush);
    }

    /// Says that the worker is about to sleep; answers whether work waits, in which case it does not.
    pub(super) fn arm(&self) -> bool {
        self.doorbell.bell.arm();
        let is_open = |lane: &Outgoing| lane.open.as_ref().is_some_and(|parcel| !parcel.is_empty());
        self.incoming.iter().any(Incoming::has_parcel) || self.outgoing.iter().flatten().any(is_open)
    }

    /// Says that the worker is awake.
    pub(super) fn disarm(&self) {
        self.doorbell.bell.disarm();
    }
}

/// A worker's own queues, and those of the others by way of their workers.
pub(super) struct SharedQueues<'a> {
    pub(super) queues: &'a mut Queues,
    pub(super) peers: &'a mut Peers,
}

impl Egress for SharedQueues<'_> {
    const IS_SHARED: bool = true;

    /// The low half of the hash picks the worker; the flow tables use the high half.
    #[inline(always)]
    fn owner(&self, flow_hash: u64) -> Option<usize> {
        let owner = ((flow_hash & 0xffff_ffff) * self.peers.worker_count as u64) >> 32;
        Some(owner as usize).filter(|owner| *owner != self.peers.index)
    }

    fn parcel(&mut self, worker: usize) -> Option<&mut Parcel> {
        self.peers.outgoing.get_mut(worker)?.as_mut()?.parcel()
    }

    /// A queue of one's own if the port has one here: no further hop.
    #[inline]
    fn queue(&self, port: PortId, flow_hash: u64) -> Option<QueueIndex> {
        self.queues.queue(port, flow_hash).or_else(|| {
            let worker = self.peers.directory.worker(port, flow_hash)?;
            (worker != self.peers.index).then(|| QueueIndex::of_worker(worker))
        })
    }

    fn transmit(&mut self, queue: QueueIndex, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault> {
        self.queues.transmit(queue, frames, refused)
    }
}
