//! Behaviour that needs no signature to be noticed: scans, sweeps, floods and bursts.
//!
//! Theory of operation: each *source* (a number of the caller's, for the port that a packet came by) has a fixed handful of
//! sketches. A packet is shown once, before policy decides about it, for a scan is mostly made of attempts that policy
//! denies. What exceeds a threshold comes back in two ways: as an [`AnomalySet`] that says what this very packet is part of,
//! for callers that drop, and as an [`Anomaly`] event, at most one per source and kind in each quiet time, for callers that
//! report or quarantine.
//!
//! A guest that spreads a scan over so many hosts that their places are taken from each other sweeps hosts, and one that
//! spreads over everything bursts with connections: each way of staying under one threshold leads over another. Slow scans
//! stay below all of them; that is what thresholds mean.

mod sketch;
mod watch;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use sketch::Seed;

use crate::limits::DETECT_SOURCES_MAX;
use crate::wire::Packet;
use watch::{Observation, Watch};

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

    /// Whether different things are counted, not all.
    fn is_distinct(self) -> bool {
        match self {
            Self::PortScan | Self::HostSweep | Self::ArpSweep => true,
            Self::SynFlood | Self::UdpFlood | Self::IcmpFlood | Self::ConnectionBurst => false,
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

    fn insert(&mut self, kind: AnomalyKind) {
        self.0 |= 1 << kind as u8;
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
    pub count: u32,
    /// The window, in milliseconds.
    pub window_ms: u32,
}

/// From when on something is an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// As many are still normal; for scans and sweeps at most 2,048.
    pub count_max: u32,
    /// Within this time, in milliseconds. Between half and all of it is looked at.
    pub window_ms: u32,
}

/// What is noticed. The defaults leave room for what busy servers do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectConfig {
    /// The thresholds; kinds without one are not watched.
    pub thresholds: BTreeMap<AnomalyKind, Threshold>,
    /// After an event, the time in milliseconds for which the source's further ones of that kind are not told.
    pub quiet_ms: u64,
    /// Random numbers, new for each start of the daemon.
    pub seed: Seed,
}

impl Default for DetectConfig {
    fn default() -> Self {
        let threshold = |count_max, window_ms| Threshold { count_max, window_ms };
        let thresholds = [
            (AnomalyKind::PortScan, threshold(50, 10_000)),
            (AnomalyKind::HostSweep, threshold(100, 10_000)),
            (AnomalyKind::ArpSweep, threshold(100, 10_000)),
            (AnomalyKind::SynFlood, threshold(5_000, 1_000)),
            (AnomalyKind::UdpFlood, threshold(500_000, 1_000)),
            (AnomalyKind::IcmpFlood, threshold(2_000, 1_000)),
            (AnomalyKind::ConnectionBurst, threshold(10_000, 1_000)),
        ];
        Self { thresholds: thresholds.into(), quiet_ms: 60_000, seed: Seed::default() }
    }
}

/// Why a configuration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectConfigError {
    /// The threshold of a scan or sweep is more than can be told apart.
    CountTooLarge(AnomalyKind),
    /// The window is shorter than 2 ms.
    WindowTooShort(AnomalyKind),
}

impl std::fmt::Display for DetectConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CountTooLarge(kind) => {
                write!(f, "{}: the count must be at most {}", kind.name(), sketch::DISTINCT_MAX)
            }
            Self::WindowTooShort(kind) => write!(f, "{}: the window must be at least 2 ms", kind.name()),
        }
    }
}

impl std::error::Error for DetectConfigError {}

/// A threshold, ready to be compared with.
#[derive(Clone, Copy, Debug)]
struct Limit {
    count_max: u32,
    /// For distinct things: the bits that `count_max` of them set.
    bit_count: u32,
    window_ms: u32,
}

/// All thresholds, by kind.
#[derive(Clone, Debug)]
struct Limits {
    by_kind: [Option<Limit>; AnomalyKind::ALL.len()],
    quiet_ms: u64,
}

impl Limits {
    fn of(&self, kind: AnomalyKind) -> Option<Limit> {
        self.by_kind[kind as usize]
    }
}

/// The watch over all sources of one worker.
#[derive(Debug)]
pub struct Detectors {
    limits: Limits,
    seed: Seed,
    sources: BTreeMap<u32, Box<Watch>>,
    unwatched_count: u64,
}

impl Detectors {
    /// A watch that has seen nothing yet.
    ///
    /// # Errors
    /// When a threshold cannot be kept.
    pub fn new(config: &DetectConfig) -> Result<Self, DetectConfigError> {
        Ok(Self { limits: limits(config)?, seed: config.seed, sources: BTreeMap::new(), unwatched_count: 0 })
    }

    /// Takes new thresholds; what was seen so far stays.
    ///
    /// # Errors
    /// When a threshold cannot be kept; the old ones stay.
    pub fn reconfigure(&mut self, config: &DetectConfig) -> Result<(), DetectConfigError> {
        self.limits = limits(config)?;
        Ok(())
    }

    /// Takes note of a packet that `source` sent and answers which anomalies it is part of. `opens_flow` says whether it
    /// is the first of a flow, or would be if it was let through. While a scan or sweep lasts, every new flow to its target is
    /// part of it, known ports and hosts included. New events are appended to `events`. `now_ms` is a
    /// monotonic time in milliseconds.
    pub fn observe(
        &mut self,
        source: u32,
        packet: &Packet<'_>,
        opens_flow: bool,
        now_ms: u64,
        events: &mut Vec<Anomaly>,
    ) -> AnomalySet {
        if self.sources.len() >= DETECT_SOURCES_MAX && !self.sources.contains_key(&source) {
            self.unwatched_count += 1;
            return AnomalySet::default();
        }
        let watch = self.sources.entry(source).or_default();
        let seen = Observation { source, limits: &self.limits, now_ms, seed: self.seed };
        watch.observe(&seen, packet, opens_flow, events)
    }

    /// Forgets a source whose port is gone.
    pub fn remove_source(&mut self, source: u32) {
        self.sources.remove(&source);
    }

    /// Packets of sources that found no room among the [`DETECT_SOURCES_MAX`].
    pub fn unwatched_count(&self) -> u64 {
        self.unwatched_count
    }
}

fn limits(config: &DetectConfig) -> Result<Limits, DetectConfigError> {
    let mut by_kind = [None; AnomalyKind::ALL.len()];
    for (kind, threshold) in &config.thresholds {
        if kind.is_distinct() && threshold.count_max > sketch::DISTINCT_MAX {
            return Err(DetectConfigError::CountTooLarge(*kind));
        }
        if threshold.window_ms < 2 {
            return Err(DetectConfigError::WindowTooShort(*kind));
        }
        by_kind[*kind as usize] = Some(Limit {
            count_max: threshold.count_max,
            bit_count: sketch::expected_bit_count(threshold.count_max),
            window_ms: threshold.window_ms,
        });
    }
    Ok(Limits { by_kind, quiet_ms: config.quiet_ms })
}
