//! What operators choose about inspection, in Suricata's words.

use crate::protocol;
use crate::record::Wanted;

/// Whether signatures may stop packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// `drop` and `reject` stop the packet (Suricata's IPS mode).
    #[default]
    Prevent,
    /// All actions only report (Suricata's IDS mode).
    Detect,
    /// As [`Mode::Prevent`] in everything but the end: what would have been stopped is said, and passes.
    Audit,
}

/// What becomes of a packet or flow that cannot be inspected as it should: memory is short, work is spent, bytes do not
/// follow their protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ExceptionPolicy {
    /// `drop-flow` when preventing (a TCP segment for which memory is short only drops itself: its sender will repeat
    /// it), `ignore` when detecting.
    #[default]
    Auto,
    /// The packet and the rest of its flow end here.
    DropFlow,
    /// The packet ends here.
    DropPacket,
    /// As `drop-flow`; a refusal towards the sender may be sent by the caller.
    Reject,
    /// The rest of the flow passes without a look.
    PassFlow,
    /// The packet passes without a further look.
    PassPacket,
    /// As `pass-flow`.
    Bypass,
    /// Inspection goes on as well as it can.
    Ignore,
}

impl ExceptionPolicy {
    /// Reads Suricata's word for it.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "auto" => ExceptionPolicy::Auto,
            "drop-flow" => ExceptionPolicy::DropFlow,
            "drop-packet" => ExceptionPolicy::DropPacket,
            "reject" | "rejectboth" => ExceptionPolicy::Reject,
            "pass-flow" => ExceptionPolicy::PassFlow,
            "pass-packet" => ExceptionPolicy::PassPacket,
            "bypass" => ExceptionPolicy::Bypass,
            "ignore" => ExceptionPolicy::Ignore,
            _ => return None,
        })
    }
}

/// What operators choose about inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Settings {
    /// Whether signatures may stop packets.
    pub mode: Mode,
    /// Whether TCP connections whose beginning was not seen are followed from where they are.
    pub midstream: bool,
    /// When a stream's segment overlaps with other bytes.
    pub stream_exception: ExceptionPolicy,
    /// When there is no memory left for a segment, a stream or what a flow has said.
    pub memory_exception: ExceptionPolicy,
    /// When bytes do not follow the protocol that the flow was recognised as.
    pub protocol_exception: ExceptionPolicy,
    /// When the work allowed for one packet is spent, or more signatures wait than can be remembered.
    pub budget_exception: ExceptionPolicy,
    /// Bounds and choices of protocol parsing.
    pub protocol: protocol::Settings,
    /// What is to be noted for the caller's log: asked of the settings that an inspector is made with, not of profiles.
    pub records: Wanted,
}
