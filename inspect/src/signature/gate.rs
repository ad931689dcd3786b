//! What rules signatures out at one glance.
//!
//! # Theory of operation
//!
//! A signature is some hundred bytes with more behind pointers, and of tens of thousands hardly one is in the
//! processor's caches when a text names it: to fetch it costs more than to find that it was not meant. What most
//! candidates fail by - direction, protocols, ports, addresses, header fields - is the same for many signatures: ten
//! thousands of them have some thousand such gates in common. So each signature has but the number of its gate beside
//! it, and whether a packet passes a gate is found out once per packet, when the first of its signatures is named; once for all
//! packets of a flow, but for header fields, as long as no packet of another one comes in between.

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
    /// There are tests of header fields, and they are part of the gate.
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
                let (ends, has_tests) = (Ends::of(rules, signature), !tests.is_empty());
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
    packet: u32,
    /// By gate with tests of header fields, twice the number of the packet that was last asked, and 1 more if they hold.
    tested: Vec<u32>,
    /// By direction, what the packets of one flow have in common, as one seldom comes alone.
    settled: [Settled; 2],
    /// Index of the direction of the packet at hand.
    direction: usize,
    sets: Sets,
}

/// What gates have answered to all packets with the same state, addresses and ports.
#[derive(Debug, Default)]
struct Settled {
    of: Option<Common>,
    /// Counts those that were different, up to what a byte of `asked` holds.
    round: u8,
    /// By gate, four times the round in which somebody asked, and what was answered. Thousands of gates are asked again and
    /// again: this must not take the nearest cache from all else.
    asked: Vec<u8>,
}

impl Settled {
    const PASSES: u8 = 1;
    /// It has tests of header fields, which each packet is asked by itself.
    const HAS_TESTS: u8 = 2;
    const ROUND_MAX: u8 = u8::MAX >> 2;

    /// Turns to packets that have this in common.
    fn turn(&mut self, common: Common, gate_count: usize) {
        if self.of != Some(common) {
            self.of = Some(common);
            self.round += 1;
            if self.round > Self::ROUND_MAX {
                self.asked.fill(0);
                self.round = 1;
            }
        }
        self.asked.resize(gate_count, 0);
    }
}

/// All that gates ask but tests of header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Common {
    rules: u64,
    addresses: (u128, u128),
    ports: (u16, u16),
    protocols: u32,
    transport: Transports,
    situation: u8,
}

impl Glance {
    /// Turns to another packet. `protocols` are those that its flow speaks, or may yet turn out to speak.
    pub(crate) fn turn(&mut self, rules: &RuleSet, facts: &Facts<'_>, flow: FlowFacts, protocols: u32) {
        let common = Common {
            rules: rules.fingerprint(),
            addresses: (facts.source, facts.destination),
            ports: (facts.source_port, facts.destination_port),
            protocols,
            transport: facts.transport,
            situation: situation(flow.direction, flow.established, facts.ip_version),
        };
        self.direction = usize::from(flow.direction == Direction::ToClient);
        (self.flow, self.protocols) = (Some(flow), protocols);
        self.packet += 1;
        if self.packet > u32::MAX / 16 {
            (self.packet, self.sets) = (1, Sets::default());
            self.tested.clear();
        }
        self.tested.resize(rules.gates.gates.len(), 0);
        self.settled[self.direction].turn(common, rules.gates.gates.len());
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
        self.admits_at(rules, rules.gates.number(signature), facts)
    }

    /// Whether the packet passes the gate of this number.
    #[inline]
    pub(crate) fn admits_at(&mut self, rules: &RuleSet, number: u32, facts: &Facts<'_>) -> bool {
        let settled = &self.settled[self.direction];
        let known = settled.asked[number as usize];
        let known = if known >> 2 == settled.round { known } else { self.ask(rules, number, facts) };
        known & Settled::PASSES != 0 && (known & Settled::HAS_TESTS == 0 || self.test(rules, number, facts))
    }

    #[inline(never)]
    fn ask(&mut self, rules: &RuleSet, number: u32, facts: &Facts<'_>) -> u8 {
        let gate = &rules.gates.gates[number as usize];
        let settled = &mut self.settled[self.direction];
        let sets = &mut self.sets;
        let passes = settled.of.is_some_and(|common| {
            gate.situations & common.situation != 0
                && (gate.protocols == 0 || gate.protocols & common.protocols != 0)
                && gate.transports.meets(common.transport)
                && sets.meet(rules, &gate.ends, facts, self.packet)
        });
        let has_tests = if gate.has_tests { Settled::HAS_TESTS } else { 0 };
        let known = settled.round << 2 | has_tests | if passes { Settled::PASSES } else { 0 };
        settled.asked[number as usize] = known;
        known
    }

    #[inline(never)]
    fn test(&mut self, rules: &RuleSet, number: u32, facts: &Facts<'_>) -> bool {
        let known = &mut self.tested[number as usize];
        if *known >> 1 != self.packet {
            let gate = &rules.gates.gates[number as usize];
            let holds = self.flow.as_ref().is_some_and(|flow| gate.tests_hold(rules, facts, flow));
            *known = self.packet << 1 | u32::from(holds);
        }
        *known & 1 != 0
    }
}

/// Which sets of addresses and ports those of the packet at hand are in: thousands of gates ask for some hundred sets.
#[derive(Debug, Default)]
struct Sets {
    /// By set, 16 times the number of the packet that was last asked, and what was found out: two bits for what the packet
    /// has as its source, two for its destination.
    addresses: Vec<u32>,
    ports: Vec<u32>,
}

impl Sets {
    fn meet(&mut self, rules: &RuleSet, ends: &Ends, facts: &Facts<'_>, packet: u32) -> bool {
        self.addresses.resize(rules.addresses.len(), 0);
        self.ports.resize(rules.ports.len(), 0);
        let Self { addresses, ports } = self;
        ends.meet(
            |set, of_source| {
                let port = if of_source { facts.source_port } else { facts.destination_port };
                known(&mut ports[set as usize], packet, of_source, || rules.port_set(set).contains(port))
            },
            |set, of_source| {
                let address = if of_source { facts.source } else { facts.destination };
                known(&mut addresses[set as usize], packet, of_source, || rules.address_set(set).contains(address))
            },
        )
    }
}

/// What is known of a set, or what is found out about it now.
#[inline]
fn known(known: &mut u32, packet: u32, of_source: bool, find_out: impl FnOnce() -> bool) -> bool {
    if *known >> 4 != packet {
        *known = packet << 4;
    }
    let shift = if of_source { 0 } else { 2 };
    if *known >> shift & 1 == 0 {
        *known |= (1 | u32::from(find_out()) << 1) << shift;
    }
    *known >> (shift + 1) & 1 != 0
}
