//! What becomes of a packet and its flow, and what exception policies make of it.

use crate::inspector::flow::Flow;
use crate::inspector::{ExceptionPolicy, Inspector, Look, Mode};
use crate::verdict::{Refused, Verdict};

/// What becomes of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlowFate {
    Open,
    Refused,
    Passed,
}

/// What becomes of a packet and its flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) flow: FlowFate,
    /// Nothing else of the packet is looked at, though it goes on.
    is_final: bool,
}

impl Decision {
    /// The packet goes on, as far as is known yet.
    pub(super) const FORWARD: Self = Self { verdict: Verdict::Forward, flow: FlowFate::Open, is_final: false };

    /// Whether the look at the packet ends with it.
    pub(super) fn stops(self) -> bool {
        self.verdict != Verdict::Forward || self.flow != FlowFate::Open || self.is_final
    }
}

impl Decision {
    /// The same, but that the flow ends here, and the packet for this reason if there was none yet.
    pub(super) fn or_refused(self, why: Refused) -> Self {
        let verdict = if self.verdict == Verdict::Forward { Verdict::Drop(why) } else { self.verdict };
        Self { verdict, flow: FlowFate::Refused, is_final: true }
    }
}

/// What an audit lets pass that prevention would not.
#[derive(Clone, Copy, Debug)]
pub(super) struct WouldDrop {
    why: Refused,
    /// The rest of the flow would have gone too.
    is_for_good: bool,
}

impl Inspector {
    /// What an exception policy makes of a packet and its flow.
    pub(super) fn exception(&mut self, policy: ExceptionPolicy, why: Refused, look: &Look<'_>) -> Decision {
        let is_for_good = match policy {
            ExceptionPolicy::Auto | ExceptionPolicy::DropFlow | ExceptionPolicy::Reject => true,
            ExceptionPolicy::DropPacket => false,
            ExceptionPolicy::PassFlow | ExceptionPolicy::Bypass => {
                return Decision { flow: FlowFate::Passed, ..Decision::FORWARD };
            }
            ExceptionPolicy::PassPacket => return Decision { is_final: true, ..Decision::FORWARD },
            ExceptionPolicy::Ignore => return Decision::FORWARD,
        };
        match look.profile.settings().mode {
            Mode::Prevent => {
                let flow = if is_for_good { FlowFate::Refused } else { FlowFate::Open };
                Decision { verdict: Verdict::Drop(why), flow, is_final: true }
            }
            Mode::Audit => {
                self.note_would_drop(why, is_for_good);
                Decision::FORWARD
            }
            // Who only watches refuses nothing.
            Mode::Detect => Decision::FORWARD,
        }
    }

    /// Notes what would have ended the packet; the first reason is the one that would have.
    pub(super) fn note_would_drop(&mut self, why: Refused, is_for_good: bool) {
        let would = self.would_drop.get_or_insert(WouldDrop { why, is_for_good });
        would.is_for_good |= is_for_good;
    }

    /// The verdict that a decision comes to, with what an audit has to say about it.
    pub(super) fn conclude(&mut self, decision: Decision, flow: Option<&mut Flow>) -> Verdict {
        let would = self.would_drop.take();
        if decision.verdict != Verdict::Forward {
            return decision.verdict;
        }
        // Had the flow ended earlier, this packet would have ended for that.
        let was_refused = flow.as_ref().is_some_and(|flow| flow.would_be_refused);
        if let (Some(flow), Some(WouldDrop { is_for_good: true, .. })) = (flow, would) {
            flow.would_be_refused = true;
        }
        match would {
            _ if was_refused => Verdict::WouldDrop(Refused::FlowRefused),
            Some(would) => Verdict::WouldDrop(would.why),
            None => Verdict::Forward,
        }
    }
}
