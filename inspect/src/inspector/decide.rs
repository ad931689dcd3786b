//! From candidates to a decision: each is looked at in order, and what matches takes effect.

use crate::alert::{Alert, AlertAction};
use crate::inspector::candidates::Candidate;
use crate::inspector::flow::{Flow, Window, index};
use crate::inspector::judge::{Answer, Judge};
use crate::inspector::memory::{FlowNotes, apply};
use crate::inspector::{Decision, FlowFate, Inspector, Look, Mode};
use crate::limits::ALERTS_PER_PACKET_MAX;
use crate::protocol::Status;
use crate::signature::{Action, Known, RateKey, Rated, Signature, Track, Transports, Within, Work, weight};
use crate::verdict::{Refused, Verdict};

/// Candidates that look at one text from which on it is worth to note what runs of bytes it holds.
const LOOKS_MANY: usize = 16;

impl Inspector {
    /// Looks at the candidates in the order pass, drop, reject, alert, and decides.
    pub(super) fn decide(
        &mut self,
        look: &Look<'_>,
        mut flow: Option<&mut Flow>,
        work: &mut Work,
        alerts: &mut Vec<Alert>,
    ) -> Decision {
        let alerts_max = alerts.len() + ALERTS_PER_PACKET_MAX;
        let mut decision = Decision::FORWARD;
        let mut candidates = std::mem::take(&mut self.candidates);
        let mut last_match = None;
        let flow_facts = look.flow_facts(flow.as_deref());
        let sorted = candidates.sorted(&mut work.done);
        let is_recognising = flow.as_ref().is_some_and(|flow| flow.conversation.status() == Status::Recognising);
        let is_early = |candidate| is_recognising && waits_for_protocol(look, candidate);
        let has_runs = self.note_runs(look, sorted, is_early, flow.as_deref_mut(), work);
        for &candidate in sorted {
            let answer = if is_early(candidate) {
                work.done += weight::GLANCE;
                match (work.is_spent(), candidate.is_stale) {
                    (true, _) => Answer::Exhausted,
                    (false, true) => continue,
                    (false, false) => Answer::Later(None),
                }
            } else {
                let mut judge = Judge {
                    rules: look.rules,
                    facts: &look.facts,
                    flow_facts,
                    mode: look.profile.settings().mode,
                    now_ms: look.now_ms,
                    caches: &mut self.caches,
                    addresses: &self.addresses,
                    work_max: work.max,
                    work: &mut work.done,
                    witness: look.rules.witnesses[candidate.signature as usize],
                    runs: has_runs.then_some(&self.runs),
                    transformed: &mut self.transformed,
                };
                match judge.foresee(candidate, flow.as_deref()) {
                    Some(answer) => answer,
                    None => judge.look(candidate, flow.as_deref()),
                }
            };
            let side = match answer {
                // One packet, one match per signature and transaction.
                Answer::Yes(side) if last_match == Some((candidate.signature, side)) => continue,
                Answer::Yes(side) => side,
                Answer::No => continue,
                // Who waited for the stream goes on doing so for as long as it was granted.
                Answer::Later(None) if candidate.is_stale => continue,
                Answer::Later(side) => {
                    work.done += weight::GLANCE;
                    if wait(candidate, side, look, flow.as_deref_mut()) {
                        continue;
                    }
                    let policy = look.profile.settings().budget_exception;
                    let exception = self.exception(policy, Refused::Budget, look);
                    if !exception.stops() {
                        continue;
                    }
                    decision = exception;
                    break;
                }
                Answer::Exhausted => {
                    let policy = look.profile.settings().budget_exception;
                    let exception = self.exception(policy, Refused::Budget, look);
                    if decision.verdict == Verdict::Forward {
                        decision = exception;
                    }
                    break;
                }
            };
            work.done += weight::MATCH;
            last_match = Some((candidate.signature, side));
            note(candidate, side, look, flow.as_deref_mut());
            if self.take_effect(look, candidate, side, flow.as_deref_mut(), &mut decision, alerts, alerts_max) {
                break;
            }
        }
        self.candidates = std::mem::take(&mut candidates);
        decision
    }

    /// Where many candidates are to look at a text, notes what runs of bytes it holds, so that most need not. Answers whether
    /// that is noted of stream and payload. Those that are early look at nothing yet.
    fn note_runs(
        &mut self,
        look: &Look<'_>,
        sorted: &[Candidate],
        is_early: impl Fn(Candidate) -> bool,
        flow: Option<&mut Flow>,
        work: &mut Work,
    ) -> bool {
        if sorted.len() < LOOKS_MANY {
            return false;
        }
        work.done += sorted.len() as u64;
        let (mut of_payload, of_sides) = (0, &mut self.looks);
        of_sides.clear();
        of_sides.resize(flow.as_ref().map_or(0, |flow| flow.transactions.sides.len()), 0);
        for candidate in sorted.iter().filter(|candidate| !is_early(**candidate)) {
            match look.rules.witnesses[candidate.signature as usize].within {
                Within::Unknown => {}
                Within::Payload => of_payload += 1,
                Within::Body(_) => {
                    if let Some(count) = of_sides.get_mut(usize::from(candidate.side)) {
                        *count += 1;
                    }
                }
            }
        }
        let mut window = None;
        if let Some(flow) = flow {
            let are_many = flow.transactions.sides.iter_mut().zip(of_sides).filter(|(_, count)| **count >= LOOKS_MANY);
            work.done += are_many.map(|(side, _)| side.note_runs() as u64).sum::<u64>();
            window = Some(&flow.windows[index(look.view.direction)]).filter(|window| window.is_fresh());
        }
        if of_payload < LOOKS_MANY {
            return false;
        }
        let payload = look.facts.payload;
        let fresh_count = window.map_or(0, Window::fresh_count);
        let texts =
            [window.map_or(&[][..], |window| &window.bytes), if fresh_count == payload.len() { &[] } else { payload }];
        self.runs.clear();
        for text in texts {
            self.runs.note(text);
            work.done += text.len() as u64;
        }
        true
    }

