//! Inspection profiles, and which of them holds between two zones.

use super::{Context, Once};
use crate::config::file::{self, File, InspectionMode};
use crate::config::selector::Selector;
use crate::config::spanned::{At, OneOrMany};
use crate::profiles::{DEFAULT_PROFILE, NamedProfile, PROFILES_MAX, Profiles};
use inspect::inspector::{ExceptionPolicy, Mode, Profile, Settings};
use inspect::signature::{RuleSet, SignatureInfo};
use std::collections::BTreeSet;

/// Pairs in one configuration at most.
const PAIRS_MAX: usize = 4096;

/// The profiles of a configuration, with the zone of each port still to be said.
pub(super) struct Draft {
    list: Vec<NamedProfile>,
    default: u8,
    by_zones: Vec<Vec<u8>>,
}

impl Draft {
    /// The profiles, once it is known which zone each port number is in.
    pub(super) fn finish(self, zones: Vec<Option<u16>>) -> Profiles {
        Profiles::new(self.list, self.default, zones, self.by_zones)
    }
}

/// Looks up everything that is said of profiles.
pub(super) fn resolve(file: &File, rules: &RuleSet, context: &mut Context<'_>) -> Draft {
    let inspection = &file.inspection;
    let mut list: Vec<NamedProfile> = Vec::new();
    for (name, written) in &inspection.profiles.0 {
        context.check_name("profile", name);
        let profile = profile(written, rules, context);
        list.push(named(&name.value, profile, rules));
    }
    if let Some((name, _)) = inspection.profiles.0.get(PROFILES_MAX - 1) {
        let count = list.len();
        context.error_at(&name.at, format!("there are {count} profiles, at most {} are possible", PROFILES_MAX - 1));
    }
    // What nobody has configured is there all the same: all signatures, with their own actions.
    if !list.iter().any(|profile| profile.name == DEFAULT_PROFILE) {
        list.push(named(DEFAULT_PROFILE, Profile::default(), rules));
    }
    let names: BTreeSet<&str> = list.iter().map(|profile| profile.name.as_str()).collect();
    let mut index = |name: &str, at: Option<&std::ops::Range<usize>>| {
        let found = list.iter().position(|profile| profile.name == name);
        if let (None, Some(at)) = (found, at) {
            context.unknown("profile", name, at, &names);
        }
        // At most 64 profiles, as was checked.
        found.map_or(0, |index| index.min(PROFILES_MAX - 1) as u8)
    };
    let default = match &inspection.default_profile {
        Some(name) => index(name, Some(&name.at)),
        None => index(DEFAULT_PROFILE, None),
    };
    let pairs: Vec<u8> = inspection.pairs.iter().map(|pair| index(&pair.profile, Some(&pair.profile.at))).collect();
    let by_zones = by_zones(file, &pairs, default, context);
    let (list, default, by_zones) = used_only(list, default, by_zones, &inspection.profiles.0);
    Draft { list, default, by_zones }
}

/// Without the built-in profile where no flow can get it: one that is nowhere in force is not to be shown.
fn used_only(
    mut list: Vec<NamedProfile>,
    default: u8,
    by_zones: Vec<Vec<u8>>,
    configured: &[(At<String>, file::Profile)],
) -> (Vec<NamedProfile>, u8, Vec<Vec<u8>>) {
    let last = list.len().saturating_sub(1);
    let is_used = usize::from(default) == last || by_zones.iter().flatten().any(|&index| usize::from(index) == last);
    if list.len() > configured.len() && !is_used {
        list.pop();
    }
    (list, default, by_zones)
}

fn named(name: &str, profile: Profile, rules: &RuleSet) -> NamedProfile {
    NamedProfile {
        name: name.to_owned(),
        signature_count: profile.signature_count(rules),
        stopping_count: profile.stopping_count(rules),
        profile,
    }
}

