//! Rules that another rule keeps from deciding, found when the policy is checked and not when it is missed.
//!
//! Each rule is compared with each rule asked before it, over the ports that there are now. Only one earlier rule at a
//! time is looked at: a rule that several earlier ones hide between them is not found. What is found is true.

use crate::group::AddressRanges;
use crate::source::{PolicyError, PolicySource, Resolved, ResolvedRule, ResolvedTerm};
use std::fmt;

/// Most findings that are reported. Comparing stops there: a policy with this many faults is read again after a few.
pub const FINDINGS_MAX: usize = 100;

/// Something about two rules that their author may not have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The rule that is asked later, as its index in [`PolicySource::rules`].
    pub rule: usize,
    /// Its name.
    pub rule_name: String,
    /// The rule that is asked first, as its index in [`PolicySource::rules`].
    pub by: usize,
    /// Its name.
    pub by_name: String,
}

/// What can be the matter with two rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FindingKind {
    /// The later rule never decides, and its action is not what happens instead.
    Shadowed,
    /// The later rule never decides, and the same happens without it.
    Redundant,
    /// Both match some flows, their actions differ, and neither is an exception within the other: only their order decides.
    Conflicting,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule_name, by_name, .. } = self;
        match self.kind {
            FindingKind::Shadowed => {
                write!(f, "rule \"{rule_name}\" never decides: rule \"{by_name}\" does the opposite first")
            }
            FindingKind::Redundant => {
                write!(f, "rule \"{rule_name}\" never decides: rule \"{by_name}\" does the same first")
            }
            FindingKind::Conflicting => {
                write!(f, "rules \"{by_name}\" and \"{rule_name}\" disagree about some flows: their order decides")
            }
        }
    }
}

/// Compares every rule with those asked before it. At most [`FINDINGS_MAX`] findings, in the order in which the rules are
/// asked; for a rule that never decides only the first reason.
pub fn analyse(source: &PolicySource) -> Result<Vec<Finding>, Vec<PolicyError>> {
    let resolved = source.resolve()?;
    let mut findings = Vec::new();
    for (position, later) in resolved.rules.iter().enumerate() {
        // A rule that matches no port yet (its zone is empty) is hidden by nothing.
        if !is_live(later) {
            continue;
        }
        for earlier in resolved.rules[..position].iter().filter(|rule| is_live(rule)) {
            let Some(kind) = compare(source, &resolved, earlier, later) else {
                continue;
            };
            let name = |rule: &ResolvedRule| source.rules[rule.index].name.clone();
            let (rule_name, by_name) = (name(later), name(earlier));
            findings.push(Finding { kind, rule: later.index, rule_name, by: earlier.index, by_name });
            if findings.len() == FINDINGS_MAX {
                return Ok(findings);
            }
            if kind != FindingKind::Conflicting {
                break;
            }
        }
    }
    Ok(findings)
}

fn is_live(rule: &ResolvedRule) -> bool {
    let has_ports = |terms: &[ResolvedTerm]| terms.iter().any(|term| !term.ports.is_empty());
    has_ports(&rule.from) && has_ports(&rule.to)
}

fn compare(
    source: &PolicySource,
    resolved: &Resolved,
    earlier: &ResolvedRule,
    later: &ResolvedRule,
) -> Option<FindingKind> {
    let (first, second) = (&source.rules[earlier.index], &source.rules[later.index]);
    let sets = &resolved.address_sets;
    if !first.service.intersects(&second.service) {
        return None;
    }
    let is_hidden = second.service.is_subset(&first.service)
        && ends_subset(&later.from, &earlier.from, sets)
        && ends_subset(&later.to, &earlier.to, sets);
    if is_hidden {
        let is_same = first.action == second.action;
        return Some(if is_same { FindingKind::Redundant } else { FindingKind::Shadowed });
    }
    let is_exception = first.service.is_subset(&second.service)
        && ends_subset(&earlier.from, &later.from, sets)
        && ends_subset(&earlier.to, &later.to, sets);
    let is_conflict = first.action != second.action
        && first.tier == second.tier
        && !is_exception
        && ends_intersect(&earlier.from, &later.from, sets)
        && ends_intersect(&earlier.to, &later.to, sets);
    is_conflict.then_some(FindingKind::Conflicting)
}

/// Whether one end is within the other. Term by term, so that a `false` may be too cautious and a `true` never is.
fn ends_subset(terms: &[ResolvedTerm], of: &[ResolvedTerm], sets: &[AddressRanges]) -> bool {
    terms.iter().filter(|term| !term.ports.is_empty()).all(|term| {
        of.iter().any(|other| {
            let is_in_addresses = match (term.addresses, other.addresses) {
                (_, None) => true,
                (None, Some(_)) => false,
                (Some(own), Some(other)) => sets[own].is_subset(&sets[other]),
            };
            is_in_addresses && term.ports.is_subset(&other.ports)
        })
    })
}

fn ends_intersect(a: &[ResolvedTerm], b: &[ResolvedTerm], sets: &[AddressRanges]) -> bool {
    a.iter().any(|one| {
        b.iter().any(|two| {
            let share_addresses = match (one.addresses, two.addresses) {
                (None, None) => true,
                (Some(set), None) | (None, Some(set)) => !sets[set].is_empty(),
                (Some(one), Some(two)) => sets[one].intersects(&sets[two]),
            };
            share_addresses && one.ports.intersects(&two.ports)
        })
    })
}
