//! How a worker, or a handler on the crates' thread, tells a port's own thread that its front-end must go.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::event::{EventfdFlags, eventfd};

/// An alarm that is raised once, with a reason, and wakes who polls it.
#[derive(Debug)]
pub(crate) struct Alarm {
    reason: OnceLock<String>,
    wake: OwnedFd,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { reason: OnceLock::new(), wake })
    }

    /// Raises the alarm. The first reason stays.
    pub(crate) fn raise(&self, reason: impl Into<String>) {
        if self.reason.set(reason.into()).is_ok() {
            // The eventfd is ours alone and its counter starts at 0: one write neither blocks nor fails.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// The reason, once raised.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
