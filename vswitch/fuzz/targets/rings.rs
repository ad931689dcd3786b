//! The rings of a guest port: a guest writes anything into its memory, its rings and descriptors too, while a worker takes its
//! frames and gives it others. All that may come of it is a fault of the port, and nothing of its memory changes but used rings
//! and buffers that it has offered for that.
#![no_main]

#[allow(dead_code, reason = "what front-ends can say beside this is the other target's")]
mod message;
mod shelf;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use inspect::inspector::{Direction, FlowView, Profile, Settings};
use inspect::signature::RuleSet;
use inspect::wire::{Checksums, Headers, emit, parse};
use libfuzzer_sys::fuzz_target;
use vswitch::frame::{BURST_MAX, Batch, FRAME_LEN_MAX, FRAME_LEN_MIN, Offload, PortId};
use vswitch::inspection::{Candidate, Cleared, Inspection, Judged};
use vswitch::port::vhost::{Features, Mode, PortStatus, VhostConfig, VhostPort};
use vswitch::port::{QueueIo, Refusals};

use message::*;
use shelf::Shelf;

const MEMORY_LEN: usize = 256 << 10;
/// The second of two regions that lie behind one another.
const CUT: usize = 128 << 10;
const GUEST_BASE: u64 = 1 << 30;
const USER_BASE: u64 = 0x7f00_0000_0000;

/// Bytes for each ring, where the fuzzer does not say otherwise, and where its parts are.
const RING_LEN: usize = 0x4000;
const AVAIL: usize = 0x1000;
const USED: usize = 0x2000;
/// Where its buffers are.
const BUFFERS: usize = 2 * RING_LEN;
const BUFFER_LEN: usize = 2048;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// REPLY_ACK.
const PROTOCOL_FEATURES: u64 = 8;

/// The ring by which the guest receives, and that by which it sends.
const RECEIVE: usize = 0;
const SEND: usize = 1;

/// What is left of the fuzzer's bytes; zeros behind them.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn long(&mut self) -> u32 {
        u32::from(self.word()) | u32::from(self.word()) << 16
    }
}

/// Where the parts of a ring are in the guest's memory.
#[derive(Clone, Copy)]
struct Layout {
    descriptors: usize,
    avail: usize,
    used: usize,
    offered: u16,
}

struct Guest {
    /// Written to and read by calls: the port has it mapped.
    memory: File,
    features: u64,
    size: usize,
    rings: [Layout; 2],
    /// Bytes that it has ever offered to be written to, as far as that can be told.
    writable: Vec<Range<usize>>,
    /// It cannot be told any more: there were indirect tables, or chains in memory that the switch writes to.
    is_vague: bool,
}

