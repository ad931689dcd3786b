//! One worker's inspection: the state that outlives a packet, and the order in which a packet is looked at.
//!
//! # Theory of operation
//!
//! A packet of a flow that was refused ends here; one that no signature can concern goes on at once. For the rest:
//!
//! 1. its bytes go into the flow's stream, and what becomes readable by it, or the datagram, to the protocol's parser;
//! 2. prefilters say which signatures are worth a look, for the payload and for each buffer that is new
//!    ([`candidates`]);
//! 3. those are looked at one by one, in the order pass, drop, reject, alert ([`judge`]);
//! 4. matches are counted, remembered, reported, and decide about the packet and the flow ([`decide`]).
//!
//! A signature that needs more than has arrived waits in the flow. The packet that completes a match is the one that is
//! dropped, and the rest of the flow with it: what the receiver has is not enough for the match, and it gets no more.

mod budget;
mod candidates;
mod collector;
mod decide;
mod ending;
mod fate;
mod files;
mod flow;
mod flow_slots;
mod follow;
mod hosts;
mod judge;
mod memory;
mod observer;
mod profile;
mod report;
mod settings;
mod signature_set;
mod transactions;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::alert::Alert;
use crate::announcements::Announcements;
use crate::limits::{FLOW_BYTES_MAX, FLOW_SLOTS_MAX, FLOWS_BYTES_MAX, POOL_MAX, WORK_SAVED_MAX};
use crate::record::{Context, Note, Wanted};
use crate::signature::{Facts, FlowFacts, PacketGroup, Rates, RegexCaches, RuleSet, RunSet, Work};
use crate::stream::StreamMemory;
use crate::verdict::{Refused, Verdict};
use crate::wire::Packet;

use budget::granted;
use candidates::Candidates;
use collector::Collector;
pub use ending::Ended;
use fate::{Decision, FlowFate, WouldDrop};
pub use files::{FileCounts, FileEvent, FileFinding};
use files::{FileWatch, can_begin};
use flow::Flow;
use flow_slots::{Flows, Kept, Outlook};
use memory::AddressBits;
pub use profile::Profile;
pub use settings::{ExceptionPolicy, Mode, Settings};
use transactions::Pool;

/// Which side of the flow sent the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the originator to the responder (Suricata's `to_server`).
    ToServer,
    /// From the responder to the originator (Suricata's `to_client`).
    ToClient,
}

impl Direction {
    /// The other direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Direction::ToServer => Direction::ToClient,
            Direction::ToClient => Direction::ToServer,
        }
    }
}

/// The place of a flow in the caller's flow table. The inspector keeps what it must remember of a flow under this
/// number until [`Inspector::flow_ended`] gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowSlot(pub u32);

/// What the caller's flow table knows of the packet's flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowView {
    /// Where the flow is kept; `None` for packets without a flow (ARP).
    pub slot: Option<FlowSlot>,
    /// Which side sent this packet.
    pub direction: Direction,
    /// Whether both sides have sent (for TCP: whether the handshake is complete), as `flow:established` asks.
    pub established: bool,
    /// Whether this packet opened the flow.
    pub is_first: bool,
}

/// Everything that one worker's inspection remembers between packets.
#[derive(Debug, Default)]
pub struct Inspector {
    /// For packets that come without a profile.
    own: Arc<Profile>,
    /// What is noted, whatever the profile.
    records: Wanted,
    flows: Flows,
    streams: StreamMemory,
    rates: Rates,
    caches: RegexCaches,
    addresses: AddressBits,
    files: FileWatch,
    announcements: Arc<Announcements>,
    candidates: Candidates,
    pool: Pool,
    /// Flows that have ended, for those that begin.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept: they go back into the table as they are")]
    spare: Vec<Box<Flow>>,
    /// Flows that were followed so far.
    flow_count: u64,
    /// Bytes that all flows hold in windows, buffers and bodies.
    held_bytes: usize,
    transformed: [Vec<u8>; 2],
    /// Scratch: of how many candidates each side of a transaction is looked at.
    looks: Vec<usize>,
    /// What runs of bytes the stream and the packet at hand hold.
    runs: RunSet,
    /// What the packet at hand would have come to, were its profile not an audit.
    would_drop: Option<WouldDrop>,
    /// Alerts that [`crate::limits::ALERTS_PER_PACKET_MAX`] kept from being appended.
    suppressed_count: u64,
    /// What there is to tell beside alerts, until the caller takes it.
    told: Vec<Note>,
    /// What is known of the flow of each alert of the last packet.
    contexts: Vec<Context>,
    /// Notes that had no room.
    lost_notes: u64,
    /// Work that parsers and verifying signatures have cost so far.
    work_done: u64,
}

