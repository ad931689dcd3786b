//! One generation: everything that a frame is judged by, as one immutable value that is swapped whole.

use std::collections::HashMap;
use std::sync::Arc;

use inspect::signature::RuleSet;
use zones::binding::PortSecurity;
use zones::policy::Policy;

use crate::counters::Cell;
use crate::frame::PortId;

/// What the walk needs to know of one port.
#[derive(Debug)]
pub struct PortView {
    /// Its name in the configuration.
    pub name: String,
    /// Name of its zone.
    pub zone: String,
    /// Whether it leads off the host.
    pub is_uplink: bool,
    /// What it may call itself; `None` for a port without `port_security`.
    pub security: Option<PortSecurity>,
}

/// Policy, bindings and signatures of one moment. A frame is judged by exactly one generation.
#[derive(Debug)]
pub struct Generation {
    /// Counts up from 1 with each accepted configuration.
    pub number: u32,
    /// The ports, indexed by [`PortId`]; `None` for a number whose port is not in this generation.
    pub ports: Vec<Option<PortView>>,
    /// Who may open a flow to whom.
    pub policy: Arc<Policy>,
    /// The signatures.
    pub rules: Arc<RuleSet>,
    /// Addresses that belong to one port by configuration and are never learned elsewhere.
    pub fixed_macs: HashMap<[u8; 6], PortId>,
    /// Frames judged by each decider of the policy, per worker: `rule_hits[worker][decider]`.
    pub rule_hits: Vec<Box<[Cell]>>,
}

impl Generation {
    /// The port under a number, if this generation has it.
    pub fn port(&self, port: PortId) -> Option<&PortView> {
        self.ports.get(port.index()).and_then(Option::as_ref)
    }
}
