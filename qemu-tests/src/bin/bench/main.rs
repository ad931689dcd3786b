//! What `scripts/bench` runs: all measurements of the project in rounds, and one text of results at the end.
//!
//! A speed on a shared machine means nothing by itself. So what is to be compared is measured in turn, several rounds of it, and
//! the ratios are made within a round. Nothing here fails because a number is bad; it fails if one cannot be had.
//!
//! The numbers come from the crates' own benches, whose programs `BENCH_PROGRAMS` names, one a line, and from the switch, which
//! is where the tests expect it. `FLOOR` may name a program that prints what DPDK's bare vhost
//! copy costs: called as `FLOOR vb FRAME_BYTES RING_SIZE FLOWS BURST`, it prints `cyc/f med CYCLES`.

mod bulk;
mod capture;
mod distance;
mod figures;
mod footprint;
mod in_process;
mod latency;
mod lines;
mod peers;
mod publish;
mod results;
mod throughput;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use peers::Kind;
use qemu_tests::tools::{run, workspace};
use results::Results;

const USAGE: &str = "usage: scripts/bench [--short] [--rounds N] [--seconds S] [--only PART]... | scripts/bench --publish\n\
                     parts: in-process, throughput, latency, bulk, memory, idle";
const PARTS: [&str; 6] = ["in-process", "throughput", "latency", "bulk", "memory", "idle"];
/// Those that boot guests, as the tests do: a short run leaves them out.
const WITH_GUESTS: [&str; 2] = ["bulk", "idle"];

/// What is to be run, and with what.
#[derive(Debug)]
pub struct Plan {
    /// Only shows that everything runs.
    pub is_short: bool,
    /// Seconds of one measurement of a throughput.
    pub seconds: f64,
    /// What measures DPDK's vhost copy.
    pub floor: Option<PathBuf>,
    /// Whether DPDK finds huge pages.
    pub has_huge_pages: bool,
    programs: Vec<PathBuf>,
    rounds: usize,
    seconds_idle: u64,
    parts: Vec<String>,
}

/// The bench of the crate `vswitch`.
pub const PIPELINE: &str = "pipeline";

/// The name of the floor's reading beside one of ours.
pub fn floor(name: &str) -> String {
    format!("{name} floor")
}

impl Plan {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let programs = std::env::var("BENCH_PROGRAMS").map_err(|_| "BENCH_PROGRAMS is not set: run scripts/bench")?;
        let mut plan = Self {
            is_short: false,
            seconds: 4.0,
            programs: programs.lines().map(PathBuf::from).collect(),
            floor: std::env::var_os("FLOOR").filter(|name| !name.is_empty()).map(Into::into),
            has_huge_pages: has_huge_pages(),
            rounds: 3,
            seconds_idle: 60,
            parts: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "--short" => (plan.is_short, plan.rounds, plan.seconds, plan.seconds_idle) = (true, 1, 0.4, 10),
                "--rounds" => plan.rounds = value()?.parse().map_err(|_| "--rounds wants a number")?,
                "--seconds" => plan.seconds = value()?.parse().map_err(|_| "--seconds wants a number")?,
                "--only" => plan.parts.push(value()?),
                _ => return Err(format!("unknown option {word}")),
            }
        }
        if std::thread::available_parallelism().is_ok_and(|count| count.get() < 2) {
            return Err("one processor is for the switch and another for its guests, and here is only one".into());
        }
        if let Some(part) = plan.parts.iter().find(|part| !PARTS.contains(&part.as_str())) {
            return Err(format!("unknown part {part}"));
        }
        Ok(plan)
    }

    /// The program of a bench. Cargo puts a hash behind its name.
    pub fn program(&self, bench: &str) -> &Path {
        let is_it = |path: &&PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.rsplit_once('-'));
            name.is_some_and(|(name, _)| name == bench)
        };
        self.programs.iter().find(is_it).unwrap_or_else(|| panic!("BENCH_PROGRAMS names no {bench}"))
    }

    fn has(&self, part: &str) -> bool {
        let is_usual = !(self.is_short && WITH_GUESTS.contains(&part));
        if self.parts.is_empty() { is_usual } else { self.parts.iter().any(|wanted| wanted == part) }
    }
}

/// Whether there are free huge pages for a peer, its guests and the probing guests: 768 of 2 MiB.
fn has_huge_pages() -> bool {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = text.lines().find_map(|line| line.strip_prefix("HugePages_Free:")?.trim().parse::<u64>().ok());
    free.is_some_and(|free| free >= 768)
}

/// When, of what, where and how.
fn heading(plan: &Plan) -> String {
    let git = |words: &[&str]| run(Command::new("git").arg("-C").arg(workspace()).args(words)).trim().to_owned();
    let changed = if git(&["status", "--porcelain"]).is_empty() { "" } else { ", changed" };
    let first_line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpus = first_line("/proc/cpuinfo");
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, it)| it);
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let words: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "date     {}\ncommit   {}{changed}\nmachine  {count} x {model}, Linux {}\nload     {}\nhuge     {}\n\
         floor    {}\ncommand  scripts/bench {}\nrounds   {} of {} s each\n",
        run(Command::new("date").args(["-u", "+%FT%TZ"])).trim(),
        git(&["rev-parse", "--short", "HEAD"]),
        first_line("/proc/sys/kernel/osrelease"),
        first_line("/proc/loadavg"),
        if plan.has_huge_pages { "pages of 2 MiB" } else { "no huge pages: 4 KiB everywhere" },
        if plan.floor.is_some() { "DPDK's vhost copy, measured in turn" } else { "not given" },
        words.join(" "),
        plan.rounds,
        plan.seconds,
    )
}

/// The peers that are here; of those that are not, a note.
fn peers(plan: &Plan, results: &mut Results) -> Vec<Kind> {
    let mut kinds = vec![Kind::DpdkIo, Kind::OvsCt, Kind::Ours];
    kinds.retain(|kind| {
        let lacks = match kind.missing() {
            Some(package) => format!("the package {package} is not installed"),
            None if *kind == Kind::OvsCt && !plan.has_huge_pages => "it cannot run without huge pages".to_owned(),
            None => return true,
        };
        results.note(format!("left out: {}: {lacks}", kind.name()));
        false
    });
    kinds
}

fn measure(plan: &Plan) -> Results {
    let mut results = Results::default();
    let kinds = peers(plan, &mut results);
    for round in 1..=plan.rounds {
        eprintln!("bench: round {round} of {}", plan.rounds);
        if plan.has("in-process") {
            in_process::round(plan, &mut results);
        }
        if plan.has("throughput") {
            throughput::round(plan, &kinds, &mut results);
        }
        if plan.has("latency") {
            latency::round(plan, &kinds, &mut results);
        }
        if plan.has("bulk") {
            bulk::round(plan, &mut results);
        }
    }
    if plan.has("throughput") {
        throughput::further_rounds(plan, &kinds, &mut results);
    }
    if plan.has("memory") {
        footprint::memory(plan, &mut results);
    }
    if plan.has("idle") {
        footprint::idle(plan.seconds_idle, &mut results);
    }
    figures::add(&mut results);
    results
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_some_and(|word| word == "--publish") {
        return publish::publish();
    }
    let plan = match Plan::parse(words) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("bench: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let heading = heading(&plan);
    let text = measure(&plan).text(&heading);
    let path = publish::measured();
    std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("target can be written");
    std::fs::write(&path, &text).expect("target can be written");
    print!("{text}");
    eprintln!("bench: written to {}", path.display());
    ExitCode::SUCCESS
}