/// One packet under inspection, with what its caller knows.
struct Look<'a> {
    rules: &'a RuleSet,
    profile: &'a Profile,
    facts: Facts<'a>,
    view: &'a FlowView,
    now_ms: u64,
    /// No signature asks for the flow to be followed, only its files do.
    is_for_files: bool,
}

impl Inspector {
    /// An inspector that remembers nothing yet. [`Inspector::inspect`] goes by these settings, with all signatures.
    pub fn new(settings: Settings) -> Self {
        Self::sharing(settings, Arc::default())
    }

    /// [`Inspector::new`], of one of several that see each other's flows: what one of them hears announced, all know.
    pub fn sharing(settings: Settings, announcements: Arc<Announcements>) -> Self {
        let own = Arc::new(Profile::all(settings));
        Self { records: settings.records, own, announcements, ..Self::default() }
    }

    /// Whether [`Inspector::inspect_by`] would forward any packet without a look: there is nothing to look for, and nothing is
    /// remembered of any flow.
    pub fn is_idle(&self, rules: &RuleSet) -> bool {
        rules.is_empty() && !self.records.follows_all() && !self.files.is_on() && self.flows.is_empty()
    }

    /// Whether [`Inspector::inspect_by`] would forward any packet of the flow without a look: there is nothing to look for, or
    /// the rest of the flow was let pass under these very signatures and this profile.
    #[inline(always)]
    pub fn passes_unseen<'p>(&self, rules: &RuleSet, profile: impl FnOnce() -> &'p Profile, slot: FlowSlot) -> bool {
        match self.flows.outlook(slot) {
            Outlook::Refused => false,
            Outlook::Passed(mark) if mark == profile().pass_mark(rules) => true,
            Outlook::WithoutFiles => rules.is_empty() && !self.records.follows_all(),
            Outlook::Passed(_) | Outlook::Unknown => {
                rules.is_empty() && !self.records.follows_all() && !self.files.is_on()
            }
        }
    }

    /// [`Inspector::inspect_by`] the inspector's own settings.
    pub fn inspect(
        &mut self,
        rules: &RuleSet,
        packet: &Packet<'_>,
        flow: &FlowView,
        now_ms: u64,
        alerts: &mut Vec<Alert>,
    ) -> Verdict {
        let own = Arc::clone(&self.own);
        self.inspect_by(rules, &own, packet, flow, now_ms, alerts)
    }

    /// Looks at one packet and answers for it, by the profile that holds for its flow. Alerts are appended to `alerts`,
    /// at most [`crate::limits::ALERTS_PER_PACKET_MAX`] of them. `now_ms` is a monotonic time in milliseconds that never
    /// goes back. A flow may get another profile with another packet: what it is known to have said stays, what
    /// signatures made of it is forgotten.
    pub fn inspect_by(
        &mut self,
        rules: &RuleSet,
        profile: &Profile,
        packet: &Packet<'_>,
        flow: &FlowView,
        now_ms: u64,
        alerts: &mut Vec<Alert>,
    ) -> Verdict {
        if let Some(slot) = flow.slot
            && self.flows.is_refused(slot)
            && let Some(verdict) = self.judge_refused(rules, profile, slot)
        {
            return verdict;
        }
        let is_noted = self.records.follows_all() && self.is_noted(packet);
        if rules.is_empty() && !is_noted && !self.files.is_on() {
            return Verdict::Forward;
        }
        let Some(facts) = Facts::of(packet) else { return Verdict::Forward };
        let protocol = packet.headers().protocol;
        let (source_port, destination_port) = (facts.source_port, facts.destination_port);
        let id = rules.group(protocol, source_port, destination_port, flow.direction);
        let group = id.and_then(|id| rules.selection.packet_group(id)).filter(|_| profile.concerns(facts.transport));
        let is_asked_for = is_noted || group.is_some_and(|group| group.follows(source_port, destination_port));
        let is_for_files = !is_asked_for && self.files.is_on() && flow.slot.is_some() && packet.tcp().is_some();
        if group.is_none() && !is_noted && !is_for_files {
            return Verdict::Forward;
        }
        let follows = is_asked_for || is_for_files;
        let look = Look { rules, profile, facts, view: flow, now_ms, is_for_files };
        // A flow that cannot be remembered cannot be followed.
        if follows && flow.slot.is_some_and(|slot| slot.0 as usize >= FLOW_SLOTS_MAX) {
            let decision = self.exception(profile.settings().memory_exception, Refused::Memory, &look);
            return self.conclude(&look, decision, None);
        }
        let Some((mut kept, mut is_let_go)) = self.recall(&look, group.is_some()) else { return Verdict::Forward };
        let may_begin = is_asked_for || is_for_files && !is_let_go && can_begin(&look);
        if kept.is_none() && flow.slot.is_some() && may_begin {
            let mut begun = self.begin(look.signatures(), now_ms);
            self.meet_announced(&look, &mut begun);
            kept = Some(begun);
        }
        let known_alerts = alerts.len();
        self.files.begin(&look);
        let mut decision = self.look(&look, group, kept.as_deref_mut(), alerts);
        if self.records.is_anything() {
            self.explain(&alerts[known_alerts..], kept.as_deref_mut());
        }
        if self.files.is_on() {
            decision = self.heed_files(&look, decision, kept.as_deref());
        }
        let verdict = self.conclude(&look, decision, kept.as_deref_mut());
        if is_for_files
            && decision.flow == FlowFate::Open
            && let Some(open) = kept.take_if(|open| !open.may_carry_files())
        {
            self.end(open);
            is_let_go = true;
        }
        if is_let_go && decision.flow == FlowFate::Open {
            self.put_back(flow, Kept::WithoutFiles);
        } else {
            self.settle(&look, kept, &decision);
        }
        verdict
    }

    /// Alerts so far that were left out because one packet raised too many.
    pub fn suppressed_count(&self) -> u64 {
        self.suppressed_count + self.files.suppressed_count()
    }

    /// Work that taking messages apart and verifying signatures has cost so far, in units of about a nanosecond. What each
    /// packet may cost is bounded by [`crate::limits::WORK_PER_PACKET`] and its fellows, and by what its flow has saved.
    pub fn work_done(&self) -> u64 {
        self.work_done
    }

    /// What the streams of all flows hold.
    pub fn stream_memory(&self) -> &StreamMemory {
        &self.streams
    }

    /// The protocol that a flow was recognised to speak.
    pub fn protocol_of(&mut self, slot: FlowSlot) -> Option<crate::protocol::AppProtocol> {
        self.flows.peek(slot)?.conversation.protocol()
    }

    /// Follows the packet into its flow and decides about it.
    fn look(
        &mut self,
        look: &Look<'_>,
        group: Option<&PacketGroup>,
        mut flow: Option<&mut Flow>,
        alerts: &mut Vec<Alert>,
    ) -> Decision {
        if let Some(flow) = flow.as_deref_mut() {
            flow.waited = 0;
        }
        let granted_first = granted(look, flow.as_deref());
        let mut broken: Option<Decision> = None;
        let mut work = Work::of(granted_first);
        budget::allow_parsers(look, &mut work);
        if let Some(flow) = flow.as_deref_mut() {
            let (packets, bytes) = &mut flow.passed[flow::index(look.view.direction)];
            (*packets, *bytes) = (*packets + 1, *bytes + look.facts.packet.frame().len() as u64);
            let before = flow.conversation.protocol();
            let followed = self.follow(look, flow, &mut work);
            flow.has_new_protocol = flow.conversation.protocol() != before;
            match followed {
                Ok(()) => {}
                // What broke the protocol may be what a signature asks for.
                Err(decision) if decision.is_for_protocol() => broken = Some(decision),
                Err(decision) => {
                    self.work_done += work.done;
                    return decision;
                }
            }
            if self.holds_too_much(flow) {
                flow.transactions.is_overrun = false;
                let policy = look.profile.settings().memory_exception;
                let exception = self.exception(policy, Refused::Memory, look);
                if exception.stops() {
                    self.work_done += work.done;
                    return exception;
                }
            }
        }
        // What the flow speaks may have turned out just now.
        work.max += granted(look, flow.as_deref()).saturating_sub(granted_first);
        if let Some(flow) = flow.as_deref_mut() {
            work.max += budget::for_recognition(flow);
        }
        self.candidates.begin(look, flow.as_deref());
        if let Some(group) = group {
            self.candidates.of_packet(look, group, flow.as_deref_mut(), &mut work);
        }
        if let Some(flow) = flow.as_deref_mut() {
            self.candidates.of_transactions(look, flow, &mut work);
        }
        if work.is_spent() || self.candidates.is_overrun {
            let exception = self.exception(look.profile.settings().budget_exception, Refused::Budget, look);
            if exception.stops() {
                self.work_done += work.done;
                return exception;
            }
        }
        let decision = self.decide(look, flow.as_deref_mut(), &mut work, alerts);
        self.work_done += work.done;
        if let Some(flow) = flow {
            flow.saved_work = work.max.saturating_sub(work.done).min(WORK_SAVED_MAX);
        }
        broken.map_or(decision, |broken| broken.after(decision))
    }

    /// Whether the flow, or all flows, hold more than they may.
    fn holds_too_much(&mut self, flow: &mut Flow) -> bool {
        let held = flow.held_bytes();
        self.held_bytes = self.held_bytes + held - flow.counted_bytes;
        flow.counted_bytes = held;
        held > FLOW_BYTES_MAX || self.held_bytes > FLOWS_BYTES_MAX || flow.transactions.is_overrun
    }

    /// Memory for a flow of which nothing is known.
    fn begin(&mut self, signatures: u64, now_ms: u64) -> Box<Flow> {
        let mut flow = match self.spare.pop() {
            Some(mut used) => {
                used.renew(signatures, now_ms);
                used
            }
            None => Box::new(Flow::new(signatures, now_ms)),
        };
        flow.observed = self.observer();
        self.flow_count += 1;
        flow.number = self.flow_count;
        flow
    }

    /// Gives back the memory of a flow.
    fn end(&mut self, mut flow: Box<Flow>) {
        self.tell_rest(&mut flow);
        flow.release(&mut self.streams);
        self.held_bytes -= std::mem::take(&mut flow.counted_bytes);
        flow.transactions.clear(&mut self.pool);
        if self.spare.len() < POOL_MAX {
            self.spare.push(flow);
        }
    }

    /// Puts the flow's memory back, or what has become of it.
    fn settle(&mut self, look: &Look<'_>, open: Option<Box<Flow>>, decision: &Decision) {
        let kept = match (decision.flow, open) {
            (FlowFate::Open, Some(mut open)) => {
                open.tidy(&mut self.pool);
                Kept::Open(open)
            }
            (FlowFate::Open, None) => return,
            (fate, open) => {
                if let Some(open) = open {
                    self.end(open);
                }
                match fate {
                    FlowFate::Refused => Kept::Refused(Box::new(Self::refusal(look, decision))),
                    FlowFate::Passed | FlowFate::Open => Kept::Passed(look.profile.pass_mark(look.rules)),
                }
            }
        };
        self.put_back(look.view, kept);
    }

    fn put_back(&mut self, view: &FlowView, kept: Kept) {
        let Some(slot) = view.slot else { return };
        if let Some(Kept::Open(homeless)) = self.flows.keep(slot, kept) {
            self.end(homeless);
        }
    }
}

impl Look<'_> {
    /// What signatures may ask of the flow.
    fn flow_facts(&self, flow: Option<&Flow>) -> FlowFacts {
        FlowFacts {
            direction: self.view.direction,
            established: self.view.established,
            stream_sizes: flow.and_then(Flow::stream_sizes),
            counts: flow.map(|flow| flow.counts(self.now_ms)),
        }
    }
}
