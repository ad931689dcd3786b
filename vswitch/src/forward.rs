//! The last stage: cleared frames leave by their egress queues, and the books are closed on them.

use arrayvec::ArrayVec;

use crate::counters::WorkerCounters;
use crate::drop_reason::DropReason;
use crate::frame::{BURST_MAX, PortId};
use crate::inspection::Cleared;
use crate::port::{PortFault, Refusals};

/// Index of an attached queue in its worker's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueIndex(pub u16);

/// The queues that frames can leave by.
pub trait Egress {
    /// The queue that carries frames of a flow with this hash to a port; `None` while the port is not connected.
    fn queue(&self, port: PortId, flow_hash: u64) -> Option<QueueIndex>;

    /// As [`crate::port::QueueIo::transmit`], on one queue. A queue that faults is given up.
    ///
    /// # Errors
    /// None of the frames was written.
    fn transmit(&mut self, queue: QueueIndex, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault>;
}

/// A cleared frame and where it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Outbound<'batch> {
    /// What leaves.
    pub cleared: Cleared<'batch>,
    /// By which port.
    pub egress: PortId,
    /// By which of its queues.
    pub queue: QueueIndex,
}

/// What became of a set of cleared frames.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Frames written.
    pub delivered: u64,
    /// Frames not written, as (index in the set, reason).
    pub refused: ArrayVec<(u8, DropReason), BURST_MAX>,
}

/// Sends frames out, one call per queue and the frames of a queue in their order, and counts what was transmitted.
pub fn forward(
    outbound: &ArrayVec<Outbound<'_>, BURST_MAX>,
    egress: &mut dyn Egress,
    counters: &WorkerCounters,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut sent: u32 = 0;
    while let Some(first) = (!sent).trailing_zeros().try_into().ok().filter(|first: &usize| *first < outbound.len()) {
        let Outbound { queue, egress: port, .. } = outbound[first];
        let mut frames: ArrayVec<Cleared<'_>, BURST_MAX> = ArrayVec::new();
        let mut indices: ArrayVec<u8, BURST_MAX> = ArrayVec::new();
        for (index, frame) in outbound.iter().enumerate().skip(first) {
            if frame.queue == queue {
                frames.push(frame.cleared);
                indices.push(index as u8);
                sent |= 1 << index;
            }
        }
        let mut refused = Refusals::new();
        if egress.transmit(queue, &frames, &mut refused).is_err() {
            outcome.refused.extend(indices.iter().map(|index| (*index, DropReason::PortFault)));
            continue;
        }
        let mut bytes: u64 = frames.iter().map(|cleared| cleared.frame().len() as u64).sum();
        for (at, reason) in &refused {
            let at = usize::from(*at);
            bytes -= frames[at].frame().len() as u64;
            outcome.refused.push((indices[at], *reason));
        }
        let written = (frames.len() - refused.len()) as u64;
        let port = counters.port(port);
        port.transmitted.add(written);
        port.transmitted_bytes.add(bytes);
        outcome.delivered += written;
    }
    outcome
}
