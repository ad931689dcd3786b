//! A guest that means harm: a vhost-user front-end whose messages, files and rings hold what a stream of random numbers
//! says, near enough to the truth that much of it is taken.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Requests of the vhost-user protocol, as its specification numbers them.
mod request {
    pub const GET_FEATURES: u32 = 1;
    pub const SET_FEATURES: u32 = 2;
    pub const SET_OWNER: u32 = 3;
    pub const SET_MEM_TABLE: u32 = 5;
    pub const SET_VRING_NUM: u32 = 8;
    pub const SET_VRING_ADDR: u32 = 9;
    pub const SET_VRING_BASE: u32 = 10;
    pub const GET_VRING_BASE: u32 = 11;
    pub const SET_VRING_KICK: u32 = 12;
    pub const SET_VRING_CALL: u32 = 13;
    pub const SET_VRING_ENABLE: u32 = 18;
}

/// Where the guest's only region lies, in its own addresses and in those of its machine.
const GUEST_BASE: u64 = 0x10_0000;
const USER_BASE: u64 = 0x7f00_0000_0000;
const REGION_LEN: u64 = 1 << 20;
const RING_SIZE: u32 = 256;
/// Offsets in the region: for ring 0 and, a page quartet further, ring 1.
const TABLE: u64 = 0;
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;
const RING_STRIDE: u64 = 0x5000;

