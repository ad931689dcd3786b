//! The stateful stage: which flow a packet belongs to, and whether policy lets it be.
//!
//! Policy decides when a flow starts. The decision is kept in the flow with its generation, and made anew for the first packet
//! after a generation changed, so that a narrower policy reaches flows that are already open.

use std::net::IpAddr;

use inspect::flow_key::{FlowKey, Way};
use inspect::inspector::{Direction, FlowSlot, FlowView, Inspector};
use inspect::stream::tcp_state::{TcpRefused, Transition};
use inspect::wire::{Packet, Transport};
use zones::policy::{DeciderId, Decision, FlowFacts};

use super::begin::{Begun, PICKED_UP_TIMEOUT_MS, begin};
use super::journal::{Journal, Why};
use super::{Turn, detect};
use crate::counters::WorkerCounters;
use crate::drop_reason::DropReason;
use crate::event_log::EventLog;
use crate::flow_table::{FlowId, FlowRefused, FlowState, FlowTable, TableKey, Usual};
use crate::frame::PortId;
use crate::inspection::Candidate;

/// A packet that policy lets go on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted {
    /// What inspection is told of the flow.
    pub(super) view: FlowView,
    /// What of the policy let it.
    pub(super) decider: Option<DeciderId>,
}

/// A packet that ends here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Denied {
    /// Why.
    pub(super) reason: DropReason,
    /// What of the policy decided, for [`DropReason::Policy`].
    pub(super) decider: Option<DeciderId>,
    /// What was wrong, in a word, where the reason leaves that open.
    pub(super) cause: Option<&'static str>,
}

impl Denied {
    #[cold]
    fn by_policy(decider: DeciderId) -> Self {
        Self { reason: DropReason::Policy, decider: Some(decider), cause: None }
    }

    #[cold]
    pub(super) fn by_tcp(reason: DropReason, refused: TcpRefused) -> Self {
        Self { reason, decider: None, cause: Some(refused.name()) }
    }
}

impl From<DropReason> for Denied {
    #[cold]
    fn from(reason: DropReason) -> Self {
        Self { reason, decider: None, cause: None }
    }
}

/// What a packet is to this stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A packet of the flow with the key beside it; the flag says whether it goes from the key's low end.
    Flow { from_low: bool },
    /// Address resolution: no flow.
    Resolution,
    /// An ICMP error about the flow with the key beside it.
    Error,
    /// An ICMP error that quotes nothing usable.
    ErrorAboutNothing,
    /// A fragment that stands alone.
    Fragment,
}

/// A subject with its key and the key's hash, which mean nothing where there is no flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed {
    pub(super) subject: Subject,
    pub(super) key: TableKey,
    pub(super) hash: u64,
    /// Where the flow table has it, as far as that is known yet.
    pub(super) place: u32,
}

impl Keyed {
    /// To be written over by [`key`].
    pub(super) const NONE: Self = Self { subject: Subject::Resolution, key: TableKey::ZERO, hash: 0, place: 0 };
}

/// Finds what any packet that goes from the turn's port to `egress` is to this stage.
pub(super) fn key(turn: &Turn<'_>, packet: &Packet<'_>, egress: PortId, flows: &FlowTable, into: &mut Keyed) {
    *into = Keyed::NONE;
    if packet.headers().fragment.is_some() {
        into.subject = Subject::Fragment;
        return;
    }
    let Some((key, way)) = FlowKey::of(packet).filter(|_| packet.neighbour().is_none()) else { return };
    if packet.is_icmp_error() {
        let Some((quoted, quoted_way)) = packet.quoted_flow() else {
            into.subject = Subject::ErrorAboutNothing;
            return;
        };
        // The quoted packet went the other way between the same two ports.
        into.subject = Subject::Error;
        into.key = TableKey::new(&quoted, quoted_way, egress, turn.ingress);
    } else {
        into.subject = Subject::Flow { from_low: way == Way::LowToHigh };
        into.key = TableKey::new(&key, way, turn.ingress, egress);
    }
    into.hash = flows.hash(&into.key);
}

