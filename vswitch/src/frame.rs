//! Frames that are ours: private bytes, copied out of a guest's memory once, before anything looks at them.
//!
//! A [`Batch`] holds one burst from one queue. Its arena is packed (each frame starts on a cache line, right behind the one
//! before it) because equal strides would fall into the same few sets of the first-level cache.

use arrayvec::ArrayVec;
use inspect::wire::FrameSum;

pub use zones::PortId;

use crate::drop_reason::DropReason;

/// Frames in one burst at most. Larger bursts gain nothing (measured), and cost latency.
pub const BURST_MAX: usize = 32;

/// Length of the longest frame let in, in bytes: an Ethernet header and the largest IP datagram (a TCP super-segment).
pub const FRAME_LEN_MAX: usize = 14 + 65_535;

/// Length of the shortest frame let in, in bytes: an Ethernet header.
pub const FRAME_LEN_MIN: usize = 14;

/// Bytes in a batch's arena: four super-segments, or a burst of frames of 8 KiB.
const ARENA_LEN: usize = (4 * (FRAME_LEN_MAX + LINE)).next_multiple_of(LINE);
const LINE: usize = 64;

/// What a sender's virtio-net header claims about a frame (virtio 1.2 section 5.1.6.2), read but not yet believed: the
/// pipeline holds it against its own parse of the frame. All zero for a frame that claims nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimedOffload {
    /// `VIRTIO_NET_HDR_F_*`.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Payload bytes per segment.
    pub gso_size: u16,
    /// Where checksumming starts, in bytes from the frame's start.
    pub csum_start: u16,
    /// Where the checksum goes, in bytes from `csum_start`.
    pub csum_offset: u16,
}

impl ClaimedOffload {
    /// Whether the header claims nothing at all.
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What a frame needs done by whoever sends it on, after it was held against the parsed frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: the frame is complete.
    #[default]
    None,
    /// The transport checksum holds only the pseudo header's sum, and must be completed by a receiver that cares.
    Checksum,
    /// A TCP super-segment, to be cut into segments of `size` payload bytes; its checksum is partial too.
    Segments {
        /// Payload bytes per segment, at least 1.
        size: u16,
        /// Whether CWR is set on the first segment only (RFC 3168, `VIRTIO_NET_HDR_GSO_ECN`).
        ecn: bool,
    },
}

/// An [`Offload`] as one word, as it goes through the walk: an enum is written in pieces, and what was just written in pieces
/// is slow to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadWord(u32);

impl OffloadWord {
    /// Nothing is left to be done.
    pub const NONE: Self = Self(0);
    const CHECKSUM: u32 = 1;
    const SEGMENTS: u32 = 2;
    const ECN: u32 = 1 << 8;
}

impl From<Offload> for OffloadWord {
    #[inline(always)]
    fn from(offload: Offload) -> Self {
        match offload {
            Offload::None => Self::NONE,
            Offload::Checksum => Self(Self::CHECKSUM),
            Offload::Segments { size, ecn } => {
                Self(Self::SEGMENTS | if ecn { Self::ECN } else { 0 } | u32::from(size) << 16)
            }
        }
    }
}

impl From<OffloadWord> for Offload {
    #[inline(always)]
    fn from(word: OffloadWord) -> Self {
        match word.0 & 0xff {
            0 => Self::None,
            OffloadWord::CHECKSUM => Self::Checksum,
            _ => Self::Segments { size: (word.0 >> 16) as u16, ecn: word.0 & OffloadWord::ECN != 0 },
        }
    }
}

/// Where a frame is in the arena, and its sum, which means nothing if it was not taken.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    len: u32,
    sum: FrameSum,
}

impl Slot {
    /// To be written over.
    const NONE: Self = Self { start: 0, len: 0, sum: FrameSum(0) };
}

/// What a burst's frames claim, where any of them does; usually none, and then nothing is written.
#[derive(Debug)]
struct Claims {
    is_any: bool,
    frames: [ClaimedOffload; BURST_MAX],
}

impl Claims {
    #[inline(always)]
    fn note(&mut self, index: usize, claimed: ClaimedOffload) {
        if !claimed.is_none() && !self.is_any {
            *self = Self { is_any: true, frames: [ClaimedOffload::default(); BURST_MAX] };
        }
        if self.is_any {
            self.frames[index % BURST_MAX] = claimed;
        }
    }

