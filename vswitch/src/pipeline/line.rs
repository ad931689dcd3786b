//! Stages 1 and 2 for a burst: which of its frames go on, by which ports, and what they are to the stateful stage. What
//! goes on stands in line for it.

use std::ops::Range;

use inspect::wire::Headers;

use super::decide::{self, Keyed};
use super::egress::{self, Route};
use super::report::DropDetail;
use super::train::Train;
use super::{Pipeline, Turn, parcel};
use crate::drop_reason::DropReason;
use crate::forward::Egress;
use crate::frame::{BURST_MAX, OffloadWord, PortId};
use crate::generation::PortView;
use crate::inspection::Candidate;

/// Where a burst is laid out while it is walked; kept from burst to burst, for making it costs more than a small one.
pub(super) struct Desk {
    pub(super) headers: [Headers; BURST_MAX],
    pub(super) line: Line,
}

impl Desk {
    pub(super) fn new() -> Box<Self> {
        let line = Line { len: 0, items: [(0, PortId(0)); BURST_MAX], keyed: [Keyed::NONE; BURST_MAX] };
        Box::new(Self { headers: [Headers::NONE; BURST_MAX], line })
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

/// A frame whose headers were read, without its padding, and what is left to be done to it.
pub(super) type Sight<'batch> = (&'batch [u8], OffloadWord);

/// The frames of a burst whose headers were read, with their headers at the same places.
#[derive(Clone, Copy)]
pub(super) struct Sighted<'batch> {
    pub(super) headers: &'batch [Headers; BURST_MAX],
    pub(super) frames: &'batch [Sight<'batch>],
}

impl<'batch> Sighted<'batch> {
    #[inline(always)]
    pub(super) fn candidate(&self, at: u8) -> Candidate<'batch> {
        let (frame, offload) = self.frames[usize::from(at)];
        Candidate { frame, headers: &self.headers[usize::from(at) % BURST_MAX], offload }
    }
}

/// Sighted frames in line for the stateful stage, each with one port that it would leave by.
pub(super) struct Line {
    pub(super) len: usize,
    pub(super) items: [(u8, PortId); BURST_MAX],
    pub(super) keyed: [Keyed; BURST_MAX],
}

impl Line {
    /// Where the key of the next item goes.
    #[inline(always)]
    pub(super) fn next(&mut self) -> &mut Keyed {
        &mut self.keyed[self.len % BURST_MAX]
    }
}

impl Pipeline {
    /// Stages 1 and 2 for the frames of a burst. As bits: which are like the one before, and which were stopped.
    #[inline(always)]
    pub(super) fn look_up_all<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        ingress: &PortView,
        sighted: &Sighted<'_>,
        (alike, stopped): (u32, u32),
        line: &mut Line,
        egress: &mut E,
    ) {
        line.len = 0;
        let mut train = Train::NONE;
        let mut at = 0;
        while at < sighted.frames.len() {
            let following = ((alike & !stopped) >> at).trailing_ones() as usize;
            if train.is_running() && following > 0 {
                let followed = self.follow(turn, &train, sighted, at..at + following, line, egress);
                at += followed;
                if followed > 0 {
                    continue;
                }
            }
            if alike & 1 << at == 0 {
                train.end();
            }
            if stopped & 1 << at == 0 {
                self.look_up(turn, ingress, sighted, at as u8, line, &mut train, egress);
            }
            at += 1;
        }
    }

    /// Stages 1 and 2 for frames that are like the one before each of them, as far as they were told the same: puts
    /// them in line. Answers how many they are.
    #[inline(never)]
    fn follow<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        train: &Train,
        sighted: &Sighted<'_>,
        places: Range<usize>,
        line: &mut Line,
        egress: &mut E,
    ) -> usize {
        let hash = self.flows.train_hash(&train.key);
        let is_large = self.flows.is_large();
        let mut free = line.keyed[line.len..].iter_mut().zip(&mut line.items[line.len..]);
        let mut next = free.next();
        let (mut followed, mut lined_up) = (0, 0);
        for (at, (frame, _)) in (places.start..).zip(&sighted.frames[places]) {
            let Some((keyed, item)) = &mut next else { break };
            if !train.take(frame, &hash, keyed) {
                break;
            }
            followed += 1;
            if let Some(worker) = parcel::judge_elsewhere(keyed, egress) {
                self.hand_over(turn, (worker, train.egress), keyed, &sighted.candidate(at as u8), egress);
                continue;
            }
            keyed.place = self.flows.prefetch(keyed.hash, is_large);
            **item = (at as u8, train.egress);
            next = free.next();
            lined_up += 1;
        }
        line.len += lined_up;
        if line.len == BURST_MAX {
            self.judge(turn, sighted, line, egress);
        }
        followed
    }

    /// Stages 1 and 2 for one frame that is not like the one before it.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn look_up<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        ingress: &PortView,
        sighted: &Sighted<'_>,
        at: u8,
        line: &mut Line,
        train: &mut Train,
        egress: &mut E,
    ) {
        let candidate = sighted.candidate(at);
        let packet = candidate.packet();
        if let Err(reason) = self.secure(turn, ingress, &packet) {
            return self.end(turn, None, &packet, reason, DropDetail::default());
        }
        if packet.headers().fragment.is_some() {
            return self.take_fragment(turn, ingress, &packet, egress);
        }
        match egress::route(turn, &packet, &mut self.learned_cache, &self.learned, &mut self.storm) {
            Route::One(port) => {
                decide::key(turn, &packet, port, &self.flows, line.next());
                train.start(&candidate, port, line.next());
                self.line_up(turn, sighted, at, port, line, egress);
            }
            Route::Flood(kind) => {
                let ports = egress::flood(turn, kind, egress);
                let copies = (ports.len() as u64).saturating_sub(1);
                self.entered += copies;
                self.counters.port(turn.ingress).flood_copies.add(copies);
                if ports.is_empty() {
                    self.end(turn, None, &packet, DropReason::NoEgress, DropDetail::default());
                }
                for port in ports {
                    decide::key(turn, &packet, port, &self.flows, line.next());
                    self.line_up(turn, sighted, at, port, line, egress);
                }
            }
            Route::Nowhere(reason) => self.end(turn, None, &packet, reason, DropDetail::default()),
        }
    }

    /// Puts an item in line whose key stands there, with its flow's entry on the way into the cache, and judges the line when
    /// it is full.
    fn line_up<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        sighted: &Sighted<'_>,
        at: u8,
        port: PortId,
        line: &mut Line,
        egress: &mut E,
    ) {
        if let Some(worker) = parcel::judge_elsewhere(line.next(), egress) {
            return self.hand_over(turn, (worker, port), line.next(), &sighted.candidate(at), egress);
        }
        let keyed = line.next();
        keyed.place = self.flows.prefetch(keyed.hash, self.flows.is_large());
        line.items[line.len % BURST_MAX] = (at, port);
        line.len += 1;
        if line.len == BURST_MAX {
            self.judge(turn, sighted, line, egress);
        }
    }
}
