//! What a record says of a scan, sweep, flood or burst. It is an alert of a generator of our own: Suricata's `anomaly` is for
//! packets that cannot be decoded and streams that do not fit, and nobody is called at night for those, while everything
//! that reads EVE shows alerts.

use inspect::detect::{Anomaly, AnomalyKind, Target};
use serde::Serialize;

use super::parts::{Metadata, SignatureText};
use crate::detect::Response;

/// The generator of these alerts; signatures are 1.
pub const GID: u32 = 500;

/// What happened, in `vswitch.anomaly`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AnomalyPart {
    kind: &'static str,
    target: String,
    count: u64,
    threshold: u32,
    window_ms: u32,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine_ms: Option<u64>,
}

impl AnomalyPart {
    pub(super) fn new(anomaly: &Anomaly, response: Response) -> Self {
        let quarantine_ms = match response {
            Response::Quarantine { ms } => Some(ms),
            Response::Alert | Response::Drop => None,
        };
        Self {
            kind: anomaly.kind.name(),
            target: target_text(anomaly.target),
            count: anomaly.count,
            threshold: anomaly.count_max,
            window_ms: anomaly.window_ms,
            action: response.word(),
            quarantine_ms,
        }
    }
}

/// A host's address, or a service as in `tcp/22`; `icmp` for ping.
pub fn target_text(target: Target) -> String {
    match target {
        Target::Host(host) => host.to_string(),
        Target::Service { protocol, port: 0 } => protocol_word(protocol),
        Target::Service { protocol, port } => format!("{}/{port}", protocol_word(protocol)),
    }
}

fn protocol_word(protocol: u8) -> String {
    super::parts::protocol_name(protocol).to_ascii_lowercase()
}

/// What became of the frames, in Suricata's word.
pub(super) fn action(response: Response) -> &'static str {
    match response {
        Response::Alert => "allowed",
        Response::Drop | Response::Quarantine { .. } => "blocked",
    }
}

/// The alert's text. Categories and severities are those that Suricata's classification.config has for the like.
pub(super) fn text(kind: AnomalyKind) -> SignatureText<'static> {
    const SCAN: (&str, u8) = ("Detection of a Network Scan", 3);
    const FLOOD: (&str, u8) = ("Attempted Denial of Service", 2);
    let (signature, (category, severity)) = match kind {
        AnomalyKind::PortScan => ("VSWITCH port scan: many ports of one host", SCAN),
        AnomalyKind::HostSweep => ("VSWITCH host sweep: one service of many hosts", SCAN),
        AnomalyKind::ArpSweep => ("VSWITCH ARP sweep: many neighbours asked for", SCAN),
        AnomalyKind::SynFlood => ("VSWITCH SYN flood", FLOOD),
        AnomalyKind::UdpFlood => ("VSWITCH UDP flood", FLOOD),
        AnomalyKind::IcmpFlood => ("VSWITCH ICMP flood", FLOOD),
        AnomalyKind::ConnectionBurst => ("VSWITCH burst of new connections", FLOOD),
    };
    SignatureText {
        gid: GID,
        signature_id: kind as u32 + 1,
        rev: 1,
        signature,
        category,
        severity,
        metadata: Metadata(&[]),
    }
}
