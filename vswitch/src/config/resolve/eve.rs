//! The event log: which records, and what they say.

use std::ops::RangeInclusive;

use super::super::file;
use super::super::limits::duration;
use super::super::spanned::At;
use super::{Context, Once};
use crate::eve::settings::{EveSettings, EventTypes};

/// Beyond this, alerts of one burst of trouble would fill memory: the queue holds 8,192 of them.
const PAYLOAD_BYTES_MAX: u64 = 4_096;

/// The main thread looks twice a second; what is older than an hour is no news.
const STATS_INTERVAL_MS: RangeInclusive<u64> = 1_000..=3_600_000;

/// Looks up the section; without one, nothing is written.
pub(super) fn resolve(section: Option<&file::Eve>, context: &mut Context<'_>) -> EveSettings {
    let Some(eve) = section else { return EveSettings::NOTHING };
    context.check_absolute("eve.path", &eve.path);
    let default = EveSettings::default();
    let types = match &eve.types {
        None => default.types,
        Some(listed) => {
            let mut once = Once::new();
            for kind in listed {
                if let Some(first) = once.note(kind.value, &kind.at) {
                    context.error_with_first(&kind.at, &first, format!("`{}` is listed twice", kind.name()));
                }
            }
            EventTypes::of(&listed.iter().map(|kind| kind.value).collect::<Vec<_>>())
        }
    };
    let mut number = |key: &str, value: &Option<At<u64>>, max: u64| match value {
        None => 0,
        Some(value) => context.check_range(key, value, value.value, &(0..=max), |number| number.to_string()),
    };
    // Both bounds fit.
    let seed = number("community_id_seed", &eve.community_id_seed, u64::from(u16::MAX)) as u16;
    let payload_bytes_max = number("payload_bytes", &eve.alert.payload_bytes, PAYLOAD_BYTES_MAX) as usize;
    let stats_interval_ms = match &eve.stats_interval {
        None => default.stats_interval_ms,
        Some(value) => context.check_range("stats_interval", value, value.value.0, &STATS_INTERVAL_MS, duration),
    };
    EveSettings {
        types,
        metadata: eve.alert.metadata.unwrap_or(default.metadata),
        app_layer: eve.alert.app_layer.unwrap_or(default.app_layer),
        payload_bytes_max,
        community_id: eve.community_id.then_some(seed),
        stats_interval_ms,
    }
}