impl Guest {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let kind = bytes.byte();
        let size = 1 << (kind & 7);
        let at = |start| Layout { descriptors: start, avail: start + AVAIL, used: start + USED, offered: 0 };
        let mut rings = [at(0), at(RING_LEN)];
        if kind & 8 != 0 {
            for ring in &mut rings {
                let place = |at: u16| usize::from(at) * 16 % MEMORY_LEN;
                (ring.descriptors, ring.avail, ring.used) =
                    (place(bytes.word()), place(bytes.word()), place(bytes.word()));
            }
        }
        let wanted = [
            Features::INDIRECT_DESC,
            Features::EVENT_IDX,
            Features::MRG_RXBUF,
            Features::CSUM,
            Features::HOST_TSO4,
            Features::GUEST_CSUM,
            Features::GUEST_TSO4,
            Features::IN_ORDER,
        ];
        let chosen = bytes.byte();
        let always = Features::PROTOCOL_FEATURES.0 | if kind & 16 != 0 { 0 } else { Features::VERSION_1.0 };
        let bits = wanted.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 != 0);
        let features = bits.fold(always, |all, (_, feature)| all | feature.0);
        let memory = memory(MEMORY_LEN as u64).into();
        Self { memory, features, size, rings, writable: Vec::new(), is_vague: false }
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        let len = bytes.len().min(MEMORY_LEN.saturating_sub(at));
        self.memory.write_all_at(&bytes[..len], at as u64).expect("its memory");
    }

    fn read(&self, range: Range<usize>) -> Vec<u8> {
        let end = range.end.min(MEMORY_LEN);
        let mut bytes = vec![0; end.saturating_sub(range.start)];
        self.memory.read_exact_at(&mut bytes, range.start as u64).expect("its memory");
        bytes
    }

    fn describe(&self, ring: usize, index: usize, (addr, len): (u64, u32), flags: u16, next: u16) {
        let words = [&addr.to_le_bytes()[..], &len.to_le_bytes(), &flags.to_le_bytes(), &next.to_le_bytes()].concat();
        self.write(self.rings[ring].descriptors + 16 * index, &words);
    }

    fn offer(&mut self, ring: usize, head: u16) {
        let Layout { avail, offered, .. } = self.rings[ring];
        self.write(avail + 4 + 2 * (usize::from(offered) % self.size), &head.to_le_bytes());
        self.rings[ring].offered = offered.wrapping_add(1);
        self.write(avail + 2, &self.rings[ring].offered.to_le_bytes());
    }

    /// Buffers as every driver makes them, and all of them offered.
    fn behave(&mut self, ring: usize) {
        let flags = if ring == RECEIVE { WRITE } else { 0 };
        for index in 0..self.size.min(32) {
            let at = BUFFERS + (32 * ring + index) * BUFFER_LEN;
            let len = if ring == RECEIVE { BUFFER_LEN } else { 12 + 60 + index };
            self.describe(ring, index, (GUEST_BASE + at as u64, len as u32), flags, 0);
            self.offer(ring, index as u16);
        }
    }

    /// Notes what may be written to when frames are sent to the guest.
    fn note_writable(&mut self) {
        let Layout { descriptors, avail, .. } = self.rings[RECEIVE];
        let table = self.read(descriptors..descriptors + 16 * self.size);
        for index in 0..self.size {
            let entry = &table[(16 * index).min(table.len())..];
            let Some(entry) = entry.first_chunk::<16>() else { continue };
            let entry = u128::from_le_bytes(*entry);
            let (addr, len, flags) = (entry as u64, (entry >> 64) as u32, (entry >> 96) as u16);
            let at = addr.wrapping_sub(GUEST_BASE);
            if flags & WRITE == 0 && flags & INDIRECT == 0 || at >= MEMORY_LEN as u64 {
                continue;
            }
            let at = at as usize;
            let range = at..at.saturating_add(len as usize).min(MEMORY_LEN);
            let rings = [descriptors..descriptors + 16 * self.size, avail..avail + 6 + 2 * self.size];
            self.is_vague |= flags & INDIRECT != 0;
            self.is_vague |= rings.iter().any(|ring| ring.start < range.end && range.start < ring.end);
            if !self.writable.contains(&range) {
                self.writable.push(range);
            }
        }
        let used = self.used(RECEIVE);
        let table = descriptors..descriptors + 16 * self.size;
        self.is_vague |= used.start < table.end && table.start < used.end || self.writable.len() > 4096;
    }

    fn used(&self, ring: usize) -> Range<usize> {
        let used = self.rings[ring].used;
        used..used + 6 + 8 * self.size
    }

    /// Asserts that nothing has changed but what lies in some ranges.
    fn assert_kept(&self, before: &[u8], but: &[Range<usize>]) {
        let after = self.read(0..MEMORY_LEN);
        if after == before {
            return;
        }
        for (at, _) in before.iter().zip(&after).enumerate().filter(|(_, (before, after))| before != after) {
            assert!(but.iter().any(|range| range.contains(&at)), "byte {at:#x} was written to");
        }
    }

    /// Tells a port of itself. Whether the port took all of it.
    fn introduce(&self, socket: &mut UnixStream) -> bool {
        let number = |number: u64| number.to_ne_bytes().to_vec();
        let pair = |first: usize, second: usize| [first as u32, second as u32].map(u32::to_ne_bytes).concat();
        let regions = [(0, CUT), (CUT, MEMORY_LEN - CUT)].iter().flat_map(|&(start, len)| {
            let start = start as u64;
            [GUEST_BASE + start, len as u64, USER_BASE + start, start].into_iter().flat_map(u64::to_ne_bytes)
        });
        let table = number(2).into_iter().chain(regions).collect();
        let file = || self.memory.as_fd().try_clone_to_owned().expect("a descriptor");
        let mut all = vec![
            (SET_PROTOCOL_FEATURES, number(PROTOCOL_FEATURES), vec![]),
            (SET_FEATURES, number(self.features), vec![]),
            (SET_MEM_TABLE, table, vec![file(), file()]),
        ];
        for (index, ring) in self.rings.iter().enumerate() {
            let places = [ring.descriptors, ring.used, ring.avail].map(|at| USER_BASE + at as u64);
            let places = places.into_iter().chain([0]).flat_map(u64::to_ne_bytes);
            all.extend([
                (SET_VRING_NUM, pair(index, self.size), vec![]),
                (SET_VRING_BASE, pair(index, 0), vec![]),
                (SET_VRING_ADDR, pair(index, 0).into_iter().chain(places).collect(), vec![]),
                (SET_VRING_CALL, number(index as u64), vec![event()]),
                (SET_VRING_KICK, number(index as u64), vec![event()]),
                (SET_VRING_ENABLE, pair(index, 1), vec![]),
            ]);
        }
        all.into_iter().all(|(code, body, files): (u32, Vec<u8>, Vec<OwnedFd>)| {
            let sent = send(socket, &encode(code, VERSION | NEED_REPLY, &body), &files);
            let mut reply = [0; 20];
            sent.is_ok() && socket.read_exact(&mut reply).is_ok() && reply[12..] == [0; 8]
        })
    }
}

