//! The loop of one worker.
//!
//! # Theory of operation
//!
//! While frames come, the worker polls in rounds: one burst from each queue whose port has not had more than its share of the
//! worker's time (see [`super::fairness`]), from another queue on in each round. When no queue had a frame for a while (see
//! [`super::patience`]), it goes to sleep in four steps that cannot lose a wake-up: ask every peer to kick for its next frame
//! ([`QueueIo::arm`], which ends with a full fence), look at every queue once more (arm says whether a frame waits), then block
//! on the kick descriptors and the command descriptor. A frame that was offered before the peer saw the request is found by
//! the second look; one offered later kicks.
//!
//! [`QueueIo::arm`]: crate::port::QueueIo::arm

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;
use mio::{Events, Poll, Token};

use super::clock::Clock;
use super::fairness::Accounts;
use super::patience::Patience;
use super::peers::{Directory, Doorbell, PARCELS, Peers, SharedQueues};
use super::queues::Queues;
use super::{Command, PollMode};
use crate::counters::WorkerCounters;
use crate::frame::{Batch, PortId};
use crate::generation::Generation;
use crate::mac_table::LearnedMacs;
use crate::pipeline::{Pipeline, Turn};
use crate::port::PortFault;
use crate::sys;

/// The command descriptor's token; queues have their place.
pub(super) const WAKER: Token = Token(usize::MAX);

/// Time between two pieces of housekeeping, in milliseconds.
const HOUSEKEEPING_MS: u64 = 10;

/// The longest sleep: flows must end and addresses age without traffic too.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// Time in which housekeeping sees every place of the flow table, in milliseconds.
const SWEEP_MS: u64 = 5_000;

/// Panics over frames of one queue after which the queue is given up.
const PANICS_MAX: u32 = 8;

/// What a worker is and works by.
pub(super) struct Settings {
    pub(super) index: usize,
    pub(super) cpu: usize,
    pub(super) poll: PollMode,
    pub(super) started: Instant,
    pub(super) generation: Arc<ArcSwap<Generation>>,
    pub(super) learned: Arc<LearnedMacs>,
    pub(super) directory: Arc<Directory>,
    pub(super) doorbell: Arc<Doorbell>,
}

/// Where a worker hears from others and answers.
pub(super) struct Mailbox {
    pub(super) commands: Receiver<Command>,
    pub(super) has_commands: Arc<AtomicBool>,
    pub(super) seen_generation: Arc<AtomicU32>,
}

/// One worker and everything that it owns.
pub(super) struct Worker {
    settings: Settings,
    pipeline: Pipeline,
    counters: Arc<WorkerCounters>,
    poll: Poll,
    mailbox: Mailbox,
    queues: Queues,
    /// The other workers; `None` if there are none.
    peers: Option<Peers>,
    accounts: Accounts,
    batch: Batch,
    first_place: usize,
    housekept_ms: u64,
}

impl Worker {
    pub(super) fn new(
        settings: Settings,
        pipeline: Pipeline,
        counters: Arc<WorkerCounters>,
        poll: Poll,
        mailbox: Mailbox,
        peers: Option<Peers>,
    ) -> Self {
        let queues = Queues::new(Arc::clone(&settings.directory));
        Self {
            settings,
            pipeline,
            counters,
            poll,
            mailbox,
            queues,
            peers,
            accounts: Accounts::default(),
            batch: Batch::new(),
            first_place: 0,
            housekept_ms: 0,
        }
    }

