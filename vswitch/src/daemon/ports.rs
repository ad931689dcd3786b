//! The ports that run: started, stopped and exchanged as the configuration changes.
//!
//! # Theory of operation
//! A reload must not touch the ports that it does not change, and a port that cannot be started must not cost the ports
//! that run. [`Steps`] therefore sorts the work into what is done before the new generation is in force and can still be
//! undone (ports that are new and in nobody's way), and what is done after it (ports that go, then ports that take the
//! place of one that went). Between the two, frames of a port that goes are dropped, because the new generation does not
//! know it; frames of a port that is new are dropped, because the old one does not.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::config::{Attachment, VhostUserMode};
use crate::frame::PortId;
use crate::port::uplink::tap::Tap;
use crate::port::vhost::{Features, Mode, PortStatus, VhostConfig, VhostPort};
use crate::worker::{Attach, Detached, QueueId, Workers};

/// Whether two attachments cannot be there at the same time.
fn collide(one: &Attachment, other: &Attachment) -> bool {
    match (one, other) {
        (Attachment::VhostUser { path, .. }, Attachment::VhostUser { path: other, .. }) => path == other,
        (Attachment::Tap { ifname }, Attachment::Tap { ifname: other }) => ifname == other,
        (Attachment::VhostUser { .. }, Attachment::Tap { .. })
        | (Attachment::Tap { .. }, Attachment::VhostUser { .. }) => false,
    }
}

/// The word that operators are shown for what a port is attached to.
pub(super) fn kind_word(attachment: &Attachment) -> &'static str {
    match attachment {
        Attachment::VhostUser { .. } => "vhost-user",
        Attachment::Tap { .. } => "tap",
    }
}

/// Where a port is attached: a path or the name of an interface.
pub(super) fn place(attachment: &Attachment) -> String {
    match attachment {
        Attachment::VhostUser { path, .. } => path.display().to_string(),
        Attachment::Tap { ifname } => ifname.clone(),
    }
}

/// A port as the configuration wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortSpec {
    /// Its number.
    pub(super) id: PortId,
    /// Its name.
    pub(super) name: String,
    /// What it is attached to.
    pub(super) attachment: Attachment,
}

/// The way from the ports that run to those that are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Ports to start before the new generation is in force.
    pub(super) early: Vec<PortSpec>,
    /// Ports to stop after it is.
    pub(super) stop: Vec<PortId>,
    /// Ports to start after those were stopped, because something of theirs was in use.
    pub(super) late: Vec<PortSpec>,
}

impl Steps {
    /// Compares what runs with what is wanted.
    pub(super) fn between(running: &BTreeMap<PortId, PortSpec>, wanted: &[PortSpec]) -> Self {
        let mut steps = Self::default();
        let is_kept =
            |spec: &PortSpec| wanted.iter().any(|other| other.id == spec.id && other.attachment == spec.attachment);
        for spec in running.values().filter(|spec| !is_kept(spec)) {
            steps.stop.push(spec.id);
        }
        for spec in wanted {
            let is_running = running.get(&spec.id).is_some_and(is_kept);
            if is_running {
                continue;
            }
            let is_in_use = running.contains_key(&spec.id)
                || running.values().any(|other| collide(&other.attachment, &spec.attachment));
            if is_in_use { &mut steps.late } else { &mut steps.early }.push(spec.clone());
        }
        steps
    }
}

/// Why a port could not be started.
#[derive(Debug)]
pub(super) struct StartError {
    /// The port.
    pub(super) name: String,
    /// What it should have been attached to.
    pub(super) place: String,
    /// What the system said.
    pub(super) error: io::Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {} cannot be attached to {}: {}", self.name, self.place, self.error)
    }
}

impl std::error::Error for StartError {}

/// How a port is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PortState {
    /// Whether frames can pass.
    pub(super) connected: bool,
    /// Queue pairs in use.
    pub(super) queues: u16,
    /// Negotiated virtio features.
    pub(super) features: Vec<String>,
    /// Why it was isolated last; empty if never.
    pub(super) last_fault: String,
}

/// A port that runs.
enum Running {
    /// The port has threads of its own, which hand its queues to workers and take them back.
    Guest(VhostPort),
    /// The port's one queue is with a worker.
    Tap,
}

