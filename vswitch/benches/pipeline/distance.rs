//! How far two processors are from each other: how long a cache line that one has written takes to the other and back.
//!
//! `distance MILLISECONDS` measures every so often, until it is killed, between processors 0 and 1. It is meant to be run beside
//! what keeps both busy, under a real-time policy (`chrt --fifo 10`).

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::report;

/// Round trips that are timed together, and how many times: the fastest counts.
const TRIPS: u32 = 32;
const BATCHES: u32 = 4;
/// Looks at a ball that does not come, some milliseconds: the other end was kept off its processor.
const LOOKS_MAX: u32 = 1 << 20;

/// What goes to and fro, in a line of its own: 1 on its way there, 0 back.
#[repr(align(128))]
struct Ball(AtomicU32);

/// What the two ends share.
struct Court {
    both_there: Barrier,
    ball: Ball,
}

impl Court {
    /// Waits until the ball holds a value; false if it does not come.
    fn has_come(&self, value: u32) -> bool {
        (0..LOOKS_MAX).any(|_| self.ball.0.load(Ordering::Acquire) == value)
    }

    /// The first end: nanoseconds of a round trip.
    fn serve(&self) -> Option<f64> {
        self.both_there.wait();
        let mut best = f64::INFINITY;
        for _ in 0..BATCHES {
            let start = Instant::now();
            for _ in 0..TRIPS {
                self.ball.0.store(1, Ordering::Release);
                if !self.has_come(0) {
                    return None;
                }
            }
            best = best.min(start.elapsed().as_nanos() as f64 / f64::from(TRIPS));
        }
        Some(best)
    }

    /// The other end.
    fn send_back(&self) {
        self.both_there.wait();
        for _ in 0..BATCHES * TRIPS {
            if !self.has_come(1) {
                return;
            }
            self.ball.0.store(0, Ordering::Release);
        }
    }
}

fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("there are two processors");
}

/// Measures every so many milliseconds until it is killed: prints `distance: at SECONDS ns ROUND_TRIP`, the time on the clock
/// that all processes share.
pub(super) fn run(words: &[String]) -> ! {
    let every = words.first().and_then(|word| word.parse().ok()).map(Duration::from_millis);
    let every = every.expect("distance MILLISECONDS");
    let court = Court { both_there: Barrier::new(2), ball: Ball(AtomicU32::new(0)) };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            stay_on(1);
            loop {
                court.send_back();
            }
        });
        stay_on(0);
        loop {
            std::thread::sleep(every);
            court.ball.0.store(0, Ordering::Relaxed);
            let at = report::now_s();
            if let Some(ns) = court.serve() {
                println!("distance: at {at:.4} ns {ns:.0}");
            }
        }
    })
}
