//! The SIGBUS guard: guest memory that vanishes costs its port, not the switch.
//!
//! # Theory of operation
//! The file behind a guest's memory belongs to the front-end, which may cut it short (or punch a hole into an exhausted huge
//! page pool) while we copy. The kernel answers the next touch with SIGBUS, whose default is death of the process. Seals do
//! not help: few front-ends seal, and huge pages can fail in spite of them. So:
//!
//! 1. each guest's regions stand in a static table, without locks, readable from a signal handler;
//! 2. the handler finds the faulting address in it, puts anonymous zero pages over the *whole region*, marks the guest's map
//!    as lost, and returns: the interrupted copy goes on over zeros;
//! 3. whoever copied looks at the mark before it uses the copy, and gives the port up.
//!
//! Nothing jumps out of the handler, so no destructor is skipped. Addresses that are not in the table, and threads whose
//! alternative stack is missing, fare as if we were not there: the handler restores what was installed before it and returns,
//! and the instruction faults again.
//!
//! A table entry is taken out before its region is unmapped, so the handler never maps over something new. Two threads may
//! fault on one region at once: the second `mmap` replaces zeros by zeros.

use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Regions guarded at once, of all ports: 32 for each of 256 ports, twice, since a port that changes its memory has two maps
/// for a moment.
const SPANS_MAX: usize = 16 * 1024;

/// Guards at once: two maps for each of 256 ports.
const GUARDS_MAX: usize = 512;

/// Memory to be guarded, in whole pages.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// First address, page-aligned.
    pub base: usize,
    /// Length in bytes, a multiple of the page size behind it.
    pub len: usize,
}

/// One entry of the table; with `len` 0 it is free. The handler may come upon it at any moment, so it has a version, odd while
/// it is being changed: a base that was read beside another span's length would have the handler map over the neighbours.
struct Entry {
    version: AtomicUsize,
    base: AtomicUsize,
    len: AtomicUsize,
    guard: AtomicUsize,
}

impl Entry {
    const fn new() -> Self {
        let [version, base, len, guard] = [const { AtomicUsize::new(0) }; 4];
        Self { version, base, len, guard }
    }

    /// Changes it. One at a time does that, who holds the lock.
    fn set(&self, span: Span, guard: usize) {
        self.version.fetch_add(1, Ordering::SeqCst);
        self.base.store(span.base, Ordering::SeqCst);
        self.len.store(span.len, Ordering::SeqCst);
        self.guard.store(guard, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    /// The span and its guard, as they stood together at one moment. `None` while they change: that entry guards nothing that
    /// anybody touches.
    fn get(&self) -> Option<(Span, usize)> {
        let version = self.version.load(Ordering::SeqCst);
        let span = Span { base: self.base.load(Ordering::SeqCst), len: self.len.load(Ordering::SeqCst) };
        let guard = self.guard.load(Ordering::SeqCst);
        (version.is_multiple_of(2) && self.version.load(Ordering::SeqCst) == version).then_some((span, guard))
    }
}

static TABLE: [Entry; SPANS_MAX] = [const { Entry::new() }; SPANS_MAX];

/// Entries from here on were never used: bounds the handler's search.
static TABLE_END: AtomicUsize = AtomicUsize::new(0);

static TRIPPED: [AtomicBool; GUARDS_MAX] = [const { AtomicBool::new(false) }; GUARDS_MAX];

/// Which entries and marks are taken. Only those who guard and unguard meet here, never the handler.
static TAKEN: Mutex<Taken> = Mutex::new(Taken { entries: Vec::new(), guards: [false; GUARDS_MAX] });

struct Taken {
    entries: Vec<bool>,
    guards: [bool; GUARDS_MAX],
}

/// What was to be done on SIGBUS before we came.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Guarded memory. Dropping it takes the memory out of the table.
#[derive(Debug)]
pub struct Guard {
    index: usize,
    entries: Vec<usize>,
}

impl Guard {
    /// Whether some of the memory vanished.
    #[inline(always)]
    pub fn tripped(&self) -> bool {
        TRIPPED[self.index].load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut taken = TAKEN.lock().unwrap_or_else(|e| e.into_inner());
        for &entry in &self.entries {
            TABLE[entry].set(Span { base: 0, len: 0 }, 0);
            taken.entries[entry] = false;
        }
        taken.guards[self.index] = false;
    }
}

/// Guards `spans` until the answer is dropped, and installs the handler when called first. `None` when the table is full.
pub fn guard(spans: impl Iterator<Item = Span>) -> Option<Guard> {
    install();
    let mut taken = TAKEN.lock().unwrap_or_else(|e| e.into_inner());
    let index = taken.guards.iter().position(|taken| !taken)?;
    taken.guards[index] = true;
    TRIPPED[index].store(false, Ordering::SeqCst);
    let mut guard = Guard { index, entries: Vec::new() };
    for span in spans.filter(|span| span.len > 0) {
        let entry = match taken.entries.iter().position(|taken| !taken) {
            Some(free) => free,
            None if taken.entries.len() < SPANS_MAX => {
                taken.entries.push(false);
                taken.entries.len() - 1
            }
            None => {
                // Nothing is guarded by halves: dropping the guard takes the lock that we hold.
                drop(taken);
                return None;
            }
        };
        taken.entries[entry] = true;
        guard.entries.push(entry);
        TABLE[entry].set(span, index);
    }
    TABLE_END.fetch_max(taken.entries.len(), Ordering::SeqCst);
    Some(guard)
}

fn install() {
    // It knows no signals, and memory that no file is behind.
    if cfg!(miri) {
        return;
    }
    BEFORE.get_or_init(|| {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a `sigaction` of zeros is valid (no flags, empty mask); the handler has the signature that SA_SIGINFO asks
        // for and is async-signal-safe; `before` is written by the call, and zeros are valid should it fail.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &action, before.as_mut_ptr());
            before.assume_init()
        }
    });
}

/// The handler. Uses no lock, no allocation and no function that is not async-signal-safe.
extern "C" fn on_sigbus(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid siginfo to a handler installed with SA_SIGINFO; errno is this thread's own.
    let (address, errno) = unsafe { ((*info).si_addr() as usize, *libc::__errno_location()) };
    if !replace(address)
        && let Some(before) = BEFORE.get()
    {
        // SAFETY: `before` is what sigaction answered when we were installed.
        unsafe { libc::sigaction(libc::SIGBUS, before, std::ptr::null_mut()) };
    }
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() = errno };
}

