//! Behaviour that needs no signature to be noticed: scans, sweeps, floods and bursts.
//!
//! Theory of operation: each *source* (a number of the caller's, for the port that a packet came by) has a fixed handful of
//! sketches, which all workers share, so that a threshold means the same however many there are. What counts is shown before
//! policy decides about it, for a scan is mostly made of attempts that policy denies: each packet that opens a flow or would
//! ([`Watching::opens`]), each question for a neighbour ([`Watching::asks`]), and the number of packets of a kind in a burst
//! ([`Watching::flood`]). What exceeds a threshold comes back in two ways: as an [`AnomalySet`] that says what this very
//! packet is part of, for callers that drop, and as an [`Anomaly`] event, at most one per source and kind in each quiet
//! time, for callers that report or quarantine.
//!
//! A guest that spreads a scan over so many hosts that their places are taken from each other sweeps hosts, and one that
//! spreads over everything bursts with connections: each way of staying under one threshold leads over another. Slow scans
//! stay below all of them; that is what thresholds mean.

mod sketch;
mod watch;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use sketch::Seed;
pub use watch::{Excess, Watching};

use crate::limits::DETECT_SOURCES_MAX;
use watch::Watch;

/// What can be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnomalyKind {
    /// Many ports of one host.
    PortScan,
    /// One service (or ping) of many hosts.
    HostSweep,
    /// Many neighbours asked for, by ARP or neighbour solicitation.
    ArpSweep,
    /// Many TCP connection attempts.
    SynFlood,
    /// Many UDP datagrams.
    UdpFlood,
    /// Many ICMP messages.
    IcmpFlood,
    /// Many new flows of any kind.
    ConnectionBurst,
}

impl AnomalyKind {
    /// Every kind, in declaration order, so that `ALL[kind as usize] == kind`.
    pub const ALL: [Self; 7] = [
        Self::PortScan,
        Self::HostSweep,
        Self::ArpSweep,
        Self::SynFlood,
        Self::UdpFlood,
        Self::IcmpFlood,
        Self::ConnectionBurst,
    ];

    /// The kind as one snake_case word, for configuration, metrics and EVE.
    pub fn name(self) -> &'static str {
        match self {
            Self::PortScan => "port_scan",
            Self::HostSweep => "host_sweep",
            Self::ArpSweep => "arp_sweep",
            Self::SynFlood => "syn_flood",
            Self::UdpFlood => "udp_flood",
            Self::IcmpFlood => "icmp_flood",
            Self::ConnectionBurst => "connection_burst",
        }
    }
}

/// Some of the kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnomalySet(u8);

impl AnomalySet {
    /// Whether `kind` is in it.
    pub fn contains(self, kind: AnomalyKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Puts `kind` in.
    pub fn insert(&mut self, kind: AnomalyKind) {
        self.0 |= 1 << kind as u8;
    }

    /// The first kind, in declaration order, that is in both.
    pub fn first_common(self, other: Self) -> Option<AnomalyKind> {
        let common = Self(self.0 & other.0);
        AnomalyKind::ALL.into_iter().find(|kind| common.contains(*kind))
    }
}

/// Who or what was on the other end of the packet that exceeded a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A host: the scanned one, the last one flooded or asked for.
    Host(IpAddr),
    /// The service that was sought on many hosts; port 0 for ping.
    Service {
        /// IP protocol number.
        protocol: u8,
        /// Destination port.
        port: u16,
    },
}

/// A source exceeded a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Who.
    pub source: u32,
    /// What.
    pub kind: AnomalyKind,
    /// To whom.
    pub target: Target,
    /// How many in the window; for scans and sweeps an estimate of different ones, good to a tenth.
    pub count: u64,
    /// As many would have been normal.
    pub count_max: u32,
    /// The window, in milliseconds.
    pub window_ms: u32,
    /// Packets of the same kind of anomaly since the source's last event, which none was made of.
    pub suppressed: u64,
}

/// From when on something is an anomaly, and how often it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// As many are still normal; for scans and sweeps at most [`DISTINCT_COUNT_MAX`].
    pub count_max: u32,
    /// Within this time, in milliseconds. Between half and all of it is looked at.
    pub window_ms: u32,
    /// After an event, the time in milliseconds for which the source's further ones of that kind are not told.
    pub quiet_ms: u64,
}

/// The highest threshold of scans and sweeps: as many different things can be told apart reliably.
pub const DISTINCT_COUNT_MAX: u32 = sketch::DISTINCT_MAX;