    pub(super) fn run(mut self) {
        self.pin();
        let shared = Arc::clone(&self.settings.generation);
        let mut generations = arc_swap::Cache::new(shared);
        let mut generation = Arc::clone(generations.load());
        self.saw(&generation);
        let mut clock = Clock::new(self.settings.started);
        let mut last_frame_us = clock.now_us();
        let mut awake_since_us = last_frame_us;
        let mut patience = Patience::default();
        loop {
            // Loaded first: a swap in each round would cost as much as a frame.
            if self.mailbox.has_commands.load(Ordering::Relaxed)
                && self.mailbox.has_commands.swap(false, Ordering::Acquire)
                && !self.obey()
            {
                let turn = self.idle_turn(&generation, self.now_us());
                return self.pipeline.finish(&turn);
            }
            let current = generations.load();
            if !Arc::ptr_eq(current, &generation) {
                generation = Arc::clone(current);
                self.saw(&generation);
            }
            let now_us = clock.now_us();
            let before = sys::cycles();
            if self.turn(&generation, now_us, before) {
                self.counters.busy_polls.add(1);
                self.counters.busy_cycles.add(sys::cycles().wrapping_sub(before));
                (last_frame_us, awake_since_us) = (now_us, now_us);
            } else {
                self.counters.empty_polls.add(1);
                std::hint::spin_loop();
            }
            self.housekeep(&generation, now_us);
            if self.settings.poll == PollMode::Adaptive && patience.is_over(now_us - awake_since_us) {
                self.sleep();
                clock.expire();
                awake_since_us = clock.now_us();
                patience.slept(awake_since_us - last_frame_us, self.counters.busy_polls.value());
            }
        }
    }

    fn now_us(&self) -> u64 {
        self.settings.started.elapsed().as_micros() as u64
    }

    /// From here on, this worker judges by `generation`.
    fn saw(&self, generation: &Generation) {
        self.mailbox.seen_generation.store(generation.number, Ordering::Release);
    }

