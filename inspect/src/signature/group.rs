//! Signatures by transport protocol and direction: what a packet of a flow can match at all.

use super::definition::Transports;
use super::ranges::PortSet;
use super::ruleset::RuleSet;
use crate::inspector::Direction;

/// The number of a group within its rule set. A flow table may remember it per flow and direction as long as the rule set
/// is the same.
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

/// The signatures for packets of one transport in one direction.
#[derive(Debug)]
pub(crate) struct Group {
    /// Indices of the signatures, rising.
    pub(crate) members: Box<[u32]>,
    /// Ports that any of them accepts.
    source_ports: PortSet,
    destination_ports: PortSet,
}

impl Group {
    pub(crate) fn of(rules: &RuleSet, key: GroupKey) -> Self {
        let mut members = Vec::new();
        let (mut sources, mut destinations) = (Vec::new(), Vec::new());
        for (index, signature) in (0u32..).zip(&rules.signatures) {
            let other_way = signature.flow.direction.is_some_and(|direction| direction != key.direction);
            if other_way || !signature.transports.meets(key.transport) {
                continue;
            }
            members.push(index);
            let (from, to) = (signature.source_ports, signature.destination_ports);
            sources.extend_from_slice(rules.port_set(from).ranges());
            destinations.extend_from_slice(rules.port_set(to).ranges());
            if signature.bidirectional {
                sources.extend_from_slice(rules.port_set(to).ranges());
                destinations.extend_from_slice(rules.port_set(from).ranges());
            }
        }
        Self {
            members: members.into_boxed_slice(),
            source_ports: PortSet::union(sources),
            destination_ports: PortSet::union(destinations),
        }
    }

    #[inline]
    pub(crate) fn meets(&self, source_port: u16, destination_port: u16) -> bool {
        self.source_ports.contains(source_port) && self.destination_ports.contains(destination_port)
    }
}
