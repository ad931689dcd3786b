//! The walk of a burst, stage by stage, in the one place where the order of the stages is written.
//!
//! A burst goes through each stage as a whole, so that the cache misses of its frames overlap; each stage has one function
//! that decides about one frame. From the egress look-up on, what is walked is not frames but *items*, a frame and one port
//! that it would leave by: a flood is several items, each judged by itself.

use std::sync::Arc;

use arrayvec::ArrayVec;
use inspect::fragments::FragmentTable;
use inspect::inspector::{Direction, FlowSlot, FlowView};
use inspect::record::Note;
use inspect::wire::{self, Headers, Likeness, Malformed, Packet};
use zones::policy::DeciderId;

use crate::counters::{Cell, WorkerCounters, file_counts};
use crate::drop_reason::DropReason;
use crate::event_log::EventLog;
use crate::flow_table::{FlowId, FlowTable, Usual};
use crate::forward::{Egress, Outbound};
use crate::frame::{BURST_MAX, Batch, OffloadWord, PortId};
use crate::generation::{Generation, PortView};
use crate::inspection::{Candidate, Cleared, Inspection, Judged};
use crate::mac_table::{LearnedCache, LearnedMacs};

mod begin;
mod claim;
mod decide;
mod detect;
mod egress;
mod fragments;
mod journal;
mod offload;
mod parcel;
mod report;
mod storm;
#[cfg(test)]
mod tests;
mod train;

use decide::{Denied, Flows, Keyed};
use egress::Route;
use journal::{Journal, Why};
pub use parcel::Parcel;
use report::DropDetail;
pub use storm::FLOOD_FRAMES_PER_S;
use storm::StormControl;
use train::Train;

/// Frames from this UDP port are a DHCP server's.
const DHCP_SERVER_PORT: u16 = 67;

/// What is the same for all frames of one burst.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// The generation that judges this burst.
    pub generation: &'a Arc<Generation>,
    /// The port that the burst entered by.
    pub ingress: PortId,
    /// The time in microseconds on the monotonic clock.
    pub now_us: u64,
    /// Index of the worker, for its share of the hit counters.
    pub worker: usize,
}

impl Turn<'_> {
    /// The time in milliseconds.
    #[inline(always)]
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1_000
    }
}

/// Where a burst is laid out while it is walked; kept from burst to burst, for making it costs more than a small one.
struct Desk {
    sighted: Sighted,
    line: Line,
}