    fn pin(&self) {
        let mut cpus = rustix::thread::CpuSet::new();
        cpus.set(self.settings.cpu);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &cpus) {
            tracing::warn!(cpu = self.settings.cpu, %error, "cannot pin the worker to its processor");
        }
    }

    /// One round: one burst from each queue whose port may have one. Answers whether there was any frame. `started` is the
    /// time-stamp counter's value now.
    fn turn(&mut self, generation: &Arc<Generation>, now_us: u64, started: u64) -> bool {
        let mut had_frames = false;
        let mut cycles = started;
        let places = self.queues.len();
        self.first_place = if self.first_place + 1 < places { self.first_place + 1 } else { 0 };
        for place in (self.first_place..places).chain(0..self.first_place) {
            let Some(attached) = self.queues.at(place) else {
                continue;
            };
            let frames_max = self.accounts.frames_max(attached.id.port);
            if frames_max == 0 {
                continue;
            }
            self.batch.clear_for(frames_max);
            if let Err(fault) = attached.queue.receive(&mut self.batch) {
                attached.fault = Some(fault);
                continue;
            }
            if self.batch.is_empty() && self.batch.rejected().is_empty() {
                continue;
            }
            had_frames = true;
            self.counters.bursts.add(1);
            let turn = Turn { generation, ingress: attached.id.port, now_us, worker: self.settings.index };
            let (pipeline, batch, queues) = (&mut self.pipeline, &mut self.batch, &mut self.queues);
            let walk = || match &mut self.peers {
                None => pipeline.walk(&turn, batch, queues),
                Some(peers) => pipeline.walk(&turn, batch, &mut SharedQueues { queues, peers }),
            };
            if catch_unwind(AssertUnwindSafe(walk)).is_err() {
                self.survive(place, &turn);
            }
            let now = sys::cycles();
            let frames = self.batch.len() + self.batch.rejected().len();
            self.accounts.charge(turn.ingress, frames, now.wrapping_sub(cycles));
            cycles = now;
        }
        self.accounts.end_round();
        if self.peers.is_some() {
            had_frames |= self.work_off(generation, now_us);
        }
        if self.queues.has_faulty() {
            self.queues.remove_faulty(self.poll.registry());
        }
        had_frames
    }

    /// Works off the parcels that other workers have sent, and sends them what this round had for them. Answers whether there
    /// was any.
    fn work_off(&mut self, generation: &Arc<Generation>, now_us: u64) -> bool {
        let Some(peers) = &mut self.peers else { return false };
        let mut had_parcels = false;
        for lane in 0..peers.incoming.len() {
            // Not more than a lane holds, so that own queues are looked at in between.
            for _ in 0..PARCELS {
                let Some(parcel) = peers.incoming[lane].take(generation.number) else { break };
                had_parcels = true;
                let turn = |ingress| Turn { generation, ingress, now_us, worker: self.settings.index };
                let mut at = 0;
                while let Some((ingress, run)) = parcel.waiting_run(at) {
                    at = run.end;
                    let turn = turn(ingress);
                    let mut egress = SharedQueues { queues: &mut self.queues, peers };
                    let judge = || self.pipeline.judge_handed(&turn, &parcel, run, &mut egress);
                    if catch_unwind(AssertUnwindSafe(judge)).is_err() {
                        tracing::error!(port = ingress.0, "a stage panicked; the frames are dropped");
                        self.pipeline.recover(ingress);
                    }
                }
                let mut at = 0;
                while let Some((ingress, run)) = parcel.cleared_run(at) {
                    at = run.end;
                    let turn = turn(ingress);
                    let mut egress = SharedQueues { queues: &mut self.queues, peers };
                    let deliver = || self.pipeline.deliver_handed(&turn, &parcel, run, &mut egress);
                    if catch_unwind(AssertUnwindSafe(deliver)).is_err() {
                        tracing::error!(port = ingress.0, "a port panicked; the frames are dropped");
                        self.pipeline.recover(ingress);
                    }
                }
                peers.incoming[lane].give_back(parcel);
            }
        }
        peers.flush();
        had_parcels
    }

    /// A stage panicked over a burst: drop what is left of it, and give up a queue that does it again and again.
    #[cold]
    fn survive(&mut self, place: usize, turn: &Turn<'_>) {
        tracing::error!(
            port = turn.ingress.0,
            "a stage panicked; the burst is dropped, and the flow too if inspection panicked"
        );
        self.pipeline.recover(turn.ingress);
        if let Some(attached) = self.queues.at(place) {
            attached.panic_count += 1;
            if attached.panic_count >= PANICS_MAX {
                attached.fault = Some(PortFault { word: "panics" });
            }
        }
    }

    /// Follows the commands that wait. Answers whether to go on.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.mailbox.commands.try_recv() {
            match command {
                Command::Attach(id, queue, reply) => {
                    self.queues.attach(id, queue, self.poll.registry());
                    let _ = reply.send(());
                }
                Command::Detach(id, reply) => {
                    // Nobody waits any more when the caller gave up: the queue is dropped then, by its owner.
                    let _ = reply.send(self.queues.detach(id, self.poll.registry()));
                }
                Command::Flows { from, max, reply } => {
                    let now_ms = self.now_us() / 1_000;
                    let _ = reply.send(self.pipeline.flows().records(from, max, now_ms));
                }
                Command::Stop => return false,
            }
        }
        true
    }

    /// A turn that is about no port.
    fn idle_turn<'a>(&self, generation: &'a Arc<Generation>, now_us: u64) -> Turn<'a> {
        Turn { generation, ingress: PortId(0), now_us, worker: self.settings.index }
    }

    fn housekeep(&mut self, generation: &Arc<Generation>, now_us: u64) {
        let now_ms = now_us / 1_000;
        let elapsed_ms = now_ms.saturating_sub(self.housekept_ms);
        if elapsed_ms < HOUSEKEEPING_MS {
            return;
        }
        self.housekept_ms = now_ms;
        let places = self.pipeline.flows().places() as u64;
        let share = (places * elapsed_ms.min(SLEEP_MAX.as_millis() as u64 * 2)).div_ceil(SWEEP_MS);
        let turn = self.idle_turn(generation, now_us);
        self.pipeline.housekeep(&turn, share as usize);
        if self.settings.index == 0 && now_ms / 1_000 != (now_ms - elapsed_ms) / 1_000 {
            self.settings.learned.expire(now_ms, |port| generation.port(port).is_some());
        }
    }

    /// Sleeps until a frame, a command or the next housekeeping.
    fn sleep(&mut self) {
        let mut is_pending = false;
        for attached in self.queues.iter_mut() {
            match attached.queue.arm() {
                Ok(waits) => is_pending |= waits,
                Err(fault) => attached.fault = Some(fault),
            }
        }
        if let Some(peers) = &self.peers {
            is_pending |= peers.arm();
        }
        if !is_pending && !self.mailbox.has_commands.load(Ordering::Acquire) {
            self.counters.sleeps.add(1);
            let mut events = Events::with_capacity(64);
            if let Err(error) = self.poll.poll(&mut events, Some(SLEEP_MAX))
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the worker cannot sleep");
            }
        }
        for attached in self.queues.iter_mut() {
            attached.queue.disarm();
        }
        if let Some(peers) = &self.peers {
            peers.disarm();
        }
    }
}
