//! Who may open a flow to whom.

use crate::{PortId, ZoneId};
use std::net::IpAddr;

/// The facts of a flow's first packet that policy may ask about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowFacts {
    /// Port that the frame entered by.
    pub from: PortId,
    /// Port that it would leave by.
    pub to: PortId,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Transport source port; 0 where there is none.
    pub source_port: u16,
    /// Transport destination port; for ICMP its type << 8 | code.
    pub destination_port: u16,
}

/// What decided, as an index into [`Policy::deciders`]: a rule, a zone's intra-zone setting, or the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeciderId(pub u16);

/// The answer for a new flow, and what gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The flow may be opened.
    Allow(DeciderId),
    /// It may not.
    Deny(DeciderId),
}

/// The compiled policy of one generation. Immutable.
#[derive(Debug, Default)]
pub struct Policy {}

impl Policy {
    /// Decides about a new flow: first matching rule in file order, then the intra-zone setting when both ports are in one
    /// zone, then the default.
    pub fn decide(&self, facts: &FlowFacts) -> Decision {
        let _ = facts;
        Decision::Deny(DeciderId(0))
    }

    /// Whether the policy could allow any flow at all between two ports, in either direction. Address resolution (ARP and
    /// neighbour discovery) passes between exactly these pairs of ports.
    pub fn may_talk(&self, a: PortId, b: PortId) -> bool {
        let _ = (a, b);
        false
    }

    /// The zone of a port, if the policy knows the port.
    pub fn zone_of(&self, port: PortId) -> Option<ZoneId> {
        let _ = port;
        None
    }

    /// Names of everything that can decide, indexed by [`DeciderId`]: each rule's name, then `intra-zone:NAME` per zone,
    /// then `default`.
    pub fn deciders(&self) -> &[String] {
        &[]
    }
}
