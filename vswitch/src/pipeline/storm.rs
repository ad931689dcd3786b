//! Storm control: how many frames for everybody one port may send.
//!
//! A frame to a group address or to an unknown destination is copied to many ports and judged once for each, so it costs
//! everybody, and two guests that bridge two ports make it come back for ever (attacks L01 and L04). Each port has a token
//! bucket for them; a frame that finds it empty is dropped before any copy is made.

use crate::counters::PORTS_MAX;
use crate::frame::PortId;

/// Frames for everybody that one port may send in a second, unless configured otherwise. A guest resolves a few addresses a
/// second and asks for its own by DHCP once; a thousand is room for an uplink with a busy network behind it.
pub const FLOOD_FRAMES_PER_S: u32 = 1_000;

/// Time after which an unused bucket is full again, in nanoseconds: the burst is what a second allows.
const FULL_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Time that is saved up, in nanoseconds; a frame costs `1 s / rate` of it.
    saved_ns: u64,
    seen_us: u64,
}

/// The buckets of all ports in one worker.
#[derive(Debug)]
pub(super) struct StormControl {
    buckets: Box<[Bucket]>,
    frame_ns: u64,
}

impl StormControl {
    /// Full buckets. A port whose queue pairs are served by several workers has one in each.
    pub(super) fn new(frames_per_s: u32) -> Self {
        let full = Bucket { saved_ns: FULL_NS, seen_us: 0 };
        let frame_ns = FULL_NS / u64::from(frames_per_s.max(1));
        Self { buckets: vec![full; PORTS_MAX].into_boxed_slice(), frame_ns: frame_ns.max(1) }
    }

    /// Whether one more frame for everybody may enter by the port.
    pub(super) fn admits(&mut self, port: PortId, now_us: u64) -> bool {
        let bucket = &mut self.buckets[port.index()];
        let passed_us = now_us.saturating_sub(bucket.seen_us);
        bucket.seen_us = now_us.max(bucket.seen_us);
        bucket.saved_ns = (bucket.saved_ns + passed_us.min(1_000_000) * 1_000).min(FULL_NS);
        let has_enough = bucket.saved_ns >= self.frame_ns;
        if has_enough {
            bucket.saved_ns -= self.frame_ns;
        }
        has_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_each_port_for_itself() {
        let mut storm = StormControl::new(1_000);
        let admitted = (0..5_000).filter(|_| storm.admits(PortId(1), 0)).count();
        assert_eq!(admitted, 1_000);
        let admitted = (1..=200_000).filter(|now_us| storm.admits(PortId(1), *now_us)).count();
        assert_eq!(admitted, 200);
        assert!(storm.admits(PortId(2), 200_000));
        assert!(!storm.admits(PortId(1), 0), "a clock that goes back gives nothing");
        let admitted = (0..5_000).filter(|_| storm.admits(PortId(1), 10_000_000)).count();
        assert_eq!(admitted, 1_000, "no more than a second is saved up");
    }
}
