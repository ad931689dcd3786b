//! One worker's inspection: the state that outlives a packet, and the order in which a packet is looked at.

use crate::alert::Alert;
use crate::signature::RuleSet;
use crate::verdict::Verdict;
use crate::wire::Packet;

/// Which side of the flow sent the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the originator to the responder (Suricata's `to_server`).
    ToServer,
    /// From the responder to the originator (Suricata's `to_client`).
    ToClient,
}

/// The place of a flow in the caller's flow table. The inspector keeps what it must remember of a flow under this number
/// until [`Inspector::flow_ended`] gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowSlot(pub u32);

/// What the caller's flow table knows of the packet's flow.
#[derive(Clone, Copy, Debug)]
pub struct FlowView {
    /// Where the flow is kept; `None` for packets without a flow (ARP).
    pub slot: Option<FlowSlot>,
    /// Which side sent this packet.
    pub direction: Direction,
    /// Whether both sides have sent (for TCP: whether the handshake is complete), as `flow:established` asks.
    pub established: bool,
    /// Whether this packet opened the flow.
    pub is_first: bool,
}

/// Everything that one worker's inspection remembers between packets.
#[derive(Debug, Default)]
pub struct Inspector {}

impl Inspector {
    /// Looks at one packet and answers for it. Alerts are appended to `alerts`, at most
    /// [`crate::limits::ALERTS_PER_PACKET_MAX`] of them. `now_ms` is a monotonic time in milliseconds that never goes back.
    pub fn inspect(
        &mut self,
        rules: &RuleSet,
        packet: &Packet<'_>,
        flow: &FlowView,
        now_ms: u64,
        alerts: &mut Vec<Alert>,
    ) -> Verdict {
        let _ = (rules, packet, flow, now_ms, alerts);
        Verdict::Forward
    }

    /// Forgets everything about a flow whose slot is given back.
    pub fn flow_ended(&mut self, slot: FlowSlot) {
        let _ = slot;
    }
}
