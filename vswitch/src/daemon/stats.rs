//! Records of type `stats`: what was counted since the switch started.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Switch;
use crate::drop_reason::DropReason;
use crate::eve::settings::EventType;
use crate::eve::stats::Stats;
use crate::eve::timestamp::WallClock;

/// When the next record is due; `None` if none are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatsDue(Option<(Duration, Instant)>);

impl StatsDue {
    pub(super) fn new(settings: &crate::eve::settings::EveSettings) -> Self {
        let interval = Duration::from_millis(settings.stats_interval_ms);
        Self(settings.types.contains(EventType::Stats).then(|| (interval, Instant::now() + interval)))
    }

    /// Whether one is due now.
    fn take(&mut self) -> bool {
        match &mut self.0 {
            Some((interval, due)) if Instant::now() >= *due => {
                *due = Instant::now() + *interval;
                true
            }
            Some(_) | None => false,
        }
    }
}

impl Switch {
    /// Writes a record if one is due.
    pub(super) fn write_stats_if_due(&mut self) {
        if self.stats_due.take() {
            let record = self.stats_record();
            self.log.write_stats(record);
        }
    }

    fn stats_record(&self) -> Value {
        let totals = self.totals();
        let all = &totals.all;
        let ports: Map<String, Value> = self
            .known_ports()
            .map(|(id, name)| {
                let port = totals.port(id);
                let counted = json!({
                    "received": port.received, "received_bytes": port.received_bytes, "transmitted": port.transmitted,
                    "transmitted_bytes": port.transmitted_bytes, "dropped": port.dropped(),
                });
                (name.to_owned(), counted)
            })
            .collect();
        let now_us = self.workers.now_us();
        let clock = WallClock::now(Instant::now() - Duration::from_micros(now_us));
        let reasons = DropReason::ALL.iter();
        let stats = Stats {
            uptime: now_us / 1_000_000,
            packets: (all.received, all.received_bytes),
            flows: totals.flows_opened,
            active_flows: totals.flows,
            flow_limit: self.flow_limit(),
            alerts: totals.alerts_allowed + totals.alerts_blocked,
            accepted: all.delivered,
            blocked: reasons.map(|&reason| (reason.word().to_owned(), all.drops[reason as usize])).collect(),
            events_lost: totals.events_lost.iter().sum(),
            events_suppressed: totals.events_suppressed.iter().sum(),
        };
        let mut record = stats.record(&clock.format(now_us));
        record["vswitch"] = json!({
            "name": self.fixed.switch.name,
            "generation": self.workers.generation().number,
            "ports": ports,
        });
        record
    }
}
