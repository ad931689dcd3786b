//! A worker's clock: read from the system as often as its users can tell the difference, not once a round.

use std::time::Instant;

use crate::sys;

/// Cycles of the time-stamp counter for which a reading is good, some 4 to 8 microseconds. A round without frames takes a
/// hundred, of which reading the clock would be a third.
const GOOD_CYCLES: u64 = 16_384;

/// The time since the switch started.
pub(super) struct Clock {
    started: Instant,
    now_us: u64,
    /// The time-stamp counter at the last reading; `None` when it must be read anew.
    read_at: Option<u64>,
}

impl Clock {
    /// A clock that started with the switch.
    pub(super) fn new(started: Instant) -> Self {
        Self { started, now_us: 0, read_at: None }
    }

    /// Microseconds since the start, at most [`GOOD_CYCLES`] late.
    #[inline]
    pub(super) fn now_us(&mut self) -> u64 {
        let cycles = sys::cycles();
        if self.read_at.is_none_or(|at| cycles.wrapping_sub(at) >= GOOD_CYCLES) {
            self.now_us = self.started.elapsed().as_micros() as u64;
            self.read_at = Some(cycles);
        }
        self.now_us
    }

    /// Makes the next reading a new one.
    pub(super) fn expire(&mut self) {
        self.read_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_goes_on_and_never_back() {
        let mut clock = Clock::new(Instant::now());
        let first = clock.now_us();
        std::thread::sleep(Duration::from_millis(2));
        let second = clock.now_us();
        assert!(second >= first + 2_000, "{first} {second}");
        for _ in 0..1_000 {
            let (before, now) = (clock.now_us, clock.now_us());
            assert!(now >= before);
        }
        clock.expire();
        assert!(clock.now_us() >= second);
    }
}
