//! What a front-end says, made of arbitrary bytes: requests that are sound, nearly so, or not at all, with descriptors of every
//! kind.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::fs::{SealFlags, fcntl_add_seals, ftruncate};
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::message::*;

const MEMORY_BYTES: u64 = 1 << 20;
const GUEST_BASE: u64 = 1 << 30;
const USER_BASE: u64 = 0x7f00_0000_0000;

/// VIRTIO_F_VERSION_1 and VHOST_USER_F_PROTOCOL_FEATURES.
const FEATURES: u64 = 1 << 32 | 1 << 30;
/// MQ, REPLY_ACK, CONFIGURE_MEM_SLOTS.
const PROTOCOL_FEATURES: u64 = 0x8009;

const RINGS: u32 = 4;

/// What a front-end says before two pairs of rings run, in QEMU's order.
const SETUP: [u32; 4] = [SET_PROTOCOL_FEATURES, SET_FEATURES, SET_MEM_TABLE, 0];
const RING_SETUP: [u32; 6] =
    [SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ADDR, SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ENABLE];

/// A request on its way: number, flags, body and descriptors.
struct Request {
    code: u32,
    flags: u32,
    body: Vec<u8>,
    files: Vec<OwnedFd>,
}

/// The bytes that are left, and what was said so far.
pub struct Script<'a> {
    rest: &'a [u8],
    /// Every byte that was sent belongs to a whole message.
    is_whole: bool,
}

impl<'a> Script<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest, is_whole: true }
    }

    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Asks what every port answers. Whether it could be sent.
    pub fn ask(&self, socket: &UnixStream) -> bool {
        send(socket, &encode(GET_FEATURES, VERSION, &[]), &[]).is_ok()
    }

    /// Says the next thing; `false` at the end.
    pub fn step(&mut self, socket: &mut UnixStream) -> bool {
        let Some(kind) = self.byte() else { return false };
        match kind & 7 {
            // The beginning as it should be, so far.
            0 => self.set_up(socket, 2 * usize::from(kind >> 3)),
            // Bytes of any kind.
            1 => {
                let length = usize::from(self.byte().unwrap_or(0)).min(self.rest.len());
                let (bytes, rest) = self.rest.split_at(length);
                self.rest = rest;
                self.is_whole &= length == 0;
                let files = self.descriptors();
                !bytes.is_empty() && send(socket, bytes, &files).is_ok()
            }
            // A sound request at any time.
            2..=4 => {
                let request = self.sound(kind >> 3);
                self.say(socket, &request)
            }
            // One that is not.
            _ => {
                let mut request = self.sound(kind >> 3);
                self.spoil(&mut request);
                self.say(socket, &request)
            }
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        for byte in &mut bytes {
            *byte = self.byte().unwrap_or(0);
        }
        u64::from_le_bytes(bytes)
    }

    fn set_up(&mut self, socket: &mut UnixStream, steps: usize) -> bool {
        let all = SETUP.iter().map(|&code| (code, 0));
        let rings = (0..RINGS).flat_map(|ring| RING_SETUP.iter().map(move |&code| (code, ring)));
        for (code, ring) in all.chain(rings).take(steps).filter(|(code, _)| *code != 0) {
            let request = request(code, ring);
            if !self.say(socket, &request) {
                return false;
            }
        }
        true
    }

    fn sound(&mut self, which: u8) -> Request {
        const CODES: [u32; 16] = [
            SET_FEATURES,
            SET_MEM_TABLE,
            SET_VRING_NUM,
            SET_VRING_ADDR,
            SET_VRING_BASE,
            GET_VRING_BASE,
            SET_VRING_KICK,
            SET_VRING_CALL,
            SET_VRING_ERR,
            SET_PROTOCOL_FEATURES,
            SET_VRING_ENABLE,
            ADD_MEM_REG,
            REM_MEM_REG,
            GET_FEATURES,
            // GET_PROTOCOL_FEATURES, GET_QUEUE_NUM
            15,
            17,
        ];
        let ring = u32::from(self.byte().unwrap_or(0)) % RINGS;
        request(CODES[usize::from(which) % CODES.len()], ring)
    }

    fn spoil(&mut self, request: &mut Request) {
        match self.byte().unwrap_or(0) % 6 {
            0 => request.code = u32::from(self.byte().unwrap_or(0)),
            1 => request.flags = self.number() as u32,
            2 => request.body.resize(usize::from(self.byte().unwrap_or(0)), 0xa5),
            3 => {
                // A number of the body is another.
                let at = usize::from(self.byte().unwrap_or(0)) * 4;
                let value = (self.number() as u32).to_le_bytes();
                if let Some(word) = request.body.get_mut(at..at + 4) {
                    word.copy_from_slice(&value);
                }
            }
            4 => request.files = self.descriptors(),
            _ => {
                let more = self.descriptors();
                request.files.extend(more);
            }
        }
    }

    /// Descriptors, some of which no request wants.
    fn descriptors(&mut self) -> Vec<OwnedFd> {
        let kind = self.byte().unwrap_or(0);
        let count = if kind >> 4 == 15 { 33 + usize::from(kind & 15) } else { usize::from(kind >> 4) % 4 };
        (0..count).map(|index| descriptor(usize::from(kind & 7) + index)).collect()
    }

    /// Sends a request. Whether the port still takes any.
    fn say(&mut self, socket: &mut UnixStream, request: &Request) -> bool {
        let sent = send(socket, &encode(request.code, request.flags, &request.body), &request.files).is_ok();
        drain(socket);
        sent
    }
}

