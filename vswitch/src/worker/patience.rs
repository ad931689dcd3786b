//! How long an adaptive worker polls without frames before it sleeps.
//!
//! Sleeping costs little only when it lasts: a worker that is woken takes tens of microseconds until it looks, and a frame every
//! millisecond would meet that each time. So a sleep that ended soon doubles the time that is polled before the next one, and a
//! long one quarters it, much as hypervisors do for halted processors (KVM's `halt_poll_ns`). Where frames come
//! regularly the worker is then awake before them, also after a pause; where none come it sleeps nearly always.

/// The least time, in microseconds. Long enough to catch the answer of a guest that is awake, short enough that an idle switch
/// costs nothing to speak of.
const POLL_MIN_US: u64 = 50;

/// The most, in microseconds: a worker with less than 500 bursts a second sleeps between them.
const POLL_MAX_US: u64 = 2_000;

/// The time to poll before the next sleep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    poll_us: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { poll_us: POLL_MIN_US }
    }
}

impl Patience {
    /// Whether it is time to sleep, after so many microseconds without a frame.
    #[inline]
    pub(super) fn is_over(self, quiet_us: u64) -> bool {
        quiet_us >= self.poll_us
    }

    /// A sleep ended, so many microseconds after the last frame.
    pub(super) fn slept(&mut self, quiet_us: u64) {
        self.poll_us = if quiet_us < POLL_MAX_US {
            (self.poll_us * 2).min(POLL_MAX_US)
        } else {
            (self.poll_us / 4).max(POLL_MIN_US)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a frame come every `gap_us`, and answers after how many of them the worker no longer sleeps before the next.
    fn sleeps_until_awake(gap_us: u64) -> Option<usize> {
        let mut patience = Patience::default();
        (0..1_000).find(|_| {
            let sleeps = patience.is_over(gap_us);
            if sleeps {
                patience.slept(gap_us);
            }
            !sleeps
        })
    }

    #[test]
    fn it_stays_awake_where_frames_come_regularly_and_sleeps_where_they_do_not() {
        assert_eq!(sleeps_until_awake(40), Some(0));
        assert_eq!(sleeps_until_awake(1_000), Some(5));
        assert_eq!(sleeps_until_awake(1_900), Some(6));
        assert_eq!(sleeps_until_awake(2_000), None);
        assert_eq!(sleeps_until_awake(500_000), None);
    }

    #[test]
    fn three_long_sleeps_end_the_watch() {
        let mut patience = Patience::default();
        (0..10).for_each(|_| patience.slept(100));
        assert!(!patience.is_over(1_999) && patience.is_over(2_000));
        (0..3).for_each(|_| patience.slept(500_000));
        assert!(!patience.is_over(49) && patience.is_over(50));
    }

    #[test]
    fn after_a_pause_it_is_soon_awake_again() {
        let mut patience = Patience::default();
        (0..10).for_each(|_| patience.slept(1_000));
        patience.slept(3_000);
        let sleeps = (0..10).filter(|_| {
            let sleeps = patience.is_over(1_000);
            if sleeps {
                patience.slept(1_000);
            }
            sleeps
        });
        assert_eq!(sleeps.count(), 2);
    }
}
