//! The tables of `vswitch show`, for people.

use serde_json::Value;

use super::table::Set::{Left, Right};
use super::table::Table as Text;
use crate::status::{
    AlertRow, DropRow, Flows, MacRow, PortRow, ProfileRow, RuleRow, Table, Threats, WorkerRow, ZoneRow,
};

/// Sets the daemon's answer as text.
///
/// # Errors
/// The answer has not the shape of the table: the daemon is of another version.
pub fn text(table: Table, rows: Value) -> Result<String, serde_json::Error> {
    Ok(match table {
        Table::Ports => ports(serde_json::from_value(rows)?),
        Table::Zones => zones(serde_json::from_value(rows)?),
        Table::Mac => macs(serde_json::from_value(rows)?),
        Table::Flows => flows(serde_json::from_value(rows)?),
        Table::Drops => drops(serde_json::from_value(rows)?),
        Table::Alerts => alerts(serde_json::from_value(rows)?),
        Table::Threats => threats(serde_json::from_value(rows)?),
        Table::Rules => rules(serde_json::from_value(rows)?),
        Table::Workers => workers(serde_json::from_value(rows)?),
        Table::Profiles => profiles(serde_json::from_value(rows)?),
    })
}

fn ports(rows: Vec<PortRow>) -> String {
    let mut text = Text::new(&[
        ("PORT", Left),
        ("ZONE", Left),
        ("KIND", Left),
        ("STATE", Left),
        ("QUEUES", Right),
        ("RECEIVED", Right),
        ("SENT", Right),
        ("DROPPED", Right),
        ("ATTACHMENT", Left),
        ("FAULT", Left),
    ]);
    for row in rows {
        let state = state(&row).to_owned();
        text.row([
            row.name,
            row.zone,
            row.kind,
            state,
            row.queues.to_string(),
            row.receive_packets.to_string(),
            row.transmit_packets.to_string(),
            row.drops.to_string(),
            row.attachment,
            row.last_fault,
        ]);
    }
    text.text()
}

fn state(row: &PortRow) -> &'static str {
    match (row.quarantine_s, row.connected) {
        (Some(_), _) => "quarantined",
        (None, true) => "up",
        (None, false) => "down",
    }
}

fn profiles(rows: Vec<ProfileRow>) -> String {
    let mut text = Text::new(&[
        ("PROFILE", Left),
        ("MODE", Left),
        ("SIGNATURES", Right),
        ("TO DROP", Right),
        ("ALERTS", Right),
        ("DROPPED", Right),
        ("WOULD DROP", Right),
        ("MIDSTREAM", Left),
        ("EXCEPTIONS", Left),
        ("BETWEEN", Left),
    ]);
    for row in rows {
        let chosen = row.exceptions.iter().filter(|(_, policy)| *policy != "auto");
        let exceptions: Vec<String> = chosen.map(|(what, policy)| format!("{what}={policy}")).collect();
        let mut between = row.pairs;
        if row.pairs_omitted > 0 {
            between.push(format!("{} more", row.pairs_omitted));
        }
        if row.is_default {
            between.push("all others".to_owned());
        }
        text.row([
            row.name,
            row.mode,
            row.signatures.to_string(),
            row.stopping.to_string(),
            row.alerts.to_string(),
            row.drops.to_string(),
            row.would_drops.to_string(),
            if row.midstream { "yes" } else { "no" }.to_owned(),
            if exceptions.is_empty() { "auto".to_owned() } else { exceptions.join(",") },
            between.join(", "),
        ]);
    }
    text.text()
}

fn zones(rows: Vec<ZoneRow>) -> String {
    let mut text = Text::new(&[("ZONE", Left), ("INTRA-ZONE", Left), ("PORTS", Left)]);
    for row in rows {
        text.row([row.name, row.intra_zone, row.ports.join(",")]);
    }
    text.text()
}

fn macs(rows: Vec<MacRow>) -> String {
    let mut text = Text::new(&[("MAC", Left), ("PORT", Left), ("ORIGIN", Left), ("AGE", Right)]);
    for row in rows {
        let age = row.age_s.map(|age| format!("{age}s")).unwrap_or_default();
        text.row([row.mac, row.port, row.origin, age]);
    }
    text.text()
}

