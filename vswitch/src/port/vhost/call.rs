//! Telling a guest that its ring moved on: one write to an eventfd that the front-end made.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::port::PortFault;

/// The descriptor that a ring's guest is notified through; none for a guest that polls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call(Option<Arc<OwnedFd>>);

impl Call {
    /// A call over an eventfd, verified to be one.
    pub(crate) fn new(eventfd: Option<OwnedFd>) -> Self {
        Self(eventfd.map(Arc::new))
    }

    /// Notifies the guest.
    pub(crate) fn signal(&self) -> Result<(), PortFault> {
        let Some(fd) = &self.0 else { return Ok(()) };
        match rustix::io::write(fd, &1u64.to_ne_bytes()) {
            // A full counter that does not block is as good as a notification: the guest has one pending.
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(_) => Err(PortFault { word: "call_failed" }),
        }
    }
}
