//! One virtual machine: a real Linux on QEMU's emulated processor, with one vhost-user network card.
//!
//! Emulated (TCG) because the machines that run these tests cannot be counted on to nest virtualisation. `vectors=0` on
//! the card because QEMU 7.2 under TCG crashes when a vhost-user card uses MSI-X; the rings are the same either way.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use crate::console::{Console, Output};
use crate::image::{Image, READY};
use crate::qmp::Qmp;
use crate::tools::{stack_counter, tail, tethered, wait_until};

/// How long a guest may take from power-on to its shell. It takes about four seconds on an idle core.
const BOOT_TIMEOUT: Duration = Duration::from_secs(90);
/// How long one shell command may take, unless the caller says otherwise.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Which side of the vhost-user socket QEMU is; the switch is the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QemuRole {
    /// QEMU dials the switch's socket, and dials again each second when the switch is gone (`mode: server`).
    Client,
    /// QEMU listens and does not start the guest before the switch has come (`mode: client`).
    Server,
}

/// What a guest is made of.
#[derive(Clone, Debug)]
pub struct GuestConfig {
    /// The name of the guest, and of its port.
    pub name: String,
    /// The card's hardware address.
    pub mac: String,
    /// IPv4 and IPv6 addresses with prefix lengths.
    pub addresses: Vec<String>,
    /// Default next hops, at most one of each family.
    pub gateways: Vec<String>,
    /// The vhost-user socket.
    pub socket: PathBuf,
    /// Which side of it QEMU is.
    pub role: QemuRole,
    /// Entries in each ring, if not QEMU's default of 256.
    pub queue_size: Option<u16>,
    /// Pairs of rings, and processors to use them.
    pub queue_pairs: u16,
    /// Further properties of the card, as `,csum=off,mrg_rxbuf=off`.
    pub card_options: String,
    /// Guest memory in MiB.
    pub memory_mib: u32,
    /// A folder for the sockets and logs of this guest.
    pub dir: PathBuf,
}

/// A guest that was started. Dropping it kills its QEMU.
#[derive(Debug)]
pub struct Guest {
    config: GuestConfig,
    qemu: Child,
    console: Console,
}

impl Guest {
    /// Powers the machine on and returns at once; [`Guest::wait_ready`] waits for its shell.
    ///
    /// # Panics
    /// If QEMU cannot be started.
    pub fn start(config: GuestConfig) -> Self {
        let (qemu, console) = power_on(&config);
        Self { config, qemu, console }
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The first IPv4 address, without its prefix length.
    pub fn ip(&self) -> &str {
        self.address(|address| !address.contains(':'))
    }

    /// The first IPv6 address, without its prefix length.
    pub fn ip6(&self) -> &str {
        self.address(|address| address.contains(':'))
    }

    /// The card's hardware address as configured.
    pub fn mac(&self) -> &str {
        &self.config.mac
    }

    fn address(&self, wanted: impl Fn(&str) -> bool) -> &str {
        let found = self.config.addresses.iter().find(|address| wanted(address));
        let found = found.unwrap_or_else(|| panic!("{} has no such address", self.config.name));
        found.split('/').next().unwrap_or(found)
    }

    /// Waits until the guest has booted and its shell reads.
    ///
    /// # Panics
    /// If it does not within a minute and a half, with the end of its console.
    pub fn wait_ready(&mut self) {
        if let Err(error) = self.console.wait_for(READY, BOOT_TIMEOUT) {
            self.fail(&format!("{error}, while booting"));
        }
    }

    /// Runs a line of shell in the guest; what it does to the shell stays.
    ///
    /// # Panics
    /// If the guest does not answer. A command that fails is an answer.
    pub fn run(&mut self, line: &str) -> Output {
        self.run_for(line, COMMAND_TIMEOUT)
    }

    /// As [`Guest::run`], with a time of one's own.
    ///
    /// # Panics
    /// If the guest does not answer in time.
    pub fn run_for(&mut self, line: &str, timeout: Duration) -> Output {
        match self.console.run(line, timeout) {
            Ok(output) => output,
            Err(error) => self.fail(&format!("`{line}`: {error}")),
        }
    }

    /// Runs a line of shell that has to succeed, and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    pub fn must(&mut self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.ok(), "{}: `{line}` failed with {}: {}", self.config.name, output.status, output.text);
        output.text
    }

    /// Pings `address` with one echo request per second, at most `count` of them; true at the first answer.
    pub fn can_ping(&mut self, address: &str, count: u32) -> bool {
        (0..count).any(|_| self.run(&format!("ping -c 1 -W 1 -w 1 {address}")).ok())
    }

    /// Starts a TCP service that sends back and records in [`Guest::received`] all it gets, until the guest ends.
    pub fn serve_tcp(&mut self, port: u16) {
        self.must(&format!("touch /tmp/received.{port}"));
        self.must(&format!("nc -ll -p {port} -e tee -a /tmp/received.{port} >/dev/null 2>&1 &"));
        let listens = format!("netstat -ltn | grep -q ':{port} '");
        assert!(
            wait_until(Duration::from_secs(5), || self.run(&listens).ok()),
            "{}: nothing listens on TCP port {port}",
            self.config.name
        );
    }

    /// All that the service on `port` has got.
    pub fn received(&mut self, port: u16) -> String {
        self.must(&format!("cat /tmp/received.{port}"))
    }

    /// Sends `text` to a [`Guest::serve_tcp`] service; true if the same text came back within `seconds`.
    pub fn echo_tcp(&mut self, address: &str, port: u16, text: &str, seconds: u32) -> bool {
        let line = format!("printf '%s\\n' '{text}' | timeout {seconds} nc -w {seconds} {address} {port}");
        self.run_for(&line, COMMAND_TIMEOUT + Duration::from_secs(seconds.into())).text == text
    }

