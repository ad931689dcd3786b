//! What the switch costs: measurements in one thread, between two synthetic guests whose own work is not timed. To be read
//! beside a run of DPDK's bare vhost copy on the same machine: same frame sizes, ring size, burst, and the same negotiated
//! features. `scripts/bench` runs them all and makes the ratios.
//!
//! `cargo bench -p vswitch --bench pipeline -- [--short] [WHAT NUMBER...]`, where WHAT is
//!
//! | WHAT | numbers | what is measured |
//! | --- | --- | --- |
//! | `walk` | FRAME_BYTES RING_SIZE FLOWS BURST, any number of times | cycles per frame of the whole switch |
//! | `stages` | the same | cycles per frame of each stage alone |
//! | `opens` | - | new flows per second, and bytes of memory per flow |
//! | `segments` | - | bytes per second of TCP in 64 KiB super-segments, and in frames of 1514 bytes |
//! | `extras` | - | cycles per frame of the whole switch with what operators may switch on, one at a time |
//! | `one-frame` | FRAME_BYTES | how long one frame is under way through a switch that has nothing else to do |
//!
//! Without any, all of them. Flows above 16 are picked at random. `--short` only shows that the measurements run.
//!
//! Two more play guests for a switch in another process (this one or another): `probe SOCKET SOCKET ...` measures latency, see
//! `probe.rs`; `hold SOCKET...` connects an idle guest to each socket, until its standard input ends. `distance` tells how far
//! the processors are from each other meanwhile, see `distance.rs`.

mod distance;
mod extra;
mod guest;
mod opens;
mod probe;
mod report;
mod rig;
mod segments;
mod stages;
mod walk;

use std::path::Path;

use guest::{Guest, Shape};

/// How much of the usual number of rounds a measurement does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    is_short: bool,
}

impl Effort {
    /// So many rounds, or few if that is wished.
    pub(crate) fn rounds(self, usual: u32) -> u32 {
        if self.is_short { usual.min(20) } else { usual }
    }

    /// So many flows, or a handful.
    pub(crate) fn flows(self, usual: u32) -> u32 {
        if self.is_short { usual.min(2_000) } else { usual }
    }

    /// Flows that the switch's table holds: all measurements' fit.
    pub(crate) fn flows_max(self) -> u32 {
        if self.is_short { 4_096 } else { 1 << 20 }
    }
}

/// What is measured.
const ALL: &[&str] = &["walk", "stages", "opens", "segments", "extras", "one-frame"];

/// Frame bytes, ring size, flows, burst.
const CASES: &[[u32; 4]] = &[[60, 256, 16, 32], [1_500, 256, 16, 32], [60, 256, 100_000, 32]];

fn cases(numbers: &[String], effort: Effort, mut measure: impl FnMut([u32; 4])) {
    let numbers: Vec<u32> = numbers.iter().filter_map(|word| word.parse().ok()).collect();
    let given = numbers.as_chunks::<4>().0;
    for case in if given.is_empty() { CASES } else { given } {
        let [frame_len, ring_size, flows, burst] = *case;
        assert!((60..=1_514).contains(&frame_len) && ring_size.is_power_of_two() && burst <= ring_size.min(64));
        measure([frame_len, ring_size, effort.flows(flows), burst]);
    }
}

fn measure(what: &str, numbers: &[String], effort: Effort) {
    match what {
        "walk" => cases(numbers, effort, |[len, ring, flows, burst]| {
            walk::measure(effort, len as usize, ring as u16, flows, burst as u16);
        }),
        "stages" => cases(numbers, effort, |[len, ring, flows, burst]| {
            stages::measure(effort, len as usize, ring as u16, flows, burst as u16);
        }),
        "opens" => opens::measure(effort),
        "segments" => segments::measure(effort),
        "extras" => walk::extras(effort),
        "one-frame" => {
            walk::latency(effort, numbers.first().and_then(|number| number.parse().ok()).unwrap_or(60));
        }
        _ => panic!("what is {what}? See the head of benches/pipeline/main.rs"),
    }
}

fn hold(sockets: &[String]) {
    let shape = Shape { is_populated: false, ..Shape::plain(256) };
    let mut guests: Vec<Guest> = sockets.iter().map(|_| Guest::new(shape)).collect();
    for (guest, socket) in guests.iter_mut().zip(sockets) {
        guest.post_all();
        guest.connect(Path::new(socket));
    }
    println!("hold: {} guests", guests.len());
    let end = std::io::read_to_string(std::io::stdin());
    end.expect("standard input ends");
}

fn main() {
    // Cargo says --bench.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let effort = Effort { is_short: words.iter().any(|word| word == "--short") };
    let words: Vec<String> = words.into_iter().filter(|word| word != "--short").collect();
    match words.split_first() {
        None => ALL.iter().for_each(|what| measure(what, &[], effort)),
        Some((what, sockets)) if what == "hold" => hold(sockets),
        Some((what, rest)) if what == "probe" => probe::run(rest, effort),
        Some((what, rest)) if what == "distance" => distance::run(rest),
        Some((what, numbers)) => measure(what, numbers, effort),
    }
}
