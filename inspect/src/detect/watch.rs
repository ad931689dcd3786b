//! What one source did lately.

use std::net::IpAddr;

use super::sketch::{KeyedSets, Seed, SlidingCount, SlidingSet};
use super::{Anomaly, AnomalyKind, AnomalySet, Limit, Limits, Target};
use crate::limits::DETECT_TARGETS_PER_SOURCE;
use crate::wire::{ArpOperation, NeighbourKind, Packet, TcpFlags, Transport, icmp};

/// The sketches of one source.
#[derive(Debug, Default)]
pub(super) struct Watch {
    ports_of_host: KeyedSets<DETECT_TARGETS_PER_SOURCE>,
    hosts_of_service: KeyedSets<DETECT_TARGETS_PER_SOURCE>,
    neighbours: SlidingSet,
    counts: [SlidingCount; AnomalyKind::ALL.len()],
    /// When each anomaly may be told again, in milliseconds.
    quiet_until_ms: [u64; AnomalyKind::ALL.len()],
}

/// What is the same for all observations of a packet.
pub(super) struct Observation<'a> {
    pub(super) source: u32,
    pub(super) limits: &'a Limits,
    pub(super) now_ms: u64,
    pub(super) seed: Seed,
}

impl Watch {
    pub(super) fn observe(
        &mut self,
        seen: &Observation<'_>,
        packet: &Packet<'_>,
        opens_flow: bool,
        events: &mut Vec<Anomaly>,
    ) -> AnomalySet {
        let mut found = AnomalySet::default();
        if let Some(asked) = asked_for(packet) {
            self.neighbours(seen, asked, &mut found, events);
            return found;
        }
        match packet.headers().transport {
            Transport::Tcp if packet.tcp().is_some_and(|tcp| is_bare_syn(tcp.flags)) => {
                self.count(seen, AnomalyKind::SynFlood, packet.destination(), &mut found, events);
            }
            Transport::Udp => self.count(seen, AnomalyKind::UdpFlood, packet.destination(), &mut found, events),
            Transport::Icmp4 | Transport::Icmp6 => {
                self.count(seen, AnomalyKind::IcmpFlood, packet.destination(), &mut found, events);
            }
            Transport::Tcp | Transport::None | Transport::Other => {}
        }
        if opens_flow {
            self.count(seen, AnomalyKind::ConnectionBurst, packet.destination(), &mut found, events);
            self.contact(seen, packet, &mut found, events);
        }
        found
    }

    /// A first packet to a service of a host: a step of a scan or of a sweep.
    fn contact(
        &mut self,
        seen: &Observation<'_>,
        packet: &Packet<'_>,
        found: &mut AnomalySet,
        events: &mut Vec<Anomaly>,
    ) {
        let host = packet.destination();
        let is_echo_request =
            packet.icmp().is_some_and(|message| matches!(message.kind, icmp::ECHO_REQUEST | icmp::ECHO_REQUEST_V6));
        let has_ports = packet.destination_port() != 0;
        if !has_ports && !is_echo_request {
            return;
        }
        let service = u64::from(packet.headers().protocol) << 16 | u64::from(packet.destination_port());
        let (host_hash, service_hash) = (hash_address(seen.seed, host), seen.seed.hash(service, 0));
        if has_ports && let Some(limit) = seen.limits.of(AnomalyKind::PortScan) {
            let ports = self.ports_of_host.insert(host_hash, service_hash, seen.now_ms, limit.window_ms);
            if let Some(count) = exceeds(ports, limit) {
                self.tell(seen, AnomalyKind::PortScan, Target::Host(host), count, found, events);
            }
        }
        if let Some(limit) = seen.limits.of(AnomalyKind::HostSweep) {
            let hosts = self.hosts_of_service.insert(service_hash, host_hash, seen.now_ms, limit.window_ms);
            if let Some(count) = exceeds(hosts, limit) {
                let target = Target::Service { protocol: packet.headers().protocol, port: packet.destination_port() };
                self.tell(seen, AnomalyKind::HostSweep, target, count, found, events);
            }
        }
    }

    fn neighbours(&mut self, seen: &Observation<'_>, asked: IpAddr, found: &mut AnomalySet, events: &mut Vec<Anomaly>) {
        let Some(limit) = seen.limits.of(AnomalyKind::ArpSweep) else { return };
        self.neighbours.insert(hash_address(seen.seed, asked), seen.now_ms, limit.window_ms);
        if let Some(count) = exceeds(&self.neighbours, limit) {
            self.tell(seen, AnomalyKind::ArpSweep, Target::Host(asked), count, found, events);
        }
    }

    fn count(
        &mut self,
        seen: &Observation<'_>,
        kind: AnomalyKind,
        host: IpAddr,
        found: &mut AnomalySet,
        events: &mut Vec<Anomaly>,
    ) {
        let Some(limit) = seen.limits.of(kind) else { return };
        let count = self.counts[kind as usize].add(seen.now_ms, limit.window_ms);
        if count > limit.count_max {
            self.tell(seen, kind, Target::Host(host), count, found, events);
        }
    }

    /// Marks the packet as part of an anomaly; an event is made of it once per quiet time, so that a flood of packets is no
    /// flood of events.
    fn tell(
        &mut self,
        seen: &Observation<'_>,
        kind: AnomalyKind,
        target: Target,
        count: u32,
        found: &mut AnomalySet,
        events: &mut Vec<Anomaly>,
    ) {
        found.insert(kind);
        let quiet_until_ms = &mut self.quiet_until_ms[kind as usize];
        if seen.now_ms < *quiet_until_ms {
            return;
        }
        *quiet_until_ms = seen.now_ms.saturating_add(seen.limits.quiet_ms);
        let window_ms = seen.limits.of(kind).map_or(0, |limit| limit.window_ms);
        events.push(Anomaly { source: seen.source, kind, target, count, window_ms });
    }
}

/// How many different things are in a set that exceeds its limit. Known things count as much as new ones: in a set so
/// full that it exceeds, most new things look known.
fn exceeds(set: &SlidingSet, limit: Limit) -> Option<u32> {
    (set.bit_count() > limit.bit_count).then(|| set.distinct_count())
}

fn is_bare_syn(flags: TcpFlags) -> bool {
    flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK)
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
