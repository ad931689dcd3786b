//! Which signatures to look at for one packet.

use crate::inspector::flow::{Eligible, Flow, Window, index};
use crate::inspector::signature_set::{SignatureSet, take_all};
use crate::inspector::transactions::{Body, TransactionSide};
use crate::inspector::{Direction, Look};
use crate::limits::{CANDIDATES_MAX, SHORTS_LOOKED_AT_MAX};
use crate::protocol::Buffer;
use crate::signature::{Glance, Named, PacketGroup, Prefilter, Selection, Transports, Work, weight};

/// A signature to look at, and the transaction side that is the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) signature: u32,
    /// Index among the flow's open sides, or [`Candidate::NO_SIDE`] when the payload is the reason.
    pub(crate) side: u16,
    /// The reason is old: a signature that waited, or one without a pattern.
    pub(crate) is_stale: bool,
}

impl Candidate {
    pub(crate) const NO_SIDE: u16 = u16::MAX;

    /// What candidates are sorted by, as one number: comparing that takes no branches.
    fn key(&self) -> u64 {
        u64::from(self.signature) << 32 | u64::from(self.side) << 1 | u64::from(self.is_stale)
    }
}

/// Collects candidates; bounded.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// What most are: signatures that a pattern has named, because of the payload, and because of the side of a transaction
    /// that was the first to name any.
    fresh: [SignatureSet; 2],
    fresh_count: usize,
    /// That side, if any was named.
    fresh_side: Option<u16>,
    /// All others.
    others: Vec<Candidate>,
    /// All in their order.
    sorted: Vec<Candidate>,
    /// Rules out most of what is found before anybody fetches the signature.
    glance: Glance,
    /// Scratch for a text with a dot before it.
    dotted: Vec<u8>,
    /// Scratch for signatures that a packet's headers leave.
    left: Vec<u32>,
    /// More were found than can be looked at.
    pub(crate) is_overrun: bool,
    /// Work that is not counted elsewhere yet.
    uncounted_work: u64,
}

impl Candidates {
    /// Empties the collection for the packet at hand.
    pub(crate) fn begin(&mut self, look: &Look<'_>, flow: Option<&Flow>) {
        if self.fresh_count > 0 {
            let [one, other] = &mut self.fresh;
            take_all(one, other, |_, _| {});
        }
        self.fresh.iter_mut().for_each(|set| set.resize(look.rules.len()));
        (self.fresh_count, self.fresh_side) = (0, None);
        self.others.clear();
        self.is_overrun = false;
        self.glance.turn(look.rules, &look.facts, look.flow_facts(flow), flow.map_or(0, Flow::protocols));
    }

    /// Takes a signature whose reason is old.
    fn push_stale(&mut self, look: &Look<'_>, signature: u32, side: u16) {
        self.uncounted_work += weight::GLANCE;
        if self.glance.admits(look.rules, signature, &look.facts) {
            self.push_admitted(look, Candidate { signature, side, is_stale: true }, None);
        }
    }

    /// Takes signatures that a pattern has named. `sides` are the reasons of those without the mark [`Selection::OF_BODY`], and
    /// of those with it.
    fn push_named(&mut self, look: &Look<'_>, named: Named<'_>, sides: [u16; 2]) {
        self.uncounted_work += weight::GLANCE;
        if !self.glance.admits_at(look.rules, named.gate, &look.facts) {
            return;
        }
        self.uncounted_work += 2 * named.signatures.len() as u64;
        for &marked in named.signatures {
            let side = sides[usize::from(marked & Selection::OF_BODY != 0)];
            let candidate = Candidate { signature: marked & !Selection::OF_BODY, side, is_stale: false };
            let set = self.set_for(&candidate);
            if !set.is_some_and(|set| self.fresh[set].contains(candidate.signature)) {
                self.push_admitted(look, candidate, set);
            }
        }
    }

