//! A synthetic guest: its memory in a memfd (on huge pages where there are any), two split rings in it, and just enough of a
//! vhost-user front-end to get a switch to serve them, ours or another. It wants no interrupts.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Bytes of the virtio-net header.
pub(super) const HEADER_LEN: usize = 12;

/// What every guest negotiates: `VERSION_1` and `MRG_RXBUF`.
const PLAIN: u64 = 1 << 32 | 1 << 15;
/// What a guest with offloads negotiates besides: `CSUM`, `GUEST_CSUM`, `GUEST_TSO4`, `HOST_TSO4`.
const OFFLOADS: u64 = 1 | 1 << 1 | 1 << 7 | 1 << 11;

/// Bytes from one ring, with its buffers, to the next.
const RING_LEN: usize = 8 << 20;
/// Offsets within a ring's memory: available ring, used ring, buffers. The descriptors are at its start.
const AVAIL: usize = 0x8000;
const USED: usize = 0x1_0000;
const BUFFERS: usize = 1 << 20;

/// What a guest is made like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Entries of each ring.
    pub(super) ring_size: u16,
    /// Bytes of each buffer, virtio-net header included.
    pub(super) buffer_len: usize,
    /// Whether super-segments and partial checksums are negotiated, both ways.
    pub(super) has_offloads: bool,
    /// Whether all memory is there from the start, on huge pages where there are any; otherwise only what is touched is.
    pub(super) is_populated: bool,
}

impl Shape {
    /// A guest without offloads whose buffers hold a frame each.
    pub(super) fn plain(ring_size: u16) -> Self {
        Self { ring_size, buffer_len: 2176, has_offloads: false, is_populated: true }
    }

    /// Bytes from one buffer to the next: not a power of two, of which all buffers would be in few sets of the caches.
    fn stride(self) -> usize {
        self.buffer_len + 128
    }
}

/// A guest with a receive ring (0) and a transmit ring (1).
pub(super) struct Guest {
    shape: Shape,
    memory: *mut u8,
    memory_len: usize,
    file: OwnedFd,
    // The ends of the rings' eventfds; of each ring, call then kick.
    events: Vec<OwnedFd>,
    socket: Option<UnixStream>,
    offered: [u16; 2],
    // Of the used ring, what was looked at.
    seen: [u16; 2],
    // Descriptors of the transmit ring used so far.
    described: u16,
}

impl Guest {
    pub(super) fn new(shape: Shape) -> Self {
        let memory_len = if shape.is_populated { 64 << 20 } else { 2 * RING_LEN };
        let huge = MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB;
        let huge = shape.is_populated.then(|| memfd_create("guest", huge).ok()).flatten();
        let mapped = huge.and_then(|file| map(&file, memory_len, true).map(|memory| (file, memory)));
        let (file, memory) = mapped.unwrap_or_else(|| {
            let file = memfd_create("guest", MemfdFlags::CLOEXEC).expect("a memfd");
            let memory = map(&file, memory_len, shape.is_populated).expect("guest memory");
            (file, memory)
        });
        let (events, socket) = (Vec::new(), None);
        let guest =
            Self { shape, memory, memory_len, file, events, socket, offered: [0; 2], seen: [0; 2], described: 0 };
        for ring in 0..2 {
            guest.avail(ring, 0).store(1, Ordering::Relaxed);
        }
        guest
    }

    fn ring(&self, ring: usize) -> *mut u8 {
        self.memory.wrapping_add(ring * RING_LEN)
    }

    fn avail(&self, ring: usize, word: usize) -> &AtomicU16 {
        // SAFETY: within the mapping, and aligned; shared with the switch as such words are.
        unsafe { AtomicU16::from_ptr(self.ring(ring).add(AVAIL + 2 * word).cast()) }
    }

    fn used(&self, ring: usize, word: usize) -> &AtomicU16 {
        // SAFETY: as in `avail`.
        unsafe { AtomicU16::from_ptr(self.ring(ring).add(USED + 2 * word).cast()) }
    }

