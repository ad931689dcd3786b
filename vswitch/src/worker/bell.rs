//! How a worker that may sleep is woken by another one, once and in time.
//!
//! The sleeper says that it sleeps, then looks for work once more; the ringer puts work where the sleeper looks, then asks
//! whether it sleeps. Each has a full fence between the two, so at least one of them sees the other. Whoever rings takes the
//! flag back, so that those who come after need not ring again. `tests/sleep_model.rs` checks this file in all interleavings.

use super::atomic::{AtomicBool, Ordering, fence};

/// Whether a worker sleeps and must be woken.
#[derive(Debug)]
pub(super) struct Bell {
    is_asleep: AtomicBool,
}

impl Bell {
    /// The bell of a worker that is awake.
    pub(super) fn new() -> Self {
        Self { is_asleep: AtomicBool::new(false) }
    }

    /// The worker is about to sleep. It looks for work once more after this, and does not sleep if there is some.
    pub(super) fn arm(&self) {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker is awake.
    pub(super) fn disarm(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Whether the worker must be woken for work that was just put where it looks.
    pub(super) fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        let is_asleep = self.is_asleep.load(Ordering::Relaxed);
        if is_asleep {
            // Two that come at once both ring, which wakes the worker no less.
            self.is_asleep.store(false, Ordering::Relaxed);
        }
        is_asleep
    }
}