fn flows(answer: Flows) -> String {
    let mut text = Text::new(&[
        ("PROTO", Left),
        ("ORIGINATOR", Left),
        ("RESPONDER", Left),
        ("FROM", Left),
        ("TO", Left),
        ("STATE", Left),
        ("AGE", Right),
        ("EXPIRES", Right),
        ("RULE", Left),
    ]);
    for row in &answer.flows {
        text.row([
            row.proto.clone(),
            end_point(&row.source, row.source_port),
            end_point(&row.destination, row.destination_port),
            row.from_port.clone(),
            row.to_port.clone(),
            row.state.clone(),
            format!("{}s", row.age_s),
            format!("{}s", row.expires_s),
            row.rule.clone(),
        ]);
    }
    let (shown, open, limit) = (answer.flows.len(), answer.open, answer.limit);
    format!("{}{shown} shown, {open} open, {limit} at most\n", text.text())
}

fn end_point(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Reasons without a frame are left out for people; `--json` has them.
fn drops(rows: Vec<DropRow>) -> String {
    let mut text = Text::new(&[("REASON", Left), ("FRAMES", Right), ("BY PORT", Left), ("MEANING", Left)]);
    let total: u64 = rows.iter().map(|row| row.total).sum();
    for row in rows.into_iter().filter(|row| row.total > 0) {
        let ports: Vec<String> = row.ports.iter().map(|(port, drops)| format!("{port}={drops}")).collect();
        text.row([row.reason, row.total.to_string(), ports.join(","), row.explanation]);
    }
    format!("{}{total} frames dropped\n", text.text())
}

fn alerts(rows: Vec<AlertRow>) -> String {
    let mut text = Text::new(&[
        ("TIME", Left),
        ("ACTION", Left),
        ("SID", Right),
        ("SEVERITY", Right),
        ("FROM", Left),
        ("TO", Left),
        ("PROTO", Left),
        ("SOURCE", Left),
        ("DESTINATION", Left),
        ("SIGNATURE", Left),
    ]);
    for row in rows {
        text.row([
            row.timestamp,
            row.action,
            row.signature_id.to_string(),
            row.severity.to_string(),
            row.from_port,
            row.to_port.unwrap_or_default(),
            row.proto.unwrap_or_default(),
            row.source.unwrap_or_default(),
            row.destination.unwrap_or_default(),
            row.signature,
        ]);
    }
    text.text()
}

fn threats(answer: Threats) -> String {
    let mut text = Text::new(&[
        ("PORT", Left),
        ("ZONE", Left),
        ("KIND", Left),
        ("STATE", Left),
        ("TARGET", Left),
        ("COUNT", Right),
        ("THRESHOLD", Right),
        ("WINDOW", Right),
        ("ACTION", Left),
        ("SINCE THEN", Right),
        ("TOLD AT", Left),
    ]);
    for row in answer.threats {
        text.row([
            row.port,
            row.zone,
            row.kind,
            if row.active { "active" } else { "over" }.to_owned(),
            row.target,
            row.count.to_string(),
            row.threshold.to_string(),
            format!("{}s", f64::from(row.window_ms) / 1_000.0),
            row.action,
            row.suppressed.to_string(),
            row.timestamp,
        ]);
    }
    let quarantined: String = answer
        .quarantines
        .iter()
        .map(|row| format!("{} is in quarantine for {} more seconds: {}\n", row.port, row.left_s, row.kind))
        .collect();
    let none = if quarantined.is_empty() { "no port is in quarantine\n" } else { "" };
    format!("{}{quarantined}{none}", text.text())
}

fn rules(rows: Vec<RuleRow>) -> String {
    let mut text = Text::new(&[("RULE", Left), ("HITS", Right)]);
    for row in rows {
        text.row([row.name, row.hits.to_string()]);
    }
    text.text()
}

fn workers(rows: Vec<WorkerRow>) -> String {
    let mut text = Text::new(&[
        ("CPU", Right),
        ("FRAMES", Right),
        ("FRAMES/BURST", Right),
        ("CYCLES/FRAME", Right),
        ("BUSY", Right),
        ("EMPTY", Right),
        ("SLEEPS", Right),
        ("HANDED OVER", Right),
        ("RING FULL", Right),
        ("FLOWS", Right),
        ("FLOW LIMIT", Right),
        ("GENERATION", Right),
    ]);
    for row in rows {
        text.row([
            row.cpu.to_string(),
            row.received.to_string(),
            format!("{:.1}", row.frames_per_burst),
            format!("{:.0}", row.cycles_per_frame),
            row.busy_polls.to_string(),
            row.empty_polls.to_string(),
            row.sleeps.to_string(),
            row.handed_over.to_string(),
            row.ring_full_drops.to_string(),
            row.flows.to_string(),
            row.flow_limit.to_string(),
            row.generation.to_string(),
        ]);
    }
    text.text()
}