    /// Takes a candidate whose gate the packet passes. `set` is the index of the set that it belongs into.
    fn push_admitted(&mut self, look: &Look<'_>, candidate: Candidate, set: Option<usize>) {
        if !look.profile.applies(candidate.signature) {
            return;
        }
        if self.fresh_count + self.others.len() >= CANDIDATES_MAX {
            // What is there more than once counts once.
            self.uncounted_work += self.order_others();
            if self.fresh_count + self.others.len() >= CANDIDATES_MAX / 2 {
                self.is_overrun = true;
                return;
            }
        }
        match set {
            Some(set) => {
                self.fresh[set].insert(candidate.signature);
                self.fresh_count += 1;
            }
            None => self.others.push(candidate),
        }
    }

    /// The index of the set that a candidate belongs into, if one of them.
    #[inline]
    fn set_for(&mut self, candidate: &Candidate) -> Option<usize> {
        match candidate.side {
            _ if candidate.is_stale => None,
            Candidate::NO_SIDE => Some(0),
            side => (*self.fresh_side.get_or_insert(side) == side).then_some(1),
        }
    }

    /// Puts those that are in no set in order, each once. Answers what that costs.
    fn order_others(&mut self) -> u64 {
        let cost = sorting_work(self.others.len());
        self.others.sort_unstable_by_key(Candidate::key);
        self.others.dedup();
        cost
    }

    /// The candidates in the order in which signatures are considered, each once. Adds what sorting costs to `work`.
    pub(crate) fn sorted(&mut self, work: &mut u64) -> &[Candidate] {
        *work += std::mem::take(&mut self.uncounted_work) + self.order_others() + self.fresh_count as u64;
        let Self { fresh: [of_payload, of_side], fresh_side, others, sorted, .. } = self;
        sorted.clear();
        let mut others = others.iter().copied().peekable();
        let mut merge = |candidate: Candidate| {
            while let Some(other) = others.next_if(|other| other.key() < candidate.key()) {
                sorted.push(other);
            }
            sorted.push(candidate);
        };
        let side = fresh_side.unwrap_or_default();
        take_all(of_side, of_payload, |signature, is_of_side| {
            merge(Candidate { signature, side: if is_of_side { side } else { Candidate::NO_SIDE }, is_stale: false });
        });
        sorted.extend(others);
        self.fresh_count = 0;
        &self.sorted
    }

    /// Candidates by the packet itself and the stream bytes that it has brought.
    pub(crate) fn of_packet(&mut self, look: &Look<'_>, group: &PacketGroup, flow: Option<&mut Flow>, work: &mut Work) {
        let (facts, direction) = (&look.facts, look.view.direction);
        let is_sealed = flow.as_ref().is_some_and(|flow| flow.is_sealed());
        let payload = if is_sealed { &[] } else { facts.payload };
        let (mut nobody, side) = (Eligible::default(), Candidate::NO_SIDE);
        let mut is_first = true;
        let (eligible, followed) = match flow {
            Some(flow) => {
                is_first = !std::mem::replace(&mut flow.has_sent[index(direction)], true);
                let Flow { windows, eligible, transactions, .. } = flow;
                (&mut eligible[index(direction)], Some((&mut windows[index(direction)], transactions)))
            }
            None => (&mut nobody, None),
        };
        let scans_shorts = !payload.is_empty() && self.leaves_shorts(look, group, eligible);
        let mut fresh_stream = false;
        // What the stream has read anew is the packet's payload, neither more nor less.
        let mut is_covered = false;
        if let Some((window, transactions)) = followed
            && window.is_fresh()
        {
            fresh_stream = true;
            work.done += window.waiting_count() as u64;
            for signature in window.waiting() {
                self.push_stale(look, signature, side);
            }
            if scans_shorts {
                let text = window.searched(group.shorts.prefilter.overlap());
                self.of_shorts(look, group, text, work);
            }
            let is_response = direction == Direction::ToClient && facts.transport == Transports::TCP;
            let is_scanned = is_response && self.of_response(look, window, &mut transactions.sides, work);
            let (text, old) = window.scanned(group.payload.overlap());
            let push = |named: Named<'_>, _| self.push_named(look, named, [side; 2]);
            // Near the start of the packet, or of the stream.
            let reach = group.payload.near_reach();
            let near_from = if window.end() - window.fresh_count() as u64 <= reach as u64 { 0 } else { old };
            if is_scanned {
                group.payload.scan_near(text, old, near_from..old + reach, work, push);
            } else {
                group.payload.scan(text, old, near_from..old + reach, work, push);
            }
            is_covered = window.fresh_count() == payload.len();
        }
        if !is_covered && !payload.is_empty() {
            if scans_shorts {
                self.of_shorts(look, group, payload, work);
            }
            let push = |named: Named<'_>, _| self.push_named(look, named, [side; 2]);
            group.payload.scan(payload, 0, 0..group.payload.near_reach(), work, push);
        }
        if is_first {
            for &signature in &group.addresses_only {
                self.push_stale(look, signature, side);
            }
        }
        let has_bytes = fresh_stream || !payload.is_empty();
        self.of_each_packet(look, group, eligible, (has_bytes, has_bytes && !scans_shorts));
        work.done += std::mem::take(&mut self.uncounted_work);
    }

