//! Cycles per frame of the whole switch: out of one guest's ring, through every stage, into the other guest's ring.

use crate::Effort;
use crate::extra::Extra;
use crate::guest::Shape;
use crate::report;
use crate::rig::{Rig, UDP, readdress, template};

/// Which flow each frame is of: every flow once, then in turn, or at random where there are more than the caches hold anyway.
pub(super) struct Flows {
    count: u32,
    next: u32,
    random: u64,
}

impl Flows {
    pub(super) fn new(count: u32) -> Self {
        Self { count, next: 0, random: 88_172_645_463_325_252 }
    }

    /// Whether there are flows of which no frame has been sent.
    pub(super) fn is_opening(&self) -> bool {
        self.next < self.count
    }

    pub(super) fn next(&mut self) -> u32 {
        let flow = if self.count <= 16 || self.is_opening() {
            self.next % self.count
        } else {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (self.random % u64::from(self.count)) as u32
        };
        self.next = self.next.wrapping_add(1);
        flow
    }
}

/// `burst` frames are offered at once; the switch takes at most 32 of them in one turn.
pub(super) fn measure(effort: Effort, frame_len: usize, ring_size: u16, flow_count: u32, burst: u16) {
    let mut rig = Rig::new(effort, Shape::plain(ring_size));
    let mut cycles = cycles(&mut rig, effort, frame_len, flow_count, burst);
    report::cycles(&format!("walk {frame_len} {ring_size} {flow_count} {burst}"), &mut cycles);
}

/// What operators may switch on beyond what is always there, each alone: 1,000 flows in bursts of 32.
pub(super) fn extras(effort: Effort) {
    for frame_len in [60, 1_500] {
        for extra in Extra::ALL {
            let mut rig = Rig::with(effort, Shape::plain(256), extra);
            let mut cycles = cycles(&mut rig, effort, frame_len, 1_000, 32);
            report::cycles(&format!("extra {frame_len} {}", extra.name()), &mut cycles);
        }
    }
}

/// The cycles per frame of each burst, once each flow was open.
fn cycles(rig: &mut Rig, effort: Effort, frame_len: usize, flow_count: u32, burst: u16) -> Vec<u32> {
    let template = template(UDP, frame_len);
    let mut flows = Flows::new(flow_count);
    let (mut moved, mut seen) = (0, 0);
    let mut cycles = Vec::new();
    // First every flow once, then what is measured.
    for _ in 0..flow_count.div_ceil(u32::from(burst)) + effort.rounds(60_000) {
        let is_opening = flows.is_opening();
        rig.guests[0].send(burst, frame_len, |frame| {
            frame.copy_from_slice(&template);
            readdress(frame, flows.next());
        });
        let took = rig.carry(0, burst.into());
        rig.now_us += 1;
        seen += u64::from(burst);
        moved += rig.guests[1].take();
        if !is_opening {
            cycles.push((took / u64::from(burst)) as u32);
        }
    }
    assert_eq!(moved, seen, "every frame arrives; dropped: {:?}", rig.drops());
    cycles
}

/// How long one frame is under way through a switch that has nothing else to do: with its caches as the last frame left them,
/// and with caches that were put to other use in between.
pub(super) fn latency(effort: Effort, frame_len: usize) {
    let mut rig = Rig::new(effort, Shape::plain(256));
    let template = template(UDP, frame_len);
    let ns_per_cycle = 1e9 / report::cycles_per_s();
    let other_use = vec![1u8; 48 << 20];
    for (name, is_cold, rounds) in [("warm", false, 60_000), ("cold", true, 500)] {
        let mut times = Vec::new();
        for _ in 0..effort.rounds(rounds) {
            if is_cold {
                std::hint::black_box(other_use.iter().step_by(64).map(|byte| u64::from(*byte)).sum::<u64>());
            }
            rig.guests[0].send(1, frame_len, |frame| frame.copy_from_slice(&template));
            times.push((rig.carry(0, 1) as f64 * ns_per_cycle) as u32);
            rig.now_us += 1;
            assert_eq!(rig.guests[1].take(), 1, "the frame arrives");
        }
        println!("{}", report::nanoseconds(&format!("one-frame {frame_len} {name}"), &mut times));
    }
}