/// Puts zero pages over the guarded region that holds `address`; whether there is one.
fn replace(address: usize) -> bool {
    for entry in &TABLE[..TABLE_END.load(Ordering::SeqCst)] {
        // Who touches memory keeps its guard, so the entry that is looked for does not change now.
        let Some((Span { base, len }, guard)) = entry.get() else { continue };
        if address.wrapping_sub(base) >= len {
            continue;
        }
        TRIPPED[guard].store(true, Ordering::SeqCst);
        // SAFETY: whoever guarded the span keeps it mapped until it is out of the table, allows it to be replaced, and has
        // given it in whole pages; nothing holds a Rust reference into it.
        let mapped = unsafe {
            libc::mmap(
                base as *mut libc::c_void,
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        return mapped != libc::MAP_FAILED;
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    const LEN: usize = 4 * 4096;

    struct Mapped {
        file: File,
        base: *mut u8,
    }

    impl Mapped {
        fn new() -> Self {
            let file = File::from(memfd_create("guarded", MemfdFlags::CLOEXEC).unwrap());
            ftruncate(&file, LEN as u64).unwrap();
            // SAFETY: a new mapping of a file of ours.
            let base = unsafe {
                let rw = libc::PROT_READ | libc::PROT_WRITE;
                libc::mmap(std::ptr::null_mut(), LEN, rw, libc::MAP_SHARED, file.as_raw_fd(), 0)
            };
            assert_ne!(base, libc::MAP_FAILED);
            Self { file, base: base.cast() }
        }

        fn span(&self) -> Span {
            Span { base: self.base as usize, len: LEN }
        }

        fn byte(&self, at: usize) -> u8 {
            // SAFETY: inside the mapping.
            unsafe { self.base.add(at).read_volatile() }
        }
    }

    impl Drop for Mapped {
        fn drop(&mut self) {
            // SAFETY: mapped in `new`, used by nobody any more.
            unsafe { libc::munmap(self.base.cast(), LEN) };
        }
    }

    #[test]
    fn memory_that_vanishes_turns_to_zeros_and_trips_its_own_guard_only() {
        let (victim, other) = (Mapped::new(), Mapped::new());
        let guards = (guard([victim.span()].into_iter()).unwrap(), guard([other.span()].into_iter()).unwrap());
        // SAFETY: inside the mappings.
        unsafe {
            victim.base.write_volatile(7);
            other.base.write_volatile(7);
        }
        assert!(!guards.0.tripped());
        ftruncate(&victim.file, 0).unwrap();
        assert_eq!(victim.byte(LEN - 1), 0);
        assert_eq!(victim.byte(0), 0);
        assert!(guards.0.tripped());
        assert_eq!(other.byte(0), 7);
        assert!(!guards.1.tripped());
    }

    #[test]
    fn an_entry_that_changes_is_never_seen_in_part() {
        let entry = Entry::new();
        let kinds = [(Span { base: 0x1000, len: 0x1000 }, 1), (Span { base: 0x9000, len: 0x10_0000 }, 2)];
        let rounds = if cfg!(miri) { 50 } else { 200_000 };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..rounds).for_each(|round| entry.set(kinds[round % 2].0, kinds[round % 2].1)));
            let mut seen = 0;
            while seen < rounds / 100 {
                let Some((span, guard)) = entry.get().filter(|(span, _)| span.len > 0) else { continue };
                assert!(kinds.iter().any(|(kind, of)| (kind.base, kind.len, *of) == (span.base, span.len, guard)));
                seen += 1;
            }
        });
        entry.version.fetch_add(1, Ordering::SeqCst);
        assert!(entry.get().is_none(), "it is being changed");
    }

    #[test]
    fn a_guard_is_new_each_time() {
        let memory = Mapped::new();
        let first = guard([memory.span()].into_iter()).unwrap();
        ftruncate(&memory.file, 0).unwrap();
        assert_eq!(memory.byte(5), 0);
        assert!(first.tripped());
        drop(first);
        drop(memory);
        let memory = Mapped::new();
        let second = guard([memory.span()].into_iter()).unwrap();
        assert!(!second.tripped());
    }
}
