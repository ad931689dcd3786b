//! The running switch, put together: workers, ports, the event log, the control socket and the monitoring pages.
//!
//! # Theory of operation
//! Starting goes from what can be refused cheaply to what has effects, and frames can enter only at the very end: read the
//! configuration, take the run directory, listen, open the event log, start the workers, wait until they judge by the
//! first generation, start the ports. Whatever fails, the switch does not start: it never runs half closed (attack R07).
//! Ending goes the same way back.

mod front;
mod log;
mod notify;
mod ports;
mod profiles;
mod reload;
mod show;
mod stats;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::books::HitLedger;
use crate::cli::Failure;
use crate::config::{self, Compiled, Limits, PortNumbering, Resolved, SwitchConfig};
use crate::control::socket::RunDir;
use crate::control::{Fulfilled, Operations, Request, Response};
use crate::eve::settings::EveSettings;
use crate::eve::{Log, values};
use crate::frame::PortId;
use crate::generation::{Generation, PortView};
use crate::http::Pages;
use crate::mac_table::LearnedMacs;
use crate::metrics::{PortSeries, Published, Scrape};
use crate::quarantine::Quarantines;
use crate::worker::{WorkerConfig, Workers};
use front::{Acts, Front};
use ports::{PortSpec, Ports};
use reload::Reloads;
use stats::StatsDue;
use watch::Watch;

/// How long workers may take to judge by a new generation. They look at it between bursts, so this is long; it passes only
/// when a worker is stuck.
const GENERATION_TIMEOUT: Duration = Duration::from_secs(2);

/// What cannot change while the switch runs, because tables and listeners are made from it.
#[derive(Clone, Debug)]
struct Fixed {
    switch: SwitchConfig,
    metrics_listen: Option<std::net::SocketAddr>,
    eve_path: Option<PathBuf>,
    eve: EveSettings,
    limits: Limits,
}

impl Fixed {
    fn of(resolved: &Resolved) -> Self {
        Self {
            switch: resolved.switch.clone(),
            metrics_listen: resolved.metrics_listen,
            eve_path: resolved.eve_path.clone(),
            eve: resolved.eve,
            limits: resolved.limits,
        }
    }
}

/// The running switch, as the main thread holds it.
pub struct Switch {
    config_path: PathBuf,
    fixed: Fixed,
    cpus: Vec<usize>,
    numbering: PortNumbering,
    workers: Arc<Workers>,
    ports: Ports,
    /// The name that each number of a port had last.
    port_names: BTreeMap<PortId, String>,
    ledger: HitLedger,
    published: Published,
    watch: Watch,
    quarantines: Arc<Quarantines>,
    log: Log,
    stats_due: StatsDue,
    last_reload_successful: bool,
    last_reload_s: u64,
    reloads: Reloads,
    /// The signatures in force, for the configuration that comes next.
    compiled: Compiled,
}

/// Runs the switch until a signal ends it.
///
/// # Errors
/// It could not be started, or not be run on.
pub fn run(config_path: &Path) -> Result<(), Failure> {
    log::start();
    let mut numbering = PortNumbering::new();
    let resolved = config::load(config_path, &mut numbering)
        .map_err(|report| Failure::InvalidConfiguration(report.to_string()))?;
    warn_of(&resolved);
    let run_dir = RunDir::take(&resolved.switch.run_dir).map_err(negative)?;
    let control = run_dir.listen().map_err(negative)?;
    let mut front = Front::new(control, resolved.metrics_listen).map_err(negative)?;
    let mut switch = Switch::start(config_path, resolved, numbering, Reloads::new(front.waker()))?;
    let socket = run_dir.socket().display();
    tracing::info!(version = crate::VERSION, %socket, "the switch runs");
    notify::notify(notify::READY);
    let served = front.run(&mut switch).map_err(negative);
    notify::notify(notify::STOPPING);
    switch.stop();
    tracing::info!("the switch has stopped");
    served
}

fn negative(error: impl fmt::Display) -> Failure {
    Failure::Negative(error.to_string())
}

fn warn_of(resolved: &Resolved) {
    if !resolved.warnings.is_empty() {
        tracing::warn!("the configuration is valid, but:\n{}", resolved.warnings);
    }
}

