//! What becomes of a packet and its flow, and what exception policies make of it.

use crate::inspector::flow::Flow;
use crate::inspector::{ExceptionPolicy, FlowSlot, Inspector, Look, Mode, Profile};
use crate::signature::{RuleSet, Transports};
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
    /// The signature by which the flow is refused, where it is one.
    pub(super) refused_by: Option<u32>,
}

/// That a flow was refused, and what would have to be so for it to stay refused under another rule set or profile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    /// Of the rule set and the profile that it was looked at with last.
    mark: u64,
    /// The identity of the signature that refused it; `None` for what no signature did.
    by: Option<u64>,
    /// Nothing of what passes behind the refusal can be made sense of: the stream has a hole there.
    is_stream: bool,
}

impl Refusal {
    /// Whether it stands under the rule set and the profile of today, for one who prevents.
    fn stands(&mut self, rules: &RuleSet, profile: &Profile) -> bool {
        let mark = profile.pass_mark(rules);
        let stands = self.mark == mark || self.is_stream || self.by.is_none_or(|by| profile.refuses_by(rules, by));
        self.mark = mark;
        stands
    }
}

impl Decision {
    /// The packet goes on, as far as is known yet.
    pub(super) const FORWARD: Self =
        Self { verdict: Verdict::Forward, flow: FlowFate::Open, is_final: false, refused_by: None };

    /// Whether the look at the packet ends with it.
    pub(super) fn stops(self) -> bool {
        self.verdict != Verdict::Forward || self.flow != FlowFate::Open || self.is_final
    }
}

impl Decision {
    /// Whether the packet ends because of the protocol that it breaks.
    pub(super) fn is_for_protocol(self) -> bool {
        self.verdict == Verdict::Drop(Refused::Protocol)
    }

    /// This, which stands whatever signatures say, with what they have said of the same packet.
    pub(super) fn after(self, signatures: Self) -> Self {
        let verdict = if signatures.verdict == Verdict::Forward { self.verdict } else { signatures.verdict };
        let flow = if signatures.flow == FlowFate::Refused { signatures.flow } else { self.flow };
        Self { verdict, flow, is_final: true, refused_by: signatures.refused_by }
    }

    /// The same, but that the flow ends here, and the packet for this reason if there was none yet.
    pub(super) fn or_refused(self, why: Refused) -> Self {
        let verdict = if self.verdict == Verdict::Forward { Verdict::Drop(why) } else { self.verdict };
        Self { verdict, flow: FlowFate::Refused, is_final: true, refused_by: None }
    }
}

/// What an audit lets pass that prevention would not.
#[derive(Clone, Copy, Debug)]
pub(super) struct WouldDrop {
    why: Refused,
    /// The rest of the flow would have gone too.
    is_for_good: bool,
}

impl ExceptionPolicy {
    /// Whether one who prevents stops the packet at least.
    fn stops(self) -> bool {
        match self {
            Self::Auto | Self::DropFlow | Self::DropPacket | Self::Reject => true,
            Self::PassFlow | Self::PassPacket | Self::Bypass | Self::Ignore => false,
        }
    }
}

impl Look<'_> {
    /// Whether a packet is stopped, or said to be, when its work is spent. Otherwise nothing is gained by not doing it.
    pub(super) fn is_work_bounded(&self) -> bool {
        let settings = self.profile.settings();
        settings.mode != Mode::Detect && settings.budget_exception.stops()
    }
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
                Decision { verdict: Verdict::Drop(why), flow, is_final: true, refused_by: None }
            }
            Mode::Audit => {
                self.note_would_drop(why, is_for_good);
                Decision::FORWARD
            }
            // Who only watches refuses nothing.
            Mode::Detect => Decision::FORWARD,
        }
    }

    /// The verdict about a packet of a flow that was refused, if it still is.
    ///
    /// A refusal holds for the rest of the flow, whatever is reloaded, as long as the flow's profile prevents: what was taken out
    /// of a TCP stream is missing for whoever would have to judge the rest of it. Where there is no stream to miss anything, it
    /// ends with the signature that it is due to, or with that signature's applying. An audit says that prevention would have
    /// refused; who only watches refuses nothing, and looks at what is left of the flow as at one whose beginning was not seen.
    #[cold]
    pub(super) fn judge_refused(&mut self, rules: &RuleSet, profile: &Profile, slot: FlowSlot) -> Option<Verdict> {
        let refusal = self.flows.refusal(slot)?;
        let verdict = match profile.settings().mode {
            Mode::Detect => None,
            Mode::Prevent | Mode::Audit if !refusal.stands(rules, profile) => None,
            Mode::Prevent => Some(Verdict::Drop(Refused::FlowRefused)),
            Mode::Audit => Some(Verdict::WouldDrop(Refused::FlowRefused)),
        };
        if verdict.is_none() {
            self.flows.take(slot);
        }
        verdict
    }

    /// What is to be remembered of a flow that is refused.
    pub(super) fn refusal(look: &Look<'_>, decision: &Decision) -> Refusal {
        let by = decision.refused_by.and_then(|index| look.rules.signatures.get(index as usize));
        Refusal {
            mark: look.profile.pass_mark(look.rules),
            by: by.map(|signature| signature.identity),
            is_stream: look.facts.transport == Transports::TCP,
        }
    }

    /// Notes what would have ended the packet; the first reason is the one that would have.
    pub(super) fn note_would_drop(&mut self, why: Refused, is_for_good: bool) {
        let would = self.would_drop.get_or_insert(WouldDrop { why, is_for_good });
        would.is_for_good |= is_for_good;
    }

    /// The verdict that a decision comes to, with what an audit has to say about it.
    pub(super) fn conclude(&mut self, look: &Look<'_>, decision: Decision, mut flow: Option<&mut Flow>) -> Verdict {
        if let Some(flow) = flow.as_deref_mut()
            && look.profile.settings().mode != Mode::Audit
        {
            flow.would_be_refused = false;
        }
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