    fn slot(&self, count: u16) -> u16 {
        count & (self.shape.ring_size - 1)
    }

    fn describe(&self, ring: usize, slot: u16, len: u32, flags: u16, next: u16) {
        let address = (ring * RING_LEN + BUFFERS + usize::from(slot) * self.shape.stride()) as u64;
        // SAFETY: the table holds `ring_size` descriptors of 16 bytes, and `slot` is below that.
        unsafe {
            let at = self.ring(ring).add(16 * usize::from(slot));
            at.cast::<u64>().write_volatile(address);
            at.add(8).cast::<u32>().write_volatile(len);
            at.add(12).cast::<u16>().write_volatile(flags);
            at.add(14).cast::<u16>().write_volatile(next);
        }
    }

    fn buffer(&mut self, ring: usize, slot: u16, len: usize) -> &mut [u8] {
        assert!(slot < self.shape.ring_size && len <= self.shape.stride());
        let at = BUFFERS + usize::from(slot) * self.shape.stride();
        // SAFETY: within the mapping. A switch writes to a buffer only while the guest does not hold it.
        unsafe { std::slice::from_raw_parts_mut(self.ring(ring).add(at), len) }
    }

    /// Offers all receive buffers.
    pub(super) fn post_all(&mut self) {
        for slot in 0..self.shape.ring_size {
            self.describe(0, slot, self.shape.buffer_len as u32, 2, 0);
            self.avail(0, 2 + usize::from(slot)).store(slot, Ordering::Relaxed);
        }
        self.offered[0] = self.shape.ring_size;
        self.avail(0, 1).store(self.offered[0], Ordering::Release);
    }

    /// Frames of one buffer each that the transmit ring has room for.
    pub(super) fn room(&self) -> u16 {
        self.shape.ring_size - self.offered[1].wrapping_sub(self.used(1, 1).load(Ordering::Acquire))
    }

    /// Sends `count` frames of one buffer each, each written by `write` into its buffer; answers after they are offered. There
    /// is room for them.
    pub(super) fn send(&mut self, count: u16, len: usize, mut write: impl FnMut(&mut [u8])) {
        for _ in 0..count {
            let slot = self.slot(self.offered[1]);
            let buffer = self.buffer(1, slot, HEADER_LEN + len);
            buffer[..HEADER_LEN].fill(0);
            write(&mut buffer[HEADER_LEN..]);
            self.describe(1, slot, (HEADER_LEN + len) as u32, 0, 0);
            self.avail(1, 2 + usize::from(slot)).store(slot, Ordering::Relaxed);
            self.offered[1] = self.offered[1].wrapping_add(1);
        }
        self.avail(1, 1).store(self.offered[1], Ordering::Release);
    }

    /// Sends one frame with its virtio-net header over as many buffers as it needs, which the ring has. A guest that sends chains
    /// sends nothing else.
    pub(super) fn send_chain(&mut self, header: [u8; HEADER_LEN], frame: &[u8]) {
        let head = self.slot(self.described);
        let buffer_len = self.shape.buffer_len;
        let (first, rest) = frame.split_at(frame.len().min(buffer_len - HEADER_LEN));
        let buffer = self.buffer(1, head, HEADER_LEN + first.len());
        buffer[..HEADER_LEN].copy_from_slice(&header);
        buffer[HEADER_LEN..].copy_from_slice(first);
        let mut last = (head, HEADER_LEN + first.len());
        for piece in rest.chunks(buffer_len) {
            self.described = self.described.wrapping_add(1);
            let slot = self.slot(self.described);
            self.buffer(1, slot, piece.len()).copy_from_slice(piece);
            self.describe(1, last.0, last.1 as u32, 1, slot);
            last = (slot, piece.len());
        }
        self.describe(1, last.0, last.1 as u32, 0, 0);
        self.described = self.described.wrapping_add(1);
        self.avail(1, 2 + usize::from(self.slot(self.offered[1]))).store(head, Ordering::Relaxed);
        self.offered[1] = self.offered[1].wrapping_add(1);
        self.avail(1, 1).store(self.offered[1], Ordering::Release);
    }

