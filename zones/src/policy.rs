//! Who may open a flow to whom: the compiled policy of one generation.
//!
//! # Theory of operation
//!
//! The rules stand in the order in which they are asked (tier, then file). For each port there is one row of bits with the
//! rules that could match a flow *from* it and one with those *to* it, zones and groups worked in; for each protocol that
//! a rule names there is a third row. A decision joins three rows word by word (64 rules at a time) and asks the rules that
//! remain, first first, about what a row cannot know: transport ports, ICMP types and addresses. So the cost follows the
//! few rules that are about these two ports, not the size of the policy, and the answer is that of reading the list from
//! its top, which a test holds it to.

pub use crate::decision::{DeciderId, Decision, FlowFacts};

use crate::bits::Bits;
use crate::group::AddressRanges;
use crate::rule::Action;
use crate::service::Service;
use crate::source::{PolicyError, PolicySource, Resolved, ResolvedTerm};
use crate::{PortId, ZoneId};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Name of the decider that stands last: the policy's default.
pub const DEFAULT_DECIDER: &str = "default";

/// The compiled policy of one generation. Immutable. The default value knows no port and denies everything.
#[derive(Debug)]
pub struct Policy {
    /// Index into `ports` by [`PortId`]; `NO_PORT` where there is none.
    slots: Box<[u16]>,
    ports: Box<[CompiledPort]>,
    /// In the order in which they are asked.
    rules: Box<[CompiledRule]>,
    /// Index into `protocol_rows` by IP protocol number.
    protocol_row: Box<[u8; 256]>,
    protocol_rows: Box<[Bits]>,
    address_sets: Box<[AddressRanges]>,
    zones: Box<[CompiledZone]>,
    deciders: Box<[String]>,
    default: Decision,
}

const NO_PORT: u16 = u16::MAX;

#[derive(Debug)]
struct CompiledPort {
    zone: ZoneId,
    /// Rules that could match a flow that enters here.
    rules_from: Bits,
    /// Rules that could match a flow that leaves here.
    rules_to: Bits,
}

#[derive(Debug)]
struct CompiledRule {
    decision: Decision,
    /// What the rows leave open; `None` when they leave nothing open.
    rest: Option<Rest>,
    /// Whether it matches every flow between its ports.
    is_total: bool,
}

#[derive(Debug)]
struct Rest {
    service: Service,
    from: Option<Box<[AddressTerm]>>,
    to: Option<Box<[AddressTerm]>>,
}

/// A term of an endpoint with at least one condition on addresses.
#[derive(Debug)]
struct AddressTerm {
    ports: Bits,
    addresses: Option<usize>,
}

#[derive(Debug)]
struct CompiledZone {
    name: String,
    /// The intra-zone setting, or the default where there is none.
    intra_zone: Decision,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            slots: Box::default(),
            ports: Box::default(),
            rules: Box::default(),
            protocol_row: Box::new([0; 256]),
            protocol_rows: Box::new([Bits::none(0)]),
            address_sets: Box::default(),
            zones: Box::default(),
            deciders: Box::new([DEFAULT_DECIDER.to_string()]),
            default: Decision::Deny(DeciderId(0)),
        }
    }
}

impl Policy {
    /// Compiles a policy, or says everything that is wrong with it.
    pub fn compile(source: &PolicySource) -> Result<Self, Vec<PolicyError>> {
        let resolved = source.resolve()?;
        let deciders: Box<[String]> = (source.rules.iter().map(|rule| rule.name.clone()))
            .chain(source.zones.iter().map(|zone| format!("intra-zone:{}", zone.name)))
            .chain([DEFAULT_DECIDER.to_string()])
            .collect();
        // Rules and zones are bounded far below u16::MAX by `resolve`.
        let decider = |index: usize| DeciderId(index as u16);
        let default = decision(source.default, decider(deciders.len() - 1));
        let zones = (source.zones.iter().enumerate())
            .map(|(index, zone)| CompiledZone {
                name: zone.name.clone(),
                intra_zone: zone.intra_zone.map_or(default, |a| decision(a, decider(source.rules.len() + index))),
            })
            .collect();
        let (protocol_row, protocol_rows) = protocol_rows(source, &resolved);
        let rules = (resolved.rules.iter())
            .map(|rule| {
                let written = &source.rules[rule.index];
                compile_rule(&written.service, &rule.from, &rule.to, decision(written.action, decider(rule.index)))
            })
            .collect();
        Ok(Self {
            slots: slots(source),
            ports: compile_ports(&resolved),
            rules,
            protocol_row,
            protocol_rows,
            address_sets: resolved.address_sets.into_boxed_slice(),
            zones,
            deciders,
            default,
        })
    }