impl Desk {
    fn new() -> Box<Self> {
        let sighted = Sighted { headers: [Headers::NONE; BURST_MAX], frames: ArrayVec::new(), alike: 0 };
        Box::new(Self { sighted, line: Line { items: ArrayVec::new(), keyed: [Keyed::NONE; BURST_MAX] } })
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

/// The frames of a burst whose headers were read: where the headers are, and which frames they are of.
struct Sighted {
    headers: [Headers; BURST_MAX],
    frames: ArrayVec<(u8, OffloadWord), BURST_MAX>,
    /// Which of them are like the one before, as bits.
    alike: u32,
}

impl Sighted {
    #[inline(always)]
    fn candidate<'batch>(&'batch self, batch: &'batch Batch, at: u8) -> Candidate<'batch> {
        let (index, offload) = self.frames[usize::from(at)];
        let headers = &self.headers[usize::from(at) % BURST_MAX];
        Candidate { frame: &batch.frame(usize::from(index))[..headers.end as usize], headers, offload }
    }
}

/// What is the same for all items of a line.
struct Around<'a> {
    /// Where the deciders' decisions are counted.
    hits: &'a [Cell],
    /// Whether inspection has nothing to say of any packet; see [`Inspection::is_idle`].
    is_all_unseen: bool,
}

/// Sighted frames in line for the stateful stage, each with one port that it would leave by.
struct Line {
    items: ArrayVec<(u8, PortId), BURST_MAX>,
    keyed: [Keyed; BURST_MAX],
}

/// One worker's walk, with everything that it remembers between bursts.
#[derive(Debug)]
pub struct Pipeline {
    flows: FlowTable,
    inspection: Inspection,
    fragments: FragmentTable,
    learned: Arc<LearnedMacs>,
    learned_cache: LearnedCache,
    storm: StormControl,
    counters: Arc<WorkerCounters>,
    log: EventLog,
    // What inspection has to tell, on its way to the log.
    notes: Vec<Note>,
    // What there is to tell of flows that end.
    journal: Journal,
    // Frames of the burst that entered, copies included, and those that have come to an end: what is missing when a stage
    // panics is dropped for that reason, and the books balance.
    entered: u64,
    ended: u64,
    // Why the last frame was dropped, for those that end with it.
    last_drop: DropReason,
    // The flow whose packet inspection is looking at.
    judging: Option<FlowSlot>,
    // Whether any port is in quarantine during this burst.
    is_quarantine: bool,
    // Where the next burst is laid out; `None` while one is, and after a panic.
    desk: Option<Box<Desk>>,
}

impl Pipeline {
    /// A pipeline with empty tables.
    pub fn new(
        flows: FlowTable,
        inspection: Inspection,
        learned: Arc<LearnedMacs>,
        counters: Arc<WorkerCounters>,
        log: EventLog,
    ) -> Self {
        let journal = Journal::new(flows.places(), log.counts_flows());
        Self {
            flows,
            inspection,
            fragments: FragmentTable::default(),
            learned,
            learned_cache: LearnedCache::default(),
            storm: StormControl::new(FLOOD_FRAMES_PER_S),
            counters,
            log,
            notes: Vec::new(),
            journal,
            entered: 0,
            ended: 0,
            last_drop: DropReason::Fragment,
            judging: None,
            is_quarantine: false,
            desk: None,
        }
    }

    /// The same with another limit for broadcast, multicast and unknown destinations, in frames per second and port, instead
    /// of [`FLOOD_FRAMES_PER_S`].
    pub fn with_flood_limit(self, frames_per_s: u32) -> Self {
        Self { storm: StormControl::new(frames_per_s), ..self }
    }

    /// The flows of this worker.
    pub fn flows(&self) -> &FlowTable {
        &self.flows
    }

    /// Walks one burst from its port to the egress ports.
    pub fn walk<E: Egress>(&mut self, turn: &Turn<'_>, batch: &Batch, egress: &mut E) {
        self.entered = (batch.len() + batch.rejected().len()) as u64;
        self.ended = 0;
        self.inspection.inspector().judge_files_by(turn.generation.file_checks.as_ref());
        self.receive(turn, batch);
        let Some(ingress) = turn.generation.port(turn.ingress) else {
            for index in 0..batch.len() {
                self.drop_unread(turn, batch.frame(index), DropReason::PortDown, DropDetail::default());
            }
            return;
        };
        if self.is_quarantined(turn) {
            for index in 0..batch.len() {
                self.drop_unread(turn, batch.frame(index), DropReason::Quarantined, DropDetail::default());
            }
            return;
        }
        let mut desk = self.desk.take().unwrap_or_else(Desk::new);
        self.parse(turn, batch, &mut desk.sighted);
        let stopped = self.watch(turn, batch, &desk.sighted);
        let Desk { sighted, line } = &mut *desk;
        line.items.clear();
        let mut train = Train::NONE;
        for at in 0..sighted.frames.len() as u8 {
            if sighted.alike & 1 << at == 0 {
                train.end();
            }
            if stopped & 1 << at != 0 {
                continue;
            }
            let keyed = &mut line.keyed[line.items.len() % BURST_MAX];
            match train.take(&sighted.candidate(batch, at), &self.flows, keyed) {
                Some(port) => self.line_up(turn, batch, sighted, at, port, line, egress),
                None => self.look_up(turn, ingress, batch, sighted, at, line, &mut train, egress),
            }
        }
        self.judge(turn, batch, sighted, line, egress);
        if self.journal.has_news() {
            self.report_ended(turn);
        }
        debug_assert_eq!(self.entered, self.ended);
        self.desk = Some(desk);
    }

