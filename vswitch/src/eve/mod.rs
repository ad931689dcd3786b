//! The event log: one JSON object per line, in the shape of Suricata's EVE.
//!
//! # Theory of operation
//! A bounded queue leads from the workers to the log's own thread. The workers' side never waits: an event that finds the
//! queue full is counted and forgotten. What the thread finds it formats and writes as one piece, and as long as events come
//! it looks again every 20 ms (`GATHER_SLEEP`), so that no worker makes a system call for them. When none have come for so long
//! it goes to sleep until it is woken, by the next event at the price of one system call, or by an order. (To look at an empty
//! queue all the time would interrupt a worker, or a guest, fifty times a second.) So a line is in the file at most that and
//! one write after the frame. When the file cannot take a piece (disk full), its events are counted as lost and the next piece
//! is tried afresh; the frames were judged long ago.

pub mod anomaly;
pub mod app;
pub mod community_id;
pub mod flow;
pub mod parts;
pub mod recent;
pub mod record;
pub mod settings;
pub mod stats;
pub mod text;
pub mod timestamp;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, Sender};

use crate::event::Event;
use recent::RecentAlerts;
use settings::{EveSettings, EventType};
use timestamp::WallClock;

/// Events that wait in the queue at most: what workers can raise in a burst of trouble while the disk is busy for a
/// moment. About 1 MiB.
pub const QUEUE_MAX: usize = 8_192;

/// Events formatted into one write at most; bounds the thread's buffer to about 1 MiB.
const PIECE_MAX: usize = 1_024;

/// How long the thread lets events gather while they keep coming.
const GATHER_SLEEP: Duration = Duration::from_millis(20);

/// What became of events after they left the queue, by type.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Records written.
    pub written: [AtomicU64; EventType::COUNT],
    /// Records that the file did not take.
    pub lost: [AtomicU64; EventType::COUNT],
}

/// The values of counters at this moment.
pub fn values(counters: &[AtomicU64; EventType::COUNT]) -> [u64; EventType::COUNT] {
    std::array::from_fn(|kind| counters[kind].load(Ordering::Relaxed))
}

/// The queue: the workers' end, to be cloned, and the log's.
pub fn queue() -> (Sender<Event>, Receiver<Event>) {
    crossbeam_channel::bounded(QUEUE_MAX)
}

/// The running log.
#[derive(Debug)]
pub struct Log {
    counters: Arc<LogCounters>,
    recent: Arc<RecentAlerts>,
    orders: Arc<Orders>,
    /// Wakes the thread to carry out orders.
    bell: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Orders {
    reopen: AtomicBool,
    stop: AtomicBool,
    /// A record of what was counted, to be written.
    stats: Mutex<Option<serde_json::Value>>,
}

impl Orders {
    fn stats(&self) -> MutexGuard<'_, Option<serde_json::Value>> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Opens the file and starts the thread. Without a path, no events are written. `settings` says which are and what they
    /// say, `started` is the moment from which the workers' clock counts.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread cannot be made.
    pub fn start(
        path: Option<&Path>,
        settings: EveSettings,
        queue: Receiver<Event>,
        started: Instant,
    ) -> io::Result<Self> {
        let file = path.map(open).transpose()?;
        let counters = Arc::new(LogCounters::default());
        let recent = Arc::new(RecentAlerts::default());
        let orders = Arc::new(Orders::default());
        let (bell, rung) = crossbeam_channel::bounded(1);
        let thread = LogThread {
            path: path.map(Path::to_owned),
            out: file.map(|file| LineWriter::new(file, settings, Arc::clone(&counters))),
            queue,
            started,
            recent: Arc::clone(&recent),
            orders: Arc::clone(&orders),
            rung,
        };
        let thread = std::thread::Builder::new().name("eve".to_owned()).spawn(move || thread.run())?;
        Ok(Self { counters, recent, orders, bell, thread: Some(thread) })
    }

    /// What became of events so far.
    pub fn counters(&self) -> &LogCounters {
        &self.counters
    }

    /// The last alerts.
    pub fn recent(&self) -> &RecentAlerts {
        &self.recent
    }

    /// Hands the thread a record of type `stats`. If the last one is not written yet, that one is lost.
    pub fn write_stats(&self, record: serde_json::Value) {
        if self.orders.stats().replace(record).is_some() {
            self.counters.lost[EventType::Stats as usize].fetch_add(1, Ordering::Relaxed);
        }
        self.wake();
    }

    /// Asks the thread to open the file's path anew, after a log rotation has moved the file away.
    pub fn reopen(&self) {
        self.orders.reopen.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the thread look at its orders. One that was rung for and has not looked yet will see all of them.
    fn wake(&self) {
        let _ = self.bell.try_send(());
    }
}

impl Drop for Log {
    /// Writes what waits in the queue and ends the thread.
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the event log's thread had panicked");
        }
    }
}

