//! A front-end for tests: speaks vhost-user as QEMU does, or as nobody should.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vhost::vhost_user::message::FrontendReq as Code;

use super::guest::{Driver, GUEST_BASE, Memory};
use crate::port::vhost::features::Features;
use crate::port::vhost::message::{MemoryRegion, memory_table};

pub(super) const NEED_REPLY: u32 = 8;
/// MQ, REPLY_ACK and CONFIGURE_MEM_SLOTS.
pub(super) const PROTOCOL: u64 = 0x8009;

/// Waits until `condition` holds; `false` when it does not within some seconds.
pub(super) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// One connection to a port.
pub(super) struct FrontEnd {
    pub(super) socket: UnixStream,
    pub(super) memory: Arc<Memory>,
    /// Even: the guest receives. Odd: it sends.
    pub(super) rings: Vec<Driver>,
    pub(super) kicks: Vec<OwnedFd>,
}

impl FrontEnd {
    /// Connects to a listening port, with so many queue pairs of 64 descriptors each.
    pub(super) fn connect(path: &Path, pairs: usize) -> Self {
        Self::over(UnixStream::connect(path).unwrap(), pairs, 64)
    }

    pub(super) fn over(socket: UnixStream, pairs: usize, size: u16) -> Self {
        let memory = Memory::new(8 << 20);
        let rings = (0..2 * pairs).map(|ring| Driver::new(&memory, ring << 20, size, 2048)).collect();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { socket, memory, rings, kicks: Vec::new() }
    }

    /// The same guest (its memory, its rings as they stand) over a new connection.
    pub(super) fn reconnect(self, socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { socket, kicks: Vec::new(), ..self }
    }