/// The ports that run.
pub(super) struct Ports {
    workers: Arc<Workers>,
    specs: BTreeMap<PortId, PortSpec>,
    running: BTreeMap<PortId, Running>,
    /// What is known of each guest port that there has ever been: its counts go on when the port is stopped and started.
    statuses: BTreeMap<PortId, Arc<PortStatus>>,
}

impl Ports {
    /// No ports yet; they will hand their queues to these workers.
    pub(super) fn new(workers: Arc<Workers>) -> Self {
        Self { workers, specs: BTreeMap::new(), running: BTreeMap::new(), statuses: BTreeMap::new() }
    }

    /// What runs.
    pub(super) fn specs(&self) -> &BTreeMap<PortId, PortSpec> {
        &self.specs
    }

    /// Starts a port.
    ///
    /// # Errors
    /// The port is not started, and why.
    pub(super) fn start(&mut self, spec: PortSpec) -> Result<(), StartError> {
        let failed = |error| StartError { name: spec.name.clone(), place: place(&spec.attachment), error };
        let running = match &spec.attachment {
            Attachment::Tap { ifname } => {
                let tap = Tap::open(ifname).map_err(failed)?;
                self.workers.attach(tap_queue(spec.id), Box::new(tap));
                Running::Tap
            }
            Attachment::VhostUser { path, mode, queues } => {
                let mode = match mode {
                    VhostUserMode::Server => Mode::Server,
                    VhostUserMode::Client => Mode::Client,
                };
                let mut config = VhostConfig::new(spec.id, &spec.name, path, mode);
                config.queues = *queues;
                let status = Arc::clone(self.statuses.entry(spec.id).or_default());
                let workers: Arc<dyn Attach> = Arc::clone(&self.workers) as _;
                let port = VhostPort::start(config, workers, status).map_err(failed)?;
                Running::Guest(port)
            }
        };
        self.running.insert(spec.id, running);
        tracing::info!(port = spec.name, place = place(&spec.attachment), "port started");
        self.specs.insert(spec.id, spec);
        Ok(())
    }

    /// Starts ports; if one cannot be started, those that were are stopped again.
    ///
    /// # Errors
    /// The port that could not be started, and why.
    pub(super) fn start_all(&mut self, specs: Vec<PortSpec>) -> Result<(), StartError> {
        let mut started = Vec::new();
        for spec in specs {
            let id = spec.id;
            if let Err(error) = self.start(spec) {
                for id in started {
                    self.stop(id);
                }
                return Err(error);
            }
            started.push(id);
        }
        Ok(())
    }

    /// Stops a port and lets go of what it was attached to.
    pub(super) fn stop(&mut self, id: PortId) {
        let Some(spec) = self.specs.remove(&id) else {
            return;
        };
        match self.running.remove(&id) {
            Some(Running::Guest(port)) => port.stop(),
            Some(Running::Tap) => match self.workers.detach(tap_queue(id)) {
                Detached::Queue(_) | Detached::Absent => {}
                Detached::Stuck => {
                    tracing::error!(port = spec.name, "the worker does not give the port back")
                }
            },
            None => {}
        }
        tracing::info!(port = spec.name, "port stopped");
    }

    /// Stops all ports.
    pub(super) fn stop_all(&mut self) {
        let ids: Vec<PortId> = self.specs.keys().copied().collect();
        for id in ids {
            self.stop(id);
        }
    }

    /// How a port is; a port that does not run is not connected.
    pub(super) fn state(&self, id: PortId) -> PortState {
        match self.running.get(&id) {
            Some(Running::Tap) => PortState { connected: true, queues: 1, ..PortState::default() },
            Some(Running::Guest(port)) => {
                let state = port.status().state();
                PortState {
                    connected: state.pairs_attached > 0,
                    queues: state.pairs_attached,
                    features: state.features.map(feature_names).unwrap_or_default(),
                    last_fault: state.isolated.unwrap_or_default(),
                }
            }
            None => PortState::default(),
        }
    }

