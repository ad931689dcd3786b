//! The queues of one worker, and their use as egress.

use std::os::fd::RawFd;
use std::sync::Arc;

use arrayvec::ArrayVec;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::QueueId;
use super::peers::Directory;
use crate::counters::PORTS_MAX;
use crate::forward::{Egress, QueueIndex};
use crate::frame::PortId;
use crate::inspection::Cleared;
use crate::port::{PortFault, QueueIo, Refusals};

/// Queue pairs of one port that one worker serves at most; further ones receive frames but are not sent to.
const PAIRS_MAX: usize = 16;

/// One attached queue.
pub(super) struct Attached {
    pub(super) id: QueueId,
    pub(super) queue: Box<dyn QueueIo>,
    /// Set when the peer broke the queue's rules: it is not used any more, and removed after the burst.
    pub(super) fault: Option<PortFault>,
    pub(super) panic_count: u32,
    wake_fd: Option<RawFd>,
}

/// All attached queues, by place and by port.
pub(super) struct Queues {
    places: Vec<Option<Attached>>,
    by_port: Box<[ArrayVec<u16, PAIRS_MAX>]>,
    directory: Arc<Directory>,
}

impl Queues {
    /// No queues yet; those to come are announced in the directory.
    pub(super) fn new(directory: Arc<Directory>) -> Self {
        Self { places: Vec::new(), by_port: (0..PORTS_MAX).map(|_| ArrayVec::new()).collect(), directory }
    }

    /// Takes a queue in and watches its wake-up descriptor. One that is attached under the same name already is replaced.
    pub(super) fn attach(&mut self, id: QueueId, queue: Box<dyn QueueIo>, registry: &Registry) {
        if self.detach(id, registry).is_some() {
            tracing::error!(port = id.port.0, pair = id.pair, "a queue was attached twice; the first one is dropped");
        }
        let place = self.places.iter().position(Option::is_none).unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        let wake_fd = queue.wake_fd();
        if let Some(fd) = wake_fd
            && let Err(error) = registry.register(&mut SourceFd(&fd), Token(place), Interest::READABLE)
        {
            tracing::error!(port = id.port.0, pair = id.pair, %error, "cannot watch the queue's kicks");
        }
        self.places[place] = Some(Attached { id, queue, fault: None, panic_count: 0, wake_fd });
        self.reindex();
        self.directory.set(id, true);
    }

    /// Gives a queue back.
    pub(super) fn detach(&mut self, id: QueueId, registry: &Registry) -> Option<Box<dyn QueueIo>> {
        let place = self.places.iter().position(|place| place.as_ref().is_some_and(|queue| queue.id == id))?;
        self.remove(place, registry).map(|attached| attached.queue)
    }

    /// Gives up all queues whose peer broke their rules.
    pub(super) fn remove_faulty(&mut self, registry: &Registry) {
        for place in 0..self.places.len() {
            let Some(fault) = self.places[place].as_ref().and_then(|queue| queue.fault) else {
                continue;
            };
            if let Some(attached) = self.remove(place, registry) {
                tracing::warn!(
                    port = attached.id.port.0,
                    pair = attached.id.pair,
                    fault = fault.word,
                    "a port is isolated: its peer broke the rules of its queue"
                );
            }
        }
    }

    fn remove(&mut self, place: usize, registry: &Registry) -> Option<Attached> {
        let attached = self.places[place].take()?;
        self.directory.set(attached.id, false);
        if let Some(fd) = attached.wake_fd {
            // It may be closed already, in which case the kernel has forgotten it.
            let _ = registry.deregister(&mut SourceFd(&fd));
        }
        self.reindex();
        Some(attached)
    }

    fn reindex(&mut self) {
        self.by_port.iter_mut().for_each(ArrayVec::clear);
        let mut attached: Vec<_> = self
            .places
            .iter()
            .enumerate()
            .filter_map(|(place, queue)| queue.as_ref().map(|queue| (queue.id.pair, queue.id.port, place as u16)))
            .collect();
        attached.sort_unstable_by_key(|(pair, port, _)| (port.0, *pair));
        for (_, port, place) in attached {
            if let Some(pairs) = self.by_port.get_mut(port.index()) {
                let _ = pairs.try_push(place);
            }
        }
    }

    /// Places to visit, taken or not.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The queue at a place, unless there is none or it is faulty.
    #[inline]
    pub(super) fn at(&mut self, place: usize) -> Option<&mut Attached> {
        self.places[place].as_mut().filter(|attached| attached.fault.is_none())
    }

    /// All queues that work.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Attached> {
        self.places.iter_mut().flatten().filter(|attached| attached.fault.is_none())
    }

    /// Whether any queue waits to be given up.
    pub(super) fn has_faulty(&self) -> bool {
        self.places.iter().flatten().any(|attached| attached.fault.is_some())
    }
}

impl Egress for Queues {
    #[inline]
    fn queue(&self, port: PortId, flow_hash: u64) -> Option<QueueIndex> {
        let pairs = self.by_port.get(port.index())?;
        let place = match pairs.len() {
            0 => return None,
            1 => pairs[0],
            count => pairs[(flow_hash % count as u64) as usize],
        };
        let usable = self.places[usize::from(place)].as_ref().is_some_and(|attached| attached.fault.is_none());
        usable.then_some(QueueIndex(place))
    }

    fn transmit(&mut self, queue: QueueIndex, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault> {
        let fault = PortFault { word: "detached" };
        let attached = self.places[usize::from(queue.0)].as_mut().ok_or(fault)?;
        let sent = attached.queue.transmit(frames, refused);
        if let Err(fault) = sent {
            attached.fault = Some(fault);
        }
        sent
    }
}
