//! What is kept of flows for the records of their ends: counts beside the flow table, and the flows that have ended since the
//! log was told last.
//!
//! An entry of the flow table is one cache line with no room for counts, so these stand in an array of their own, which is there
//! only when `flow` records are wanted: 32 bytes per place of the table, touched once per packet.

use inspect::inspector::{self, Direction, FlowSlot, FlowView, Inspector};
use inspect::record::Note;
use inspect::wire::Packet;
use zones::policy::FlowFacts;

use super::decide::facts_again;
use super::report::{event_about, tell_note};
use super::{Pipeline, Turn};
use crate::eve::settings::EventType;
use crate::event::{Event, EventKind, FlowEnd, Tuple};
use crate::flow_table::{EndedFlow, FlowState};

/// Why a flow left the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It was silent for its time, or had to make room for another: its own time says which.
    TimeOrRoom,
    /// A new connection between the same ends took its place.
    Reopened,
    /// Policy has changed and allows it no more.
    Policy,
    /// The switch stops.
    Shutdown,
}

impl Why {
    /// Suricata's word for it.
    fn word(self, flow: &EndedFlow, now_ms: u64) -> &'static str {
        match self {
            Why::TimeOrRoom if flow.is_expired(now_ms) => "timeout",
            Why::TimeOrRoom | Why::Policy => "forced",
            Why::Reopened => "tcp_reuse",
            Why::Shutdown => "shutdown",
        }
    }
}

/// The counts of one flow; by direction, `Direction as usize`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
struct Meter {
    bytes: [u64; 2],
    packets: [u32; 2],
    last_ms: u32,
    tcp_flags: [u8; 2],
    has_alert: bool,
}

const _: () = assert!(size_of::<Meter>() == 32);

/// A flow that has ended, and what was known of it.
#[derive(Debug)]
struct Ended {
    flow: EndedFlow,
    why: Why,
    meter: Meter,
    /// To inspection.
    known: inspector::Ended,
    notes: Vec<Note>,
}

/// What there is to tell of flows that end.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// By place in the flow table; empty when no records of flows are wanted.
    meters: Box<[Meter]>,
    ended: Vec<Ended>,
}

impl Journal {
    /// A journal for a flow table with so many places; it counts if records of flows are wanted.
    pub(super) fn new(places: usize, wants_flows: bool) -> Self {
        let places = if wants_flows { places } else { 0 };
        Self { meters: vec![Meter::default(); places].into_boxed_slice(), ended: Vec::new() }
    }

    /// Whether packets are to be shown to it.
    #[inline(always)]
    pub(super) fn counts(&self) -> bool {
        !self.meters.is_empty()
    }

    /// Counts a packet of a flow.
    pub(super) fn count(&mut self, view: &FlowView, packet: &Packet<'_>, now_ms: u64) {
        let Some(meter) = view.slot.and_then(|slot| self.meters.get_mut(slot.0 as usize)) else { return };
        if view.is_first {
            *meter = Meter::default();
        }
        let side = view.direction as usize;
        meter.bytes[side] += packet.frame().len() as u64;
        meter.packets[side] = meter.packets[side].saturating_add(1);
        meter.last_ms = now_ms as u32;
        if let Some(tcp) = packet.tcp() {
            meter.tcp_flags[side] |= tcp.flags.0;
        }
    }

    /// An alert was raised in the flow.
    pub(super) fn alerted(&mut self, slot: Option<FlowSlot>) {
        if let Some(meter) = slot.and_then(|slot| self.meters.get_mut(slot.0 as usize)) {
            meter.has_alert = true;
        }
    }

    /// A flow has left the table: inspection forgets it, and what is to be told of it is kept until
    /// [`Pipeline::report_ended`].
    pub(super) fn flow_ended(&mut self, flow: &EndedFlow, why: Why, inspector: &mut Inspector) {
        let meter = self.meters.get(flow.id.0 as usize).copied();
        let known = inspector.flow_ended(FlowSlot(flow.id.0));
        if meter.is_some() || inspector.has_notes() {
            let notes = inspector.take_notes().collect();
            let meter = meter.unwrap_or_default();
            self.ended.push(Ended { flow: *flow, why, meter, known, notes });
        }
    }

    /// Whether there is anything to tell.
    #[inline(always)]
    pub(super) fn has_news(&self) -> bool {
        !self.ended.is_empty()
    }
}

impl Pipeline {
    /// Tells the log of flows that have ended.
    #[cold]
    pub(super) fn report_ended(&mut self, turn: &Turn<'_>) {
        for Ended { flow, why, meter, known, notes } in std::mem::take(&mut self.journal.ended) {
            let mut base = event_about(turn, EventKind::Flow(Box::default()));
            let facts = facts_again(&flow.key, flow.originator_is_low);
            (base.from, base.to, base.tuple) = (facts.from, Some(facts.to), Some(tuple_of(&facts)));
            base.flow_id = self.flows.hash(&flow.key);
            for note in notes {
                let event = Event { kind: EventKind::Note(note), ..base.clone() };
                tell_note(&mut self.log, turn, event, Direction::ToServer);
            }
            if !self.journal.counts() {
                continue;
            }
            let now_ms = turn.now_ms();
            let ago_us = |at_ms: u32| u64::from((now_ms as u32).wrapping_sub(at_ms)) * 1_000;
            let is_own = flow.generation == turn.generation.number;
            base.kind = EventKind::Flow(Box::new(FlowEnd {
                summary: known.summary,
                packets: meter.packets,
                bytes: meter.bytes,
                began_us: turn.now_us.saturating_sub(ago_us(flow.opened_ms)),
                last_us: turn.now_us.saturating_sub(ago_us(meter.last_ms)),
                state: Some(flow.state),
                reason: why.word(&flow, now_ms),
                has_alert: meter.has_alert,
                is_refused: known.is_refused || flow.state == FlowState::Refused,
                is_passed: known.is_passed,
                tcp: flow.tcp.map(|phase| (meter.tcp_flags, phase)),
                decider: is_own.then_some(flow.decider),
            }));
            let kind = (base.from, base.to, flow.key.protocol);
            self.log.record(EventType::Flow, kind, turn.now_us, || base);
        }
    }

    /// Ends all flows, because the switch stops, and tells the log what is still to be told.
    pub fn finish(&mut self, turn: &Turn<'_>) {
        let Self { flows, inspection, journal, counters, .. } = self;
        let mut ended = 0;
        flows.end_all(&mut |flow| {
            journal.flow_ended(flow, Why::Shutdown, inspection.inspector());
            ended += 1;
        });
        counters.flows_ended.add(ended);
        self.report_ended(turn);
        self.log.flush(u64::MAX);
        self.count_events();
    }
}

/// The addresses of a flow, its originator's first.
fn tuple_of(facts: &FlowFacts) -> Tuple {
    let [kind, code] = facts.destination_port.to_be_bytes();
    let (source_port, destination_port) = match facts.protocol {
        1 | 58 => (u16::from(kind), u16::from(code)),
        _ => (facts.source_port, facts.destination_port),
    };
    Tuple {
        source: facts.source,
        destination: facts.destination,
        protocol: facts.protocol,
        source_port,
        destination_port,
    }
}
