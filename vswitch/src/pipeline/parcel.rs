//! Frames that change workers, and what becomes of them there.
//!
//! # Theory of operation
//!
//! With several workers, the frames of a flow come by whatever queue their guest puts them in, but one worker owns the flow and
//! judges all its frames, both ways (see [`Egress::owner`]). The worker that received a frame walks it up to the flow's key;
//! if another one owns the flow, the frame goes there in a [`Parcel`]: private bytes, parsed headers, key, and both ports. The
//! owner judges it. If the egress queue belongs to a third worker, the cleared frame goes on in another parcel, as
//! [`ClearedFrames`], into which nothing gets that inspection has not cleared.
//!
//! A frame is judged by one generation, the owner's: where that is another one than the frame was received under, port security
//! and egress look-up are asked again before policy is. Only what has a flow is handed over; address resolution and the like
//! are judged where they entered.

use std::ops::Range;

use inspect::fragments::Whole;
use inspect::wire::{Headers, Packet};

use super::decide::{Keyed, Subject};
use super::egress::{self, Route};
use super::{DropDetail, Pipeline, Turn};
use crate::drop_reason::DropReason;
use crate::forward::{Egress, Outbound};
use crate::frame::{BURST_MAX, OffloadWord, PortId};
use crate::inspection::{Candidate, Cleared, ClearedFrames};
use crate::memory::access;

/// Bytes from which on a parcel is full: a super-segment, or a burst of ordinary frames.
const BYTES_MAX: usize = 65_536;

/// A frame that waits for its verdict.
#[derive(Debug)]
struct Waiting {
    ingress: PortId,
    egress: PortId,
    /// Number of the generation that let it so far.
    generation: u32,
    keyed: Keyed,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// A frame in the parcel's bytes.
    Frame { start: u32, len: u32, headers: Headers, offload: OffloadWord },
    /// A datagram that came in fragments.
    Whole(Box<(Whole, Headers)>),
}

impl Waiting {
    fn frame_count(&self) -> u64 {
        match &self.content {
            Content::Frame { .. } => 1,
            Content::Whole(whole) => whole.0.fragments.len() as u64,
        }
    }
}

/// Where a cleared frame came from and leaves.
#[derive(Clone, Copy, Debug)]
struct Destined {
    ingress: PortId,
    egress: PortId,
    hash: u64,
}

/// Up to a burst of frames on the way from one worker to another. Used again and again: what it allocates, it keeps.
#[derive(Debug, Default)]
pub struct Parcel {
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
    cleared: ClearedFrames,
    destined: Vec<Destined>,
    weight: usize,
}

impl Parcel {
    /// Whether it must be sent off before more goes in.
    pub fn is_full(&self) -> bool {
        self.waiting.len() + self.cleared.len() >= BURST_MAX || self.weight >= BYTES_MAX
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.cleared.is_empty()
    }