/// The flow table and whoever must hear of flows that come and go.
pub(super) struct Flows<'a> {
    pub(super) table: &'a mut FlowTable,
    pub(super) inspector: &'a mut Inspector,
    pub(super) counters: &'a WorkerCounters,
    pub(super) log: &'a mut EventLog,
    pub(super) journal: &'a mut Journal,
}

impl Flows<'_> {
    #[cold]
    fn end(&mut self, id: FlowId, why: Why) {
        let (inspector, counters, journal) = (&mut *self.inspector, self.counters, &mut *self.journal);
        self.table.end(id, &mut |flow| {
            journal.flow_ended(flow, why, inspector);
            counters.flows_ended.add(1);
        });
    }

    fn open(&mut self, key: &TableKey, hash: u64, from_low: bool, now_ms: u64) -> Result<FlowId, DropReason> {
        let (inspector, counters, journal) = (&mut *self.inspector, self.counters, &mut *self.journal);
        let opened = self.table.open(key, hash, from_low, now_ms, &mut |flow| {
            journal.flow_ended(flow, Why::TimeOrRoom, inspector);
            counters.flows_ended.add(1);
        });
        match opened {
            Ok(id) => {
                self.counters.flows_opened.add(1);
                Ok(id)
            }
            Err(FlowRefused::Full) => Err(DropReason::FlowTableFull),
            Err(FlowRefused::Quota) => Err(DropReason::FlowQuota),
        }
    }
}

/// Takes note of a packet in the usual course of its flow, and writes what is known of it; `false` for all others,
/// which are for [`decide`]. (An option of a structure would be put together in memory.)
#[inline(always)]
pub(super) fn usual<'batch>(
    (generation, now_ms): (u32, u64),
    candidate: &impl Fn() -> Candidate<'batch>,
    keyed: &Keyed,
    flows: &mut FlowTable,
    into: &mut Usual,
) -> bool {
    let Subject::Flow { from_low } = keyed.subject else { return false };
    let segment = || {
        let packet = candidate().packet();
        packet.tcp().map(|segment| (segment, packet.payload().len()))
    };
    flows.usual((&keyed.key, keyed.hash, keyed.place), from_low, generation, now_ms, segment, into)
}

/// What inspection is told of the flow of such a packet.
#[inline(always)]
pub(super) fn usual_view(usual: &Usual) -> FlowView {
    let direction = if usual.from_responder { Direction::ToClient } else { Direction::ToServer };
    FlowView { slot: Some(FlowSlot(usual.id.0)), direction, established: usual.is_established, is_first: false }
}

/// Decides about one packet.
///
/// # Errors
/// Why it ends here.
#[inline(always)]
pub(super) fn decide(
    turn: &Turn<'_>,
    packet: &Packet<'_>,
    egress: PortId,
    keyed: &Keyed,
    flows: &mut Flows<'_>,
) -> Result<Admitted, Denied> {
    let Keyed { subject, key, hash, .. } = keyed;
    match *subject {
        Subject::Flow { from_low } => decide_flow(turn, packet, key, *hash, from_low, flows),
        Subject::Resolution if turn.generation.policy.may_talk(turn.ingress, egress) => Ok(WITHOUT_FLOW),
        Subject::Resolution => Err(DropReason::NeighbourIsolated.into()),
        Subject::Error => related(turn, key, *hash, flows),
        Subject::ErrorAboutNothing => Err(DropReason::IcmpUnrelated.into()),
        Subject::Fragment => Err(DropReason::Fragment.into()),
    }
}

const WITHOUT_FLOW: Admitted = Admitted {
    view: FlowView { slot: None, direction: Direction::ToServer, established: false, is_first: false },
    decider: None,
};

