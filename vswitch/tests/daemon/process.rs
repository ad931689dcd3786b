//! The daemon as a process in a folder of its own, and what an operator does to it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A folder with a configuration, and the daemon that runs by it.
pub(crate) struct Daemon {
    dir: TempDir,
    process: Option<Child>,
    pages: SocketAddr,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self {
            status: output.status.code().expect("not ended by a signal"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Daemon {
    /// A folder without a configuration yet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let pages = free.local_addr().expect("bound");
        Self { dir, process: None, pages }
    }

    /// A running daemon with two guest ports.
    pub(crate) fn running() -> Self {
        let mut daemon = Self::new();
        daemon.configure(&daemon.yaml(&["web1", "db1"], RULES));
        daemon.start();
        daemon
    }

    /// A configuration with these guest ports, named for their zones.
    pub(crate) fn yaml(&self, ports: &[&str], rules: &str) -> String {
        let dir = self.dir.path().display();
        let mut yaml = format!(
            "switch: {{name: test, run_dir: {dir}/run, workers: [0]}}\n\
             metrics: {{listen: \"{}\"}}\n\
             eve: {{path: {dir}/eve.json}}\n\
             zones:\n  web: {{intra_zone: allow}}\n  db: {{intra_zone: drop}}\n\
             ports:\n",
            self.pages
        );
        for (port, number) in ports.iter().zip(1..) {
            let zone = port.trim_end_matches(char::is_numeric);
            yaml += &format!(
                "  - name: {port}\n    zone: {zone}\n    vhost_user: {{path: {dir}/{port}.sock}}\n    \
                 port_security: [\"52:54:00:00:00:0{number} 10.0.0.{number}\"]\n"
            );
        }
        yaml + &format!("policy:\n  default: drop\n  rules:\n{rules}")
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, yaml: &str) {
        std::fs::write(self.config(), yaml).expect("writable");
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.path("vswitch.yaml")
    }

    /// A file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn start(&mut self) {
        self.launch();
        wait_for("ready", || {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().expect("our child"));
            assert!(ended.is_none(), "the daemon ended: {}", self.log());
            self.get("/readyz").is_some_and(|(status, _)| status == 200)
        });
    }

    /// Starts the daemon.
    pub(crate) fn launch(&mut self) {
        let log = std::fs::File::create(self.path("log")).expect("writable");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vswitch"));
        command.arg("run").arg("--config").arg(self.config());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("the binary starts"));
    }

    /// The exit status of the daemon, once it has ended.
    pub(crate) fn wait(&mut self) -> i32 {
        let mut status = None;
        let process = self.process.as_mut().expect("started");
        wait_for("the end", || {
            status = process.try_wait().expect("our child");
            status.is_some()
        });
        self.process = None;
        status.and_then(|status| status.code()).expect("not ended by a signal")
    }

    /// The daemon's process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("running").id()
    }

    /// What the daemon has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Sends the daemon a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id().cast_signed()).expect("not 0");
        kill_process(pid, signal).expect("our child");
    }

    /// Runs a command against the daemon.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vswitch"));
        command.args(arguments).env("VSWITCH_RUN_DIR", self.path("run"));
        command.output().expect("the binary starts").into()
    }

    /// Rows of `show --json`.
    pub(crate) fn show(&self, table: &str) -> Value {
        let ended = self.cli(&["show", table, "--json"]);
        assert_eq!((ended.status, ended.err.as_str()), (0, ""), "show {table}");
        serde_json::from_str(&ended.out).expect("JSON")
    }

    /// A connection to the pages.
    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.pages)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// What the pages answer to these bytes; nothing when the connection is cut.
    pub(crate) fn http(&self, request: &[u8]) -> std::io::Result<String> {
        let mut stream = self.connect()?;
        stream.write_all(request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8(answer).expect("text"))
    }

    /// Status and body of a page; none when nobody answers.
    pub(crate) fn get(&self, page: &str) -> Option<(u16, String)> {
        let answer = self.http(format!("GET {page} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The value of one series of a scrape.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let (status, text) = self.get("/metrics").expect("the pages answer");
        assert_eq!(status, 200);
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    /// What the control socket answers to these bytes.
    pub(crate) fn control(&self, request: &[u8]) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.path("run/control.sock"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// The rules of [`Daemon::running`].
pub(crate) const RULES: &str = "    - {name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}\n";
