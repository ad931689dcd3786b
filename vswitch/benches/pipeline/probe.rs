//! Two guests of a switch in another process: how long a frame is under way from one to the other.
//!
//! `probe SOCKET SOCKET SECONDS [RATE...]` prints, each measured for so many seconds,
//! * `probe capacity`: frames per second that get across when as many are sent as the ring takes;
//! * `probe gap-20us`, `probe gap-1ms`: latency of single frames, the next 20 microseconds or a millisecond after the last one
//!   has arrived: a switch that sleeps does not in the first case, and does in the second;
//! * `probe half`: latency of all frames when half the capacity is sent; `probe rate-RATE`: the same for a given rate.
//!
//! Behind each latency, `from S to S` tells when it was measured, in seconds on the clock that all processes share.
//!
//! Latency is from before a frame is offered until it is seen by the receiver, which polls. The guests are those of
//! `configs/bench.yaml`: UDP from 10.0.0.10 to port 9000 of 10.0.0.11.

use std::path::Path;
use std::time::{Duration, Instant};

use inspect::wire::emit;

use crate::Effort;
use crate::guest::{Guest, Shape};
use crate::report;
use crate::rig::{ADDRESSES, GUESTS};

const FLOWS: u16 = 1_024;
/// Where the stamp is in a frame: at the start of the payload.
const STAMP: usize = 42;
/// A frame that is not there after so long is lost.
const LOST: Duration = Duration::from_millis(200);
/// A switch through which nothing came for so long is broken, not slow.
const BROKEN: Duration = Duration::from_secs(60);

/// Frames of both guests, whose first 16 bytes of payload are a number and its complement: whatever the number is, the checksum
/// stays right.
fn frames(guest: usize) -> Vec<Vec<u8>> {
    let stamp = [[0; 8], [0xff; 8], [0x5a; 8]].concat();
    let frame = |flow: u16| {
        let mut ends = [(ADDRESSES[0], 1_024 + flow), (ADDRESSES[1], 9_000)];
        ends.rotate_left(guest);
        emit::udp(ends[0], ends[1]).macs(GUESTS[guest].2, GUESTS[1 - guest].2).payload(&stamp[..18]).build()
    };
    (0..FLOWS).map(frame).collect()
}

fn stamp(frame: &mut [u8], number: u64) {
    frame[STAMP..STAMP + 8].copy_from_slice(&number.to_ne_bytes());
    frame[STAMP + 8..STAMP + 16].copy_from_slice(&(!number).to_ne_bytes());
}

/// The stamp of a frame that is one of ours.
fn stamp_of(frame: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u64::from_ne_bytes(frame.get(at..at + 8)?.try_into().ok()?));
    word(STAMP).filter(|number| word(STAMP + 8) == Some(!*number))
}

struct Prober {
    guests: [Guest; 2],
    frames: Vec<Vec<u8>>,
    next: usize,
    started: Instant,
    times: Vec<u32>,
}

impl Prober {
    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Sends so many frames of the first guest, stamped with this time.
    fn send(&mut self, count: u16, now_ns: u64) {
        let (frames, next) = (&self.frames, &mut self.next);
        self.guests[0].send(count, frames[0].len(), |buffer| {
            buffer.copy_from_slice(&frames[*next % frames.len()]);
            stamp(buffer, now_ns);
            *next += 1;
        });
        self.guests[0].kick();
    }

    /// Takes what has come for the second guest, and notes how long it was under way.
    fn take(&mut self) -> u64 {
        let (started, times) = (self.started, &mut self.times);
        let mut now_ns = None;
        let mut count = 0;
        self.guests[1].take_each(|frame| {
            let Some(sent_ns) = stamp_of(frame) else { return };
            count += 1;
            let now_ns = *now_ns.get_or_insert_with(|| started.elapsed().as_nanos() as u64);
            times.push(now_ns.saturating_sub(sent_ns).min(u64::from(u32::MAX)) as u32);
        });
        count
    }

    /// Every flow once in both directions, so that it is established. Frames are sent one by one until one arrives, since a
    /// switch may take its time with a new port.
    fn open_flows(&mut self) {
        let deadline = Instant::now() + BROKEN;
        while self.take() == 0 {
            assert!(Instant::now() < deadline, "no frame gets through");
            let now_ns = self.now_ns();
            self.send(1, now_ns);
            std::thread::sleep(Duration::from_millis(50));
        }
        for answer in &frames(1)[..self.frames.len()] {
            let now_ns = self.now_ns();
            self.send(1, now_ns);
            self.wait();
            self.guests[1].send(1, answer.len(), |buffer| buffer.copy_from_slice(answer));
            self.guests[1].kick();
            let deadline = Instant::now() + LOST;
            while self.guests[0].take() == 0 && Instant::now() < deadline {}
        }
    }

