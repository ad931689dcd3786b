//! What a worker counts. Each cell has one writer, the worker; `main` reads and sums.
//!
//! The books balance per ingress port, at every moment between two bursts:
//! `received + copies = delivered + sum of drops + held`, where all count frames by the port that they entered by.

use std::sync::atomic::{AtomicU64, Ordering};

use inspect::detect::AnomalyKind;
use inspect::inspector::FileCounts;

use crate::drop_reason::DropReason;
use crate::eve::settings::EventType;
use crate::frame::PortId;

/// Ports that a switch may have; tables of counters are made for this many at start.
pub const PORTS_MAX: usize = 256;

/// What can be found out about a file, in the words of the metrics; see [`file_counts`].
pub const FILE_STATES: [&str; 6] = ["listed", "unlisted", "cut", "too_big", "partial", "unhashed"];

/// Files by what was found out about them, in the order of [`FILE_STATES`].
pub fn file_counts(counts: &FileCounts) -> [u64; FILE_STATES.len()] {
    let FileCounts { listed, unlisted, cut, too_big, part, unhashed } = *counts;
    [listed, unlisted, cut, too_big, part, unhashed]
}

/// A counter with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds to the counter. Only the owning worker may call this: it is a plain load and store, not an atomic addition.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets the counter to what its owner has counted elsewhere. Only the owning worker may call this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Takes away from a level. Only the owning worker may call this.
    pub fn take(&self, n: u64) {
        self.add(n.wrapping_neg());
    }

    /// The current value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One port's counters in one worker.
#[derive(Debug)]
#[repr(align(64))]
pub struct PortCounters {
    /// Frames taken from the port, refused ones included.
    pub received: Cell,
    /// Their bytes.
    pub received_bytes: Cell,
    /// Further copies made of frames that entered here and were flooded (n egress ports make n - 1 copies).
    pub flood_copies: Cell,
    /// Fragments that entered here and wait for the rest of their datagram: a level.
    pub held: Cell,
    /// Frames that entered here and were written to some port.
    pub delivered: Cell,
    /// Frames written to this port.
    pub transmitted: Cell,
    /// Their bytes.
    pub transmitted_bytes: Cell,
    /// Frames that entered here and were dropped, by reason.
    pub drops: [Cell; DropReason::COUNT],
}

impl Default for PortCounters {
    fn default() -> Self {
        Self {
            received: Cell::default(),
            received_bytes: Cell::default(),
            flood_copies: Cell::default(),
            held: Cell::default(),
            delivered: Cell::default(),
            transmitted: Cell::default(),
            transmitted_bytes: Cell::default(),
            drops: std::array::from_fn(|_| Cell::default()),
        }
    }
}

/// All counters of one worker.
#[derive(Debug)]
pub struct WorkerCounters {
    ports: Box<[PortCounters]>,
    /// Frames that got a forward verdict, counted once per egress port.
    pub cleared: Cell,
    /// Alerts whose frame was forwarded.
    pub alerts_allowed: Cell,
    /// Alerts whose frame was dropped.
    pub alerts_blocked: Cell,
    /// Scans, sweeps, floods and bursts that were told, by kind.
    pub anomalies: [Cell; AnomalyKind::ALL.len()],
    /// Files by what was found out about them, in the order of [`FILE_STATES`].
    pub files: [Cell; FILE_STATES.len()],
    /// Events that found the way to the log full, by type.
    pub events_lost: [Cell; EventType::COUNT],
    /// Events that were folded into records of others, by type.
    pub events_suppressed: [Cell; EventType::COUNT],
    /// Things to tell that one packet had too many of.
    pub notes_lost: Cell,
    /// Frames that an audit let pass, by the reason for which prevention would have dropped them.
    pub would_drops: [Cell; DropReason::COUNT],
    /// Flows that entered the table; less those that ended, the flows in it.
    pub flows_opened: Cell,
    /// Flows that left the table.
    pub flows_ended: Cell,
    /// Turns of the loop that found no frame.
    pub empty_polls: Cell,
    /// Turns of the loop that moved frames.
    pub busy_polls: Cell,
    /// Times that the worker went to sleep on its eventfds.
    pub sleeps: Cell,
    /// Bursts received.
    pub bursts: Cell,
    /// Frames given to other workers, to be judged or to be sent out.
    pub handed_over: Cell,
    /// Frames that could not be, because all parcels to the other worker were under way.
    pub parcels_missed: Cell,
    /// Cycles of the time-stamp counter spent in turns that moved frames.
    pub busy_cycles: Cell,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            ports: (0..PORTS_MAX).map(|_| PortCounters::default()).collect(),
            cleared: Cell::default(),
            alerts_allowed: Cell::default(),
            alerts_blocked: Cell::default(),
            anomalies: std::array::from_fn(|_| Cell::default()),
            files: Default::default(),
            events_lost: std::array::from_fn(|_| Cell::default()),
            events_suppressed: std::array::from_fn(|_| Cell::default()),
            notes_lost: Cell::default(),
            would_drops: std::array::from_fn(|_| Cell::default()),
            flows_opened: Cell::default(),
            flows_ended: Cell::default(),
            empty_polls: Cell::default(),
            busy_polls: Cell::default(),
            sleeps: Cell::default(),
            bursts: Cell::default(),
            handed_over: Cell::default(),
            parcels_missed: Cell::default(),
            busy_cycles: Cell::default(),
        }
    }
}

impl WorkerCounters {
    /// The counters of one port.
    ///
    /// # Panics
    /// When the port's number is [`PORTS_MAX`] or more; configuration refuses so many ports.
    pub fn port(&self, port: PortId) -> &PortCounters {
        &self.ports[port.index()]
    }

    /// Counts a frame that entered by `ingress` as dropped.
    pub fn count_drop(&self, ingress: PortId, reason: DropReason) {
        self.port(ingress).drops[reason as usize].add(1);
    }
}
