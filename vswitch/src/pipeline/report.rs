//! What the walk tells of frames that end on it: counters first, then a record for the log.

use std::sync::Arc;

use inspect::alert::AlertAction;
use inspect::verdict::Refused;
use inspect::wire::{self, Packet};
use zones::policy::DeciderId;

use super::{Pipeline, Turn};
use crate::drop_reason::DropReason;
use crate::event::{Event, EventKind, Tuple};
use crate::frame::PortId;

/// What a record of a drop says beyond its reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct DropDetail {
    pub(super) decider: Option<u16>,
    pub(super) cause: Option<&'static str>,
    pub(super) signature: Option<u32>,
}

impl Pipeline {
    #[cold]
    pub(super) fn refuse(&mut self, turn: &Turn<'_>, port: PortId, packet: &Packet<'_>, refused: Refused) {
        let mut detail = DropDetail::default();
        let reason = match refused {
            Refused::Signature(signature) => {
                detail.signature = Some(signature);
                DropReason::Signature
            }
            Refused::FlowRefused => DropReason::FlowRefused,
            Refused::Overlap => DropReason::Overlap,
            Refused::Memory => DropReason::InspectionMemory,
            Refused::Budget => DropReason::InspectionBudget,
            Refused::Protocol => DropReason::ProtocolError,
        };
        self.end(turn, Some(port), packet, reason, detail);
    }

    #[cold]
    pub(super) fn report_alerts(&mut self, turn: &Turn<'_>, port: PortId, packet: &Packet<'_>, flow_id: u64) {
        for index in 0..self.inspection.alerts().len() {
            let alert = self.inspection.alerts()[index];
            match alert.action {
                AlertAction::Allowed => self.counters.alerts_allowed.add(1),
                AlertAction::Blocked => self.counters.alerts_blocked.add(1),
            }
            let mut event = event_about(turn, EventKind::Alert(alert));
            describe(&mut event, Some(port), packet);
            event.flow_id = flow_id;
            self.log.alert_event(event);
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
        self.log.drop_event((turn.ingress, reason, detail), turn.now_us, |suppressed| {
            let mut event = event_about(
                turn,
                EventKind::Drop {
                    reason,
                    decider: detail.decider.map(DeciderId),
                    cause: detail.cause,
                    signature: detail.signature,
                    suppressed,
                },
            );
            describe(&mut event);
            event
        });
    }
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
        kind,
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
