//! The whole policy as plain values, and the step from names to numbers that finds every name which leads nowhere.

use crate::bits::Bits;
use crate::group::{AddressRanges, AddressSet, Group};
use crate::rule::{Action, Endpoint, Place, Rule, Term};
use crate::zone::{Port, Zone};
use crate::{PortId, ZoneId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most zones in a policy. A zone is a trust group that people reason about, not a tenant's network; beyond this the
/// matrix of zones is past reading.
pub const ZONES_MAX: usize = 1024;
/// Most ports in a policy: several times the guests that one host runs.
pub const PORTS_MAX: usize = 4096;
/// Most rules in a policy. With [`PORTS_MAX`] ports the two tables of rules by port then take 4 MiB, and a decision reads
/// at most 64 words of each.
pub const RULES_MAX: usize = 4096;

/// A policy as written: names, not numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource {
    /// The zones. A zone's index here is its [`ZoneId`].
    pub zones: Vec<Zone>,
    /// The ports.
    pub ports: Vec<Port>,
    /// Groups of ports.
    pub groups: Vec<Group>,
    /// Sets of addresses.
    pub address_sets: Vec<AddressSet>,
    /// The rules, in file order.
    pub rules: Vec<Rule>,
    /// What becomes of a flow that neither a rule nor a zone's intra-zone setting speaks of.
    pub default: Action,
}

impl Default for PolicySource {
    fn default() -> Self {
        Self {
            zones: Vec::new(),
            ports: Vec::new(),
            groups: Vec::new(),
            address_sets: Vec::new(),
            rules: Vec::new(),
            default: Action::Drop,
        }
    }
}

/// Why a [`PolicySource`] is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyError {
    /// Two zones, ports, groups, sets or rules of one name.
    Duplicate {
        /// What they are: `zone`, `port`, `group`, `address set`, `rule`.
        what: &'static str,
        /// Their name.
        name: String,
    },
    /// Two ports of one number.
    DuplicateId(PortId),
    /// A name that nothing has.
    Unknown {
        /// What it should be: `zone`, `zone or port`, `group`, `address set`, `port`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where it was used: `rule "web-db"`, `port "web1"`, `group "web"`.
        used_by: String,
    },
    /// A name in a rule that a zone and a port both have.
    Ambiguous {
        /// The name.
        name: String,
        /// The rule.
        rule: String,
    },
    /// More of something than the limit.
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { what, name } => write!(f, "there are two {what}s \"{name}\""),
            Self::DuplicateId(id) => write!(f, "there are two ports with number {}", id.0),
            Self::Unknown { what, name, used_by } => write!(f, "{used_by}: {what} \"{name}\" does not exist"),
            Self::Ambiguous { name, rule } => {
                write!(f, "rule \"{rule}\": \"{name}\" is both a zone and a port")
            }
            Self::TooMany { what, count, count_max } => write!(f, "{count} {what}, at most {count_max} are possible"),
        }
    }
}

impl std::error::Error for PolicyError {}

/// A rule whose names have become numbers.
#[derive(Debug)]
pub(crate) struct ResolvedRule {
    /// Index in [`PolicySource::rules`].
    pub(crate) index: usize,
    pub(crate) from: Vec<ResolvedTerm>,
    pub(crate) to: Vec<ResolvedTerm>,
}

/// A term whose names have become numbers.
#[derive(Debug)]
pub(crate) struct ResolvedTerm {
    /// Ports, by their index in [`PolicySource::ports`].
    pub(crate) ports: Bits,
    /// Index in [`PolicySource::address_sets`].
    pub(crate) addresses: Option<usize>,
}

/// What a policy's names mean.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Zone of each port.
    pub(crate) port_zones: Vec<ZoneId>,
    pub(crate) address_sets: Vec<AddressRanges>,
    /// The rules in the order in which they are asked: by tier, then as in the file.
    pub(crate) rules: Vec<ResolvedRule>,
}