    /// Decides about a new flow: first matching rule, tier by tier and in file order within a tier, then the intra-zone
    /// setting when both ports are in one zone, then the default. A port that the policy does not know may talk to nobody,
    /// whatever the default.
    pub fn decide(&self, facts: &FlowFacts) -> Decision {
        let (Some(from), Some(to)) = (self.slot(facts.from), self.slot(facts.to)) else {
            return Decision::Deny(self.default.decider());
        };
        let by_protocol = &self.protocol_rows[usize::from(self.protocol_row[usize::from(facts.protocol)])];
        let candidates = [self.ports[from].rules_from.words(), self.ports[to].rules_to.words(), by_protocol.words()];
        for (word, ((by_from, by_to), by_protocol)) in
            candidates[0].iter().zip(candidates[1]).zip(candidates[2]).enumerate()
        {
            let mut bits = by_from & by_to & by_protocol;
            while bits != 0 {
                let rule = &self.rules[word * 64 + bits.trailing_zeros() as usize];
                if rule.rest.as_ref().is_none_or(|rest| rest.contains(facts, from, to, &self.address_sets)) {
                    return rule.decision;
                }
                bits &= bits - 1;
            }
        }
        self.without_rule(from, to)
    }

    /// Whether the policy could allow any flow at all between two ports, in either direction. Address resolution (ARP and
    /// neighbour discovery) passes between exactly these pairs of ports: who may not talk to a port has no use for its MAC.
    pub fn may_talk(&self, a: PortId, b: PortId) -> bool {
        match (self.slot(a), self.slot(b)) {
            (Some(a), Some(b)) => self.may_open(a, b) || self.may_open(b, a),
            (None, _) | (_, None) => false,
        }
    }

    /// The zone of a port, if the policy knows the port.
    pub fn zone_of(&self, port: PortId) -> Option<ZoneId> {
        self.slot(port).map(|slot| self.ports[slot].zone)
    }

    /// The name of a zone, if the policy has it.
    pub fn zone_name(&self, zone: ZoneId) -> Option<&str> {
        self.zones.get(usize::from(zone.0)).map(|zone| zone.name.as_str())
    }

    /// What becomes of a flow between two ports of a zone that no rule speaks of, if the policy has the zone.
    pub fn intra_zone(&self, zone: ZoneId) -> Option<Decision> {
        self.zones.get(usize::from(zone.0)).map(|zone| zone.intra_zone)
    }

    /// Number of zones; each [`ZoneId`] below it is one of this policy.
    pub fn zone_count(&self) -> usize {
        self.zones.len()
    }

    /// Names of everything that can decide, indexed by [`DeciderId`]: each rule's name in file order, then
    /// `intra-zone:NAME` per zone, then `default`.
    pub fn deciders(&self) -> &[String] {
        &self.deciders
    }

    /// The name of what decided. Panics on an id of another policy.
    pub fn decider_name(&self, decider: DeciderId) -> &str {
        &self.deciders[decider.index()]
    }

    fn slot(&self, port: PortId) -> Option<usize> {
        self.slots.get(port.index()).filter(|slot| **slot != NO_PORT).map(|slot| usize::from(*slot))
    }

    fn without_rule(&self, from: usize, to: usize) -> Decision {
        let zone = self.ports[from].zone;
        if zone == self.ports[to].zone { self.zones[usize::from(zone.0)].intra_zone } else { self.default }
    }

    /// Whether some flow from one port to the other could be allowed: an allow rule is reached before a rule that drops
    /// everything between the two.
    fn may_open(&self, from: usize, to: usize) -> bool {
        let rows = self.ports[from].rules_from.words().iter().zip(self.ports[to].rules_to.words());
        for (word, (by_from, by_to)) in rows.enumerate() {
            let mut bits = by_from & by_to;
            while bits != 0 {
                let rule = &self.rules[word * 64 + bits.trailing_zeros() as usize];
                match rule.decision {
                    Decision::Allow(_) => return true,
                    Decision::Deny(_) if rule.is_total => return false,
                    Decision::Deny(_) => bits &= bits - 1,
                }
            }
        }
        self.without_rule(from, to).is_allow()
    }
}

