//! The guest's receive ring: frames that were cleared go into buffers that the guest offered.
//!
//! Offered buffers are read ahead of need, located and kept (`posted`), so each word of theirs is read once even when a frame
//! turns out not to fit. A frame is written whole or not at all: used elements count only when they are published, and the
//! burst's frames are published together. The header is built here (see [`net_header`]); memory is written in three kinds of
//! places and nowhere else: offered buffers, used elements and the used ring's own words.

use std::ops::Range;

use inspect::limits::SEGMENTS_PER_FRAME_MAX;
use inspect::wire::segment::Segments;
use inspect::wire::{Headers, checksum};

use super::chain::{self, Direction, SEGMENTS_MAX, Segment, TableCopy};
use super::features::Features;
use super::net_header::{self, Handing, NetHeader};
use super::ring::{Descriptor, Ring};
use crate::drop_reason::DropReason;
use crate::frame::{FRAME_LEN_MAX, Offload, OffloadWord};
use crate::memory::access;
use crate::port::{PortFault, Refusals};

mod plain;

use plain::{is_plain, write_header};

/// Receive buffers that one frame may be spread over. A super-segment in the smallest buffers that Linux posts (1,526 bytes)
/// takes 43; more than 64 means buffers made small on purpose, which cost us more than they carry.
pub(crate) const BUFFERS_PER_FRAME_MAX: usize = 64;

/// Cache lines of a receive buffer that are asked for ahead of the copy; the processor's own prefetcher has caught on by then.
const PREFETCH_LINES: usize = 8;

/// Pieces of chained buffers kept at once: a burst of the longest chains by half. With fewer free than one chain may take, no
/// more buffers are read ahead, so a guest cannot make us remember a million pieces.
const PIECES_MAX: usize = 16 * SEGMENTS_MAX;

/// A frame on its way to the guest. Outside of tests they are made from [`crate::inspection::Cleared`] only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    /// The bytes.
    pub(crate) frame: &'a [u8],
    /// Where its headers are.
    pub(crate) headers: &'a Headers,
    /// What is left to be done.
    pub(crate) offload: OffloadWord,
}

/// A receive buffer that the guest offered, located.
#[derive(Clone, Copy)]
struct Posted {
    /// The buffer, where it is in one piece; else null.
    at: *mut u8,
    capacity: u32,
    head: u16,
    /// Where its pieces start in `pieces`, and how many they are; none for a buffer in one piece.
    pieces_start: u32,
    pieces_count: u32,
}

/// The ring by which a guest receives.
pub(crate) struct ToGuest {
    ring: Ring,
    features: Features,
    header_len: usize,
    posted: Vec<Posted>,
    /// How many of `posted` are used up in the running burst.
    cursor: usize,
    pieces: Vec<Segment>,
    table: TableCopy,
    /// Private copy of a frame that is changed on its way out: a checksum completed, a segment cut.
    scratch: Box<[u8]>,
}

// SAFETY: the raw pointers in `posted` and `pieces` lead into the memory that `ring` keeps mapped, and are used through
// `access` only.
unsafe impl Send for ToGuest {}