/// A frame that was cleared, and what is left to be done to it.
type Frame = (Vec<u8>, Headers, Offload);

fn frames() -> Vec<Frame> {
    let (from, to) = (([10, 0, 0, 1], 4000), ([10, 0, 0, 2], 80));
    let whole = |frame: Vec<u8>, offload| {
        let headers = parse(&frame, Checksums::Unchecked).expect("a sound frame");
        (frame, headers, offload)
    };
    let segment = |len| emit::tcp(from, to).seq(1).ack(1).payload(vec![7; len]).partial_checksum().build();
    vec![
        whole(emit::udp(from, to).payload([1; 18]).build(), Offload::None),
        whole(emit::udp(from, to).payload([2; 1472]).build(), Offload::None),
        whole(emit::udp(from, to).payload([3; 9000]).build(), Offload::None),
        whole(segment(700), Offload::Checksum),
        whole(segment(9000), Offload::Segments { size: 1448, ecn: false }),
        whole(segment(60_000), Offload::Segments { size: 536, ecn: true }),
    ]
}

/// Gives the guest some frames.
fn transmit(queue: &mut dyn QueueIo, frames: &[Frame], choice: impl Iterator<Item = usize>) -> bool {
    let (rules, profile) = (RuleSet::empty(), Profile::all(Settings::default()));
    let view = FlowView { slot: None, direction: Direction::ToServer, established: false, is_first: false };
    let mut inspection = Inspection::new(Settings::default());
    let cleared: Vec<Cleared<'_>> = choice
        .map(|index| {
            let (frame, headers, offload) = &frames[index % frames.len()];
            let candidate = Candidate { frame, headers, offload: (*offload).into() };
            match inspection.judge(&rules, &profile, &candidate, &view, 0) {
                Judged::Cleared(cleared) => cleared,
                other => panic!("nothing is looked for: {other:?}"),
            }
        })
        .collect();
    let mut refused = Refusals::new();
    let is_sound = queue.transmit(&cleared, &mut refused).is_ok();
    assert!(refused.iter().all(|&(index, _)| usize::from(index) < cleared.len()));
    is_sound
}

