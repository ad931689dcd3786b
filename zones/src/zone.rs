//! The names that policy talks about: ports and the zones they belong to.

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