impl ToGuest {
    pub(crate) fn new(ring: Ring, features: Features) -> Self {
        Self {
            posted: Vec::with_capacity(usize::from(ring.size())),
            ring,
            features,
            header_len: features.header_len(),
            cursor: 0,
            pieces: Vec::new(),
            table: TableCopy::default(),
            scratch: vec![0; FRAME_LEN_MAX].into_boxed_slice(),
        }
    }

    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// See [`crate::port::QueueIo::transmit`].
    pub(crate) fn transmit<'a>(
        &mut self,
        count: usize,
        frame: impl Fn(usize) -> Outgoing<'a>,
        refused: &mut Refusals,
    ) -> Result<(), PortFault> {
        let written = if self.posted.is_empty() { self.transmit_plain(count, &frame)? } else { 0 };
        if written < count {
            self.transmit_rest(written..count, &frame, refused)?;
        }
        self.ring.check_memory()?;
        self.ring.publish()
    }

    /// Sends frames of any kind into buffers of any kind.
    #[cold]
    #[inline(never)]
    fn transmit_rest<'a>(
        &mut self,
        indices: Range<usize>,
        frame: &impl Fn(usize) -> Outgoing<'a>,
        refused: &mut Refusals,
    ) -> Result<(), PortFault> {
        let at_hand = self.read_ahead(indices.len())?;
        for (index, buffer) in indices.clone().zip(self.posted[self.cursor..].iter().take(at_hand)) {
            access::prefetch_receive_buffer(buffer.at, self.header_len, frame(index).frame.len(), PREFETCH_LINES);
        }
        for index in indices {
            let outgoing = frame(index);
            let flags = net_header::complete_flags(outgoing.headers, self.features);
            if outgoing.offload == OffloadWord::NONE && self.write_plain(outgoing.frame, NetHeader::complete(flags)) {
                continue;
            }
            if let Err(reason) = self.write_otherwise(&outgoing)? {
                refused.push((index as u8, reason));
            }
        }
        self.forget_used();
        Ok(())
    }

    /// Reads buffers until `wanted` are at hand or no more are offered; answers how many are.
    #[inline(always)]
    fn read_ahead(&mut self, wanted: usize) -> Result<usize, PortFault> {
        let at_hand = self.posted.len() - self.cursor;
        let Some(missing) = wanted.checked_sub(at_hand).filter(|&missing| missing > 0) else {
            return Ok(at_hand);
        };
        let mut known = usize::from(self.ring.known());
        if known < missing {
            known = usize::from(self.ring.offered()?);
        }
        let mut count = 0;
        while count < known.min(missing) && self.pieces.len() <= PIECES_MAX - SEGMENTS_MAX {
            self.read(count as u16)?;
            count += 1;
        }
        self.ring.take(count as u16);
        Ok(at_hand + count)
    }

    /// Reads one buffer and keeps it. (Nothing of it is returned: what is written in pieces is slow to copy whole.)
    #[inline(always)]
    fn read(&mut self, ahead: u16) -> Result<(), PortFault> {
        let (head, descriptor) = self.ring.peek(ahead)?;
        self.keep(head, descriptor)
    }

    /// Keeps the buffer that starts with a descriptor.
    fn keep(&mut self, head: u16, descriptor: Descriptor) -> Result<(), PortFault> {
        if is_plain(&descriptor) && descriptor.len as usize >= self.header_len {
            let at = self.ring.locate(descriptor.addr, descriptor.len);
            if !at.is_null() {
                self.posted.push(Posted { at, capacity: descriptor.len, head, pieces_start: 0, pieces_count: 0 });
                return Ok(());
            }
        }
        let posted = self.read_chain(head, descriptor)?;
        self.posted.push(posted);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn read_chain(&mut self, head: u16, first: Descriptor) -> Result<Posted, PortFault> {
        let start = self.pieces.len();
        let indirect = self.features.has(Features::INDIRECT_DESC);
        let (ring, table) = (&mut self.ring, &mut self.table);
        let total = chain::walk(ring, first, Direction::ToGuest, indirect, table, &mut self.pieces)?;
        // Each buffer holds at least the header (virtio 1.2 section 5.1.6.3.1).
        if total < self.header_len as u64 {
            return Err(PortFault { word: "receive_buffer_length" });
        }
        Ok(Posted {
            at: std::ptr::null_mut(),
            capacity: u32::try_from(total).unwrap_or(u32::MAX),
            head,
            pieces_start: start as u32,
            pieces_count: (self.pieces.len() - start) as u32,
        })
    }

    /// Writes a frame under a header into one buffer in one piece, if such a one is next; the usual case.
    #[inline(always)]
    fn write_plain(&mut self, frame: &[u8], header: NetHeader) -> bool {
        let need = self.header_len + frame.len();
        let Some(buffer) = self.posted.get(self.cursor) else { return false };
        if buffer.at.is_null() || (buffer.capacity as usize) < need {
            return false;
        }
        let (at, head) = (buffer.at, buffer.head);
        self.cursor += 1;
        // SAFETY: the buffer was located with `capacity` bytes, of which the header takes the first.
        unsafe {
            write_header(self.header_len, at, header.with_buffers(1));
            access::copy_out(frame, at.add(self.header_len));
        }
        self.ring.complete(head, need as u32);
        true
    }

    /// Writes one frame in whatever way it takes, or refuses it and leaves the buffers for the next.
    #[inline(never)]
    fn write_otherwise(&mut self, outgoing: &Outgoing<'_>) -> Result<Result<(), DropReason>, PortFault> {
        match net_header::handing(outgoing.offload.into(), outgoing.headers, self.features) {
            Handing::Whole(header) => self.write(outgoing.frame, header),
            other => self.write_changed(outgoing, other),
        }
    }

    /// Writes one frame under a header, or refuses it and leaves the buffers for the next.
    fn write(&mut self, frame: &[u8], header: NetHeader) -> Result<Result<(), DropReason>, PortFault> {
        if self.write_plain(frame, header) { Ok(Ok(())) } else { self.write_spread(frame, header) }
    }

    /// The general case: several buffers, buffers in pieces, and all refusals.
    #[cold]
    #[inline(never)]
    fn write_spread(&mut self, frame: &[u8], header: NetHeader) -> Result<Result<(), DropReason>, PortFault> {
        let buffers = match self.reserve((self.header_len + frame.len()) as u64)? {
            Ok(buffers) => buffers,
            Err(reason) => return Ok(Err(reason)),
        };
        let header = header.with_buffers(buffers as u16).bytes();
        let (mut header, mut frame) = (&header[..self.header_len], frame);
        for _ in 0..buffers {
            let buffer = self.posted[self.cursor];
            self.cursor += 1;
            let whole = [Segment { at: buffer.at, len: buffer.capacity }];
            let pieces = if buffer.at.is_null() {
                let start = buffer.pieces_start as usize;
                &self.pieces[start..start + buffer.pieces_count as usize]
            } else {
                &whole
            };
            let before = header.len() + frame.len();
            scatter(pieces, &mut header, &mut frame);
            self.ring.complete(buffer.head, (before - header.len() - frame.len()) as u32);
        }
        Ok(Ok(()))
    }

    /// How many buffers, from the cursor on, hold `need` bytes.
    fn reserve(&mut self, need: u64) -> Result<Result<usize, DropReason>, PortFault> {
        let most = if self.features.has(Features::MRG_RXBUF) { BUFFERS_PER_FRAME_MAX } else { 1 };
        let mut room = 0;
        for count in 1..=most {
            if self.read_ahead(count)? < count {
                return Ok(Err(DropReason::ReceiveBuffers));
            }
            room += u64::from(self.posted[self.cursor + count - 1].capacity);
            if room >= need {
                return Ok(Ok(count));
            }
        }
        Ok(Err(DropReason::TooBig))
    }

    /// Writes a frame that must be changed first, because the receiver did not negotiate what is left to be done to it.
    #[cold]
    #[inline(never)]
    fn write_changed(
        &mut self,
        outgoing: &Outgoing<'_>,
        handing: Handing,
    ) -> Result<Result<(), DropReason>, PortFault> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let written = match handing {
            Handing::CompleteChecksum if outgoing.frame.len() <= scratch.len() => {
                let copy = &mut scratch[..outgoing.frame.len()];
                access::copy_private(outgoing.frame, copy);
                checksum::complete_transport_checksum(copy, outgoing.headers);
                self.write(copy, self.complete_header(outgoing.headers))
            }
            Handing::Segment(size) => self.write_segments(outgoing, size, &mut scratch),
            Handing::CompleteChecksum | Handing::Whole(_) | Handing::Not => Ok(Err(DropReason::TooBig)),
        };
        self.scratch = scratch;
        written
    }

    fn complete_header(&self, headers: &Headers) -> NetHeader {
        match net_header::handing(Offload::None, headers, self.features) {
            Handing::Whole(header) => header,
            Handing::CompleteChecksum | Handing::Segment(_) | Handing::Not => NetHeader::default(),
        }
    }

    /// Writes a super-segment as the frames that it stands for: all of them, or none.
    fn write_segments(
        &mut self,
        outgoing: &Outgoing<'_>,
        size: u16,
        scratch: &mut [u8],
    ) -> Result<Result<(), DropReason>, PortFault> {
        let Ok(mut segments) = Segments::new(outgoing.frame, outgoing.headers, size) else {
            return Ok(Err(DropReason::TooBig));
        };
        let header = self.complete_header(outgoing.headers);
        let (cursor, mark) = (self.cursor, self.ring.mark());
        for _ in 0..SEGMENTS_PER_FRAME_MAX {
            let written = match segments.write_next(scratch) {
                Ok(Some(len)) => self.write(&scratch[..len], header)?,
                Ok(None) => return Ok(Ok(())),
                Err(_) => Err(DropReason::TooBig),
            };
            if let Err(reason) = written {
                self.cursor = cursor;
                self.ring.roll_back(mark);
                return Ok(Err(reason));
            }
        }
        Ok(Ok(()))
    }

    /// Forgets the buffers that the burst used up.
    #[inline(always)]
    fn forget_used(&mut self) {
        if !self.pieces.is_empty() {
            self.forget_pieces();
        }
        if self.cursor == self.posted.len() {
            self.posted.clear();
        } else {
            self.posted.drain(..self.cursor);
        }
        self.cursor = 0;
    }

    #[cold]
    fn forget_pieces(&mut self) {
        let kept = &mut self.posted[self.cursor..];
        let first = kept.iter().filter(|b| b.at.is_null()).map(|b| b.pieces_start).min();
        let gone = first.unwrap_or(self.pieces.len() as u32);
        self.pieces.drain(..gone as usize);
        for buffer in kept.iter_mut().filter(|b| b.at.is_null()) {
            buffer.pieces_start -= gone;
        }
    }
}

/// Copies the header and then the frame into the pieces of one buffer, as far as they reach; both are advanced.
fn scatter<'a>(pieces: &[Segment], header: &mut &'a [u8], frame: &mut &'a [u8]) {
    for piece in pieces {
        let mut at = piece.at;
        let mut room = piece.len as usize;
        for source in [&mut *header, &mut *frame] {
            let (now, later) = source.split_at(source.len().min(room));
            // SAFETY: the walk located the piece with all its bytes, of which `room` are left from `at` on.
            unsafe { access::copy_out(now, at) };
            at = at.wrapping_add(now.len());
            room -= now.len();
            *source = later;
        }
    }
}
