//! The answers to `vswitch show`.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;
use zones::ZoneId;
use zones::policy::{DeciderId, Decision};

use super::Switch;
use super::ports::{kind_word, place};
use crate::books::Totals;
use crate::control::{Cause, FLOWS_MAX, Response};
use crate::counters::WorkerCounters;
use crate::drop_reason::DropReason;
use crate::eve::parts::{mac_text, protocol_name};
use crate::eve::recent::RECENT_MAX;
use crate::flow_table::{FlowRecord, FlowState};
use crate::frame::PortId;
use crate::generation::Generation;
use crate::status::{DropRow, FlowRow, Flows, MacRow, PortRow, RuleRow, Table, WorkerRow, ZoneRow};

/// Flows listed when the client does not say how many.
const FLOWS_DEFAULT: usize = 1_000;

impl Switch {
    /// The rows of a table.
    pub(super) fn show(&self, table: Table, max: Option<usize>, port: Option<&str>) -> Response {
        let rows = match table {
            Table::Ports => serde_json::to_value(self.port_rows()),
            Table::Zones => serde_json::to_value(zone_rows(&self.workers.generation())),
            Table::Mac => serde_json::to_value(self.mac_rows()),
            Table::Flows => match self.flows(max, port) {
                Ok(flows) => serde_json::to_value(flows),
                Err(response) => return response,
            },
            Table::Drops => serde_json::to_value(self.drop_rows()),
            Table::Alerts => serde_json::to_value(self.log.recent().newest(max.unwrap_or(RECENT_MAX))),
            Table::Threats => serde_json::to_value(self.threats()),
            Table::Rules => serde_json::to_value(self.rule_rows()),
            Table::Workers => serde_json::to_value(self.worker_rows()),
            Table::Profiles => serde_json::to_value(super::profiles::rows(&self.workers.generation())),
        };
        // Rows have text keys only, so they always serialise.
        Response::Ok { result: rows.unwrap_or(Value::Null) }
    }

    fn port_rows(&self) -> Vec<PortRow> {
        let totals = self.totals();
        let generation = self.workers.generation();
        let specs = self.ports.specs();
        let now_us = self.workers.now_us();
        let views = (0..).zip(&generation.ports).filter_map(|(id, view)| Some((PortId(id), view.as_ref()?)));
        views
            .map(|(id, view)| {
                let attachment = specs.get(&id).map(|spec| &spec.attachment);
                let state = self.ports.state(id);
                let counts = totals.port(id);
                PortRow {
                    name: view.name.clone(),
                    zone: view.zone.clone(),
                    kind: attachment.map_or("none", kind_word).to_owned(),
                    attachment: attachment.map(place).unwrap_or_default(),
                    connected: state.connected,
                    queues: state.queues,
                    features: state.features,
                    last_fault: state.last_fault,
                    quarantine_s: self.quarantines.of(id, now_us).map(|quarantine| quarantine.left_s(now_us)),
                    receive_packets: counts.received,
                    receive_bytes: counts.received_bytes,
                    transmit_packets: counts.transmitted,
                    transmit_bytes: counts.transmitted_bytes,
                    drops: counts.dropped(),
                }
            })
            .collect()
    }

    fn mac_rows(&self) -> Vec<MacRow> {
        let generation = self.workers.generation();
        let now_ms = self.workers.now_us() / 1_000;
        let fixed = generation.fixed_macs.iter().map(|(mac, port)| MacRow {
            mac: mac_text(mac),
            port: port_name(&generation, port),
            origin: "fixed".to_owned(),
            age_s: None,
        });
        let learned = self.workers.learned().snapshot().into_iter().map(|(mac, learned)| MacRow {
            mac: mac_text(mac),
            port: port_name(&generation, learned.port),
            origin: "learned".to_owned(),
            age_s: Some(now_ms.saturating_sub(learned.seen_ms) / 1_000),
        });
        let mut rows: Vec<MacRow> = fixed.chain(learned).collect();
        rows.sort_by(|a, b| a.mac.cmp(&b.mac));
        rows
    }

    fn flows(&self, max: Option<usize>, port: Option<&str>) -> Result<Flows, Response> {
        let generation = self.workers.generation();
        let max = max.unwrap_or(FLOWS_DEFAULT).min(FLOWS_MAX);
        let is_known = |name| generation.ports.iter().flatten().any(|view| view.name == name);
        if let Some(name) = port.filter(|&name| !is_known(name)) {
            let message = format!("there is no port {name}");
            return Err(Response::Error { cause: Cause::NotFound, message });
        }
        // With a filter, flows of other ports are read and left out, so more must be read than shown.
        let read = if port.is_some() { FLOWS_MAX } else { max };
        let flows = self.workers.flows(read);
        let rows = flows.iter().map(|flow| flow_row(flow, &generation));
        let wanted = rows.filter(|row| port.is_none_or(|name| row.from_port == name || row.to_port == name));
        Ok(Flows { flows: wanted.take(max).collect(), open: self.totals().flows, limit: self.flow_limit() })
    }

