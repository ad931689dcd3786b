//! `vswitch replay`: the inspection engine over a capture, without a switch around it.
//!
//! The same engine, with the same reassembly and the same verdicts, sees the capture's packets as if they went between two
//! ports. What it finds is written as EVE lines; how fast it was, in the engine's own CPU time, is said at the end.
//!
//! # Where it answers otherwise than Suricata 8
//!
//! Each is a choice, and in `ips` mode none but the first lets pass what Suricata stops:
//!
//! * A connection whose beginning is not in the capture is looked at packet by packet, unless `--midstream` follows it. A switch
//!   refuses it, as Suricata's default for inline use does.
//! * Packets that no receiver takes, or that two could read in two ways, are refused before any signature sees them: wrong
//!   checksums and lengths, a time to live of 0, routing headers, options that route. Suricata looks at them all the same.
//! * Bytes are looked at when they come, in `ids` mode too, where Suricata waits until they are acknowledged: `pcap_cnt` and the
//!   counts in an alert's `flow` are those of that packet. A pattern that a packet and the stream both show is one match.
//! * The first bytes for a place in a stream are those that count, whatever system their receiver runs. What lies behind a
//!   hole is looked at once its receiver acknowledges it; nobody reads it before.
//! * A `pass` that concerns a flow takes it out of inspection: no record tells what it says from there on.
//! * Bodies are looked at to their end; Suricata's sample configuration stops at 100 KiB.
//! * An SMB write over what was written before is an anomaly and begins a new file, which is looked at; Suricata ignores its
//!   bytes, though a server takes them.
//! * An anomaly belongs to the side whose bytes show it. Suricata shows it to rules of both directions, so that a rule
//!   without a direction matches twice, and one for the other direction once.
//! * A RST that its receiver must obey (RFC 5961) ends the connection, and what follows is no part of it; Suricata takes some
//!   for injected and reads on. Of several SYNs the last is the connection's, and data in a SYN is taken only whole.
//! * `stream-event` and `decode-event` rules are refused, as their events are Suricata's own; what is refused is counted by
//!   cause at the end, and is a `drop` record of the switch's.
//! * A further change of protocol while one is under way (an HTTP upgrade within SMTP's STARTTLS) is no anomaly.
//! * What a sender wrote that acts upon a terminal is written out (`\x1b`) in records, not only escaped as JSON wants it.

mod capture;
mod ending;
mod flows;
mod link;
mod player;
mod record;
#[cfg(test)]
mod tests;
mod tunnel;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use inspect::file_hashes::{FileChecks, FileLimits, HashListBuilder, ListAction};
use inspect::inspector::{Mode, Settings};
use inspect::record::Wanted;
use inspect::signature::{Loaded, RuleFile, RuleSet, Vars};
use inspect::wire::{Checksums, Malformed};

use crate::eve::settings::{EveSettings, EventType, EventTypes};
use crate::{hash_lines, rule_file};
use capture::{Capture, CaptureError};
use player::{Player, Tally};
use record::{Record, What};

/// Bytes of packets that are read before the engine gets them, so that reading does not count as the engine's time.
const BATCH_BYTES: usize = 4 << 20;

/// Frames that show whether a capture's checksums mean anything.
const CHECKSUM_SAMPLE_FRAMES: usize = 1000;

/// Refused rules that are told one by one.
const REFUSALS_TOLD_MAX: usize = 20;

/// What to replay and how.
#[derive(Clone, Debug, Args)]
pub struct ReplayArguments {
    /// Capture file, pcap or pcapng
    #[arg(value_name = "CAPTURE")]
    pub capture: PathBuf,
    /// File with rules in Suricata's language; may be given several times
    #[arg(long = "rule-file", value_name = "FILE")]
    pub rule_files: Vec<PathBuf>,
    /// Variable for the rules, such as HOME_NET=[10.0.0.0/8]; may be given several times
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub vars: Vec<(String, String)>,
    /// File with hashes of files, one a line; may be given several times
    #[arg(long = "file-hashes", value_name = "FILE")]
    pub file_hashes: Vec<PathBuf>,
    /// Whether signatures only report (ids) or stop packets too (ips)
    #[arg(long, value_enum, default_value_t = ReplayMode::Ids)]
    pub mode: ReplayMode,
    /// Follow TCP connections whose beginning is not in the capture
    #[arg(long)]
    pub midstream: bool,
    /// Whether TCP segments with wrong checksums are left out; if not given, they are unless most have such, as in captures
    /// taken on the sending machine
    #[arg(long, value_enum, value_name = "on|off")]
    pub checksum_validation: Option<Switch>,
    /// File for the events, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub eve: Option<PathBuf>,
    /// Kinds of events: alert, drop, flow, anomaly, http, dns, tls, ssh, smtp, ftp, smb, dhcp, fileinfo, stats (once, at the
    /// end), with commas between
    #[arg(long, value_name = "TYPES", value_delimiter = ',', value_parser = event_type, default_values = ["alert", "drop"])]
    pub eve_types: Vec<EventType>,
}

