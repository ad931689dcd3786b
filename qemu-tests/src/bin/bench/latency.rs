//! How long a frame is under way, side by side: two guests in one process on processor 1 send to each other over a switch on
//! processor 0 (`vswitch/benches/pipeline/probe.rs`).

use std::path::Path;
use std::time::Duration;

use crate::distance::{Distance, Readings, Watch};
use crate::lines::{self, Line};
use crate::peers::{Kind, Peer};
use crate::results::Results;
use crate::{PIPELINE, Plan};

/// The section of the results.
pub const LATENCY: &str = "a frame from guest to guest, nanoseconds: switch, load, processors";
/// Frames per second that the probing guests get across.
pub const CAPACITY: &str = "what the probing guests get across at most, frames per second";
/// Both at the same rate: half of what the peer can.
const SAME_RATE: &str = "half-of-ovs-ct";

/// The name of a reading.
pub fn name(kind: Kind, what: &str, word: &str, distance: Distance) -> String {
    format!("{} {what} {word} {}", kind.name(), distance.name())
}

fn probe(plan: &Plan, kind: Kind, rate: Option<f64>) -> (Vec<Line>, Readings) {
    let dir = tempfile::Builder::new().prefix("vsw-bench-").tempdir().expect("a temporary folder");
    let peer = Peer::start(kind, dir.path(), plan.has_huge_pages);
    let sockets: Vec<&Path> = peer.sockets.iter().map(AsRef::as_ref).collect();
    let mut command = lines::pinned(1, plan.program(PIPELINE));
    command.args(plan.is_short.then_some("--short")).arg("probe").args(sockets);
    command.arg((plan.seconds / 2.0).to_string()).args(rate.map(|rate| format!("{rate:.0}")));
    // Seldom enough: what it holds up is far less than a hundredth of the frames.
    let watch = Watch::start(plan, Duration::from_millis(250));
    let lines = lines::run(&mut command);
    (lines, watch.stop())
}

fn note(kind: Kind, (lines, readings): &(Vec<Line>, Readings), results: &mut Results) {
    for line in lines {
        let what = line.name.trim_start_matches("probe ");
        let what = if what.starts_with("rate-") { SAME_RATE } else { what };
        let time = line.value("from").zip(line.value("to"));
        let distance = time.map_or(Distance::Mixed, |(from, to)| readings.between(from, to));
        for word in ["p50", "p99"] {
            if let Some(value) = line.value(word) {
                let name = name(kind, what, word, distance);
                eprintln!("bench: {name}: {value} ns");
                results.add(LATENCY, &name, "ns", value);
            }
        }
        if let Some(rate) = line.value("frames/s") {
            results.add(CAPACITY, kind.name(), "frames/s", rate);
        }
        if let Some(share) = line.value("share-of-rate").filter(|share| *share < 0.95) {
            results.note(format!("{}: {what}: only {share} of the rate was sent", kind.name()));
        }
        if let Some(lost) = line.value("lost") {
            results.note(format!("{}: {what}: {lost} frames did not arrive within 200 ms", kind.name()));
        }
    }
}

/// One round: the peer first, whose capacity sets the rate that both are loaded with.
pub fn round(plan: &Plan, kinds: &[Kind], results: &mut Results) {
    let mut rate = None;
    if kinds.contains(&Kind::OvsCt) {
        let probed = probe(plan, Kind::OvsCt, None);
        rate = probed.0.iter().find_map(|line| line.value("frames/s")).map(|capacity| capacity / 2.0);
        note(Kind::OvsCt, &probed, results);
    }
    for kind in [Kind::OursAdaptive, Kind::Ours] {
        note(kind, &probe(plan, kind, rate), results);
    }
}
