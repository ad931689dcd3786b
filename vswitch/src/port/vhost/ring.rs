//! One split virtqueue (virtio 1.2 section 2.7), from the device's side, over raw guest memory.
//!
//! What it guards against: every index, address and length comes from a hostile guest and may change at any moment. So the
//! ring's own place, size and positions are private copies, validated once and frozen for the ring's life; each word of the
//! guest's is read once into a local and then judged; whatever breaks the rules is a [`PortFault`], never a guess.
//!
//! Entries are always given back in the order in which they were offered. So the used index alone tells where a ring stands,
//! which is what lets a guest go on after the switch was restarted.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::call::Call;
use crate::memory::{GuestMap, Region, access};
use crate::port::PortFault;

/// Largest ring, in descriptors. QEMU allows no more for virtio-net.
pub const RING_SIZE_MAX: u16 = 1024;

const DESCRIPTOR_LEN: u64 = size_of::<Descriptor>() as u64;
const USED_ELEMENT_LEN: u64 = 8;

const AVAIL_F_NO_INTERRUPT: u16 = 1;
const USED_F_NO_NOTIFY: u16 = 1;

/// A descriptor as the guest wrote it (virtio 1.2 section 2.7.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub(crate) struct Descriptor {
    /// Guest-physical address.
    pub(crate) addr: u64,
    /// Length in bytes.
    pub(crate) len: u32,
    /// `Descriptor::NEXT` and the like.
    pub(crate) flags: u16,
    /// Index of the next descriptor of the chain, if flagged.
    pub(crate) next: u16,
}

impl Descriptor {
    /// The chain goes on.
    pub(crate) const NEXT: u16 = 1;
    /// The device writes to the buffer; otherwise it reads.
    pub(crate) const WRITE: u16 = 2;
    /// The buffer holds a table of descriptors.
    pub(crate) const INDIRECT: u16 = 4;
}

/// Where a ring lies and where it stands, as negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingSetup {
    /// Number of descriptors.
    pub(crate) size: u16,
    /// Guest-physical address of the descriptor table.
    pub(crate) descriptors: u64,
    /// Guest-physical address of the available ring.
    pub(crate) avail: u64,
    /// Guest-physical address of the used ring.
    pub(crate) used: u64,
    /// Index of the first entry that was not yet given back.
    pub(crate) position: u16,
}

/// A ring that passed validation.
pub(crate) struct Ring {
    map: Arc<GuestMap>,
    call: Call,
    descriptors: *const Descriptor,
    avail: *const u16,
    used: *mut u8,
    mask: u16,
    /// Entries offered as of the last look.
    offered: u16,
    /// Next entry of the available ring to be taken.
    next_avail: u16,
    /// Next entry of the used ring to be written; published when it differs from `published`.
    next_used: u16,
    published: u16,
    event_idx: bool,
    /// The region that the last buffer was in.
    hint: Cell<usize>,
    /// Whether the last entry of the last plain burst named the descriptor with its own index, as a driver's do that uses its
    /// descriptors in turn: then the next ones will.
    is_in_turn: bool,
}

// SAFETY: the raw pointers lead into memory that `map` keeps mapped; a ring has one owner at a time, and what the guest does
// to that memory meanwhile is expected by every access.
unsafe impl Send for Ring {}

/// Where a ring lies and stood at one moment, and the region that the last buffer was in: what a loop over its entries
/// keeps in registers. (Whatever is written to memory between two entries could be the ring's own fields, for all that
/// the compiler knows.)
#[derive(Clone, Copy)]
pub(crate) struct Glance<'ring> {
    descriptors: *const Descriptor,
    /// The first entry of the available ring.
    avail: *const u16,
    /// The first element of the used ring.
    used: *mut u8,
    mask: u16,
    next_avail: u16,
    next_used: u16,
    region: Region,
    ring: PhantomData<&'ring Ring>,
}

