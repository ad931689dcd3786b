//! How long an adaptive worker polls without frames before it sleeps.
//!
//! Sleeping costs little only when it lasts: a worker that is woken takes tens of microseconds until it looks, and a frame every
//! millisecond would meet that each time. So a sleep that ended soon doubles the time that is polled before the next one, and a
//! long one quarters it, much as hypervisors do for halted processors (KVM's `halt_poll_ns`). A long one changes nothing if
//! frames have come many times since the sleep before it: then polling has paid, and one pause, of a guest that was kept off its
//! processor for instance, says little. Where frames come regularly the worker is then awake before them; where none come it
//! sleeps nearly always.

/// The least time, in microseconds. Long enough to catch the answer of a guest that is awake, short enough that an idle switch
/// costs nothing to speak of.
const POLL_MIN_US: u64 = 50;

/// The most, in microseconds: a worker with less than 500 bursts a second sleeps between them.
const POLL_MAX_US: u64 = 2_000;

/// Rounds with frames between two sleeps that show that polling pays. The exchanges of guests that are otherwise idle take fewer.
const ROUNDS_REGULAR: u64 = 16;

/// The time to poll before the next sleep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    poll_us: u64,
    /// Rounds with frames until the last sleep.
    rounds: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { poll_us: POLL_MIN_US, rounds: 0 }
    }
}

impl Patience {
    /// Whether it is time to sleep, after so many microseconds without a frame.
    #[inline]
    pub(super) fn is_over(self, quiet_us: u64) -> bool {
        quiet_us >= self.poll_us
    }

    /// A sleep ended, so many microseconds after the last frame. Before it were, in all, so many rounds with frames.
    pub(super) fn slept(&mut self, quiet_us: u64, rounds: u64) {
        let was_regular = rounds.wrapping_sub(self.rounds) >= ROUNDS_REGULAR;
        self.rounds = rounds;
        if quiet_us < POLL_MAX_US {
            self.poll_us = (self.poll_us * 2).min(POLL_MAX_US);
        } else if !was_regular {
            self.poll_us = (self.poll_us / 4).max(POLL_MIN_US);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker to which frames come one at a time.
    #[derive(Default)]
    struct Worker {
        patience: Patience,
        rounds: u64,
    }

    impl Worker {
        /// Lets a frame come after so long without one; answers whether the worker slept meanwhile.
        fn frame_after(&mut self, gap_us: u64) -> bool {
            let sleeps = self.patience.is_over(gap_us);
            if sleeps {
                self.patience.slept(gap_us, self.rounds);
            }
            self.rounds += 1;
            sleeps
        }

        /// The same for many frames; answers before how many of them it slept.
        fn frames_after(&mut self, count: usize, gap_us: u64) -> usize {
            (0..count).filter(|_| self.frame_after(gap_us)).count()
        }
    }

    #[test]
    fn it_stays_awake_where_frames_come_regularly_and_sleeps_where_they_do_not() {
        for (gap_us, sleeps) in [(40, 0), (1_000, 5), (1_900, 6), (2_000, 1_000), (500_000, 1_000)] {
            assert_eq!(Worker::default().frames_after(1_000, gap_us), sleeps, "{gap_us} us");
        }
    }

    #[test]
    fn three_long_sleeps_end_the_watch() {
        let mut worker = Worker::default();
        worker.frames_after(10, 1_900);
        assert!(!worker.patience.is_over(1_999) && worker.patience.is_over(2_000));
        worker.frames_after(3, 500_000);
        assert!(!worker.patience.is_over(49) && worker.patience.is_over(50));
    }

    #[test]
    fn after_a_pause_it_is_soon_awake_again() {
        let mut worker = Worker::default();
        worker.frames_after(10, 1_000);
        assert!(worker.frame_after(3_000));
        assert_eq!(worker.frames_after(10, 1_000), 2);
    }

    #[test]
    fn a_pause_of_frames_that_come_regularly_changes_nothing() {
        let mut worker = Worker::default();
        worker.frames_after(100, 1_000);
        assert!(worker.frame_after(3_000));
        assert_eq!(worker.frames_after(100, 1_000), 0);
        // Exchanges of few frames, far apart, do not keep it awake.
        (0..10).for_each(|_| assert!(worker.frame_after(500_000) && worker.frames_after(3, 10) == 0));
        assert!(worker.patience.is_over(50));
    }
}