    #[inline(always)]
    fn of(&self, index: usize) -> ClaimedOffload {
        if self.is_any { self.frames[index] } else { ClaimedOffload::default() }
    }
}

/// One burst of frames from one queue, in private memory.
#[derive(Debug)]
pub struct Batch {
    arena: Box<[u8]>,
    /// Where the arena's first cache line starts.
    first: usize,
    used: usize,
    frames_max: usize,
    len: usize,
    slots: [Slot; BURST_MAX],
    /// Which frames were summed up, as bits.
    summed: u32,
    claims: Claims,
    rejected: ArrayVec<(DropReason, u32), BURST_MAX>,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch with its arena.
    pub fn new() -> Self {
        let arena = vec![0; ARENA_LEN + LINE].into_boxed_slice();
        let first = arena.as_ptr().align_offset(LINE).min(LINE);
        Self {
            arena,
            first,
            used: first,
            frames_max: BURST_MAX,
            len: 0,
            slots: [Slot::NONE; BURST_MAX],
            summed: 0,
            claims: Claims { is_any: false, frames: [ClaimedOffload::default(); BURST_MAX] },
            rejected: ArrayVec::new(),
        }
    }

    /// Forgets all frames, and has room for a whole burst.
    pub fn clear(&mut self) {
        self.clear_for(BURST_MAX);
    }

    /// Forgets all frames, and has room for so many, but never more than [`BURST_MAX`].
    pub fn clear_for(&mut self, frames_max: usize) {
        self.frames_max = frames_max.min(BURST_MAX);
        self.used = self.first;
        self.len = 0;
        self.summed = 0;
        self.claims.is_any = false;
        self.rejected.clear();
    }

    /// Frames held.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no frame is held.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many more frames may be pushed or rejected, as far as their number goes.
    pub fn room(&self) -> usize {
        self.frames_max.saturating_sub(self.len + self.rejected.len())
    }

    /// How many more bytes of frames fit.
    pub fn bytes_room(&self) -> usize {
        self.arena.len().saturating_sub(self.used)
    }

    /// Private memory for a frame of `len` bytes, to be filled and then kept by [`Batch::push`] with the same `len`; `None`
    /// when the batch is full, in which case the frame stays where it is for the next burst. What the slice held before is
    /// undefined: the caller writes all of it.
    #[inline(always)]
    pub fn space(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.room() == 0 || len > FRAME_LEN_MAX {
            return None;
        }
        self.arena.get_mut(self.used..self.used + len)
    }

    /// Keeps the frame that was written to the last [`Batch::space`].
    ///
    /// # Panics
    /// When there was no room for it.
    #[inline(always)]
    pub fn push(&mut self, len: usize, claimed: ClaimedOffload) {
        self.push_summed(len, claimed, None);
    }

    /// As [`Batch::push`], for a frame that was summed up as it was written, if it was.
    ///
    /// # Panics
    /// As [`Batch::push`].
    #[inline(always)]
    pub fn push_summed(&mut self, len: usize, claimed: ClaimedOffload, sum: Option<FrameSum>) {
        debug_assert!((FRAME_LEN_MIN..=FRAME_LEN_MAX).contains(&len));
        assert!(self.used + len <= self.arena.len() && self.len < BURST_MAX);
        self.claims.note(self.len, claimed);
        self.slots[self.len] = Slot { start: self.used as u32, len: len as u32, sum: sum.unwrap_or(FrameSum(0)) };
        self.summed |= u32::from(sum.is_some()) << self.len;
        self.len += 1;
        self.used = (self.used + len).next_multiple_of(LINE);
    }

