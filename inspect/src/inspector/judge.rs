//! Whether one signature matches: its headers, its memory, its payload and its transaction.

use crate::inspector::Mode;
use crate::inspector::candidates::Candidate;
use crate::inspector::flow::{Flow, Window, index};
use crate::inspector::memory::{AddressBits, FlowNotes, all_hold};
use crate::inspector::transactions::TransactionSide;
use crate::protocol::{Delivery, Status};
use crate::signature::{
    Absence, AppMatch, BufferCondition, Evaluation, Facts, FlowFacts, Moment, Op, Outcome, RegexCaches, RuleSet,
    RunSet, Signature, Step, Transports, UNRECOGNISED, Within, Witness, header_part, side_allows, tests_match, weight,
};

/// What a look at a signature has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It matches, perhaps a transaction (index of the side among the flow's open ones).
    Yes(Option<u16>),
    /// It does not.
    No,
    /// Not yet; more bytes may change that. The side that it waits for, or the stream.
    Later(Option<u16>),
    /// The work was spent before the answer was known.
    Exhausted,
}

/// What a judgement needs beside the flow.
pub(crate) struct Judge<'a> {
    pub(crate) rules: &'a RuleSet,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) flow_facts: FlowFacts,
    pub(crate) mode: Mode,
    pub(crate) now_ms: u64,
    pub(crate) caches: &'a mut RegexCaches,
    pub(crate) addresses: &'a AddressBits,
    pub(crate) work: &'a mut u64,
    pub(crate) work_max: u64,
    /// What the signature at hand cannot do without.
    pub(crate) witness: Witness,
    /// The runs of bytes that stream and payload hold, if many are to look at them.
    pub(crate) runs: Option<&'a RunSet>,
    /// Scratch for transformed buffers.
    pub(crate) transformed: &'a mut [Vec<u8>; 2],
}

