//! The guest's transmit ring: frames come out of guest memory here, by one copy, before anything looks at them.
//!
//! A burst is worked in stages, so that the cache misses of all its frames overlap: first all descriptors are read and their
//! payload asked for, then all payloads are copied, then everything is given back with one store. A single plain buffer is
//! the fast case; chains, indirect tables and buffers that cross regions go through [`chain::walk`].

use arrayvec::ArrayVec;

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
    /// Where its only buffer lies; null for what needs a walk.
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
        let mut staged = ArrayVec::<Staged, BURST_MAX>::new();
        let mut len = 0;
        for ahead in 0..count {
            let entry = self.stage(ahead as u16)?;
            len += entry.descriptor.len as usize;
            staged.push(entry);
            if len >= BURST_LEN {
                break;
            }
        }
        for entry in &staged {
            match self.copy(entry, batch)? {
                Taken::Done => self.ring.complete(entry.head, 0),
                Taken::NoRoom => break,
            }
            self.ring.take(1);
        }
        self.ring.check_memory()?;
        self.ring.publish()
    }

    #[inline(always)]
    fn stage(&mut self, ahead: u16) -> Result<Staged, PortFault> {
        let (head, descriptor) = self.ring.peek(ahead)?;
        let plain = descriptor.flags & (Descriptor::NEXT | Descriptor::WRITE | Descriptor::INDIRECT) == 0;
        let at = if plain { self.ring.locate(descriptor.addr, descriptor.len).cast_const() } else { std::ptr::null() };
        if !at.is_null() {
            let lines = (descriptor.len as usize).div_ceil(64).min(PREFETCH_LINES);
            access::prefetch_read(at.wrapping_add(self.header_len), lines);
        }
        Ok(Staged { head, descriptor, at })
    }

    #[inline(always)]
    fn copy(&mut self, entry: &Staged, batch: &mut Batch) -> Result<Taken, PortFault> {
        let len = entry.descriptor.len as usize;
        let frame_len = len.wrapping_sub(self.header_len);
        if entry.at.is_null() || len < self.header_len || !(FRAME_LEN_MIN..=FRAME_LEN_MAX).contains(&frame_len) {
            return self.copy_pieces(entry, batch);
        }
        let Some(space) = batch.space(frame_len) else {
            return Ok(Taken::NoRoom);
        };
        let claimed = if self.claims {
            let mut header = [0; HEADER_LEN_MAX];
            // SAFETY: the buffer was located with its `len` bytes, of which the header takes the first.
            unsafe { access::copy_in(entry.at, &mut header[..self.header_len]) };
            net_header::claimed(&header)
        } else {
            ClaimedOffload::default()
        };
        let at = entry.at.wrapping_add(self.header_len);
        let sum = if net_header::leaves_checksum(claimed) {
            // SAFETY: the buffer was located with its `len` bytes, of which the frame takes the last `frame_len`.
            unsafe { access::copy_in(at, space) };
            None
        } else {
            // SAFETY: as above.
            Some(unsafe { access::copy_in_summed(at, space) })
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
