//! What operators are shown of the running switch: the rows of `vswitch show`. These shapes are what `--json` prints, so
//! fields are added, never renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A table of `vswitch show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// Ports, their zones, whether a guest is connected, and their frame counts
    Ports,
    /// Zones and the ports in them
    Zones,
    /// Which port each Ethernet address is behind
    Mac,
    /// Open flows
    Flows,
    /// Frames dropped, by reason
    Drops,
    /// The last alerts, the newest first
    Alerts,
    /// Scans, sweeps, floods and bursts, and ports in quarantine
    Threats,
    /// What decides in the policy, and how many frames each judged
    Rules,
    /// Workers and their load
    Workers,
    /// Inspection profiles, the zones that they hold between, and what they did
    Profiles,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// Name in the configuration.
    pub name: String,
    /// Zone.
    pub zone: String,
    /// `vhost-user` or `tap`.
    pub kind: String,
    /// The socket's path, or the interface's name.
    pub attachment: String,
    /// Whether frames can pass.
    pub connected: bool,
    /// Queue pairs in use.
    pub queues: u16,
    /// Negotiated virtio features, by name.
    pub features: Vec<String>,
    /// Why the port was isolated last, in one word; empty if it never was.
    pub last_fault: String,
    /// Seconds that the port stays in quarantine; nothing if it is in none.
    #[serde(default)]
    pub quarantine_s: Option<u64>,
    /// Frames that entered by the port.
    pub receive_packets: u64,
    /// Their bytes.
    pub receive_bytes: u64,
    /// Frames that left by the port.
    pub transmit_packets: u64,
    /// Their bytes.
    pub transmit_bytes: u64,
    /// Frames that entered by the port and were dropped.
    pub drops: u64,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRow {
    /// Name.
    pub name: String,
    /// What ports of the zone may do among themselves: `allow` or `drop`.
    pub intra_zone: String,
    /// Its ports.
    pub ports: Vec<String>,
}

/// An Ethernet address and the port that it is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MacRow {
    /// The address.
    pub mac: String,
    /// The port.
    pub port: String,
    /// `fixed` by the configuration or `learned` from frames.
    pub origin: String,
    /// Seconds since a frame came from a learned address.
    pub age_s: Option<u64>,
}

/// An open flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    /// IP protocol, by name where it has one.
    pub proto: String,
    /// The originator's address.
    pub source: String,
    /// The originator's transport port.
    pub source_port: u16,
    /// The responder's address.
    pub destination: String,
    /// The responder's transport port.
    pub destination_port: u16,
    /// Port that the originator is behind.
    pub from_port: String,
    /// Port that the responder is behind.
    pub to_port: String,
    /// How far it has come: `half-open`, `open`, `closing` or `refused`.
    pub state: String,
    /// Seconds since the flow was opened.
    pub age_s: u64,
    /// Seconds until the flow is forgotten if nothing comes.
    pub expires_s: u64,
    /// What allowed it.
    pub rule: String,
}

/// `vswitch show flows`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// Flows in all tables.
    pub open: u64,
    /// How many there may be.
    pub limit: u64,
    /// Those that were asked for.
    pub flows: Vec<FlowRow>,
}

/// A drop reason and its count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// The word used everywhere for the reason.
    pub reason: String,
    /// What it means.
    pub explanation: String,
    /// Frames dropped for it.
    pub total: u64,
    /// The same, by the port that they entered by; ports without any are left out.
    pub ports: BTreeMap<String, u64>,
}

/// What can decide in the policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRow {
    /// A rule's name, `intra-zone:NAME` or `default`.
    pub name: String,
    /// Flows that it decided about since the switch started.
    pub hits: u64,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRow {
    /// When, as in the event log.
    pub timestamp: String,
    /// What became of the frame: `allowed` or `blocked`.
    pub action: String,
    /// The signature's `sid`.
    pub signature_id: u32,
    /// Its `msg`.
    pub signature: String,
    /// Its priority, 1 is the gravest.
    pub severity: u8,
    /// Port that the frame entered by.
    pub from_port: String,
    /// Port that it would have left by.
    pub to_port: Option<String>,
    /// IP protocol.
    pub proto: Option<String>,
    /// Source address, and transport port if there is one.
    pub source: Option<String>,
    /// Destination address, and transport port if there is one.
    pub destination: Option<String>,
}

