//! Groups, address sets and rules.

use super::{Context, Once};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::file::{self, File};
use crate::config::resolved::PortConfig;
use crate::config::spanned::{At, OneOrMany};
use crate::config::text::Protocol;
use std::collections::BTreeSet;
use zones::analysis::{FindingKind, analyse};
use zones::group::{AddressSet, Group};
use zones::policy::Policy;
use zones::rule::{Endpoint, Place, Rule, Term, Tier};
use zones::service::Service;
use zones::source::{PolicySource, RULES_MAX};
use zones::zone::{Port, Zone};

/// Members of one address set: a feed of a few ten thousand fits, a routing table does not.
const ADDRESS_SET_LEN_MAX: usize = 65_536;

/// The names that rules may use.
struct Names<'f> {
    zones: BTreeSet<&'f str>,
    ports: BTreeSet<&'f str>,
    places: BTreeSet<&'f str>,
    groups: BTreeSet<&'f str>,
    address_sets: BTreeSet<&'f str>,
}

/// The policy in the words of the `zones` crate, as far as it is sound.
pub(super) fn source(file: &File, ports: &[PortConfig], context: &mut Context<'_>) -> PolicySource {
    let zones: BTreeSet<&str> = file.zones.names().collect();
    let port_names: BTreeSet<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    let names = Names {
        places: zones.union(&port_names).copied().collect(),
        zones,
        ports: port_names,
        groups: file.groups.names().collect(),
        address_sets: file.address_sets.names().collect(),
    };
    let groups = groups(file, &names, context);
    let address_sets = address_sets(file, context);
    let mut once = Once::new();
    let mut rules = Vec::with_capacity(file.policy.rules.len());
    for written in &file.policy.rules {
        context.check_name("rule", &written.name);
        if let Some(first) = once.note(written.name.as_str(), &written.name.at) {
            let message = format!("there are two rules \"{}\"", written.name.value);
            context.error_with_first(&written.name.at, &first, message);
        }
        rules.push(rule(written, &names, context));
    }
    if let Some(first_too_many) = file.policy.rules.get(RULES_MAX) {
        let message = format!("there are {} rules, at most {RULES_MAX} are possible", file.policy.rules.len());
        context.error_at(&first_too_many.name.at, message);
    }
    let port = |port: &PortConfig| Port {
        id: port.id,
        name: port.name.clone(),
        zone: port.zone_name.clone(),
        labels: port.labels.clone(),
    };
    let zone =
        |(name, zone): &(At<String>, file::Zone)| Zone::new(name.value.clone(), zone.intra_zone.map(|action| action.0));
    PolicySource {
        zones: file.zones.0.iter().map(zone).collect(),
        ports: ports.iter().map(port).collect(),
        groups,
        address_sets,
        rules,
        default: file.policy.default.0,
    }
}

/// Compiles a sound policy, and warns of rules that never decide.
pub(super) fn compile(file: &File, source: &PolicySource, context: &mut Context<'_>) -> Option<Policy> {
    let policy = match Policy::compile(source) {
        Ok(policy) => policy,
        Err(errors) => {
            // What the configuration was looked at for, the policy looks at again; it has no places to tell.
            for error in errors {
                context.report.push(Diagnostic::new(Severity::Error, error.to_string()));
            }
            return None;
        }
    };
    for finding in analyse(source).unwrap_or_default() {
        let severity = match finding.kind {
            FindingKind::Shadowed | FindingKind::Redundant => Severity::Warning,
            FindingKind::Conflicting => Severity::Note,
        };
        let place = |rule: usize| context.place(&file.policy.rules[rule].name.at);
        let diagnostic = Diagnostic::new(severity, finding.to_string())
            .at(place(finding.rule))
            .related_to(place(finding.by), "asked first");
        context.report.push(diagnostic);
    }
    Some(policy)
}

fn groups(file: &File, names: &Names<'_>, context: &mut Context<'_>) -> Vec<Group> {
    let mut groups = Vec::with_capacity(file.groups.0.len());
    for (name, group) in &file.groups.0 {
        context.check_name("group", name);
        if group.labels.is_empty() && group.ports.is_empty() {
            context.error_at(&name.at, format!("group \"{}\" selects nobody: give it `labels` or `ports`", name.value));
        }
        for port in group.ports.iter().filter(|port| !names.ports.contains(port.as_str())) {
            context.unknown("port", port, &port.at, &names.ports);
        }
        groups.push(Group {
            name: name.value.clone(),
            labels: group.labels.clone(),
            ports: group.ports.iter().map(|port| port.value.clone()).collect(),
        });
    }
    groups
}

