//! What rules signatures out at one glance.
//!
//! # Theory of operation
//!
//! A signature is some hundred bytes with more behind pointers, and of tens of thousands hardly one is in the
//! processor's caches when a text names it: to fetch it costs more than to find that it was not meant. What most
//! candidates fail by - direction, protocols, ports, addresses, header fields - is the same for many signatures: ten
//! thousands of them have some thousand such gates in common. So each signature has but the number of its gate beside
//! it, and whether a packet passes a gate is found out once per packet, when the first of its signatures is named.

use std::collections::HashMap;

use super::blocks::{Blocks, Noted};
use super::definition::{Signature, Transports};
use super::facts::Facts;
use super::header_match::{Ends, FlowFacts, tests_match};
use super::ruleset::RuleSet;
use crate::inspector::Direction;

/// The gates of a set's signatures.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    /// By signature, the number of its gate.
    numbers: Box<[u32]>,
    gates: Box<[Gate]>,
}

/// What some signatures demand alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gate {
    /// A signature that stands for all with this gate.
    signature: u32,
    ends: Ends,
    /// Application protocols as bits, 0 for all and none.
    protocols: u32,
    transports: Transports,
    /// A bit per direction, state and version of IP that is accepted.
    situations: u8,
    /// The tests of header fields are part of the gate.
    has_tests: bool,
    /// The payload is looked into.
    asks_payload: bool,
}

impl Gate {
    /// Whether a packet passes the tests of header fields, as far as they are part of the gate.
    #[inline]
    fn tests_hold(&self, rules: &RuleSet, facts: &Facts<'_>, flow: &FlowFacts) -> bool {
        !self.has_tests || tests_match(&rules.signatures[self.signature as usize], facts, flow)
    }
}

/// The bit of a situation among those that a signature accepts.
#[inline]
pub(crate) fn situation(direction: Direction, established: bool, ip_version: u8) -> u8 {
    1 << (u8::from(direction == Direction::ToClient) | u8::from(established) << 1 | u8::from(ip_version == 6) << 2)
}

fn situations(signature: &Signature) -> u8 {
    let mut accepted = 0;
    for direction in [Direction::ToServer, Direction::ToClient] {
        for (established, ip_version) in [(false, 4), (false, 6), (true, 4), (true, 6)] {
            let flow = &signature.flow;
            if flow.direction.is_none_or(|wanted| wanted == direction)
                && flow.established.is_none_or(|wanted| wanted == established)
                && signature.ip_version.is_none_or(|wanted| wanted == ip_version)
            {
                accepted |= situation(direction, established, ip_version);
            }
        }
    }
    accepted
}

impl Gates {
    pub(crate) fn of(rules: &RuleSet) -> Self {
        let signatures = &rules.signatures;
        let (mut known, mut gates) = (HashMap::new(), Vec::new());
        let numbers = (0u32..).zip(signatures).map(|(index, signature)| {
            // Who is for a protocol that is not known yet waits for it, whatever the header fields.
            let has_tests = signature.protocols == 0 && signature.protocol_moments.is_empty();
            let tests = if has_tests { &*signature.tests } else { &[] };
            let ends = (signature.sources, signature.destinations, signature.source_ports, signature.destination_ports);
            let (situations, asks_payload) = (situations(signature), !signature.payload.is_empty());
            let (protocols, transports) = (signature.protocols, signature.transports);
            let key =
                (ends, signature.bidirectional, protocols, transports, situations, has_tests, asks_payload, tests);
            *known.entry(key).or_insert_with(|| {
                let ends = Ends::of(rules, signature);
                gates.push(Gate { signature: index, ends, protocols, transports, situations, has_tests, asks_payload });
                gates.len() as u32 - 1
            })
        });
        let numbers = numbers.collect();
        Self { numbers, gates: gates.into() }
    }

    /// Whether a signature looks into the payload.
    #[inline]
    pub(crate) fn asks_payload(&self, signature: u32) -> bool {
        self.gates[self.number(signature) as usize].asks_payload
    }