/// Marsaglia's xorshift64*: the same seed does the same harm again.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// A stream by its seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Yes once in `count` times.
    fn once_in(&mut self, count: u64) -> bool {
        self.next().is_multiple_of(count)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// One connection, from its beginning to its end. What the switch makes of it is not asked: it may close at any time.
pub fn visit(socket: &Path, random: &mut Random) {
    let Ok(mut stream) = UnixStream::connect(socket) else { return };
    let timeout = Some(Duration::from_millis(100));
    stream.set_read_timeout(timeout).and_then(|()| stream.set_write_timeout(timeout)).expect("sockets have timeouts");
    if random.once_in(4) {
        let count = random.next() as usize % 600;
        let _ = stream.write_all(&random.bytes(count));
    } else if let Some(mut memory) = set_up(&stream, random) {
        for _ in 0..random.next() % 12 {
            scribble(&mut memory, random);
            std::thread::sleep(Duration::from_millis(8));
        }
        if random.once_in(4) {
            // The file becomes shorter than what was mapped of it.
            let _ = ftruncate(&memory.file, random.next() % REGION_LEN);
            scribble(&mut memory, random);
        }
        if random.once_in(2) {
            let ring = random.next() as u32 % 3;
            send(&stream, random, request::GET_VRING_BASE, &words(&[ring, 0]), &[]);
            let _ = stream.read(&mut [0; 64]);
        }
    }
}

/// The memory of the guest, with its rings.
struct Memory {
    file: std::fs::File,
    kicks: [OwnedFd; 2],
    /// What the rings' available indices say.
    offered: [u16; 2],
}

/// What an honest front-end sends, each message wrong once in a while. `None` if the switch hung up on the way.
fn set_up(stream: &UnixStream, random: &mut Random) -> Option<Memory> {
    let file = std::fs::File::from(memfd_create("evil", MemfdFlags::CLOEXEC).ok()?);
    let len = if random.once_in(6) { random.next() % (2 * REGION_LEN) } else { REGION_LEN };
    ftruncate(&file, len).ok()?;
    let event = || eventfd(0, EventfdFlags::CLOEXEC).ok();
    let (kicks, call) = ([event()?, event()?], event()?);

    send(stream, random, request::GET_FEATURES, &[], &[]);
    let mut reply = [0; 20];
    (&*stream).read_exact(&mut reply).ok()?;
    let offered = u64::from_le_bytes(reply[12..].try_into().ok()?);
    let features = if random.once_in(2) { offered } else { offered & (random.next() | 1 << 32) };
    send(stream, random, request::SET_FEATURES, &features.to_le_bytes(), &[]);
    send(stream, random, request::SET_OWNER, &[], &[]);
    let region = [GUEST_BASE, REGION_LEN, USER_BASE, 0].map(u64::to_le_bytes).concat();
    let table = [words(&[1, 0]), region].concat();
    send(stream, random, request::SET_MEM_TABLE, &table, &[file.as_fd()]);
    for ring in 0..2u32 {
        let base = USER_BASE + u64::from(ring) * RING_STRIDE;
        let places = [base + TABLE, base + USED, base + AVAIL, 0].map(u64::to_le_bytes).concat();
        let descriptor = u64::from(ring).to_le_bytes();
        send(stream, random, request::SET_VRING_NUM, &words(&[ring, RING_SIZE]), &[]);
        send(stream, random, request::SET_VRING_BASE, &words(&[ring, 0]), &[]);
        send(stream, random, request::SET_VRING_ADDR, &[words(&[ring, 0]), places].concat(), &[]);
        send(stream, random, request::SET_VRING_KICK, &descriptor, &[kicks[ring as usize].as_fd()]);
        send(stream, random, request::SET_VRING_CALL, &descriptor, &[call.as_fd()]);
        send(stream, random, request::SET_VRING_ENABLE, &words(&[ring, 1]), &[]);
    }
    Some(Memory { file, kicks, offered: [0; 2] })
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Sends one message; once in forty times with something about it changed.
fn send(stream: &UnixStream, random: &mut Random, request: u32, body: &[u8], files: &[BorrowedFd<'_>]) {
    let (mut request, mut body, mut files) = (request, body.to_vec(), files.to_vec());
    let mut len = body.len() as u32;
    if random.once_in(40) {
        match random.next() % 5 {
            0 => request = random.next() as u32 % 45,
            1 => len = random.next() as u32 >> (random.next() % 32),
            2 if !body.is_empty() => {
                let place = random.next() as usize % body.len();
                body[place] = random.next() as u8;
            }
            3 => files.clear(),
            _ => files.extend(std::iter::repeat_n(stream.as_fd(), random.next() as usize % 9)),
        }
    }
    let message = [words(&[request, 1, len]), body].concat();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    let _ = sendmsg(stream, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL);
}

/// A descriptor's number; seldom one that the ring has not.
fn place(random: &mut Random) -> u16 {
    if random.once_in(2_000) { random.next() as u16 } else { (random.next() % u64::from(RING_SIZE)) as u16 }
}

/// Fills the rings with descriptors that are mostly right, offers some more of them, and kicks.
fn scribble(memory: &mut Memory, random: &mut Random) {
    for (ring, offered) in (0..2u64).zip(&mut memory.offered) {
        let base = ring * RING_STRIDE;
        let mut table = Vec::new();
        for _ in 0..RING_SIZE {
            let strange = random.once_in(400);
            let addr = if strange { random.next() } else { GUEST_BASE + 0x10000 + random.next() % 0xe0000 };
            let len = if random.once_in(400) { random.next() as u32 } else { 12 + random.next() as u32 % 1600 };
            // The switch writes to the first ring and reads the second; chains now and then, and what is neither.
            let write = u16::from(ring == 0) << 1;
            let flags = if random.once_in(400) { random.next() as u16 & 7 } else { write };
            table.extend(addr.to_le_bytes());
            table.extend(len.to_le_bytes());
            table.extend(flags.to_le_bytes());
            table.extend(place(random).to_le_bytes());
        }
        *offered =
            if random.once_in(30) { random.next() as u16 } else { offered.wrapping_add(random.next() as u16 % 64) };
        let heads: Vec<u8> = (0..RING_SIZE).flat_map(|_| place(random).to_le_bytes()).collect();
        let avail = [0u16.to_le_bytes().to_vec(), offered.to_le_bytes().to_vec(), heads].concat();
        for (place, bytes) in [(base + TABLE, &table), (base + AVAIL, &avail)] {
            let _ = memory.file.write_all_at(bytes, place);
        }
        let _ = rustix::io::write(&memory.kicks[ring as usize], &1u64.to_ne_bytes());
    }
    // Payload: what looks like frames of its own address to everybody.
    let mut frames = Vec::new();
    for _ in 0..8 {
        let (to, ethertype) = (random.bytes(6), [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]][random.next() as usize % 4]);
        frames.extend([&[0; 12][..], &to, &[0x52, 0x54, 0, 0, 0, 0x0e], &ethertype].concat());
        frames.extend(random.bytes(100));
    }
    let _ = memory.file.write_all_at(&frames, 0x10000 + random.next() % 0xe0000);
}