impl Rest {
    fn contains(&self, facts: &FlowFacts, from: usize, to: usize, sets: &[AddressRanges]) -> bool {
        let end = |terms: &Option<Box<[AddressTerm]>>, port: usize, address: IpAddr| {
            let matches = |term: &AddressTerm| {
                term.ports.contains(port) && term.addresses.is_none_or(|set| sets[set].contains(address))
            };
            terms.as_ref().is_none_or(|terms| terms.iter().any(matches))
        };
        self.service.contains_ports(facts)
            && end(&self.from, from, facts.source)
            && end(&self.to, to, facts.destination)
    }
}

fn decision(action: Action, decider: DeciderId) -> Decision {
    match action {
        Action::Allow => Decision::Allow(decider),
        Action::Drop => Decision::Deny(decider),
    }
}

fn slots(source: &PolicySource) -> Box<[u16]> {
    let size = source.ports.iter().map(|port| port.id.index() + 1).max().unwrap_or(0);
    let mut slots = vec![NO_PORT; size].into_boxed_slice();
    for (slot, port) in source.ports.iter().enumerate() {
        slots[port.id.index()] = slot as u16;
    }
    slots
}

fn compile_ports(resolved: &Resolved) -> Box<[CompiledPort]> {
    let row = |is_about: &dyn Fn(usize) -> bool| {
        let mut bits = Bits::none(resolved.rules.len());
        (0..resolved.rules.len()).filter(|rule| is_about(*rule)).for_each(|rule| bits.insert(rule));
        bits
    };
    let has = |terms: &[ResolvedTerm], port: usize| terms.iter().any(|term| term.ports.contains(port));
    (resolved.port_zones.iter().enumerate())
        .map(|(port, zone)| CompiledPort {
            zone: *zone,
            rules_from: row(&|rule| has(&resolved.rules[rule].from, port)),
            rules_to: row(&|rule| has(&resolved.rules[rule].to, port)),
        })
        .collect()
}

/// One row of rules for each protocol that a rule names, and one, the first, for all others.
fn protocol_rows(source: &PolicySource, resolved: &Resolved) -> (Box<[u8; 256]>, Box<[Bits]>) {
    let service = |rule: usize| &source.rules[resolved.rules[rule].index].service;
    let mut row_by_protocol = Box::new([0; 256]);
    let mut rows = Vec::new();
    let mut known: BTreeMap<Box<[u64]>, u8> = BTreeMap::new();
    for protocol in 0..=u8::MAX {
        let mut bits = Bits::none(resolved.rules.len());
        (0..resolved.rules.len())
            .filter(|rule| service(*rule).contains_protocol(protocol))
            .for_each(|r| bits.insert(r));
        let row = *known.entry(bits.words().into()).or_insert_with(|| {
            rows.push(bits);
            // At most 256 different rows, one per protocol number.
            (rows.len() - 1) as u8
        });
        row_by_protocol[usize::from(protocol)] = row;
    }
    (row_by_protocol, rows.into_boxed_slice())
}

fn compile_rule(service: &Service, from: &[ResolvedTerm], to: &[ResolvedTerm], decision: Decision) -> CompiledRule {
    let addresses = |terms: &[ResolvedTerm]| {
        let is_needed = terms.iter().any(|term| term.addresses.is_some());
        let compile = |term: &ResolvedTerm| AddressTerm { ports: term.ports.clone(), addresses: term.addresses };
        is_needed.then(|| terms.iter().map(compile).collect::<Box<[_]>>())
    };
    let (from, to) = (addresses(from), addresses(to));
    let is_total = service.is_any() && from.is_none() && to.is_none();
    let is_decided_by_rows = !service.has_details() && from.is_none() && to.is_none();
    let rest = (!is_decided_by_rows).then(|| Rest { service: service.clone(), from, to });
    CompiledRule { decision, rest, is_total }
}
