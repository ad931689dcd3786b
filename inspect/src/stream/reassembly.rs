//! One direction of a TCP connection as the bytes that its receiver will read.
//!
//! Theory of operation: segments are forwarded as they come; nothing is held back. What makes that safe is that a receiver's
//! application cannot read a byte before every byte in front of it has arrived. So bytes are inspected when they become
//! readable: those of a segment that continues the stream where they lie, without a copy, and behind them whatever had
//! waited for the gap to close. If inspection refuses that segment, what waits behind the gap stays unreadable. A segment
//! behind a gap is copied, queued and forwarded.
//!
//! ```text
//!        acknowledged        next
//!  ...........|################|         ====      ==
//!   forgotten      unacked           gap    queued
//! ```
//!
//! Every byte is inspected once, so it matters that the receiver reads the very byte that was inspected: the first one
//! (attack N06). Therefore a copy is kept of what was inspected until the receiver has acknowledged it. A segment that
//! brings other bytes for a position that has been inspected or queued dooms the flow: no sound sender does that.
//! Acknowledged positions are not compared, since their receiver discards whatever comes for them (some stacks send
//! keep-alives with a meaningless byte). Keeping copies rather than hashes costs as much time (each byte is touched once)
//! and answers for any bounds of the repeated segment, which hashes of chunks do not: a super-segment is repeated in
//! pieces.
//!
//! All memory has limits, and at each the segment is dropped, not the flow: TCP sends it again, slower. Bytes behind gaps
//! are limited apart from unacknowledged ones, else the queues of many streams could take the room that the segments need
//! that would close their gaps.
//!
//! The caller passes only segments that [`super::TcpState`] let through: those lie within their receiver's window.

use std::collections::{BTreeMap, VecDeque};

use super::memory::{StreamBytes, StreamMemory};
use crate::causes::causes;

/// What a queued segment is charged beside its bytes: its entry in the queue and the allocator's.
const QUEUED_OVERHEAD: usize = 64;

/// Position of a byte in its direction of the connection: 0 is the first byte behind the SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamOffset(pub u64);

causes! {
    /// Why a segment was refused. Refused segments change nothing.
    StreamRefused {
        Overlap "overlap" "It brings other bytes for a position that was already inspected or queued."
        EndMoved "end_moved" "It contradicts the position of the stream's end."
        Memory "memory" "A limit on stream memory is reached; the segment may be sent again later."
    }
}

impl StreamRefused {
    /// Whether the flow must be refused from here on, not only this segment.
    pub fn is_fatal(self) -> bool {
        match self {
            StreamRefused::Overlap | StreamRefused::EndMoved => true,
            StreamRefused::Memory => false,
        }
    }
}

/// What a segment did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The stream went on by this many bytes, all given to the consumer; 0 for repetitions and for segments without data.
    Delivered(u64),
    /// The segment waits behind a gap.
    Queued,
}

/// One direction of one connection. Ends with [`Stream::release`]: dropping it otherwise leaves its bytes counted.
#[derive(Debug)]
pub struct Stream {
    domain: u32,
    /// Sequence number and position of the next byte to be delivered.
    next_seq: u32,
    next: u64,
    /// Position behind the last byte, once a FIN told it.
    end: Option<u64>,
    /// The delivered bytes that end at `next`, from the first unacknowledged one.
    unacked: VecDeque<u8>,
    /// What waits behind gaps, by position; neither overlapping nor touching `next`.
    queue: BTreeMap<u64, Vec<u8>>,
    queued_len: usize,
    /// Position before which the receiver says it has read all, where that is beyond `next`.
    acked_ahead: u64,
}

impl Stream {
    /// A stream whose first data byte will have sequence number `first_seq` (the SYN's plus one). `domain` names who
    /// pays for its memory.
    pub fn new(domain: u32, first_seq: u32) -> Self {
        Self {
            domain,
            next_seq: first_seq,
            next: 0,
            end: None,
            unacked: VecDeque::new(),
            queue: BTreeMap::new(),
            queued_len: 0,
            acked_ahead: 0,
        }
    }

    /// Position of the next byte to be delivered: how many bytes were delivered so far.
    pub fn next_offset(&self) -> StreamOffset {
        StreamOffset(self.next)
    }

    /// Whether every byte up to the FIN has been delivered.
    pub fn is_finished(&self) -> bool {
        self.end == Some(self.next)
    }

    /// Whether bytes wait behind a gap.
    pub fn has_gap(&self) -> bool {
        !self.queue.is_empty()
    }

    /// What this stream holds.
    pub fn held(&self) -> StreamBytes {
        StreamBytes { unacked: self.unacked.len(), queued: self.queued_len }
    }

