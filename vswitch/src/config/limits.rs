//! The bounds that an operator may move, each with its default, its range and the reason for both.

use super::file::LimitsFile;
use super::resolve::Context;
use super::spanned::At;
use super::text::DurationText;
use crate::flow_table::{FLOWS_MAX, Timeouts};
use std::ops::RangeInclusive;

/// Bounds of tables, and how long things are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Flows remembered at most, over all workers.
    pub flows: u32,
    /// Flows that one port may have opened at any time.
    pub flows_per_port: u32,
    /// MAC addresses learned at most behind one port.
    pub learned_macs: u32,
    /// How long a learned MAC address is remembered, in milliseconds.
    pub mac_ageing_ms: u64,
    /// Broadcast, multicast and unknown-destination frames that one port may send in a second, and at once after silence.
    pub flood_frames_per_second: u32,
    /// How long a flow is remembered without a frame of it.
    pub flow_timeouts: Timeouts,
}

impl Default for Limits {
    /// 65536 flows serve some hundred busy guests and take a few dozen MiB. A quarter of them for one port leaves the
    /// others theirs when one guest floods. 4096 MACs are more than a firewall tier shows, and 300 s is the ageing time of
    /// IEEE 802.1Q table 8-6. UDP's times are those that RFC 4787 clause 4.3 allows and Linux uses (30 s, then 180 s).
    fn default() -> Self {
        Self {
            flows: 65_536,
            flows_per_port: 16_384,
            learned_macs: 4_096,
            mac_ageing_ms: 300_000,
            flood_frames_per_second: crate::pipeline::FLOOD_FRAMES_PER_S,
            flow_timeouts: Timeouts::default(),
        }
    }
}

/// Below this a handful of guests stall one another; above it a table is larger than what the host has caches and memory
/// for.
const FLOWS: RangeInclusive<u64> = 1_024..=FLOWS_MAX as u64;
/// One guest's browser opens some dozens of flows at once.
const FLOWS_PER_PORT_MIN: u64 = 64;
const LEARNED_MACS: RangeInclusive<u64> = 1..=65_536;
/// Below this, address resolution of a busy guest suffers; above it nothing is limited.
const FLOOD_FRAMES_PER_SECOND: RangeInclusive<u64> = 10..=1_000_000;
/// IEEE 802.1Q table 8-6 has 10 s to 1,000,000 s; a day is long enough to be forever.
const MAC_AGEING_MS: RangeInclusive<u64> = 10_000..=86_400_000;
/// Shorter than a second forgets a flow between question and answer; longer than a day keeps what nobody uses.
const FLOW_TIMEOUT_MS: RangeInclusive<u64> = 1_000..=86_400_000;

impl Limits {
    pub(super) fn new(file: &LimitsFile, context: &mut Context<'_>) -> Self {
        let default = Self::default();
        let mut count = |key: &str, value: &Option<At<u64>>, range: RangeInclusive<u64>, default: u32| match value {
            None => default,
            Some(value) => context.check_range(key, value, value.value, &range, |number| number.to_string()) as u32,
        };
        let flows = count("flows", &file.flows, FLOWS, default.flows);
        // A smaller table without a word about ports keeps the proportion.
        let share = default.flows_per_port.min((flows / 4).max(FLOWS_PER_PORT_MIN as u32));
        let flows_per_port =
            count("flows_per_port", &file.flows_per_port, FLOWS_PER_PORT_MIN..=u64::from(flows), share);
        let learned_macs = count("learned_macs", &file.learned_macs, LEARNED_MACS, default.learned_macs);
        let flood_frames_per_second = count(
            "flood_frames_per_second",
            &file.flood_frames_per_second,
            FLOOD_FRAMES_PER_SECOND,
            default.flood_frames_per_second,
        );
        let mut time =
            |key: &str, value: &Option<At<DurationText>>, range: RangeInclusive<u64>, default: u64| match value {
                None => default,
                Some(value) => context.check_range(key, value, value.value.0, &range, duration),
            };
        let timeouts = &file.flow_timeouts;
        // Every bound of a flow's timeout fits a u32.
        let mut timeout = |key: &str, value: &Option<At<DurationText>>, default: u32| {
            time(key, value, FLOW_TIMEOUT_MS, u64::from(default)) as u32
        };
        Self {
            flows,
            flows_per_port,
            learned_macs,
            flood_frames_per_second,
            flow_timeouts: Timeouts {
                one_way_ms: timeout("one_way", &timeouts.one_way, default.flow_timeouts.one_way_ms),
                two_way_ms: timeout("two_way", &timeouts.two_way, default.flow_timeouts.two_way_ms),
                icmp_ms: timeout("icmp", &timeouts.icmp, default.flow_timeouts.icmp_ms),
            },
            mac_ageing_ms: time("mac_ageing", &file.mac_ageing, MAC_AGEING_MS, default.mac_ageing_ms),
        }
    }
}

/// Milliseconds as the file writes them.
pub(super) fn duration(ms: u64) -> String {
    match ms {
        ms if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        ms if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        ms if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        ms => format!("{ms}ms"),
    }
}
