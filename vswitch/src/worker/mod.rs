//! Workers: the threads that walk frames, and how the rest of the switch speaks to them.
//!
//! A worker owns what it touches: its queues, its flow table, its inspection, its counters. Others reach it by commands only,
//! over a bounded channel that it looks at between bursts.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use inspect::announcements::{AnnouncementCounts, Announcements};

use crate::counters::WorkerCounters;
use crate::eve::settings::EveSettings;
use crate::event::Event;
use crate::event_log::EventLog;
use crate::flow_table::{FlowRecord, FlowTable, HashSecret, Timeouts};
use crate::frame::PortId;
use crate::generation::Generation;
use crate::inspection::Inspection;
use crate::mac_table::LearnedMacs;
use crate::pipeline::Pipeline;
use crate::port::QueueIo;

mod bell;
mod clock;
mod fairness;
mod patience;
mod peers;
mod queues;
mod run;

/// What the bell is made of; its model replaces it.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

use bell::Bell;
use peers::{Directory, Doorbell, Peers};

/// Names one attached queue pair: a port and the pair's number on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueueId {
    /// The port.
    pub port: PortId,
    /// Number of the queue pair on the port, from 0.
    pub pair: u16,
}

/// The worker that serves a queue pair. Pairs of one port are spread over the workers, and so are ports with one pair.
fn owner_of(id: QueueId, worker_count: usize) -> usize {
    (id.port.index() + usize::from(id.pair)) % worker_count
}

/// How long a worker may take to take a queue in or give it back before the caller must assume that it never will.
pub const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(2);

/// Commands that may wait for a worker; a sender waits while it is full.
const COMMANDS_MAX: usize = 256;

/// Where queues are handed to workers and taken back. Each queue has one owner at any time: the attaching thread, then the
/// worker, then the detaching thread.
pub trait Attach: Send + Sync {
    /// Hands a queue to the worker that serves it, and waits until the worker serves it: what a front-end was told has taken
    /// effect, and a frame for it that is sent from then on meets its queue. A worker that does not answer within
    /// [`HAND_OVER_TIMEOUT`] is not waited for.
    fn attach(&self, id: QueueId, queue: Box<dyn QueueIo>);

    /// Takes a queue back and waits until the worker has let go of it; see [`Detached`].
    fn detach(&self, id: QueueId) -> Detached;
}

/// Answer of [`Attach::detach`].
pub enum Detached {
    /// The queue, owned by the caller again.
    Queue(Box<dyn QueueIo>),
    /// It was not attached: the worker gave it up earlier, and has dropped it.
    Absent,
    /// The worker did not answer within [`HAND_OVER_TIMEOUT`]: it may still touch the queue, so the memory behind it must not be
    /// unmapped.
    Stuck,
}

/// How a worker waits for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollMode {
    /// Busy while there is work, asleep on the kick eventfds when there is none.
    Adaptive,
    /// Always busy.
    Busy,
}

/// What workers are started with.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The processors, one worker each.
    pub cpus: Vec<usize>,
    /// How they wait.
    pub poll: PollMode,
    /// Flows in all; each worker gets an equal share.
    pub flows_max: u32,
    /// Flows that one port may open, in all.
    pub flows_per_port_max: u32,
    /// How long idle flows stay.
    pub timeouts: Timeouts,
    /// Broadcast, multicast and unknown-destination frames that one port may send in a second.
    pub flood_frames_per_s: u32,
    /// What is told to the log.
    pub eve: EveSettings,
}

/// What a worker can be told.
pub(crate) enum Command {
    Attach(QueueId, Box<dyn QueueIo>, Sender<()>),
    Detach(QueueId, Sender<Option<Box<dyn QueueIo>>>),
    Flows { from: usize, max: usize, reply: Sender<(Vec<FlowRecord>, Option<usize>)> },
    Stop,
}

/// One worker, seen from outside.
struct Handle {
    commands: Sender<Command>,
    has_commands: Arc<AtomicBool>,
    doorbell: Arc<Doorbell>,
    seen_generation: Arc<AtomicU32>,
    counters: Arc<WorkerCounters>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    fn tell(&self, command: Command) -> bool {
        // A worker that is gone has dropped its queues; nobody needs to be told.
        let sent = self.commands.send_timeout(command, HAND_OVER_TIMEOUT).is_ok();
        self.wake();
        sent
    }