    /// Stages 1 and 2 for one frame that is not like the one before it.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn look_up<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        ingress: &PortView,
        batch: &Batch,
        sighted: &Sighted,
        at: u8,
        line: &mut Line,
        train: &mut Train,
        egress: &mut E,
    ) {
        let candidate = sighted.candidate(batch, at);
        let packet = candidate.packet();
        if let Err(reason) = self.secure(turn, ingress, &packet) {
            return self.end(turn, None, &packet, reason, DropDetail::default());
        }
        if packet.headers().fragment.is_some() {
            return self.take_fragment(turn, ingress, &packet, egress);
        }
        match egress::route(turn, &packet, &mut self.learned_cache, &self.learned, &mut self.storm) {
            Route::One(port) => {
                let keyed = &mut line.keyed[line.items.len() % BURST_MAX];
                decide::key(turn, &packet, port, &self.flows, keyed);
                train.start(&candidate, port, keyed);
                self.line_up(turn, batch, sighted, at, port, line, egress);
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
                    let keyed = &mut line.keyed[line.items.len() % BURST_MAX];
                    decide::key(turn, &packet, port, &self.flows, keyed);
                    self.line_up(turn, batch, sighted, at, port, line, egress);
                }
            }
            Route::Nowhere(reason) => self.end(turn, None, &packet, reason, DropDetail::default()),
        }
    }

    /// Puts an item in line whose key stands there, with its flow's entry on the way into the cache, and judges the line when
    /// it is full.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn line_up<E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        batch: &Batch,
        sighted: &Sighted,
        at: u8,
        port: PortId,
        line: &mut Line,
        egress: &mut E,
    ) {
        let keyed = &mut line.keyed[line.items.len() % BURST_MAX];
        if let Some(worker) = parcel::judge_elsewhere(keyed, egress) {
            return self.hand_over(turn, (worker, port), keyed, &sighted.candidate(batch, at), egress);
        }
        keyed.place = self.flows.prefetch(keyed.hash);
        line.items.push((at, port));
        if line.items.is_full() {
            self.judge(turn, batch, sighted, line, egress);
        }
    }

    /// Closes the books on a burst whose walk panicked: every frame that had not ended is dropped. If inspection panicked, what
    /// it knew of the flow is lost, so the flow is refused for good: its stream could not be followed any more.
    pub fn recover(&mut self, ingress: PortId) {
        let missing = self.entered.saturating_sub(self.ended);
        self.counters.port(ingress).drops[DropReason::Panic as usize].add(missing);
        self.ended = self.entered;
        if let Some(slot) = self.judging.take() {
            self.flows.refuse(FlowId(slot.0));
        }
    }

    /// Ends flows whose time is over, in at most `places` places of the table, and counts lost events. Of the turn, the port
    /// does not matter.
    pub fn housekeep(&mut self, turn: &Turn<'_>, places: usize) {
        let Self { flows, inspection, journal, .. } = self;
        let mut ended = 0;
        flows.sweep(places, turn.now_ms(), &mut |flow| {
            journal.flow_ended(flow, Why::TimeOrRoom, inspection.inspector());
            ended += 1;
        });
        self.counters.flows_ended.add(ended);
        let files = file_counts(&self.inspection.inspector().file_counts());
        self.counters.files.iter().zip(files).for_each(|(cell, count)| cell.set(count));
        self.expire_fragments(turn.now_ms());
        if self.journal.has_news() {
            self.report_ended(turn);
        }
        self.log.flush(turn.now_us);
        self.count_events();
    }

    fn receive(&mut self, turn: &Turn<'_>, batch: &Batch) {
        let port = self.counters.port(turn.ingress);
        let rejected: u64 = batch.rejected().iter().map(|(_, len)| u64::from(*len)).sum();
        port.received.add(self.entered);
        port.received_bytes.add(batch.bytes() + rejected);
        for (reason, len) in batch.rejected() {
            self.drop_frame(turn, *reason, DropDetail::default(), |event| event.length = *len);
        }
    }

    /// Stage 0: read the headers. What stands behind a datagram nobody has looked at, and it goes no further.
    #[inline(always)]
    fn parse(&mut self, turn: &Turn<'_>, batch: &Batch, sighted: &mut Sighted) {
        sighted.frames.clear();
        sighted.alike = 0;
        let mut likeness = Likeness::NONE;
        for index in 0..batch.len() {
            let (frame, claimed) = (batch.frame(index), batch.claimed(index));
            let at = sighted.frames.len() % BURST_MAX;
            let headers = &mut sighted.headers[at];
            let checksums = offload::checksums(claimed, batch.sum(index));
            let (is_alike, parsed) = match likeness.parse_into(frame, checksums, headers) {
                Some(parsed) => (true, parsed),
                None => (false, wire::parse_into(frame, checksums, headers)),
            };
            let cause = match parsed {
                Ok(()) if !batch.has_claims() => Ok(OffloadWord::NONE),
                Ok(()) => offload::validate(claimed, headers).map(OffloadWord::from).ok_or(None),
                Err(malformed) => Err(Some(malformed)),
            };
            match cause {
                Ok(offload) => {
                    sighted.alike |= u32::from(is_alike) << at;
                    if !is_alike {
                        likeness = Likeness::of(frame, headers);
                    }
                    sighted.frames.push((index as u8, offload));
                }
                Err(malformed) => {
                    likeness = Likeness::NONE;
                    self.drop_unseen(turn, frame, malformed);
                }
            }
        }
    }

    /// Ends a frame that is malformed, or whose header claims what does not fit it.
    #[cold]
    fn drop_unseen(&mut self, turn: &Turn<'_>, frame: &[u8], malformed: Option<Malformed>) {
        let reason = if malformed.is_some() { DropReason::Malformed } else { DropReason::OffloadClaim };
        let cause = malformed.map(Malformed::name);
        self.drop_unread(turn, frame, reason, DropDetail { cause, ..DropDetail::default() });
    }

    /// Stage 1: port security, and learning where no address is fixed.
    #[inline(always)]
    fn secure(&mut self, turn: &Turn<'_>, ingress: &PortView, packet: &Packet<'_>) -> Result<(), DropReason> {
        let Some(security) = &ingress.security else {
            return egress::learn(turn, packet, &mut self.learned_cache, &self.learned);
        };
        if let Some((source, _)) = packet.ipv4_addresses()
            && !matches!(packet.ports(), Some((DHCP_SERVER_PORT, _)))
            && security.is_own_ipv4(packet.source_mac(), source)
        {
            return Ok(());
        }
        claim::check(security, packet)?;
        if security.macs().is_empty() {
            egress::learn(turn, packet, &mut self.learned_cache, &self.learned)?;
        }
        Ok(())
    }

    /// Stages 3 to 5 for up to a burst of items: flow and policy, inspection, forwarding. Leaves none of them.
    fn judge<E: Egress>(&mut self, turn: &Turn<'_>, batch: &Batch, sighted: &Sighted, line: &mut Line, egress: &mut E) {
        let mut outbound = Outbound::default();
        let around = self.around(turn);
        if self.flows.is_large() {
            for keyed in &mut line.keyed[..line.items.len()] {
                keyed.place = self.flows.prefetch_again(keyed.place, keyed.hash);
            }
        }
        for ((at, port), keyed) in line.items.iter().zip(&line.keyed) {
            self.judge_one(turn, &around, *port, keyed, &sighted.candidate(batch, *at), &mut outbound, egress);
        }
        line.items.clear();
        self.leave(turn, &outbound, egress);
    }

    /// What is the same for all items of a line.
    #[inline(always)]
    fn around<'a>(&self, turn: &Turn<'a>) -> Around<'a> {
        Around { hits: hits(turn), is_all_unseen: self.inspection.is_idle(&turn.generation.rules) }
    }

    /// Stages 3 and 4 for one item, and where it leaves if it is cleared.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn judge_one<'batch, E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        around: &Around<'_>,
        port: PortId,
        keyed: &Keyed,
        candidate: &Candidate<'batch>,
        outbound: &mut Outbound<'batch>,
        egress: &mut E,
    ) {
        let mut usual = Usual::NONE;
        if self.is_quarantine || !decide::usual(turn, candidate, keyed, &mut self.flows, &mut usual) {
            return self.judge_in_full(turn, port, keyed, candidate, outbound, egress);
        }
        if let Some(cell) = around.hits.get(usize::from(usual.decider)) {
            cell.add(1);
        }
        let slot = FlowSlot(usual.id.0);
        if self.journal.counts() {
            self.journal.count(&decide::usual_view(&usual), &candidate.packet(), turn.now_ms());
        }
        let profile = || {
            let direction = if usual.from_responder { Direction::ToClient } else { Direction::ToServer };
            let (from, to) = ends(turn, port, direction);
            &turn.generation.profiles.between(from, to).profile
        };
        match self.inspection.clear_unseen(&turn.generation.rules, around.is_all_unseen, profile, candidate, slot) {
            Some(cleared) => self.place(turn, port, keyed, cleared, outbound, egress),
            None => {
                let view = decide::usual_view(&usual);
                self.judge_by_inspection(turn, port, keyed, candidate, &view, outbound, egress);
            }
        }
    }

    /// As [`Pipeline::judge_one`], for what opens a flow, changes how far it has come, has none, or ends here.
    #[inline(never)]
    fn judge_in_full<'batch, E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        port: PortId,
        keyed: &Keyed,
        candidate: &Candidate<'batch>,
        outbound: &mut Outbound<'batch>,
        egress: &mut E,
    ) {
        if let Some(cleared) = self.admit(turn, port, keyed, candidate) {
            self.place(turn, port, keyed, cleared, outbound, egress);
        }
    }

    /// Stage 4 for one item that inspection looks at, and where it leaves if it is cleared.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn judge_by_inspection<'batch, E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        port: PortId,
        keyed: &Keyed,
        candidate: &Candidate<'batch>,
        view: &FlowView,
        outbound: &mut Outbound<'batch>,
        egress: &mut E,
    ) {
        if let Some(cleared) = self.inspect(turn, port, keyed, candidate, view) {
            self.place(turn, port, keyed, cleared, outbound, egress);
        }
    }

    /// Puts a cleared frame where it leaves.
    #[inline(always)]
    fn place<'batch, E: Egress>(
        &mut self,
        turn: &Turn<'_>,
        port: PortId,
        keyed: &Keyed,
        cleared: Cleared<'batch>,
        outbound: &mut Outbound<'batch>,
        egress: &mut E,
    ) {
        match egress.queue(port, keyed.hash) {
            Some(queue) => match queue.worker().filter(|_| E::IS_SHARED) {
                Some(worker) => self.pass_on(turn, (worker, port), keyed.hash, &cleared, egress),
                None => outbound.push(cleared, port, queue),
            },
            None => self.end_unplaced(turn, port, &cleared),
        }
    }

    #[cold]
    fn end_unplaced(&mut self, turn: &Turn<'_>, port: PortId, cleared: &Cleared<'_>) {
        let packet = Packet::new(cleared.frame(), *cleared.headers());
        self.end(turn, Some(port), &packet, DropReason::PortDown, DropDetail::default());
    }

    /// Counts what is cleared, and sends it out.
    #[inline(always)]
    fn leave<E: Egress>(&mut self, turn: &Turn<'_>, outbound: &Outbound<'_>, egress: &mut E) {
        self.counters.cleared.add(outbound.len() as u64);
        self.send(turn, outbound, egress);
    }

    /// Stage 5: what is cleared leaves, and what its receiver did not take is dropped.
    #[inline(always)]
    fn send<E: Egress>(&mut self, turn: &Turn<'_>, outbound: &Outbound<'_>, egress: &mut E) {
        let outcome = outbound.forward(egress, &self.counters);
        self.counters.port(turn.ingress).delivered.add(outcome.delivered);
        self.ended += outcome.delivered;
        for (index, reason) in outcome.refused {
            let (cleared, port) = outbound.at(usize::from(index));
            let packet = Packet::new(cleared.frame(), *cleared.headers());
            self.end(turn, Some(port), &packet, reason, DropDetail::default());
        }
    }

    /// Stages 3 and 4 for one item: the flow's decision, then inspection's verdict.
    fn admit<'batch>(
        &mut self,
        turn: &Turn<'_>,
        port: PortId,
        keyed: &Keyed,
        candidate: &Candidate<'batch>,
    ) -> Option<Cleared<'batch>> {
        let packet = candidate.packet();
        if self.is_quarantine && turn.generation.quarantines.holds(port, turn.now_us) {
            self.end(turn, Some(port), &packet, DropReason::Quarantined, DropDetail::default());
            return None;
        }
        let mut flows = Flows {
            table: &mut self.flows,
            inspector: self.inspection.inspector(),
            counters: &self.counters,
            log: &mut self.log,
            journal: &mut self.journal,
        };
        let admitted = match decide::decide(turn, &packet, port, keyed, &mut flows) {
            Ok(admitted) => admitted,
            Err(Denied { reason, decider, cause }) => {
                hit(turn, decider);
                let detail = DropDetail { decider: decider.map(|decider| decider.0), cause, signature: None };
                self.end(turn, Some(port), &packet, reason, detail);
                return None;
            }
        };
        hit(turn, admitted.decider);
        if self.journal.counts() {
            self.journal.count(&admitted.view, &packet, turn.now_ms());
        }
        self.inspect(turn, port, keyed, candidate, &admitted.view)
    }

    /// Stage 4 for one item.
    fn inspect<'batch>(
        &mut self,
        turn: &Turn<'_>,
        port: PortId,
        keyed: &Keyed,
        candidate: &Candidate<'batch>,
        view: &FlowView,
    ) -> Option<Cleared<'batch>> {
        self.judging = view.slot;
        let generation = turn.generation;
        let (from, to) = ends(turn, port, view.direction);
        let profile = &generation.profiles.between(from, to).profile;
        let judged = self.inspection.judge(&generation.rules, profile, candidate, view, turn.now_ms());
        self.judging = None;
        let packet = candidate.packet();
        if self.inspection.has_findings() {
            self.report_findings(turn, (from, to), port, &packet, (view, keyed.hash));
        }
        if self.inspection.inspector().has_file_events() {
            self.report_files(turn, port, &packet, keyed.hash);
        }
        match judged {
            Judged::Cleared(cleared) => Some(cleared),
            Judged::Audited(cleared, refused) => {
                self.report_audited(turn, (from, to), port, &packet, (refused, keyed.hash));
                Some(cleared)
            }
            Judged::Refused(refused) => {
                self.refuse(turn, (from, to), port, &packet, refused);
                None
            }
        }
    }
}

/// The ports of a flow's originator and responder, one of whose frames goes from the turn's port to `egress`.
#[inline(always)]
fn ends(turn: &Turn<'_>, egress: PortId, direction: Direction) -> (PortId, PortId) {
    match direction {
        Direction::ToServer => (turn.ingress, egress),
        Direction::ToClient => (egress, turn.ingress),
    }
}

/// The worker's cells for what each decider of the policy has decided.
#[inline(always)]
fn hits<'a>(turn: &Turn<'a>) -> &'a [Cell] {
    turn.generation.rule_hits.get(turn.worker).map_or(&[], |hits| hits)
}

fn hit(turn: &Turn<'_>, decider: Option<DeciderId>) {
    if let Some(cell) = decider.and_then(|decider| hits(turn).get(usize::from(decider.0))) {
        cell.add(1);
    }
}
