//! The last stage: cleared frames leave by their egress queues, and the books are closed on them.

use arrayvec::ArrayVec;

use crate::counters::WorkerCounters;
use crate::drop_reason::DropReason;
use crate::frame::{BURST_MAX, PortId};
use crate::inspection::Cleared;
use crate::pipeline::Parcel;
use crate::port::{PortFault, Refusals};

/// Index of an attached queue in its worker's table, or another worker's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueIndex(pub u16);

/// Marks a [`QueueIndex`] that names a worker.
const ELSEWHERE: u16 = 1 << 15;

impl QueueIndex {
    /// A queue that another worker serves.
    pub fn of_worker(worker: usize) -> Self {
        Self(ELSEWHERE | worker as u16)
    }

    /// The other worker that serves the queue; `None` for a queue of one's own.
    #[inline(always)]
    pub fn worker(self) -> Option<usize> {
        (self.0 & ELSEWHERE != 0).then_some(usize::from(self.0 & !ELSEWHERE))
    }
}

/// The queues that frames can leave by.
pub trait Egress {
    /// Whether there are other workers. If not, none of their code is in the walk.
    const IS_SHARED: bool = false;

    /// The other worker that owns flows with this hash; `None` if it is one's own flow.
    fn owner(&self, _flow_hash: u64) -> Option<usize> {
        None
    }

    /// A parcel to another worker with room for a frame; `None` when all of them are under way.
    fn parcel(&mut self, _worker: usize) -> Option<&mut Parcel> {
        None
    }

    /// The queue that carries frames of a flow with this hash to a port; `None` while the port is not connected.
    fn queue(&self, port: PortId, flow_hash: u64) -> Option<QueueIndex>;

    /// As [`crate::port::QueueIo::transmit`], on one queue. A queue that faults is given up.
    ///
    /// # Errors
    /// None of the frames was written.
    fn transmit(&mut self, queue: QueueIndex, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault>;
}

/// Cleared frames and where each leaves, in the order in which they came.
#[derive(Debug)]
pub struct Outbound<'batch> {
    cleared: ArrayVec<Cleared<'batch>, BURST_MAX>,
    places: [(PortId, QueueIndex); BURST_MAX],
}

impl Default for Outbound<'_> {
    fn default() -> Self {
        Self { cleared: ArrayVec::new(), places: [(PortId(0), QueueIndex(0)); BURST_MAX] }
    }
}

/// What became of a set of cleared frames.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Frames written.
    pub delivered: u64,
    /// Frames not written, as (index in the set, reason).
    pub refused: ArrayVec<(u8, DropReason), BURST_MAX>,
}

impl<'batch> Outbound<'batch> {
    /// Adds a frame.
    ///
    /// # Panics
    /// When a burst of them is there already.
    #[inline(always)]
    pub fn push(&mut self, cleared: Cleared<'batch>, port: PortId, queue: QueueIndex) {
        self.places[self.cleared.len() % BURST_MAX] = (port, queue);
        self.cleared.push(cleared);
    }

    /// Frames held.
    pub fn len(&self) -> usize {
        self.cleared.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.cleared.is_empty()
    }

    /// One of them, and the port that it leaves by.
    pub fn at(&self, index: usize) -> (&Cleared<'batch>, PortId) {
        (&self.cleared[index], self.places[index].0)
    }

    /// Sends the frames out, one call per queue and the frames of a queue in their order, and counts what was transmitted.
    #[inline]
    pub fn forward<E: Egress>(&self, egress: &mut E, counters: &WorkerCounters) -> Outcome {
        let mut outcome = Outcome::default();
        let places = &self.places[..self.len()];
        let Some(first) = places.first() else { return outcome };
        if places.iter().all(|place| place.1 == first.1) {
            send(*first, &self.cleared, None, egress, counters, &mut outcome);
        } else {
            self.forward_mixed(egress, counters, &mut outcome);
        }
        outcome
    }

    fn forward_mixed<E: Egress>(&self, egress: &mut E, counters: &WorkerCounters, outcome: &mut Outcome) {
        let mut sent: u32 = 0;
        for first in 0..self.len() {
            if sent & 1 << first != 0 {
                continue;
            }
            let place = self.places[first];
            let mut frames: ArrayVec<Cleared<'_>, BURST_MAX> = ArrayVec::new();
            let mut indices: ArrayVec<u8, BURST_MAX> = ArrayVec::new();
            for index in first..self.len() {
                if self.places[index].1 == place.1 {
                    frames.push(self.cleared[index]);
                    indices.push(index as u8);
                    sent |= 1 << index;
                }
            }
            send(place, &frames, Some(&indices), egress, counters, outcome);
        }
    }
}

/// Sends frames to one queue. `indices` are their places in the whole set, where they are not all of it.
fn send<E: Egress>(
    (port, queue): (PortId, QueueIndex),
    frames: &[Cleared<'_>],
    indices: Option<&[u8]>,
    egress: &mut E,
    counters: &WorkerCounters,
    outcome: &mut Outcome,
) {
    let index = |at: usize| indices.map_or(at as u8, |indices| indices[at]);
    let mut refused = Refusals::new();
    if egress.transmit(queue, frames, &mut refused).is_err() {
        outcome.refused.extend((0..frames.len()).map(|at| (index(at), DropReason::PortFault)));
        return;
    }
    let mut bytes: u64 = frames.iter().map(|cleared| cleared.frame().len() as u64).sum();
    for (at, reason) in &refused {
        let at = usize::from(*at);
        bytes -= frames[at].frame().len() as u64;
        outcome.refused.push((index(at), *reason));
    }
    let written = (frames.len() - refused.len()) as u64;
    let port = counters.port(port);
    port.transmitted.add(written);
    port.transmitted_bytes.add(bytes);
    outcome.delivered += written;
}