impl Judge<'_> {
    /// Looks at one signature, whose gate the packet has passed.
    pub(crate) fn look(&mut self, candidate: Candidate, flow: Option<&Flow>) -> Answer {
        let signature = &self.rules.signatures[candidate.signature as usize];
        *self.work += weight::SIGNATURE;
        if *self.work > self.work_max {
            return Answer::Exhausted;
        }
        if !self.witness.is_plain
            && let Some(answer) = self.before_bytes(candidate, signature, flow)
        {
            return answer;
        }
        if !signature.payload.is_empty() {
            match self.payload(candidate, signature, flow) {
                Answer::Yes(_) => {}
                other => return other,
            }
        }
        match (&signature.app, flow) {
            (None, _) => Answer::Yes(None),
            (Some(app), Some(flow)) => match self.transactions(candidate, app, flow) {
                // The payload has what is asked; the transaction may follow.
                Answer::No if candidate.side == Candidate::NO_SIDE => Answer::Later(None),
                answer => answer,
            },
            (Some(_), None) => Answer::No,
        }
    }

    /// What is asked before bytes and transactions; `None` if it is there. Nothing of this need be fetched for a signature that
    /// asks none of it.
    fn before_bytes(&mut self, candidate: Candidate, signature: &Signature, flow: Option<&Flow>) -> Option<Answer> {
        match protocol_matches(signature, flow) {
            Some(true) => {}
            Some(false) => return Some(Answer::No),
            // What the flow speaks may turn out while its first bytes are still in the window.
            None if candidate.side == Candidate::NO_SIDE && !signature.payload.is_empty() => {
                return Some(Answer::Later(None));
            }
            None => return Some(Answer::No),
        }
        if !tests_match(signature, self.facts, &self.flow_facts) || !self.remembers(signature, flow) {
            return Some(Answer::No);
        }
        for (part, steps) in &*signature.header_parts {
            let Some(bytes) = header_part(*part, self.facts) else { return Some(Answer::No) };
            match self.run(steps, bytes, 0) {
                Outcome::Match => {}
                Outcome::NoMatch => return Some(Answer::No),
                Outcome::Exhausted => return Some(Answer::Exhausted),
            }
        }
        None
    }

    fn remembers(&self, signature: &Signature, flow: Option<&Flow>) -> bool {
        if signature.asks.is_empty() {
            return true;
        }
        let nothing = FlowNotes::default();
        let notes = flow.map_or(&nothing, |flow| &flow.notes);
        all_hold(&signature.asks, notes, self.addresses, self.facts, self.now_ms)
    }

    fn run(&mut self, steps: &[Step], data: &[u8], base: u64) -> Outcome {
        Evaluation::new(self.work, self.work_max, self.caches).run_at(steps, data, base)
    }

    /// What is known of a signature before it is fetched: it waits, and has nothing new to find; or it is new, and what it asks
    /// for first of all is not there.
    pub(crate) fn foresee(&mut self, candidate: Candidate, flow: Option<&Flow>) -> Option<Answer> {
        let comes_first = self.witness.is_plain && self.witness.within == Within::Payload;
        if !candidate.is_stale && !comes_first {
            return None;
        }
        *self.work += weight::GLANCE;
        if candidate.is_stale {
            return self.waits_in_vain(candidate, flow).then_some(Answer::No);
        }
        if !self.payload_lacks() {
            return None;
        }
        let is_read = self.witness.reads_stream && self.stream_of(flow).is_some();
        Some(match (*self.work > self.work_max, is_read) {
            (true, _) => Answer::Exhausted,
            (false, true) => Answer::Later(None),
            (false, false) => Answer::No,
        })
    }

    fn waits_in_vain(&self, candidate: Candidate, flow: Option<&Flow>) -> bool {
        match self.witness.within {
            Within::Unknown => false,
            Within::Payload => self.payload_lacks(),
            Within::Body(buffer) => {
                let side = flow.and_then(|flow| flow.transactions.sides.get(usize::from(candidate.side)));
                side.is_some_and(|side| {
                    side.has_no_body_for(buffer, &self.witness) && side.is_awaited_by(candidate.signature)
                })
            }
        }
    }

    /// The window of the stream that the packet has brought something of.
    fn stream_of<'f>(&self, flow: Option<&'f Flow>) -> Option<&'f Window> {
        let own = index(self.flow_facts.direction);
        let followed = flow.filter(|flow| self.facts.transport == Transports::TCP && flow.streams[own].is_some());
        followed.map(|flow| &flow.windows[own]).filter(|window| window.is_fresh())
    }

    fn payload_lacks(&self) -> bool {
        self.witness.within == Within::Payload && self.runs.is_some_and(|runs| !runs.may_hold(&self.witness))
    }

    /// The program over the payload, on the stream or on the packet, as the signature's scope says.
    fn payload(&mut self, candidate: Candidate, signature: &Signature, flow: Option<&Flow>) -> Answer {
        let own = index(self.flow_facts.direction);
        let mut later = Answer::No;
        if signature.scope.stream
            && self.facts.transport == Transports::TCP
            && flow.is_some_and(|flow| flow.streams[own].is_some())
        {
            if let Some(window) = self.stream_of(flow) {
                let (bytes, base) = window.unmatched(candidate.signature, candidate.is_stale);
                let outcome = match self.payload_lacks() {
                    true => Outcome::NoMatch,
                    false => self.run(&signature.payload, bytes, base),
                };
                match outcome {
                    Outcome::Match => return Answer::Yes(None),
                    Outcome::Exhausted => return Answer::Exhausted,
                    // Its fast pattern is there, the rest may be on its way.
                    Outcome::NoMatch if !candidate.is_stale => later = Answer::Later(None),
                    Outcome::NoMatch => {}
                }
            }
            if !signature.scope.packet {
                return later;
            }
        }
        if self.facts.payload.is_empty() || self.payload_lacks() {
            return later;
        }
        match self.run(&signature.payload, self.facts.payload, 0) {
            Outcome::Match => Answer::Yes(None),
            Outcome::NoMatch => later,
            Outcome::Exhausted => Answer::Exhausted,
        }
    }

    /// What is asked of a transaction: of the side that made the signature a candidate, or of any.
    fn transactions(&mut self, candidate: Candidate, app: &AppMatch, flow: &Flow) -> Answer {
        let sides = &flow.transactions.sides;
        if candidate.side != Candidate::NO_SIDE {
            return match sides.get(usize::from(candidate.side)) {
                Some(open) => self.transaction(candidate.signature, app, open, candidate.side),
                None => Answer::No,
            };
        }
        let mut answer = Answer::No;
        for (place, open) in (0u16..).zip(sides) {
            *self.work += weight::GLANCE;
            if *self.work > self.work_max {
                return Answer::Exhausted;
            }
            match self.transaction(candidate.signature, app, open, place) {
                Answer::No => {}
                Answer::Later(place) => answer = Answer::Later(place),
                decided => return decided,
            }
        }
        answer
    }

    fn transaction(&mut self, signature: u32, app: &AppMatch, open: &TransactionSide, place: u16) -> Answer {
        if !side_allows(app, open.side) || open.has_matched(signature) {
            return Answer::No;
        }
        let mut answer = Answer::Yes(Some(place));
        for (number, wanted) in &app.numbers {
            if !open.numbers.iter().any(|(known, value)| known == number && wanted.contains(*value)) {
                answer = Answer::Later(Some(place));
            }
        }
        for event in &app.events {
            if !open.events.contains(event) {
                answer = Answer::Later(Some(place));
            }
        }
        for condition in &app.buffers {
            match self.condition(condition, open) {
                Answer::Yes(_) => {}
                Answer::Later(_) => answer = Answer::Later(Some(place)),
                decided => return decided,
            }
        }
        if matches!(answer, Answer::Later(_)) && !open.is_open() {
            return Answer::No;
        }
        answer
    }

    /// What is asked of one buffer.
    fn condition(&mut self, condition: &BufferCondition, open: &TransactionSide) -> Answer {
        if condition.buffer.delivery() == Delivery::Streamed {
            return self.body_condition(condition, open);
        }
        let mut is_there = false;
        *self.work += weight::CONDITION + open.wholes.len() as u64 / 2;
        for &(_, start, end) in open.wholes.iter().filter(|(buffer, ..)| *buffer == condition.buffer) {
            is_there = true;
            if condition.absence == Absence::Demanded {
                return Answer::No;
            }
            match self.transformed(condition, open.bytes(start, end), 0) {
                Outcome::Match => return Answer::Yes(None),
                Outcome::NoMatch => {}
                Outcome::Exhausted => return Answer::Exhausted,
            }
        }
        match (is_there, open.awaits_wholes()) {
            (true, _) if condition.buffer.delivery() == Delivery::Once => Answer::No,
            (_, true) => Answer::Later(None),
            (true, false) => Answer::No,
            (false, false) if condition.is_needed() => Answer::No,
            (false, false) => Answer::Yes(None),
        }
    }

    fn body_condition(&mut self, condition: &BufferCondition, open: &TransactionSide) -> Answer {
        let mut is_there = false;
        *self.work += weight::CONDITION + open.bodies.len() as u64;
        let is_witnessed = self.witness.within == Within::Body(condition.buffer) && condition.transforms.is_empty();
        for body in open.bodies.iter().filter(|body| body.buffer == condition.buffer) {
            is_there = true;
            if condition.absence == Absence::Demanded {
                return Answer::No;
            }
            // What a body does not hold is known when it is over; one who prevents judges what is there already.
            if self.mode == Mode::Detect && !body.is_over && wants_end(&condition.steps) {
                continue;
            }
            if is_witnessed && body.lacks(&self.witness) {
                continue;
            }
            match self.transformed(condition, &body.bytes, body.base) {
                Outcome::Match => return Answer::Yes(None),
                Outcome::NoMatch => {}
                Outcome::Exhausted => return Answer::Exhausted,
            }
        }
        match (is_there, open.is_open()) {
            (_, true) => Answer::Later(None),
            (false, false) if !condition.is_needed() => Answer::Yes(None),
            (_, false) => Answer::No,
        }
    }

    /// Runs a condition's program over a buffer, transformed as it asks.
    fn transformed(&mut self, condition: &BufferCondition, data: &[u8], base: u64) -> Outcome {
        if condition.transforms.is_empty() {
            return self.run(&condition.steps, data, base);
        }
        let [mut front, mut back] = std::mem::take(self.transformed);
        front.clear();
        front.extend_from_slice(data);
        for transform in &condition.transforms {
            back.clear();
            *self.work += weight::STEP + 2 * front.len() as u64;
            transform.apply(&front, &mut back);
            std::mem::swap(&mut front, &mut back);
        }
        let outcome = self.run(&condition.steps, &front, base);
        *self.transformed = [front, back];
        outcome
    }
}

