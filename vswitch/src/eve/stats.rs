//! What was counted so far, with Suricata's keys where it counts the same.

use serde_json::{Map, Value, json};

/// Counts since the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Seconds since the beginning.
    pub uptime: u64,
    /// Frames received, and their bytes.
    pub packets: (u64, u64),
    /// Flows opened.
    pub flows: u64,
    /// Flows open at the moment.
    pub active_flows: u64,
    /// How many flows there may be at once.
    pub flow_limit: u64,
    /// Alerts raised.
    pub alerts: u64,
    /// Frames that went on.
    pub accepted: u64,
    /// Frames that were dropped, by reason.
    pub blocked: Vec<(String, u64)>,
    /// Events that were lost on their way to the log.
    pub events_lost: u64,
    /// Events that are counted in records of others.
    pub events_suppressed: u64,
}

impl Stats {
    /// The record. Reasons that did not come up are left out, as Suricata leaves out zeros.
    pub fn record(&self, timestamp: &str) -> Value {
        let reasons = self.blocked.iter().filter(|(_, count)| *count > 0);
        let reasons: Map<String, Value> = reasons.map(|(reason, count)| (reason.clone(), (*count).into())).collect();
        let blocked: u64 = self.blocked.iter().map(|(_, count)| count).sum();
        json!({
            "timestamp": timestamp,
            "event_type": "stats",
            "stats": {
                "uptime": self.uptime,
                "decoder": {"pkts": self.packets.0, "bytes": self.packets.1},
                "flow": {"total": self.flows, "active": self.active_flows, "limit": self.flow_limit},
                "detect": {"alert": self.alerts},
                "ips": {"accepted": self.accepted, "blocked": blocked, "drop_reason": reasons},
                "eve": {"lost": self.events_lost, "suppressed": self.events_suppressed},
            },
        })
    }
}