impl Glance<'_> {
    /// Reads the `ahead`th of the entries not taken yet: the index of its first descriptor, and that descriptor.
    #[inline(always)]
    pub(crate) fn peek(&self, ahead: u16) -> Result<(u16, Descriptor), PortFault> {
        let slot = self.next_avail.wrapping_add(ahead) & self.mask;
        // SAFETY: the available ring was located with its `size` entries, and `slot` is below `size`.
        let head = unsafe { access::load(self.avail.add(usize::from(slot))) };
        Ok((head, self.descriptor(head)?))
    }

    /// Reads one descriptor of the table.
    #[inline(always)]
    fn descriptor(&self, index: u16) -> Result<Descriptor, PortFault> {
        if index > self.mask {
            return Err(PortFault { word: "descriptor_index" });
        }
        // SAFETY: the table was located for `size` descriptors, is aligned, and the index is below `size`.
        let [addr, rest] = unsafe {
            let at = self.descriptors.add(usize::from(index)).cast::<u64>();
            [access::load(at), access::load(at.add(1))]
        };
        Ok(Descriptor { addr, len: rest as u32, flags: (rest >> 32) as u16, next: (rest >> 48) as u16 })
    }

    /// Address of `len` guest bytes at `guest`, null unless the region holds them all: then [`Ring::locate`] knows.
    #[inline(always)]
    pub(crate) fn locate(&self, guest: u64, len: u32) -> *mut u8 {
        self.region.locate(guest, len.into())
    }

    /// Writes the used element of an entry, which is the `ahead`th from where the ring stood; see [`Ring::complete`].
    #[inline(always)]
    pub(crate) fn complete(&self, ahead: u16, head: u16, len: u32) {
        let slot = usize::from(self.next_used.wrapping_add(ahead) & self.mask);
        let element = u64::from(head) | u64::from(len) << 32;
        // SAFETY: the used ring was located with its `size` elements, and `slot` is below `size`.
        unsafe { access::store_unaligned(self.used.add(slot * USED_ELEMENT_LEN as usize), element) };
    }
}

impl Ring {
    /// Validates a ring: sizes, alignment (section 2.7), and that each of its three areas lies within one region.
    pub(crate) fn new(map: Arc<GuestMap>, setup: RingSetup, event_idx: bool, call: Call) -> Result<Self, PortFault> {
        let size = setup.size;
        if !size.is_power_of_two() || size > RING_SIZE_MAX {
            return Err(PortFault { word: "ring_size" });
        }
        let mut hint = 0;
        let mut area = |guest: u64, len: u64, align: usize| {
            let at = map.locate(guest, len, &mut hint);
            if at.is_null() || !(at as usize).is_multiple_of(align) {
                return Err(PortFault { word: "ring_address" });
            }
            Ok(at)
        };
        let entries = u64::from(size);
        let descriptors = area(setup.descriptors, entries * DESCRIPTOR_LEN, 16)?;
        let avail = area(setup.avail, 6 + 2 * entries, 2)?;
        let used = area(setup.used, 6 + USED_ELEMENT_LEN * entries, 4)?;
        let mut ring = Self {
            descriptors: descriptors.cast(),
            avail: avail.cast_const().cast(),
            used,
            map,
            call,
            mask: size - 1,
            offered: setup.position,
            next_avail: setup.position,
            next_used: setup.position,
            published: setup.position,
            event_idx,
            hint: Cell::new(hint),
            is_in_turn: false,
        };
        ring.sleep_not();
        Ok(ring)
    }

    /// Notifies the guest unasked. Done once by whoever serves a ring first: the guest may wait for a notification that a
    /// predecessor (a switch that died) never sent.
    pub(crate) fn greet(&self) -> Result<(), PortFault> {
        self.call.signal()
    }

    /// The used index in guest memory, for a ring that starts: where whoever served it before us stopped.
    pub(crate) fn used_index(map: &GuestMap, used: u64) -> Result<u16, PortFault> {
        let at = map.locate(used, 4, &mut 0);
        if at.is_null() || !(at as usize).is_multiple_of(4) {
            return Err(PortFault { word: "ring_address" });
        }
        // SAFETY: located and aligned just now, in a map that outlives this call.
        Ok(unsafe { access::load_acquire_u16(at.wrapping_add(2).cast()) })
    }