    /// Lets a match take effect; `true` when nothing behind it counts any more.
    #[expect(clippy::too_many_arguments, reason = "the loop's state, taken apart for its borrows")]
    fn take_effect(
        &mut self,
        look: &Look<'_>,
        candidate: Candidate,
        side: Option<u16>,
        mut flow: Option<&mut Flow>,
        decision: &mut Decision,
        alerts: &mut Vec<Alert>,
        alerts_max: usize,
    ) -> bool {
        let signature = &look.rules.signatures[candidate.signature as usize];
        let mut nobody = FlowNotes::default();
        let notes = flow.as_deref_mut().map_or(&mut nobody, |flow| &mut flow.notes);
        apply(&signature.effects, notes, &mut self.addresses, &look.facts, look.now_ms);
        let rated = self.rate(signature, look, flow.as_deref());
        if rated == Rated::Ignore {
            return false;
        }
        let concerns_flow = concerns_flow(signature, look);
        let wanted = look.profile.action(signature.action, candidate.signature);
        let action = match (wanted, look.profile.settings().mode) {
            (Action::Pass, _) => {
                if concerns_flow && decision.flow == FlowFate::Open {
                    decision.flow = FlowFate::Passed;
                }
                return true;
            }
            (Action::Drop | Action::Reject, Mode::Prevent) => {
                if decision.verdict == Verdict::Forward {
                    decision.verdict = Verdict::Drop(Refused::Signature(candidate.signature));
                }
                if concerns_flow {
                    decision.flow = FlowFate::Refused;
                    decision.refused_by.get_or_insert(candidate.signature);
                }
                AlertAction::Blocked
            }
            (Action::Drop | Action::Reject, Mode::Audit) => {
                self.note_would_drop(Refused::Signature(candidate.signature), concerns_flow);
                AlertAction::WouldBlock
            }
            (Action::Drop | Action::Reject, Mode::Detect) | (Action::Alert, _) => AlertAction::Allowed,
        };
        if signature.silent || rated == Rated::Quiet {
            return false;
        }
        if alerts.len() >= alerts_max {
            self.suppressed_count += 1;
            return false;
        }
        let open = side.and_then(|side| flow?.transactions.sides.get(usize::from(side)));
        alerts.push(Alert { signature: candidate.signature, action, transaction: open.map(|open| open.number) });
        false
    }

    fn rate(&mut self, signature: &Signature, look: &Look<'_>, flow: Option<&Flow>) -> Rated {
        let Some(rate) = &signature.rate else { return Rated::Speak };
        let (first, second) = match rate.track {
            Track::Source => (look.facts.source, 0),
            Track::Destination => (look.facts.destination, 0),
            Track::Both => (look.facts.source, look.facts.destination),
            Track::Rule => (0, 0),
            // By its number, for its place in the table is another flow's in time.
            Track::Flow => (flow.map_or(u128::MAX, |flow| u128::from(flow.number)), 1),
        };
        self.rates.judge(rate, RateKey { signature: signature.identity, first, second }, look.now_ms)
    }
}

/// Whether a signature waits for what its flow turns out to speak, while that is not known: it is looked at then, as long as
/// the flow's first bytes are still in the window.
#[inline]
fn waits_for_protocol(look: &Look<'_>, candidate: Candidate) -> bool {
    candidate.side == Candidate::NO_SIDE && look.rules.gates.asks_payload_of_protocol(candidate.signature)
}

/// Whether a match speaks about the whole flow rather than about one packet. A pattern in a TCP stream does, since the
/// sender will repeat whatever was not acknowledged; so does a transaction.
fn concerns_flow(signature: &Signature, look: &Look<'_>) -> bool {
    signature.app.is_some()
        || signature.is_about_addresses
        || (look.facts.transport == Transports::TCP && !signature.payload.is_empty())
}

/// Remembers what a signature waits for; `false` when there is no room to.
fn wait(candidate: Candidate, side: Option<u16>, look: &Look<'_>, flow: Option<&mut Flow>) -> bool {
    let Some(flow) = flow else { return true };
    let known = Known::of(look.rules, candidate.signature);
    match side {
        Some(side) => match flow.transactions.sides.get_mut(usize::from(side)) {
            Some(open) => open.wait(known),
            None => true,
        },
        None => flow.windows[index(look.view.direction)].wait(known),
    }
}

/// Remembers a match, so that the same bytes do not make it again.
fn note(candidate: Candidate, side: Option<u16>, look: &Look<'_>, flow: Option<&mut Flow>) {
    let Some(flow) = flow else { return };
    let known = Known::of(look.rules, candidate.signature);
    match side.and_then(|side| flow.transactions.sides.get_mut(usize::from(side))) {
        Some(open) => open.note_match(known),
        None => {
            let window = &mut flow.windows[index(look.view.direction)];
            if window.is_fresh() {
                window.note_match(known);
            }
        }
    }
}
