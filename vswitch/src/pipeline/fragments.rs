//! Fragments on the walk: held until their datagram is whole, judged as that datagram, and forwarded as they came.
//!
//! A fragment by itself says nothing about its flow, so none goes on before all are there (attack N04). The whole is walked
//! like any frame, port security included; what it is told applies to each of its fragments. Held frames have neither been
//! delivered nor dropped: they are the `held` level in the books of their port.

use arrayvec::ArrayVec;
use inspect::fragments::{Discarded, FragmentOutcome, Whole};
use inspect::wire::{self, Checksums, Headers, Packet};

use super::decide::{self, Keyed};
use super::egress::{self, Route};
use super::{DropDetail, Pipeline, Turn, parcel};
use crate::drop_reason::DropReason;
use crate::forward::{Egress, Outbound};
use crate::frame::{BURST_MAX, OffloadWord, PortId};
use crate::generation::PortView;
use crate::inspection::{Candidate, Cleared};

impl Pipeline {
    /// Takes a fragment that port security has let in.
    #[cold]
    pub(super) fn take_fragment<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        ingress: &PortView,
        packet: &Packet<'_>,
        egress: &mut E,
    ) {
        let mut discarded = Vec::new();
        let domain = u32::from(turn.ingress.0);
        let outcome = self.fragments.insert(domain, packet, turn.now_ms(), &mut discarded);
        self.give_up(&discarded);
        match outcome {
            Ok(FragmentOutcome::Held) => {
                self.counters.port(turn.ingress).held.add(1);
                self.ended += 1;
            }
            Ok(FragmentOutcome::Complete(whole)) => self.take_whole(turn, ingress, &whole, egress),
            Err(refused) => {
                let detail = DropDetail { cause: Some(refused.name()), ..DropDetail::default() };
                self.end(turn, None, packet, DropReason::Fragment, detail);
            }
        }
    }

    /// Drops held frames that are given up, in the books of the port that they came by.
    fn give_up(&mut self, discarded: &[Discarded]) {
        for Discarded { domain, frame_count, .. } in discarded {
            let port = self.counters.port(PortId(*domain as u16));
            port.held.take(*frame_count as u64);
            port.drops[DropReason::Fragment as usize].add(*frame_count as u64);
        }
    }

    /// Gives up held fragments whose datagram has waited too long.
    pub(super) fn expire_fragments(&mut self, now_ms: u64) {
        let mut discarded = Vec::new();
        self.fragments.expire(now_ms, &mut discarded);
        self.give_up(&discarded);
    }

    fn take_whole<E: Egress>(&mut self, turn: &Turn<'_>, ingress: &PortView, whole: &Whole, egress: &mut E) {
        // All but the one that came now were held: they enter the books of this burst again.
        let count = whole.fragments.len() as u64;
        self.counters.port(turn.ingress).held.take(count - 1);
        self.entered += count - 1;
        let headers = match wire::parse(&whole.frame, Checksums::Verify) {
            Ok(headers) => headers,
            Err(malformed) => {
                let detail = DropDetail { cause: Some(malformed.name()), ..DropDetail::default() };
                return self.end_all(turn, None, whole, DropReason::Malformed, detail);
            }
        };
        let packet = Packet::new(&whole.frame, headers);
        if let Err(reason) = self.secure(turn, ingress, &packet) {
            return self.end_all(turn, None, whole, reason, DropDetail::default());
        }
        let ports = match egress::route(turn, &packet, &mut self.learned_cache, &self.learned, &mut self.storm) {
            Route::One(port) => std::iter::once(port).collect(),
            Route::Flood(kind) => egress::flood(turn, kind, egress),
            Route::Nowhere(reason) => return self.end_all(turn, None, whole, reason, DropDetail::default()),
        };
        if ports.is_empty() {
            return self.end_all(turn, None, whole, DropReason::NoEgress, DropDetail::default());
        }
        let copies = (ports.len() as u64 - 1) * count;
        self.entered += copies;
        self.counters.port(turn.ingress).flood_copies.add(copies);
        for port in ports {
            let mut keyed = Keyed::NONE;
            decide::key(turn, &packet, port, &self.flows, &mut keyed);
            match parcel::judge_elsewhere(&keyed, egress) {
                Some(worker) => self.hand_over_whole(turn, (worker, port), &keyed, (whole, &headers), egress),
                None => self.judge_whole(turn, (port, &keyed), whole, &headers, egress),
            }
        }
    }

    /// Judges a datagram for one port that it would leave by, and sends its fragments out.
    pub(super) fn judge_whole<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        (port, keyed): (PortId, &Keyed),
        whole: &Whole,
        headers: &Headers,
        egress: &mut E,
    ) {
        let candidate = Candidate { frame: &whole.frame, headers, offload: OffloadWord::NONE };
        let ended = self.ended;
        let Some(cleared) = self.admit(turn, port, keyed, &candidate) else {
            // The verdict on the whole has ended one frame in the books; it stands for the others too.
            let others = whole.fragments.len() as u64 - (self.ended - ended);
            let reason = self.last_drop;
            self.counters.port(turn.ingress).drops[reason as usize].add(others);
            self.ended += others;
            return;
        };
        let Some(queue) = egress.queue(port, keyed.hash) else {
            return self.end_all(turn, Some(port), whole, DropReason::PortDown, DropDetail::default());
        };
        for chunk in whole.fragments.chunks(BURST_MAX) {
            // Each was parsed when it came; it is the same bytes.
            let headers: ArrayVec<Headers, BURST_MAX> =
                chunk.iter().filter_map(|frame| wire::parse(frame, Checksums::Verify).ok()).collect();
            let mut outbound = Outbound::default();
            for (frame, headers) in chunk.iter().zip(&headers) {
                let fragment = Cleared::fragment_of(&cleared, frame, headers);
                match queue.worker() {
                    Some(worker) => self.pass_on(turn, (worker, port), keyed.hash, &fragment, egress),
                    None => outbound.push(fragment, port, queue),
                }
            }
            self.leave(turn, &outbound, egress);
        }
    }

    /// Ends all fragments of a datagram for one reason, with one record.
    pub(super) fn end_all(
        &mut self,
        turn: &Turn<'_>,
        egress: Option<PortId>,
        whole: &Whole,
        reason: DropReason,
        detail: DropDetail,
    ) {
        for frame in &whole.fragments {
            match wire::parse(frame, Checksums::Verify) {
                Ok(headers) => self.end(turn, egress, &Packet::new(frame, headers), reason, detail),
                Err(_) => self.drop_unread(turn, frame, reason, detail),
            }
        }
    }
}
