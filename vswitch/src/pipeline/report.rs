//! What the walk tells of frames that end on it: counters first, then a record for the log.

use std::sync::Arc;

use inspect::alert::AlertAction;
use inspect::inspector::{Direction, FileFinding, FlowView};
use inspect::record::Note;
use inspect::verdict::Refused;
use inspect::wire::{self, Packet};
use zones::policy::DeciderId;

use super::{Pipeline, Turn};
use crate::drop_reason::DropReason;
use crate::eve::settings::EventType;
use crate::event::{Around, Event, EventKind, Tuple};
use crate::event_log::EventLog;
use crate::frame::PortId;
use crate::profiles::ProfileCells;

/// What a record of a drop says beyond its reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct DropDetail {
    pub(super) decider: Option<u16>,
    pub(super) cause: Option<&'static str>,
    pub(super) signature: Option<u32>,
}

/// The ports of a flow's originator and responder.
type Ends = (PortId, PortId);

impl Pipeline {
    #[cold]
    pub(super) fn refuse(&mut self, turn: &Turn<'_>, ends: Ends, port: PortId, packet: &Packet<'_>, refused: Refused) {
        count_profile(turn, ends, |cells| cells.drops.add(1));
        let (reason, signature) = reason_of(refused);
        self.end(turn, Some(port), packet, reason, DropDetail { signature, ..DropDetail::default() });
    }

    /// Tells of a frame that goes on only because its profile is an audit.
    #[cold]
    pub(super) fn report_audited(
        &mut self,
        turn: &Turn<'_>,
        ends: Ends,
        port: PortId,
        packet: &Packet<'_>,
        (refused, flow_id): (Refused, u64),
    ) {
        count_profile(turn, ends, |cells| cells.would_drops.add(1));
        let (reason, signature) = reason_of(refused);
        self.counters.would_drops[reason as usize].add(1);
        self.log.record(EventType::Drop, (turn.ingress, reason, signature, "audit"), turn.now_us, || {
            let mut event = event_about(turn, EventKind::WouldDrop { reason, signature });
            describe(&mut event, Some(port), packet);
            event.flow_id = flow_id;
            event
        });
    }

    /// Tells what inspection has found in a packet of a flow: alerts, and what else the log wants.
    #[cold]
    pub(super) fn report_findings(
        &mut self,
        turn: &Turn<'_>,
        ends: Ends,
        port: PortId,
        packet: &Packet<'_>,
        (flow, flow_id): (&FlowView, u64),
    ) {
        count_profile(turn, ends, |cells| cells.alerts.add(self.inspection.alerts().len() as u64));
        self.report_alerts(turn, port, packet, (flow, flow_id));
        let mut notes = std::mem::take(&mut self.notes);
        notes.extend(self.inspection.inspector().take_notes());
        for note in notes.drain(..) {
            let mut event = event_about(turn, EventKind::Note(note));
            describe(&mut event, Some(port), packet);
            (event.flow_id, event.macs) = (flow_id, None);
            tell_note(&mut self.log, turn, event, flow.direction);
        }
        self.notes = notes;
    }

    fn report_alerts(&mut self, turn: &Turn<'_>, port: PortId, packet: &Packet<'_>, (flow, flow_id): (&FlowView, u64)) {
        let payload_max = self.log.payload_bytes_max();
        for index in 0..self.inspection.alerts().len() {
            let alert = self.inspection.alerts()[index];
            match alert.action {
                AlertAction::Allowed | AlertAction::WouldBlock => self.counters.alerts_allowed.add(1),
                AlertAction::Blocked => self.counters.alerts_blocked.add(1),
            }
            let context = self.inspection.inspector().take_context(index);
            self.journal.alerted(flow.slot);
            let kind = (turn.ingress, port, alert.signature, alert.action);
            self.log.record(EventType::Alert, kind, turn.now_us, || {
                let mut event = event_about(turn, EventKind::Alert(alert));
                describe(&mut event, Some(port), packet);
                event.flow_id = flow_id;
                let payload = packet.payload();
                let shown = &payload[..payload.len().min(payload_max)];
                event.around = Some(Box::new(Around {
                    direction: flow.direction,
                    context,
                    payload: shown.to_vec(),
                    is_payload_cut: shown.len() < payload.len(),
                }));
                event
            });
        }
    }

    /// Counts events that were lost or folded, by type.
    pub(super) fn count_events(&mut self) {
        let unnoted = self.inspection.inspector().lost_notes();
        self.counters.notes_lost.add(unnoted - self.counters.notes_lost.value());
        let Some((lost, suppressed)) = self.log.take_counts() else { return };
        for kind in 0..EventType::COUNT {
            self.counters.events_lost[kind].add(lost[kind]);
            self.counters.events_suppressed[kind].add(suppressed[kind]);
        }
    }

