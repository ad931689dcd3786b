//! Ports in quarantine: for a time they neither send nor receive.
//!
//! Workers put ports in, main lets them out, and every worker looks once per burst at a few words of memory that all of them
//! share. A quarantine has an end from its start on, so nobody has to wake up to end it. It is no part of a generation, so a
//! reload keeps it, unless the reload removes the port.
//!
//! Both ways are closed, for a guest that was taken over must not be told what to do next either.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use inspect::detect::AnomalyKind;

use crate::counters::PORTS_MAX;
use crate::frame::PortId;

/// One port's quarantine.
#[derive(Debug, Default)]
struct Cell {
    /// When it ends, in microseconds on the workers' clock; 0 if there is none.
    until_us: AtomicU64,
    /// Index of the kind of anomaly that brought it about.
    kind: AtomicU8,
    /// Quarantines of the port so far.
    count: AtomicU64,
}

/// The quarantines of all ports.
#[derive(Debug)]
pub struct Quarantines {
    ports: Box<[Cell]>,
    /// When the last of them ends at the latest; most of the time this is in the past and all that is looked at.
    latest_us: AtomicU64,
}

impl Default for Quarantines {
    fn default() -> Self {
        Self { ports: (0..PORTS_MAX).map(|_| Cell::default()).collect(), latest_us: AtomicU64::new(0) }
    }
}

/// A quarantine that is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// What brought it about.
    pub kind: AnomalyKind,
    /// When it ends, in microseconds on the workers' clock.
    pub until_us: u64,
}

impl Quarantine {
    /// Seconds until it ends by itself, of which the last counts whole.
    pub fn left_s(&self, now_us: u64) -> u64 {
        self.until_us.saturating_sub(now_us).div_ceil(1_000_000)
    }
}

impl Quarantines {
    /// Whether any port may be in quarantine; asked once per burst.
    #[inline(always)]
    pub fn is_any(&self, now_us: u64) -> bool {
        now_us < self.latest_us.load(Ordering::Acquire)
    }

    /// Whether a port is in quarantine.
    pub fn holds(&self, port: PortId, now_us: u64) -> bool {
        self.ports.get(port.index()).is_some_and(|cell| now_us < cell.until_us.load(Ordering::Acquire))
    }

    /// Puts a port in quarantine for a time in microseconds. Answers whether it was not in one; one that is in force stays as
    /// it is.
    pub fn begin(&self, port: PortId, kind: AnomalyKind, now_us: u64, duration_us: u64) -> bool {
        let Some(cell) = self.ports.get(port.index()) else { return false };
        let before_us = cell.until_us.load(Ordering::Acquire);
        let until_us = now_us.saturating_add(duration_us);
        // Of several workers that find the same anomaly, one puts the port in.
        if now_us < before_us
            || cell.until_us.compare_exchange(before_us, until_us, Ordering::AcqRel, Ordering::Acquire).is_err()
        {
            return false;
        }
        cell.kind.store(kind as u8, Ordering::Relaxed);
        cell.count.fetch_add(1, Ordering::Relaxed);
        self.latest_us.fetch_max(until_us, Ordering::AcqRel);
        true
    }

    /// Lets a port out before its time. Answers whether it was in quarantine.
    pub fn end(&self, port: PortId, now_us: u64) -> bool {
        self.ports.get(port.index()).is_some_and(|cell| now_us < cell.until_us.swap(0, Ordering::AcqRel))
    }

    /// The quarantine that a port is in.
    pub fn of(&self, port: PortId, now_us: u64) -> Option<Quarantine> {
        let cell = self.ports.get(port.index())?;
        let until_us = cell.until_us.load(Ordering::Acquire);
        let kind = *AnomalyKind::ALL.get(usize::from(cell.kind.load(Ordering::Relaxed)))?;
        (now_us < until_us).then_some(Quarantine { kind, until_us })
    }

    /// How often a port was put in quarantine since the switch started.
    pub fn count(&self, port: PortId) -> u64 {
        self.ports.get(port.index()).map_or(0, |cell| cell.count.load(Ordering::Relaxed))
    }

    /// All quarantines that are in force, by port.
    pub fn in_force(&self, now_us: u64) -> impl Iterator<Item = (PortId, Quarantine)> {
        let ports = (0..self.ports.len() as u16).map(PortId);
        ports.filter_map(move |port| Some((port, self.of(port, now_us)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCAN: AnomalyKind = AnomalyKind::PortScan;

    #[test]
    fn a_quarantine_begins_once_and_ends_by_time_or_by_hand() {
        let quarantines = Quarantines::default();
        let port = PortId(3);
        assert!(!quarantines.is_any(10) && !quarantines.holds(port, 10) && !quarantines.end(port, 10));
        assert!(quarantines.begin(port, SCAN, 10, 100));
        assert!(!quarantines.begin(port, AnomalyKind::SynFlood, 20, 100), "it is in one already");
        assert_eq!(quarantines.of(port, 109), Some(Quarantine { kind: SCAN, until_us: 110 }));
        assert_eq!(quarantines.of(port, 109).map(|quarantine| quarantine.left_s(109)), Some(1));
        assert!(quarantines.is_any(109) && quarantines.holds(port, 109) && !quarantines.holds(PortId(4), 109));
        assert_eq!(quarantines.in_force(109).map(|(port, _)| port).collect::<Vec<_>>(), [port]);
        assert!(!quarantines.is_any(110) && !quarantines.holds(port, 110));
        assert_eq!((quarantines.in_force(110).count(), quarantines.of(port, 110)), (0, None));

        assert!(quarantines.begin(port, AnomalyKind::SynFlood, 200, 100));
        assert!(quarantines.end(port, 250) && !quarantines.end(port, 250));
        assert!(!quarantines.holds(port, 250));
        assert_eq!(quarantines.count(port), 2);
        assert!(!quarantines.begin(PortId(PORTS_MAX as u16), SCAN, 0, 1), "there is no such port");
    }
}
