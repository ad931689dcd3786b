//! The process under test, through nothing but what an operator has: its binary, files, command line and `/metrics`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::console::Output;
use crate::metrics::Metrics;
use crate::netns::Netns;
use crate::tools::{run, tail, tethered, wait_until, workspace};

/// Where each lab's switch serves `/metrics`: its own namespace makes the port free in every lab.
pub const METRICS_ADDRESS: &str = "127.0.0.1:9477";

/// How long the switch may take to serve after its start, also on a machine that builds something else meanwhile.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A switch and the folder in which it works.
#[derive(Debug)]
pub struct Switch {
    binary: PathBuf,
    dir: PathBuf,
    /// The namespace it runs in; without one it runs where the test runs, as the demo wants.
    place: Option<Netns>,
    process: Option<Child>,
}

impl Switch {
    /// A switch that is not running yet, with its files in `dir`.
    ///
    /// # Panics
    /// If the binary has not been built.
    pub fn new(dir: &Path, place: Option<Netns>) -> Self {
        let binary =
            std::env::var_os("VSWITCH_BIN").map_or_else(|| workspace().join("target/release/vswitch"), PathBuf::from);
        assert!(binary.is_file(), "{} is missing: run cargo build --release -p vswitch", binary.display());
        Self { binary, dir: dir.to_path_buf(), place, process: None }
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("vswitch.yaml")
    }

    /// Writes the configuration file; the running switch sees it at its next reload.
    pub fn configure(&self, yaml: &str) {
        std::fs::write(self.config_path(), yaml).expect("the lab's folder can be written");
    }

    /// A tethered command in the switch's namespace.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        match &self.place {
            Some(netns) => netns.command(program),
            None => tethered(program),
        }
    }

    /// Starts the process and returns when `/readyz` says yes.
    ///
    /// # Panics
    /// If it ends or does not become ready, with its log.
    pub fn start(&mut self) {
        self.launch(self.command(&self.binary));
    }

    /// As [`Switch::start`], but the process outlives its parent: for the demo, which leaves it to be looked at.
    ///
    /// # Panics
    /// As [`Switch::start`].
    pub fn start_untethered(&mut self) {
        self.launch(Command::new(&self.binary));
    }

    fn launch(&mut self, mut command: Command) {
        let log =
            File::options().append(true).create(true).open(self.log_path()).expect("the lab's folder is writable");
        command.args(["run", "--config"]).arg(self.config_path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        self.process = Some(command.spawn().expect("the switch starts"));
        let ready = wait_until(START_TIMEOUT, || !self.is_running() || self.is_ready());
        assert!(ready && self.is_running(), "the switch is not ready; its log ends:\n{}", self.log_tail());
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    fn is_ready(&self) -> bool {
        self.http("/readyz").is_ok_and(|(status, _)| status == 200)
    }

    /// Ends the process with SIGKILL, as an out-of-memory killer would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Lets go of the process: it goes on when this value is dropped. Returns its id.
    pub fn release(&mut self) -> Option<u32> {
        self.process.take().map(|process| process.id())
    }

    /// The process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(self.process.as_ref().expect("the switch runs"));
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("our own child can be signalled");
    }

    /// Runs `vswitch` with these arguments against the running switch: exit status and all output.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(&self.binary);
        let output = command.args(arguments).env("VSWITCH_RUN_DIR", &self.dir).output().expect("the binary starts");
        let text = [output.stdout, output.stderr].concat();
        Output {
            status: output.status.code().unwrap_or(-1),
            text: String::from_utf8_lossy(&text).trim_end().to_owned(),
        }
    }

    /// `vswitch show WHAT --json`.
    ///
    /// # Panics
    /// If it fails or is not JSON.
    pub fn show(&self, what: &str) -> Value {
        let mut command = self.command(&self.binary);
        let text = run(command.args(["show", what, "--json"]).env("VSWITCH_RUN_DIR", &self.dir));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("show {what} --json: {error}: {text}"))
    }

    /// Ports that a guest is connected to.
    ///
    /// # Panics
    /// If the switch does not tell.
    pub fn connected_ports(&self) -> usize {
        let ports = self.show("ports");
        ports.as_array().expect("a list").iter().filter(|port| port["connected"] == true).count()
    }

    /// `vswitch reload`, which has to be accepted.
    ///
    /// # Panics
    /// If it is refused.
    pub fn reload(&self) {
        let output = self.cli(&["reload"]);
        assert!(output.ok(), "reload failed with {}: {}", output.status, output.text);
    }

    /// One scrape of `/metrics`.
    ///
    /// # Panics
    /// If it cannot be had.
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.metrics_text())
    }

    /// The text of one scrape of `/metrics`.
    ///
    /// # Panics
    /// If it cannot be had.
    pub fn metrics_text(&self) -> String {
        match self.http("/metrics") {
            Ok((200, body)) => body,
            other => panic!("/metrics: {other:?}\n{}", self.log_tail()),
        }
    }

    /// Status code and body of a page.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn http(&self, page: &str) -> std::io::Result<(u16, String)> {
        let address: SocketAddr = METRICS_ADDRESS.parse().expect("a socket address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(1));
        let mut stream = match &self.place {
            Some(netns) => netns.within(connect)?,
            None => connect()?,
        };
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {page} HTTP/1.1\r\nHost: {METRICS_ADDRESS}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((status, body.to_owned()))
    }

    /// All EVE events so far. A last line that is still being written is left out.
    ///
    /// # Panics
    /// On a whole line that is not JSON.
    pub fn eve(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.eve_path()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("EVE: {error}: {line}"));
        whole.lines().map(parse).collect()
    }

    /// Waits up to five seconds for an EVE event for which `wanted` holds.
    pub fn find_eve(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let mut found = None;
        wait_until(Duration::from_secs(5), || {
            found = self.eve().into_iter().find(|event| wanted(event));
            found.is_some()
        });
        found
    }

    /// As [`Switch::find_eve`], where such an event has to come.
    ///
    /// # Panics
    /// If none comes, with the last events.
    pub fn wait_eve(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.find_eve(wanted)
            .unwrap_or_else(|| panic!("no EVE event: {what}; the last ones:\n{}", tail(&self.eve_path(), 10)))
    }

    /// Where EVE events go.
    pub fn eve_path(&self) -> PathBuf {
        self.dir.join("eve.json")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("vswitch.log")
    }

    /// The end of the switch's log.
    pub fn log_tail(&self) -> String {
        tail(&self.log_path(), 25)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.kill();
    }
}