    fn wake(&self) {
        self.has_commands.store(true, Ordering::Release);
        if let Err(error) = self.doorbell.waker.wake() {
            tracing::error!(%error, "a worker could not be woken");
        }
    }
}

/// All workers.
pub struct Workers {
    handles: Vec<Handle>,
    generation: Arc<ArcSwap<Generation>>,
    learned: Arc<LearnedMacs>,
    announcements: Arc<Announcements>,
    started: Instant,
}

impl Workers {
    /// Starts one worker per processor of the configuration, each with its tables at full size. `events` is the log's
    /// queue, shared by all.
    ///
    /// # Errors
    /// A thread, its poll or its tables could not be had.
    pub fn start(
        config: &WorkerConfig,
        generation: Arc<ArcSwap<Generation>>,
        learned: Arc<LearnedMacs>,
        events: &Sender<Event>,
    ) -> io::Result<Self> {
        let started = Instant::now();
        let count = config.cpus.len().max(1) as u32;
        // One secret for all, so that they agree about whose a flow is.
        let mut random = [0; 56];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let secret = HashSecret::new(random);
        let directory = Arc::new(Directory::new(config.cpus.len()));
        let polls = config.cpus.iter().map(|_| mio::Poll::new()).collect::<io::Result<Vec<_>>>()?;
        let doorbells = polls
            .iter()
            .map(|poll| {
                let waker = mio::Waker::new(poll.registry(), run::WAKER)?;
                Ok(Arc::new(Doorbell { bell: Bell::new(), waker }))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let peers = Peers::of(&doorbells, &directory);
        let announcements = Arc::new(Announcements::new());
        let handles = config
            .cpus
            .iter()
            .enumerate()
            .zip(polls)
            .zip(peers)
            .map(|(((index, cpu), poll), peers)| {
                let flows = FlowTable::new(
                    config.flows_max.div_ceil(count),
                    config.flows_per_port_max,
                    config.timeouts,
                    secret,
                )?;
                let counters = Arc::new(WorkerCounters::default());
                let pipeline = Pipeline::new(
                    flows,
                    Inspection::sharing(
                        inspect::inspector::Settings {
                            records: config.eve.wanted(),
                            ..inspect::inspector::Settings::default()
                        },
                        Arc::clone(&announcements),
                    ),
                    Arc::clone(&learned),
                    Arc::clone(&counters),
                    EventLog::new(events.clone()).by(&config.eve),
                )
                .with_flood_limit(config.flood_frames_per_s);
                let settings = run::Settings {
                    index,
                    cpu: *cpu,
                    poll: config.poll,
                    started,
                    generation: Arc::clone(&generation),
                    learned: Arc::clone(&learned),
                    directory: Arc::clone(&directory),
                    doorbell: Arc::clone(&doorbells[index]),
                };
                let peers = (config.cpus.len() > 1).then_some(peers);
                Self::spawn(settings, pipeline, counters, poll, peers)
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { handles, generation, learned, announcements, started })
    }

    /// What became of the connections that others have announced.
    pub fn announcements(&self) -> AnnouncementCounts {
        self.announcements.counts()
    }

    fn spawn(
        settings: run::Settings,
        pipeline: Pipeline,
        counters: Arc<WorkerCounters>,
        poll: mio::Poll,
        peers: Option<Peers>,
    ) -> io::Result<Handle> {
        let (commands, received): (Sender<Command>, Receiver<Command>) = bounded(COMMANDS_MAX);
        let doorbell = Arc::clone(&settings.doorbell);
        let has_commands = Arc::new(AtomicBool::new(false));
        let seen_generation = Arc::new(AtomicU32::new(0));
        let mailbox = run::Mailbox {
            commands: received,
            has_commands: Arc::clone(&has_commands),
            seen_generation: Arc::clone(&seen_generation),
        };
        let name = format!("worker-{}", settings.cpu);
        let worker_counters = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || run::Worker::new(settings, pipeline, worker_counters, poll, mailbox, peers).run())?;
        Ok(Handle { commands, has_commands, doorbell, seen_generation, counters, thread: Mutex::new(Some(thread)) })
    }

    /// Swaps the generation, and waits until every worker judges by it or a newer one. Answers whether they did in time; if
    /// not, the new one is in place all the same, and the late worker takes it before its next burst.
    pub fn set_generation(&self, generation: Arc<Generation>, timeout: Duration) -> bool {
        let number = generation.number;
        self.generation.store(generation);
        self.handles.iter().for_each(Handle::wake);
        self.wait_generation(number, timeout)
    }

    /// Waits until every worker judges by this generation or a newer one.
    pub fn wait_generation(&self, number: u32, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            if self.handles.iter().all(|handle| handle.seen_generation.load(Ordering::Acquire) >= number) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The number of the generation that each worker judges by; 0 before the first.
    pub fn seen_generations(&self) -> impl Iterator<Item = u32> {
        self.handles.iter().map(|handle| handle.seen_generation.load(Ordering::Acquire))
    }

    /// Workers whose thread has ended, which none does before [`Workers::stop`] unless it panicked outside of a frame's walk.
    pub fn ended_count(&self) -> usize {
        let has_ended = |handle: &&Handle| {
            let thread = handle.thread.lock().unwrap_or_else(PoisonError::into_inner);
            thread.as_ref().is_none_or(JoinHandle::is_finished)
        };
        self.handles.iter().filter(has_ended).count()
    }

    /// The generation in force.
    pub fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// The counters, one set per worker.
    pub fn counters(&self) -> impl Iterator<Item = &Arc<WorkerCounters>> {
        self.handles.iter().map(|handle| &handle.counters)
    }

    /// The addresses learned behind uplinks and unsecured ports.
    pub fn learned(&self) -> &LearnedMacs {
        &self.learned
    }

    /// Time since start in microseconds: the clock of [`Event::at_us`] and of learned addresses (there in milliseconds).
    pub fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Up to `max` flows of all workers. The workers answer between bursts, in pieces.
    pub fn flows(&self, max: usize) -> Vec<FlowRecord> {
        const PIECE: usize = 512;
        let mut flows = Vec::new();
        for handle in &self.handles {
            let mut next = Some(0);
            while let Some(from) = next.filter(|_| flows.len() < max) {
                let (reply, answer) = bounded(1);
                let piece = PIECE.min(max - flows.len());
                handle.tell(Command::Flows { from, max: piece, reply });
                let Ok((records, more)) = answer.recv_timeout(HAND_OVER_TIMEOUT) else {
                    break;
                };
                flows.extend(records);
                next = more;
            }
        }
        flows
    }

    /// Stops all workers and waits for them. Queues still attached are dropped.
    pub fn stop(&self) {
        for handle in &self.handles {
            handle.tell(Command::Stop);
        }
        for handle in &self.handles {
            let thread = handle.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("a worker had panicked");
            }
        }
    }

    fn worker_of(&self, id: QueueId) -> &Handle {
        &self.handles[owner_of(id, self.handles.len())]
    }
}

impl Attach for Workers {
    fn attach(&self, id: QueueId, queue: Box<dyn QueueIo>) {
        let (reply, answer) = bounded(1);
        let is_told = self.worker_of(id).tell(Command::Attach(id, queue, reply));
        if !is_told || answer.recv_timeout(HAND_OVER_TIMEOUT).is_err() {
            tracing::error!(port = id.port.0, pair = id.pair, "the worker does not take the queue");
        }
    }

    fn detach(&self, id: QueueId) -> Detached {
        let (reply, answer) = bounded(1);
        if !self.worker_of(id).tell(Command::Detach(id, reply)) {
            return Detached::Stuck;
        }
        match answer.recv_timeout(HAND_OVER_TIMEOUT) {
            Ok(Some(queue)) => Detached::Queue(queue),
            Ok(None) => Detached::Absent,
            Err(_) => Detached::Stuck,
        }
    }
}
