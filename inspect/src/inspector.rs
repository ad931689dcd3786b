//! One worker's inspection: the state that outlives a packet, and the order in which a packet is looked at.

use crate::alert::{Alert, AlertAction};
use crate::limits::{ALERTS_PER_PACKET_MAX, FLOW_SLOTS_MAX, VERIFY_WORK_MAX};
use crate::signature::{
    Action, Evaluation, Facts, FlowFacts, Outcome, RateKey, Rated, Rates, RegexCaches, RuleSet,
    Signature, Track, Transports, header_matches, tests_match,
};
use crate::verdict::{Refused, Verdict};
use crate::wire::Packet;

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

/// The place of a flow in the caller's flow table. The inspector keeps what it must remember of a flow under this number
/// until [`Inspector::flow_ended`] gives it back.
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

/// Whether signatures may stop packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// `drop` and `reject` stop the packet.
    #[default]
    Prevent,
    /// All actions only report (Suricata's IDS mode).
    Detect,
}

/// Everything that one worker's inspection remembers between packets.
#[derive(Debug, Default)]
pub struct Inspector {
    mode: Mode,
    flows: FlowMemories,
    rates: Rates,
    caches: RegexCaches,
    /// Scratch: the signatures that matched the packet at hand, in rising order.
    matched: Vec<u32>,
    /// Alerts that [`ALERTS_PER_PACKET_MAX`] kept from being appended.
    suppressed_count: u64,
}

/// What is remembered of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlowMemory {
    /// A signature refused the flow: nothing of it passes any more.
    Refused,
    /// A `pass` signature took the flow out of inspection, as long as the rule set with this fingerprint is in force.
    Passed(u64),
}

/// Memory per flow slot. Only flows of which something must be remembered have any.
#[derive(Debug, Default)]
struct FlowMemories {
    slots: Vec<Option<FlowMemory>>,
}

impl FlowMemories {
    #[inline]
    fn of(&self, slot: Option<FlowSlot>) -> Option<FlowMemory> {
        *self.slots.get(slot?.0 as usize)?
    }

    fn remember(&mut self, slot: Option<FlowSlot>, memory: FlowMemory) {
        let Some(slot) = slot else { return };
        let index = slot.0 as usize;
        if index >= FLOW_SLOTS_MAX {
            return;
        }
        if index >= self.slots.len() {
            self.slots.resize(index + 1, None);
        }
        self.slots[index] = Some(memory);
    }

    fn forget(&mut self, slot: FlowSlot) {
        if let Some(memory) = self.slots.get_mut(slot.0 as usize) {
            *memory = None;
        }
    }
}

impl Inspector {
    /// An inspector that remembers nothing yet.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    /// Looks at one packet and answers for it. Alerts are appended to `alerts`, at most
    /// [`crate::limits::ALERTS_PER_PACKET_MAX`] of them. `now_ms` is a monotonic time in milliseconds that never goes back.
    pub fn inspect(
        &mut self,
        rules: &RuleSet,
        packet: &Packet<'_>,
        flow: &FlowView,
        now_ms: u64,
        alerts: &mut Vec<Alert>,
    ) -> Verdict {
        if rules.is_empty() {
            return Verdict::Forward;
        }
        match self.flows.of(flow.slot) {
            Some(FlowMemory::Refused) => return Verdict::Drop(Refused::FlowRefused),
            Some(FlowMemory::Passed(fingerprint)) if fingerprint == rules.fingerprint() => {
                return Verdict::Forward;
            }
            Some(FlowMemory::Passed(_)) | None => {}
        }
        let Some(facts) = Facts::of(packet) else {
            return Verdict::Forward;
        };
        let protocol = packet.headers().protocol;
        let (source_port, destination_port) = (facts.source_port, facts.destination_port);
        let Some(group) = rules.group(protocol, source_port, destination_port, flow.direction)
        else {
            return Verdict::Forward;
        };
        let Some(group) = rules.group_of(group) else {
            return Verdict::Forward;
        };
        let flow_facts = FlowFacts {
            direction: flow.direction,
            established: flow.established,
            stream_sizes: None,
        };
        let mut matched = std::mem::take(&mut self.matched);
        matched.clear();
        let verdict = match find(
            rules,
            &group.members,
            &facts,
            &flow_facts,
            &mut matched,
            &mut self.caches,
        ) {
            Outcome::Exhausted => Verdict::Drop(Refused::Budget),
            Outcome::Match | Outcome::NoMatch => {
                self.decide(rules, &matched, &facts, flow, now_ms, alerts)
            }
        };
        self.matched = matched;
        verdict
    }