/// Whether the flow speaks a protocol that the signature is for; `None` while nobody knows what it speaks.
fn protocol_matches(signature: &Signature, flow: Option<&Flow>) -> Option<bool> {
    if signature.protocols == 0 && signature.protocol_moments.is_empty() {
        return Some(true);
    }
    let Some(flow) = flow else { return Some(false) };
    if signature.is_about_protocol && !flow.has_new_protocol {
        return Some(false);
    }
    let last = match flow.conversation.status() {
        Status::Recognising => return None,
        Status::Unrecognised => UNRECOGNISED,
        Status::Speaking(protocol) | Status::Opaque(protocol) | Status::Broken(protocol) => 1 << (protocol as u32),
    };
    let original = flow.conversation.original_protocol().map_or(0, |protocol| 1 << (protocol as u32));
    let holds_at = |&(moment, mask): &(Moment, u32)| match moment {
        Moment::Original => mask & original != 0,
        Moment::Final => mask & last != 0,
    };
    let holds = signature.protocols == 0 || signature.protocols & (last | original) != 0;
    Some(holds && signature.protocol_moments.iter().all(holds_at))
}

/// Whether bytes that are still to come can make the program fail that holds now.
fn wants_end(steps: &[Step]) -> bool {
    steps.iter().any(|step| match &step.op {
        Op::Content(content) => content.negated || content.ends_with,
        Op::IsDataAt { negated, .. } => *negated,
        Op::Size(_) => true,
        Op::Regex(regex) => regex.negated,
        Op::ByteTest(_) | Op::ByteJump(_) | Op::ByteExtract(_) | Op::ByteMath(_) | Op::Base64(_) => false,
    })
}