#[inline(always)]
fn decide_flow(
    turn: &Turn<'_>,
    packet: &Packet<'_>,
    key: &TableKey,
    hash: u64,
    from_low: bool,
    flows: &mut Flows<'_>,
) -> Result<Admitted, Denied> {
    let now_ms = turn.now_ms();
    let Some(id) = flows.table.find(key, hash) else {
        return open(turn, packet, key, hash, from_low, flows);
    };
    if flows.table.is_expired(id, now_ms) {
        flows.end(id, Why::TimeOrRoom);
        return open(turn, packet, key, hash, from_low, flows);
    }
    let flow = flows.table.flow(id);
    if flow.state == FlowState::Refused {
        return Err(DropReason::FlowRefused.into());
    }
    let decider = if flow.generation == turn.generation.number {
        DeciderId(flow.decider)
    } else {
        redecide(turn, key, flow.originator_is_low, id, flows)?
    };
    let from_responder = from_low != flow.originator_is_low;
    let direction = if from_responder { Direction::ToClient } else { Direction::ToServer };
    let established = match packet.headers().transport {
        Transport::Tcp => match follow(packet, id, direction, now_ms, flows)? {
            Some(established) => established,
            None => {
                flows.end(id, Why::Reopened);
                return open(turn, packet, key, hash, from_low, flows);
            }
        },
        transport @ (Transport::Udp | Transport::Icmp4 | Transport::Icmp6 | Transport::Other | Transport::None) => {
            let is_icmp = matches!(transport, Transport::Icmp4 | Transport::Icmp6);
            flows.table.seen(id, from_responder, is_icmp, now_ms);
            flow.state == FlowState::Open || from_responder
        }
    };
    let view = FlowView { slot: Some(FlowSlot(id.0)), direction, established, is_first: false };
    Ok(Admitted { view, decider: Some(decider) })
}

/// Follows a TCP connection by one segment. Answers whether it is established, or `None` for a SYN that opens a new one in
/// its place.
fn follow(
    packet: &Packet<'_>,
    id: FlowId,
    direction: Direction,
    now_ms: u64,
    flows: &mut Flows<'_>,
) -> Result<Option<bool>, Denied> {
    let (Some(segment), Some(state)) = (packet.tcp(), flows.table.tcp(id)) else {
        return Err(DropReason::TcpState.into());
    };
    match state.on_segment(direction, &segment, packet.payload().len()) {
        Ok(Transition::Unchanged | Transition::Entered(_)) => {
            let (phase, established) = (state.phase(), state.is_established());
            flows.table.tcp_seen(id, FlowState::reached_by(phase), phase.timeout_ms() as u32, now_ms);
            Ok(Some(established))
        }
        Ok(Transition::Reopen) => Ok(None),
        Err(refused) => Err(Denied::by_tcp(DropReason::TcpState, refused)),
    }
}

/// Opens a flow if its first packet may open one and policy allows it.
fn open(
    turn: &Turn<'_>,
    packet: &Packet<'_>,
    key: &TableKey,
    hash: u64,
    from_low: bool,
    flows: &mut Flows<'_>,
) -> Result<Admitted, Denied> {
    let facts = facts_of(turn, packet, key, from_low);
    let tcp = begin(turn, packet, facts.from, facts.to)?;
    if packet.icmp().is_some_and(|icmp| is_icmp_answer(packet.headers().transport, icmp.kind)) {
        return Err(DropReason::NotOpened.into());
    }
    // Before policy: a scan is mostly made of what policy denies.
    detect::opening(turn, packet, key, hash, from_low, flows)?;
    let decider = match turn.generation.policy.decide(&facts) {
        Decision::Allow(decider) => decider,
        Decision::Deny(decider) => {
            return Err(Denied::by_policy(decider));
        }
    };
    let id = flows.open(key, hash, from_low, turn.now_ms())?;
    flows.table.decided(id, turn.generation.number, decider.0);
    if let Some(Begun { state, is_picked_up }) = tcp {
        flows.table.attach_tcp(id, state, turn.now_ms());
        if is_picked_up {
            flows.table.tcp_seen(id, FlowState::HalfOpen, PICKED_UP_TIMEOUT_MS, turn.now_ms());
        }
    }
    let established = tcp.is_some_and(|begun| begun.state.is_established());
    let view = FlowView { slot: Some(FlowSlot(id.0)), direction: Direction::ToServer, established, is_first: true };
    Ok(Admitted { view, decider: Some(decider) })
}

/// Whether an ICMP message only ever answers another one: it opens no flow.
fn is_icmp_answer(transport: Transport, kind: u8) -> bool {
    match transport {
        Transport::Icmp4 => matches!(kind, 0 | 5 | 14 | 16 | 18),
        Transport::Icmp6 => matches!(kind, 129 | 140),
        Transport::None | Transport::Tcp | Transport::Udp | Transport::Other => false,
    }
}

