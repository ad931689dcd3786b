//! From what the file says to what the switch is built from. Every section is looked at, whatever is wrong with another:
//! the operator mends a file once, not once per fault.

mod detect;
mod eve;
mod file_hashes;
mod policy;
mod ports;
mod profiles;
mod signatures;

use super::diagnostic::{Diagnostic, Place, Report, Severity, SourceText};
use super::file::{self, File};
use super::limits::Limits;
use super::numbering::PortNumbering;
use super::resolved::{Compiled, Counts, PortConfig, ProfileCount, Resolved, SwitchConfig};
use super::spanned::At;
use super::suggest;
use crate::worker::PollMode;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

/// Longest name of anything: a label value in metrics, a column in tables.
const NAME_LEN_MAX: usize = 63;
/// More workers than this host classes of machine have processors.
const WORKERS_MAX: usize = 64;
/// Longest path of a Unix socket: `sun_path` of unix(7) without its final NUL.
const SOCKET_PATH_LEN_MAX: usize = 107;

/// Where faults are noted while a file is looked at.
pub(super) struct Context<'a> {
    source: Arc<SourceText>,
    report: &'a mut Report,
    /// Words of parts that could not be read: a name among them is not unknown, only unread.
    lost: BTreeSet<String>,
}

impl<'a> Context<'a> {
    pub(super) fn new(source: Arc<SourceText>, report: &'a mut Report, lost: Vec<String>) -> Self {
        Self { source, report, lost: lost.into_iter().collect() }
    }

    fn place(&self, at: &Range<usize>) -> Place {
        Place { source: Arc::clone(&self.source), at: at.clone() }
    }

    fn error_at(&mut self, at: &Range<usize>, message: impl Into<String>) {
        let place = self.place(at);
        self.report.push(Diagnostic::new(Severity::Error, message).at(place));
    }

    fn error_with_help(&mut self, at: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let place = self.place(at);
        self.report.push(Diagnostic::new(Severity::Error, message).at(place).help(help));
    }

    fn error_with_first(&mut self, at: &Range<usize>, first: &Range<usize>, message: impl Into<String>) {
        let (place, first) = (self.place(at), self.place(first));
        self.report.push(Diagnostic::new(Severity::Error, message).at(place).related_to(first, "first here"));
    }

    fn warning_at(&mut self, at: &Range<usize>, message: impl Into<String>) {
        let place = self.place(at);
        self.report.push(Diagnostic::new(Severity::Warning, message).at(place));
    }

    /// Says that a name leads nowhere, with the nearest that leads somewhere.
    fn unknown(&mut self, what: &str, name: &str, at: &Range<usize>, known: &BTreeSet<&str>) {
        if self.lost.contains(name) {
            return;
        }
        match suggest::nearest(name, known.iter().copied()) {
            Some(near) => self.error_at(at, format!("{what} \"{name}\" does not exist, did you mean \"{near}\"?")),
            None if known.is_empty() => {
                self.error_with_help(
                    at,
                    format!("{what} \"{name}\" does not exist"),
                    format!("there is no {what} at all"),
                );
            }
            None => {
                let help = format!("there are: {}", suggest::listed(known.iter().copied(), '"'));
                self.error_with_help(at, format!("{what} \"{name}\" does not exist"), help);
            }
        }
    }

    /// Whether a name can be one: it becomes a label of metrics and a word of the policy's own little language.
    fn check_name(&mut self, what: &str, name: &At<String>) {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(is_letter) {
            let message = format!("\"{}\" cannot be the name of a {what}", name.value.escape_debug());
            let help = format!("1 to {NAME_LEN_MAX} of the letters a-z A-Z 0-9 _ - .");
            self.error_with_help(&name.at, message, help);
        } else if name.value == "any" {
            self.error_at(&name.at, format!("\"any\" cannot be the name of a {what}: in rules it means everybody"));
        }
    }

    /// A number within its range; outside of it the fault is noted and the nearest bound is gone on with.
    pub(super) fn check_range<T>(
        &mut self,
        key: &str,
        at: &At<T>,
        number: u64,
        range: &RangeInclusive<u64>,
        show: impl Fn(u64) -> String,
    ) -> u64 {
        if !range.contains(&number) {
            let (first, last) = (show(*range.start()), show(*range.end()));
            self.error_at(&at.at, format!("`{key}` is {}, but must be from {first} to {last}", show(number)));
        }
        number.clamp(*range.start(), *range.end())
    }

    fn check_absolute(&mut self, key: &str, path: &At<std::path::PathBuf>) {
        if !path.is_absolute() {
            let message = format!("`{key}` must be an absolute path (it starts with /), found `{}`", path.display());
            self.error_at(&path.at, message);
        }
    }
}

/// Values that must not stand twice, each with where it stood first.
struct Once<T> {
    first: BTreeMap<T, Range<usize>>,
}

impl<T: Ord> Once<T> {
    fn new() -> Self {
        Self { first: BTreeMap::new() }
    }