    /// Forgets its frames.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.waiting.clear();
        self.cleared.clear();
        self.destined.clear();
        self.weight = 0;
    }

    /// The newest generation that any of its frames was received under; 0 if none waits for a verdict.
    pub fn newest_generation(&self) -> u32 {
        self.waiting.iter().map(|waiting| waiting.generation).max().unwrap_or(0)
    }

    /// The frames from place `from` on that wait for a verdict and came by one port, and that port.
    pub fn waiting_run(&self, from: usize) -> Option<(PortId, Range<usize>)> {
        let ingress = self.waiting.get(from)?.ingress;
        let same = self.waiting[from..].iter().take(BURST_MAX).take_while(|waiting| waiting.ingress == ingress);
        Some((ingress, from..from + same.count()))
    }

    /// The frames from place `from` on that are cleared and came by one port, and that port.
    pub fn cleared_run(&self, from: usize) -> Option<(PortId, Range<usize>)> {
        let ingress = self.destined.get(from)?.ingress;
        let same = self.destined[from..].iter().take(BURST_MAX).take_while(|destined| destined.ingress == ingress);
        Some((ingress, from..from + same.count()))
    }

    fn wait(&mut self, turn: &Turn<'_>, egress: PortId, keyed: &Keyed, content: Content) {
        let (ingress, generation) = (turn.ingress, turn.generation.number);
        self.waiting.push(Waiting { ingress, egress, generation, keyed: *keyed, content });
    }

    fn put_frame(&mut self, turn: &Turn<'_>, egress: PortId, keyed: &Keyed, candidate: &Candidate<'_>) {
        let &Candidate { frame, headers, offload } = candidate;
        let start = self.bytes.len() as u32;
        access::append_private(&mut self.bytes, frame);
        self.weight += frame.len();
        self.wait(turn, egress, keyed, Content::Frame { start, len: frame.len() as u32, headers: *headers, offload });
    }

    fn put_whole(&mut self, turn: &Turn<'_>, egress: PortId, keyed: &Keyed, whole: &Whole, headers: &Headers) {
        self.weight += whole.frame.len() * 2;
        self.wait(turn, egress, keyed, Content::Whole(Box::new((whole.clone(), *headers))));
    }

    fn put_cleared(&mut self, turn: &Turn<'_>, egress: PortId, hash: u64, cleared: &Cleared<'_>) {
        self.weight += cleared.frame().len();
        self.cleared.push(cleared);
        self.destined.push(Destined { ingress: turn.ingress, egress, hash });
    }
}

/// The worker that judges what `keyed` stands for, where that is another one.
#[inline(always)]
pub(super) fn judge_elsewhere<E: Egress>(keyed: &Keyed, egress: &E) -> Option<usize> {
    if !E::IS_SHARED {
        return None;
    }
    match keyed.subject {
        Subject::Flow { .. } | Subject::Error => egress.owner(keyed.hash),
        Subject::Resolution | Subject::ErrorAboutNothing | Subject::Fragment => None,
    }
}

