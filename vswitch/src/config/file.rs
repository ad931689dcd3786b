//! The configuration file as it is written: one shape per section, nothing interpreted yet. The doc comments here are the
//! descriptions in `configs/vswitch.schema.json`, which editors show.

mod hashes;

pub(super) use hashes::{FileHashAction, FileHashes, FileLimitsFile, FilePolicy};

use super::spanned::{At, Named, OneOrMany};
use super::text::{Action, DurationText, IcmpTypeText, ListenAddress, PortRange, Prefix, Protocol};
use crate::eve::settings::EventType;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

mod profile;

pub(super) use profile::{ExceptionPolicy, Mode as InspectionMode, Pair, Profile};

/// Configuration of vswitch.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// The switch itself.
    pub(super) switch: Switch,
    /// Where metrics and health are served.
    pub(super) metrics: Option<Metrics>,
    /// Where alerts and drops are recorded.
    pub(super) eve: Option<Eve>,
    /// The zones: trust groups of ports. Between zones everything is denied unless a rule allows it.
    pub(super) zones: Named<Zone>,
    /// Ports for guests.
    pub(super) ports: Vec<At<Port>>,
    /// Ports that lead off the host, toward the firewall tier.
    pub(super) uplinks: Vec<At<Uplink>>,
    /// Groups of ports; rules call them `@name`.
    pub(super) groups: Named<Group>,
    /// Sets of addresses; rules call them `$name`.
    pub(super) address_sets: Named<Vec<At<Prefix>>>,
    /// Who may open flows to whom.
    pub(super) policy: Policy,
    /// What is done about scans, sweeps, floods and bursts. Without this key nobody watches for them; `{}` watches for all.
    pub(super) detect: Option<Detect>,
    /// What is looked for in the traffic that policy allows.
    pub(super) inspection: Inspection,
    /// Bounds of tables, and how long things are remembered.
    pub(super) limits: LimitsFile,
}

/// The switch itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Switch {
    /// Name in logs, events and metrics.
    pub(super) name: At<String>,
    /// Directory of the control socket (control.sock); made if it does not exist.
    pub(super) run_dir: At<PathBuf>,
    /// One worker thread runs on each processor listed here.
    pub(super) workers: At<Vec<At<u16>>>,
    /// Whether workers sleep when nothing comes.
    pub(super) poll: Poll,
}

/// How workers wait for frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Poll {
    /// Poll while there is traffic, sleep when it has been quiet for a while.
    #[default]
    Adaptive,
    /// Never sleep: the lowest latency, for a whole processor.
    Busy,
}

impl Default for Switch {
    fn default() -> Self {
        Self {
            name: "br0".to_string().into(),
            run_dir: PathBuf::from("/run/vswitch").into(),
            workers: vec![At::from(0)].into(),
            poll: Poll::default(),
        }
    }
}

/// Where metrics and health are served.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    /// Address and TCP port of /metrics, /healthz and /readyz.
    pub(super) listen: ListenAddress,
}

/// Where alerts and drops are recorded.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Eve {
    /// The file, one JSON record per line, in Suricata's EVE shape.
    pub(super) path: At<PathBuf>,
    /// The kinds of records that are written. Without this key: alert, drop and anomaly.
    #[serde(default)]
    pub(super) types: Option<Vec<At<EventType>>>,
    /// Time between two records of type stats.
    #[serde(default)]
    pub(super) stats_interval: Option<At<DurationText>>,
    /// What alerts say.
    #[serde(default)]
    pub(super) alert: EveAlert,
    /// Whether records have a Community ID, by which they can be joined with those of Zeek and Suricata.
    #[serde(default)]
    pub(super) community_id: bool,
    /// The seed of the Community ID, the same wherever records are to be joined.
    #[serde(default)]
    pub(super) community_id_seed: Option<At<u64>>,
}

/// What alerts say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EveAlert {
    /// Whether alerts show the transaction that they are about (`http`, `dns`, `tls`, ...) and their flow.
    pub(super) app_layer: Option<bool>,
    /// Whether alerts show the metadata of their rule.
    pub(super) metadata: Option<bool>,
    /// Bytes of the packet's payload that alerts show, in base64 and as text.
    pub(super) payload_bytes: Option<At<u64>>,
}

/// A zone.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Zone {
    /// What ports of this zone may do among themselves where no rule speaks of it. Without this key, the policy's default.
    pub(super) intra_zone: Option<Action>,
}