impl PolicySource {
    /// Finds what each name means, or every fault there is.
    pub(crate) fn resolve(&self) -> Result<Resolved, Vec<PolicyError>> {
        let mut errors = self.check_sizes_and_names();
        if !errors.is_empty() {
            return Err(errors);
        }
        let zone_index: BTreeMap<&str, usize> = by_name(self.zones.iter().map(|zone| zone.name.as_str()));
        let mut port_zones = Vec::with_capacity(self.ports.len());
        for port in &self.ports {
            match zone_index.get(port.zone.as_str()) {
                Some(index) => port_zones.push(ZoneId(*index as u16)),
                None => errors.push(unknown("zone", &port.zone, format!("port \"{}\"", port.name))),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let places = Places::new(self, &zone_index, &port_zones, &mut errors);
        let mut order: Vec<usize> = (0..self.rules.len()).collect();
        order.sort_by_key(|index| (self.rules[*index].tier, *index));
        let mut rules = Vec::with_capacity(order.len());
        for index in order {
            let rule = &self.rules[index];
            let from = places.terms(&rule.from, &rule.name, &mut errors);
            let to = places.terms(&rule.to, &rule.name, &mut errors);
            rules.push(ResolvedRule { index, from, to });
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let address_sets = self.address_sets.iter().map(|set| set.prefixes.iter().copied().collect()).collect();
        Ok(Resolved { port_zones, address_sets, rules })
    }

    fn check_sizes_and_names(&self) -> Vec<PolicyError> {
        let mut errors = Vec::new();
        let sizes = [
            ("zones", self.zones.len(), ZONES_MAX),
            ("ports", self.ports.len(), PORTS_MAX),
            ("rules", self.rules.len(), RULES_MAX),
        ];
        for (what, count, count_max) in sizes {
            if count > count_max {
                errors.push(PolicyError::TooMany { what, count, count_max });
            }
        }
        duplicates("zone", self.zones.iter().map(|zone| zone.name.as_str()), &mut errors);
        duplicates("port", self.ports.iter().map(|port| port.name.as_str()), &mut errors);
        duplicates("group", self.groups.iter().map(|group| group.name.as_str()), &mut errors);
        duplicates("address set", self.address_sets.iter().map(|set| set.name.as_str()), &mut errors);
        duplicates("rule", self.rules.iter().map(|rule| rule.name.as_str()), &mut errors);
        let mut ids = BTreeSet::new();
        errors.extend(self.ports.iter().filter(|p| !ids.insert(p.id)).map(|p| PolicyError::DuplicateId(p.id)));
        errors
    }
}

/// What the names in rules stand for.
struct Places<'a> {
    port_count: usize,
    zones: BTreeMap<&'a str, Bits>,
    ports: BTreeMap<&'a str, usize>,
    groups: BTreeMap<&'a str, Bits>,
    address_sets: BTreeMap<&'a str, usize>,
}

impl<'a> Places<'a> {
    fn new(
        source: &'a PolicySource,
        zone_index: &BTreeMap<&'a str, usize>,
        port_zones: &[ZoneId],
        errors: &mut Vec<PolicyError>,
    ) -> Self {
        let port_count = source.ports.len();
        let ports = by_name(source.ports.iter().map(|port| port.name.as_str()));
        let select = |is_member: &dyn Fn(usize) -> bool| {
            let mut bits = Bits::none(port_count);
            (0..port_count).filter(|index| is_member(*index)).for_each(|index| bits.insert(index));
            bits
        };
        let zones = zone_index
            .iter()
            .map(|(name, zone)| (*name, select(&|index| usize::from(port_zones[index].0) == *zone)))
            .collect();
        let mut groups = BTreeMap::new();
        for group in &source.groups {
            for name in group.ports.iter().filter(|name| !ports.contains_key(name.as_str())) {
                errors.push(unknown("port", name, format!("group \"{}\"", group.name)));
            }
            groups.insert(group.name.as_str(), select(&|index| group.contains(&source.ports[index])));
        }
        let address_sets = by_name(source.address_sets.iter().map(|set| set.name.as_str()));
        Self { port_count, zones, ports, groups, address_sets }
    }

    fn terms(&self, endpoint: &Endpoint, rule: &str, errors: &mut Vec<PolicyError>) -> Vec<ResolvedTerm> {
        endpoint
            .terms
            .iter()
            .filter_map(|term| self.term(term, rule).map_err(|error| errors.push(error)).ok())
            .collect()
    }

    fn term(&self, term: &Term, rule: &str) -> Result<ResolvedTerm, PolicyError> {
        let used_by = || format!("rule \"{rule}\"");
        let ports = match &term.place {
            Place::Any => Bits::all(self.port_count),
            Place::Group(name) => {
                self.groups.get(name.as_str()).cloned().ok_or_else(|| unknown("group", name, used_by()))?
            }
            Place::Named(name) => match (self.zones.get(name.as_str()), self.ports.get(name.as_str())) {
                (Some(_), Some(_)) => {
                    return Err(PolicyError::Ambiguous { name: name.clone(), rule: rule.to_string() });
                }
                (Some(zone), None) => zone.clone(),
                (None, Some(index)) => {
                    let mut bits = Bits::none(self.port_count);
                    bits.insert(*index);
                    bits
                }
                (None, None) => return Err(unknown("zone or port", name, used_by())),
            },
        };
        let addresses = match &term.addresses {
            None => None,
            Some(name) => match self.address_sets.get(name.as_str()) {
                Some(index) => Some(*index),
                None => return Err(unknown("address set", name, used_by())),
            },
        };
        Ok(ResolvedTerm { ports, addresses })
    }
}

fn by_name<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    names.enumerate().map(|(index, name)| (name, index)).collect()
}

fn unknown(what: &'static str, name: &str, used_by: String) -> PolicyError {
    PolicyError::Unknown { what, name: name.to_string(), used_by }
}

fn duplicates<'a>(what: &'static str, names: impl Iterator<Item = &'a str>, errors: &mut Vec<PolicyError>) {
    let mut seen = BTreeSet::new();
    errors.extend(
        names.filter(|name| !seen.insert(*name)).map(|name| PolicyError::Duplicate { what, name: name.to_string() }),
    );
}
