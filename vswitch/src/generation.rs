//! One generation: everything that a frame is judged by, as one immutable value that is swapped whole.

use std::sync::Arc;

use inspect::file_hashes::FileChecks;
use inspect::signature::RuleSet;
use zones::binding::PortSecurity;
use zones::policy::Policy;

use crate::counters::Cell;
use crate::detect::Detect;
use crate::frame::PortId;
use crate::mac_table::FixedMacs;
use crate::profiles::{ProfileCells, Profiles};
use crate::quarantine::Quarantines;

/// What the walk needs to know of one port.
#[derive(Debug)]
pub struct PortView {
    /// Its name in the configuration.
    pub name: String,
    /// Name of its zone.
    pub zone: String,
    /// Whose it is.
    pub tenant: Option<String>,
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
    /// What files are judged by, if there is a list of hashes.
    pub file_checks: Option<Arc<FileChecks>>,
    /// Addresses that belong to one port by configuration and are never learned elsewhere.
    pub fixed_macs: FixedMacs,
    /// Frames judged by each decider of the policy, per worker: `rule_hits[worker][decider]`.
    pub rule_hits: Vec<Box<[Cell]>>,
    /// Files found on each list of hashes, per worker: `file_hits[worker][list]`.
    pub file_hits: Vec<Box<[Cell]>>,
    /// The watch for scans and floods, if there is one.
    pub detect: Option<Detect>,
    /// The ports that neither send nor receive for a time: the same for all generations.
    pub quarantines: Arc<Quarantines>,
    /// How flows between two ports are inspected.
    pub profiles: Arc<Profiles>,
    /// What became of frames by profile, per worker: `profile_cells[worker][profile]`.
    pub profile_cells: Vec<Box<[ProfileCells]>>,
}

impl Generation {
    /// A generation with its derived tables, for a number of workers.
    pub fn new(
        number: u32,
        ports: Vec<Option<PortView>>,
        policy: Arc<Policy>,
        rules: Arc<RuleSet>,
        worker_count: usize,
    ) -> Self {
        let fixed_macs = FixedMacs::new(ports.iter().enumerate().flat_map(|(index, port)| {
            let security = port.as_ref().and_then(|view| view.security.as_ref());
            let macs: Vec<[u8; 6]> = security.map(|security| security.macs().to_vec()).unwrap_or_default();
            macs.into_iter().map(move |mac| (mac, PortId(index as u16)))
        }));
        let hits = || policy.deciders().iter().map(|_| Cell::default()).collect();
        let rule_hits = (0..worker_count).map(|_| hits()).collect();
        let generation = Self {
            number,
            ports,
            policy,
            rules,
            file_checks: None,
            file_hits: (0..worker_count).map(|_| Box::default()).collect(),
            fixed_macs,
            rule_hits,
            detect: None,
            quarantines: Arc::default(),
            profiles: Arc::default(),
            profile_cells: Vec::new(),
        };
        generation.with_profiles(Arc::default())
    }

    /// The same with a watch for scans and floods, and the quarantines that it puts ports in.
    pub fn with_watch(self, detect: Option<Detect>, quarantines: Arc<Quarantines>) -> Self {
        Self { detect, quarantines, ..self }
    }

    /// The same with these profiles, which were made for its signatures, instead of the one that is there by itself.
    #[must_use]
    pub fn with_profiles(self, profiles: Arc<Profiles>) -> Self {
        let cells = || profiles.list().iter().map(|_| ProfileCells::default()).collect();
        let profile_cells = self.rule_hits.iter().map(|_| cells()).collect();
        Self { profiles, profile_cells, ..self }
    }

    /// The same, with files judged by these.
    #[must_use]
    pub fn with_file_checks(mut self, checks: Option<Arc<FileChecks>>) -> Self {
        let list_count = checks.as_ref().map_or(0, |checks| checks.lists().len());
        for hits in &mut self.file_hits {
            *hits = (0..list_count).map(|_| Cell::default()).collect();
        }
        self.file_checks = checks;
        self
    }

    /// Whether no address is fixed to the port: then whoever is behind it is learned, and frames to addresses that nobody is
    /// known to have go there too.
    pub fn is_open_ended(&self, port: PortId) -> bool {
        self.port(port).is_some_and(|view| view.security.as_ref().is_none_or(|security| security.macs().is_empty()))
    }

    /// The port under a number, if this generation has it.
    #[inline(always)]
    pub fn port(&self, port: PortId) -> Option<&PortView> {
        self.ports.get(port.index()).and_then(Option::as_ref)
    }
}
