//! Which signatures to look at for one packet.

use crate::inspector::Direction;
use crate::inspector::flow::{Flow, index};
use crate::inspector::transactions::{Body, TransactionSide};
use crate::limits::CANDIDATES_MAX;
use crate::signature::{Facts, PacketGroup, RuleSet};

/// A signature to look at, and the transaction side that is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Candidate {
    pub(crate) signature: u32,
    /// Index among the flow's open sides, or [`Candidate::NO_SIDE`] when the payload is the reason.
    pub(crate) side: u16,
    /// The reason is old: a signature that waited, or one without a pattern.
    pub(crate) is_stale: bool,
}

impl Candidate {
    pub(crate) const NO_SIDE: u16 = u16::MAX;
}

/// Collects candidates; bounded.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    found: Vec<Candidate>,
    /// Scratch for a text with a dot before it.
    dotted: Vec<u8>,
    /// More were found than can be looked at.
    pub(crate) is_overrun: bool,
}

impl Candidates {
    /// Empties the collection for the next packet.
    pub(crate) fn clear(&mut self) {
        self.found.clear();
        self.is_overrun = false;
    }

    fn push(&mut self, candidate: Candidate) {
        if self.found.last() == Some(&candidate) {
            return;
        }
        if self.found.len() >= CANDIDATES_MAX {
            self.found.sort_unstable();
            self.found.dedup();
            if self.found.len() >= CANDIDATES_MAX / 2 {
                self.is_overrun = true;
                return;
            }
        }
        self.found.push(candidate);
    }

    /// The candidates in the order in which signatures are considered, each once.
    pub(crate) fn sorted(&mut self) -> &[Candidate] {
        self.found.sort_unstable();
        self.found.dedup();
        &self.found
    }

    /// Candidates by the packet itself and the stream bytes that it has brought.
    pub(crate) fn of_packet(
        &mut self,
        rules: &RuleSet,
        group: &PacketGroup,
        facts: &Facts<'_>,
        flow: Option<&mut Flow>,
        direction: Direction,
        work: &mut u64,
    ) {
        let is_sealed = flow.as_ref().is_some_and(|flow| flow.is_sealed());
        let payload = if is_sealed { &[] } else { facts.payload };
        let mut direct = None;
        let side = Candidate::NO_SIDE;
        let mut fresh_stream = false;
        let mut is_first = true;
        // What the stream has read anew is the packet's payload, neither more nor less.
        let mut is_covered = false;
        if let Some(flow) = flow {
            is_first = !std::mem::replace(&mut flow.has_sent[index(direction)], true);
            let Flow { windows, direct: eligible, .. } = flow;
            direct = eligible[index(direction)].of(rules, group, facts);
            let window = &mut windows[index(direction)];
            if window.is_fresh() {
                fresh_stream = true;
                for signature in window.waiting() {
                    self.push(Candidate { signature, side, is_stale: true });
                }
                let (text, old) = window.scanned(group.payload.overlap());
                let mut push = |signature, end| {
                    if end > old {
                        self.push(Candidate { signature, side, is_stale: false });
                    }
                };
                // Near the start of the packet, or of the stream.
                let reach = group.payload.near_reach();
                let near_from = if window.end() - window.fresh_count() as u64 <= reach as u64 { 0 } else { old };
                group.payload.scan(text, near_from..old + reach, work, &mut push);
                is_covered = window.fresh_count() == payload.len();
            }
        }
        if !is_covered && !payload.is_empty() {
            let mut push = |signature, _| self.push(Candidate { signature, side, is_stale: false });
            group.payload.scan(payload, 0..group.payload.near_reach(), work, &mut push);
        }
        if is_first {
            for &signature in &group.addresses_only {
                self.push(Candidate { signature, side, is_stale: true });
            }
        }
        let has_bytes = fresh_stream || !payload.is_empty();
        for &signature in direct.unwrap_or(&group.direct) {
            if has_bytes || rules.signatures[signature as usize].payload.is_empty() {
                self.push(Candidate { signature, side, is_stale: true });
            }
        }
    }

    /// Candidates by what is new in the flow's transactions.
    pub(crate) fn of_transactions(&mut self, rules: &RuleSet, flow: &mut Flow, work: &mut u64, work_max: u64) {
        for (place, open) in (0u16..).zip(&mut flow.transactions.sides) {
            if !open.is_fresh {
                continue;
            }
            for &signature in &open.waiting {
                self.push(Candidate { signature, side: place, is_stale: true });
            }
            for &signature in &*rules.selection.without_buffer {
                self.push(Candidate { signature, side: place, is_stale: true });
            }
            self.of_wholes(rules, open, place, work);
            let mut bodies = std::mem::take(&mut open.bodies);
            for body in bodies.iter_mut().filter(|body| body.is_fresh) {
                self.of_body(rules, body, place, work);
            }
            open.bodies = bodies;
            open.is_fresh = false;
            if *work > work_max {
                return;
            }
        }
    }

    fn of_wholes(&mut self, rules: &RuleSet, open: &mut TransactionSide, place: u16, work: &mut u64) {
        for &(buffer, start, end) in &open.wholes[open.looked_at..] {
            let Some(group) = rules.selection.buffer_group(buffer) else { continue };
            for &signature in &group.always {
                self.push(Candidate { signature, side: place, is_stale: true });
            }
            let text = open.bytes(start, end);
            let mut dotted = std::mem::take(&mut self.dotted);
            let text = if group.dotted {
                dotted.clear();
                dotted.push(b'.');
                dotted.extend_from_slice(text);
                &dotted
            } else {
                text
            };
            let mut push = |signature, _| self.push(Candidate { signature, side: place, is_stale: false });
            group.prefilter.scan(text, 0..group.prefilter.near_reach(), work, &mut push);
            self.dotted = dotted;
        }
        open.looked_at = open.wholes.len();
    }

    fn of_body(&mut self, rules: &RuleSet, body: &mut Body, place: u16, work: &mut u64) {
        let Some(group) = rules.selection.buffer_group(body.buffer) else { return };
        for &signature in &group.always {
            self.push(Candidate { signature, side: place, is_stale: true });
        }
        let from = body.looked_at.saturating_sub(group.prefilter.overlap());
        let old = body.looked_at - from;
        let mut push = |signature, end| {
            if end > old {
                self.push(Candidate { signature, side: place, is_stale: false });
            }
        };
        let reach = if body.base == 0 { group.prefilter.near_reach().saturating_sub(from) } else { 0 };
        group.prefilter.scan(&body.bytes[from..], 0..reach, work, &mut push);
        body.looked_at = body.bytes.len();
        body.is_fresh = false;
    }
}
