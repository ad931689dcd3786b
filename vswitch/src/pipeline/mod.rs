//! The walk of a burst, stage by stage, in the one place where the order of the stages is written.
//!
//! A burst goes through each stage as a whole, so that the cache misses of its frames overlap; each stage has one function
//! that decides about one frame. From the egress look-up on, what is walked is not frames but *items*, a frame and one port
//! that it would leave by: a flood is several items, each judged by itself.

use std::sync::Arc;

use arrayvec::ArrayVec;
use inspect::fragments::FragmentTable;
use inspect::inspector::FlowSlot;
use inspect::record::Note;
use inspect::wire::{self, Headers, Likeness, Malformed, Packet};

use crate::counters::{WorkerCounters, file_counts};
use crate::drop_reason::DropReason;
use crate::event_log::EventLog;
use crate::flow_table::{FlowId, FlowTable};
use crate::forward::Egress;
use crate::frame::{BURST_MAX, Batch, OffloadWord, PortId};
use crate::generation::{Generation, PortView};
use crate::inspection::{Candidate, Inspection};
use crate::mac_table::{LearnedCache, LearnedMacs};

mod begin;
mod claim;
mod decide;
mod detect;
mod egress;
mod fragments;
mod journal;
mod judge;
mod offload;
mod parcel;
mod report;
mod storm;
#[cfg(test)]
mod tests;
mod train;

use decide::Keyed;
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
}