fn event_type(text: &str) -> Result<EventType, String> {
    EventType::from_name(text).ok_or_else(|| "no such kind of event".to_owned())
}

/// Suricata's words for [`Mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReplayMode {
    /// Report only.
    Ids,
    /// Stop what `drop` signatures match.
    Ips,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim_start_matches('$').to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

/// Why a replay did not take place, or not to its end.
#[derive(Debug)]
pub enum ReplayError {
    /// A file cannot be read.
    Read(PathBuf, io::Error),
    /// No rule of the files could be loaded.
    NoRules,
    /// The capture is damaged; what comes before the damage was played.
    Capture(PathBuf, CaptureError),
    /// A line of a list of hashes is not understood.
    Hashes(String),
    /// The events cannot be written.
    Write(PathBuf, io::Error),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Hashes(fault) => f.write_str(fault),
            Self::NoRules => f.write_str("none of the rules could be loaded"),
            Self::Capture(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Write(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Runs the command: exit status 0, or 2 when something cannot be read, loaded or written.
pub fn replay_command(arguments: &ReplayArguments) -> ExitCode {
    match replay(arguments, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done if stderr is closed too.
            drop(writeln!(io::stderr(), "vswitch: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Replays a capture. Messages go to `messages`, the summary to `summary`.
///
/// # Errors
/// Something cannot be read, loaded or written.
pub fn replay(
    arguments: &ReplayArguments,
    summary: &mut dyn Write,
    messages: &mut dyn Write,
) -> Result<(), ReplayError> {
    let rules = load(arguments, messages)?;
    let files = file_checks(arguments)?;
    let path = &arguments.capture;
    let file = File::open(path).map_err(|error| ReplayError::Read(path.clone(), error))?;
    let capture = Capture::open(BufReader::with_capacity(1 << 20, file))
        .map_err(|error| ReplayError::Capture(path.clone(), error))?;
    let settings = Settings {
        mode: match arguments.mode {
            ReplayMode::Ids => Mode::Detect,
            ReplayMode::Ips => Mode::Prevent,
        },
        midstream: arguments.midstream,
        records: if arguments.eve.is_some() { settings_of(arguments).wanted() } else { Wanted::NOTHING },
        ..Settings::default()
    };
    let checksums = match arguments.checksum_validation {
        Some(Switch::On) | None => Checksums::VerifyCaptured,
        Some(Switch::Off) => Checksums::Unchecked,
    };
    let eve = arguments.eve.as_deref().map(create).transpose()?;
    let mut run = Run {
        player: Player::new(&rules, settings, checksums),
        rules: &rules,
        files: files.as_deref(),
        eve,
        types: settings_of(arguments).types,
        time: Duration::ZERO,
        is_sample_due: arguments.checksum_validation.is_none(),
    };
    run.player.judge_files_by(files.as_ref());
    run.player.tell_flows(run.eve.is_some() && run.types.contains(EventType::Flow));
    let played = run.play(capture);
    let written = run.finish();
    // Nobody reads the figures if the output is gone; the events are what counts.
    let _ = tell(run.player.tally(), run.time, summary);
    written.map_err(|error| ReplayError::Write(arguments.eve.clone().unwrap_or_default(), error))?;
    played.map_err(|error| match error {
        PlayError::Capture(error) => ReplayError::Capture(path.clone(), error),
        PlayError::Write(error) => ReplayError::Write(arguments.eve.clone().unwrap_or_default(), error),
    })
}

fn settings_of(arguments: &ReplayArguments) -> EveSettings {
    EveSettings { types: EventTypes::of(&arguments.eve_types), ..EveSettings::default() }
}

fn create(path: &Path) -> Result<BufWriter<File>, ReplayError> {
    File::create(path).map(BufWriter::new).map_err(|error| ReplayError::Write(path.to_owned(), error))
}

/// The lists of hashes, each under its file's name. They drop, where anything does.
fn file_checks(arguments: &ReplayArguments) -> Result<Option<Arc<FileChecks>>, ReplayError> {
    let mut lists = Vec::new();
    for path in &arguments.file_hashes {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let mut list = HashListBuilder::new(name, ListAction::Drop);
        let mut faults = Vec::new();
        hash_lines::read_file(path, &mut list, &mut faults).map_err(|error| ReplayError::Read(path.clone(), error))?;
        if let Some((line, fault)) = faults.first() {
            return Err(ReplayError::Hashes(format!("{}, line {line}: {fault}", path.display())));
        }
        lists.push(list.build());
    }
    Ok((!lists.is_empty()).then(|| Arc::new(FileChecks::new(lists, FileLimits::default()))))
}

fn load(arguments: &ReplayArguments, messages: &mut dyn Write) -> Result<RuleSet, ReplayError> {
    let mut vars = Vars::conventional();
    for (name, value) in &arguments.vars {
        vars.set(name, value);
    }
    let files: Vec<RuleFile> = arguments
        .rule_files
        .iter()
        .map(|path| rule_file::read(path).map_err(|error| ReplayError::Read(path.clone(), error)))
        .collect::<Result<_, _>>()?;
    let Loaded { rules, refused } = RuleSet::compile(&files, &vars);
    // Messages that nobody reads change nothing.
    for refusal in refused.iter().take(REFUSALS_TOLD_MAX) {
        let _ = writeln!(messages, "{refusal}");
    }
    if refused.len() > REFUSALS_TOLD_MAX {
        let _ = writeln!(messages, "and {} more", refused.len() - REFUSALS_TOLD_MAX);
    }
    if !refused.is_empty() {
        let _ = writeln!(messages, "{} rules loaded, {} refused", rules.len(), refused.len());
    }
    if rules.is_empty() && !refused.is_empty() { Err(ReplayError::NoRules) } else { Ok(rules) }
}

enum PlayError {
    Capture(CaptureError),
    Write(io::Error),
}

/// A replay under way.
struct Run<'a> {
    player: Player<'a>,
    rules: &'a RuleSet,
    files: Option<&'a FileChecks>,
    eve: Option<BufWriter<File>>,
    types: EventTypes,
    /// CPU time of the engine so far.
    time: Duration,
    /// The first frames have yet to show whether checksums mean anything.
    is_sample_due: bool,
}

impl Run<'_> {
    fn play(&mut self, mut capture: Capture<impl io::Read>) -> Result<(), PlayError> {
        let (mut packet, mut batch, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let stamp = capture.next(&mut packet);
            if let Ok(Some(stamp)) = &stamp
                && link::to_ethernet(stamp.link, &mut packet).is_some()
            {
                batch.extend_from_slice(&packet);
                ends.push((batch.len(), stamp.at_ns));
            }
            let is_over = !matches!(stamp, Ok(Some(_)));
            if batch.len() >= BATCH_BYTES || is_over {
                self.play_batch(&batch, &ends).map_err(PlayError::Write)?;
                batch.clear();
                ends.clear();
            }
            match stamp {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                Err(error) => return Err(PlayError::Capture(error)),
            }
        }
    }

    fn play_batch(&mut self, batch: &[u8], ends: &[(usize, u64)]) -> io::Result<()> {
        if std::mem::take(&mut self.is_sample_due) && has_meaningless_checksums(batch, ends) {
            self.player.ignore_checksums();
        }
        let before = cpu_time();
        let mut start = 0;
        for &(end, at_ns) in ends {
            self.player.play(&batch[start..end], at_ns);
            start = end;
        }
        self.time += cpu_time().saturating_sub(before);
        self.write()
    }

    fn finish(&mut self) -> io::Result<()> {
        let before = cpu_time();
        self.player.finish();
        self.time += cpu_time().saturating_sub(before);
        self.write()?;
        let Some(eve) = &mut self.eve else { return Ok(()) };
        if self.types.contains(EventType::Stats) {
            writeln!(eve, "{}", self.player.stats_record())?;
        }
        eve.flush()
    }

    fn write(&mut self) -> io::Result<()> {
        let records = self.player.take_records();
        if let Some(eve) = &mut self.eve {
            // What is told of a listed file goes with its alert.
            let is_wanted = |record: &&Record| match (&record.what, record.event_type()) {
                (What::FileInfo(_), _) => self.types.contains(EventType::Alert),
                (_, kind) => kind.is_some_and(|kind| self.types.contains(kind)),
            };
            for record in records.iter().filter(is_wanted) {
                record::write(record, self.rules, self.files, eve)?;
            }
        }
        Ok(())
    }
}

/// Whether the checksums of the first frames say that they were captured before the sending hardware computed them. Frames
/// and share are those of Suricata's automatic choice.
fn has_meaningless_checksums(batch: &[u8], ends: &[(usize, u64)]) -> bool {
    let Some(sample) = ends.get(..CHECKSUM_SAMPLE_FRAMES) else { return false };
    let mut start = 0;
    let mut wrong_count = 0;
    for &(end, _) in sample {
        let parsed = inspect::wire::parse(&batch[start..end], Checksums::VerifyCaptured);
        wrong_count += usize::from(parsed == Err(Malformed::TransportChecksum));
        start = end;
    }
    wrong_count * 10 > sample.len()
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn tell(tally: &Tally, time: Duration, out: &mut dyn Write) -> io::Result<()> {
    let seconds = time.as_secs_f64().max(1e-9);
    writeln!(
        out,
        "{} frames, {} bytes, {} flows; {} frames stopped",
        tally.frames, tally.bytes, tally.flows, tally.stopped
    )?;
    for (why, count) in &tally.refused {
        writeln!(out, "refused: {why} {count}")?;
    }
    writeln!(
        out,
        "engine: {seconds:.3} s, {:.0} frames/s, {:.3} Gbit/s",
        tally.frames as f64 / seconds,
        tally.bytes as f64 * 8.0 / seconds / 1e9
    )
}