    /// Takes a segment whose first data byte has sequence number `seq` (one more than a SYN's own). Bytes that become
    /// readable are given to `consume` in order, each once, in one or more slices. If what was consumed is to be
    /// refused, the flow must be: the segment's repetition would deliver nothing and pass.
    ///
    /// # Errors
    /// Why the segment must not be forwarded. Nothing was consumed and the stream is unchanged.
    pub fn on_segment(
        &mut self,
        seq: u32,
        payload: &[u8],
        has_fin: bool,
        memory: &mut StreamMemory,
        mut consume: impl FnMut(StreamOffset, &[u8]),
    ) -> Result<Progress, StreamRefused> {
        // Nearly every segment: it continues a stream without gaps.
        if seq == self.next_seq && self.queue.is_empty() && self.end.is_none() && !has_fin {
            return self.deliver(payload, memory, &mut consume);
        }
        // An acknowledgement brings nothing, wherever it stands: behind a FIN it stands one past the stream's end.
        if payload.is_empty() && !has_fin {
            return Ok(Progress::Delivered(0));
        }
        let start = self.position(seq);
        let end = start + payload.len() as i64;
        self.check_end(end, has_fin)?;
        let (start, fresh) = self.check_repeated(start, payload)?;
        self.check_queued(start, fresh)?;
        let progress = if fresh.is_empty() {
            Progress::Delivered(0)
        } else if start > self.next {
            self.enqueue(start, fresh, memory)?
        } else {
            self.deliver(fresh, memory, &mut consume)?
        };
        if has_fin {
            self.end = u64::try_from(end).ok();
        }
        Ok(progress)
    }

    /// Forgets what the receiver has acknowledged: `ack` is the highest acknowledgement seen in the other direction.
    pub fn acknowledge(&mut self, ack: u32, memory: &mut StreamMemory) {
        self.acked_ahead = self.acked_ahead.max(u64::try_from(self.position(ack)).unwrap_or(0));
        // What was never delivered cannot be forgotten, whatever the receiver says; nor is a FIN a byte.
        let unacked = self.next.saturating_sub(u64::try_from(self.position(ack)).unwrap_or(0)) as usize;
        let acked = self.unacked.len().saturating_sub(unacked);
        if acked == 0 {
            return;
        }
        memory.give_back(self.domain, StreamBytes { unacked: acked, queued: 0 });
        if acked == self.unacked.len() {
            // An idle connection keeps no buffer.
            memory.keep(std::mem::take(&mut self.unacked));
        } else {
            self.unacked.drain(..acked);
        }
    }

    /// How many bytes are missing at the end of what was delivered that the receiver says it has: such as a capture lacks. A
    /// segment that is at hand and starts at `seq` ends the hole.
    pub fn hole(&self, seq: u32) -> u64 {
        let at_hand = u64::try_from(self.position(seq)).unwrap_or(0).max(self.next);
        let queued = self.queue.first_key_value().map_or(u64::MAX, |(start, _)| *start);
        let until = self.acked_ahead.min(self.end.unwrap_or(u64::MAX)).min(at_hand).min(queued);
        until.saturating_sub(self.next)
    }

    /// Passes over a hole and gives what waited behind it to `consume`. Only for who watches a capture: whoever forwards what
    /// was not seen has missed it.
    ///
    /// # Errors
    /// There is no memory for what waited; the hole is passed over all the same.
    pub fn skip(
        &mut self,
        length: u64,
        memory: &mut StreamMemory,
        mut consume: impl FnMut(StreamOffset, &[u8]),
    ) -> Result<Progress, StreamRefused> {
        memory.give_back(self.domain, StreamBytes { unacked: self.unacked.len(), queued: 0 });
        self.unacked.clear();
        self.next += length;
        self.next_seq = self.next_seq.wrapping_add(length as u32);
        self.deliver(&[], memory, &mut consume)
    }

    /// Gives back all memory: the connection is over, or no longer inspected.
    pub fn release(self, memory: &mut StreamMemory) {
        memory.give_back(self.domain, self.held());
        memory.keep(self.unacked);
    }

    /// Position of a sequence number near `next`; negative for what came before the first byte.
    fn position(&self, seq: u32) -> i64 {
        self.next as i64 + i64::from(seq.wrapping_sub(self.next_seq) as i32)
    }

    /// Checks a segment's end against the end that a FIN told, or tells.
    fn check_end(&self, end: i64, has_fin: bool) -> Result<(), StreamRefused> {
        let is_moved = match self.end {
            Some(known) => end > known as i64 || (has_fin && end != known as i64),
            None => {
                let seen = self.queue.last_key_value().map_or(self.next, |(start, bytes)| start + bytes.len() as u64);
                has_fin && end < seen as i64
            }
        };
        if is_moved { Err(StreamRefused::EndMoved) } else { Ok(()) }
    }