    /// Forgets everything about a flow whose slot is given back.
    pub fn flow_ended(&mut self, slot: FlowSlot) {
        self.flows.forget(slot);
    }

    /// Alerts so far that were left out because one packet raised too many.
    pub fn suppressed_count(&self) -> u64 {
        self.suppressed_count
    }

    /// Weighs the matches of one packet, in the order pass, drop, reject, alert.
    fn decide(
        &mut self,
        rules: &RuleSet,
        matched: &[u32],
        facts: &Facts<'_>,
        flow: &FlowView,
        now_ms: u64,
        alerts: &mut Vec<Alert>,
    ) -> Verdict {
        let alerts_max = alerts.len() + ALERTS_PER_PACKET_MAX;
        let mut verdict = Verdict::Forward;
        for &index in matched {
            let signature = &rules.signatures[index as usize];
            let rated = self.rate(signature, index, facts, flow, now_ms);
            if rated == Rated::Ignore {
                continue;
            }
            let action = match (signature.action, self.mode) {
                (Action::Pass, _) => {
                    if concerns_flow(signature, facts) {
                        self.flows
                            .remember(flow.slot, FlowMemory::Passed(rules.fingerprint()));
                    }
                    return verdict;
                }
                (Action::Drop | Action::Reject, Mode::Prevent) => {
                    if verdict == Verdict::Forward {
                        verdict = Verdict::Drop(Refused::Signature(index));
                    }
                    if concerns_flow(signature, facts) {
                        self.flows.remember(flow.slot, FlowMemory::Refused);
                    }
                    AlertAction::Blocked
                }
                (Action::Drop | Action::Reject, Mode::Detect) | (Action::Alert, _) => {
                    AlertAction::Allowed
                }
            };
            if signature.silent || rated == Rated::Quiet {
                continue;
            }
            if alerts.len() < alerts_max {
                alerts.push(Alert {
                    signature: index,
                    action,
                    transaction: None,
                });
            } else {
                self.suppressed_count += 1;
            }
        }
        verdict
    }

    fn rate(
        &mut self,
        signature: &Signature,
        index: u32,
        facts: &Facts<'_>,
        flow: &FlowView,
        now_ms: u64,
    ) -> Rated {
        let Some(rate) = &signature.rate else {
            return Rated::Speak;
        };
        let (first, second) = match rate.track {
            Track::Source => (facts.source, 0),
            Track::Destination => (facts.destination, 0),
            Track::Both => (facts.source, facts.destination),
            Track::Rule => (0, 0),
            Track::Flow => (flow.slot.map_or(u128::MAX, |slot| u128::from(slot.0)), 1),
        };
        self.rates.judge(
            rate,
            RateKey {
                signature: index,
                first,
                second,
            },
            now_ms,
        )
    }
}

/// Whether a match speaks about the whole flow rather than about one packet: a pattern in a TCP stream does, since the
/// sender will repeat whatever was not acknowledged.
fn concerns_flow(signature: &Signature, facts: &Facts<'_>) -> bool {
    facts.transport == Transports::TCP && !signature.payload.is_empty()
}

/// Appends the members that match the packet to `matched`.
fn find(
    rules: &RuleSet,
    members: &[u32],
    facts: &Facts<'_>,
    flow: &FlowFacts,
    matched: &mut Vec<u32>,
    caches: &mut RegexCaches,
) -> Outcome {
    let mut work = 0;
    for &index in members {
        let signature = &rules.signatures[index as usize];
        if !header_matches(rules, signature, facts, flow) || !tests_match(signature, facts, flow) {
            continue;
        }
        match Evaluation::new(&mut work, VERIFY_WORK_MAX, caches)
            .run(&signature.payload, facts.payload)
        {
            Outcome::Match => matched.push(index),
            Outcome::NoMatch => {}
            Outcome::Exhausted => return Outcome::Exhausted,
        }
    }
    Outcome::NoMatch
}