    /// Notes a value; where it stood first, if it did.
    fn note(&mut self, value: T, at: &Range<usize>) -> Option<Range<usize>> {
        match self.first.get(&value) {
            Some(first) => Some(first.clone()),
            None => {
                self.first.insert(value, at.clone());
                None
            }
        }
    }
}

/// Looks up everything that a file says. Faults go to the context; with any in its report there is no answer.
pub(super) fn resolve(
    file: &File,
    base_dir: &Path,
    before: Option<&Compiled>,
    numbering: &mut PortNumbering,
    mut context: Context<'_>,
) -> Option<Resolved> {
    let switch = switch(&file.switch, &mut context);
    let eve = eve::resolve(file.eve.as_ref(), &mut context);
    let zone_names = zones(file, &mut context);
    let mut next_numbering = numbering.clone();
    let mut ports = ports::resolve(file, &zone_names, &mut next_numbering, &mut context);
    let source = policy::source(file, &ports, &mut context);
    let detect = file.detect.as_ref().map(|section| detect::resolve(section, &ports, &zone_names, &mut context));
    let limits = Limits::new(&file.limits, &mut context);
    let (compiled, mut counts) = signatures::load(&file.inspection, base_dir, before, &mut context);
    let rules = Arc::clone(&compiled.rules);
    let profiles = profiles::resolve(file, &rules, &mut context);
    let file_checks = file_hashes::load(&file.inspection, base_dir, &mut context);
    if context.report.has_errors() {
        return None;
    }
    let policy = policy::compile(file, &source, &mut context)?;
    for port in &mut ports {
        port.zone = policy.zone_of(port.id)?;
    }
    let profiles = profiles.finish(zone_by_port(&ports));
    *numbering = next_numbering;
    counts = Counts {
        ports: file.ports.len(),
        uplinks: file.uplinks.len(),
        zones: file.zones.0.len(),
        rules: file.policy.rules.len(),
        profiles: profiles.list().iter().map(ProfileCount::of).collect(),
        hash_lists: file_hashes::counts(file_checks.as_deref()),
        ..counts
    };
    Some(Resolved {
        switch,
        metrics_listen: file.metrics.as_ref().map(|metrics| metrics.listen.0),
        eve_path: file.eve.as_ref().map(|eve| eve.path.value.clone()),
        eve,
        ports,
        policy: Arc::new(policy),
        detect,
        rules,
        compiled,
        profiles: Arc::new(profiles),
        file_checks,
        limits,
        counts,
        warnings: Report::default(),
    })
}

/// The number of each port's zone, by the port's number.
fn zone_by_port(ports: &[PortConfig]) -> Vec<Option<u16>> {
    let slots = ports.iter().map(|port| port.id.index() + 1).max().unwrap_or(0);
    let mut zones = vec![None; slots];
    for port in ports {
        zones[port.id.index()] = Some(port.zone.0);
    }
    zones
}

fn switch(file: &file::Switch, context: &mut Context<'_>) -> SwitchConfig {
    context.check_name("switch", &file.name);
    context.check_absolute("run_dir", &file.run_dir);
    let workers = &file.workers;
    if workers.is_empty() || workers.len() > WORKERS_MAX {
        let message = format!("`workers` lists {} processors, but must list 1 to {WORKERS_MAX}", workers.len());
        context.error_at(&workers.at, message);
    }
    let mut once = Once::new();
    let online = processors();
    for cpu in &workers.value {
        if let Some(first) = once.note(cpu.value, &cpu.at) {
            context.error_with_first(&cpu.at, &first, format!("processor {} is listed twice", cpu.value));
        } else if !online.iter().any(|range| range.contains(&cpu.value)) {
            context.error_at(&cpu.at, format!("processor {} does not exist on this machine", cpu.value));
        }
    }
    SwitchConfig {
        name: file.name.value.clone(),
        run_dir: file.run_dir.value.clone(),
        workers: workers.iter().map(|cpu| usize::from(cpu.value)).collect(),
        poll: match file.poll {
            file::Poll::Adaptive => PollMode::Adaptive,
            file::Poll::Busy => PollMode::Busy,
        },
    }
}

/// The processors of this machine that are online: `0-3,6` in sysfs (cputopology.rst of the kernel's documentation).
fn processors() -> Vec<RangeInclusive<u16>> {
    let listed = std::fs::read_to_string("/sys/devices/system/cpu/online").ok().and_then(|text| {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse().ok()?)
        };
        text.trim().split(',').map(range).collect()
    });
    // Without sysfs (a bare container) the count is the next best.
    let counted = || {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        vec![0..=u16::try_from(count - 1).unwrap_or(u16::MAX)]
    };
    listed.unwrap_or_else(counted)
}

fn zones<'f>(file: &'f File, context: &mut Context<'_>) -> BTreeSet<&'f str> {
    for (name, _) in &file.zones.0 {
        context.check_name("zone", name);
    }
    let count_max = zones::source::ZONES_MAX;
    if let Some((name, _)) = file.zones.0.get(count_max) {
        context.error_at(&name.at, format!("there are {} zones, at most {count_max} are possible", file.zones.0.len()));
    }
    file.zones.names().collect()
}
