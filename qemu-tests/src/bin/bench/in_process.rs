//! The measurements of the crates' own benches: the switch in one thread (`vswitch/benches/pipeline`), in turn with the floor
//! where it is given, the parser (`inspect/benches/wire.rs`), and the policy (`zones/benches/policy.rs`).

use std::process::Command;

use crate::lines::{self, Line};
use crate::results::Results;
use crate::{PIPELINE, Plan, floor};

/// Sections of the results.
pub const WALK: &str = "whole switch in one thread: frame bytes, ring, flows, burst";
pub const STAGES: &str = "stages alone: frame bytes, ring, flows, burst";
pub const EXTRAS: &str = "whole switch in one thread, 1000 flows, with what operators may switch on: frame bytes, what";
pub const OPENS: &str = "new flows, each frame opening one";
pub const SEGMENTS: &str = "bulk TCP, payload bytes per second of the switch's thread";
pub const ONE: &str = "one frame through a switch in the same thread that has nothing else to do";

pub const PARTS: &str = "parser and policy alone, best of many rounds";

/// Frame bytes, ring size, flows, burst.
const CASES: &[&str] = &[
    "60 256 16 32",
    "128 256 16 32",
    "512 256 16 32",
    "1024 256 16 32",
    "1500 256 16 32",
    "60 256 1000 32",
    "60 256 20000 32",
    "60 256 100000 32",
    "60 256 1000000 32",
    "60 256 16 1",
    "60 256 16 4",
    "60 256 16 8",
    "60 256 16 16",
    "60 256 16 64",
];
/// The cases of [`crate::figures`], and how often a round takes each in turn with the floor: the machine's speed changes within
/// seconds, and only what was measured side by side can be compared.
pub const FIGURES: [&str; 4] = ["60 256 16 32", "1500 256 16 32", "60 256 100000 32", "60 256 1000000 32"];
const TURNS: usize = 9;

const STAGE_CASES: &[&str] = &["60 256 16 32", "1500 256 16 32", "60 256 100000 32"];

fn bench(plan: &Plan, program: &str, words: &str) -> Vec<Line> {
    let mut command = lines::pinned(0, plan.program(program));
    command.args(plan.is_short.then_some("--short")).args(words.split_whitespace());
    lines::run(&mut command)
}

/// What the floor costs in cycles per frame, if there is a program for it.
fn floor_cycles(plan: &Plan, case: &str) -> Option<f64> {
    let mut command = lines::pinned(0, plan.floor.as_ref()?);
    let command: &mut Command = command.arg("vb").args(case.split(' '));
    let found = lines::run(command).iter().find_map(|line| line.value("med"));
    Some(found.unwrap_or_else(|| panic!("{command:?} printed no \"cyc/f med\"")))
}

/// One round of everything.
pub fn round(plan: &Plan, results: &mut Results) {
    for case in CASES.iter().step_by(if plan.is_short { 5 } else { 1 }) {
        let turns = if plan.is_short || !FIGURES.contains(case) { 1 } else { TURNS };
        for line in (0..turns).flat_map(|_| bench(plan, PIPELINE, &format!("walk {case}"))) {
            let cycles = line.value("med").expect("a median");
            results.add(WALK, &line.name, "cycles/frame", cycles);
            if let Some(cycles) = floor_cycles(plan, case) {
                results.add(WALK, &floor(&line.name), "cycles/frame", cycles);
            }
        }
    }
    for case in STAGE_CASES {
        for line in bench(plan, PIPELINE, &format!("stages {case}")) {
            results.add(STAGES, &line.name, "cycles/frame", line.value("med").expect("a median"));
        }
    }
    for line in bench(plan, PIPELINE, "extras") {
        results.add(EXTRAS, &line.name, "cycles/frame", line.value("med").expect("a median"));
    }
    for line in bench(plan, PIPELINE, "opens") {
        let words = [("flows/s", "1/s"), ("med", "cycles"), ("displaced", "flows")];
        for (word, unit) in words.into_iter().chain([("bytes/flow", "bytes"), ("since-start", "bytes/flow")]) {
            if let Some(value) = line.value(word) {
                results.add(OPENS, &format!("{} {word}", line.name), unit, value);
            }
        }
    }
    for line in bench(plan, PIPELINE, "segments") {
        if let Some(value) = line.value("bytes/s") {
            results.add(SEGMENTS, &line.name, "bytes/s", value);
        }
    }
    for bytes in ["60", "1500"] {
        for line in bench(plan, PIPELINE, &format!("one-frame {bytes}")) {
            for (word, unit) in [("p50", "ns p50"), ("p99", "ns p99")] {
                results.add(ONE, &format!("{} {word}", line.name), unit, line.value(word).expect("it is printed"));
            }
        }
    }
    for program in ["wire", "policy"] {
        for line in bench(plan, program, "") {
            results.add(PARTS, &line.name, "ns", line.value("ns").expect("it is printed"));
        }
    }
}