    /// Number of descriptors.
    #[inline(always)]
    pub(crate) fn size(&self) -> u16 {
        self.mask + 1
    }

    /// The guest's memory.
    #[inline(always)]
    pub(crate) fn map(&self) -> &GuestMap {
        &self.map
    }

    /// Index of the first entry that was not given back: where a successor starts.
    pub(crate) fn position(&self) -> u16 {
        self.published
    }

    /// Whether the ring's memory vanished; what was read since is worthless.
    #[inline(always)]
    pub(crate) fn check_memory(&self) -> Result<(), PortFault> {
        if self.map.is_lost() { Err(PortFault { word: "memory_lost" }) } else { Ok(()) }
    }

    /// How many offered entries were not yet taken, after a look at the available index.
    #[inline(always)]
    pub(crate) fn offered(&mut self) -> Result<u16, PortFault> {
        // SAFETY: the available ring was located and is aligned; index 1 is its `idx`.
        let offered = unsafe { access::load_acquire_u16(self.avail.add(1)) };
        // All entries between the used and the available index are in flight: never more than the ring holds.
        if offered.wrapping_sub(self.published) > self.size() || offered.wrapping_sub(self.next_avail) > self.size() {
            return Err(PortFault { word: "avail_index_jump" });
        }
        self.offered = offered;
        Ok(offered.wrapping_sub(self.next_avail))
    }

    /// How many offered entries were not yet taken, as of the last look.
    #[inline(always)]
    pub(crate) fn known(&self) -> u16 {
        self.offered.wrapping_sub(self.next_avail)
    }

    /// Reads the `ahead`th of the entries not yet taken: the index of its first descriptor, and that descriptor.
    #[inline(always)]
    pub(crate) fn peek(&self, ahead: u16) -> Result<(u16, Descriptor), PortFault> {
        self.glance().peek(ahead)
    }

    /// Reads one descriptor of the table.
    #[inline(always)]
    pub(crate) fn descriptor(&self, index: u16) -> Result<Descriptor, PortFault> {
        self.glance().descriptor(index)
    }

