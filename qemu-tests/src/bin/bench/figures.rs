//! The figures that the switch is to reach, beside what was measured: the table of README.

use crate::bulk::BULK;
use crate::distance::Distance;
use crate::floor;
use crate::footprint::{IDLE, MEMORY};
use crate::in_process::{self, EXTRAS, OPENS, SEGMENTS, WALK};
use crate::latency::{self, LATENCY};
use crate::peers::Kind;
use crate::results::{Results, number};
use crate::throughput::{self, CYCLES, RATE};

/// Adds all of them, in the order of the table.
pub fn add(results: &mut Results) {
    walk(results);
    extras(results);
    throughput(results);
    opens(results);
    segments(results);
    bulk(results);
    latencies(results);
    footprint(results);
}

fn walk(results: &mut Results) {
    let cases = [
        ("60 B, 16 flows", "1.0"),
        ("1500 B, 16 flows", "1.0"),
        ("60 B, 100k flows", "1.3"),
        ("60 B, 1M flows", "1.6"),
    ];
    for ((what, most), case) in cases.into_iter().zip(in_process::FIGURES) {
        let name = format!("walk {case}");
        let measured = results.median(WALK, &name).map(|cycles| {
            let ratio = results.ratio(WALK, &name, &floor(&name));
            let ratio = ratio.map_or("no floor in this run".to_owned(), |ratio| format!("{ratio:.2} x"));
            format!("{ratio} ({cycles:.0} cycles)")
        });
        let what = format!("whole switch in one thread, {what}");
        results.figure(&what, &format!("at most {most} x DPDK's vhost copy alone"), measured);
    }
}

fn extras(results: &mut Results) {
    let names = ["detect", "flow-records", "transactions", "signature"];
    for frame_len in [60, 1_500] {
        let ratio = |name: &&str| {
            results.ratio(EXTRAS, &format!("extra {frame_len} {name}"), &format!("extra {frame_len} nothing"))
        };
        let ratios: Option<Vec<String>> =
            names.iter().map(|name| ratio(name).map(|ratio| format!("{name} {ratio:.2} x"))).collect();
        let what = format!("the same with what operators switch on, {frame_len} B, 1000 flows");
        results.figure(&what, "report", ratios.map(|ratios| ratios.join(", ")));
    }
}

fn throughput(results: &mut Results) {
    for (case, least) in throughput::CASES.iter().zip(["3", "4", "2.5", "4"]) {
        for distance in [Distance::Near, Distance::Far] {
            let (size, flows) = case;
            let name = |kind| throughput::name(kind, *case, distance);
            let cycles = |kind| results.median(CYCLES, &name(kind)).map_or("-".to_owned(), number);
            let beside = |kind: Kind| {
                let ratio = throughput::ratio(results, Kind::Ours, kind, *case, distance)?;
                Some(format!("{ratio:.2} x {} ({} cycles)", kind.name(), cycles(kind)))
            };
            let peers: Vec<String> = [Kind::DpdkIo, Kind::OvsCt].into_iter().filter_map(beside).collect();
            let measured = results.median(RATE, &name(Kind::Ours)).map(|rate| {
                let own = format!("{}/s, {} busy cycles per frame", number(rate), cycles(Kind::Ours));
                [peers, vec![own]].concat().join("; ")
            });
            let what = format!("two DPDK guests, {size} B, {flows} flows, processors {}", distance.name());
            let wanted = format!("at least 1.0 x dpdk-io, {least} x ovs-ct; fewer cycles than both");
            results.figure(&what, &wanted, measured);
        }
    }
}

fn opens(results: &mut Results) {
    for (what, name) in [("UDP", "udp"), ("TCP", "tcp-syn")] {
        let rate = |phase| results.median(OPENS, &format!("opens {name} {phase} flows/s")).map(number);
        let measured =
            rate("room").zip(rate("full")).map(|(room, full)| format!("{room}; {full} when the table is full"));
        results.figure(&format!("new flows per second and core, {what}"), "at least 1 M", measured);
    }
}

fn segments(results: &mut Results) {
    let ratio = |base| results.ratio(SEGMENTS, "segments 64k-burst-4", &format!("segments 1514-{base}"));
    let copies = |times| results.ratio(SEGMENTS, &format!("segments 64k-copied-{times}"), "segments 1514-partial");
    let bounds = copies("twice").zip(copies("once"));
    let measured =
        ratio("partial").zip(ratio("checksummed")).zip(bounds).map(|((partial, checksummed), (twice, once))| {
            format!(
                "{partial:.1} x (checksums left out in both), {checksummed:.1} x (written by the sender of frames); \
             two copies and nothing else {twice:.1} x, one {once:.1} x"
            )
        });
    results.figure("TCP bytes per second in 64 KiB segments, beside frames of 1514 B", "at least 5 x", measured);
}

fn bulk(results: &mut Results) {
    let of = |card: &str| {
        let [rate, frame] = ["rate", "frame"].map(|what| results.median(BULK, &format!("{card} {what}")));
        Some(format!("{}B/s in frames of {} B", number(rate?), number(frame?)))
    };
    let measured =
        of("offloads").zip(of("no-offloads")).map(|(with, without)| format!("{with}; {without} without offloads"));
    results.figure("bulk TCP between two Linux guests in QEMU", "segments cross whole", measured);
}

fn latencies(results: &mut Results) {
    let cases = [
        ("one frame, every 20 us", "gap-20us"),
        ("one frame, every ms", "gap-1ms"),
        ("half of its own capacity", "half"),
        ("half of ovs-ct's capacity", "half-of-ovs-ct"),
    ];
    for (what, case) in cases {
        for distance in [Distance::Near, Distance::Far] {
            let of = |kind: Kind, case: &str| {
                let median = |word| results.median(LATENCY, &latency::name(kind, case, word, distance));
                Some(format!("{} / {}", number(median("p50")? / 1e3), number(median("p99")? / 1e3)))
            };
            let measured = of(Kind::OursAdaptive, case).map(|adaptive| {
                let theirs = of(Kind::OvsCt, if case == "half-of-ovs-ct" { "half" } else { case });
                let [busy, theirs] = [of(Kind::Ours, case), theirs].map(|it| it.unwrap_or_else(|| "-".into()));
                format!("{adaptive}; always polling {busy}; ovs-ct {theirs}")
            });
            let what = format!("latency p50 / p99 in us, {what}, processors {}", distance.name());
            results.figure(&what, "not worse than ovs-ct", measured);
        }
    }
}

fn footprint(results: &mut Results) {
    let idle = results.first_of(IDLE).map(|share| format!("{share:.2} %"));
    results.figure("time with four idle Linux guests", "under 0.5 % of a core", idle);
    let resident = |name: &str| results.median(MEMORY, name).map(|size| format!("{size:.0} MiB"));
    let measured = resident("resident, no guest")
        .zip(resident("resident, 64 guests"))
        .map(|(without, with)| format!("{without}; {with} with 64 guests connected, their rings included"));
    results.figure("memory with 64 ports and the default tables", "report", measured);
    let reserved = results.median(MEMORY, "per flow, reserved at start");
    let full = ["udp", "tcp-syn"].map(|kind| results.median(OPENS, &format!("opens {kind} memory bytes/flow")));
    let measured = reserved.map(|reserved| {
        let [udp, tcp] = full.map(|bytes| bytes.map_or("-".to_owned(), |bytes| format!("{bytes:.0}")));
        format!("{reserved:.0} reserved; a full table takes {udp} (UDP), {tcp} (TCP)")
    });
    results.figure("bytes of memory per flow", "at most 128, fixed at start", measured);
}