    /// Cuts off what was delivered before, compares it as far as it is unacknowledged, and answers the rest with its
    /// position.
    fn check_repeated<'a>(&self, start: i64, payload: &'a [u8]) -> Result<(u64, &'a [u8]), StreamRefused> {
        let acked = self.next - self.unacked.len() as u64;
        let skipped = (acked as i64 - start).clamp(0, payload.len() as i64) as usize;
        let payload = &payload[skipped..];
        // Empty payloads may still lie before what is acknowledged.
        let start = u64::try_from(start + skipped as i64).unwrap_or(0).max(acked);
        let repeated = payload.len().min(self.next.saturating_sub(start) as usize);
        if repeated == 0 {
            return Ok((start, payload));
        }
        let from = (start - acked) as usize;
        let (front, back) = self.unacked.as_slices();
        let in_front = front.get(from..).unwrap_or_default();
        let (first, second) = payload[..repeated].split_at(repeated.min(in_front.len()));
        let back_from = from.saturating_sub(front.len());
        if in_front[..first.len()] != *first || back[back_from..back_from + second.len()] != *second {
            return Err(StreamRefused::Overlap);
        }
        Ok((start + repeated as u64, &payload[repeated..]))
    }

    /// Compares a payload with what is queued for its positions.
    fn check_queued(&self, start: u64, payload: &[u8]) -> Result<(), StreamRefused> {
        let end = start + payload.len() as u64;
        for (held_start, held) in self.queue_from(start) {
            if *held_start >= end {
                break;
            }
            let (from, to) = (start.max(*held_start), end.min(*held_start + held.len() as u64));
            if from < to {
                let new = &payload[(from - start) as usize..(to - start) as usize];
                if *new != held[(from - held_start) as usize..(to - held_start) as usize] {
                    return Err(StreamRefused::Overlap);
                }
            }
        }
        Ok(())
    }

    /// What is queued, from the last entry that starts at or before `start` on.
    fn queue_from(&self, start: u64) -> impl Iterator<Item = (&u64, &Vec<u8>)> {
        let first = self.queue.range(..=start).next_back().map_or(start, |(held_start, _)| *held_start);
        self.queue.range(first..)
    }

    /// Queues those parts of a payload that are not queued yet; overlaps were compared before.
    fn enqueue(&mut self, start: u64, payload: &[u8], memory: &mut StreamMemory) -> Result<Progress, StreamRefused> {
        let end = start + payload.len() as u64;
        let mut missing = Vec::new();
        let mut at = start;
        for (held_start, held) in self.queue_from(start) {
            let held_end = held_start + held.len() as u64;
            if *held_start >= end {
                break;
            }
            if *held_start > at {
                missing.push(at..*held_start);
            }
            at = at.max(held_end);
        }
        if at < end {
            missing.push(at..end);
        }
        let cost = missing.iter().map(|part| (part.end - part.start) as usize + QUEUED_OVERHEAD).sum();
        if cost > 0 && !memory.take(self.domain, self.held(), StreamBytes { unacked: 0, queued: cost }) {
            return Err(StreamRefused::Memory);
        }
        self.queued_len += cost;
        for part in missing {
            let bytes = &payload[(part.start - start) as usize..(part.end - start) as usize];
            self.queue.insert(part.start, bytes.to_vec());
        }
        Ok(Progress::Queued)
    }

    /// Delivers a payload that starts at `next`, and what is queued right behind it.
    fn deliver(
        &mut self,
        payload: &[u8],
        memory: &mut StreamMemory,
        consume: &mut impl FnMut(StreamOffset, &[u8]),
    ) -> Result<Progress, StreamRefused> {
        let before = self.next;
        let len = payload.len() + self.queued_behind(before + payload.len() as u64);
        if len == 0 {
            return Ok(Progress::Delivered(0));
        }
        if !memory.take(self.domain, self.held(), StreamBytes { unacked: len, queued: 0 }) {
            return Err(StreamRefused::Memory);
        }
        if self.unacked.capacity() == 0 {
            self.unacked = memory.buffer();
        }
        self.advance(payload, consume);
        while let Some(entry) = self.queue.first_entry().filter(|entry| *entry.key() <= self.next) {
            let (start, bytes) = entry.remove_entry();
            let cost = bytes.len() + QUEUED_OVERHEAD;
            self.queued_len -= cost;
            memory.give_back(self.domain, StreamBytes { unacked: 0, queued: cost });
            // What the payload covered is not delivered twice.
            let known = ((self.next - start) as usize).min(bytes.len());
            self.advance(&bytes[known..], consume);
        }
        Ok(Progress::Delivered(self.next - before))
    }

    fn advance(&mut self, bytes: &[u8], consume: &mut impl FnMut(StreamOffset, &[u8])) {
        if bytes.is_empty() {
            return;
        }
        consume(StreamOffset(self.next), bytes);
        self.unacked.extend(bytes);
        self.next += bytes.len() as u64;
        self.next_seq = self.next_seq.wrapping_add(bytes.len() as u32);
    }

    /// How many queued bytes become readable once everything before `at` is.
    fn queued_behind(&self, mut at: u64) -> usize {
        let from = at;
        for (start, bytes) in &self.queue {
            if *start > at {
                break;
            }
            at = at.max(start + bytes.len() as u64);
        }
        (at - from) as usize
    }
}