fn address_sets(file: &File, context: &mut Context<'_>) -> Vec<AddressSet> {
    let mut sets = Vec::with_capacity(file.address_sets.0.len());
    for (name, prefixes) in &file.address_sets.0 {
        context.check_name("address set", name);
        if let Some(first_too_many) = prefixes.get(ADDRESS_SET_LEN_MAX) {
            let message = format!("address set \"{}\" has more than {ADDRESS_SET_LEN_MAX} members", name.value);
            context.error_at(&first_too_many.at, message);
        }
        let prefixes = prefixes.iter().map(|prefix| prefix.value.0).collect();
        sets.push(AddressSet { name: name.value.clone(), prefixes });
    }
    sets
}

fn rule(written: &file::Rule, names: &Names<'_>, context: &mut Context<'_>) -> Rule {
    let from = endpoint("from", written, &written.from, names, context);
    let to = endpoint("to", written, &written.to, names, context);
    let service = service(written, context);
    let tier = match written.tier {
        file::Tier::Emergency => Tier::Emergency,
        file::Tier::Infrastructure => Tier::Infrastructure,
        file::Tier::Environment => Tier::Environment,
        file::Tier::Application => Tier::Application,
        file::Tier::Baseline => Tier::Baseline,
    };
    Rule { name: written.name.value.clone(), tier, from, to, service, action: written.action.0 }
}

fn endpoint(
    key: &str,
    rule: &file::Rule,
    written: &OneOrMany<String>,
    names: &Names<'_>,
    context: &mut Context<'_>,
) -> Endpoint {
    if written.0.is_empty() {
        context.error_at(&rule.name.at, format!("rule \"{}\": `{key}` lists nobody", rule.name.value));
    }
    let mut terms = Vec::with_capacity(written.0.len());
    for text in &written.0 {
        match text.parse::<Term>() {
            Ok(term) => {
                check_term(&term, text, names, context);
                terms.push(term);
            }
            Err(error) => context.error_at(&text.at, error.to_string()),
        }
    }
    Endpoint { terms }
}

fn check_term(term: &Term, text: &At<String>, names: &Names<'_>, context: &mut Context<'_>) {
    match &term.place {
        Place::Any => {}
        Place::Named(name) if names.places.contains(name.as_str()) => {}
        Place::Named(name) => {
            // The nearest name says which of the two was meant.
            let near = crate::config::suggest::nearest(name, names.places.iter().copied());
            let what = match near {
                Some(near) if names.zones.contains(near) => "zone",
                Some(_) => "port",
                None => "zone or port",
            };
            context.unknown(what, name, &text.at, &names.places);
        }
        Place::Group(name) if names.groups.contains(name.as_str()) => {}
        Place::Group(name) => context.unknown("group", name, &text.at, &names.groups),
    }
    if let Some(name) = term.addresses.as_deref().filter(|name| !names.address_sets.contains(name)) {
        context.unknown("address set", name, &text.at, &names.address_sets);
    }
}

fn service(rule: &file::Rule, context: &mut Context<'_>) -> Service {
    // `any` among others is everything.
    let is_any = rule.proto.0.iter().any(|protocol| protocol.value == Protocol(None));
    let protocols = rule.proto.0.iter().filter_map(|protocol| protocol.value.0).filter(|_| !is_any);
    let ranges = |ports: &OneOrMany<_>| {
        ports.0.iter().map(|range: &At<crate::config::text::PortRange>| (range.0, range.1)).collect()
    };
    let icmp_types = rule.icmp_type.0.iter().map(|icmp_type| icmp_type.value.0).collect();
    Service::new(protocols, ranges(&rule.sport), ranges(&rule.dport), icmp_types).unwrap_or_else(|error| {
        let at = (rule.dport.0.first().map(|range| &range.at))
            .or(rule.sport.0.first().map(|range| &range.at))
            .or(rule.icmp_type.0.first().map(|icmp_type| &icmp_type.at))
            .unwrap_or(&rule.name.at)
            .clone();
        context.error_at(&at, format!("rule \"{}\": {error}", rule.name.value));
        Service::any()
    })
}
