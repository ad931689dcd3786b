//! Where frames enter and leave: guests over vhost-user, uplinks, and ports in memory for tests.

use std::os::fd::RawFd;

use arrayvec::ArrayVec;

use crate::drop_reason::DropReason;
use crate::frame::{BURST_MAX, Batch};
use crate::inspection::Cleared;

pub mod memory;
pub mod uplink;
pub mod vhost;

/// Why a queue can no longer be used. The worker gives the queue up and the port is isolated until its peer connects anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFault {
    /// One word for logs, for example `avail_index_jump`.
    pub word: &'static str,
}

/// Frames of one [`QueueIo::transmit`] call that the receiver did not take, as (index in the call's slice, reason).
pub type Refusals = ArrayVec<(u8, DropReason), BURST_MAX>;

/// One queue pair of one port, owned by exactly one worker for as long as it is attached.
pub trait QueueIo: Send {
    /// Copies waiting frames into `batch` until nothing waits or the batch is full, and gives the sender its buffers back.
    /// Frames that are refused before their bytes are looked at go to [`Batch::reject`]. Never blocks.
    ///
    /// # Errors
    /// The peer broke the queue's rules; nothing of the batch may be used then.
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortFault>;

    /// Writes frames to the receiver in order, all those of the call with one publication and at most one notification.
    /// What it does not take is named in `refused` (empty on entry); everything else was written. Never blocks. At most
    /// [`BURST_MAX`] frames a call.
    ///
    /// # Errors
    /// The peer broke the queue's rules; none of the frames counts as written then.
    fn transmit(&mut self, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault>;

    /// The descriptor that becomes readable when frames wait and [`QueueIo::arm`] asked for it. It is watched edge-triggered
    /// and never read.
    fn wake_fd(&self) -> Option<RawFd>;

    /// Asks to be woken by [`QueueIo::wake_fd`] for the next frame. Answers whether frames wait already, in which case the
    /// worker does not sleep.
    ///
    /// # Errors
    /// As [`QueueIo::receive`].
    fn arm(&mut self) -> Result<bool, PortFault>;

    /// Says that no waking is needed: the worker polls.
    fn disarm(&mut self);
}