fn facts_of(turn: &Turn<'_>, packet: &Packet<'_>, key: &TableKey, from_low: bool) -> FlowFacts {
    let (_, low, high) = key.parts();
    let (from, to) = if from_low { (low, high) } else { (high, low) };
    debug_assert_eq!(from, turn.ingress);
    let destination_port = match packet.icmp() {
        Some(icmp) => u16::from_be_bytes([icmp.kind, icmp.code]),
        None => packet.destination_port(),
    };
    FlowFacts {
        from,
        to,
        source: packet.source(),
        destination: packet.destination(),
        protocol: packet.headers().protocol,
        source_port: packet.source_port(),
        destination_port,
    }
}

/// Asks the policy again about a flow that was decided under another generation.
fn redecide(
    turn: &Turn<'_>,
    key: &TableKey,
    originator_is_low: bool,
    id: FlowId,
    flows: &mut Flows<'_>,
) -> Result<DeciderId, Denied> {
    match turn.generation.policy.decide(&facts_again(key, originator_is_low)) {
        Decision::Allow(decider) => {
            flows.table.decided(id, turn.generation.number, decider.0);
            Ok(decider)
        }
        Decision::Deny(decider) => {
            flows.end(id, Why::Policy);
            Err(Denied::by_policy(decider))
        }
    }
}

/// The facts that a flow was opened with, from its key.
pub(super) fn facts_again(key: &TableKey, originator_is_low: bool) -> FlowFacts {
    let (key, low, high) = key.parts();
    let low_end = (low, address(key.low_address), key.low_port);
    let high_end = (high, address(key.high_address), key.high_port);
    let (originator, responder) = if originator_is_low { (low_end, high_end) } else { (high_end, low_end) };
    let (source_port, destination_port) = match key.protocol {
        ICMP if key.low_port == key.high_port => (0, ECHO_REQUEST_V4),
        ICMP_V6 if key.low_port == key.high_port => (0, ECHO_REQUEST_V6),
        ICMP | ICMP_V6 => (0, key.low_port),
        _ => (originator.2, responder.2),
    };
    FlowFacts {
        from: originator.0,
        to: responder.0,
        source: originator.1,
        destination: responder.1,
        protocol: key.protocol,
        source_port,
        destination_port,
    }
}

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
const ECHO_REQUEST_V4: u16 = 8 << 8;
const ECHO_REQUEST_V6: u16 = 128 << 8;

fn address(bytes: [u8; 16]) -> IpAddr {
    IpAddr::from(bytes).to_canonical()
}

/// Admits an ICMP error that belongs to a flow which policy still allows.
fn related(turn: &Turn<'_>, key: &TableKey, hash: u64, flows: &mut Flows<'_>) -> Result<Admitted, Denied> {
    let unrelated = Denied::from(DropReason::IcmpUnrelated);
    let id = flows.table.find(key, hash).ok_or(unrelated)?;
    let flow = flows.table.flow(id);
    if flows.table.is_expired(id, turn.now_ms()) || flow.state == FlowState::Refused {
        return Err(unrelated);
    }
    let decider = if flow.generation == turn.generation.number {
        DeciderId(flow.decider)
    } else {
        redecide(turn, key, flow.originator_is_low, id, flows)?
    };
    Ok(Admitted { decider: Some(decider), ..WITHOUT_FLOW })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_of_a_flow_can_be_told_from_its_key() {
        let (source, destination) = (IpAddr::from([10, 0, 0, 9]), IpAddr::from([10, 0, 0, 2]));
        let (key, way) = FlowKey::between(source, 40_000, destination, 443, 6);
        let table_key = TableKey::new(&key, way, PortId(4), PortId(7));
        let facts = facts_again(&table_key, way == Way::LowToHigh);
        let expected = FlowFacts {
            from: PortId(4),
            to: PortId(7),
            source,
            destination,
            protocol: 6,
            source_port: 40_000,
            destination_port: 443,
        };
        assert_eq!(facts, expected);
    }
}