    /// What has happened to a port; nothing ever happens to a TAP.
    pub(super) fn history(&self, id: PortId) -> PortHistory {
        let history = |status: &Arc<PortStatus>| PortHistory {
            connections: status.connections(),
            isolations: status.isolations(),
            worker_stuck: status.worker_stuck(),
        };
        self.statuses.get(&id).map(history).unwrap_or_default()
    }
}

/// How often things happened to a guest port since the switch started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PortHistory {
    /// Front-ends that connected.
    pub(super) connections: u64,
    /// Times that it was cut off because its front-end or guest broke the rules.
    pub(super) isolations: u64,
    /// Times that a worker did not give a queue back in time.
    pub(super) worker_stuck: u64,
}

/// A TAP has one queue.
fn tap_queue(port: PortId) -> QueueId {
    QueueId { port, pair: 0 }
}

fn feature_names(features: Features) -> Vec<String> {
    const NAMES: &[(Features, &str)] = &[
        (Features::CSUM, "csum"),
        (Features::GUEST_CSUM, "guest_csum"),
        (Features::GUEST_TSO4, "guest_tso4"),
        (Features::GUEST_TSO6, "guest_tso6"),
        (Features::GUEST_ECN, "guest_ecn"),
        (Features::HOST_TSO4, "host_tso4"),
        (Features::HOST_TSO6, "host_tso6"),
        (Features::HOST_ECN, "host_ecn"),
        (Features::MRG_RXBUF, "mrg_rxbuf"),
        (Features::MQ, "mq"),
        (Features::INDIRECT_DESC, "indirect_desc"),
        (Features::EVENT_IDX, "event_idx"),
        (Features::VERSION_1, "version_1"),
    ];
    let has = |&&(feature, _): &&(Features, &str)| features.has(feature);
    NAMES.iter().filter(has).map(|&(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(id: u16, place: &str) -> PortSpec {
        let attachment = match place.strip_prefix("tap:") {
            Some(ifname) => Attachment::Tap { ifname: ifname.to_owned() },
            None => Attachment::VhostUser { path: place.into(), mode: VhostUserMode::Server, queues: 1 },
        };
        PortSpec { id: PortId(id), name: format!("p{id}"), attachment }
    }

    /// Each list is `number place` per port; the expected steps are numbers.
    fn check(running: &[(u16, &str)], wanted: &[(u16, &str)], early: &[u16], stop: &[u16], late: &[u16]) {
        let specs = |list: &[(u16, &str)]| list.iter().map(|&(id, place)| spec(id, place)).collect::<Vec<_>>();
        let running = specs(running).into_iter().map(|spec| (spec.id, spec)).collect();
        let steps = Steps::between(&running, &specs(wanted));
        let ids = |specs: &[PortSpec]| specs.iter().map(|spec| spec.id.0).collect::<Vec<_>>();
        let stopped: Vec<u16> = steps.stop.iter().map(|id| id.0).collect();
        assert_eq!((ids(&steps.early), stopped, ids(&steps.late)), (early.into(), stop.into(), late.into()));
    }

    #[test]
    fn steps_between_configurations() {
        check(&[], &[(0, "/a"), (1, "tap:up")], &[0, 1], &[], &[]);
        check(&[(0, "/a"), (1, "tap:up")], &[(0, "/a"), (1, "tap:up")], &[], &[], &[]);
        check(&[(0, "/a"), (1, "/b")], &[(1, "/b")], &[], &[0], &[]);
        // Another socket for the same port: it has the port's number until the old one is gone.
        check(&[(0, "/a")], &[(0, "/b")], &[], &[0], &[0]);
        // Another port at the same socket or interface.
        check(&[(0, "/a")], &[(1, "/a")], &[], &[0], &[1]);
        check(&[(0, "tap:up")], &[(1, "tap:up")], &[], &[0], &[1]);
        // Two ports change places.
        check(&[(0, "/a"), (1, "/b")], &[(0, "/b"), (1, "/a")], &[], &[0, 1], &[0, 1]);
        check(&[(0, "/a")], &[(0, "/a"), (1, "/b")], &[1], &[], &[]);
        check(&[(0, "/a")], &[(0, "tap:/a")], &[], &[0], &[0]);
    }
}
