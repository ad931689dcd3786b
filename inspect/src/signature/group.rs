//! Signatures by transport protocol and direction: what a packet of a flow can match at all.

use super::definition::{Signature, Transports};
use crate::inspector::Direction;

/// The number of a group within its rule set. A flow table may remember it per flow and direction as long as the rule
/// set is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupId(pub u8);

/// What a group is made for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupKey {
    pub(crate) transport: Transports,
    pub(crate) direction: Direction,
}

impl GroupKey {
    const TRANSPORTS: [Transports; 5] =
        [Transports::TCP, Transports::UDP, Transports::ICMP4, Transports::ICMP6, Transports::OTHER];

    /// All keys in the order of their numbers.
    pub(crate) fn all() -> impl Iterator<Item = GroupKey> {
        Self::TRANSPORTS.into_iter().flat_map(|transport| {
            [Direction::ToServer, Direction::ToClient].map(|direction| GroupKey { transport, direction })
        })
    }

    /// Whether a signature's transports and direction are the group's.
    pub(crate) fn meets(self, signature: &Signature) -> bool {
        signature.transports.meets(self.transport)
            && signature.flow.direction.is_none_or(|direction| direction == self.direction)
    }

    #[inline]
    pub(crate) fn id(self) -> GroupId {
        let transport = match self.transport {
            Transports::TCP => 0,
            Transports::UDP => 2,
            Transports::ICMP4 => 4,
            Transports::ICMP6 => 6,
            _ => 8,
        };
        GroupId(transport + u8::from(self.direction == Direction::ToClient))
    }
}
