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
use inspect::wire::{self, FrameSum, Headers, Likeness, Malformed, Packet};

use crate::counters::{WorkerCounters, file_counts};
use crate::drop_reason::DropReason;
use crate::event_log::EventLog;
use crate::flow_table::{FlowId, FlowTable};
use crate::forward::Egress;
use crate::frame::{BURST_MAX, Batch, ClaimedOffload, OffloadWord, PortId};
use crate::generation::{Generation, PortView};
use crate::inspection::Inspection;
use crate::mac_table::{LearnedCache, LearnedMacs};

mod begin;
mod claim;
mod decide;
mod detect;
mod egress;
mod fragments;
mod journal;
mod judge;
mod line;
mod offload;
mod parcel;
mod report;
mod storm;
#[cfg(test)]
mod tests;
mod train;

use journal::{Journal, Why};
use line::{Desk, Line, Sight, Sighted};
pub use parcel::Parcel;
use report::DropDetail;
pub use storm::FLOOD_FRAMES_PER_S;
use storm::StormControl;

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

/// Reads the headers of frames from `index` on, as long as they are sound and like the one that `likeness` is of.
/// `CLAIMS`: whether any frame claims anything. Answers how many they are.
#[inline(never)]
fn parse_alike<'batch, const CLAIMS: bool>(
    likeness: &Likeness,
    batch: &'batch Batch,
    index: usize,
    headers: &mut [Headers; BURST_MAX],
    frames: &mut ArrayVec<Sight<'batch>, BURST_MAX>,
) -> usize {
    let first = frames.len();
    let (likeness, headers) = (*likeness, headers[first..].iter_mut());
    frames.extend((index..).zip(batch.frames_from(index)).zip(headers).map_while(
        |((index, (frame, sum)), headers)| {
            let claimed = if CLAIMS { batch.claimed(index) } else { ClaimedOffload::default() };
            if !likeness.accepts(frame, offload::checksums(claimed, sum), headers) {
                return None;
            }
            Some((&frame[..headers.end as usize], OffloadWord::from(offload::validate(claimed, headers)?)))
        },
    ));
    frames.len() - first
}

/// Reads the headers of one frame and holds what it claims against them.
///
/// # Errors
/// What is wrong with the frame; `None` if its claims do not fit it.
#[inline(never)]
fn parse_one(
    frame: &[u8],
    (claimed, sum): (ClaimedOffload, Option<FrameSum>),
    into: &mut Headers,
) -> Result<OffloadWord, Option<Malformed>> {
    wire::parse_into(frame, offload::checksums(claimed, sum), into).map_err(Some)?;
    offload::validate(claimed, into).map(OffloadWord::from).ok_or(None)
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
        let Desk { headers, line } = &mut *desk;
        let mut frames = ArrayVec::new();
        let alike = self.parse(turn, batch, headers, &mut frames);
        let sighted = Sighted { headers, frames: &frames };
        let stopped = self.watch(turn, &sighted);
        self.look_up_all(turn, ingress, &sighted, (alike, stopped), line, egress);
        self.judge(turn, &sighted, line, egress);
        if self.journal.has_news() {
            self.report_ended(turn);
        }
        debug_assert_eq!(self.entered, self.ended);
        self.desk = Some(desk);
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

    /// Stage 0: read the headers. What stands behind a datagram nobody has looked at, and it goes no further. Answers
    /// which of the frames are like the one before, as bits.
    #[inline(always)]
    fn parse<'batch>(
        &mut self,
        turn: &Turn<'_>,
        batch: &'batch Batch,
        headers: &mut [Headers; BURST_MAX],
        frames: &mut ArrayVec<Sight<'batch>, BURST_MAX>,
    ) -> u32 {
        let (mut likeness, mut alike) = (Likeness::NONE, 0);
        let has_claims = batch.has_claims();
        let mut index = 0;
        while index < batch.len() {
            let first = frames.len();
            let run = if has_claims {
                parse_alike::<true>(&likeness, batch, index, headers, frames)
            } else {
                parse_alike::<false>(&likeness, batch, index, headers, frames)
            };
            alike |= (((1_u64 << run) - 1) << first) as u32;
            index += run;
            let Some(frame) = batch.get(index) else { break };
            let (claimed, sum) = (batch.claimed(index), batch.sum(index));
            index += 1;
            let headers = &mut headers[frames.len() % BURST_MAX];
            match parse_one(frame, (claimed, sum), headers) {
                Ok(offload) => {
                    likeness = Likeness::of(frame, headers);
                    frames.push((&frame[..headers.end as usize], offload));
                }
                Err(malformed) => {
                    likeness = Likeness::NONE;
                    self.drop_unseen(turn, frame, malformed);
                }
            }
        }
        alike
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
