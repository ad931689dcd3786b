//! Where frames are shown to the watch for scans and floods, and what becomes of ports that it puts in quarantine.
//!
//! Two places see all that counts. Right behind the parser, each burst is sorted once: questions for neighbours are shown one
//! by one, while SYNs, UDP and ICMP are only counted, and a count is added up per burst. That is before port security, so
//! what a guest floods with addresses that are not its own counts too. And where a flow is opened, or would be, its first
//! packet is shown, before policy is asked. A frame of a flow that is open costs the sorting, a few cycles, and nothing at
//! all when the configuration watches for nothing.

use inspect::detect::{Anomaly, AnomalyKind, AnomalySet, Excess, Watching};
use inspect::wire::Packet;

use super::decide::{Denied, Flows};
use super::report::{describe, event_about};
use super::{DropDetail, Pipeline, Sighted, Turn};
use crate::counters::WorkerCounters;
use crate::detect::{Detect, Response};
use crate::drop_reason::DropReason;
use crate::event::EventKind;
use crate::event_log::EventLog;
use crate::flow_table::TableKey;
use crate::frame::PortId;

/// The kinds that are counted by the burst.
const FLOODS: [AnomalyKind; 3] = [AnomalyKind::SynFlood, AnomalyKind::UdpFlood, AnomalyKind::IcmpFlood];

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// What a frame is to the watch. Fragments are of the kind that their datagram says.
enum Sort {
    /// It may ask for a neighbour's address.
    Neighbour,
    /// It counts for the flood with this place in [`FLOODS`].
    Flood(usize),
    Other,
}

#[inline(always)]
fn sort(packet: &Packet<'_>) -> Sort {
    match packet.headers().protocol {
        TCP if packet.is_bare_syn() => Sort::Flood(0),
        UDP => Sort::Flood(1),
        ICMP => Sort::Flood(2),
        ICMP_V6 => Sort::Neighbour,
        0 if packet.arp().is_some() => Sort::Neighbour,
        _ => Sort::Other,
    }
}

/// Shows the watch a packet that opens a flow, or would if it was let through, and tells what comes of it.
///
/// # Errors
/// It is part of an anomaly whose frames are dropped.
#[inline(always)]
pub(super) fn opening(
    turn: &Turn<'_>,
    packet: &Packet<'_>,
    key: &TableKey,
    hash: u64,
    from_low: bool,
    flows: &mut Flows<'_>,
) -> Result<(), Denied> {
    match &turn.generation.detect {
        Some(detect) => opening_watched(turn, detect, packet, (key, hash, from_low), flows),
        None => Ok(()),
    }
}

fn opening_watched(
    turn: &Turn<'_>,
    detect: &Detect,
    packet: &Packet<'_>,
    (key, hash, from_low): (&TableKey, u64, bool),
    flows: &mut Flows<'_>,
) -> Result<(), Denied> {
    // What is for everybody is several flows, and seeks nobody.
    let is_group = packet.destination_mac()[0] & 1 != 0;
    let Some(watching) = detect.watching(turn.ingress, turn.now_ms()).filter(|_| !is_group) else { return Ok(()) };
    if turn.generation.quarantines.holds(turn.ingress, turn.now_us) {
        // Since this burst began; what has been forgotten of the port must not be filled anew.
        return Err(DropReason::Quarantined.into());
    }
    let mut events = Vec::new();
    let found = watching.opens(packet, &mut events);
    if found.is_empty() {
        return Ok(());
    }
    let (_, low, high) = key.parts();
    let about = About { packet, egress: Some(if from_low { high } else { low }), flow_id: hash };
    match respond(turn, detect, &about, found, &events, (flows.log, flows.counters)) {
        Some(kind) => Err(Denied { reason: DropReason::Anomaly, decider: None, cause: Some(kind.name()) }),
        None => Ok(()),
    }
}

/// The packet that an event is about.
struct About<'a> {
    packet: &'a Packet<'a>,
    egress: Option<PortId>,
    flow_id: u64,
}

/// Does what the configuration wants done about anomalies that a packet is part of, and answers for which of them the packet
/// is to be dropped.
#[cold]
fn respond(
    turn: &Turn<'_>,
    detect: &Detect,
    about: &About<'_>,
    found: AnomalySet,
    events: &[Anomaly],
    (log, counters): (&mut EventLog, &WorkerCounters),
) -> Option<AnomalyKind> {
    let is_uplink = turn.generation.port(turn.ingress).is_some_and(|view| view.is_uplink);
    for anomaly in events {
        let response = detect.response(anomaly.kind, is_uplink);
        counters.anomalies[anomaly.kind as usize].add(1);
        if let Response::Quarantine { ms } = response
            && turn.generation.quarantines.begin(turn.ingress, anomaly.kind, turn.now_us, ms.saturating_mul(1_000))
        {
            // When it is let out it starts anew: neither is it put in again for what it did before, nor is it silent.
            detect.detectors().forget(anomaly.source);
        }
        let mut event = event_about(turn, EventKind::Anomaly(*anomaly, response));
        describe(&mut event, about.egress, about.packet);
        event.flow_id = about.flow_id;
        log.anomaly_event(event);
    }
    detect.stopped().first_common(found)
}