fn profile(written: &file::Profile, rules: &RuleSet, context: &mut Context<'_>) -> Profile {
    let file::Profile { mode, enable, disable, drop, midstream, exceptions } = written;
    for selectors in [enable, disable, drop] {
        warn_of_idle(selectors, rules, context);
    }
    let settings = Settings {
        mode: match mode {
            InspectionMode::Ips => Mode::Prevent,
            InspectionMode::Ids => Mode::Detect,
            InspectionMode::Audit => Mode::Audit,
        },
        midstream: *midstream,
        stream_exception: policy(exceptions.stream),
        memory_exception: policy(exceptions.memory),
        protocol_exception: policy(exceptions.protocol),
        budget_exception: policy(exceptions.budget),
        ..Settings::default()
    };
    let any = |selectors: &OneOrMany<Selector>, info: &SignatureInfo| selectors.0.iter().any(|one| one.selects(info));
    Profile::of(rules, settings, |info| any(enable, info) && !any(disable, info), |info| any(drop, info))
}

/// A selector that selects nothing is a slip of the pen, or the rules are not those that its author knew.
fn warn_of_idle(selectors: &OneOrMany<Selector>, rules: &RuleSet, context: &mut Context<'_>) {
    for selector in selectors.0.iter().filter(|selector| selector.value != Selector::Any && !rules.is_empty()) {
        let mut infos = (0..rules.len() as u32).filter_map(|index| rules.signature(index));
        if !infos.any(|info| selector.selects(info)) {
            context.warning_at(&selector.at, "no signature is selected by this");
        }
    }
}

fn policy(written: file::ExceptionPolicy) -> ExceptionPolicy {
    match written {
        file::ExceptionPolicy::Auto => ExceptionPolicy::Auto,
        file::ExceptionPolicy::DropFlow => ExceptionPolicy::DropFlow,
        file::ExceptionPolicy::DropPacket => ExceptionPolicy::DropPacket,
        file::ExceptionPolicy::PassFlow => ExceptionPolicy::PassFlow,
        file::ExceptionPolicy::PassPacket => ExceptionPolicy::PassPacket,
        file::ExceptionPolicy::Bypass => ExceptionPolicy::Bypass,
        file::ExceptionPolicy::Ignore => ExceptionPolicy::Ignore,
    }
}

/// The profile for each pair of zones; nothing where there are no pairs.
fn by_zones(file: &File, profiles: &[u8], default: u8, context: &mut Context<'_>) -> Vec<Vec<u8>> {
    let pairs = &file.inspection.pairs;
    if pairs.is_empty() {
        return Vec::new();
    }
    if let Some(pair) = pairs.get(PAIRS_MAX) {
        let message = format!("there are {} pairs, at most {PAIRS_MAX} are possible", pairs.len());
        context.error_at(&pair.at, message);
        return Vec::new();
    }
    let zones: Vec<&str> = file.zones.names().collect();
    let mut table: Vec<Vec<Option<u8>>> = vec![vec![None; zones.len()]; zones.len()];
    for (pair, &profile) in pairs.iter().zip(profiles) {
        let (from, to) = (ends(&pair.from, &zones, context), ends(&pair.to, &zones, context));
        let (Some(from), Some(to)) = (from, to) else { continue };
        let mut decides = false;
        for &row in &from {
            for &column in &to {
                let cell = &mut table[row][column];
                decides |= cell.is_none();
                cell.get_or_insert(profile);
            }
        }
        if !decides {
            context.warning_at(&pair.at, "this pair never decides: pairs before it speak of the same zones");
        }
    }
    table.into_iter().map(|row| row.into_iter().map(|cell| cell.unwrap_or(default)).collect()).collect()
}

/// The zones that one end of a pair names; `None` when a name leads nowhere, which is noted.
fn ends(names: &OneOrMany<String>, zones: &[&str], context: &mut Context<'_>) -> Option<Vec<usize>> {
    let known: BTreeSet<&str> = zones.iter().copied().collect();
    let (mut found, mut once, mut is_sound) = (Vec::new(), Once::new(), true);
    for name in &names.0 {
        if let Some(first) = once.note(name.as_str(), &name.at) {
            context.error_with_first(&name.at, &first, format!("`{}` stands twice", name.value));
        }
        if name.value == "any" {
            found.extend(0..zones.len());
            continue;
        }
        match zones.iter().position(|zone| *zone == name.value) {
            Some(zone) => found.push(zone),
            None => {
                context.unknown("zone", name, &name.at, &known);
                is_sound = false;
            }
        }
    }
    is_sound.then_some(found)
}
