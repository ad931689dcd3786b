//! What operators and other threads may know of a guest port.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::features::Features;

/// The state of a guest port, shared between the port's own threads, which write it, and whoever shows it.
#[derive(Debug, Default)]
pub struct PortStatus {
    connections: AtomicU64,
    isolations: AtomicU64,
    worker_stuck: AtomicU64,
    state: Mutex<PortState>,
}

/// A snapshot of a guest port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortState {
    /// Whether a front-end is connected.
    pub front_end: bool,
    /// The front-end's process, as the kernel tells it.
    pub peer_pid: Option<i32>,
    /// The features that the guest's driver acknowledged, once it did.
    pub features: Option<Features>,
    /// Number of descriptors of each ring that is served: receive, transmit, receive, ...
    pub ring_sizes: Vec<u16>,
    /// How many queue pairs are with a worker. Frames can pass when this is not 0.
    pub pairs_attached: u16,
    /// Whether the guest's memory cannot shrink under our feet (sealed by its owner or by us).
    pub memory_sealed: bool,
    /// Bytes of guest memory that are mapped.
    pub memory_len: u64,
    /// Why the port was last cut off from a front-end that broke the rules; cleared when the next one's queues are attached.
    pub isolated: Option<String>,
}

impl PortStatus {
    /// The present state.
    pub fn state(&self) -> PortState {
        self.lock().clone()
    }

    /// Whether frames can pass.
    pub fn is_connected(&self) -> bool {
        self.lock().pairs_attached > 0
    }

    /// How many front-ends connected since the start.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How often the port was cut off because its front-end or guest broke the rules.
    pub fn isolations(&self) -> u64 {
        self.isolations.load(Ordering::Relaxed)
    }

    /// How often a worker did not give a queue back in time. Its guest's memory stays mapped until it does.
    pub fn worker_stuck(&self) -> u64 {
        self.worker_stuck.load(Ordering::Relaxed)
    }

    pub(crate) fn connected(&self, peer_pid: Option<i32>) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        self.update(|s| (s.front_end, s.peer_pid) = (true, peer_pid));
    }

    pub(crate) fn disconnected(&self) {
        self.update(|s| *s = PortState { isolated: s.isolated.take(), ..PortState::default() });
    }

    pub(crate) fn isolated(&self, reason: String) {
        self.isolations.fetch_add(1, Ordering::Relaxed);
        self.update(|s| s.isolated = Some(reason));
    }

    pub(crate) fn count_stuck(&self) {
        self.worker_stuck.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut PortState)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PortState> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}