impl Pipeline {
    /// Looks which ports are in quarantine, and answers whether the turn's port is.
    #[inline(always)]
    pub(super) fn is_quarantined(&mut self, turn: &Turn<'_>) -> bool {
        let quarantines = &turn.generation.quarantines;
        self.is_quarantine = quarantines.is_any(turn.now_us);
        self.is_quarantine && quarantines.holds(turn.ingress, turn.now_us)
    }

    /// Shows the watch a burst. Answers the places of the frames that end here, as bits.
    #[inline(always)]
    pub(super) fn watch(&mut self, turn: &Turn<'_>, sighted: &Sighted<'_>) -> u32 {
        match &turn.generation.detect {
            Some(detect) => self.watch_burst(turn, detect, sighted),
            None => 0,
        }
    }

    fn watch_burst(&mut self, turn: &Turn<'_>, detect: &Detect, sighted: &Sighted<'_>) -> u32 {
        let Some(watching) = detect.watching(turn.ingress, turn.now_ms()) else { return 0 };
        let mut stopped = 0;
        let mut places = [0_u32; FLOODS.len()];
        for at in 0..sighted.frames.len() as u8 {
            let packet = sighted.candidate(at).packet();
            match sort(&packet) {
                Sort::Other => {}
                Sort::Flood(flood) => places[flood] |= 1 << at,
                Sort::Neighbour => match self.watch_question(turn, detect, &watching, &packet) {
                    Some(is_stopped) => stopped |= u32::from(is_stopped) << at,
                    // Of ICMPv6, the rest counts as ICMP.
                    None => places[2] |= u32::from(packet.arp().is_none()) << at,
                },
            }
        }
        for (kind, places) in FLOODS.into_iter().zip(places).filter(|(_, places)| *places != 0) {
            if let Some(excess) = watching.flood(kind, places.count_ones()) {
                stopped |= self.flooded(turn, (detect, &watching), kind, excess, places, sighted);
            }
        }
        stopped
    }

    /// Shows the watch a packet that may ask for a neighbour's address. Answers whether it ends here; `None` if it asks for
    /// nothing.
    #[cold]
    fn watch_question(
        &mut self,
        turn: &Turn<'_>,
        detect: &Detect,
        watching: &Watching<'_>,
        packet: &Packet<'_>,
    ) -> Option<bool> {
        let mut events = Vec::new();
        let found = watching.asks(packet, &mut events)?;
        if found.is_empty() {
            return Some(false);
        }
        let about = About { packet, egress: None, flow_id: 0 };
        let stopped = respond(turn, detect, &about, found, &events, (&mut self.log, &self.counters));
        Some(stopped.is_some_and(|kind| self.stop(turn, packet, kind)))
    }

    /// More packets of a kind came than may: the last of those at `places`. Answers which of them end here.
    #[cold]
    fn flooded(
        &mut self,
        turn: &Turn<'_>,
        (detect, watching): (&Detect, &Watching<'_>),
        kind: AnomalyKind,
        excess: Excess,
        places: u32,
        sighted: &Sighted<'_>,
    ) -> u32 {
        let mut over = places;
        for _ in excess.packets..places.count_ones() {
            over &= over - 1;
        }
        let first = sighted.candidate(over.trailing_zeros() as u8);
        let packet = first.packet();
        let mut events = Vec::new();
        watching.tell_flood(kind, excess, packet.destination(), &mut events);
        let mut found = AnomalySet::default();
        found.insert(kind);
        let about = About { packet: &packet, egress: None, flow_id: 0 };
        if respond(turn, detect, &about, found, &events, (&mut self.log, &self.counters)).is_none() {
            return 0;
        }
        for at in (0..u32::BITS as u8).filter(|at| over & 1 << at != 0) {
            self.stop(turn, &sighted.candidate(at).packet(), kind);
        }
        over
    }

    /// Ends a frame that is part of an anomaly.
    fn stop(&mut self, turn: &Turn<'_>, packet: &Packet<'_>, kind: AnomalyKind) -> bool {
        let detail = DropDetail { cause: Some(kind.name()), ..DropDetail::default() };
        self.end(turn, None, packet, DropReason::Anomaly, detail);
        true
    }
}
