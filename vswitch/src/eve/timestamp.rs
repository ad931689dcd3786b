//! Points in time as EVE writes them: UTC with microseconds, `2026-11-23T16:46:00.000001+0000`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The civil date of a day, counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// The year is taken to begin in March, so that the leap day is its last day and the months before it have fixed lengths
/// (months of 31 and 30 days alternate within two runs of five, hence the 153 days).
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    // Days from 0000-03-01, the start of a 400-year era, to 1970-01-01.
    let days = days + 719_468;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// Writes a time given in microseconds since 1970-01-01T00:00:00Z.
pub fn format_utc(unix_us: u64) -> String {
    let (seconds, micros) = (unix_us / 1_000_000, unix_us % 1_000_000);
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}+0000")
}

/// The step from the workers' clock, by which events are dated, to the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// Microseconds to add.
    pub ahead_us: u64,
}

impl WallClock {
    /// Reads both clocks, where the workers' counts from `started`. The step is not constant (the time of day is corrected
    /// now and then), so it is taken anew for each batch of events.
    pub fn now(started: Instant) -> Self {
        // A time of day before 1970 is a machine without a clock; its dates are wrong anyway.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ahead_us = unix.saturating_sub(started.elapsed()).as_micros() as u64;
        Self { ahead_us }
    }

    /// Writes a time on the workers' clock, in microseconds, as a time of day.
    pub fn format(self, worker_us: u64) -> String {
        format_utc(worker_us.saturating_add(self.ahead_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(unix_us: u64, expected: &str) {
        assert_eq!(format_utc(unix_us), expected);
    }

    #[test]
    fn known_times() {
        check(0, "1970-01-01T00:00:00.000000+0000");
        check(951_782_399_999_999, "2000-02-28T23:59:59.999999+0000");
        check(951_782_400_000_000, "2000-02-29T00:00:00.000000+0000");
        check(951_868_800_000_000, "2000-03-01T00:00:00.000000+0000");
        check(1_795_452_360_000_001, "2026-11-23T16:46:00.000001+0000");
        check(4_107_542_400_000_000, "2100-03-01T00:00:00.000000+0000");
    }

    /// The calendar by counting, year by year and month by month.
    fn date_by_counting(mut days: u64) -> (u64, u64, u64) {
        let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let mut year = 1970;
        while days >= 365 + u64::from(is_leap(year)) {
            days -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        let february = 28 + u64::from(is_leap(year));
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if days < length {
                break;
            }
            days -= length;
            month += 1;
        }
        (year, month, days + 1)
    }

    proptest! {
        #[test]
        fn dates_agree_with_counting(days in 0u64..400_000) {
            prop_assert_eq!(date(days), date_by_counting(days));
        }
    }
}