    /// Candidates whatever the packet holds: those that look into a payload if it `has_bytes`, and those with short patterns
    /// if these are not searched for.
    fn of_each_packet(
        &mut self,
        look: &Look<'_>,
        group: &PacketGroup,
        eligible: &mut Eligible,
        (has_bytes, with_shorts): (bool, bool),
    ) {
        let candidate = |signature| Candidate { signature, side: Candidate::NO_SIDE, is_stale: true };
        let mut left = std::mem::take(&mut self.left);
        let Self { glance, .. } = self;
        left.clear();
        glance.left(look.rules, &look.facts, &group.direct_gates, &mut eligible.direct, |place| {
            let signature = group.direct[place];
            if has_bytes || !look.rules.gates.asks_payload(signature) {
                left.push(signature);
            }
        });
        if with_shorts {
            glance.left(look.rules, &look.facts, &group.shorts.gates, &mut eligible.shorts, |place| {
                left.extend_from_slice(&group.shorts.by_gate[place]);
            });
        }
        self.uncounted_work += weight::GLANCE * left.len() as u64;
        left.iter().for_each(|&signature| self.push_admitted(look, candidate(signature), None));
        self.left = left;
    }

    /// Whether the packet's headers leave so many signatures with nothing but short patterns that these are to be
    /// searched for.
    fn leaves_shorts(&mut self, look: &Look<'_>, group: &PacketGroup, eligible: &mut Eligible) -> bool {
        let mut left = 0;
        self.glance.left(look.rules, &look.facts, &group.shorts.gates, &mut eligible.shorts, |place| {
            left += group.shorts.by_gate[place].len();
        });
        left > SHORTS_LOOKED_AT_MAX
    }

    /// Candidates by short patterns in a text.
    fn of_shorts(&mut self, look: &Look<'_>, group: &PacketGroup, text: &[u8], work: &mut Work) {
        let push = |named: Named<'_>, _| self.push_named(look, named, [Candidate::NO_SIDE; 2]);
        group.shorts.prefilter.scan(text, 0, 0..0, work, push);
    }

    /// Candidates by what a segment has brought, for stream and body in one pass, if all that it has brought is a piece of
    /// a response's body, neither packed nor in chunks, and not the body's start. `false` if that is not so.
    fn of_response(
        &mut self,
        look: &Look<'_>,
        window: &Window,
        sides: &mut [TransactionSide],
        work: &mut Work,
    ) -> bool {
        let all = &look.rules.selection.response_streams;
        let (text, old) = window.scanned(all.overlap());
        let Some((place, open)) = (0u16..).zip(sides).filter(|(_, open)| open.is_fresh).last() else { return false };
        let is_far = |body: &Body| body.base > 0 || body.looked_at >= old + all.near_reach();
        let is_it = |body: &Body| is_far(body) && body.holds(text, old);
        if !twins(&open.bodies).is_some_and(|(body, file)| is_it(body) && is_it(file)) {
            return false;
        }
        let of_both = |body: &Body| matches!(body.buffer, Buffer::HttpResponseBody | Buffer::FileData);
        for body in open.bodies.iter_mut().filter(|body| body.is_fresh && of_both(body)) {
            body.is_scanned = is_it(body);
        }
        all.scan(text, old, 0..0, work, |named, _| self.push_named(look, named, [Candidate::NO_SIDE, place]));
        true
    }

