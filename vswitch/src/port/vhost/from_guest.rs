//! The guest's transmit ring: frames come out of guest memory here, by one copy, before anything looks at them.
//!
//! A burst is worked in stages, so that the cache misses of all its frames overlap: first all descriptors are read and their
//! payload asked for, then all payloads are copied, then everything is given back with one store. A single plain buffer is
//! the fast case; chains, indirect tables and buffers that cross regions go through [`chain::walk`].

use arrayvec::ArrayVec;
use inspect::wire::FrameSum;

use super::chain::{self, Direction, Segment, TableCopy};
use super::features::Features;
use super::net_header::{self, HEADER_LEN_MAX};
use super::ring::{Descriptor, Ring};
use crate::drop_reason::DropReason;
use crate::frame::{BURST_MAX, Batch, ClaimedOffload, FRAME_LEN_MAX, FRAME_LEN_MIN};
use crate::memory::access;
use crate::port::PortFault;

/// Cache lines asked for ahead of the copy; the processor's own prefetcher has caught on by then.
const PREFETCH_LINES: usize = 12;

/// Bytes after which a burst ends, so that its private copies are still in the first-level cache when they are sent on. What
/// waits behind it is the next burst.
const BURST_LEN: usize = 12 * 1024;

/// An entry of the ring between the reading of its first descriptor and the copying of its frame.
struct Staged {
    head: u16,
    descriptor: Descriptor,
    /// Where its only buffer lies, which holds a header and a frame; null for what needs a walk.
    at: *const u8,
}

/// What became of an entry.
enum Taken {
    /// Its frame is in the batch, or was refused; either way the guest gets its buffers back.
    Done,
    /// The batch has no room for it: it stays in the ring.
    NoRoom,
}

/// The ring by which a guest sends.
pub(crate) struct FromGuest {
    ring: Ring,
    header_len: usize,
    /// Whether senders' headers can claim anything.
    claims: bool,
    indirect: bool,
    table: TableCopy,
    segments: Vec<Segment>,
}

// SAFETY: segments only live within one call; between calls there is nothing but the ring, which is `Send`.
unsafe impl Send for FromGuest {}

