//! Reload: a new generation, whole, or none.

use std::fmt;

use super::ports::{StartError, Steps};
use super::{Fixed, GENERATION_TIMEOUT, Switch, generation_of, port_specs, unix_now_s, warn_of};
use crate::config;
use crate::control::{Cause, Response};
use crate::metrics::Published;
use std::sync::Arc;

/// Generations that some worker may still judge by at most. There are more only when a worker is stuck, and then another
/// generation helps nobody.
const LIVE_MAX: usize = 4;

/// Why a reload did not do everything that it should.
#[derive(Debug)]
pub(super) enum ReloadError {
    /// The file is refused; the text says everything that is wrong with it. The old generation is in force.
    Invalid(String),
    /// The file changes what cannot change while the switch runs: the names of the keys. The old generation is in force.
    NeedsRestart(Vec<&'static str>),
    /// A new port cannot be attached. The old generation is in force.
    Port(StartError),
    /// Workers have not taken up several earlier generations. The last of them is in force where workers move.
    Stuck,
    /// The new generation is in force, but a worker has not taken it up in time.
    Late(u32),
    /// The new generation is in force on all workers, but ports that had to be exchanged are down.
    PortsDown(u32, Vec<StartError>),
}

impl ReloadError {
    /// Whether the old generation is still in force.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::NeedsRestart(_) | Self::Port(_) | Self::Stuck => true,
            Self::Late(_) | Self::PortsDown(..) => false,
        }
    }

    fn cause(&self) -> Cause {
        match self {
            Self::Invalid(_) => Cause::InvalidConfiguration,
            Self::NeedsRestart(_) => Cause::NeedsRestart,
            Self::Port(_) | Self::Stuck | Self::Late(_) | Self::PortsDown(..) => Cause::Incomplete,
        }
    }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(report) => f.write_str(report),
            Self::NeedsRestart(keys) => {
                write!(f, "cannot change while the switch runs: {}; the old configuration stays", keys.join(", "))
            }
            Self::Port(error) => write!(f, "{error}; the old configuration stays"),
            Self::Stuck => f.write_str("a worker is stuck and takes up no configuration; restart the switch"),
            Self::Late(number) => {
                write!(f, "generation {number} is in force, but a worker has not taken it up in time")
            }
            Self::PortsDown(number, errors) => {
                write!(f, "generation {number} is in force, but ports are down:")?;
                errors.iter().try_for_each(|error| write!(f, " {error};"))
            }
        }
    }
}

impl std::error::Error for ReloadError {}

impl Fixed {
    /// The keys by which another configuration differs.
    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (one, two) = (&self.switch, &other.switch);
        let (bounds, others) = (&self.limits, &other.limits);
        let keys = [
            ("switch.run_dir", one.run_dir != two.run_dir),
            ("switch.workers", one.workers != two.workers),
            ("switch.poll", one.poll != two.poll),
            ("metrics.listen", self.metrics_listen != other.metrics_listen),
            ("eve.path", self.eve_path != other.eve_path),
            ("eve", self.eve != other.eve),
            ("limits.flows", bounds.flows != others.flows),
            ("limits.flows_per_port", bounds.flows_per_port != others.flows_per_port),
            ("limits.flow_timeouts", bounds.flow_timeouts != others.flow_timeouts),
            ("limits.learned_macs", bounds.learned_macs != others.learned_macs),
            ("limits.mac_ageing", bounds.mac_ageing_ms != others.mac_ageing_ms),
        ];
        keys.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect()
    }
}

impl Switch {
    /// Reads the configuration file anew and judges by it. Answers the number of the generation that every worker judges by
    /// when this returns.
    ///
    /// # Errors
    /// What went wrong, and with it what is in force.
    pub(super) fn reload(&mut self) -> Result<u32, ReloadError> {
        let taken = self.take_configuration();
        self.last_reload_successful = taken.is_ok();
        if taken.as_ref().err().is_none_or(|error| !error.is_refusal()) {
            self.last_reload_s = unix_now_s();
        }
        match &taken {
            Ok(number) => tracing::info!(generation = number, "configuration taken"),
            Err(error) if error.is_refusal() => tracing::error!("configuration refused: {error}"),
            Err(error) => tracing::error!("configuration taken, but not by all: {error}"),
        }
        taken
    }

    fn take_configuration(&mut self) -> Result<u32, ReloadError> {
        if self.ledger.live_count() >= LIVE_MAX {
            return Err(ReloadError::Stuck);
        }
        // A refused file must not use up numbers of ports, so it gets a copy.
        let mut numbering = self.numbering.clone();
        let mut resolved = config::load(&self.config_path, &mut numbering)
            .map_err(|report| ReloadError::Invalid(report.to_string()))?;
        if let (Some(new), Some(old)) = (&resolved.file_checks, &self.workers.generation().file_checks) {
            resolved.file_checks = Some(Arc::new(new.sharing_with(old)));
        }
        warn_of(&resolved);
        let fixed = Fixed::of(&resolved);
        let differences = self.fixed.differences(&fixed);
        if !differences.is_empty() {
            return Err(ReloadError::NeedsRestart(differences));
        }
        // As for a new port, what cannot be had leaves the old configuration in force.
        let detect = self.watch.detect(&resolved).map_err(|error| ReloadError::Invalid(error.to_string()))?;
        let steps = Steps::between(self.ports.specs(), &port_specs(&resolved));
        self.ports.start_all(steps.early).map_err(ReloadError::Port)?;
        self.numbering = numbering;
        self.fixed = fixed;

        let before = self.workers.generation();
        let number = before.number + 1;
        let generation = generation_of(&resolved, number).with_watch(detect, Arc::clone(&self.quarantines));
        let generation = Arc::new(generation);
        self.ledger.begin(Arc::clone(&generation));
        self.name_ports(&generation);
        // Names of rules and ports may be gone for good, so their series start anew.
        self.published = Published::new();
        let is_settled = self.workers.set_generation(Arc::clone(&generation), GENERATION_TIMEOUT);
        self.watch.settle(&resolved);
        self.release_gone(&before, &generation);
        if is_settled {
            self.ledger.settle();
        }
        for id in steps.stop {
            self.ports.stop(id);
        }
        let failed = |spec| self.ports.start(spec).err();
        let down: Vec<StartError> = steps.late.into_iter().filter_map(failed).collect();
        if !is_settled {
            return Err(ReloadError::Late(number));
        }
        if !down.is_empty() {
            return Err(ReloadError::PortsDown(number, down));
        }
        Ok(number)
    }

    /// The same, for a client of the control socket.
    pub(super) fn reload_for_client(&mut self) -> Response {
        match self.reload() {
            Ok(number) => Response::Ok { result: serde_json::json!({ "generation": number }) },
            Err(error) => Response::Error { cause: error.cause(), message: error.to_string() },
        }
    }
}