impl AnomalyKind {
    /// Whether different things are counted, not all.
    pub fn is_distinct(self) -> bool {
        match self {
            Self::PortScan | Self::HostSweep | Self::ArpSweep => true,
            Self::SynFlood | Self::UdpFlood | Self::IcmpFlood | Self::ConnectionBurst => false,
        }
    }

    /// A threshold that leaves room for what busy servers do.
    pub fn default_threshold(self) -> Threshold {
        let (count_max, window_ms) = match self {
            Self::PortScan => (50, 10_000),
            Self::HostSweep | Self::ArpSweep => (100, 10_000),
            Self::SynFlood => (5_000, 1_000),
            Self::UdpFlood => (500_000, 1_000),
            Self::IcmpFlood => (2_000, 1_000),
            Self::ConnectionBurst => (10_000, 1_000),
        };
        Threshold { count_max, window_ms, quiet_ms: 60_000 }
    }
}

/// Why thresholds cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdError {
    /// The threshold of a scan or sweep is more than can be told apart.
    CountTooLarge(AnomalyKind),
    /// The window is shorter than 2 ms.
    WindowTooShort(AnomalyKind),
}

impl std::fmt::Display for ThresholdError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CountTooLarge(kind) => {
                write!(f, "{}: the count must be at most {DISTINCT_COUNT_MAX}", kind.name())
            }
            Self::WindowTooShort(kind) => write!(f, "{}: the window must be at least 2 ms", kind.name()),
        }
    }
}

impl std::error::Error for ThresholdError {}

/// A threshold, ready to be compared with.
#[derive(Clone, Copy, Debug)]
struct Limit {
    threshold: Threshold,
    /// For distinct things: the bits that `count_max` of them set.
    bit_count: u32,
}

/// Thresholds by kind, ready to be compared with; kinds without one are not watched.
#[derive(Clone, Debug, Default)]
pub struct Thresholds {
    by_kind: [Option<Limit>; AnomalyKind::ALL.len()],
}

impl Thresholds {
    /// Checks and prepares thresholds.
    ///
    /// # Errors
    /// When one cannot be kept.
    pub fn new(thresholds: &BTreeMap<AnomalyKind, Threshold>) -> Result<Self, ThresholdError> {
        let mut by_kind = [None; AnomalyKind::ALL.len()];
        for (kind, threshold) in thresholds {
            if kind.is_distinct() && threshold.count_max > DISTINCT_COUNT_MAX {
                return Err(ThresholdError::CountTooLarge(*kind));
            }
            if threshold.window_ms < 2 {
                return Err(ThresholdError::WindowTooShort(*kind));
            }
            by_kind[*kind as usize] =
                Some(Limit { threshold: *threshold, bit_count: sketch::expected_bit_count(threshold.count_max) });
        }
        Ok(Self { by_kind })
    }

    fn of(&self, kind: AnomalyKind) -> Option<&Limit> {
        self.by_kind[kind as usize].as_ref()
    }
}

/// The watch over all sources, shared by all workers. Everything is in place from the start, so nothing that a guest sends
/// makes it grow: each source takes 5 KiB.
#[derive(Debug)]
pub struct Detectors {
    seed: Seed,
    sources: Box<[Watch]>,
}

impl Detectors {
    /// A watch over sources that are numbered from 0, at most [`DETECT_SOURCES_MAX`], which has seen nothing yet. The seed is
    /// random numbers, new for each start of the daemon.
    pub fn new(source_count: usize, seed: Seed) -> Self {
        Self { seed, sources: (0..source_count.min(DETECT_SOURCES_MAX)).map(|_| Watch::default()).collect() }
    }

    /// The watch over one source, at a time in milliseconds on a monotonic clock. `None` if there is no such source.
    pub fn watching<'a>(&'a self, thresholds: &'a Thresholds, source: u32, now_ms: u64) -> Option<Watching<'a>> {
        let watch = self.sources.get(source as usize)?;
        Some(Watching { watch, thresholds, seed: self.seed, source, now_ms })
    }

    /// Forgets what a source did, and what was told of it: because it is somebody else from now on, or starts anew.
    pub fn forget(&self, source: u32) {
        if let Some(watch) = self.sources.get(source as usize) {
            watch.clear();
        }
    }

    /// Forgets everything: thresholds with other windows do not go with what was counted in the old ones.
    pub fn forget_all(&self) {
        self.sources.iter().for_each(Watch::clear);
    }

    /// When a packet of a source was part of an anomaly of a kind last, on the clock of [`Detectors::watching`], and of how
    /// many none was told since the last event; `None` if that never was.
    pub fn last(&self, source: u32, kind: AnomalyKind) -> Option<(u64, u64)> {
        self.sources.get(source as usize)?.last(kind)
    }
}