fn unix_now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn worker_config(resolved: &Resolved) -> WorkerConfig {
    let limits = &resolved.limits;
    WorkerConfig {
        cpus: resolved.switch.workers.clone(),
        poll: resolved.switch.poll,
        flows_max: limits.flows,
        flows_per_port_max: limits.flows_per_port,
        timeouts: limits.flow_timeouts,
        flood_frames_per_s: limits.flood_frames_per_second,
        eve: resolved.eve,
    }
}

/// What a configuration makes frames be judged by.
fn generation_of(resolved: &Resolved, number: u32) -> Generation {
    let slots = resolved.ports.iter().map(|port| port.id.index() + 1).max().unwrap_or(0);
    let mut views: Vec<Option<PortView>> = (0..slots).map(|_| None).collect();
    for port in &resolved.ports {
        views[port.id.index()] = Some(PortView {
            name: port.name.clone(),
            zone: port.zone_name.clone(),
            is_uplink: port.is_uplink,
            tenant: port.tenant.clone(),
            security: port.security.clone(),
        });
    }
    let (policy, rules) = (Arc::clone(&resolved.policy), Arc::clone(&resolved.rules));
    let generation = Generation::new(number, views, policy, rules, resolved.switch.workers.len());
    let generation = generation.with_profiles(Arc::clone(&resolved.profiles));
    generation.with_file_checks(resolved.file_checks.clone())
}

fn port_specs(resolved: &Resolved) -> Vec<PortSpec> {
    let spec = |port: &config::PortConfig| PortSpec {
        id: port.id,
        name: port.name.clone(),
        attachment: port.attachment.clone(),
    };
    resolved.ports.iter().map(spec).collect()
}

impl Switch {
    fn start(
        config_path: &Path,
        resolved: Resolved,
        numbering: PortNumbering,
        reloads: Reloads,
    ) -> Result<Self, Failure> {
        let (mut watch, quarantines) = (Watch::default(), Arc::<Quarantines>::default());
        let detect = watch.detect(&resolved)?;
        let generation = Arc::new(generation_of(&resolved, 1).with_watch(detect, Arc::clone(&quarantines)));
        let limits = &resolved.limits;
        let (events, queue) = crate::eve::queue();
        let learned = Arc::new(LearnedMacs::new(limits.learned_macs, limits.mac_ageing_ms));
        let in_force = Arc::new(ArcSwap::new(Arc::clone(&generation)));
        let workers = Workers::start(&worker_config(&resolved), in_force, learned, &events)
            .map_err(|error| negative(format!("the workers cannot be started: {error}")))?;
        let workers = Arc::new(workers);
        let started = Instant::now() - Duration::from_micros(workers.now_us());
        let log = Log::start(resolved.eve_path.as_deref(), resolved.eve, queue, started).map_err(|error| {
            let path = resolved.eve_path.as_deref().unwrap_or(Path::new("eve"));
            negative(format!("events cannot be written to {}: {error}", path.display()))
        })?;
        let mut switch = Self {
            config_path: config_path.to_owned(),
            fixed: Fixed::of(&resolved),
            cpus: resolved.switch.workers.clone(),
            numbering,
            ports: Ports::new(Arc::clone(&workers)),
            workers,
            port_names: BTreeMap::new(),
            ledger: HitLedger::default(),
            published: Published::new(),
            watch,
            quarantines,
            log,
            stats_due: StatsDue::new(&resolved.eve),
            last_reload_successful: true,
            last_reload_s: unix_now_s(),
            reloads,
            compiled: resolved.compiled.clone(),
        };
        switch.ledger.begin(Arc::clone(&generation));
        switch.watch.settle(&resolved);
        switch.name_ports(&generation);
        if !switch.workers.wait_generation(generation.number, GENERATION_TIMEOUT) {
            return Err(negative("the workers do not take up the configuration"));
        }
        if let Err(error) = switch.ports.start_all(port_specs(&resolved)) {
            switch.stop();
            return Err(negative(error));
        }
        Ok(switch)
    }