/// Takes the answers that are there: a port does not wait for who reads none.
fn drain(socket: &UnixStream) {
    let mut bytes = [0; 1024];
    while matches!(recv(socket, &mut bytes, RecvFlags::DONTWAIT), Ok((count, _)) if count > 0) {}
}

fn request(code: u32, ring: u32) -> Request {
    let pair = |second: u32| [ring.to_ne_bytes(), second.to_ne_bytes()].concat();
    let number = |number: u64| number.to_ne_bytes().to_vec();
    let region = [GUEST_BASE, MEMORY_BYTES, USER_BASE, 0].iter().flat_map(|field| field.to_ne_bytes());
    let with_region = |head: u64| head.to_ne_bytes().into_iter().chain(region.clone()).collect::<Vec<u8>>();
    let (body, files) = match code {
        SET_FEATURES => (number(FEATURES), Vec::new()),
        SET_PROTOCOL_FEATURES => (number(PROTOCOL_FEATURES), Vec::new()),
        SET_MEM_TABLE => (with_region(1), vec![memory(MEMORY_BYTES)]),
        ADD_MEM_REG => (with_region(0), vec![memory(MEMORY_BYTES)]),
        REM_MEM_REG => (with_region(0), Vec::new()),
        SET_VRING_NUM => (pair(64), Vec::new()),
        SET_VRING_BASE | GET_VRING_BASE => (pair(0), Vec::new()),
        SET_VRING_ENABLE => (pair(1), Vec::new()),
        SET_VRING_ADDR => {
            let at = USER_BASE + u64::from(ring) * 0x8000;
            let fields = [at, at + 0x6000, at + 0x4000, 0];
            (pair(0).into_iter().chain(fields.iter().flat_map(|field| field.to_ne_bytes())).collect(), Vec::new())
        }
        SET_VRING_KICK | SET_VRING_CALL | SET_VRING_ERR => (number(ring.into()), vec![event()]),
        _ => (Vec::new(), Vec::new()),
    };
    Request { code, flags: VERSION | NEED_REPLY, body, files }
}

fn descriptor(kind: usize) -> OwnedFd {
    match kind % 8 {
        0 => memory(MEMORY_BYTES),
        1 => event(),
        2 => pipe_with(PipeFlags::CLOEXEC).expect("a pipe").1,
        3 => UnixStream::pair().expect("sockets").0.into(),
        4 => std::fs::File::open("/dev/null").expect("a device").into(),
        5 => {
            let memory = memory(MEMORY_BYTES);
            fcntl_add_seals(&memory, SealFlags::WRITE).expect("a seal");
            memory
        }
        6 => {
            let memory = memory(MEMORY_BYTES);
            ftruncate(&memory, 4096).expect("memory");
            memory
        }
        _ => std::fs::File::open("/proc/self/exe").expect("a file").into(),
    }
}
