//! The ends of flows, and of the replay.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use inspect::flow_key::{FlowKey, Way};
use inspect::inspector::{Direction, FlowView};
use inspect::wire::{Checksums, Packet, emit};
use serde_json::Value;

use super::flows::{FLOWS_MAX, Flow};
use super::player::Player;
use super::record::{Ends, Record, What};
use crate::eve::stats::Stats;
use crate::eve::timestamp::format_utc;
use crate::event::FlowEnd;

/// Why a flow is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was silent for too long.
    Timeout,
    /// A new connection between the same ends took its place.
    TcpReuse,
    /// It had to make room for others.
    Forced,
    /// The capture ends.
    Shutdown,
}

impl Why {
    /// Suricata's word for it.
    fn word(self) -> &'static str {
        match self {
            Why::Timeout => "timeout",
            Why::TcpReuse => "tcp_reuse",
            Why::Forced => "forced",
            Why::Shutdown => "shutdown",
        }
    }
}

impl Player<'_> {
    /// A record of type `stats` about all that was played.
    pub fn stats_record(&self) -> Value {
        let tally = &self.tally;
        let by_reason = tally.stopped_by.iter().map(|(reason, count)| (reason.replace(' ', "_"), *count));
        let stats = Stats {
            uptime: self.at_ns.saturating_sub(self.began_ns.unwrap_or(self.at_ns)) / 1_000_000_000,
            packets: (tally.frames, tally.bytes),
            flows: tally.flows,
            active_flows: self.flows.len() as u64,
            flow_limit: FLOWS_MAX as u64,
            alerts: tally.alerts,
            accepted: tally.frames.saturating_sub(tally.stopped),
            blocked: by_reason.collect(),
            events_lost: self.inspector.lost_notes(),
            events_suppressed: self.inspector.suppressed_count(),
        };
        stats.record(&format_utc(self.at_ns / 1_000))
    }

    /// Ends flows that were taken out of the table.
    pub fn end_all(&mut self, over: Vec<(FlowKey, Flow)>, why: Why) {
        for (key, flow) in over {
            self.end(&key, &flow, why);
        }
    }

    /// Lets the engine conclude about a flow, and forget it. The packet that stands for the flow is made up: it has the
    /// flow's ends and nothing else.
    pub fn end(&mut self, key: &FlowKey, flow: &Flow, why: Why) {
        let (low, high) = ((key.low_address, key.low_port), (key.high_address, key.high_port));
        let (client, server) = match flow.to_server {
            Way::LowToHigh => (low, high),
            Way::HighToLow => (high, low),
        };
        let (from, to) = (socket(client), socket(server));
        let stand_in = match key.protocol {
            6 => emit::tcp(from, to).build(),
            17 => emit::udp(from, to).build(),
            protocol => emit::ip(from.ip(), to.ip(), protocol).build(),
        };
        let ends = Ends::between(from, to, key.protocol, flow.counts.icmp);
        let frame = std::mem::take(&mut self.frame);
        let mut end = self.tells_flows.then(|| self.flow_end(key, flow, why));
        if let Ok(packet) = Packet::parse(&stand_in, Checksums::Unchecked) {
            let view = FlowView {
                slot: Some(flow.slot),
                direction: Direction::ToServer,
                established: flow.is_established(key.protocol),
                is_first: false,
            };
            self.alerts.clear();
            let alerts_before = self.tally.alerts;
            self.inspector.flow_finished(self.rules, &packet, &view, self.now_ms, &mut self.alerts);
            self.report(&packet, &view);
            if let Some(end) = &mut end {
                end.has_alert |= self.tally.alerts > alerts_before;
            }
        }
        let ended = self.inspector.flow_ended(flow.slot);
        if let Some(end) = &mut end {
            end.summary = ended.summary.or(end.summary);
            (end.is_refused, end.is_passed) = (ended.is_refused, ended.is_passed);
        }
        self.report_notes(ends);
        if let Some(end) = end {
            self.records.push(Record { at_ns: self.at_ns, frame: 0, ends, what: What::Flow(Box::new(end)) });
        }
        self.frame = frame;
    }

    /// What there is to tell of a flow that ends now.
    fn flow_end(&self, key: &FlowKey, flow: &Flow, why: Why) -> FlowEnd {
        let counts = &flow.counts;
        FlowEnd {
            summary: self.inspector.summary_of(flow.slot),
            packets: counts.packets,
            bytes: counts.bytes,
            began_us: counts.began_ns / 1_000,
            last_us: counts.last_ns / 1_000,
            state: Some(flow.state(key.protocol)),
            reason: why.word(),
            has_alert: counts.has_alert,
            // Told when the engine has concluded.
            is_refused: false,
            is_passed: false,
            tcp: flow.tcp.as_ref().map(|tcp| (counts.tcp_flags, tcp.phase())),
            decider: None,
        }
    }
}

fn socket((address, port): ([u8; 16], u16)) -> SocketAddr {
    SocketAddr::new(IpAddr::from(Ipv6Addr::from(address)).to_canonical(), port)
}
