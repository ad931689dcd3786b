//! Real worker threads over ports in memory: generations change whole, and a panic costs one burst.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use inspect::signature::RuleSet;
use inspect::wire::emit;
use vswitch::counters::WorkerCounters;
use vswitch::drop_reason::DropReason;
use vswitch::flow_table::Timeouts;
use vswitch::frame::{Batch, PortId};
use vswitch::inspection::Cleared;
use vswitch::mac_table::LearnedMacs;
use vswitch::port::memory::{MemoryPeer, MemoryQueue};
use vswitch::port::{PortFault, QueueIo, Refusals};
use vswitch::worker::{Attach, PollMode, QueueId, WorkerConfig, Workers};
use zones::rule::{Action, Rule};

use crate::bench::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// One worker with web1 and web2, stopped when dropped.
struct Running {
    workers: Workers,
    peers: [MemoryPeer; 2],
}

impl Running {
    fn start(wrap: impl Fn(PortId, MemoryQueue) -> Box<dyn QueueIo>) -> Self {
        let config = WorkerConfig {
            cpus: vec![0],
            poll: PollMode::Busy,
            flows_max: 1_024,
            flows_per_port_max: 1_024,
            timeouts: Timeouts::default(),
            flood_frames_per_s: vswitch::pipeline::FLOOD_FRAMES_PER_S,
            eve: vswitch::eve::settings::EveSettings::default(),
        };
        let first = Arc::new(generation(1, policy(Vec::new()), RuleSet::default()));
        let learned = Arc::new(LearnedMacs::new(8, 300_000));
        let (events, _) = crossbeam_channel::bounded(16);
        let workers = Workers::start(&config, Arc::new(ArcSwap::new(first)), learned, &events).expect("a worker");
        let peers = [MemoryPeer::default(), MemoryPeer::default()];
        for (port, peer) in [WEB1, WEB2].into_iter().zip(&peers) {
            workers.attach(QueueId { port, pair: 0 }, wrap(port, peer.queue()));
        }
        Self { workers, peers }
    }

    fn counters(&self) -> &Arc<WorkerCounters> {
        self.workers.counters().next().expect("one worker")
    }

    fn take(&self) -> usize {
        self.peers[1].take().len()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.workers.stop();
    }
}

fn frame() -> Vec<u8> {
    addressed(emit::udp((ip(11), 1_000), (ip(12), 2_000)).payload("x"), 11, 12)
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn once_a_generation_is_set_nothing_is_judged_by_an_older_one() {
    let running = Running::start(|_, queue| Box::new(queue));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = running.peers[0].clone();
        let is_over = &is_over;
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                sender.send(&frame());
                std::thread::yield_now();
            }
        });
        let closed = || Rule::new("closed", Action::Drop).between(any(), any());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..20 {
                running.take();
                until("frames pass while the policy is open", || running.take() > 0);
                let denied = Arc::new(generation(2 + 2 * round, policy(vec![closed()]), RuleSet::default()));
                assert!(running.workers.set_generation(denied, PATIENCE));
                running.take();
                // The flow is open and its frames keep coming, yet from here on none may pass.
                let drops = &running.counters().port(WEB1).drops[DropReason::Policy as usize];
                let before = drops.value();
                until("frames keep coming", || drops.value() > before + 10);
                assert_eq!(running.take(), 0, "round {round}");
                let open = Arc::new(generation(3 + 2 * round, policy(Vec::new()), RuleSet::default()));
                assert!(running.workers.set_generation(open, PATIENCE));
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// A queue whose receiver panics for frames of one length: it stands for a fault in any stage of the walk.
struct Explosive(MemoryQueue);

const EXPLOSIVE_LEN: usize = 1_000;

impl QueueIo for Explosive {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortFault> {
        self.0.receive(batch)
    }

    fn transmit(&mut self, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault> {
        assert!(frames.iter().all(|cleared| cleared.frame().len() != EXPLOSIVE_LEN), "wanted by the test");
        self.0.transmit(frames, refused)
    }

    fn wake_fd(&self) -> Option<RawFd> {
        self.0.wake_fd()
    }

    fn arm(&mut self) -> Result<bool, PortFault> {
        self.0.arm()
    }

    fn disarm(&mut self) {
        self.0.disarm();
    }
}

#[test]
fn a_panic_over_a_frame_drops_its_burst_and_the_worker_goes_on() {
    let running = Running::start(|_, queue| Box::new(Explosive(queue)));
    let explosive = addressed(emit::udp((ip(11), 1_000), (ip(12), 2_000)).payload(vec![0; EXPLOSIVE_LEN - 42]), 11, 12);
    assert_eq!(explosive.len(), EXPLOSIVE_LEN);
    running.peers[0].send(&explosive);
    let port = running.counters().port(WEB1);
    until("the panic is counted", || port.drops[DropReason::Panic as usize].value() == 1);
    assert_eq!(running.take(), 0);
    running.peers[0].send(&frame());
    until("the worker goes on", || port.delivered.value() == 1);
    assert_eq!(running.take(), 1);
    assert_eq!(port.received.value(), 2);
}
