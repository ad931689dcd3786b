//! What one source did lately.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::sketch::{KeyedSets, Seed, SlidingCount, SlidingSet};
use super::{Anomaly, AnomalyKind, AnomalySet, Limit, Target, Thresholds};
use crate::limits::DETECT_TARGETS_PER_SOURCE;
use crate::wire::{ArpOperation, NeighbourKind, Packet, icmp};

/// The sketches of one source.
#[derive(Debug, Default)]
pub(super) struct Watch {
    ports_of_host: KeyedSets<DETECT_TARGETS_PER_SOURCE>,
    hosts_of_service: KeyedSets<DETECT_TARGETS_PER_SOURCE>,
    neighbours: SlidingSet,
    kinds: [KindWatch; AnomalyKind::ALL.len()],
}

/// What there is for each kind.
#[derive(Debug, Default)]
struct KindWatch {
    count: SlidingCount,
    /// When an anomaly may be told again, in milliseconds.
    quiet_until_ms: AtomicU64,
    /// When a packet was part of one last, in milliseconds and plus one: 0 is never.
    last: AtomicU64,
    /// Packets that were part of one since the last event.
    suppressed: AtomicU64,
}

impl Watch {
    pub(super) fn clear(&self) {
        self.ports_of_host.clear();
        self.hosts_of_service.clear();
        self.neighbours.clear();
        for kind in &self.kinds {
            kind.count.clear();
            for cell in [&kind.quiet_until_ms, &kind.last, &kind.suppressed] {
                cell.store(0, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn last(&self, kind: AnomalyKind) -> Option<(u64, u64)> {
        let kind = &self.kinds[kind as usize];
        let last = kind.last.load(Ordering::Relaxed);
        (last != 0).then(|| (last - 1, kind.suppressed.load(Ordering::Relaxed)))
    }
}

/// How far a count is over its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// As many of the packets that were counted now are over it: the last ones.
    pub packets: u32,
    /// How many there are in the window.
    pub count: u64,
}

/// The watch over one source at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Watching<'a> {
    pub(super) watch: &'a Watch,
    pub(super) thresholds: &'a Thresholds,
    pub(super) seed: Seed,
    pub(super) source: u32,
    pub(super) now_ms: u64,
}

impl Watching<'_> {
    /// Takes note of `packets` packets for the count of a flood or burst; how far it is over the threshold now, if it is.
    /// What is over has to be shown to [`Watching::tell_flood`].
    #[inline]
    pub fn flood(&self, kind: AnomalyKind, packets: u32) -> Option<Excess> {
        let threshold = &self.thresholds.of(kind)?.threshold;
        let count = &self.watch.kinds[kind as usize].count;
        let count = count.add(u64::from(packets), self.now_ms, threshold.window_ms);
        let over = count.saturating_sub(u64::from(threshold.count_max)).min(u64::from(packets)) as u32;
        (over > 0).then_some(Excess { packets: over, count })
    }

    /// Notes what [`Watching::flood`] found to be over a threshold. The event, if it is time for one, is about `host`.
    pub fn tell_flood(&self, kind: AnomalyKind, excess: Excess, host: IpAddr, events: &mut Vec<Anomaly>) {
        let mut found = AnomalySet::default();
        self.tell(kind, Target::Host(host), excess.count, u64::from(excess.packets), &mut found, events);
    }

    /// Takes note of a packet that opens a flow, or would if it was let through, and answers which anomalies it is part of.
    /// While a scan or sweep lasts, every new flow to its target is part of it, known ports and hosts included. New events
    /// are appended to `events`.
    pub fn opens(&self, packet: &Packet<'_>, events: &mut Vec<Anomaly>) -> AnomalySet {
        let mut found = AnomalySet::default();
        let host = packet.destination();
        if let Some(excess) = self.flood(AnomalyKind::ConnectionBurst, 1) {
            self.tell(AnomalyKind::ConnectionBurst, Target::Host(host), excess.count, 1, &mut found, events);
        }
        let is_echo_request =
            packet.icmp().is_some_and(|message| matches!(message.kind, icmp::ECHO_REQUEST | icmp::ECHO_REQUEST_V6));
        let has_ports = packet.destination_port() != 0;
        if !has_ports && !is_echo_request {
            return found;
        }
        let (protocol, port) = (packet.headers().protocol, packet.destination_port());
        let service_hash = self.seed.hash(u64::from(protocol) << 16 | u64::from(port), 0);
        let host_hash = hash_address(self.seed, host);
        if has_ports && let Some(limit) = self.thresholds.of(AnomalyKind::PortScan) {
            let window_ms = limit.threshold.window_ms;
            let ports = self.watch.ports_of_host.insert(host_hash, service_hash, self.now_ms, window_ms);
            if let Some(count) = exceeds(ports, limit) {
                self.tell(AnomalyKind::PortScan, Target::Host(host), count, 1, &mut found, events);
            }
        }
        if let Some(limit) = self.thresholds.of(AnomalyKind::HostSweep) {
            let window_ms = limit.threshold.window_ms;
            let hosts = self.watch.hosts_of_service.insert(service_hash, host_hash, self.now_ms, window_ms);
            if let Some(count) = exceeds(hosts, limit) {
                self.tell(AnomalyKind::HostSweep, Target::Service { protocol, port }, count, 1, &mut found, events);
            }
        }
        found
    }

    /// Takes note of a packet if it asks for a neighbour's address, by ARP or neighbour solicitation, and answers which
    /// anomalies it is part of; `None` if it asks for none.
    pub fn asks(&self, packet: &Packet<'_>, events: &mut Vec<Anomaly>) -> Option<AnomalySet> {
        let asked = asked_for(packet)?;
        let mut found = AnomalySet::default();
        if let Some(limit) = self.thresholds.of(AnomalyKind::ArpSweep) {
            let neighbours = &self.watch.neighbours;
            neighbours.insert(hash_address(self.seed, asked), self.now_ms, limit.threshold.window_ms);
            if let Some(count) = exceeds(neighbours, limit) {
                self.tell(AnomalyKind::ArpSweep, Target::Host(asked), count, 1, &mut found, events);
            }
        }
        Some(found)
    }

    /// Marks packets as part of an anomaly; an event is made of them once per quiet time, so that a flood of packets is no
    /// flood of events.
    #[cold]
    fn tell(
        &self,
        kind: AnomalyKind,
        target: Target,
        count: u64,
        packets: u64,
        found: &mut AnomalySet,
        events: &mut Vec<Anomaly>,
    ) {
        found.insert(kind);
        let (Some(Limit { threshold, .. }), of_kind) = (self.thresholds.of(kind), &self.watch.kinds[kind as usize])
        else {
            return;
        };
        of_kind.last.store(self.now_ms + 1, Ordering::Relaxed);
        let quiet_until_ms = of_kind.quiet_until_ms.load(Ordering::Relaxed);
        let next_ms = self.now_ms.saturating_add(threshold.quiet_ms);
        // Of several workers one tells.
        let is_due = self.now_ms >= quiet_until_ms
            && of_kind
                .quiet_until_ms
                .compare_exchange(quiet_until_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if !is_due {
            of_kind.suppressed.fetch_add(packets, Ordering::Relaxed);
            return;
        }
        let suppressed = of_kind.suppressed.swap(packets - 1, Ordering::Relaxed);
        let (count_max, window_ms) = (threshold.count_max, threshold.window_ms);
        events.push(Anomaly { source: self.source, kind, target, count, count_max, window_ms, suppressed });
    }
}

/// How many different things are in a set that exceeds its limit. Known things count as much as new ones: in a set so
/// full that it exceeds, most new things look known.
fn exceeds(set: &SlidingSet, limit: &Limit) -> Option<u64> {
    (set.bit_count() > limit.bit_count).then(|| set.distinct_count())
}

/// The address that an ARP request or a neighbour solicitation asks for; announcements of one's own address ask nothing.
fn asked_for(packet: &Packet<'_>) -> Option<IpAddr> {
    if let Some(arp) = packet.arp() {
        let is_question = arp.operation == ArpOperation::Request && arp.sender_address != arp.target_address;
        return is_question.then_some(arp.target_address.into());
    }
    let solicitation = packet.neighbour().filter(|view| view.kind == NeighbourKind::NeighbourSolicitation)?;
    solicitation.target.map(IpAddr::from)
}

fn hash_address(seed: Seed, address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => seed.hash(u32::from(v4).into(), 4),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            seed.hash(seed.hash(bits as u64, 6), (bits >> 64) as u64)
        }
    }
}
