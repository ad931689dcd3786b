//! What a measurement prints: one line, name and case first, the same numbers in the same order always.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use vswitch::sys;

/// Ticks of the time-stamp counter in a second.
pub(super) fn cycles_per_s() -> f64 {
    let (start, before) = (Instant::now(), sys::cycles());
    std::thread::sleep(Duration::from_millis(50));
    (sys::cycles() - before) as f64 / start.elapsed().as_secs_f64()
}

/// Seconds on a clock that all processes share.
pub(super) fn now_s() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The value that so many percent of the values do not exceed. Sorts them.
pub(super) fn percentile(values: &mut [u32], percent: f64) -> u32 {
    values.sort_unstable();
    let at = (values.len() as f64 * percent / 100.0) as usize;
    values[at.min(values.len() - 1)]
}

/// `NAME: cyc/f med M p10 N p90 P`.
pub(super) fn cycles(name: &str, values: &mut [u32]) {
    let [p10, median, p90] = [10.0, 50.0, 90.0].map(|percent| percentile(values, percent));
    println!("{name}: cyc/f med {median} p10 {p10} p90 {p90}");
}

/// `NAME: ns p50 M p99 N max P`, to be printed.
pub(super) fn nanoseconds(name: &str, values: &mut [u32]) -> String {
    let [median, p99, max] = [50.0, 99.0, 100.0].map(|percent| percentile(values, percent));
    format!("{name}: ns p50 {median} p99 {p99} max {max}")
}

/// Bytes of this process that are in memory.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5 or newer");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}
