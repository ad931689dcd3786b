//! A model, checked in all interleavings, of how a worker goes to sleep while a guest offers frames.
//!
//! The guest follows virtio 1.2 section 2.7.10 (`VIRTIO_F_EVENT_IDX`): it publishes its index, then reads the index for which
//! the device asked to be kicked. The worker does the opposite order: it publishes the index that it wants to be kicked for,
//! then looks for frames once more. Each has a full fence between the two, so at least one of them sees the other.

use loom::sync::atomic::{AtomicU16, Ordering, fence};
use loom::sync::{Arc, Notify};

/// What guest and worker share.
struct Ring {
    avail_index: AtomicU16,
    avail_event: AtomicU16,
    /// The kick descriptor: stays readable until the worker has seen it.
    kick: Notify,
}

impl Ring {
    fn new() -> Self {
        Self {
            avail_index: AtomicU16::new(0),
            // A worker that polls leaves the index behind, so that no kick is due.
            avail_event: AtomicU16::new(u16::MAX),
            kick: Notify::new(),
        }
    }

    /// The guest offers one more frame, and kicks if the worker wants it.
    fn offer(&self, has_fence: bool) {
        let old = self.avail_index.load(Ordering::Relaxed);
        let new = old.wrapping_add(1);
        self.avail_index.store(new, Ordering::Release);
        if has_fence {
            fence(Ordering::SeqCst);
        }
        let event = self.avail_event.load(Ordering::Acquire);
        if new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old) {
            self.kick.notify();
        }
    }

    /// The worker asks to be kicked for the frame after `taken`. Answers whether frames wait already.
    fn arm(&self, taken: u16, has_fence: bool) -> bool {
        self.avail_event.store(taken, Ordering::Release);
        if has_fence {
            fence(Ordering::SeqCst);
        }
        self.avail_index.load(Ordering::Acquire) != taken
    }
}

/// A guest offers frames while its worker polls, arms, looks again and sleeps, until all frames are taken. A lost wake-up is a
/// deadlock, which loom reports.
fn run(frames: u16, guest_has_fence: bool, worker_has_fence: bool) {
    loom::model(move || {
        let ring = Arc::new(Ring::new());
        let guest = {
            let ring = Arc::clone(&ring);
            loom::thread::spawn(move || (0..frames).for_each(|_| ring.offer(guest_has_fence)))
        };
        loop {
            let taken = ring.avail_index.load(Ordering::Acquire);
            if taken == frames {
                break;
            }
            if !ring.arm(taken, worker_has_fence) {
                ring.kick.wait();
            }
            ring.avail_event.store(taken.wrapping_sub(1), Ordering::Release);
        }
        guest.join().expect("the guest");
    });
}

#[test]
fn no_kick_is_lost() {
    run(1, true, true);
    run(2, true, true);
}

/// The model can fail: without a fence on either side it finds the sleep that never ends.
#[test]
#[should_panic(expected = "deadlock")]
fn without_the_workers_fence_a_kick_is_lost() {
    run(1, true, false);
}

/// What the bell is made of in the model.
mod atomic {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[path = "../src/worker/bell.rs"]
mod bell;

/// Another worker hands parcels to one that goes to sleep, which works all of them off.
#[test]
fn no_parcel_waits_for_a_worker_that_sleeps() {
    for parcels in 1..=2 {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let bell = Arc::new(bell::Bell::new());
            let lane = Arc::new(AtomicU16::new(0));
            let waker = Arc::new(Notify::new());
            let ringer = {
                let (bell, lane, waker) = (Arc::clone(&bell), Arc::clone(&lane), Arc::clone(&waker));
                loom::thread::spawn(move || {
                    for parcel in 1..=parcels {
                        lane.store(parcel, Ordering::Release);
                        if bell.must_ring() {
                            waker.notify();
                        }
                    }
                })
            };
            let mut seen = lane.load(Ordering::Acquire);
            while seen < parcels {
                bell.arm();
                if lane.load(Ordering::Acquire) == seen {
                    waker.wait();
                }
                bell.disarm();
                seen = lane.load(Ordering::Acquire);
            }
            ringer.join().expect("the ringer");
        });
    }
}