    /// Wakes the switch if it asked for that.
    pub(super) fn kick(&self) {
        fence(Ordering::SeqCst);
        if self.used(1, 0).load(Ordering::Relaxed) & 1 == 0
            && let Some(kick) = self.events.get(3)
        {
            rustix::io::write(kick, &1u64.to_ne_bytes()).expect("an eventfd takes a kick");
        }
    }

    /// Looks at all frames received, and offers their buffers again. Answers how many they were.
    pub(super) fn take(&mut self) -> u64 {
        self.take_each(|frame| {
            std::hint::black_box(frame[0]);
        })
    }

    /// As [`Guest::take`], with a look at the first bytes of each frame: as many as are in its first buffer.
    pub(super) fn take_each(&mut self, mut look: impl FnMut(&[u8])) -> u64 {
        let used = self.used(0, 1).load(Ordering::Acquire);
        let (mut frames, mut more) = (0, 0);
        while self.seen[0] != used {
            let slot = usize::from(self.slot(self.seen[0]));
            // SAFETY: the used ring holds `ring_size` elements of 8 bytes behind its 4 bytes of header.
            let [id, len] = unsafe { self.ring(0).add(USED + 4 + 8 * slot).cast::<[u32; 2]>().read_volatile() };
            if more == 0 {
                let buffer = self.buffer(0, id as u16, len as usize);
                more = u16::from_le_bytes([buffer[10], buffer[11]]).max(1);
                look(&buffer[HEADER_LEN..]);
                frames += 1;
            }
            more -= 1;
            self.avail(0, 2 + usize::from(self.slot(self.offered[0]))).store(id as u16, Ordering::Relaxed);
            self.offered[0] = self.offered[0].wrapping_add(1);
            self.seen[0] = self.seen[0].wrapping_add(1);
        }
        if frames > 0 {
            self.avail(0, 1).store(self.offered[0], Ordering::Release);
        }
        frames
    }

    /// Connects to a port of a switch and hands over memory and rings.
    pub(super) fn connect(&mut self, path: &Path) {
        let connected = UnixStream::connect(path);
        let mut socket = connected.unwrap_or_else(|error| panic!("nobody listens at {}: {error}", path.display()));
        let base = self.memory as u64;
        tell(&socket, 3, &[], None);
        tell(&socket, 1, &[], None);
        let mut reply = [0; 20];
        socket.read_exact(&mut reply).expect("features");
        tell(&socket, 2, &words(&[PLAIN | if self.shape.has_offloads { OFFLOADS } else { 0 }]), None);
        let regions = words(&[1, 0, self.memory_len as u64, base, 0]);
        tell(&socket, 5, &regions, Some(self.file.as_fd()));
        for ring in 0..2u64 {
            let at = base + ring * RING_LEN as u64;
            let pair = |value: u64| words(&[ring | value << 32]);
            tell(&socket, 8, &pair(u64::from(self.shape.ring_size)), None);
            tell(&socket, 10, &pair(0), None);
            tell(&socket, 9, &words(&[ring, at, at + USED as u64, at + AVAIL as u64, 0]), None);
            for request in [13, 12] {
                let event = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
                tell(&socket, request, &words(&[ring]), Some(event.as_fd()));
                self.events.push(event);
            }
        }
        self.socket = Some(socket);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: the guest's own mapping, of this length. The switch has one of its own.
        unsafe { libc::munmap(self.memory.cast(), self.memory_len) };
    }
}

fn map(file: &OwnedFd, len: usize, is_populated: bool) -> Option<*mut u8> {
    ftruncate(file, len as u64).ok()?;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | if is_populated { libc::MAP_POPULATE } else { 0 };
    // SAFETY: a new mapping of a file of ours, at an address of the kernel's choice.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, file.as_raw_fd(), 0) };
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