    #[cold]
    pub(super) fn report_files(&mut self, turn: &Turn<'_>, port: PortId, packet: &Packet<'_>, flow_id: u64) {
        for file in self.inspection.inspector().take_file_events() {
            let file = Arc::new(file);
            let (mut alert, info) = (None, EventKind::FileInfo(Arc::clone(&file)));
            if let FileFinding::Listed(list) = file.finding {
                match file.action {
                    AlertAction::Allowed | AlertAction::WouldBlock => self.counters.alerts_allowed.add(1),
                    AlertAction::Blocked => self.counters.alerts_blocked.add(1),
                }
                let hits = turn.generation.file_hits.get(turn.worker);
                hits.and_then(|hits| hits.get(usize::from(list))).into_iter().for_each(|cell| cell.add(1));
                alert = Some(EventKind::FileAlert(Arc::clone(&file)));
            }
            for (event_type, kind) in [(EventType::Alert, alert), (EventType::Fileinfo, Some(info))] {
                let Some(kind) = kind else { continue };
                let repeated = (turn.ingress, port, file.finding, file.action);
                self.log.record(event_type, repeated, turn.now_us, || {
                    let mut event = event_about(turn, kind);
                    describe(&mut event, Some(port), packet);
                    event.flow_id = flow_id;
                    event
                });
            }
        }
    }

    /// Ends one item with a drop.
    #[cold]
    pub(super) fn end(
        &mut self,
        turn: &Turn<'_>,
        egress: Option<PortId>,
        packet: &Packet<'_>,
        reason: DropReason,
        detail: DropDetail,
    ) {
        self.drop_frame(turn, reason, detail, |event| describe(event, egress, packet));
    }

    /// Ends a frame whose headers cannot be trusted.
    #[cold]
    pub(super) fn drop_unread(&mut self, turn: &Turn<'_>, frame: &[u8], reason: DropReason, detail: DropDetail) {
        self.drop_frame(turn, reason, detail, |event| {
            event.length = frame.len() as u32;
            event.macs = macs(frame);
        });
    }

    pub(super) fn drop_frame(
        &mut self,
        turn: &Turn<'_>,
        reason: DropReason,
        detail: DropDetail,
        describe: impl FnOnce(&mut Event),
    ) {
        self.ended += 1;
        self.last_drop = reason;
        self.counters.count_drop(turn.ingress, reason);
        self.log.record(EventType::Drop, (turn.ingress, reason, detail), turn.now_us, || {
            let DropDetail { decider, cause, signature } = detail;
            let decider = decider.map(DeciderId);
            let mut event = event_about(turn, EventKind::Drop { reason, decider, cause, signature });
            describe(&mut event);
            event
        });
    }
}

/// The reason under which a refusal of inspection is counted, and the signature that it names.
fn reason_of(refused: Refused) -> (DropReason, Option<u32>) {
    match refused {
        Refused::Signature(signature) => (DropReason::Signature, Some(signature)),
        Refused::FlowRefused => (DropReason::FlowRefused, None),
        Refused::Overlap => (DropReason::Overlap, None),
        Refused::Memory => (DropReason::InspectionMemory, None),
        Refused::Budget => (DropReason::InspectionBudget, None),
        Refused::Protocol => (DropReason::ProtocolError, None),
        Refused::File(_) => (DropReason::FileHash, None),
        Refused::FileUnjudged => (DropReason::FileUnjudged, None),
    }
}

fn count_profile(turn: &Turn<'_>, (from, to): Ends, count: impl FnOnce(&ProfileCells)) {
    let profile = turn.generation.profiles.index_between(from, to);
    let cells = turn.generation.profile_cells.get(turn.worker);
    if let Some(cells) = cells.and_then(|cells| cells.get(profile)) {
        count(cells);
    }
}

/// Tells the log a note about a flow. `event` has the ports and the addresses of a packet that went in this direction; a
/// record has those of the flow, or of whoever sent what it is about.
pub(super) fn tell_note(log: &mut EventLog, turn: &Turn<'_>, mut event: Event, direction: Direction) {
    let EventKind::Note(note) = &event.kind else { return };
    let shown = note.sender();
    let what = match note {
        Note::Anomaly { anomaly, .. } => Some(*anomaly),
        Note::Transaction(_) | Note::File(_) => None,
    };
    let Some(event_type) = event.kind.event_type() else { return };
    if shown != direction {
        event.tuple = event.tuple.map(Tuple::reversed);
        if let Some(to) = event.to {
            (event.from, event.to) = (to, Some(event.from));
        }
    }
    log.record(event_type, (event.from, event.to, what), turn.now_us, || event);
}

pub(super) fn event_about(turn: &Turn<'_>, kind: EventKind) -> Event {
    Event {
        at_us: turn.now_us,
        generation: Arc::clone(turn.generation),
        from: turn.ingress,
        to: None,
        tuple: None,
        macs: None,
        length: 0,
        flow_id: 0,
        suppressed: 0,
        kind,
        around: None,
    }
}

pub(super) fn describe(event: &mut Event, egress: Option<PortId>, packet: &Packet<'_>) {
    event.to = egress;
    event.length = packet.frame().len() as u32;
    event.macs = Some((packet.source_mac(), packet.destination_mac()));
    event.tuple = (packet.headers().network != wire::Network::Arp).then(|| {
        let (source_port, destination_port) = match packet.icmp() {
            Some(icmp) => (u16::from(icmp.kind), u16::from(icmp.code)),
            None => (packet.source_port(), packet.destination_port()),
        };
        Tuple {
            source: packet.source(),
            destination: packet.destination(),
            protocol: packet.headers().protocol,
            source_port,
            destination_port,
        }
    });
}

fn macs(frame: &[u8]) -> Option<([u8; 6], [u8; 6])> {
    let (destination, rest) = frame.split_first_chunk()?;
    Some((*rest.first_chunk()?, *destination))
}
