//! One queue pair of a guest as a worker sees it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::from_guest::FromGuest;
use super::hand_over::PairNews;
use super::to_guest::{Outgoing, ToGuest};
use crate::frame::Batch;
use crate::inspection::Cleared;
use crate::port::{PortFault, QueueIo, Refusals};

/// A queue pair: the guest's transmit ring and its receive ring. Owns everything that it touches, so its memory stays mapped
/// for as long as anybody holds it.
pub(crate) struct VhostQueue {
    from_guest: FromGuest,
    to_guest: ToGuest,
    kick: OwnedFd,
    news: Arc<PairNews>,
    /// Whether the guest was greeted; see [`super::ring::Ring::greet`].
    is_greeted: bool,
}

impl VhostQueue {
    pub(crate) fn new(from_guest: FromGuest, to_guest: ToGuest, kick: OwnedFd, news: Arc<PairNews>) -> Self {
        Self { from_guest, to_guest, kick, news, is_greeted: false }
    }
}

impl VhostQueue {
    #[cold]
    fn greet(&mut self) -> Result<(), PortFault> {
        self.is_greeted = true;
        let rings = [self.from_guest.ring(), self.to_guest.ring()];
        rings.into_iter().try_for_each(|ring| ring.greet()).map_err(|fault| self.report(fault))
    }

    /// Reports a fault. Zeros in the place of lost memory look like other faults; what counts is the loss.
    #[cold]
    fn report(&self, fault: PortFault) -> PortFault {
        let fault = self.from_guest.ring().check_memory().err().unwrap_or(fault);
        self.news.fault(fault);
        fault
    }
}

impl QueueIo for VhostQueue {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortFault> {
        if !self.is_greeted {
            self.greet()?;
        }
        self.from_guest.receive(batch).map_err(|fault| self.report(fault))
    }

    fn transmit(&mut self, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault> {
        let outgoing = |index: usize| {
            let cleared: &Cleared<'_> = &frames[index];
            Outgoing { frame: cleared.frame(), headers: cleared.headers(), offload: cleared.offload_word() }
        };
        self.to_guest.transmit(frames.len(), outgoing, refused).map_err(|fault| self.report(fault))
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.kick.as_raw_fd())
    }

    fn arm(&mut self) -> Result<bool, PortFault> {
        self.from_guest.ring_mut().arm().map_err(|fault| self.report(fault))
    }

    fn disarm(&mut self) {
        self.from_guest.ring_mut().disarm();
    }
}

impl Drop for VhostQueue {
    fn drop(&mut self) {
        self.news.released(self.to_guest.ring().position(), self.from_guest.ring().position());
    }
}
