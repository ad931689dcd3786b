//! The last alerts, kept for `vswitch show alerts`: what an operator asks for first, without a log to search.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use inspect::alert::AlertAction;

use super::record::{has_ports, port_name, protocol_name};
use super::timestamp::WallClock;
use crate::event::{Event, EventKind};
use crate::status::AlertRow;

/// Alerts kept. About 100 KiB, and more than a screen shows.
pub const RECENT_MAX: usize = 256;

/// The last alerts, the newest at the end.
#[derive(Debug, Default)]
pub struct RecentAlerts {
    rows: Mutex<VecDeque<AlertRow>>,
}

impl RecentAlerts {
    /// Keeps the event if it is an alert.
    pub(super) fn note(&self, event: &Event, clock: WallClock) {
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
}

fn alert_row(event: &Event, clock: WallClock) -> Option<AlertRow> {
    let alert = match event.kind {
        EventKind::Alert(alert) => alert,
        EventKind::Drop { .. } => return None,
    };
    let generation = &event.generation;
    let info = generation.rules.signature(alert.signature)?;
    let end = |protocol, address: IpAddr, port| match has_ports(protocol) {
        true => SocketAddr::new(address, port).to_string(),
        false => address.to_string(),
    };
    Some(AlertRow {
        timestamp: clock.format(event.at_us),
        action: match alert.action {
            AlertAction::Allowed => "allowed",
            AlertAction::Blocked => "blocked",
        }
        .to_owned(),
        signature_id: info.sid,
        signature: info.msg.clone(),
        severity: info.priority,
        from_port: port_name(generation, event.from).into_owned(),
        to_port: event.to.map(|to| port_name(generation, to).into_owned()),
        proto: event.tuple.map(|tuple| protocol_name(tuple.protocol).into_owned()),
        source: event.tuple.map(|tuple| end(tuple.protocol, tuple.source, tuple.source_port)),
        destination: event.tuple.map(|tuple| end(tuple.protocol, tuple.destination, tuple.destination_port)),
    })
}
