//! The watch for scans and floods: its bounds, each with its range and the reason for it, and who is exempt.

use super::Context;
use crate::config::file::{self, DetectAction};
use crate::config::limits::duration;
use crate::config::resolved::PortConfig;
use crate::config::spanned::At;
use crate::config::text::DurationText;
use crate::detect::{DetectConfig, Response};
use inspect::detect::{AnomalyKind, DISTINCT_COUNT_MAX, Threshold};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Different ports, hosts and neighbours can be told apart up to this; other things are just counted.
const DISTINCT: RangeInclusive<u64> = 1..=DISTINCT_COUNT_MAX as u64;
const COUNTED: RangeInclusive<u64> = 1..=1_000_000_000;
/// Below a tenth of a second a burst of a few frames is a flood; what takes longer than ten minutes is slow, and slow is
/// normal.
const WINDOW_MS: RangeInclusive<u64> = 100..=600_000;
/// A record a second and kind is as much as anybody reads; a day is as good as never.
const QUIET_MS: RangeInclusive<u64> = 1_000..=86_400_000;
/// Shorter than a second stops nothing; after a week somebody should have looked.
const QUARANTINE_MS: RangeInclusive<u64> = 1_000..=604_800_000;
/// Long enough that a scanner gives up, short enough that a mistaken threshold does not cost a night.
const QUARANTINE_DEFAULT_MS: u64 = 600_000;

/// Checks the section, and looks up who is exempt.
pub(super) fn resolve(
    section: &file::Detect,
    ports: &[PortConfig],
    zone_names: &BTreeSet<&str>,
    context: &mut Context<'_>,
) -> DetectConfig {
    let detector = |kind| match kind {
        AnomalyKind::PortScan => &section.port_scan,
        AnomalyKind::HostSweep => &section.host_sweep,
        AnomalyKind::ArpSweep => &section.arp_sweep,
        AnomalyKind::SynFlood => &section.syn_flood,
        AnomalyKind::UdpFlood => &section.udp_flood,
        AnomalyKind::IcmpFlood => &section.icmp_flood,
        AnomalyKind::ConnectionBurst => &section.connection_burst,
    };
    let mut config = DetectConfig::default();
    for kind in AnomalyKind::ALL {
        let (threshold, response) = watched(kind, detector(kind), context);
        if detector(kind).enabled {
            config.kinds.insert(kind, (threshold, response));
        }
    }
    for name in &section.exempt {
        let is_named = |port: &&PortConfig| port.name == name.value || port.zone_name == name.value;
        let before = config.exempt.len();
        config.exempt.extend(ports.iter().filter(is_named).map(|port| port.id));
        if before == config.exempt.len() && !zone_names.contains(name.as_str()) {
            let known = ports.iter().map(|port| port.name.as_str()).chain(zone_names.iter().copied()).collect();
            context.unknown("port or zone", name, &name.at, &known);
        }
    }
    config
}

fn watched(kind: AnomalyKind, section: &file::Detector, context: &mut Context<'_>) -> (Threshold, Response) {
    let default = kind.default_threshold();
    let range = if kind.is_distinct() { DISTINCT } else { COUNTED };
    let count_max = match &section.threshold {
        None => default.count_max,
        // Both ranges fit a u32.
        Some(value) => context.check_range("threshold", value, value.value, &range, |count| count.to_string()) as u32,
    };
    let mut time = |key: &str, value: &Option<At<DurationText>>, range, default| match value {
        None => default,
        Some(value) => context.check_range(key, value, value.value.0, &range, duration),
    };
    let threshold = Threshold {
        count_max,
        window_ms: time("window", &section.window, WINDOW_MS, u64::from(default.window_ms)) as u32,
        quiet_ms: time("quiet_time", &section.quiet_time, QUIET_MS, default.quiet_ms),
    };
    let quarantine_ms = time("quarantine_time", &section.quarantine_time, QUARANTINE_MS, QUARANTINE_DEFAULT_MS);
    let response = match section.action {
        DetectAction::Alert => Response::Alert,
        DetectAction::Drop => Response::Drop,
        DetectAction::Quarantine => Response::Quarantine { ms: quarantine_ms },
    };
    if let Some(value) = section.quarantine_time.as_ref().filter(|_| section.action != DetectAction::Quarantine) {
        let message = format!("`quarantine_time` says nothing where `action` is `{}`", response.word());
        context.warning_at(&value.at, message);
    }
    (threshold, response)
}