    /// Whether a packet's addresses and ports are those that a signature's gate asks for.
    pub(crate) fn ends_match(&self, rules: &RuleSet, signature: u32, facts: &Facts<'_>) -> bool {
        self.gates[self.number(signature) as usize].ends.match_those_of(rules, facts)
    }

    /// Whether a packet passes the tests of header fields that are part of a signature's gate.
    #[inline]
    pub(crate) fn tests_hold(&self, rules: &RuleSet, signature: u32, facts: &Facts<'_>, flow: &FlowFacts) -> bool {
        self.gates[self.number(signature) as usize].tests_hold(rules, facts, flow)
    }

    /// The situations and the protocols that a signature's gate accepts, as bits.
    pub(crate) fn states(&self, signature: u32) -> (u8, u32) {
        let gate = &self.gates[self.number(signature) as usize];
        (gate.situations, gate.protocols)
    }

    /// Whether a signature looks into the payload of flows that speak a protocol that it names.
    #[inline]
    pub(crate) fn asks_payload_of_protocol(&self, signature: u32) -> bool {
        let gate = &self.gates[self.number(signature) as usize];
        gate.asks_payload && gate.protocols != 0
    }

    /// The number of a signature's gate.
    #[inline]
    pub(crate) fn number(&self, signature: u32) -> u32 {
        self.numbers[signature as usize]
    }
}

/// Which gates the packet at hand passes, as far as anyone has asked.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    flow: Option<FlowFacts>,
    /// Protocols that the flow speaks or may yet turn out to speak.
    protocols: u32,
    /// Number of the packet.
    round: u32,
    /// By gate, twice the round in which somebody asked, and 1 more if the packet passes.
    asked: Vec<u32>,
}

impl Glance {
    /// Turns to another packet. `protocols` are those that its flow speaks, or may yet turn out to speak.
    pub(crate) fn turn(&mut self, rules: &RuleSet, flow: FlowFacts, protocols: u32) {
        (self.flow, self.protocols) = (Some(flow), protocols);
        self.round += 1;
        if self.round > u32::MAX / 2 {
            self.asked.clear();
            self.round = 1;
        }
        self.asked.resize(rules.gates.gates.len(), 0);
    }

    /// Calls `left` with the places of those signatures of a list whose gates the packet passes, without what its flow has
    /// found out before.
    #[inline]
    pub(crate) fn left(
        &self,
        rules: &RuleSet,
        facts: &Facts<'_>,
        list: &Blocks,
        noted: &mut Noted,
        mut left: impl FnMut(usize),
    ) {
        let Some(flow) = &self.flow else { return };
        list.left(rules, facts, flow, self.protocols, noted, |place, signature| {
            if rules.gates.tests_hold(rules, signature, facts, flow) {
                left(place);
            }
        });
    }

    /// Whether the packet passes a signature's gate: exact for direction, state, version, transport, addresses and ports.
    #[inline]
    pub(crate) fn admits(&mut self, rules: &RuleSet, signature: u32, facts: &Facts<'_>) -> bool {
        let number = rules.gates.number(signature);
        let known = self.asked[number as usize];
        if known >> 1 == self.round { known & 1 != 0 } else { self.ask(rules, number, facts) }
    }

    fn ask(&mut self, rules: &RuleSet, number: u32, facts: &Facts<'_>) -> bool {
        let gate = &rules.gates.gates[number as usize];
        let passes = self.flow.as_ref().is_some_and(|flow| {
            gate.situations & situation(flow.direction, flow.established, facts.ip_version) != 0
                && (gate.protocols == 0 || gate.protocols & self.protocols != 0)
                && gate.transports.meets(facts.transport)
                && gate.ends.match_those_of(rules, facts)
                && gate.tests_hold(rules, facts, flow)
        });
        self.asked[number as usize] = self.round << 1 | u32::from(passes);
        passes
    }
}
