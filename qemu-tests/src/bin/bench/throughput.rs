//! Frames per second that two stock DPDK guests receive over each switch: both send what they have in a capture as fast as they
//! can, over virtio-user ports of one testpmd. The switch has processor 0, the guests have processor 1. Rates are taken in short
//! windows, each with where the two processors were meanwhile.

use std::path::Path;
use std::time::Duration;

use qemu_tests::testpmd::Testpmd;

use crate::distance::{self, Distance, Watch};
use crate::peers::{Kind, Peer};
use crate::results::Results;
use crate::{Plan, capture};

/// Sections of the results.
pub const RATE: &str = "two DPDK guests, frames received by both per second: switch, bytes with FCS, flows, processors";
pub const CYCLES: &str = "the switch's own busy cycles per frame in that run";

/// Frame bytes with the frame check sequence, and flows.
pub const CASES: &[(usize, u16)] = &[(64, 1_024), (64, 20_480), (1_518, 1_024), (1_518, 20_480)];

/// Seconds of a window.
const WINDOW_S: f64 = 0.25;
/// Windows that a median wants.
const WINDOWS_MIN: usize = 4;

/// The name of a reading.
pub fn name(kind: Kind, (size, flows): (usize, u16), distance: Distance) -> String {
    format!("{} {size} {flows} {}", kind.name(), distance.name())
}

/// Just enough buffers: a pool far beyond the caches makes the guests the bottleneck, and hides the switch.
fn buffers(flows: u16) -> u32 {
    2 * u32::from(flows) + 6_144
}

fn guests(dir: &Path, sockets: &[std::path::PathBuf; 2], flows: u16, has_huge_pages: bool) -> Testpmd {
    let device = |index: usize| {
        let mac = capture::GUESTS[index].0.map(|byte| format!("{byte:02x}")).join(":");
        format!("--vdev=net_virtio_user{index},path={},mac={mac},queue_size=1024", sockets[index].display())
    };
    let replay = |index: usize| format!("--vdev=net_pcap{index},rx_pcap={}/{index}.pcap,infinite_rx=1", dir.display());
    let memory = if has_huge_pages { "--in-memory" } else { "--no-huge" };
    let environment = ["--lcores", "0@1,1@1", memory, "--single-file-segments", "-m", "256"];
    let devices = [replay(0), device(0), replay(1), device(1)];
    let environment: Vec<&str> = environment.into_iter().chain(devices.iter().map(String::as_str)).collect();
    let pool = format!("--total-num-mbufs={}", buffers(flows));
    let arguments = ["--auto-start", "--nb-cores=1", &pool, "--txd=1024", "--rxd=1024"];
    Testpmd::launch("guests", dir, &environment, &arguments)
}

/// The sums of the rates at which ports 1 and 3, the guests, received: of each print of the statistics, since the one before.
fn received_per_s(text: &str) -> Vec<f64> {
    let of_print = |print: &str| {
        let mut port = 0;
        let mut rates = Vec::new();
        for line in print.lines() {
            let mut words = line.split_whitespace().skip_while(|word| *word != "port" && *word != "Rx-pps:");
            match (words.next(), words.next().and_then(|word| word.parse::<u64>().ok())) {
                (Some("port"), Some(number)) => port = number,
                (Some("Rx-pps:"), Some(rate)) if port == 1 || port == 3 => rates.push(rate as f64),
                _ => {}
            }
        }
        (rates.len() == 2).then(|| rates.iter().sum())
    };
    text.split("NIC statistics for port 0 ").skip(1).filter_map(of_print).collect()
}

