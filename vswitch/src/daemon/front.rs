//! The main thread's loop: signals, the control socket and the monitoring pages, all from one poll.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_mio::v1_0::Signals;

use crate::control::{self, Operations, Response};
use crate::exchange::{Reply, Server};
use crate::http::{self, Pages};

const SIGNALS: Token = Token(0);
const FIRST_CONTROL: usize = 1;
/// Somebody else has something for the main thread.
const WAKE: Token = Token(usize::MAX);

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Events taken from the poll at a time.
const EVENTS_MAX: usize = 128;

/// Why the loop could not be set up.
#[derive(Debug)]
pub(super) enum FrontError {
    /// The monitoring pages' address.
    Listen(SocketAddr, io::Error),
    /// Anything else.
    Io(io::Error),
}

impl fmt::Display for FrontError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(address, error) => {
                write!(f, "cannot listen at {address} for metrics: {error}")
            }
            Self::Io(error) => write!(f, "the main loop cannot be set up: {error}"),
        }
    }
}

impl std::error::Error for FrontError {}

impl From<io::Error> for FrontError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What the loop acts upon.
pub(super) trait Acts: Operations + Pages {
    /// Reads the configuration anew; what comes of it is logged.
    fn hang_up(&mut self);

    /// Takes up what other threads have done for this one: the responses to requests that took time, by ticket.
    fn take_up(&mut self) -> Vec<(u64, Response)>;

    /// Opens the event log's file anew.
    fn reopen_log(&mut self);

    /// Does what is to be done from time to time.
    ///
    /// # Errors
    /// Why the switch cannot go on, as a sentence.
    fn tick(&mut self) -> Result<(), String>;
}

/// Makes the next signal to stop end the process there and then: whoever sends a second one has lost patience with the
/// first, which waits for workers and guests' connections.
fn end_at_once_next_time() {
    let armed = Arc::new(AtomicBool::new(true));
    for signal in [SIGTERM, SIGINT] {
        if let Err(error) = signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&armed)) {
            tracing::warn!(%error, signal, "a second signal will not end the switch at once");
        }
    }
}

/// Everything that the main thread listens to.
pub(super) struct Front {
    poll: Poll,
    waker: Arc<Waker>,
    signals: Signals,
    control: Server<UnixListener>,
    pages: Option<Server<TcpListener>>,
}

impl Front {
    /// Listens: to signals from now on, to clients of `control`, and to clients of the pages at `listen`. Nobody is answered
    /// before [`Front::run`].
    ///
    /// # Errors
    /// What could not be set up.
    pub(super) fn new(control: UnixListener, listen: Option<SocketAddr>) -> Result<Self, FrontError> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1])?;
        poll.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        let control = Server::new(control, FIRST_CONTROL, control::LIMITS, poll.registry())?;
        let first_page = FIRST_CONTROL + Server::<UnixListener>::token_count(&control::LIMITS);
        let pages = match listen {
            None => None,
            Some(address) => {
                let listener = TcpListener::bind(address).map_err(|error| FrontError::Listen(address, error))?;
                Some(Server::new(listener, first_page, http::LIMITS, poll.registry())?)
            }
        };
        Ok(Self { poll, waker, signals, control, pages })
    }

    /// Wakes the loop, so that it takes up what there is.
    pub(super) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Serves until a signal says to stop.
    ///
    /// # Errors
    /// Why the switch could not go on until then.
    pub(super) fn run(&mut self, acts: &mut dyn Acts) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut next_tick = Instant::now() + TICK;
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            for event in &events {
                if event.token() == SIGNALS {
                    if self.take_signals(acts) {
                        return Ok(());
                    }
                } else if event.token() != WAKE {
                    self.serve(event.token(), acts);
                }
            }
            for (ticket, response) in acts.take_up() {
                self.control.fulfil(ticket, control::line(&response));
            }
            if Instant::now() >= next_tick {
                self.tick(acts)?;
                next_tick = Instant::now() + TICK;
            }
        }
    }

    /// Acts upon the signals that came; answers whether one of them says to stop.
    fn take_signals(&mut self, acts: &mut dyn Acts) -> bool {
        for signal in self.signals.pending() {
            match signal {
                SIGHUP => acts.hang_up(),
                SIGUSR1 => acts.reopen_log(),
                _ => {
                    tracing::info!(signal, "stopping");
                    end_at_once_next_time();
                    return true;
                }
            }
        }
        false
    }

    fn serve(&mut self, token: Token, acts: &mut dyn Acts) {
        let registry = self.poll.registry();
        if self.control.ready(token, registry, &mut |input| control::answer(input, acts)) {
            return;
        }
        if let Some(pages) = &mut self.pages {
            pages.ready(token, registry, &mut |input| http::answer(input, acts).map(Reply::Now));
        }
    }

    fn tick(&mut self, acts: &mut dyn Acts) -> io::Result<()> {
        let registry = self.poll.registry();
        self.control.tick(registry, &mut |input| control::answer(input, acts));
        if let Some(pages) = &mut self.pages {
            pages.tick(registry, &mut |input| http::answer(input, acts).map(Reply::Now));
        }
        acts.tick().map_err(io::Error::other)
    }
}
