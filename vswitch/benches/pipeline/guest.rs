//! A synthetic guest: its memory in a memfd (on huge pages where there are any), two split rings in it, and just enough of a
//! vhost-user front-end to get the switch to serve them. It wants no interrupts and negotiates VERSION_1 and MRG_RXBUF only.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Bytes of guest memory.
const MEMORY_LEN: usize = 64 << 20;
/// Bytes from one buffer to the next.
const STRIDE: usize = 2304;
/// Bytes of a receive buffer.
const RECEIVE_LEN: u32 = 2176;
/// Bytes of the virtio-net header.
const HEADER_LEN: usize = 12;
/// Offsets within a ring's 8 MiB: available ring, used ring, buffers.
const AVAIL: usize = 0x8000;
const USED: usize = 0x1_0000;
const BUFFERS: usize = 1 << 20;

/// A guest with a receive ring (0) and a transmit ring (1).
pub(super) struct Guest {
    memory: *mut u8,
    file: OwnedFd,
    // Descriptors that the switch holds ends of.
    kept: Vec<OwnedFd>,
    socket: Option<UnixStream>,
    ring_size: u16,
    offered: [u16; 2],
    seen: [u16; 2],
}

impl Guest {
    pub(super) fn new(ring_size: u16) -> Self {
        let huge = memfd_create("guest", MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB);
        let (file, memory) = huge.ok().and_then(|file| map(&file).map(|memory| (file, memory))).unwrap_or_else(|| {
            let file = memfd_create("guest", MemfdFlags::CLOEXEC).expect("a memfd");
            let memory = map(&file).expect("guest memory");
            (file, memory)
        });
        let guest = Self { memory, file, kept: Vec::new(), socket: None, ring_size, offered: [0; 2], seen: [0; 2] };
        for ring in 0..2 {
            guest.avail(ring, 0).store(1, Ordering::Relaxed);
        }
        guest
    }

    fn ring(&self, ring: usize) -> *mut u8 {
        self.memory.wrapping_add(ring * (8 << 20))
    }

    fn avail(&self, ring: usize, word: usize) -> &AtomicU16 {
        // SAFETY: within the mapping, and aligned; shared with the switch as such words are.
        unsafe { AtomicU16::from_ptr(self.ring(ring).add(AVAIL + 2 * word).cast()) }
    }

    fn used_index(&self, ring: usize) -> u16 {
        // SAFETY: as in `avail`.
        unsafe { AtomicU16::from_ptr(self.ring(ring).add(USED + 2).cast()) }.load(Ordering::Acquire)
    }

    fn describe(&self, ring: usize, slot: u16, len: u32, flags: u16) {
        let address = (ring * (8 << 20) + BUFFERS + usize::from(slot) * STRIDE) as u64;
        // SAFETY: the table holds `ring_size` descriptors of 16 bytes, and `slot` is below that.
        unsafe {
            let at = self.ring(ring).add(16 * usize::from(slot));
            at.cast::<u64>().write_volatile(address);
            at.add(8).cast::<u32>().write_volatile(len);
            at.add(12).cast::<u16>().write_volatile(flags);
            at.add(14).cast::<u16>().write_volatile(0);
        }
    }

    fn buffer(&mut self, ring: usize, slot: u16, len: usize) -> &mut [u8] {
        assert!(len <= STRIDE);
        // SAFETY: within the mapping; the switch serves this memory from the same thread, never during this borrow.
        unsafe { std::slice::from_raw_parts_mut(self.ring(ring).add(BUFFERS + usize::from(slot) * STRIDE), len) }
    }

    /// Offers all receive buffers.
    pub(super) fn post_all(&mut self) {
        for slot in 0..self.ring_size {
            self.describe(0, slot, RECEIVE_LEN, 2);
            self.avail(0, 2 + usize::from(slot)).store(slot, Ordering::Relaxed);
        }
        self.offered[0] = self.ring_size;
        self.avail(0, 1).store(self.offered[0], Ordering::Release);
    }

