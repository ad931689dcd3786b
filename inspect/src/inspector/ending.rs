//! The end of a flow: what it completes, and what is forgotten.

use super::flow::Window;
use super::{Collector, Direction, Flow, FlowSlot, FlowView, Inspector, Kept, Look, RuleSet};
use crate::alert::Alert;
use crate::limits::WORK_SAVED_MAX;
use crate::record::FlowSummary;
use crate::signature::{Facts, Work};
use crate::wire::Packet;
use std::sync::Arc;

/// What was known of a flow that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The flow was refused, so that nothing of it passed any more.
    pub is_refused: bool,
    /// A `pass` signature, or an exception policy, took the flow out of inspection.
    pub is_passed: bool,
    /// What it was, if it was followed to its end.
    pub summary: Option<FlowSummary>,
}

impl Inspector {
    /// Tells what the end of a flow completes: bodies that end with their connection, handshakes that will not come. To
    /// be called before [`Inspector::flow_ended`] by who wants those alerts, with any packet of the flow, whose payload
    /// is not looked at again, and its direction. What has become of a flow that is followed no more stays as it is.
    pub fn flow_finished(
        &mut self,
        rules: &RuleSet,
        packet: &Packet<'_>,
        flow: &FlowView,
        now_ms: u64,
        alerts: &mut Vec<Alert>,
    ) {
        let (Some(slot), Some(mut facts)) = (flow.slot, Facts::of(packet)) else { return };
        facts.payload = &[];
        let mut open = match self.flows.take(slot) {
            Kept::Open(open) => open,
            kept => return self.put_back(flow, kept),
        };
        let own = Arc::clone(&self.own);
        let look = Look { rules, profile: &own, facts, view: flow, now_ms, is_for_files: false };
        open.meet(&look);
        open.windows.iter_mut().for_each(Window::turn);
        self.files.begin(&look);
        let Flow { conversation, transactions, observed, announced, .. } = &mut *open;
        let hosts = look.hosts(&self.announcements, announced.as_deref());
        let mut work = Work::of(WORK_SAVED_MAX);
        for direction in [Direction::ToServer, Direction::ToClient] {
            conversation.closed(
                direction,
                &own.settings().protocol,
                &mut Collector {
                    rules,
                    transactions,
                    pool: &mut self.pool,
                    observed: observed.as_deref_mut(),
                    files: &mut self.files,
                    is_for_files: false,
                    work: &mut work,
                    is_bounded: false,
                    hosts,
                },
            );
        }
        for side in &mut open.transactions.sides {
            side.close();
        }
        self.candidates.begin(&look, Some(&open));
        self.candidates.of_transactions(&look, &mut open, &mut work);
        let known_alerts = alerts.len();
        let decision = self.decide(&look, Some(&mut open), &mut work, alerts);
        self.work_done += work.done;
        if self.records.is_anything() {
            self.explain(&alerts[known_alerts..], Some(&mut open));
        }
        let decision = self.heed_files(&look, decision, Some(&open));
        self.would_drop = None;
        self.settle(&look, Some(open), &decision);
    }

    /// Forgets everything about a flow whose slot is given back, and answers what is worth a record of it. What was still to
    /// be told of it is in [`Inspector::take_notes`] then.
    pub fn flow_ended(&mut self, slot: FlowSlot) -> Ended {
        match self.flows.take(slot) {
            Kept::Open(open) => {
                let summary = open.summary();
                self.end(open);
                Ended { summary: Some(summary), ..Ended::default() }
            }
            Kept::Refused(_) => Ended { is_refused: true, ..Ended::default() },
            Kept::Passed(_) => Ended { is_passed: true, ..Ended::default() },
            Kept::Nothing | Kept::WithoutFiles => Ended::default(),
        }
    }
}