/// One step of the guest's, or of the worker's. Whether the queue goes on.
fn step(guest: &mut Guest, bytes: &mut Bytes<'_>, kind: u8, queue: &mut dyn QueueIo, frames: &[Frame]) -> bool {
    let ring = usize::from(kind >> 4 & 1);
    match kind & 15 {
        0 => {
            let at = usize::from(bytes.word()) * 4;
            let some: Vec<u8> = (0..bytes.byte() & 31).map(|_| bytes.byte()).collect();
            guest.write(at, &some);
        }
        1..=3 => {
            let index = usize::from(bytes.byte()) % guest.size;
            let [place, len] = [bytes.word(), bytes.word()];
            let far = if kind & 64 != 0 { u64::from(bytes.long()) << 8 } else { 0 };
            let len = if kind & 32 != 0 { bytes.long() } else { len.into() };
            let addr = (GUEST_BASE + u64::from(place) * 4).wrapping_add(far);
            let flags = u16::from(bytes.byte()) & (NEXT | WRITE | INDIRECT);
            guest.describe(ring, index, (addr, len), flags, bytes.byte().into());
        }
        4 | 5 => {
            let head = u16::from(bytes.byte());
            guest.offer(ring, if kind & 64 != 0 { head } else { head % guest.size as u16 });
        }
        6 => {
            let index = bytes.word();
            guest.write(guest.rings[ring].avail + 2, &index.to_le_bytes());
            guest.rings[ring].offered = index;
        }
        7 => {
            let flags = [bytes.byte() & 1, 0];
            guest.write(guest.rings[ring].avail, &flags);
            let event = guest.rings[ring].avail + 4 + 2 * guest.size;
            guest.write(event, &bytes.word().to_le_bytes());
        }
        8 => guest.behave(ring),
        9 => return queue.arm().is_ok(),
        10 => queue.disarm(),
        11 => {
            guest.note_writable();
            let before = guest.read(0..MEMORY_LEN);
            let count = usize::from(bytes.byte()) % (BURST_MAX + 1);
            let choice: Vec<usize> = (0..count).map(|_| bytes.byte().into()).collect();
            let is_sound = transmit(queue, frames, choice.into_iter());
            let may_change = [&guest.writable[..], &[guest.used(RECEIVE), guest.used(SEND)]].concat();
            if !guest.is_vague {
                guest.assert_kept(&before, &may_change);
            }
            return is_sound;
        }
        _ => {
            let before = guest.read(0..MEMORY_LEN);
            let mut batch = Batch::new();
            let is_sound = queue.receive(&mut batch).is_ok();
            guest.assert_kept(&before, &[guest.used(SEND)]);
            for index in (0..batch.len()).filter(|_| is_sound) {
                assert!((FRAME_LEN_MIN..=FRAME_LEN_MAX).contains(&batch.frame(index).len()));
            }
            return is_sound;
        }
    }
    true
}

fn serve(bytes: &mut Bytes<'_>, path: &Path, frames: &[Frame]) {
    let mut guest = Guest::new(bytes);
    let (shelf, status) = (Arc::new(Shelf::default()), Arc::new(PortStatus::default()));
    let config = VhostConfig::new(PortId(0), "fuzz", path, Mode::Server);
    let port = VhostPort::start(config, shelf.clone(), Arc::clone(&status)).expect("a port");
    let mut socket = UnixStream::connect(path).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
    if guest.introduce(&mut socket) {
        let mut goes_on = true;
        while goes_on && let Some(kind) = bytes.next() {
            goes_on = shelf.with(|queue| step(&mut guest, bytes, kind, queue, frames));
        }
    }
    drop(socket);
    port.stop();
    assert!(shelf.is_empty(), "a queue is left behind");
    assert_eq!(status.worker_stuck(), 0);
}

fuzz_target!(|data: &[u8]| {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    static FRAMES: OnceLock<Vec<Frame>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| tempfile::tempdir().expect("a directory"));
    serve(&mut Bytes(data), &directory.path().join("port.sock"), FRAMES.get_or_init(frames));
});