    /// As [`Batch::space`] and [`Batch::push_summed`] for one frame after the other, for less. `len` tells the length
    /// of an entry's frame, from [`FRAME_LEN_MIN`] to [`FRAME_LEN_MAX`]; `write` is given the entry's index, the entry,
    /// and the frame's memory, all of which it writes, and answers what the header claims and the frame's sum. Ends
    /// early when the batch is full; answers how many frames were kept.
    #[inline(always)]
    pub fn fill<T>(
        &mut self,
        entries: &[T],
        len: impl Fn(&T) -> usize,
        mut write: impl FnMut(usize, &T, &mut [u8]) -> (ClaimedOffload, Option<FrameSum>),
    ) -> usize {
        let first = self.len;
        let entries = &entries[..entries.len().min(self.room()).min(BURST_MAX - first)];
        // What changes with each frame stays in registers: for all that the compiler knows, the frame is written over
        // it.
        let (mut used, mut summed, mut count) = (self.used, self.summed, 0);
        let (arena, slots, claims): (&mut [u8], _, _) = (&mut self.arena, &mut self.slots, &mut self.claims);
        for entry in entries {
            let len = len(entry);
            debug_assert!((FRAME_LEN_MIN..=FRAME_LEN_MAX).contains(&len));
            let Some(space) = arena.get_mut(used..used + len) else { break };
            let (claimed, sum) = write(count, entry, space);
            let index = (first + count) % BURST_MAX;
            claims.note(index, claimed);
            slots[index] = Slot { start: used as u32, len: len as u32, sum: sum.unwrap_or(FrameSum(0)) };
            summed |= u32::from(sum.is_some()) << index;
            used = (used + len).next_multiple_of(LINE);
            count += 1;
        }
        (self.used, self.summed, self.len) = (used, summed, first + count);
        count
    }

    /// Copies a whole frame in; `false` when there is no room for it or it is longer than [`FRAME_LEN_MAX`].
    pub fn push_frame(&mut self, bytes: &[u8], claimed: ClaimedOffload) -> bool {
        match self.space(bytes.len()) {
            Some(space) => {
                space.copy_from_slice(bytes);
                self.push_summed(bytes.len(), claimed, Some(FrameSum::of(bytes)));
                true
            }
            None => false,
        }
    }

    /// Counts a frame that was taken from the queue but is refused before its bytes are looked at (too short, too long).
    /// Counts against [`Batch::room`].
    pub fn reject(&mut self, reason: DropReason, len: u32) {
        self.rejected.push((reason, len));
    }

    /// Frames refused while receiving, each with its length in bytes.
    pub fn rejected(&self) -> &[(DropReason, u32)] {
        &self.rejected
    }

    /// The bytes of frame `index`.
    #[inline(always)]
    pub fn frame(&self, index: usize) -> &[u8] {
        let slot = &self.slots[..self.len][index];
        &self.arena[slot.start as usize..(slot.start + slot.len) as usize]
    }

    /// The bytes of frame `index`, if there is one.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        (index < self.len).then(|| self.frame(index))
    }

    /// The frames from `index` on, each with its sum, where that was taken as it was written.
    #[inline(always)]
    pub fn frames_from(&self, index: usize) -> impl Iterator<Item = (&[u8], Option<FrameSum>)> {
        let (arena, mut summed): (&[u8], _) = (&self.arena, self.summed >> (index % BURST_MAX));
        self.slots[..self.len][index..].iter().map(move |slot| {
            let sum = (summed & 1 != 0).then_some(slot.sum);
            summed >>= 1;
            (&arena[slot.start as usize..(slot.start + slot.len) as usize], sum)
        })
    }

    /// Whether any frame's header claims anything.
    #[inline(always)]
    pub fn has_claims(&self) -> bool {
        self.claims.is_any
    }

    /// Bytes of all frames held.
    pub fn bytes(&self) -> u64 {
        self.slots[..self.len].iter().map(|slot| u64::from(slot.len)).sum()
    }

    /// The sum of frame `index`, where it was taken as the frame was written.
    #[inline(always)]
    pub fn sum(&self, index: usize) -> Option<FrameSum> {
        (self.summed >> (index % BURST_MAX) & 1 != 0).then_some(self.slots[index].sum)
    }

    /// What the sender's header claims about frame `index`.
    #[inline(always)]
    pub fn claimed(&self, index: usize) -> ClaimedOffload {
        self.claims.of(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offload_is_the_same_as_a_word() {
        let segments =
            [1, 0x1234, u16::MAX].into_iter().flat_map(|size| [false, true].map(|ecn| Offload::Segments { size, ecn }));
        for offload in [Offload::None, Offload::Checksum].into_iter().chain(segments) {
            assert_eq!(Offload::from(OffloadWord::from(offload)), offload);
        }
        assert_eq!(OffloadWord::from(Offload::None), OffloadWord::NONE);
    }
}
