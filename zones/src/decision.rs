//! What policy is asked, and what it answers.

use crate::PortId;
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

/// What decided, as an index into [`Policy::deciders`](crate::policy::Policy::deciders): a rule, a zone's intra-zone
/// setting, or the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeciderId(pub u16);

impl DeciderId {
    /// The number as an index into tables of deciders.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The answer for a new flow, and what gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The flow may be opened.
    Allow(DeciderId),
    /// It may not.
    Deny(DeciderId),
}

impl Decision {
    /// Whether the flow may be opened.
    pub fn is_allow(self) -> bool {
        match self {
            Decision::Allow(_) => true,
            Decision::Deny(_) => false,
        }
    }

    /// What decided.
    pub fn decider(self) -> DeciderId {
        match self {
            Decision::Allow(decider) | Decision::Deny(decider) => decider,
        }
    }
}
