//! The names that policy talks about: ports and the zones they belong to.

use crate::rule::Action;
use std::collections::BTreeMap;

/// A port of the switch, as a small number that stays the same for as long as the switch runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

impl PortId {
    /// The number as an index into tables of ports.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A zone, as its index in the policy that it was compiled into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneId(pub u16);

/// A trust group of ports, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// What becomes of a flow between two ports of this zone that no rule speaks of. Without it the policy's default
    /// decides: a zone is no permission by itself.
    pub intra_zone: Option<Action>,
}

impl Zone {
    /// A zone with its intra-zone setting.
    pub fn new(name: impl Into<String>, intra_zone: Option<Action>) -> Self {
        Self { name: name.into(), intra_zone }
    }
}

/// A port as the policy sees it, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub id: PortId,
    /// Its name.
    pub name: String,
    /// Name of the one zone that it belongs to.
    pub zone: String,
    /// Labels that groups select by.
    pub labels: BTreeMap<String, String>,
}

impl Port {
    /// A port without labels.
    pub fn new(id: PortId, name: impl Into<String>, zone: impl Into<String>) -> Self {
        Self { id, name: name.into(), zone: zone.into(), labels: BTreeMap::new() }
    }
}