    /// Waits for one frame; false if it is lost.
    fn wait(&mut self) -> bool {
        let deadline = Instant::now() + LOST;
        while self.take() == 0 {
            if Instant::now() > deadline {
                return false;
            }
        }
        true
    }

    fn capacity(&mut self, duration: Duration) -> f64 {
        let (start, mut arrived) = (Instant::now(), 0);
        while start.elapsed() < duration || (arrived == 0 && start.elapsed() < BROKEN) {
            let count = self.guests[0].room().min(32);
            if count > 0 {
                let now_ns = self.now_ns();
                self.send(count, now_ns);
            }
            arrived += self.take();
        }
        let rate = arrived as f64 / start.elapsed().as_secs_f64();
        println!("probe capacity: frames/s {rate:.0}");
        self.settle();
        rate
    }

    /// Lets what is under way arrive, and forgets its times.
    fn settle(&mut self) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(20) {
            self.take();
        }
        self.times.clear();
    }

    /// Prints the times that were noted since a moment.
    fn report(&mut self, name: &str, from: f64) {
        let times = report::nanoseconds(&format!("probe {name}"), &mut self.times);
        println!("{times} from {from:.3} to {:.3}", report::now_s());
    }

    fn singly(&mut self, name: &str, gap: Duration, duration: Duration) {
        let (from, start, mut lost) = (report::now_s(), Instant::now(), 0);
        while start.elapsed() < duration || (self.times.is_empty() && start.elapsed() < BROKEN) {
            let now_ns = self.now_ns();
            self.send(1, now_ns);
            lost += u32::from(!self.wait());
            let arrived = Instant::now();
            while arrived.elapsed() < gap {
                std::hint::spin_loop();
            }
        }
        assert!(!self.times.is_empty(), "frames get through");
        self.report(name, from);
        if lost > 0 {
            println!("probe {name}: lost {lost}");
        }
        self.settle();
    }

    fn at_rate(&mut self, name: &str, per_s: f64, duration: Duration) {
        let (from, start, mut sent) = (report::now_s(), Instant::now(), 0u64);
        let mut arrived = 0;
        while start.elapsed() < duration || (arrived == 0 && start.elapsed() < BROKEN) {
            let due = (start.elapsed().as_secs_f64() * per_s) as u64;
            let count = due.saturating_sub(sent).min(u64::from(self.guests[0].room().min(32)));
            if count > 0 {
                let now_ns = self.now_ns();
                self.send(count as u16, now_ns);
                sent += count;
            }
            arrived += self.take();
        }
        assert!(arrived > 0, "frames get through");
        let share = sent as f64 / (per_s * duration.as_secs_f64());
        self.report(name, from);
        println!("probe {name}: sent {sent} arrived {arrived} share-of-rate {share:.2}");
        self.settle();
    }
}

pub(super) fn run(words: &[String], effort: Effort) {
    let [first, second, seconds, rates @ ..] = words else { panic!("probe SOCKET SOCKET SECONDS [RATE...]") };
    let seconds: f64 = seconds.parse().expect("a number of seconds");
    let duration = Duration::from_secs_f64(if seconds > 0.0 { seconds } else { 0.1 });
    let mut guests = [first, second].map(|socket| {
        let mut guest = Guest::new(Shape::plain(256));
        guest.post_all();
        guest.connect(Path::new(socket));
        guest
    });
    guests.iter_mut().for_each(|guest| assert_eq!(guest.take(), 0, "nobody sends yet"));
    let (times, started) = (Vec::with_capacity(effort.rounds(16 << 20) as usize), Instant::now());
    let mut frames = frames(0);
    frames.truncate(effort.rounds(FLOWS.into()) as usize);
    let mut prober = Prober { guests, frames, next: 0, started, times };
    prober.open_flows();
    prober.settle();
    let capacity = prober.capacity(duration);
    prober.singly("gap-20us", Duration::from_micros(20), duration);
    prober.singly("gap-1ms", Duration::from_millis(1), duration);
    prober.at_rate("half", capacity / 2.0, duration);
    for rate in rates {
        let per_s: f64 = rate.parse().expect("a rate in frames per second");
        prober.at_rate(&format!("rate-{per_s:.0}"), per_s, duration);
    }
}