    /// Candidates by what is new in the flow's transactions.
    pub(crate) fn of_transactions(&mut self, look: &Look<'_>, flow: &mut Flow, work: &mut Work) {
        for (place, open) in (0u16..).zip(&mut flow.transactions.sides) {
            if !open.is_fresh {
                continue;
            }
            for waiting in &open.waiting {
                self.push_stale(look, waiting.signature, place);
            }
            for &signature in &*look.rules.selection.without_buffer {
                self.push_stale(look, signature, place);
            }
            self.of_wholes(look, open, place, work);
            self.of_bodies(look, &mut open.bodies, place, work);
            work.done += std::mem::take(&mut self.uncounted_work);
            open.is_fresh = false;
            if work.is_spent() {
                return;
            }
        }
    }

    fn of_wholes(&mut self, look: &Look<'_>, open: &mut TransactionSide, place: u16, work: &mut Work) {
        for &(buffer, start, end) in &open.wholes[open.looked_at..] {
            let Some(group) = look.rules.selection.buffer_group(buffer) else { continue };
            let text = open.bytes(start, end);
            for (signature, need) in &group.always {
                if need.is_met_by(text, &mut self.uncounted_work) {
                    self.push_stale(look, *signature, place);
                } else {
                    self.uncounted_work += weight::GLANCE;
                }
            }
            let mut dotted = std::mem::take(&mut self.dotted);
            let text = if group.dotted {
                dotted.clear();
                dotted.push(b'.');
                dotted.extend_from_slice(text);
                &dotted
            } else {
                text
            };
            let push = |named: Named<'_>, _| self.push_named(look, named, [place; 2]);
            group.prefilter.scan(text, 0, 0..group.prefilter.near_reach(), work, push);
            self.dotted = dotted;
        }
        open.looked_at = open.wholes.len();
    }

    fn of_bodies(&mut self, look: &Look<'_>, bodies: &mut [Body], place: u16, work: &mut Work) {
        work.done += bodies.len() as u64 / 4;
        // The body of a response is a file too, mostly: then one pass serves the signatures of both.
        let both = &look.rules.selection.response_files;
        let twins = twins(bodies).filter(|(body, _)| !body.is_scanned);
        let is_twice = twins.is_some_and(|(body, file)| body.is_same(file, both.overlap()));
        for body in bodies.iter_mut().filter(|body| body.is_fresh) {
            let Some(group) = look.rules.selection.buffer_group(body.buffer) else { continue };
            for (signature, _) in &group.always {
                self.push_stale(look, *signature, place);
            }
            match body.buffer {
                _ if std::mem::take(&mut body.is_scanned) => {}
                Buffer::HttpResponseBody if is_twice => {}
                Buffer::FileData if is_twice => self.of_body(look, both, body, place, work),
                _ => self.of_body(look, &group.prefilter, body, place, work),
            }
            body.looked_at = body.bytes.len();
            body.is_fresh = false;
        }
    }

    fn of_body(&mut self, look: &Look<'_>, prefilter: &Prefilter, body: &Body, place: u16, work: &mut Work) {
        // What is unpacked can be a thousand times what the packet has brought, so it is counted.
        let count = (body.bytes.len() - body.looked_at) as u64;
        work.unpacked(count);
        if !look.is_work_bounded() {
            work.max += count;
        } else if work.is_spent() {
            // The packet is refused for that, and what a bomb gives before it is known for one is a megabyte.
            return;
        }
        let from = body.looked_at.saturating_sub(prefilter.overlap());
        let old = body.looked_at - from;
        let push = |named: Named<'_>, _| self.push_named(look, named, [place; 2]);
        let reach = if body.base == 0 { prefilter.near_reach().saturating_sub(from) } else { 0 };
        prefilter.scan(&body.bytes[from..], old, 0..reach, work, push);
    }
}

/// What sorting so many candidates costs.
fn sorting_work(count: usize) -> u64 {
    2 * count as u64 * u64::from(count.checked_ilog2().unwrap_or(0))
}

/// The fresh body of a response and the fresh file, if there are both.
fn twins(bodies: &[Body]) -> Option<(&Body, &Body)> {
    let fresh = |buffer| bodies.iter().find(|body| body.is_fresh && body.buffer == buffer);
    Some((fresh(Buffer::HttpResponseBody)?, fresh(Buffer::FileData)?))
}