    fn stop(&mut self) {
        self.ports.stop_all();
        self.workers.stop();
    }

    fn name_ports(&mut self, generation: &Generation) {
        for (id, view) in (0..).zip(&generation.ports) {
            if let Some(view) = view {
                self.port_names.insert(PortId(id), view.name.clone());
            }
        }
    }

    /// Every port that has a number, with its name.
    fn known_ports(&self) -> impl Iterator<Item = (PortId, &str)> {
        self.port_names.iter().map(|(&id, name)| (id, name.as_str()))
    }

    /// Flows that all tables hold together.
    fn flow_limit(&self) -> u64 {
        u64::from(self.fixed.limits.flows)
    }
}

impl Pages for Switch {
    fn metrics(&mut self) -> String {
        let totals = self.totals();
        let series = |(id, name): (PortId, &str)| {
            let history = self.ports.history(id);
            PortSeries {
                name: name.to_owned(),
                id,
                connected: self.ports.state(id).connected,
                connections: history.connections,
                isolations: history.isolations,
                worker_stuck: history.worker_stuck,
                quarantined: self.quarantines.holds(id, self.workers.now_us()),
                quarantines: self.quarantines.count(id),
            }
        };
        let ports: Vec<PortSeries> = self.known_ports().map(series).collect();
        let generation = self.workers.generation();
        let log = self.log.counters();
        let lists = generation.file_checks.iter().flat_map(|checks| checks.lists());
        let hash_lists: Vec<_> = lists.map(|list| (list.name(), list.len() as u64, list.byte_count() as u64)).collect();
        let lost = values(&log.lost);
        self.published.render(&Scrape {
            totals: &totals,
            ports: &ports,
            rule_hits: &self.ledger.hits(),
            file_hits: &self.ledger.file_hits(),
            hash_lists: &hash_lists,
            announcements: self.workers.announcements(),
            workers: &self.worker_rows(),
            generation: generation.number,
            last_reload_successful: self.last_reload_successful,
            last_reload_s: self.last_reload_s,
            signatures: generation.rules.len() as u64,
            flow_limit: self.flow_limit(),
            events_written: values(&log.written),
            events_lost: std::array::from_fn(|kind| lost[kind] + totals.events_lost[kind]),
            log_lines_suppressed: log::suppressed(),
        })
    }

    fn readiness(&self) -> Result<(), String> {
        let number = self.workers.generation().number;
        let late = self.workers.seen_generations().filter(|&seen| seen < number).count();
        if late == 0 {
            return Ok(());
        }
        Err(format!("{late} of {} workers do not judge by generation {number} yet", self.cpus.len()))
    }
}

impl Operations for Switch {
    fn fulfil(&mut self, request: Request) -> Fulfilled {
        let response = match request {
            Request::Version {} => Response::Ok {
                result: serde_json::json!({
                    "version": crate::VERSION,
                    "name": self.fixed.switch.name,
                    "pid": std::process::id(),
                    "config": self.config_path,
                    "generation": self.workers.generation().number,
                    "uptime_s": self.workers.now_us() / 1_000_000,
                }),
            },
            Request::Reload {} => return Fulfilled::Later(self.reload_for_client()),
            Request::Release { port } => self.release(&port),
            Request::Show { table, max, port } => self.show(table, max, port.as_deref()),
        };
        response.into()
    }
}

impl Acts for Switch {
    fn hang_up(&mut self) {
        self.want_reload();
    }

    fn take_up(&mut self) -> Vec<(u64, Response)> {
        self.finish_reload()
    }

    fn reopen_log(&mut self) {
        self.log.reopen();
    }

    fn tick(&mut self) -> Result<(), String> {
        self.write_stats_if_due();
        let newest = self.workers.generation().number;
        if self.ledger.live_count() > 1 && self.workers.wait_generation(newest, Duration::ZERO) {
            self.ledger.settle();
        }
        self.log_quarantines();
        // Its ports are cut off and its counters stand still: better to end, and be started again, than to look alive.
        match self.workers.ended_count() {
            0 => Ok(()),
            count => Err(format!("{count} of {} workers have ended", self.cpus.len())),
        }
    }
}
