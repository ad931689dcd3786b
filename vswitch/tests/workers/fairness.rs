//! One port floods, three others ask for less than their share, and lose nothing.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use vswitch::frame::{Batch, ClaimedOffload, PortId};
use vswitch::inspection::Cleared;
use vswitch::port::{PortFault, QueueIo, Refusals};
use vswitch::worker::PollMode;

use crate::switch::{Switch, udp, wait_until};

/// Entries of a guest's ring.
const RING: u64 = 256;

#[derive(Default)]
struct Counts {
    taken: AtomicU64,
    lost: AtomicU64,
    received: AtomicU64,
    cpu_ns: AtomicU64,
}

/// What an ordinary frame counts in ticks of the clock of work.
const ORDINARY_TICKS: u64 = 16;

/// A guest that offers a frame every so many ticks, or without pause. The clock is moved by the work that the worker does for
/// all guests, so a machine that takes the processor away from the worker takes it from the guests too.
struct Guest {
    frame: Vec<u8>,
    frame_ticks: u64,
    period: Option<u64>,
    started: Option<u64>,
    offered: u64,
    clock: Arc<AtomicU64>,
    counts: Arc<Counts>,
}

impl Guest {
    fn new(frame: Vec<u8>, frame_ticks: u64, period: Option<u64>, clock: &Arc<AtomicU64>) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        let clock = Arc::clone(clock);
        (Self { frame, frame_ticks, period, started: None, offered: 0, clock, counts: Arc::clone(&counts) }, counts)
    }

    /// One that only receives.
    fn sink() -> Self {
        Self::new(Vec::new(), 0, Some(u64::MAX), &Arc::default()).0
    }

    fn waiting(&mut self) -> u64 {
        let Some(period) = self.period else { return RING };
        let now = self.clock.load(Ordering::Relaxed);
        let due = (now - *self.started.get_or_insert(now)) / period;
        let [taken, lost] = [&self.counts.taken, &self.counts.lost].map(|count| count.load(Ordering::Relaxed));
        let room = RING - (self.offered - taken - lost);
        self.counts.lost.fetch_add((due - self.offered).saturating_sub(room), Ordering::Relaxed);
        self.offered = due;
        due - taken - self.counts.lost.load(Ordering::Relaxed)
    }
}

fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl QueueIo for Guest {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortFault> {
        self.counts.cpu_ns.store(thread_ns(), Ordering::Relaxed);
        let frames = self.waiting().min(batch.room() as u64);
        for _ in 0..frames {
            if batch.push_frame(&self.frame, ClaimedOffload::default()) {
                self.counts.taken.fetch_add(1, Ordering::Relaxed);
                self.clock.fetch_add(self.frame_ticks, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn transmit(&mut self, frames: &[Cleared<'_>], _: &mut Refusals) -> Result<(), PortFault> {
        self.counts.received.fetch_add(frames.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn wake_fd(&self) -> Option<RawFd> {
        None
    }

    fn arm(&mut self) -> Result<bool, PortFault> {
        Ok(true)
    }

    fn disarm(&mut self) {}
}

const SINK: u16 = 4;

/// Nanoseconds of a worker's time that a frame takes.
fn frame_ns(frame: Vec<u8>) -> u64 {
    let switch = Switch::new(5, &[0], PollMode::Busy);
    switch.attach(SINK, Guest::sink());
    let (guest, counts) = Guest::new(frame, 0, None, &Arc::default());
    switch.attach(3, guest);
    wait_until("the worker is warm", || counts.taken.load(Ordering::Relaxed) > 500);
    let before = [&counts.taken, &counts.cpu_ns].map(|count| count.load(Ordering::Relaxed));
    wait_until("enough frames", || counts.taken.load(Ordering::Relaxed) > before[0] + 2_000);
    let after = [&counts.taken, &counts.cpu_ns].map(|count| count.load(Ordering::Relaxed));
    (after[1] - before[1]) / (after[0] - before[0])
}

fn ordinary(from: u16) -> Vec<u8> {
    udp((from, 1_000), (SINK, 2_000), &[0x5a; 400])
}

/// What frames cost is measured, and now and then measured badly, so a loss counts only if it comes again.
fn check(flood: Vec<u8>) {
    let lost: Vec<u64> = (0..3).map(|_| lost_beside(&flood)).take_while(|lost| *lost > 0).collect();
    assert!(lost.len() < 3, "frames lost each time: {lost:?}");
}

/// Frames that three guests lose which ask for an eighth of the worker each, half of their share, beside a flood.
fn lost_beside(flood: &[u8]) -> u64 {
    let flood_ticks = (ORDINARY_TICKS * frame_ns(flood.to_vec()) / frame_ns(ordinary(3)).max(1)).max(1);
    let switch = Switch::new(5, &[0], PollMode::Busy);
    let clock = Arc::default();
    switch.attach(SINK, Guest::sink());
    let (flooder, flood_counts) = Guest::new(flood.to_vec(), flood_ticks, None, &clock);
    switch.attach(3, flooder);
    wait_until("the flood is there", || flood_counts.taken.load(Ordering::Relaxed) > 100);
    let guests: Vec<Arc<Counts>> = (0..3)
        .map(|port| {
            let (guest, counts) = Guest::new(ordinary(port), ORDINARY_TICKS, Some(ORDINARY_TICKS * 8), &clock);
            switch.attach(port, guest);
            counts
        })
        .collect();
    wait_until("the others have had their time", || {
        guests.iter().all(|counts| counts.taken.load(Ordering::Relaxed) > 20_000)
    });
    let lost = guests.iter().map(|counts| counts.lost.load(Ordering::Relaxed)).sum();
    for port in (0..3).map(PortId) {
        assert_eq!(switch.totals().port(port).dropped(), 0);
    }
    let before = flood_counts.taken.load(Ordering::Relaxed);
    wait_until("the flood gets what the others leave", || flood_counts.taken.load(Ordering::Relaxed) > before + 10);
    lost
}

#[test]
fn a_flood_of_short_frames_takes_nothing_from_others() {
    check(udp((3, 1_000), (SINK, 2_000), &[]));
}

#[test]
fn a_flood_of_costly_frames_takes_nothing_from_others() {
    check(udp((3, 1_000), (SINK, 2_000), &[0xa5; 20_000]));
}

#[test]
fn a_storm_of_broadcasts_is_cut_down() {
    let switch = Switch::new(5, &[0], PollMode::Busy);
    let mut storm = udp((3, 1_000), (SINK, 2_000), &[]);
    storm[..6].fill(0xff);
    let (flooder, counts) = Guest::new(storm, 1, None, &Arc::default());
    switch.attach(3, flooder);
    switch.attach(SINK, Guest::sink());
    wait_until("a storm", || counts.taken.load(Ordering::Relaxed) > 20_000);
    let port = *switch.totals().port(PortId(3));
    let stormy = port.drops[vswitch::drop_reason::DropReason::Storm as usize];
    assert!(stormy > 10_000, "{stormy}");
    assert!(port.received - stormy >= 1_000);
}