/// A port for a guest.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    /// Its name in rules, logs, events and metrics.
    pub(super) name: At<String>,
    /// The zone that it is in.
    pub(super) zone: At<String>,
    /// Whose it is; shown in events and metered.
    #[serde(default)]
    pub(super) tenant: Option<At<String>>,
    /// Labels that groups select ports by.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// The vhost-user socket between the guest and the switch.
    pub(super) vhost_user: VhostUser,
    /// Addresses that the guest may use, as in OVN: a MAC, then IP addresses or prefixes; one string per MAC. Without this
    /// key it may use any.
    #[serde(default)]
    pub(super) port_security: Option<Vec<At<String>>>,
    /// Whether the guest may send IPv6 router advertisements and redirects.
    #[serde(default)]
    pub(super) router: bool,
    /// Whether the guest may answer as a DHCP or DHCPv6 server.
    #[serde(default)]
    pub(super) dhcp_server: bool,
    /// The guest's QMP socket.
    #[serde(default)]
    pub(super) qmp: Option<At<PathBuf>>,
}

/// A vhost-user socket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VhostUser {
    /// Path of the Unix socket.
    pub(super) path: At<PathBuf>,
    /// The role of the switch.
    #[serde(default)]
    pub(super) mode: Mode,
    /// Queue pairs of the port at most.
    #[serde(default = "one_queue")]
    pub(super) queues: At<u16>,
}

fn one_queue() -> At<u16> {
    At::from(1)
}

/// The role of the switch on a vhost-user socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// The switch listens; the guest's QEMU connects, and reconnects.
    #[default]
    Server,
    /// QEMU listens; the switch dials, and redials.
    Client,
}

/// A port that leads off the host.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Uplink {
    /// Its name in rules, logs, events and metrics.
    pub(super) name: At<String>,
    /// The zone that it is in.
    pub(super) zone: At<String>,
    /// Labels that groups select ports by.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    /// A TAP interface, made if it does not exist.
    pub(super) tap: Tap,
}

/// A TAP interface.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tap {
    /// Name of the network interface.
    pub(super) ifname: At<String>,
}

/// A group of ports.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Group {
    /// Labels that a member carries, all of them.
    pub(super) labels: BTreeMap<String, String>,
    /// Ports that are members whatever their labels.
    pub(super) ports: Vec<At<String>>,
}

/// Who may open flows to whom.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Policy {
    /// What becomes of a flow that no rule and no zone speaks of.
    pub(super) default: Action,
    /// The rules; within a tier the first that matches decides.
    pub(super) rules: Vec<At<Rule>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { default: Action(zones::rule::Action::Drop), rules: Vec::new() }
    }
}

/// A rule of policy. It speaks of opening flows; answers belong to the flow.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// Its name in logs, events and metrics.
    pub(super) name: At<String>,
    /// The group of rules that it is asked with: whole tiers are asked in the order emergency, infrastructure,
    /// environment, application, baseline.
    #[serde(default)]
    pub(super) tier: Tier,
    /// Who opens the flow: `any`, a zone, a port, `@group`, `$address_set`, or a place and a set as in
    /// `outside & $partners`; or a list of these, of which one must match.
    #[serde(default = "anybody")]
    pub(super) from: OneOrMany<String>,
    /// Whom it is opened to, written as `from`.
    #[serde(default = "anybody")]
    pub(super) to: OneOrMany<String>,
    /// The protocol, or a list of protocols.
    #[serde(default)]
    pub(super) proto: OneOrMany<Protocol>,
    /// The originator's transport port, a range of them, or a list; for tcp and udp.
    #[serde(default)]
    pub(super) sport: OneOrMany<PortRange>,
    /// The responder's transport port, a range of them, or a list; for tcp and udp.
    #[serde(default)]
    pub(super) dport: OneOrMany<PortRange>,
    /// ICMP type, type/code, or a list; for icmp or icmp6.
    #[serde(default)]
    pub(super) icmp_type: OneOrMany<IcmpTypeText>,
    /// What becomes of the flow.
    pub(super) action: Action,
}

fn anybody() -> OneOrMany<String> {
    OneOrMany(vec![At::from("any".to_string())])
}

/// A tier of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tier {
    /// For incidents: quarantine, a block that no other rule may undo.
    Emergency,
    /// What every machine needs: DNS, NTP, backups.
    Infrastructure,
    /// Between zones.
    Environment,
    /// Between applications.
    #[default]
    Application,
    /// What holds where nobody said anything else.
    Baseline,
}

