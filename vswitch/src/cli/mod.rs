//! The command line. Results go to stdout, messages to stderr, and the exit status says how it went.

pub mod show;
pub mod table;

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;

use crate::config::check::check_command;
use crate::control::client::{self, AskError};
use crate::control::socket::SOCKET_NAME;
use crate::control::{Cause, Request, Response};
use crate::status::Table;

/// A userspace switch that inspects every frame between virtual machines.
#[derive(Debug, Parser)]
#[command(name = "vswitch", version, disable_help_subcommand = true)]
#[command(after_help = "Exit status: 0 success, 1 negative answer, 2 usage or invalid configuration, 3 no daemon.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the switch in the foreground
    Run {
        /// Configuration file
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file, and say everything that is wrong with it
    Check {
        /// Configuration file; `-` reads stdin
        #[arg(value_name = "FILE")]
        config: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what the inspection engine makes of a capture
    Replay(crate::replay::ReplayArguments),
    /// Show what the running switch knows
    Show(ShowArguments),
    /// Have the running switch read its configuration anew
    Reload {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Let a port out of quarantine before its time
    Release {
        /// The port's name
        #[arg(value_name = "PORT")]
        port: String,
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Show the version of this program, and of the running switch if there is one
    Version {
        #[command(flatten)]
        daemon: Daemon,
    },
}

#[derive(Debug, Args)]
struct ShowArguments {
    /// What to show
    #[arg(value_enum)]
    table: Table,
    /// At most so many flows or alerts
    #[arg(long, value_name = "N")]
    max: Option<usize>,
    /// Only flows of this port
    #[arg(long, value_name = "NAME")]
    port: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

/// How to reach the daemon and how to print its answers.
#[derive(Debug, Args)]
struct Daemon {
    /// Run directory of the daemon, as its configuration names it
    #[arg(long, value_name = "DIR", env = "VSWITCH_RUN_DIR", default_value = "/run/vswitch")]
    run_dir: PathBuf,
    /// Control socket of the daemon, if it is not control.sock in the run directory
    #[arg(long, value_name = "PATH", env = "VSWITCH_SOCKET")]
    socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

impl Daemon {
    fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.run_dir.join(SOCKET_NAME))
    }
}

/// Why a command did not do what it was asked for; each cause has its exit status.
#[derive(Debug)]
pub enum Failure {
    /// The answer is no, or something the command needed did not work.
    Negative(String),
    /// The configuration is invalid. The text is what the configuration's reader reports, ready to print.
    InvalidConfiguration(String),
    /// No daemon answers.
    Unreachable(String),
    /// Output could not be written.
    Output(io::Error),
}

impl Failure {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Negative(_) | Self::Output(_) => 1,
            Self::InvalidConfiguration(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Negative(message) | Self::Unreachable(message) => write!(f, "vswitch: {message}"),
            Self::InvalidConfiguration(report) => f.write_str(report.trim_end()),
            Self::Output(error) => write!(f, "vswitch: cannot write: {error}"),
        }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Unreachable(..) | AskError::Lost(_) => Self::Unreachable(error.to_string()),
            AskError::Garbled(_) => Self::Negative(error.to_string()),
        }
    }
}

/// Runs the command that the arguments of the process name.
pub fn main() -> ExitCode {
    // Usage errors end the process in here, with status 2.
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run { config } => crate::daemon::run(&config),
        Command::Check { config, json } => return check_command(&config, json),
        Command::Replay(arguments) => return crate::replay::replay_command(&arguments),
        Command::Show(arguments) => show(&arguments),
        Command::Reload { daemon } => reload(&daemon),
        Command::Release { port, daemon } => release(&daemon, port),
        Command::Version { daemon } => version(&daemon),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to be done if stderr is closed too.
            drop(writeln!(io::stderr(), "{failure}"));
            ExitCode::from(failure.status())
        }
    }
}

fn ask(daemon: &Daemon, request: &Request) -> Result<Value, Failure> {
    match client::ask(&daemon.socket(), request, Duration::from_secs(daemon.timeout))? {
        Response::Ok { result } => Ok(result),
        Response::Error { cause, message } => Err(match cause {
            Cause::InvalidConfiguration | Cause::NeedsRestart => Failure::InvalidConfiguration(message),
            Cause::BadRequest | Cause::NotFound | Cause::Incomplete => Failure::Negative(message),
        }),
    }
}

fn show(arguments: &ShowArguments) -> Result<(), Failure> {
    let request = Request::Show { table: arguments.table, max: arguments.max, port: arguments.port.clone() };
    let result = ask(&arguments.daemon, &request)?;
    if arguments.daemon.json {
        return print_json(&result);
    }
    let text = show::text(arguments.table, result)
        .map_err(|error| Failure::Negative(format!("the daemon's answer makes no sense: {error}")))?;
    print(&text)
}

fn reload(daemon: &Daemon) -> Result<(), Failure> {
    let result = ask(daemon, &Request::Reload {})?;
    if daemon.json {
        return print_json(&result);
    }
    print(&format!("generation {}\n", result["generation"]))
}

fn release(daemon: &Daemon, port: String) -> Result<(), Failure> {
    let result = ask(daemon, &Request::Release { port })?;
    if daemon.json {
        return print_json(&result);
    }
    print(&format!("{} is out of quarantine\n", result["released"].as_str().unwrap_or("it")))
}

fn version(daemon: &Daemon) -> Result<(), Failure> {
    let own = crate::VERSION;
    let running = ask(daemon, &Request::Version {});
    if daemon.json {
        let running = running.unwrap_or(Value::Null);
        return print_json(&serde_json::json!({"version": own, "daemon": running}));
    }
    match running {
        Ok(running) => {
            let (version, generation) = (running["version"].as_str().unwrap_or("?"), &running["generation"]);
            print(&format!("vswitch {own}\nrunning: {version}, generation {generation}\n"))
        }
        Err(_) => print(&format!("vswitch {own}\nrunning: none at {}\n", daemon.socket().display())),
    }
}

fn print_json(value: &Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
