//! The configuration after every name in it has been looked up: what the rest of the switch is built from.

use super::diagnostic::Report;
use super::limits::Limits;
use crate::detect::DetectConfig;
use crate::eve::settings::EveSettings;
use crate::profiles::{NamedProfile, Profiles, mode_word};
use crate::worker::PollMode;
use inspect::file_hashes::FileChecks;
use inspect::signature::{Refusal, RuleSet};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use zones::binding::PortSecurity;
use zones::policy::Policy;
use zones::{PortId, ZoneId};

/// A configuration without a fault in it.
#[derive(Debug)]
pub struct Resolved {
    /// The switch itself.
    pub switch: SwitchConfig,
    /// Address of the listener of /metrics, /healthz and /readyz; no listener without it.
    pub metrics_listen: Option<SocketAddr>,
    /// The event file; no events are written without it.
    pub eve_path: Option<PathBuf>,
    /// What is written to it.
    pub eve: EveSettings,
    /// The ports, guests' first, each in file order.
    pub ports: Vec<PortConfig>,
    /// Who may talk to whom.
    pub policy: Arc<Policy>,
    /// What is done about scans and floods; without it nobody watches for them.
    pub detect: Option<DetectConfig>,
    /// The signatures.
    pub rules: Arc<RuleSet>,
    /// The same with what they were made from, for the configuration that comes after this one.
    pub compiled: Compiled,
    /// How flows are inspected, by the zones that they go between.
    pub profiles: Arc<Profiles>,
    /// What files are judged by, if there is a list.
    pub file_checks: Option<Arc<FileChecks>>,
    /// The bounds of tables.
    pub limits: Limits,
    /// What there is to count in it.
    pub counts: Counts,
    /// What is allowed but probably not meant.
    pub warnings: Report,
}

/// Compiled signatures, with what tells whether those of another configuration would be the same.
#[derive(Clone, Debug)]
pub struct Compiled {
    pub(super) rules: Arc<RuleSet>,
    pub(super) refused: Arc<[Refusal]>,
    /// Hashes of names and texts of the files and of the variables.
    pub(super) source: (u64, u64),
}

/// The switch itself.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// Name in logs, events and metrics.
    pub name: String,
    /// Directory of the control socket.
    pub run_dir: PathBuf,
    /// Processors that have a worker each; at least one.
    pub workers: Vec<usize>,
    /// How workers wait for frames.
    pub poll: PollMode,
}

/// A port.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Its number, the same in every configuration for as long as the switch runs.
    pub id: PortId,
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: ZoneId,
    /// Its zone's name.
    pub zone_name: String,
    /// Whose it is.
    pub tenant: Option<String>,
    /// What groups select it by.
    pub labels: BTreeMap<String, String>,
    /// What is at its other end.
    pub attachment: Attachment,
    /// Whether it leads off the host.
    pub is_uplink: bool,
    /// What it may call itself. Every guest's port has one: without addresses listed, it still is no router and no DHCP
    /// server. `None` for uplinks, behind which anybody may be.
    pub security: Option<PortSecurity>,
    /// The guest's QMP socket.
    pub qmp: Option<PathBuf>,
}

/// What is at the other end of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// A guest behind a vhost-user socket.
    VhostUser {
        /// Path of the Unix socket.
        path: PathBuf,
        /// The role of the switch.
        mode: VhostUserMode,
        /// Queue pairs at most.
        queues: u16,
    },
    /// A TAP interface of this host.
    Tap {
        /// Its name.
        ifname: String,
    },
}

/// The role of the switch on a vhost-user socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VhostUserMode {
    /// It listens.
    Server,
    /// It dials, and redials.
    Client,
}

/// What there is to count in a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Guests' ports.
    pub ports: usize,
    /// Uplinks.
    pub uplinks: usize,
    /// Zones.
    pub zones: usize,
    /// Rules of policy.
    pub rules: usize,
    /// Signatures in use.
    pub signatures: usize,
    /// Signatures not understood.
    pub signatures_refused: usize,
    /// The same, by reason.
    pub refused_by_reason: BTreeMap<String, usize>,
    /// What each inspection profile makes of the signatures.
    pub profiles: Vec<ProfileCount>,
    /// Lists of hashes of files.
    pub hash_lists: Vec<HashListCount>,
}

/// What an inspection profile makes of the signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ProfileCount {
    /// Its name.
    pub name: String,
    /// `ips`, `ids` or `audit`.
    pub mode: &'static str,
    /// Signatures that apply.
    pub signatures: usize,
    /// Those of them whose action stops packets, where the mode lets it.
    pub stopping: usize,
}

impl ProfileCount {
    /// Of one profile.
    pub(super) fn of(named: &NamedProfile) -> Self {
        Self {
            name: named.name.clone(),
            mode: mode_word(named.profile.settings().mode),
            signatures: named.signature_count,
            stopping: named.stopping_count,
        }
    }
}

/// What there is to count in a list of hashes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HashListCount {
    /// Its name.
    pub name: String,
    /// Hashes, each counted once.
    pub hashes: usize,
    /// Memory that it takes, in bytes.
    pub bytes: usize,
}
