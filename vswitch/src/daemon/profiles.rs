//! The rows of `vswitch show profiles`.

use std::collections::BTreeMap;

use zones::ZoneId;

use crate::counters::Cell;
use crate::generation::Generation;
use crate::profiles::{ProfileCells, exception_word, mode_word};
use crate::status::ProfileRow;

/// Pairs of zones that are listed for one profile: more than a screen has lines.
const PAIRS_MAX: usize = 64;

/// The profiles of a generation, in the order of the configuration.
pub(super) fn rows(generation: &Generation) -> Vec<ProfileRow> {
    let profiles = &generation.profiles;
    let row = |(index, named): (usize, &crate::profiles::NamedProfile)| {
        let settings = named.profile.settings();
        let exceptions = [
            ("stream", settings.stream_exception),
            ("memory", settings.memory_exception),
            ("protocol", settings.protocol_exception),
            ("budget", settings.budget_exception),
        ];
        let is_default = index == profiles.default_index();
        let (pairs, pairs_omitted) = if is_default { (Vec::new(), 0) } else { pairs(generation, index) };
        let sum = |of: fn(&ProfileCells) -> &Cell| {
            generation.profile_cells.iter().filter_map(|cells| cells.get(index)).map(|cells| of(cells).value()).sum()
        };
        ProfileRow {
            name: named.name.clone(),
            mode: mode_word(settings.mode).to_owned(),
            is_default,
            pairs,
            pairs_omitted,
            signatures: named.signature_count as u64,
            stopping: named.stopping_count as u64,
            midstream: settings.midstream,
            exceptions: BTreeMap::from(
                exceptions.map(|(what, policy)| (what.to_owned(), exception_word(policy).to_owned())),
            ),
            alerts: sum(|cells| &cells.alerts),
            drops: sum(|cells| &cells.drops),
            would_drops: sum(|cells| &cells.would_drops),
        }
    };
    profiles.list().iter().enumerate().map(row).collect()
}

/// The pairs of zones that a profile holds between, and how many more there are than are listed.
fn pairs(generation: &Generation, profile: usize) -> (Vec<String>, u64) {
    let policy = &generation.policy;
    let (mut listed, mut omitted) = (Vec::new(), 0);
    for from in 0..policy.zone_count() {
        for to in (0..policy.zone_count()).filter(|&to| generation.profiles.index_of_zones(from, to) == profile) {
            // Policy compilation bounds the number of zones.
            let names = (policy.zone_name(ZoneId(from as u16)), policy.zone_name(ZoneId(to as u16)));
            match names {
                (Some(from), Some(to)) if listed.len() < PAIRS_MAX => listed.push(format!("{from} > {to}")),
                _ => omitted += 1,
            }
        }
    }
    (listed, omitted)
}