    fn drop_rows(&self) -> Vec<DropRow> {
        let totals = self.totals();
        let row = |&reason: &DropReason| {
            let by_port = self.known_ports().map(|(id, name)| (name, totals.port(id).drops[reason as usize]));
            DropRow {
                reason: reason.word().to_owned(),
                explanation: reason.explanation().to_owned(),
                total: totals.all.drops[reason as usize],
                ports: by_port.filter(|&(_, drops)| drops > 0).map(|(name, drops)| (name.to_owned(), drops)).collect(),
            }
        };
        DropReason::ALL.iter().map(row).collect()
    }

    /// The deciders of the generation in force, in their order.
    fn rule_rows(&self) -> Vec<RuleRow> {
        let hits = self.ledger.hits();
        let generation = self.workers.generation();
        let row = |name: &String| RuleRow { name: name.clone(), hits: hits.get(name).copied().unwrap_or_default() };
        generation.policy.deciders().iter().map(row).collect()
    }

    /// The workers, with their load.
    pub(super) fn worker_rows(&self) -> Vec<WorkerRow> {
        let share = self.flow_limit() / self.cpus.len().max(1) as u64;
        let rows = self.cpus.iter().zip(self.workers.counters()).zip(self.workers.seen_generations());
        rows.map(|((&cpu, counters), generation)| worker_row(cpu, counters, share, generation)).collect()
    }

    /// The sums over all workers.
    pub(super) fn totals(&self) -> Totals {
        Totals::of(self.workers.counters())
    }
}

fn zone_rows(generation: &Generation) -> Vec<ZoneRow> {
    let policy = &generation.policy;
    // Zones are numbered from 0; policy compilation bounds their number.
    let zones = (0..policy.zone_count()).map(|zone| ZoneId(zone as u16));
    zones
        .filter_map(|zone| {
            let name = policy.zone_name(zone)?;
            let intra_zone = match policy.intra_zone(zone)? {
                Decision::Allow(_) => "allow",
                Decision::Deny(_) => "drop",
            };
            let ports = generation.ports.iter().flatten().filter(|view| view.zone == name);
            Some(ZoneRow {
                name: name.to_owned(),
                intra_zone: intra_zone.to_owned(),
                ports: ports.map(|view| view.name.clone()).collect(),
            })
        })
        .collect()
}

fn flow_row(record: &FlowRecord, generation: &Generation) -> FlowRow {
    let (key, low, high) = record.key.parts();
    let low = (key.low_address, key.low_port, low);
    let high = (key.high_address, key.high_port, high);
    let (originator, responder) = if record.originator_is_low { (low, high) } else { (high, low) };
    // A flow that no frame has come for since a reload still carries the number that an older policy gave its rule.
    let rule = if record.generation == generation.number {
        generation.policy.decider_name(DeciderId(record.decider)).to_owned()
    } else {
        format!("of generation {}", record.generation)
    };
    FlowRow {
        proto: protocol_name(key.protocol).into_owned(),
        source: address(originator.0).to_string(),
        source_port: originator.1,
        destination: address(responder.0).to_string(),
        destination_port: responder.1,
        from_port: port_name(generation, originator.2),
        to_port: port_name(generation, responder.2),
        state: state_word(record.state).to_owned(),
        age_s: u64::from(record.age_ms / 1_000),
        expires_s: u64::from(record.remaining_ms / 1_000),
        rule,
    }
}

fn state_word(state: FlowState) -> &'static str {
    match state {
        FlowState::HalfOpen => "half-open",
        FlowState::Open => "open",
        FlowState::Closing => "closing",
        FlowState::Refused => "refused",
    }
}

/// An address of a flow key; those of IPv4 are kept as mapped ones.
fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

fn port_name(generation: &Generation, port: PortId) -> String {
    match generation.port(port) {
        Some(view) => view.name.clone(),
        None => format!("port-{}", port.0),
    }
}

fn worker_row(cpu: usize, counters: &WorkerCounters, flow_limit: u64, generation: u32) -> WorkerRow {
    let ports = (0..crate::counters::PORTS_MAX).map(|port| counters.port(PortId(port as u16)));
    let received: u64 = ports.map(|port| port.received.value()).sum();
    let bursts = counters.bursts.value();
    let per = |sum: u64, count: u64| {
        if count == 0 { 0.0 } else { sum as f64 / count as f64 }
    };
    WorkerRow {
        cpu,
        received,
        bursts,
        frames_per_burst: per(received, bursts),
        cycles_per_frame: per(counters.busy_cycles.value(), received),
        busy_polls: counters.busy_polls.value(),
        empty_polls: counters.empty_polls.value(),
        sleeps: counters.sleeps.value(),
        handed_over: counters.handed_over.value(),
        ring_full_drops: counters.parcels_missed.value(),
        flows: counters.flows_opened.value().saturating_sub(counters.flows_ended.value()),
        flow_limit,
        generation,
    }
}
