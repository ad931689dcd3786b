//! The other side, for tests: a guest's memory in a memfd, and a driver for its rings that can be told to misbehave.

use std::fs::File;
#[cfg(not(miri))]
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use inspect::wire::{self, Checksums, Headers};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::MemfdFlags;
#[cfg(not(miri))]
use rustix::fs::{ftruncate, memfd_create};

use crate::frame::Offload;
use crate::memory::{GuestMap, Region};
use crate::port::vhost::call::Call;
use crate::port::vhost::features::Features;
use crate::port::vhost::from_guest::FromGuest;
use crate::port::vhost::ring::{Descriptor, Ring, RingSetup};
use crate::port::vhost::to_guest::{Outgoing, ToGuest};

/// First guest-physical address of the memory of test guests.
pub(super) const GUEST_BASE: u64 = 0x10_0000;

/// Guest memory in a memfd, mapped by the "guest".
pub(super) struct Memory {
    pub(super) file: File,
    pub(super) base: *mut u8,
    pub(super) len: usize,
}

// SAFETY: plain shared memory; tests coordinate who writes where, or race on purpose.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn new(len: usize) -> Arc<Self> {
        Self::with(len, MemfdFlags::ALLOW_SEALING)
    }

    /// Memory that nobody can seal against shrinking.
    pub(super) fn unsealable(len: usize) -> Arc<Self> {
        Self::with(len, MemfdFlags::empty())
    }

    /// Miri has no files to map, and looks into allocations only.
    #[cfg(miri)]
    fn with(len: usize, _: MemfdFlags) -> Arc<Self> {
        let file = File::open("/dev/null").unwrap();
        // SAFETY: some bytes.
        let base = unsafe { std::alloc::alloc_zeroed(Self::layout(len)) };
        assert!(!base.is_null());
        Arc::new(Self { file, base, len })
    }

    #[cfg(miri)]
    fn layout(len: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(len, 4096).unwrap()
    }

    #[cfg(not(miri))]
    fn with(len: usize, flags: MemfdFlags) -> Arc<Self> {
        let file = File::from(memfd_create("guest", MemfdFlags::CLOEXEC | flags).unwrap());
        ftruncate(&file, len as u64).unwrap();
        let rw = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping of a file of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, rw, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(base, libc::MAP_FAILED);
        Arc::new(Self { file, base: base.cast(), len })
    }

    /// A map of it, in regions cut at the given offsets; all of it is contiguous for the guest.
    pub(super) fn map(self: &Arc<Self>, cuts: &[usize]) -> Arc<GuestMap> {
        let ends = cuts.iter().copied().chain([self.len]);
        let mut start = 0;
        let mut regions = Vec::new();
        for end in ends {
            let host = self.base.wrapping_add(start);
            regions.push(Region { guest: GUEST_BASE + start as u64, len: (end - start) as u64, host, page_len: 4096 });
            start = end;
        }
        // SAFETY: the memory stays mapped while `self` lives, and the tests use raw pointers only.
        Arc::new(unsafe { GuestMap::new(regions, self.clone()) }.unwrap())
    }

    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len);
        // SAFETY: inside the mapping.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.add(at), bytes.len()) };
    }

    pub(super) fn read(&self, at: usize, len: usize) -> Vec<u8> {
        assert!(at + len <= self.len);
        let mut bytes = vec![0; len];
        // SAFETY: inside the mapping.
        unsafe { std::ptr::copy_nonoverlapping(self.base.add(at), bytes.as_mut_ptr(), len) };
        bytes
    }

    pub(super) fn word(&self, at: usize) -> &AtomicU16 {
        assert!(at + 2 <= self.len && at.is_multiple_of(2));
        // SAFETY: inside the mapping, aligned.
        unsafe { AtomicU16::from_ptr(self.base.add(at).cast()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        #[cfg(miri)]
        // SAFETY: allocated in `new`; the last user is gone.
        unsafe {
            std::alloc::dealloc(self.base, Self::layout(self.len));
        }
        #[cfg(not(miri))]
        // SAFETY: mapped in `new`; the last user is gone.
        unsafe {
            libc::munmap(self.base.cast(), self.len);
        }
    }
}

/// A driver of one ring. Offsets are from the start of the guest's memory.
pub(super) struct Driver {
    pub(super) memory: Arc<Memory>,
    pub(super) size: u16,
    pub(super) descriptors: usize,
    pub(super) avail: usize,
    pub(super) used: usize,
    /// Where the buffer of descriptor i is, and how far from the next.
    pub(super) buffers: usize,
    pub(super) stride: usize,
    /// Next available and used index.
    pub(super) offered: u16,
    pub(super) seen: u16,
    pub(super) call: Arc<OwnedFd>,
}

impl Driver {
    /// A driver whose ring lies at `at` (its buffers behind it), with buffers `stride` apart.
    pub(super) fn new(memory: &Arc<Memory>, at: usize, size: u16, stride: usize) -> Self {
        let entries = usize::from(size);
        let avail = at + 16 * entries;
        let used = (avail + 6 + 2 * entries).next_multiple_of(64);
        let buffers = (used + 6 + 8 * entries).next_multiple_of(4096);
        let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let memory = memory.clone();
        let call = Arc::new(call);
        Self { memory, size, descriptors: at, avail, used, buffers, stride, offered: 0, seen: 0, call }
    }

    /// Starts the ring's indices somewhere else than at 0.
    pub(super) fn starting_at(mut self, index: u16) -> Self {
        (self.offered, self.seen) = (index, index);
        self.memory.word(self.avail + 2).store(index, Ordering::Release);
        self.memory.word(self.used + 2).store(index, Ordering::Release);
        self
    }

    pub(super) fn setup(&self) -> RingSetup {
        RingSetup {
            size: self.size,
            descriptors: GUEST_BASE + self.descriptors as u64,
            avail: GUEST_BASE + self.avail as u64,
            used: GUEST_BASE + self.used as u64,
            position: self.seen,
        }
    }

    pub(super) fn ring(&self, map: &Arc<GuestMap>, features: Features) -> Ring {
        let call = Call::new(Some(self.call.try_clone().unwrap()));
        Ring::new(map.clone(), self.setup(), features.has(Features::EVENT_IDX), call).unwrap()
    }

    pub(super) fn transmit_ring(&self, map: &Arc<GuestMap>, features: Features) -> FromGuest {
        FromGuest::new(self.ring(map, features), features)
    }

    pub(super) fn receive_ring(&self, map: &Arc<GuestMap>, features: Features) -> ToGuest {
        ToGuest::new(self.ring(map, features), features)
    }

    /// Notifications since the last call of this.
    pub(super) fn calls(&self) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(&self.call, &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    /// Guest-physical address of descriptor `index`'s own buffer.
    pub(super) fn buffer(&self, index: u16) -> u64 {
        GUEST_BASE + (self.buffers + usize::from(index) * self.stride) as u64
    }

    pub(super) fn describe(&self, index: u16, descriptor: Descriptor) {
        self.memory.write(self.descriptors + 16 * usize::from(index), &descriptor_bytes(descriptor));
    }

    /// Puts `head` into the available ring, not yet published.
    pub(super) fn put(&mut self, head: u16) {
        let slot = usize::from(self.offered & (self.size - 1));
        self.memory.word(self.avail + 4 + 2 * slot).store(head, Ordering::Relaxed);
        self.offered = self.offered.wrapping_add(1);
    }

    pub(super) fn publish(&self) {
        self.memory.word(self.avail + 2).store(self.offered, Ordering::Release);
    }

    pub(super) fn offer(&mut self, head: u16) {
        self.put(head);
        self.publish();
    }

    /// Offers a frame under a header as one buffer of descriptor `index`.
    pub(super) fn send(&mut self, index: u16, header: &[u8], frame: &[u8]) {
        let at = (self.buffer(index) - GUEST_BASE) as usize;
        self.memory.write(at, header);
        self.memory.write(at + header.len(), frame);
        let len = (header.len() + frame.len()) as u32;
        self.describe(index, Descriptor { addr: self.buffer(index), len, flags: 0, next: 0 });
        self.offer(index);
    }

    /// Offers descriptor `index`'s own buffer to be written to.
    pub(super) fn post(&mut self, index: u16, len: u32) {
        self.describe(index, Descriptor { addr: self.buffer(index), len, flags: Descriptor::WRITE, next: 0 });
        self.offer(index);
    }

    /// What was given back since the last call of this: (head, bytes written).
    pub(super) fn used(&mut self) -> Vec<(u32, u32)> {
        let index = self.memory.word(self.used + 2).load(Ordering::Acquire);
        let mut used = Vec::new();
        while self.seen != index {
            let slot = usize::from(self.seen & (self.size - 1));
            let bytes = self.memory.read(self.used + 4 + 8 * slot, 8);
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            used.push((word(0), word(4)));
            self.seen = self.seen.wrapping_add(1);
        }
        used
    }

    /// Frames received since the last call of this into own buffers, each with its header, joined over `num_buffers`.
    pub(super) fn received(&mut self) -> Vec<Vec<u8>> {
        let mut used = self.used().into_iter();
        let mut frames = Vec::new();
        while let Some((head, len)) = used.next() {
            let at = (self.buffer(head as u16) - GUEST_BASE) as usize;
            let mut frame = self.memory.read(at, len as usize);
            for _ in 1..u16::from_le_bytes([frame[10], frame[11]]) {
                let (head, len) = used.next().expect("as many buffers as the header says");
                let at = (self.buffer(head as u16) - GUEST_BASE) as usize;
                frame.extend(self.memory.read(at, len as usize));
            }
            frames.push(frame);
        }
        frames
    }

    /// Sets `used_event`.
    pub(super) fn wake_at(&self, index: u16) {
        self.memory.word(self.avail + 4 + 2 * usize::from(self.size)).store(index, Ordering::SeqCst);
    }

    /// `avail_event`, as the device wrote it.
    pub(super) fn kick_at(&self) -> u16 {
        self.memory.word(self.used + 4 + 8 * usize::from(self.size)).load(Ordering::SeqCst)
    }

    pub(super) fn set_flags(&self, flags: u16) {
        self.memory.word(self.avail).store(flags, Ordering::SeqCst);
    }

    pub(super) fn used_flags(&self) -> u16 {
        self.memory.word(self.used).load(Ordering::SeqCst)
    }
}

pub(super) fn descriptor_bytes(descriptor: Descriptor) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&descriptor.addr.to_le_bytes());
    bytes[8..12].copy_from_slice(&descriptor.len.to_le_bytes());
    bytes[12..14].copy_from_slice(&descriptor.flags.to_le_bytes());
    bytes[14..].copy_from_slice(&descriptor.next.to_le_bytes());
    bytes
}

/// A frame together with its headers, as the pipeline would hand it over.
pub(super) struct Judged {
    pub(super) frame: Vec<u8>,
    headers: Headers,
    offload: Offload,
}

impl Judged {
    pub(super) fn new(frame: Vec<u8>, offload: Offload) -> Self {
        let checksums = if offload == Offload::None { Checksums::Verify } else { Checksums::TransportPartial };
        let headers = wire::parse(&frame, checksums).unwrap();
        Self { frame, headers, offload }
    }

    /// A UDP datagram with so many bytes of payload, each of the value `mark`.
    pub(super) fn udp(len: usize, mark: u8) -> Self {
        Self::new(wire::emit::any_udp4(&vec![mark; len]), Offload::None)
    }

    pub(super) fn outgoing(&self) -> Outgoing<'_> {
        Outgoing { frame: &self.frame, headers: &self.headers, offload: self.offload.into() }
    }
}