    /// Sends `count` frames, each written by `write` into its buffer; answers after they are offered.
    pub(super) fn send(&mut self, count: u16, len: usize, mut write: impl FnMut(&mut [u8])) {
        for _ in 0..count {
            let slot = self.offered[1] & (self.ring_size - 1);
            let buffer = self.buffer(1, slot, HEADER_LEN + len);
            buffer[..HEADER_LEN].fill(0);
            write(&mut buffer[HEADER_LEN..]);
            self.describe(1, slot, (HEADER_LEN + len) as u32, 0);
            self.avail(1, 2 + usize::from(slot)).store(slot, Ordering::Relaxed);
            self.offered[1] = self.offered[1].wrapping_add(1);
        }
        self.avail(1, 1).store(self.offered[1], Ordering::Release);
    }

    /// Looks at all frames received, and offers their buffers again. Answers how many they were.
    pub(super) fn take(&mut self) -> u64 {
        let used = self.used_index(0);
        let mut count = 0;
        while self.seen[0] != used {
            let slot = self.seen[0] & (self.ring_size - 1);
            // SAFETY: the used ring holds `ring_size` elements of 8 bytes behind its 4 bytes of header.
            let id = unsafe { self.ring(0).add(USED + 4 + 8 * usize::from(slot)).cast::<u32>().read_volatile() };
            std::hint::black_box(self.buffer(0, id as u16, 64)[HEADER_LEN]);
            self.avail(0, 2 + usize::from(self.offered[0] & (self.ring_size - 1))).store(id as u16, Ordering::Relaxed);
            self.offered[0] = self.offered[0].wrapping_add(1);
            self.seen[0] = self.seen[0].wrapping_add(1);
            count += 1;
        }
        self.avail(0, 1).store(self.offered[0], Ordering::Release);
        count
    }

    /// Connects to a port of the switch and hands over memory and rings.
    pub(super) fn connect(&mut self, path: &Path) {
        let mut socket = UnixStream::connect(path).expect("the port listens");
        let base = self.memory as u64;
        tell(&socket, 3, &[], None);
        tell(&socket, 1, &[], None);
        let mut reply = [0; 20];
        socket.read_exact(&mut reply).expect("features");
        tell(&socket, 2, &words(&[1 << 32 | 1 << 15]), None);
        let regions = words(&[1, 0, MEMORY_LEN as u64, base, 0]);
        tell(&socket, 5, &regions, Some(self.file.as_fd()));
        for ring in 0..2u64 {
            let at = base + ring * (8 << 20);
            let pair = |value: u64| words(&[ring | value << 32]);
            tell(&socket, 8, &pair(u64::from(self.ring_size)), None);
            tell(&socket, 10, &pair(0), None);
            tell(&socket, 9, &words(&[ring, at, at + USED as u64, at + AVAIL as u64, 0]), None);
            for request in [13, 12] {
                let event = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
                tell(&socket, request, &words(&[ring]), Some(event.as_fd()));
                self.kept.push(event);
            }
        }
        self.socket = Some(socket);
    }
}

fn map(file: &OwnedFd) -> Option<*mut u8> {
    ftruncate(file, MEMORY_LEN as u64).ok()?;
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
    // SAFETY: a new mapping of a file of ours, never unmapped: the benchmark ends first.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), MEMORY_LEN, access, flags, file.as_raw_fd(), 0) };
    (memory != libc::MAP_FAILED).then_some(memory.cast())
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Sends one vhost-user message.
fn tell(socket: &UnixStream, request: u32, payload: &[u8], fd: Option<BorrowedFd<'_>>) {
    let mut message = Vec::new();
    for word in [request, 1, payload.len() as u32] {
        message.extend(word.to_le_bytes());
    }
    message.extend(payload);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<_> = fd.into_iter().collect();
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    }
    let sent = sendmsg(socket, &[IoSlice::new(&message)], &mut control, SendFlags::empty()).expect("a message is sent");
    assert_eq!(sent, message.len());
}
