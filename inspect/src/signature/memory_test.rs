//! `flowbits`, `xbits` and `flowint`: what signatures remember and ask later.

/// By which address an `xbits` bit is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BitTrack {
    Source,
    Destination,
    Pair,
}

/// How a `flowint` is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntRelation {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

impl IntRelation {
    pub(crate) fn holds(self, left: u32, right: u32) -> bool {
        match self {
            IntRelation::Less => left < right,
            IntRelation::LessOrEqual => left <= right,
            IntRelation::Equal => left == right,
            IntRelation::NotEqual => left != right,
            IntRelation::GreaterOrEqual => left >= right,
            IntRelation::Greater => left > right,
        }
    }
}

/// A number that is written out, or another `flowint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntValue {
    Literal(u32),
    Variable(NameId),
}

/// The name of a bit or a number, as a hash: the same in every rule set, so that what is remembered under it outlives a
/// reload.
pub(crate) type NameId = u64;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MemoryTest {
    /// One of these bits is set on the flow.
    FlowBitsSet(Box<[NameId]>),
    /// One of these bits is not set on the flow.
    FlowBitsNotSet(Box<[NameId]>),
    /// A bit is, or is not, set on an address or a pair.
    XBit { name: NameId, track: BitTrack, set: bool },
    /// A number of the flow compares so; one that was never set compares with nothing.
    FlowInt { name: NameId, relation: IntRelation, value: IntValue },
    /// A number of the flow was, or was not, set.
    FlowIntSet { name: NameId, set: bool },
}

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemoryEffect {
    FlowBit { name: NameId, change: BitChange },
    XBit { name: NameId, track: BitTrack, change: BitChange, expire_ms: u64 },
    FlowInt { name: NameId, change: IntChange, value: IntValue },
}

/// What becomes of a bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BitChange {
    Set,
    Unset,
    Toggle,
}

/// What becomes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntChange {
    Set,
    Add,
    Subtract,
}
