//! A switch for tests: guest ports in one zone that allows everything, and a real worker.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use inspect::signature::RuleSet;
use zones::policy::Policy;
use zones::rule::Action;
use zones::source::PolicySource;
use zones::zone::{Port, Zone};

use crate::flow_table::Timeouts;
use crate::frame::PortId;
use crate::generation::{Generation, PortView};
use crate::mac_table::LearnedMacs;
use crate::port::vhost::{Mode, PortStatus, VhostConfig, VhostPort};
use crate::worker::{PollMode, WorkerConfig, Workers};

/// Guest ports, a worker, and a directory for sockets. All gone when dropped.
pub(super) struct Switch {
    pub(super) ports: Vec<VhostPort>,
    pub(super) workers: Arc<Workers>,
    pub(super) directory: tempfile::TempDir,
    _events: crossbeam_channel::Receiver<crate::event::Event>,
}

impl Switch {
    /// A switch with so many listening ports of one queue pair.
    pub(super) fn new(ports: usize) -> Self {
        Self::with(ports, |config| config)
    }

    /// A switch whose ports are configured by `change`.
    pub(super) fn with(ports: usize, change: impl Fn(VhostConfig) -> VhostConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (events, received) = crossbeam_channel::bounded(4096);
        let config = WorkerConfig {
            cpus: vec![0],
            poll: PollMode::Adaptive,
            flows_max: 4096,
            flows_per_port_max: 4096,
            timeouts: Timeouts::default(),
            flood_frames_per_s: crate::pipeline::FLOOD_FRAMES_PER_S,
            eve: crate::eve::settings::EveSettings::default(),
        };
        let generation = Arc::new(ArcSwap::from_pointee(generation(ports)));
        let learned = Arc::new(LearnedMacs::new(1024, 300_000));
        let workers = Arc::new(Workers::start(&config, generation, learned, &events).unwrap());
        let ports = (0..ports)
            .map(|index| {
                let path = socket(directory.path(), index);
                let config = VhostConfig::new(PortId(index as u16), format!("p{index}"), path, Mode::Server);
                VhostPort::start(change(config), workers.clone(), Arc::new(PortStatus::default())).unwrap()
            })
            .collect();
        Self { ports, workers, directory, _events: received }
    }

    /// The socket of a port.
    pub(super) fn path(&self, port: usize) -> PathBuf {
        socket(self.directory.path(), port)
    }

    pub(super) fn status(&self, port: usize) -> &PortStatus {
        self.ports[port].status()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.ports.clear();
        self.workers.stop();
    }
}

fn socket(directory: &Path, port: usize) -> PathBuf {
    directory.join(format!("p{port}.sock"))
}

fn generation(ports: usize) -> Generation {
    let name = |index: usize| format!("p{index}");
    let source = PolicySource {
        zones: vec![Zone::new("lan", Some(Action::Allow))],
        ports: (0..ports).map(|index| Port::new(PortId(index as u16), name(index), "lan")).collect(),
        ..PolicySource::default()
    };
    let view =
        |index| PortView { name: name(index), zone: "lan".into(), is_uplink: false, tenant: None, security: None };
    let policy = Arc::new(Policy::compile(&source).unwrap());
    Generation::new(1, (0..ports).map(|index| Some(view(index))).collect(), policy, Arc::new(RuleSet::default()), 1)
}