impl Pipeline {
    /// Hands an item to the worker that owns its flow.
    pub(super) fn hand_over<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        (worker, port): (usize, PortId),
        keyed: &Keyed,
        candidate: &Candidate<'_>,
        egress: &mut E,
    ) {
        match egress.parcel(worker) {
            Some(parcel) => {
                parcel.put_frame(turn, port, keyed, candidate);
                self.moved_on(1);
            }
            None => self.overload(turn, port, &candidate.packet()),
        }
    }

    /// Hands a datagram that came in fragments to the worker that owns its flow.
    #[cold]
    pub(super) fn hand_over_whole<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        (worker, port): (usize, PortId),
        keyed: &Keyed,
        (whole, headers): (&Whole, &Headers),
        egress: &mut E,
    ) {
        match egress.parcel(worker) {
            Some(parcel) => {
                parcel.put_whole(turn, port, keyed, whole, headers);
                self.moved_on(whole.fragments.len() as u64);
            }
            None => {
                self.counters.parcels_missed.add(whole.fragments.len() as u64);
                self.end_all(turn, Some(port), whole, DropReason::WorkerOverload, DropDetail::default());
            }
        }
    }

    /// Passes a cleared frame on to the worker that has the egress queue.
    pub(super) fn pass_on<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        (worker, port): (usize, PortId),
        hash: u64,
        cleared: &Cleared<'_>,
        egress: &mut E,
    ) {
        self.counters.cleared.add(1);
        match egress.parcel(worker) {
            Some(parcel) => {
                parcel.put_cleared(turn, port, hash, cleared);
                self.moved_on(1);
            }
            None => self.overload(turn, port, &Packet::new(cleared.frame(), *cleared.headers())),
        }
    }

    /// Frames whose books are closed by another worker.
    fn moved_on(&mut self, frames: u64) {
        self.ended += frames;
        self.counters.handed_over.add(frames);
    }

    #[cold]
    fn overload(&mut self, turn: &Turn<'_>, port: PortId, packet: &Packet<'_>) {
        self.counters.parcels_missed.add(1);
        self.end(turn, Some(port), packet, DropReason::WorkerOverload, DropDetail::default());
    }

    /// Judges frames of a parcel, those of a [`Parcel::waiting_run`]; `turn` is about the port of the run.
    pub fn judge_handed<E: Egress>(&mut self, turn: &Turn<'_>, parcel: &Parcel, run: Range<usize>, egress: &mut E) {
        let run = &parcel.waiting[run];
        self.inspection.inspector().judge_files_by(turn.generation.file_checks.as_ref());
        self.entered = run.iter().map(Waiting::frame_count).sum();
        self.ended = 0;
        let is_quarantined = self.is_quarantined(turn);
        let is_large = self.flows.is_large();
        for waiting in run {
            self.flows.prefetch(waiting.keyed.hash, is_large);
        }
        let mut outbound = Outbound::default();
        let around = self.around(turn);
        for Waiting { egress: port, generation, keyed, content, .. } in run {
            let is_current = *generation == turn.generation.number;
            let let_again = |pipeline: &mut Self, packet: &Packet<'_>| match is_quarantined {
                true => Err(DropReason::Quarantined),
                false => pipeline.let_again(turn, *port, packet, is_current),
            };
            match content {
                Content::Frame { start, len, headers, offload } => {
                    let frame = &parcel.bytes[*start as usize..(*start + *len) as usize];
                    let candidate = Candidate { frame, headers, offload: *offload };
                    match let_again(self, &candidate.packet()) {
                        Ok(()) => {
                            let candidate = || candidate;
                            self.judge_one::<E, false>(turn, &around, *port, keyed, candidate, &mut outbound, egress);
                        }
                        Err(reason) => {
                            self.end(turn, Some(*port), &candidate.packet(), reason, DropDetail::default());
                        }
                    }
                }
                Content::Whole(whole) => {
                    // Earlier frames of the flow leave first.
                    self.leave(turn, &std::mem::take(&mut outbound), egress);
                    let (whole, headers) = &**whole;
                    match let_again(self, &Packet::new(&whole.frame, *headers)) {
                        Ok(()) => self.judge_whole(turn, (*port, keyed), whole, headers, egress),
                        Err(reason) => self.end_all(turn, Some(*port), whole, reason, DropDetail::default()),
                    }
                }
            }
        }
        self.leave(turn, &outbound, egress);
        if self.journal.has_news() {
            self.report_ended(turn);
        }
        debug_assert_eq!(self.entered, self.ended);
    }

    /// Asks port security and egress look-up about a frame again, if another generation has let it.
    fn let_again(
        &mut self,
        turn: &Turn<'_>,
        port: PortId,
        packet: &Packet<'_>,
        is_current: bool,
    ) -> Result<(), DropReason> {
        if is_current {
            return Ok(());
        }
        let ingress = turn.generation.port(turn.ingress).ok_or(DropReason::PortDown)?;
        self.secure(turn, ingress, packet)?;
        let is_routed = match egress::route(turn, packet, &mut self.learned_cache, &self.learned, &mut self.storm) {
            Route::One(one) => one == port,
            Route::Flood(kind) => egress::is_flooded(turn, kind, port),
            Route::Nowhere(reason) => return Err(reason),
        };
        if is_routed { Ok(()) } else { Err(DropReason::NoEgress) }
    }

    /// Sends out cleared frames of a parcel, those of a [`Parcel::cleared_run`]; `turn` is about the port of the run.
    pub fn deliver_handed<E: Egress>(&mut self, turn: &Turn<'_>, parcel: &Parcel, run: Range<usize>, egress: &mut E) {
        self.entered = run.len() as u64;
        self.ended = 0;
        let mut outbound = Outbound::default();
        for at in run {
            let (Some(cleared), destined) = (parcel.cleared.at(at), parcel.destined[at]) else { continue };
            match egress.queue(destined.egress, destined.hash).filter(|queue| queue.worker().is_none()) {
                Some(queue) => outbound.push(cleared, destined.egress, queue),
                None => {
                    let packet = Packet::new(cleared.frame(), *cleared.headers());
                    self.end(turn, Some(destined.egress), &packet, DropReason::PortDown, DropDetail::default());
                }
            }
        }
        self.send(turn, &outbound, egress);
        debug_assert_eq!(self.entered, self.ended);
    }
}