    pub(super) fn send_raw(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(files)));
        }
        sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    }

    pub(super) fn send(&self, code: Code, flags: u32, body: &[u8], files: &[BorrowedFd<'_>]) {
        let code: u32 = code.into();
        // The port may have hung up already; what matters is what it answers.
        let _ = self.send_raw(&encode(code, 1 | flags, body), files);
    }

    /// The next reply's body; `None` when the port hung up.
    pub(super) fn reply(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; 12];
        self.socket.read_exact(&mut header).ok()?;
        let len = u32::from_ne_bytes(header[8..].try_into().unwrap());
        let mut body = vec![0; len as usize];
        self.socket.read_exact(&mut body).ok()?;
        Some(body)
    }

    /// Sends a request and asks for an acknowledgement: whether it was done, or `None` when the port hung up.
    pub(super) fn request(&mut self, code: Code, body: &[u8], files: &[BorrowedFd<'_>]) -> Option<bool> {
        self.send(code, NEED_REPLY, body, files);
        self.reply().map(|body| body == [0; 8])
    }

    pub(super) fn ask(&mut self, code: Code, body: &[u8]) -> Option<u64> {
        self.send(code, 0, body, &[]);
        self.reply().map(|body| u64::from_ne_bytes(body.try_into().unwrap()))
    }

    /// Whether the port hung up, or does within the time that it gives stalled messages.
    pub(super) fn is_closed(&mut self) -> bool {
        loop {
            match self.socket.read(&mut [0; 64]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return true,
                Err(_) => return false,
            }
        }
    }

    pub(super) fn region(&self) -> MemoryRegion {
        let user = self.memory.base as u64;
        MemoryRegion { guest: GUEST_BASE, len: self.memory.len as u64, user, offset: 0 }
    }

    /// Everything up to the features, as QEMU does it before the guest runs: rings are enabled too early.
    pub(super) fn greet(&mut self) {
        let offered = self.ask(Code::GET_FEATURES, &[]).unwrap();
        assert!(Features(offered).has(Features::VERSION_1.and(Features::PROTOCOL_FEATURES)));
        assert_eq!(self.ask(Code::GET_PROTOCOL_FEATURES, &[]), Some(PROTOCOL));
        assert_eq!(self.request(Code::SET_PROTOCOL_FEATURES, &number(PROTOCOL), &[]), Some(true));
        assert!(self.ask(Code::GET_QUEUE_NUM, &[]).unwrap() >= self.rings.len() as u64 / 2);
        assert_eq!(self.request(Code::SET_OWNER, &[], &[]), Some(true));
        for ring in 0..self.rings.len() as u32 {
            self.set_call(ring);
            assert_eq!(self.enable(ring, true), Some(true));
        }
    }

    /// The rest, as QEMU does it when the guest's driver starts.
    pub(super) fn start(&mut self, features: Features, bases: impl Fn(u32) -> u32) {
        let features = features.and(Features::PROTOCOL_FEATURES);
        assert_eq!(self.request(Code::SET_FEATURES, &number(features.0), &[]), Some(true));
        assert_eq!(self.share_memory(), Some(true));
        for ring in 0..self.rings.len() as u32 {
            self.start_ring(ring, bases(ring));
        }
    }

    pub(super) fn share_memory(&mut self) -> Option<bool> {
        let body = memory_table(&[self.region()]);
        let memory = self.memory.clone();
        self.request(Code::SET_MEM_TABLE, &body, &[memory.file.as_fd()])
    }

    pub(super) fn start_ring(&mut self, ring: u32, base: u32) {
        assert_eq!(self.set_size(ring, u32::from(self.rings[ring as usize].size)), Some(true));
        assert_eq!(self.request(Code::SET_VRING_BASE, &pair(ring, base), &[]), Some(true));
        assert_eq!(self.set_addresses(ring), Some(true));
        assert_eq!(self.kick_with_new(ring), Some(true));
        assert_eq!(self.set_call(ring), Some(true));
    }

    pub(super) fn set_size(&mut self, ring: u32, size: u32) -> Option<bool> {
        self.request(Code::SET_VRING_NUM, &pair(ring, size), &[])
    }

    pub(super) fn set_addresses(&mut self, ring: u32) -> Option<bool> {
        let driver = &self.rings[ring as usize];
        let user = |at: usize| self.memory.base as u64 + at as u64;
        let mut body = pair(ring, 0);
        for at in [user(driver.descriptors), user(driver.used), user(driver.avail), 0] {
            body.extend_from_slice(&at.to_ne_bytes());
        }
        self.request(Code::SET_VRING_ADDR, &body, &[])
    }

    /// Gives the ring a new kick descriptor, which starts it.
    pub(super) fn kick_with_new(&mut self, ring: u32) -> Option<bool> {
        let kick = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let done = self.request(Code::SET_VRING_KICK, &number(ring.into()), &[kick.as_fd()]);
        self.kicks.push(kick);
        done
    }

    pub(super) fn set_call(&mut self, ring: u32) -> Option<bool> {
        let call = self.rings[ring as usize].call.clone();
        self.request(Code::SET_VRING_CALL, &number(ring.into()), &[call.as_fd()])
    }

    pub(super) fn enable(&mut self, ring: u32, is_enabled: bool) -> Option<bool> {
        self.request(Code::SET_VRING_ENABLE, &pair(ring, is_enabled.into()), &[])
    }

    /// Stops a ring; answers its base.
    pub(super) fn stop_ring(&mut self, ring: u32) -> Option<u16> {
        self.ask(Code::GET_VRING_BASE, &pair(ring, 0)).map(|both| (both >> 32) as u16)
    }

    /// Kicks all rings.
    pub(super) fn kick(&self) {
        for kick in &self.kicks {
            rustix::io::write(kick, &1u64.to_ne_bytes()).unwrap();
        }
    }
}

pub(super) fn encode(code: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [code, flags, body.len() as u32] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

pub(super) fn number(number: u64) -> Vec<u8> {
    number.to_ne_bytes().to_vec()
}

pub(super) fn pair(first: u32, second: u32) -> Vec<u8> {
    [first.to_ne_bytes(), second.to_ne_bytes()].concat()
}
