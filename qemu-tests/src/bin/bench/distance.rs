//! How far the two processors are from each other while something is measured on both.
//!
//! The processors of a virtual machine are threads of its host, which moves them about: now both run on cores that share a
//! cache, now on cores of different cache complexes or sockets, and a line that one has written reaches the other in a sixth of
//! the time or not. That changes every few seconds, and decides the speed of everything that two processors do together more
//! than any switch does. So the distance is taken all the time, and only readings of one distance are compared.
//!
//! It is taken by a process of its own (`vswitch/benches/pipeline/distance.rs`), which interrupts both processors for some ten
//! microseconds and has a cache line go to and fro between them. It runs under a real-time policy, so that its two ends are on
//! their processors at the same time.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::Child;
use std::time::Duration;

use qemu_tests::tools::tethered;
use rustix::time::{ClockId, clock_gettime};

use crate::lines::Line;
use crate::{PIPELINE, Plan};

/// A round trip within one cache complex takes 50 to 100 ns, one between two of them 200 to 400.
const NEAR_MAX_NS: f64 = 150.0;

/// Where the two processors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// On cores that share a cache.
    Near,
    /// On cores that do not.
    Far,
    /// It changed meanwhile, or could not be told.
    Mixed,
}

impl Distance {
    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
            Self::Mixed => "mixed",
        }
    }
}

/// Seconds on a clock that all processes share.
pub fn now_s() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The process that measures. It is ended when dropped.
pub struct Watch {
    process: Child,
    output: File,
}

impl Watch {
    /// Starts it: a reading every so often. Wait a moment before the first is needed.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(plan: &Plan, every: Duration) -> Self {
        let output = tempfile::tempfile().expect("a temporary file");
        let mut command = tethered("chrt");
        command.args(["--fifo", "10"]).arg(plan.program(PIPELINE)).arg("distance").arg(every.as_millis().to_string());
        command.stdout(output.try_clone().expect("a file can be shared"));
        Self { process: command.spawn().expect("setpriv starts"), output }
    }

    /// Ends it; answers what it found.
    pub fn stop(mut self) -> Readings {
        self.end();
        let mut text = String::new();
        self.output.rewind().and_then(|()| self.output.read_to_string(&mut text)).expect("the file can be read");
        let readings = Readings::parse(&text);
        if readings.0.is_empty() {
            eprintln!("bench: nobody knows how far the processors are from each other: may this user run chrt --fifo?");
        }
        readings
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// When a round trip took how many nanoseconds.
#[derive(Debug, Default)]
pub struct Readings(Vec<(f64, f64)>);

impl Readings {
    fn parse(text: &str) -> Self {
        let reading = |line: &str| {
            let line = Line::parse(line)?;
            line.value("at").zip(line.value("ns"))
        };
        Self(text.lines().filter_map(reading).collect())
    }

    /// Where the processors were from one moment to another, both in seconds as [`now_s`] tells them.
    pub fn between(&self, from_s: f64, to_s: f64) -> Distance {
        let mut far = self.0.iter().filter(|(at, _)| (from_s..=to_s).contains(at)).map(|(_, ns)| *ns > NEAR_MAX_NS);
        match far.next() {
            Some(first) if far.all(|other| other == first) => [Distance::Near, Distance::Far][usize::from(first)],
            _ => Distance::Mixed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_two_distances_are_not_one() {
        let text =
            "distance: at 1.0 ns 55\ndistance: at 2.0 ns 60\nnoise\ndistance: at 3.0 ns 310\ndistance: at 4.0 ns 290\n";
        let readings = Readings::parse(text);
        assert_eq!(readings.between(0.5, 2.5), Distance::Near);
        assert_eq!(readings.between(2.5, 4.5), Distance::Far);
        assert_eq!(readings.between(1.5, 3.5), Distance::Mixed);
        assert_eq!(readings.between(5.0, 6.0), Distance::Mixed, "nothing was read");
    }
}
