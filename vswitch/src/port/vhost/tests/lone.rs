//! One port's session without the port: no socket file, no pause between connections, and queues that the test holds.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::pipe::{PipeFlags, pipe_with};

use super::front_end::FrontEnd;
use crate::frame::PortId;
use crate::port::QueueIo;
use crate::port::vhost::message::Closing;
use crate::port::vhost::{Mode, PortShared, PortStatus, VhostConfig, session};
use crate::worker::{Attach, Detached, QueueId};

/// Keeps attached queues for the test to use.
#[derive(Default)]
pub(super) struct Shelf(Mutex<HashMap<QueueId, Box<dyn QueueIo>>>);

impl Shelf {
    /// Uses the queue of pair 0, if it is attached.
    pub(super) fn with<R>(&self, use_queue: impl FnOnce(&mut dyn QueueIo) -> R) -> Option<R> {
        self.0.lock().unwrap().values_mut().next().map(|queue| use_queue(queue.as_mut()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Attach for Shelf {
    fn attach(&self, id: QueueId, queue: Box<dyn QueueIo>) {
        let before = self.0.lock().unwrap().insert(id, queue);
        assert!(before.is_none(), "a queue is attached once");
    }

    fn detach(&self, id: QueueId) -> Detached {
        self.0.lock().unwrap().remove(&id).map_or(Detached::Absent, Detached::Queue)
    }
}

/// A session that runs on a thread of its own.
pub(super) struct Lone {
    pub(super) shelf: Arc<Shelf>,
    pub(super) status: Arc<PortStatus>,
    thread: JoinHandle<Closing>,
    shared: Arc<PortShared>,
}

impl Lone {
    /// A session and the front-end's end of its socket.
    pub(super) fn new() -> (Self, FrontEnd) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let shelf = Arc::new(Shelf::default());
        let status = Arc::new(PortStatus::default());
        let mut config = VhostConfig::new(PortId(0), "lone", Path::new("/nowhere"), Mode::Server);
        config.memory_len_max = 1 << 30;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let shared = Arc::new(PortShared { config, attach: shelf.clone(), status: status.clone(), stop });
        let for_thread = shared.clone();
        let thread = std::thread::spawn(move || session::serve(&for_thread, theirs));
        (Self { shelf, status, thread, shared }, FrontEnd::over(ours, 1, 64))
    }

    /// The end of the session, which must come by itself.
    #[track_caller]
    pub(super) fn closing(self) -> Closing {
        let Self { shelf, thread, .. } = self;
        let ended = super::front_end::eventually(|| thread.is_finished());
        assert!(ended, "the session goes on");
        let closing = thread.join().unwrap();
        assert_eq!(shelf.len(), 0, "a queue is left behind");
        closing
    }

    /// Stops the session as the port would.
    pub(super) fn stop(self) -> Closing {
        rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes()).unwrap();
        self.closing()
    }
}

/// Descriptors whose copies can be counted down to none: both ends of a pipe, of which one is given away.
pub(super) struct Traced {
    reader: std::fs::File,
    pub(super) writer: OwnedFd,
}

impl Traced {
    pub(super) fn new() -> Self {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        Self { reader: reader.into(), writer }
    }

    /// Asserts that all copies are closed.
    #[track_caller]
    pub(super) fn assert_closed(self) {
        let Self { mut reader, writer } = self;
        drop(writer);
        let mut fds = [rustix::event::PollFd::new(&reader, rustix::event::PollFlags::IN)];
        let time = session::timeout(Some(Duration::from_secs(5)));
        assert_eq!(rustix::event::poll(&mut fds, time.as_ref()), Ok(1), "a descriptor leaks");
        assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
    }
}
