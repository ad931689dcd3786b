//! Workers, as the rest of the switch sees them: where queues are attached and given back.

use std::time::Duration;

use crate::frame::PortId;
use crate::port::QueueIo;

/// Names one attached queue pair: a port and the pair's number on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueId {
    /// The port.
    pub port: PortId,
    /// Number of the queue pair on the port, from 0.
    pub pair: u16,
}

/// How long a worker may take to give a queue back before the caller must assume that it never will.
pub const DETACH_TIMEOUT: Duration = Duration::from_secs(2);

/// Where queues are handed to workers and taken back. Each queue has one owner at any time: the attaching thread, then the
/// worker, then the detaching thread.
pub trait Attach: Send + Sync {
    /// Hands a queue to the worker that serves it. Returns once the worker is told, not once it polls.
    fn attach(&self, id: QueueId, queue: Box<dyn QueueIo>);

    /// Takes a queue back and waits until the worker has let go of it. `None` when it is not attached (the worker may have
    /// given it up after a [`crate::port::PortFault`]) or when the worker did not answer within [`DETACH_TIMEOUT`]; see
    /// [`Detached`].
    fn detach(&self, id: QueueId) -> Detached;
}

/// Answer of [`Attach::detach`].
pub enum Detached {
    /// The queue, owned by the caller again.
    Queue(Box<dyn QueueIo>),
    /// It was not attached: the worker gave it up earlier, and has dropped it.
    Absent,
    /// The worker did not answer: it may still touch the queue, so the memory behind it must not be unmapped.
    Stuck,
}