fn measure(plan: &Plan, kind: Kind, case: (usize, u16), results: &mut Results) {
    let (size, flows) = case;
    let dir = tempfile::Builder::new().prefix("vsw-bench-").tempdir().expect("a temporary folder");
    let mut peer = Peer::start(kind, dir.path(), plan.has_huge_pages);
    for from in 0..2 {
        capture::write(&dir.path().join(format!("{from}.pcap")), from, size, flows);
    }
    let mut guests = guests(dir.path(), &peer.sockets, flows, plan.has_huge_pages);
    let watch = Watch::start(plan, Duration::from_millis(40));
    // What opens flows is over by then.
    std::thread::sleep(Duration::from_secs_f64(if plan.is_short { 0.3 } else { 2.0 }));
    peer.forget_cycles();
    let windows = (plan.seconds / WINDOW_S).ceil() as usize;
    let mut times_s = Vec::new();
    for count in 0..=windows {
        times_s.push(distance::now_s());
        guests.command("show port stats all");
        if count < windows {
            std::thread::sleep(Duration::from_secs_f64(WINDOW_S));
        }
    }
    guests.wait_for("NIC statistics for port 3 ", windows + 1);
    // The last line of the last port is printed a moment after its first.
    std::thread::sleep(Duration::from_millis(50));
    let cycles = peer.busy_cycles();
    let readings = watch.stop();
    let rates = received_per_s(&guests.text());
    assert_eq!(rates.len(), windows + 1, "a rate for each print:\n{}", guests.report());
    for (rate, time_s) in rates[1..].iter().zip(times_s.windows(2)) {
        assert!(*rate > 0.0, "the guests receive nothing over {}:\n{}", kind.name(), guests.report());
        let name = name(kind, case, readings.between(time_s[0], time_s[1]));
        eprintln!("bench: {name}: {rate:.0} frames/s");
        results.add(RATE, &name, "frames/s", *rate);
    }
    match cycles {
        Some(cycles) => {
            let distance = readings.between(times_s[0], times_s[windows]);
            results.add(CYCLES, &name(kind, case, distance), "cycles/frame", cycles);
        }
        None => results.note(format!("{} {size} {flows}: the switch did not tell its busy cycles", kind.name())),
    }
}

/// One round: every switch in turn in every case.
pub fn round(plan: &Plan, kinds: &[Kind], results: &mut Results) {
    let cases = if plan.is_short { &CASES[..1] } else { CASES };
    for case in cases {
        for kind in kinds {
            measure(plan, *kind, *case, results);
        }
    }
}

/// As many more measurements as there were rounds, at most, of the switches that have too few windows at a distance at which
/// others have enough.
pub fn further_rounds(plan: &Plan, kinds: &[Kind], results: &mut Results) {
    if plan.is_short {
        return;
    }
    for case in CASES.iter().cycle().take(plan.rounds * CASES.len()) {
        for kind in kinds {
            let lacks = |distance| {
                let windows = |kind: &Kind| results.count(RATE, &name(*kind, *case, distance));
                windows(kind) < WINDOWS_MIN && kinds.iter().any(|other| windows(other) >= WINDOWS_MIN)
            };
            if lacks(Distance::Near) || lacks(Distance::Far) {
                measure(plan, *kind, *case, results);
            }
        }
    }
}

/// How many times as many frames cross one switch as another at a distance, if both have enough windows.
pub fn ratio(results: &Results, of: Kind, base: Kind, case: (usize, u16), distance: Distance) -> Option<f64> {
    let [of, base] = [of, base].map(|kind| name(kind, case, distance));
    let has_enough = [&of, &base].iter().all(|name| results.count(RATE, name) >= WINDOWS_MIN);
    has_enough.then(|| results.ratio_of_medians(RATE, &of, &base)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_guests_in_each_print() {
        let print = |rates: [u64; 4]| {
            let port = |(index, rate)| {
                format!(
                    "  ######## NIC statistics for port {index}  ########\n  RX-packets: 1\n  Rx-pps: {rate} Rx-bps: 9\n"
                )
            };
            rates.into_iter().enumerate().map(port).collect::<String>()
        };
        let text = print([1, 0, 1, 0]) + &print([7, 100, 7, 50]);
        assert_eq!(received_per_s(&text), [0.0, 150.0]);
        assert!(received_per_s("nothing").is_empty());
    }
}
