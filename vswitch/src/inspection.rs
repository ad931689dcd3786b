//! The stage that judges, and the only place where a [`Cleared`] is made.

use inspect::wire::Headers;

use crate::frame::Offload;

/// A frame that was inspected with the verdict forward, for one egress port: the only thing that leaves the switch.
///
/// It borrows the batch that holds the frame, so the bytes cannot change between verdict and delivery, and its fields are
/// private to this module, so nobody else can make one (invariant 2).
#[derive(Clone, Copy, Debug)]
pub struct Cleared<'batch> {
    frame: &'batch [u8],
    headers: &'batch Headers,
    offload: Offload,
}

impl<'batch> Cleared<'batch> {
    /// The bytes that were inspected.
    pub fn frame(&self) -> &'batch [u8] {
        self.frame
    }

    /// Where the headers are in the frame.
    pub fn headers(&self) -> &'batch Headers {
        self.headers
    }

    /// What is left to be done to the frame by whoever sends it on.
    pub fn offload(&self) -> Offload {
        self.offload
    }
}
