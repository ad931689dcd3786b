//! The inspection profiles of one generation, and which of them holds between two ports.
//!
//! A flow's profile is that of its pair of zones: the zone of the port that its originator's frames enter by, and of the port
//! that they leave by. Nothing of it is kept with the flow, so after a reload there is nothing to forget.

use inspect::inspector::{ExceptionPolicy, Mode, Profile};
use zones::PortId;

use crate::counters::Cell;

/// Profiles in one configuration at most: each has its bits over all signatures, and people must keep them apart.
pub const PROFILES_MAX: usize = 64;

/// Name of the profile that is there without being configured: everything applies, and `drop` drops.
pub const DEFAULT_PROFILE: &str = "default";

/// A profile and what operators call it.
#[derive(Debug)]
pub struct NamedProfile {
    /// Its name in the configuration.
    pub name: String,
    /// How flows are inspected by it.
    pub profile: Profile,
    /// Signatures that apply.
    pub signature_count: usize,
    /// Those of them that ask for the packet to be stopped.
    pub stopping_count: usize,
}

/// Profiles by pair of zones. Immutable.
#[derive(Debug)]
pub struct Profiles {
    list: Box<[NamedProfile]>,
    /// Zone by [`PortId`]; ports without one get the default.
    zones: Box<[Option<u16>]>,
    zone_count: usize,
    /// Index into `list`, by originator's zone and then responder's.
    by_zones: Box<[u8]>,
    /// Index into `list`.
    default: u8,
}

impl Default for Profiles {
    /// One profile with the default settings, in which all signatures apply, for everybody.
    fn default() -> Self {
        Self::only(Profile::default())
    }
}

impl Profiles {
    /// One profile for everybody. Its counts are not known.
    pub fn only(profile: Profile) -> Self {
        let name = DEFAULT_PROFILE.to_owned();
        let only = NamedProfile { name, profile, signature_count: 0, stopping_count: 0 };
        Self { list: Box::new([only]), zones: Box::default(), zone_count: 0, by_zones: Box::default(), default: 0 }
    }

    /// Profiles with the index of the one that holds where `by_zones` says nothing else. `by_zones` has an index for each
    /// pair of zones, row by row with the originator's zone; `zones` has each port's zone under its number. An index without a
    /// profile counts as the default; at most [`PROFILES_MAX`] profiles are used.
    ///
    /// Without any profile, the answer is [`Profiles::default`].
    pub fn new(list: Vec<NamedProfile>, default: u8, zones: Vec<Option<u16>>, by_zones: Vec<Vec<u8>>) -> Self {
        if list.is_empty() {
            return Self::default();
        }
        let list: Box<[NamedProfile]> = list.into_iter().take(PROFILES_MAX).collect();
        let bounded = |index: u8, otherwise: u8| if usize::from(index) < list.len() { index } else { otherwise };
        let default = bounded(default, 0);
        let zone_count = by_zones.len();
        let cell = |row: &Vec<u8>, zone: usize| bounded(row.get(zone).copied().unwrap_or(default), default);
        let by_zones = by_zones.iter().flat_map(|row| (0..zone_count).map(move |zone| cell(row, zone))).collect();
        Self { by_zones, zones: zones.into(), zone_count, default, list }
    }

    /// The profile of flows that enter by one port and leave by another.
    #[inline(always)]
    pub fn between(&self, from: PortId, to: PortId) -> &NamedProfile {
        match &*self.list {
            [only] => only,
            list => &list[self.index_between(from, to)],
        }
    }

    /// The index of that profile in [`Profiles::list`].
    pub fn index_between(&self, from: PortId, to: PortId) -> usize {
        let zone = |port: PortId| self.zones.get(port.index()).copied().flatten().map(usize::from);
        let by_zones = match (zone(from), zone(to)) {
            (Some(from), Some(to)) if to < self.zone_count => self.by_zones.get(from * self.zone_count + to),
            _ => None,
        };
        usize::from(by_zones.copied().unwrap_or(self.default))
    }

    /// All profiles, in the order of the configuration.
    pub fn list(&self) -> &[NamedProfile] {
        &self.list
    }

    /// The index of the profile that holds where no pair says otherwise.
    pub fn default_index(&self) -> usize {
        usize::from(self.default)
    }

    /// The index of the profile between two zones by their numbers.
    pub fn index_of_zones(&self, from: usize, to: usize) -> usize {
        let is_known = from < self.zone_count && to < self.zone_count;
        let by_zones = self.by_zones.get(from * self.zone_count + to).filter(|_| is_known);
        usize::from(by_zones.copied().unwrap_or(self.default))
    }
}

/// What a worker counts of one profile in one generation.
#[derive(Debug, Default)]
pub struct ProfileCells {
    /// Alerts.
    pub alerts: Cell,
    /// Frames that inspection dropped.
    pub drops: Cell,
    /// Frames that an audit let pass and prevention would have dropped.
    pub would_drops: Cell,
}

/// Suricata's word for a mode, and ours for an audit.
pub fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Prevent => "ips",
        Mode::Detect => "ids",
        Mode::Audit => "audit",
    }
}

/// Suricata's word for an exception policy.
pub fn exception_word(policy: ExceptionPolicy) -> &'static str {
    match policy {
        ExceptionPolicy::Auto => "auto",
        ExceptionPolicy::DropFlow => "drop-flow",
        ExceptionPolicy::DropPacket => "drop-packet",
        ExceptionPolicy::Reject => "reject",
        ExceptionPolicy::PassFlow => "pass-flow",
        ExceptionPolicy::PassPacket => "pass-packet",
        ExceptionPolicy::Bypass => "bypass",
        ExceptionPolicy::Ignore => "ignore",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> NamedProfile {
        NamedProfile { name: name.to_owned(), profile: Profile::default(), signature_count: 0, stopping_count: 0 }
    }

    #[test]
    fn each_pair_of_zones_has_its_profile() {
        let zones = vec![Some(0), None, Some(1), Some(7)];
        let profiles = Profiles::new(vec![named("a"), named("b"), named("c")], 2, zones, vec![vec![0, 1], vec![2, 9]]);
        let name = |from, to| profiles.between(PortId(from), PortId(to)).name.as_str();
        assert_eq!((name(0, 0), name(0, 2), name(2, 0)), ("a", "b", "c"));
        // An index that leads nowhere, a port without a zone, a zone without a row, a port that is not known.
        assert_eq!((name(2, 2), name(1, 0), name(3, 0), name(0, 3), name(0, 9)), ("c", "c", "c", "c", "c"));
        assert_eq!(profiles.index_of_zones(0, 1), 1);
        assert_eq!(profiles.index_of_zones(0, 2), 2);
    }

    #[test]
    fn one_profile_is_everybodys() {
        assert_eq!(Profiles::default().between(PortId(3), PortId(200)).name, DEFAULT_PROFILE);
        assert_eq!(Profiles::new(Vec::new(), 4, Vec::new(), Vec::new()).list().len(), 1);
        let only = Profiles::new(vec![named("a")], 9, vec![Some(0)], vec![vec![3]]);
        assert_eq!(only.between(PortId(0), PortId(0)).name, "a");
    }
}
