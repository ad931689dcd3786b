//! Trains: packets of one burst that go the same way between the same two hosts, one behind the other.
//!
//! What port security and egress look-up say of an IPv4 packet depends, within a burst (one port, one generation, one moment), on
//! its link addresses, its source address, and on whether it is a DHCP server's message. The parser tells which packets are
//! alike in the former ([`inspect::wire::Likeness`]); so what the first one of a train was told holds for those behind it, and
//! most of their key stands already. Only answers that let a packet go to one port are kept.

use super::DHCP_SERVER_PORT;
use super::decide::{Keyed, Subject};
use crate::flow_table::{TableKey, TrainHash};
use crate::frame::PortId;
use crate::inspection::Candidate;

/// Offset of the ports of a packet that is alike another: behind an IPv4 header without options.
const PORTS_AT: usize = 34;

/// What the last packet that was let is to the stages behind, if more like it can be told the same.
#[derive(Debug)]
pub(super) struct Train {
    is_running: bool,
    /// The port that it leaves by.
    pub(super) egress: PortId,
    from_low: bool,
    /// Its key, of which only the transport ports are not shared.
    pub(super) key: TableKey,
}

impl Train {
    /// No train yet.
    pub(super) const NONE: Self = Self { is_running: false, egress: PortId(0), from_low: false, key: TableKey::ZERO };

    /// Whether there is one.
    #[inline(always)]
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Ends the train: the next packet is not like the last.
    #[inline(always)]
    pub(super) fn end(&mut self) {
        self.is_running = false;
    }

    /// Starts a train with a packet that was let, leaves by `egress`, and has this key. A packet without a source address is let
    /// for what else it says, and starts none.
    pub(super) fn start(&mut self, candidate: &Candidate<'_>, egress: PortId, keyed: &Keyed) {
        let has_source = candidate.packet().ipv4_addresses().is_some_and(|(source, _)| source != 0);
        if let Subject::Flow { from_low } = keyed.subject
            && has_source
        {
            *self = Self { is_running: true, egress, from_low, key: keyed.key };
        }
    }

    /// Writes what a packet that is like the last one is to the stateful stage, for a train that is running; `false` if
    /// it must be looked up. `hash` is that of the train's key.
    #[inline(always)]
    pub(super) fn take(&self, frame: &[u8], hash: &TrainHash, into: &mut Keyed) -> bool {
        let Some(ports) = frame.get(PORTS_AT..).and_then(|bytes| bytes.first_chunk::<4>()) else { return false };
        let ports = u32::from_be_bytes(*ports);
        if ports >> 16 == u32::from(DHCP_SERVER_PORT) {
            return false;
        }
        // The hosts' addresses differ, so which end is the low one does not depend on the ports.
        let ports = if self.from_low { ports.rotate_left(16) } else { ports };
        into.key = TableKey { ports: self.key.ports & !0xffff_ffff | u64::from(ports), ..self.key };
        into.hash = hash.with_ports(ports);
        into.subject = Subject::Flow { from_low: self.from_low };
        true
    }
}
