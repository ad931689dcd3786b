//! Stages 3 to 5 for items in line: what their flow and policy say, what inspection says, and where they leave.

use inspect::inspector::{Direction, FlowSlot, FlowView};
use inspect::wire::Packet;
use zones::policy::DeciderId;

use super::decide::{self, Denied, Flows, Keyed};
use super::{DropDetail, Line, Pipeline, Sighted, Turn};
use crate::counters::Cell;
use crate::drop_reason::DropReason;
use crate::flow_table::Usual;
use crate::forward::{Egress, Outbound};
use crate::frame::{BURST_MAX, PortId};
use crate::inspection::{Candidate, Cleared, Judged};

/// What is the same for all items of a line.
pub(super) struct Around<'a> {
    /// The generation that judges.
    generation: u32,
    now_ms: u64,
    /// Where the deciders' decisions are counted.
    hits: &'a [Cell],
    /// Whether inspection has nothing to say of any packet; see [`crate::inspection::Inspection::is_idle`].
    is_all_unseen: bool,
}

impl Pipeline {
    /// Stages 3 to 5 for up to a burst of items: flow and policy, inspection, forwarding. Leaves none of them.
    pub(super) fn judge<E: Egress>(&mut self, turn: &Turn<'_>, sighted: &Sighted<'_>, line: &mut Line, egress: &mut E) {
        let len = std::mem::take(&mut line.len).min(BURST_MAX);
        let (items, keyed) = (&line.items[..len], &mut line.keyed[..len]);
        if self.flows.is_large() {
            for keyed in &mut *keyed {
                keyed.place = self.flows.prefetch_again(keyed.place, keyed.hash);
            }
        }
        let mut outbound = Outbound::default();
        let around = self.around(turn);
        let items = items.iter().zip(&*keyed);
        if around.is_all_unseen && !self.is_quarantine && !self.journal.counts() {
            for ((at, port), keyed) in items {
                let candidate = || sighted.candidate(*at);
                self.judge_one::<E, true>(turn, &around, *port, keyed, candidate, &mut outbound, egress);
            }
        } else {
            for ((at, port), keyed) in items {
                let candidate = || sighted.candidate(*at);
                self.judge_one::<E, false>(turn, &around, *port, keyed, candidate, &mut outbound, egress);
            }
        }
        self.leave(turn, &outbound, egress);
    }

    /// What is the same for all items of a line.
    #[inline(always)]
    pub(super) fn around<'a>(&self, turn: &Turn<'a>) -> Around<'a> {
        Around {
            generation: turn.generation.number,
            now_ms: turn.now_ms(),
            hits: hits(turn),
            is_all_unseen: self.inspection.is_idle(&turn.generation.rules),
        }
    }

    /// Stages 3 and 4 for one item, and where it leaves if it is cleared. `IS_STRAIGHT` leaves out what is asked only
    /// while there is something to inspect, a port in quarantine, or flows to be counted.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    pub(super) fn judge_one<'batch, E: Egress, const IS_STRAIGHT: bool>(
        &mut self,
        turn: &Turn<'_>,
        around: &Around<'_>,
        port: PortId,
        keyed: &Keyed,
        candidate: impl Fn() -> Candidate<'batch>,
        outbound: &mut Outbound<'batch>,
        egress: &mut E,
    ) {
        let mut usual = Usual::NONE;
        let is_quarantine = !IS_STRAIGHT && self.is_quarantine;
        let now = (around.generation, around.now_ms);
        if is_quarantine || !decide::usual(now, &candidate, keyed, &mut self.flows, &mut usual) {
            // Made anew here: where it can be pointed to, it is in memory.
            return self.judge_in_full(turn, port, keyed, &candidate(), outbound, egress);
        }
        let candidate = &candidate();
        if let Some(cell) = around.hits.get(usize::from(usual.decider)) {
            cell.add(1);
        }
        let slot = FlowSlot(usual.id.0);
        if !IS_STRAIGHT && self.journal.counts() {
            self.journal.count(&decide::usual_view(&usual), &candidate.packet(), turn.now_ms());
        }
        let profile = || {
            let direction = if usual.from_responder { Direction::ToClient } else { Direction::ToServer };
            let (from, to) = ends(turn, port, direction);
            &turn.generation.profiles.between(from, to).profile
        };
        let is_unseen = IS_STRAIGHT || around.is_all_unseen;
        match self.inspection.clear_unseen(&turn.generation.rules, is_unseen, profile, candidate, slot) {
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
    pub(super) fn leave<E: Egress>(&mut self, turn: &Turn<'_>, outbound: &Outbound<'_>, egress: &mut E) {
        self.counters.cleared.add(outbound.len() as u64);
        self.send(turn, outbound, egress);
    }

    /// Stage 5: what is cleared leaves, and what its receiver did not take is dropped.
    #[inline(always)]
    pub(super) fn send<E: Egress>(&mut self, turn: &Turn<'_>, outbound: &Outbound<'_>, egress: &mut E) {
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
    pub(super) fn admit<'batch>(
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
