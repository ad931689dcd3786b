//! Telling a guest that its ring moved on: one write to an eventfd that the front-end made.
//!
//! # Theory of operation
//! The eventfd is shared with the front-end, and so is its O_NONBLOCK flag. A hostile front-end clears the flag and fills the
//! counter, and the next write blocks for ever: a worker, and with it every other port. There is no write to an eventfd that
//! cannot block whatever the flag says; asking first (poll) is a race that the front-end can win; kernel AIO can signal without
//! blocking, at three times the price of a write for every honest guest. So:
//!
//! - a worker writes directly, and says so in a place of its own before and after (two stores);
//! - a watchdog thread looks at those places twice a millisecond, but only while calls are being made. A worker that is in
//!   the same call at two looks in a row gets a signal; its write ends with EINTR, and the port is isolated.
//!
//! ```text
//!   worker:    state = odd  ->  write(eventfd)  ->  state = even        the signal comes between any two of these, and is
//!   watchdog:        look ............ look: same odd? -> tgkill        sent again at the next look if it came too early
//! ```
//!
//! What a port can do to the others is thus bounded: one stall of at most a millisecond for each of its connections, and after
//! each the port stays closed for half a second.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use rustix::io::Errno;

use crate::port::PortFault;

/// Threads that call at the same time: workers, of which there are no more than processors. A thread beyond that calls
/// nobody, which guests that poll do not notice and others see as a slow switch.
const CALLERS_MAX: usize = 256;

/// Time between two looks of the watchdog.
const LOOK: Duration = Duration::from_micros(500);

/// Looks without any call after which the watchdog sleeps.
const IDLE_LOOKS_MAX: u32 = 20;

/// One calling thread.
struct Caller {
    thread_id: AtomicI32,
    /// Counts up by one before and by one after each call: odd within one.
    state: AtomicU64,
    is_taken: AtomicBool,
}

static CALLERS: [Caller; CALLERS_MAX] =
    [const { Caller { thread_id: AtomicI32::new(0), state: AtomicU64::new(0), is_taken: AtomicBool::new(false) } };
        CALLERS_MAX];

/// Whether the watchdog is awake; who finds it asleep wakes it.
static IS_AWAKE: AtomicBool = AtomicBool::new(false);
static WATCHDOG: OnceLock<Thread> = OnceLock::new();

thread_local! {
    static PLACE: Place = const { Place(Cell::new(None)) };
}

/// A thread's place among the callers, given back when the thread ends.
struct Place(Cell<Option<&'static Caller>>);

impl Place {
    fn caller(&self) -> Option<&'static Caller> {
        if self.0.get().is_none() {
            let free = CALLERS.iter().find(|caller| !caller.is_taken.swap(true, Ordering::SeqCst))?;
            free.thread_id.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::SeqCst);
            self.0.set(Some(free));
        }
        self.0.get()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(caller) = self.0.get() {
            caller.is_taken.store(false, Ordering::SeqCst);
        }
    }
}

/// The descriptor that a ring's guest is notified through; none for a guest that polls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call(Option<Arc<OwnedFd>>);

impl Call {
    /// A call over an eventfd, verified to be one.
    pub(crate) fn new(eventfd: Option<OwnedFd>) -> Self {
        Self(eventfd.map(Arc::new))
    }

    /// Notifies the guest.
    ///
    /// # Errors
    /// The front-end made the descriptor block, or useless.
    pub(crate) fn signal(&self) -> Result<(), PortFault> {
        let Some(fd) = &self.0 else { return Ok(()) };
        let Some(caller) = PLACE.with(Place::caller) else { return Ok(()) };
        let state = caller.state.load(Ordering::Relaxed);
        caller.state.store(state.wrapping_add(1), Ordering::SeqCst);
        if !IS_AWAKE.load(Ordering::SeqCst) {
            wake_watchdog();
        }
        let written = rustix::io::write(fd, &1u64.to_ne_bytes());
        caller.state.store(state.wrapping_add(2), Ordering::Release);
        match written {
            // A full counter that does not block is as good as a notification: the guest has one pending.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(Errno::INTR) => Err(PortFault { word: "call_blocked" }),
            Err(_) => Err(PortFault { word: "call_failed" }),
        }
    }
}

#[cold]
fn wake_watchdog() {
    if let Some(watchdog) = WATCHDOG.get()
        && !IS_AWAKE.swap(true, Ordering::SeqCst)
    {
        watchdog.unpark();
    }
}

/// Starts the watchdog, when called first. To be called before any queue is handed to a worker.
///
/// # Errors
/// The thread could not be started.
pub(crate) fn start_watchdog() -> std::io::Result<()> {
    // Who comes while it is being started waits, and who comes after a failure tries again: no queue goes without.
    static STARTING: Mutex<()> = Mutex::new(());
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    if WATCHDOG.get().is_some() {
        return Ok(());
    }
    install_interrupt();
    let thread = thread::Builder::new().name("call-watch".into()).spawn(watch)?;
    // `watch` sleeps until it is woken, and nobody wakes it before it is known.
    let _ = WATCHDOG.set(thread.thread().clone());
    Ok(())
}

/// The signal that interrupts a blocked write.
fn interrupt() -> libc::c_int {
    libc::SIGRTMIN() + 6
}

fn install_interrupt() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: zeros are a valid sigaction; the handler does nothing. Without SA_RESTART, an interrupted write ends.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(interrupt(), &action, ptr::null_mut());
    }
}

fn watch() {
    let mut seen = [0; CALLERS_MAX];
    let mut idle_looks = 0;
    loop {
        idle_looks = if look(&mut seen) { 0 } else { idle_looks + 1 };
        if idle_looks >= IDLE_LOOKS_MAX {
            IS_AWAKE.store(false, Ordering::SeqCst);
            // A call that began before that store is seen now; one that begins later wakes us.
            if !look(&mut seen) {
                while !IS_AWAKE.load(Ordering::SeqCst) {
                    thread::park();
                }
            }
            IS_AWAKE.store(true, Ordering::SeqCst);
            idle_looks = 0;
        }
        thread::sleep(LOOK);
    }
}

/// Looks at all callers, and interrupts those that are in the same call as last time. Whether any call was made since.
fn look(seen: &mut [u64; CALLERS_MAX]) -> bool {
    let mut is_busy = false;
    for (caller, seen) in CALLERS.iter().zip(seen) {
        let state = caller.state.load(Ordering::SeqCst);
        let is_calling = state % 2 == 1;
        is_busy |= is_calling || state != *seen;
        if is_calling && state == *seen {
            let thread = caller.thread_id.load(Ordering::SeqCst);
            // SAFETY: a system call without pointers. Should the thread have ended meanwhile and its number be another
            // thread's of this process, that one runs a handler that does nothing.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, interrupt()) };
        }
        *seen = state;
    }
    is_busy
}