/// Opens a log file for appending. Only files and character devices will do: a pipe whose reader is gone or slow would
/// stop the thread in the middle of a line. The file's directory is made if it is not there.
fn open(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_char_device() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

struct LogThread {
    path: Option<PathBuf>,
    out: Option<LineWriter<File>>,
    queue: Receiver<Event>,
    started: Instant,
    recent: Arc<RecentAlerts>,
    orders: Arc<Orders>,
    /// Whether somebody has given orders.
    rung: Receiver<()>,
}

impl LogThread {
    fn run(mut self) {
        let mut is_quiet = true;
        loop {
            // Read before the queue is emptied: what was sent before the order to stop is still written.
            let is_last = self.orders.stop.load(Ordering::Acquire);
            if self.orders.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            let moved = self.write_pieces();
            let stats = self.orders.stats().take();
            if let (Some(stats), Some(out)) = (stats, &mut self.out) {
                out.write_stats(&stats);
            }
            if is_last {
                return;
            }
            if moved > 0 {
                is_quiet = false;
            } else if is_quiet {
                self.wait();
            } else {
                std::thread::sleep(GATHER_SLEEP);
                is_quiet = true;
            }
        }
    }

    /// Waits for an event or an order.
    fn wait(&self) {
        let mut select = Select::new();
        let events = select.recv(&self.queue);
        select.recv(&self.rung);
        if select.ready() == events && self.queue.is_empty() {
            // All workers are gone, which is about to be told by an order.
            std::thread::sleep(GATHER_SLEEP);
        }
        let _ = self.rung.try_recv();
    }

    /// Writes what waits, in pieces, up to what the queue holds; answers how many events that were.
    fn write_pieces(&mut self) -> usize {
        let clock = WallClock::now(self.started);
        let mut moved = 0;
        while moved < QUEUE_MAX {
            let events = self.queue.try_iter().take(PIECE_MAX).inspect(|event| self.recent.note(event, clock));
            let count = match &mut self.out {
                Some(out) => out.write_events(events, clock),
                None => events.count(),
            };
            if count == 0 {
                break;
            }
            moved += count;
        }
        moved
    }

    fn reopen(&mut self) {
        let (Some(path), Some(out)) = (&self.path, &mut self.out) else {
            return;
        };
        match open(path) {
            Ok(file) => out.replace(file),
            Err(error) => {
                let path = path.display();
                tracing::error!("{path} cannot be reopened, the old file stays in use: {error}");
            }
        }
    }
}

/// Writes events as whole lines to something that may fail in the middle of one.
struct LineWriter<W> {
    out: W,
    settings: EveSettings,
    counters: Arc<LogCounters>,
    buffer: Vec<u8>,
    /// The type of each line in the buffer.
    kinds: Vec<EventType>,
    /// The last write ended within a line, which must not swallow the next one.
    is_torn: bool,
    is_failing: bool,
}

impl<W: Write> LineWriter<W> {
    fn new(out: W, settings: EveSettings, counters: Arc<LogCounters>) -> Self {
        let (buffer, kinds) = (Vec::new(), Vec::new());
        Self { out, settings, counters, buffer, kinds, is_torn: false, is_failing: false }
    }

    fn replace(&mut self, out: W) {
        self.out = out;
        self.is_torn = false;
    }

    /// Writes the events as one piece; answers how many there were.
    fn write_events(&mut self, events: impl Iterator<Item = Event>, clock: WallClock) -> usize {
        self.buffer.clear();
        self.kinds.clear();
        let mut count = 0;
        for event in events {
            count += 1;
            if let Some(kind) = event.kind.event_type().filter(|&kind| self.settings.types.contains(kind)) {
                record::write(&event, &self.settings, clock, &mut self.buffer);
                self.kinds.push(kind);
            }
        }
        self.write_lines();
        count
    }

    /// Writes one record of type `stats`.
    fn write_stats(&mut self, record: &serde_json::Value) {
        self.buffer.clear();
        self.buffer.extend_from_slice(record.to_string().as_bytes());
        self.buffer.push(b'\n');
        self.kinds.clear();
        self.kinds.push(EventType::Stats);
        self.write_lines();
    }

    /// Writes the lines in the buffer, and counts what became of them.
    fn write_lines(&mut self) {
        if self.kinds.is_empty() {
            return;
        }
        let written = self.write_buffer();
        for (index, &kind) in self.kinds.iter().enumerate() {
            let counters = if index < written { &self.counters.written } else { &self.counters.lost };
            counters[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the buffer; answers how many of its lines are whole in the file.
    fn write_buffer(&mut self) -> usize {
        let mut result = Ok(());
        if self.is_torn {
            result = write_whole(&mut self.out, b"\n", &mut 0);
        }
        let mut sent = 0;
        if result.is_ok() {
            result = write_whole(&mut self.out, &self.buffer, &mut sent);
            self.is_torn = sent > 0 && self.buffer[sent - 1] != b'\n';
        }
        match result {
            Ok(()) => self.is_failing = false,
            Err(error) if !self.is_failing => {
                // Once per failure, not once per piece.
                self.is_failing = true;
                tracing::error!("events are being lost, the log cannot be written: {error}");
            }
            Err(_) => {}
        }
        self.buffer[..sent].iter().filter(|&&byte| byte == b'\n').count()
    }
}

/// Like `write_all`, and says through `sent` how far it came.
fn write_whole(out: &mut impl Write, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
    while *sent < bytes.len() {
        match out.write(&bytes[*sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => *sent += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
