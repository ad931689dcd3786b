//! The daemon's own log: to stderr, and bounded, because much of what is worth a line is caused by guests.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tracing::callsite::Identifier;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer};

/// Lines from one place in the code in one [`WINDOW`] at most. A guest that reconnects in a loop fills no disk with it
/// (attack F09); twenty are enough to see what it does.
const LINES_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Lines left out so far.
pub(super) fn suppressed() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// Starts logging to stderr. What is logged follows the environment variable `VSWITCH_LOG` in the syntax of
/// tracing-subscriber's `EnvFilter`, and is `info` without it.
pub(super) fn start() {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into())
        .with_env_var("VSWITCH_LOG")
        .from_env_lossy();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let started = tracing_subscriber::registry().with(filter).with(Limiter::default()).with(lines).try_init();
    if started.is_err() {
        // Only a second call in one process gets here, and then logging works already.
        tracing::debug!("logging was started already");
    }
}

/// Lets so many lines of each place in the code through. The number of places is fixed by the program, which bounds the
/// table.
#[derive(Default)]
struct Limiter {
    places: DashMap<Identifier, Place>,
}

struct Place {
    window_start: Instant,
    lines: u32,
}

impl Limiter {
    fn admits(&self, place: Identifier, now: Instant) -> bool {
        let mut place = self.places.entry(place).or_insert(Place { window_start: now, lines: 0 });
        if now.duration_since(place.window_start) >= WINDOW {
            *place = Place { window_start: now, lines: 0 };
        }
        place.lines += 1;
        place.lines <= LINES_MAX
    }
}

impl<S: Subscriber> Layer<S> for Limiter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let admitted = self.admits(event.metadata().callsite(), Instant::now());
        if !admitted {
            SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_own_allowance() {
        let limiter = Limiter::default();
        let places: Vec<Identifier> = [tracing::Level::INFO, tracing::Level::WARN]
            .map(|level| match level {
                tracing::Level::INFO => {
                    tracing::callsite!(name: "one", kind: tracing::metadata::Kind::EVENT, fields: a)
                }
                _ => {
                    tracing::callsite!(name: "two", kind: tracing::metadata::Kind::EVENT, fields: a)
                }
            })
            .map(|callsite| tracing::callsite::Callsite::metadata(callsite).callsite())
            .into();
        let now = Instant::now();
        let admitted = |place: &Identifier, now| (0..100).filter(|_| limiter.admits(place.clone(), now)).count();
        assert_eq!(admitted(&places[0], now), LINES_MAX as usize);
        assert_eq!(admitted(&places[0], now + WINDOW / 2), 0);
        assert_eq!(admitted(&places[1], now + WINDOW / 2), LINES_MAX as usize);
        assert_eq!(admitted(&places[0], now + WINDOW), LINES_MAX as usize);
    }
}
