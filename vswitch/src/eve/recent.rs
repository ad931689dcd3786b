//! The last alerts and anomalies, kept for `vswitch show alerts|threats`: what an operator asks for first, without a log to
//! search.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use inspect::alert::AlertAction;
use inspect::detect::AnomalyKind;

use super::anomaly::{self, target_text};
use super::parts::{action_name, has_ports, hash_list, list_text, port_name, protocol_name};
use super::timestamp::WallClock;
use crate::event::{Event, EventKind};
use crate::frame::PortId;
use crate::status::{AlertRow, ThreatRow};

/// Alerts kept. About 100 KiB, and more than a screen shows.
pub const RECENT_MAX: usize = 256;

/// The last alerts, the newest at the end, and the last anomaly of each kind and port: their number is bounded by that of
/// ports.
#[derive(Debug, Default)]
pub struct RecentAlerts {
    rows: Mutex<VecDeque<AlertRow>>,
    threats: Mutex<BTreeMap<(PortId, AnomalyKind), ThreatRow>>,
}

impl RecentAlerts {
    /// Keeps the event if it is an alert or an anomaly.
    pub(super) fn note(&self, event: &Event, clock: WallClock) {
        if let EventKind::Anomaly(anomaly, _) = &event.kind
            && let Some(row) = threat_row(event, clock)
        {
            let mut threats = self.threats.lock().unwrap_or_else(PoisonError::into_inner);
            threats.insert((event.from, anomaly.kind), row);
        }
        if let Some(row) = alert_row(event, clock) {
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            if rows.len() == RECENT_MAX {
                rows.pop_front();
            }
            rows.push_back(row);
        }
    }

    /// Up to `max` of them, the newest first.
    pub fn newest(&self, max: usize) -> Vec<AlertRow> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.iter().rev().take(max).cloned().collect()
    }

    /// The last anomaly of each port and kind.
    pub fn threats(&self) -> BTreeMap<(PortId, AnomalyKind), ThreatRow> {
        self.threats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn alert_row(event: &Event, clock: WallClock) -> Option<AlertRow> {
    let generation = &event.generation;
    let (action, signature_id, signature, severity) = match &event.kind {
        EventKind::Alert(alert) => {
            let info = generation.rules.signature(alert.signature)?;
            let action = match alert.action {
                AlertAction::WouldBlock => "would block",
                action => action_name(action),
            };
            (action, info.sid, info.msg.clone(), info.priority)
        }
        EventKind::Anomaly(anomaly, response) => {
            let text = anomaly::text(anomaly.kind);
            (anomaly::action(*response), text.signature_id, text.signature.to_owned(), text.severity)
        }
        EventKind::FileAlert(file) => {
            let text = list_text(hash_list(generation, file)?);
            (action_name(file.action), text.signature_id, text.signature.to_owned(), text.severity)
        }
        EventKind::Drop { .. }
        | EventKind::WouldDrop { .. }
        | EventKind::FileInfo(_)
        | EventKind::Note(_)
        | EventKind::Flow(_) => {
            return None;
        }
    };
    let end = |protocol, address: IpAddr, port| match has_ports(protocol) {
        true => SocketAddr::new(address, port).to_string(),
        false => address.to_string(),
    };
    Some(AlertRow {
        timestamp: clock.format(event.at_us),
        action: action.to_owned(),
        signature_id,
        signature,
        severity,
        from_port: port_name(generation, event.from).into_owned(),
        to_port: event.to.map(|to| port_name(generation, to).into_owned()),
        proto: event.tuple.map(|tuple| protocol_name(tuple.protocol).into_owned()),
        source: event.tuple.map(|tuple| end(tuple.protocol, tuple.source, tuple.source_port)),
        destination: event.tuple.map(|tuple| end(tuple.protocol, tuple.destination, tuple.destination_port)),
    })
}

/// What is known when the event is raised; what has come since, who is asked adds.
fn threat_row(event: &Event, clock: WallClock) -> Option<ThreatRow> {
    let EventKind::Anomaly(anomaly, response) = &event.kind else { return None };
    let view = event.generation.port(event.from);
    Some(ThreatRow {
        timestamp: clock.format(event.at_us),
        port: port_name(&event.generation, event.from).into_owned(),
        zone: view.map(|view| view.zone.clone()).unwrap_or_default(),
        tenant: view.and_then(|view| view.tenant.clone()),
        kind: anomaly.kind.name().to_owned(),
        source: event.tuple.map(|tuple| tuple.source.to_string()),
        target: target_text(anomaly.target),
        count: anomaly.count,
        threshold: anomaly.count_max,
        window_ms: anomaly.window_ms,
        action: response.word().to_owned(),
        active: false,
        quiet_s: None,
        suppressed: 0,
    })
}