    /// Takes `count` entries: they were read.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: u16) {
        debug_assert!(count <= self.known());
        self.next_avail = self.next_avail.wrapping_add(count);
    }

    /// What it takes to read many entries, as values.
    #[inline(always)]
    pub(crate) fn glance(&self) -> Glance<'_> {
        let region = self.map.regions().get(self.hint.get()).copied();
        Glance {
            descriptors: self.descriptors,
            avail: self.avail.wrapping_add(2),
            used: self.used.wrapping_add(4),
            mask: self.mask,
            next_avail: self.next_avail,
            next_used: self.next_used,
            region: region.unwrap_or(Region { guest: 0, len: 0, host: std::ptr::null_mut(), page_len: 0 }),
            ring: PhantomData,
        }
    }

    /// Notes which descriptor the `ahead`th of the entries not taken yet named; see [`Ring::prefetch`].
    #[inline(always)]
    pub(crate) fn note_head(&mut self, ahead: u16, head: u16) {
        self.is_in_turn = self.next_avail.wrapping_add(ahead) & self.mask == head;
    }

    /// Asks for what the next `count` entries take: their descriptors, if it can be told where they are, and the used
    /// elements. All at once, for one after the other each of these lines would be waited for.
    #[inline(always)]
    pub(crate) fn prefetch(&self, count: usize) {
        if count == 0 {
            return;
        }
        let slots = usize::from(self.mask) + 1;
        let run = |first: u16| {
            let first = usize::from(first & self.mask);
            (first, count.min(slots - first))
        };
        if self.is_in_turn {
            let (first, count) = run(self.next_avail);
            let at = self.descriptors.wrapping_add(first).cast();
            access::prefetch_read(at, count * DESCRIPTOR_LEN as usize, slots);
        }
        let (first, count) = run(self.next_used);
        let at = self.used.wrapping_add(4 + first * USED_ELEMENT_LEN as usize);
        access::prefetch_write(at, count * USED_ELEMENT_LEN as usize, slots);
    }

    /// Takes `count` entries that were read, and whose used elements were written by [`Glance::complete`].
    #[inline(always)]
    pub(crate) fn take_completed(&mut self, count: u16) {
        self.take(count);
        self.next_used = self.next_used.wrapping_add(count);
    }

    /// Address of `len` guest bytes at `guest`, null unless one region holds them all.
    #[inline(always)]
    pub(crate) fn locate(&self, guest: u64, len: u32) -> *mut u8 {
        let mut hint = self.hint.get();
        let at = self.map.locate(guest, u64::from(len), &mut hint);
        self.hint.set(hint);
        at
    }

    /// Writes the used element of the entry whose first descriptor is `head`, `len` bytes written; not published yet.
    #[inline(always)]
    pub(crate) fn complete(&mut self, head: u16, len: u32) {
        self.glance().complete(0, head, len);
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Where the used ring stands; see [`Ring::roll_back`].
    pub(crate) fn mark(&self) -> u16 {
        self.next_used
    }

    /// Takes back all completions since [`Ring::mark`]; none of them was published meanwhile.
    pub(crate) fn roll_back(&mut self, mark: u16) {
        self.next_used = mark;
    }

    /// Gives the completed entries back, with one store, and notifies the guest at most once, if it asked for it.
    #[inline(always)]
    pub(crate) fn publish(&mut self) -> Result<(), PortFault> {
        if self.next_used == self.published {
            return Ok(());
        }
        let before = self.published;
        self.published = self.next_used;
        // SAFETY: the used ring was located and is aligned to 4; its `idx` stands at offset 2.
        unsafe { access::store_release_u16(self.used.add(2).cast(), self.published) };
        // The guest writes its wish and then reads our index; we write our index and then read its wish. Without a full
        // barrier both could miss each other (section 2.7.7.1).
        fence(Ordering::SeqCst);
        if self.wants_call(before) { self.call.signal() } else { Ok(()) }
    }

    #[inline(always)]
    fn wants_call(&self, before: u16) -> bool {
        if !self.event_idx {
            // SAFETY: the available ring starts with its flags.
            return unsafe { access::load(self.avail) } & AVAIL_F_NO_INTERRUPT == 0;
        }
        // SAFETY: `used_event` follows the `size` entries of the available ring, and was located with them.
        let event = unsafe { access::load(self.avail.add(2 + usize::from(self.size()))) };
        // Whether the index passed `event` with this publication (vring_need_event of section 2.7.10.1).
        self.published.wrapping_sub(event).wrapping_sub(1) < self.published.wrapping_sub(before)
    }

    /// Asks the guest to kick for the next entry that it offers. Whether entries wait already.
    pub(crate) fn arm(&mut self) -> Result<bool, PortFault> {
        if self.event_idx {
            self.write_avail_event(self.next_avail);
        } else {
            // SAFETY: the used ring starts with its flags, and is aligned to 4.
            unsafe { access::store(self.used.cast::<u16>(), 0) };
        }
        fence(Ordering::SeqCst);
        Ok(self.offered()? != 0)
    }

    /// Asks the guest not to kick.
    pub(crate) fn disarm(&mut self) {
        if !self.event_idx {
            // SAFETY: as in `arm`.
            unsafe { access::store(self.used.cast::<u16>(), USED_F_NO_NOTIFY) };
        }
        // With event indices the old one just stays behind: the guest kicks once in 65,536 entries.
    }

    /// As [`Ring::disarm`], for a ring whose event index nobody has written yet.
    fn sleep_not(&mut self) {
        if self.event_idx {
            self.write_avail_event(self.next_avail.wrapping_sub(1));
        }
        self.disarm();
    }

    fn write_avail_event(&self, index: u16) {
        // SAFETY: `avail_event` follows the `size` elements of the used ring, and was located with them.
        unsafe { access::store(self.used.add(4 + usize::from(self.size()) * 8).cast::<u16>(), index) };
    }
}