impl FromGuest {
    pub(crate) fn new(ring: Ring, features: Features) -> Self {
        Self {
            ring,
            header_len: features.header_len(),
            claims: features.has_any(Features::SENDER_OFFLOADS),
            indirect: features.has(Features::INDIRECT_DESC),
            table: TableCopy::default(),
            segments: Vec::with_capacity(chain::SEGMENTS_MAX),
        }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(crate) fn ring_mut(&mut self) -> &mut Ring {
        &mut self.ring
    }

    /// See [`crate::port::QueueIo::receive`].
    pub(crate) fn receive(&mut self, batch: &mut Batch) -> Result<(), PortFault> {
        let count = usize::from(self.ring.offered()?).min(batch.room()).min(BURST_MAX);
        if count == 0 {
            return Ok(());
        }
        self.ring.prefetch(count);
        let mut staged = ArrayVec::<Staged, BURST_MAX>::new();
        let is_plain = self.stage(count, &mut staged)?;
        match (is_plain, self.claims) {
            (true, false) => self.copy_plain::<false>(&staged, batch),
            (true, true) => self.copy_plain::<true>(&staged, batch),
            (false, _) => self.copy_each(&staged, batch)?,
        }
        self.ring.check_memory()?;
        self.ring.publish()
    }

    /// Reads the first descriptors of up to `count` entries and asks for their payload. Answers whether each is a whole
    /// frame in one buffer.
    #[inline(always)]
    fn stage(&self, count: usize, staged: &mut ArrayVec<Staged, BURST_MAX>) -> Result<bool, PortFault> {
        let mut glance = self.ring.glance();
        let header_len = self.header_len;
        let (mut len, mut is_plain) = (0, true);
        for ahead in 0..count {
            let (head, descriptor) = glance.peek(ahead as u16)?;
            let frame_len = (descriptor.len as usize).wrapping_sub(header_len);
            let mut at = std::ptr::null_mut();
            if descriptor.flags & (Descriptor::NEXT | Descriptor::WRITE | Descriptor::INDIRECT) == 0
                && (FRAME_LEN_MIN..=FRAME_LEN_MAX).contains(&frame_len)
            {
                at = glance.locate(descriptor.addr, descriptor.len);
                if at.is_null() {
                    at = self.ring.locate(descriptor.addr, descriptor.len);
                    glance = self.ring.glance();
                }
                // The header is not looked at, unless it can claim something.
                let (at, len) =
                    if self.claims { (at, descriptor.len as usize) } else { (at.wrapping_add(header_len), frame_len) };
                access::prefetch_read(at, len, PREFETCH_LINES);
            }
            is_plain &= !at.is_null();
            staged.push(Staged { head, descriptor, at });
            len += descriptor.len as usize;
            if len >= BURST_LEN {
                break;
            }
        }
        Ok(is_plain)
    }

    /// Takes entries of which each is a whole frame in one buffer, as far as the batch has room.
    #[inline(always)]
    fn copy_plain<const CLAIMS: bool>(&mut self, staged: &[Staged], batch: &mut Batch) {
        let (glance, header_len) = (self.ring.glance(), self.header_len);
        let frame_len = |entry: &Staged| entry.descriptor.len as usize - header_len;
        let count = batch.fill(staged, frame_len, |index, entry, space| {
            glance.complete(index as u16, entry.head, 0);
            // SAFETY: it was staged with the address of a buffer of this length.
            unsafe { copy_frame::<CLAIMS>(entry.at, header_len, space) }
        });
        if let Some(last) = staged[..count].last() {
            self.ring.note_head(count as u16 - 1, last.head);
        }
        self.ring.take_completed(count as u16);
        // By the next burst they are there.
        self.ring.prefetch(usize::from(self.ring.known()).min(BURST_MAX));
    }

    /// Takes entries of any kind, as far as the batch has room.
    #[cold]
    fn copy_each(&mut self, staged: &[Staged], batch: &mut Batch) -> Result<(), PortFault> {
        for entry in staged {
            match self.copy(entry, batch)? {
                Taken::Done => self.ring.complete(entry.head, 0),
                Taken::NoRoom => break,
            }
            self.ring.take(1);
        }
        Ok(())
    }

    fn copy(&mut self, entry: &Staged, batch: &mut Batch) -> Result<Taken, PortFault> {
        if entry.at.is_null() {
            return self.copy_pieces(entry, batch);
        }
        let frame_len = entry.descriptor.len as usize - self.header_len;
        let Some(space) = batch.space(frame_len) else {
            return Ok(Taken::NoRoom);
        };
        // SAFETY: it was staged with the address of a buffer of this length.
        let (claimed, sum) = unsafe {
            if self.claims {
                copy_frame::<true>(entry.at, self.header_len, space)
            } else {
                copy_frame::<false>(entry.at, self.header_len, space)
            }
        };
        batch.push_summed(frame_len, claimed, sum);
        Ok(Taken::Done)
    }

    /// The general case: any chain, and all refusals.
    #[cold]
    #[inline(never)]
    fn copy_pieces(&mut self, entry: &Staged, batch: &mut Batch) -> Result<Taken, PortFault> {
        self.segments.clear();
        let total = chain::walk(
            &mut self.ring,
            entry.descriptor,
            Direction::FromGuest,
            self.indirect,
            &mut self.table,
            &mut self.segments,
        )?;
        let frame_len = total.saturating_sub(self.header_len as u64);
        if frame_len < FRAME_LEN_MIN as u64 {
            batch.reject(DropReason::Runt, frame_len as u32);
            return Ok(Taken::Done);
        }
        if frame_len > FRAME_LEN_MAX as u64 {
            batch.reject(DropReason::Oversize, u32::try_from(frame_len).unwrap_or(u32::MAX));
            return Ok(Taken::Done);
        }
        let Some(space) = batch.space(frame_len as usize) else {
            return Ok(Taken::NoRoom);
        };
        let mut header = [0; HEADER_LEN_MAX];
        gather(&self.segments, &mut header[..self.header_len], space);
        let claimed = if self.claims { net_header::claimed(&header) } else { ClaimedOffload::default() };
        batch.push(frame_len as usize, claimed);
        Ok(Taken::Done)
    }
}

/// Copies a frame out of a buffer, and sums it up if its header does not leave that to others. Answers what the header
/// claims, if it can claim anything, and the sum.
///
/// # Safety
/// At `at` are mapped `header_len` bytes of header, at most [`HEADER_LEN_MAX`], and as many more as `space` has.
#[inline(always)]
unsafe fn copy_frame<const CLAIMS: bool>(
    at: *const u8,
    header_len: usize,
    space: &mut [u8],
) -> (ClaimedOffload, Option<FrameSum>) {
    let mut claimed = ClaimedOffload::default();
    if CLAIMS {
        let mut header = [0; HEADER_LEN_MAX];
        // SAFETY: by contract.
        unsafe { access::copy_in(at, &mut header[..header_len]) };
        claimed = net_header::claimed(&header);
    }
    let at = at.wrapping_add(header_len);
    // SAFETY: by contract.
    unsafe {
        if net_header::leaves_checksum(claimed) {
            access::copy_in(at, space);
            return (claimed, None);
        }
        (claimed, Some(access::copy_in_summed(at, space)))
    }
}

/// Copies the header and then the frame out of the pieces that hold them, wherever they are cut.
fn gather(segments: &[Segment], header: &mut [u8], frame: &mut [u8]) {
    let mut parts = [header, frame].into_iter();
    let mut to: &mut [u8] = parts.next().unwrap_or_default();
    for segment in segments {
        let (mut at, mut len) = (segment.at.cast_const(), segment.len as usize);
        while len > 0 {
            if to.is_empty() {
                match parts.next() {
                    Some(part) => to = part,
                    None => return,
                }
            }
            let part = len.min(to.len());
            let (now, later) = to.split_at_mut(part);
            // SAFETY: the walk located the segment with all its bytes, of which `len` are left from `at` on.
            unsafe { access::copy_in(at, now) };
            (at, len, to) = (at.wrapping_add(part), len - part, later);
        }
    }
}