/// What is done about scans, sweeps, floods and bursts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Detect {
    /// Many ports of one host.
    pub(super) port_scan: Detector,
    /// One service, or ping, of many hosts.
    pub(super) host_sweep: Detector,
    /// Many neighbours asked for, by ARP or neighbour solicitation.
    pub(super) arp_sweep: Detector,
    /// Many TCP connection attempts.
    pub(super) syn_flood: Detector,
    /// Many UDP datagrams.
    pub(super) udp_flood: Detector,
    /// Many ICMP messages.
    pub(super) icmp_flood: Detector,
    /// Many new flows of any kind.
    pub(super) connection_burst: Detector,
    /// Ports that are not watched, or zones of which no port is: an operator's scanner.
    pub(super) exempt: Vec<At<String>>,
}

/// From when on something is an anomaly, and what is done about it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Detector {
    /// Whether it is watched for.
    pub(super) enabled: bool,
    /// As many of one port are still normal.
    pub(super) threshold: Option<At<u64>>,
    /// Within this time.
    pub(super) window: Option<At<DurationText>>,
    /// For so long after it was told it is not told again, of the same port.
    pub(super) quiet_time: Option<At<DurationText>>,
    /// What is done about it.
    pub(super) action: DetectAction,
    /// How long the port stays in quarantine, where the action is that.
    pub(super) quarantine_time: Option<At<DurationText>>,
}

impl Default for Detector {
    fn default() -> Self {
        Self {
            enabled: true,
            threshold: None,
            window: None,
            quiet_time: None,
            action: DetectAction::default(),
            quarantine_time: None,
        }
    }
}

/// What is done about an anomaly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DetectAction {
    /// It is told.
    #[default]
    Alert,
    /// It is told, and the frames that are part of it are dropped.
    Drop,
    /// It is told, and the port neither sends nor receives for a time. At an uplink: drop.
    Quarantine,
}

/// What is looked for in the traffic that policy allows.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Inspection {
    /// Files of signatures in Suricata's rule language, relative to this file; `*` and `?` stand for any letters of a name.
    pub(super) rule_files: Vec<At<String>>,
    /// Variables of the rule language, as in `HOME_NET: "[10.0.0.0/8]"`.
    pub(super) vars: Named<At<String>>,
    /// What becomes of the configuration when a signature in a rule file is not understood.
    pub(super) on_refused_rule: OnRefusedRule,
    /// Profiles: how flows are inspected.
    pub(super) profiles: Named<Profile>,
    /// The profile of flows that none of `pairs` speaks of.
    pub(super) default_profile: Option<At<String>>,
    /// The profile by the zones that a flow goes between; the first pair that matches decides.
    pub(super) pairs: Vec<At<Pair>>,
    /// Lists of hashes of files; a file on one of them is stopped on its way, whatever carries it.
    pub(super) file_hashes: Vec<At<FileHashes>>,
    /// What becomes of files that the lists cannot answer for.
    pub(super) file_limits: FileLimitsFile,
}

/// What becomes of the configuration when a signature is not understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnRefusedRule {
    /// The others are used; a warning names each that is not.
    #[default]
    Skip,
    /// The configuration is refused.
    Error,
}

/// Bounds of tables, and how long things are remembered.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    /// Flows remembered at most, over all workers.
    pub(super) flows: Option<At<u64>>,
    /// Flows that one port may have opened at any time.
    pub(super) flows_per_port: Option<At<u64>>,
    /// MAC addresses learned at most behind one port that has no port_security (uplinks above all).
    pub(super) learned_macs: Option<At<u64>>,
    /// How long a learned MAC address is remembered without a frame from it.
    pub(super) mac_ageing: Option<At<DurationText>>,
    /// Broadcast, multicast and unknown-destination frames that one port may send in a second.
    pub(super) flood_frames_per_second: Option<At<u64>>,
    /// How long a flow is remembered without a frame of it.
    pub(super) flow_timeouts: FlowTimeouts,
}

/// How long a flow is remembered without a frame of it. TCP's own states have their own, fixed times.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FlowTimeouts {
    /// UDP and others, while only the originator has sent.
    pub(super) one_way: Option<At<DurationText>>,
    /// UDP and others, once both sides have sent.
    pub(super) two_way: Option<At<DurationText>>,
    /// ICMP echo and the like.
    pub(super) icmp: Option<At<DurationText>>,
}