    /// A counter of the guest's own network stack, as `Icmp: InEchos` of `/proc/net/snmp`.
    ///
    /// # Panics
    /// If there is no such counter.
    pub fn snmp(&mut self, group: &str, counter: &str) -> u64 {
        stack_counter(&self.must("cat /proc/net/snmp"), group, counter)
    }

    /// A conversation with this guest's QEMU.
    pub fn qmp(&self) -> Qmp {
        Qmp::connect(&self.config.dir.join(self.file("qmp")), Duration::from_secs(10))
    }

    /// Presses the reset button and waits until the guest has booted again.
    pub fn reset(&mut self) {
        self.qmp().command("system_reset");
        self.wait_ready();
    }

    /// Kills the machine without a word to the guest or to the switch.
    pub fn kill(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }

    /// Stops the machine in mid-air: its processors stand still, and its QEMU says nothing to anybody.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// Lets a frozen machine go on.
    pub fn thaw(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.qemu);
        rustix::process::kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// Powers a killed machine on again.
    pub fn start_again(&mut self) {
        self.kill();
        (self.qemu, self.console) = power_on(&self.config);
    }

    /// Whether QEMU still runs; a crash of QEMU is the switch's doing until proven otherwise.
    pub fn is_running(&mut self) -> bool {
        matches!(self.qemu.try_wait(), Ok(None))
    }

    /// The end of the guest's console and of what QEMU said, for the report of a failed test.
    pub fn report(&self) -> String {
        let (console, qemu) = (self.config.dir.join(self.file("console")), self.config.dir.join(self.file("qemu")));
        format!("--- {}: console\n{}\n--- its QEMU\n{}", self.config.name, tail(&console, 15), tail(&qemu, 15))
    }

    fn file(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.config.name)
    }

    fn fail(&mut self, what: &str) -> ! {
        let state = if self.is_running() { "QEMU runs" } else { "QEMU has ended" };
        panic!("{}: {what} ({state})\n{}", self.config.name, self.report())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts QEMU and connects to the serial line at once: what a guest says while nobody listens is lost.
fn power_on(config: &GuestConfig) -> (Child, Console) {
    let mut qemu = start_qemu(config, &Image::prepare());
    let serial = config.dir.join(format!("{}.serial", config.name));
    match Console::connect(&serial, Duration::from_secs(10)) {
        Ok(console) => (qemu, console),
        Err(error) => {
            let _ = qemu.kill();
            panic!("{}: {error}\n{}", config.name, tail(&config.dir.join(format!("{}.qemu", config.name)), 15))
        }
    }
}

fn start_qemu(config: &GuestConfig, image: &Image) -> Child {
    let path = |suffix: &str| config.dir.join(format!("{}.{suffix}", config.name)).display().to_string();
    let log = std::fs::File::create(path("qemu")).expect("the lab's folder can be written");
    let memory = config.memory_mib;
    let dial = match config.role {
        QemuRole::Client => "reconnect=1",
        QemuRole::Server => "server=on",
    };
    let mut card = format!("virtio-net-pci,netdev=net,vectors=0,romfile=,mac={}", config.mac);
    if let Some(size) = config.queue_size {
        card += &format!(",rx_queue_size={size},tx_queue_size={size}");
    }
    if config.queue_pairs > 1 {
        card += ",mq=on";
    }
    card += &config.card_options;

    let mut qemu = tethered("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"])
        .args(["-M", "q35,memory-backend=ram", "-smp", &config.queue_pairs.to_string(), "-m", &memory.to_string()])
        .args(["-object", &format!("memory-backend-memfd,id=ram,size={memory}M,share=on")])
        .arg("-kernel")
        .arg(&image.kernel)
        .arg("-initrd")
        .arg(&image.initrd)
        .args(["-append", &command_line(config)])
        .args(["-chardev", &socket("serial", &path("serial"), Some(&path("console")))])
        .args(["-serial", "chardev:serial"])
        .args(["-chardev", &socket("qmp", &path("qmp"), None), "-mon", "chardev=qmp,mode=control"])
        .args(["-chardev", &format!("socket,id=port,path={},{dial}", config.socket.display())])
        .args(["-netdev", &format!("vhost-user,id=net,chardev=port,queues={}", config.queue_pairs), "-device", &card])
        .stdout(log.try_clone().expect("a file can be shared"))
        .stderr(log);
    for stale in ["serial", "qmp"] {
        remove(Path::new(&path(stale)));
    }
    qemu.spawn().expect("setpriv starts")
}

/// A chardev on which QEMU listens without waiting for anybody.
fn socket(id: &str, path: &str, log: Option<&str>) -> String {
    let log = log.map(|path| format!(",logfile={path}")).unwrap_or_default();
    format!("socket,id={id},path={path},server=on,wait=off{log}")
}

fn command_line(config: &GuestConfig) -> String {
    // panic=-1: a guest whose init ends starts anew at once instead of hanging silently.
    // no_timer_check: an emulated processor that gets too little time at boot takes its timer for broken, and gives up.
    format!(
        "console=ttyS0 loglevel=1 panic=-1 no_timer_check guest.ip={} guest.gateway={}",
        config.addresses.join(","),
        config.gateways.join(",")
    )
}

/// A socket that is not there needs no removing; any other trouble shows when QEMU binds it.
fn remove(socket: &Path) {
    let _ = std::fs::remove_file(socket);
}
