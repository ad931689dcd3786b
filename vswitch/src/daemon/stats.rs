//! Records of type `stats`: what was counted since the switch started, with Suricata's keys where it counts the same.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::Switch;
use crate::books::PortTotals;
use crate::drop_reason::DropReason;
use crate::eve::settings::EventType;
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

fn drops(totals: &PortTotals) -> Map<String, Value> {
    let counted = DropReason::ALL.iter().map(|&reason| (reason, totals.drops[reason as usize]));
    counted.filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.word().to_owned(), count.into())).collect()
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
        let lost: u64 = totals.events_lost.iter().sum();
        let suppressed: u64 = totals.events_suppressed.iter().sum();
        json!({
            "timestamp": clock.format(now_us),
            "event_type": "stats",
            "stats": {
                "uptime": now_us / 1_000_000,
                "decoder": {"pkts": all.received, "bytes": all.received_bytes},
                "flow": {"active": totals.flows, "limit": self.flow_limit()},
                "detect": {"alert": totals.alerts_allowed + totals.alerts_blocked},
                "ips": {"accepted": all.delivered, "blocked": all.dropped(), "drop_reason": drops(all)},
                "eve": {"lost": lost, "suppressed": suppressed},
            },
            "vswitch": {
                "name": self.fixed.switch.name,
                "generation": self.workers.generation().number,
                "ports": ports,
            },
        })
    }
}
