//! Reload: a new generation, whole, or none.

use std::fmt;

use super::ports::{StartError, Steps};
use super::{Fixed, GENERATION_TIMEOUT, Switch, generation_of, port_specs, unix_now_s, warn_of};
use crate::config::{self, PortNumbering, Report, Resolved};
use crate::control::{Cause, Response};
use crate::metrics::Published;
use crossbeam_channel::{Receiver, TryRecvError};
use mio::Waker;
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
    /// Nobody could read the file: the thread for it did not start, or did not come to its end. The old generation is in
    /// force.
    Unread(String),
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
            Self::Invalid(_) | Self::NeedsRestart(_) | Self::Unread(_) | Self::Port(_) | Self::Stuck => true,
            Self::Late(_) | Self::PortsDown(..) => false,
        }
    }

    fn cause(&self) -> Cause {
        match self {
            Self::Invalid(_) => Cause::InvalidConfiguration,
            Self::NeedsRestart(_) => Cause::NeedsRestart,
            Self::Unread(_) | Self::Port(_) | Self::Stuck | Self::Late(_) | Self::PortsDown(..) => Cause::Incomplete,
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
            Self::Unread(why) => write!(f, "the configuration was not read: {why}; the old one stays"),
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

/// A configuration that was read, and the port numbers that it gave.
type Read = Result<(Resolved, PortNumbering), Report>;

/// Reloads that are wanted and the one that is under way. Reading a configuration and compiling its signatures takes seconds, so
/// a thread of its own does it, one at a time; what was asked for meanwhile is one more reload behind it, for the file may have
/// changed since it was read.
pub(super) struct Reloads {
    waker: Arc<Waker>,
    under_way: Option<Receiver<Read>>,
    /// Who is answered when the one under way is done.
    served: Vec<u64>,
    is_wanted: bool,
    /// Who is answered when the next is.
    waiting: Vec<u64>,
    next_ticket: u64,
}

impl Reloads {
    /// None wanted. The waker wakes the main thread's loop.
    pub(super) fn new(waker: Arc<Waker>) -> Self {
        let (served, waiting) = (Vec::new(), Vec::new());
        Self { waker, under_way: None, served, is_wanted: false, waiting, next_ticket: 0 }
    }
}

/// Wakes the main thread when the reading thread ends, however it does.
struct WakeAtEnd(Arc<Waker>);

impl Drop for WakeAtEnd {
    fn drop(&mut self) {
        // Without it the main thread finds out at its next tick.
        drop(self.0.wake());
    }
}

impl Switch {
    /// Asks for a reload; nobody waits for it.
    pub(super) fn want_reload(&mut self) {
        self.reloads.is_wanted = true;
        self.read_configuration();
    }

    /// Asks for a reload; what comes of it is answered under the ticket.
    pub(super) fn reload_for_client(&mut self) -> u64 {
        let ticket = self.reloads.next_ticket;
        self.reloads.next_ticket += 1;
        self.reloads.waiting.push(ticket);
        self.want_reload();
        ticket
    }

    /// Has the file read, if that is wanted and no reading is under way.
    fn read_configuration(&mut self) {
        if self.reloads.under_way.is_some() || !std::mem::take(&mut self.reloads.is_wanted) {
            return;
        }
        self.reloads.served = std::mem::take(&mut self.reloads.waiting);
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let wake = WakeAtEnd(Arc::clone(&self.reloads.waker));
        let (path, before) = (self.config_path.clone(), self.compiled.clone());
        // A refused file must not use up numbers of ports, so it gets a copy.
        let mut numbering = self.numbering.clone();
        let read = move || {
            let (_wake, sender) = (wake, sender);
            let read = config::load_after(Some(&before), &path, &mut numbering);
            // Nobody listens only when the switch is at its end.
            drop(sender.send(read.map(|resolved| (resolved, numbering))));
        };
        self.reloads.under_way = Some(receiver);
        // Where there is no thread, its end of the channel is gone already, and that is told like any other end.
        if let Err(error) = std::thread::Builder::new().name("reload".to_owned()).spawn(read) {
            tracing::error!(%error, "no thread to read the configuration");
        }
    }

    /// Judges by a configuration that has been read meanwhile. Answers those who asked for it with the number of the generation
    /// that every worker judges by now, or with what went wrong.
    pub(super) fn finish_reload(&mut self) -> Vec<(u64, Response)> {
        let read = match self.reloads.under_way.as_ref().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => return Vec::new(),
            Some(Ok(read)) => read.map_err(|report| ReloadError::Invalid(report.to_string())),
            Some(Err(TryRecvError::Disconnected)) => Err(ReloadError::Unread("its reader came to no end".to_owned())),
        };
        self.reloads.under_way = None;
        let taken = read.and_then(|(resolved, numbering)| self.take_configuration(resolved, numbering));
        self.last_reload_successful = taken.is_ok();
        if taken.as_ref().err().is_none_or(|error| !error.is_refusal()) {
            self.last_reload_s = unix_now_s();
        }
        match &taken {
            Ok(number) => tracing::info!(generation = number, "configuration taken"),
            Err(error) if error.is_refusal() => tracing::error!("configuration refused: {error}"),
            Err(error) => tracing::error!("configuration taken, but not by all: {error}"),
        }
        let response = match taken {
            Ok(number) => Response::Ok { result: serde_json::json!({ "generation": number }) },
            Err(error) => Response::Error { cause: error.cause(), message: error.to_string() },
        };
        let answered = std::mem::take(&mut self.reloads.served);
        self.read_configuration();
        answered.into_iter().map(|ticket| (ticket, response.clone())).collect()
    }

    fn take_configuration(&mut self, mut resolved: Resolved, numbering: PortNumbering) -> Result<u32, ReloadError> {
        if self.ledger.live_count() >= LIVE_MAX {
            return Err(ReloadError::Stuck);
        }
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
        self.compiled = resolved.compiled.clone();

        let before = self.workers.generation();
        let number = before.number + 1;
        let generation = generation_of(&resolved, number).with_watch(detect, Arc::clone(&self.quarantines));
        let generation = Arc::new(generation);
        if !Arc::ptr_eq(&before.rules, &generation.rules) {
            let (signatures, kept) = (generation.rules.len(), generation.rules.kept_count());
            tracing::info!(signatures, kept, "signatures compiled");
        }
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
}