/// The last anomaly of one kind that came by one port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreatRow {
    /// When it was told, as in the event log.
    pub timestamp: String,
    /// Port that it came by.
    pub port: String,
    /// The port's zone.
    pub zone: String,
    /// Whose the port is.
    pub tenant: Option<String>,
    /// What: `port_scan`, `host_sweep`, `arp_sweep`, `syn_flood`, `udp_flood`, `icmp_flood` or `connection_burst`.
    pub kind: String,
    /// Source address of the packet that exceeded the threshold.
    pub source: Option<String>,
    /// The host, or the service (`tcp/22`), that it was aimed at.
    pub target: String,
    /// How many there were in the window when it was told.
    pub count: u64,
    /// How many are normal.
    pub threshold: u32,
    /// The window, in milliseconds.
    pub window_ms: u32,
    /// What the configuration wanted done: `alert`, `drop` or `quarantine`.
    pub action: String,
    /// Whether a packet was part of it within the last window.
    pub active: bool,
    /// Seconds since a packet was part of it; nothing if all was forgotten since, as at a quarantine.
    pub quiet_s: Option<u64>,
    /// Packets that were part of it since it was told.
    pub suppressed: u64,
}

/// A port in quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRow {
    /// The port.
    pub port: String,
    /// Its zone.
    pub zone: String,
    /// The kind of anomaly that brought it about.
    pub kind: String,
    /// Seconds until it ends by itself.
    pub left_s: u64,
}

/// `vswitch show threats`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threats {
    /// The last anomaly of each port and kind.
    pub threats: Vec<ThreatRow>,
    /// Ports in quarantine.
    pub quarantines: Vec<QuarantineRow>,
}

/// An inspection profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileRow {
    /// Name.
    pub name: String,
    /// `ips`, `ids` or `audit`.
    pub mode: String,
    /// Whether it holds where no pair says otherwise.
    pub is_default: bool,
    /// Pairs of zones that it holds between, as in `web > db`; without those that get it as the default.
    pub pairs: Vec<String>,
    /// More pairs than are listed.
    pub pairs_omitted: u64,
    /// Signatures that apply.
    pub signatures: u64,
    /// Those of them that ask for a drop.
    pub stopping: u64,
    /// Whether connections may be picked up in the middle.
    pub midstream: bool,
    /// Exception policies, by what they are for.
    pub exceptions: BTreeMap<String, String>,
    /// Alerts since its generation took force.
    pub alerts: u64,
    /// Frames that inspection dropped since then.
    pub drops: u64,
    /// Frames since then that an audit let pass and prevention would have dropped.
    pub would_drops: u64,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Processor that it is bound to.
    pub cpu: usize,
    /// Frames that it received.
    pub received: u64,
    /// Bursts that they came in.
    pub bursts: u64,
    /// Frames per burst.
    pub frames_per_burst: f64,
    /// Cycles of the time-stamp counter per frame, in turns that moved frames.
    pub cycles_per_frame: f64,
    /// Turns that moved frames.
    pub busy_polls: u64,
    /// Turns that found no frame.
    pub empty_polls: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Frames that it gave to other workers, to be judged or to be sent out.
    #[serde(default)]
    pub handed_over: u64,
    /// Frames that it dropped because all parcels to another worker were under way.
    #[serde(default)]
    pub ring_full_drops: u64,
    /// Flows in its table.
    pub flows: u64,
    /// How many its table holds.
    pub flow_limit: u64,
    /// Generation that it judges by.
    pub generation: u32,
}
