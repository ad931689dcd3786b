//! A worker that sleeps is woken by the next frame, whenever it comes.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use vswitch::frame::{Batch, ClaimedOffload};
use vswitch::inspection::Cleared;
use vswitch::port::{PortFault, QueueIo, Refusals};
use vswitch::worker::PollMode;

use crate::switch::{Switch, udp, wait_until};

/// A ring that kicks only when it was asked to, as a guest with `VIRTIO_F_EVENT_IDX` does.
struct Ring {
    frames: Mutex<VecDeque<Vec<u8>>>,
    is_kick_wanted: AtomicBool,
    kick: OwnedFd,
    received: AtomicU64,
}

impl Ring {
    fn offer(&self, frame: Vec<u8>) {
        self.frames.lock().expect("the frames").push_back(frame);
        fence(Ordering::SeqCst);
        if self.is_kick_wanted.load(Ordering::Relaxed) {
            rustix::io::write(&self.kick, &1u64.to_ne_bytes()).expect("a kick");
        }
    }
}

struct Queue(Arc<Ring>);

impl QueueIo for Queue {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortFault> {
        let mut frames = self.0.frames.lock().expect("the frames");
        while batch.room() > 0
            && let Some(frame) = frames.pop_front()
        {
            assert!(batch.push_frame(&frame, ClaimedOffload::default()));
        }
        Ok(())
    }

    fn transmit(&mut self, frames: &[Cleared<'_>], _: &mut Refusals) -> Result<(), PortFault> {
        self.0.received.fetch_add(frames.len() as u64, Ordering::Release);
        Ok(())
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.0.kick.as_raw_fd())
    }

    fn arm(&mut self) -> Result<bool, PortFault> {
        self.0.is_kick_wanted.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Ok(!self.0.frames.lock().expect("the frames").is_empty())
    }

    fn disarm(&mut self) {
        self.0.is_kick_wanted.store(false, Ordering::Relaxed);
    }
}

/// A lost wake-up shows as a frame that waits for the end of the longest sleep, half a second.
const BOUND: Duration = Duration::from_millis(400);

#[test]
fn no_frame_waits_for_a_worker_that_sleeps() {
    check(&[0]);
}

#[test]
fn no_frame_waits_for_either_of_two_workers() {
    check(&[0, 1]);
}

fn check(cpus: &[usize]) {
    let switch = Switch::new(2, cpus, PollMode::Adaptive);
    let rings: Vec<Arc<Ring>> = (0..2)
        .map(|_| {
            Arc::new(Ring {
                frames: Mutex::default(),
                is_kick_wanted: AtomicBool::new(false),
                kick: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd"),
                received: AtomicU64::new(0),
            })
        })
        .collect();
    for (port, ring) in rings.iter().enumerate() {
        switch.attach(port as u16, Queue(Arc::clone(ring)));
    }
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut worst = Duration::ZERO;
    wait_until("the queues are attached", || {
        rings[0].offer(udp((0, 1_000), (1, 2_000), &[]));
        std::thread::sleep(Duration::from_millis(5));
        rings[1].received.load(Ordering::Acquire) > 0
    });
    wait_until("all frames have come to an end", || {
        let all = switch.totals().all;
        all.received == all.delivered + all.dropped() && rings[0].frames.lock().expect("the frames").is_empty()
    });
    let before = rings[1].received.load(Ordering::Acquire);
    for n in 1..=6_000u64 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Around the time for which a worker polls before it sleeps, so that frames come at each moment of going to sleep. It
        // polls for longer when its sleeps are short, until one is long.
        let long = if n.is_multiple_of(4) { 2_000_000 } else { 0 };
        let pause = Duration::from_nanos(long + random % 150_000);
        let start = Instant::now();
        while start.elapsed() < pause {
            std::hint::spin_loop();
        }
        let offered = Instant::now();
        rings[0].offer(udp((0, 1_000 + n as u16), (1, 2_000), &n.to_be_bytes()));
        while rings[1].received.load(Ordering::Acquire) < before + n {
            assert!(offered.elapsed() < Duration::from_secs(10), "frame {n} never arrives");
            std::thread::yield_now();
        }
        worst = worst.max(offered.elapsed());
    }
    assert!(worst < BOUND, "a frame waited for {worst:?}");
    let sleeps: u64 = switch.workers.counters().map(|counters| counters.sleeps.value()).sum();
    assert!(sleeps > 500, "the worker slept only {sleeps} times");
}
