//! The switches that are measured side by side, each with the same two ports, on the same processor.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use qemu_tests::netns::Netns;
use qemu_tests::switch::{METRICS_ADDRESS, Switch};
use qemu_tests::testpmd::Testpmd;
use qemu_tests::tools::{find_program, run, tail, tethered, wait_until, workspace};

/// Where Debian keeps the build of Open vSwitch that has the DPDK datapath.
const OVS_BINARY: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";

/// A stateful firewall: UDP and TCP to port 9000 may be opened, answers pass, the rest is dropped.
const OVS_FLOWS: &str = "\
table=0,priority=100,arp actions=NORMAL
table=0,priority=90,ip actions=ct(table=1)
table=0,priority=0 actions=drop
table=1,priority=100,ip,ct_state=+trk+est actions=NORMAL
table=1,priority=90,ip,ct_state=+trk+new,udp,tp_dst=9000 actions=ct(commit),NORMAL
table=1,priority=90,ip,ct_state=+trk+new,tcp,tp_dst=9000 actions=ct(commit),NORMAL
table=1,priority=0 actions=drop
";

/// Which switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// DPDK's own vhost library, moving frames from one port to the other and looking at nothing.
    DpdkIo,
    /// Open vSwitch with the DPDK datapath and a stateful access list by connection tracking.
    OvsCt,
    /// This one, always polling.
    Ours,
    /// This one, asleep when it has nothing to do.
    OursAdaptive,
}

impl Kind {
    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::DpdkIo => "dpdk-io",
            Self::OvsCt => "ovs-ct",
            Self::Ours => "vswitch",
            Self::OursAdaptive => "vswitch-adaptive",
        }
    }

    /// The Debian package that it lacks on this machine.
    pub fn missing(self) -> Option<&'static str> {
        let has = |program: &str| find_program(program).is_some();
        match self {
            Self::DpdkIo if !has("dpdk-testpmd") => Some("dpdk-dev"),
            Self::OvsCt if !Path::new(OVS_BINARY).exists() || !has("ovsdb-tool") => Some("openvswitch-switch-dpdk"),
            _ => None,
        }
    }
}

enum Process {
    DpdkIo(Testpmd),
    OvsCt(Ovs),
    Ours(Box<Switch>),
}

/// A switch that runs. It is ended when dropped.
pub struct Peer {
    /// The sockets of its two ports.
    pub sockets: [PathBuf; 2],
    process: Process,
}

impl Peer {
    /// Starts a switch with its files in `dir`, which is empty, and waits for its sockets.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(kind: Kind, dir: &Path, has_huge_pages: bool) -> Self {
        let (process, sockets) = match kind {
            Kind::DpdkIo => {
                let sockets = ["io0", "io1"].map(|name| dir.join(name));
                (Process::DpdkIo(dpdk_io(dir, &sockets, has_huge_pages)), sockets)
            }
            Kind::OvsCt => (Process::OvsCt(Ovs::start(dir)), ["run/vu0", "run/vu1"].map(|name| dir.join(name))),
            Kind::Ours | Kind::OursAdaptive => {
                let sockets = ["a.sock", "b.sock"].map(|name| dir.join(name));
                (Process::Ours(Box::new(ours(dir, kind == Kind::OursAdaptive))), sockets)
            }
        };
        let peer = Self { sockets, process };
        let there = wait_until(Duration::from_secs(15), || peer.sockets.iter().all(|socket| socket.exists()));
        assert!(there, "{} has no sockets after 15 s", kind.name());
        peer
    }

    /// Forgets the busy cycles so far, where the switch can.
    pub fn forget_cycles(&self) {
        if let Process::OvsCt(ovs) = &self.process {
            run(&mut ovs.ask("dpif-netdev/pmd-stats-clear"));
        }
    }

    /// The switch's own figure of busy cycles per frame since then, or since its start.
    pub fn busy_cycles(&mut self) -> Option<f64> {
        match &mut self.process {
            Process::DpdkIo(testpmd) => {
                testpmd.stop();
                number_behind(&testpmd.text(), "CPU cycles/packet=")
            }
            Process::OvsCt(ovs) => {
                let text = run(&mut ovs.ask("dpif-netdev/pmd-perf-show"));
                number_before(text.lines().find(|line| line.contains("Rx packets:"))?, " cycles/pkt")
            }
            Process::Ours(switch) => switch.show("workers").get(0)?.get("cycles_per_frame")?.as_f64(),
        }
    }
}

fn dpdk_io(dir: &Path, sockets: &[PathBuf; 2], has_huge_pages: bool) -> Testpmd {
    let device = |index: usize| format!("--vdev=net_vhost{index},iface={},client=0", sockets[index].display());
    let memory = if has_huge_pages { "--in-memory" } else { "--no-huge" };
    let environment = ["--lcores", "0@1,1@0", memory, "-m", "256", &device(0), &device(1)];
    // testpmd's own number of buffers wants 340 MB, which `--no-huge` cannot grow to
    let buffers = "--total-num-mbufs=32768";
    let arguments = ["--auto-start", "--nb-cores=1", "--forward-mode=io", "--record-core-cycles", buffers];
    Testpmd::launch("io", dir, &environment, &[&arguments[..], &["--txd=1024", "--rxd=1024"]].concat())
}

/// The configuration of the benchmark, with its files in `dir`.
fn ours(dir: &Path, is_adaptive: bool) -> Switch {
    let path = workspace().join("configs/bench.yaml");
    let text = std::fs::read_to_string(&path).expect("configs/bench.yaml is there");
    let (folder, poll) = ("/tmp/vswitch-bench", "poll: busy");
    assert!(text.contains(folder) && text.contains(poll), "{} is not what it was", path.display());
    let mut text = text.replace(folder, &dir.display().to_string());
    if is_adaptive {
        text = text.replace(poll, "poll: adaptive");
    }
    text += &format!("metrics: {{listen: \"{METRICS_ADDRESS}\"}}\neve: {{path: {}/eve.json}}\n", dir.display());
    let mut switch = Switch::new(dir, Some(Netns::new()));
    switch.configure(&text);
    switch.start();
    switch
}

/// Open vSwitch: its data base and its daemon.
struct Ovs {
    dir: PathBuf,
    processes: Vec<Child>,
}

impl Ovs {
    fn start(dir: &Path) -> Self {
        let mut ovs = Self { dir: dir.to_path_buf(), processes: Vec::new() };
        for folder in ["run", "log", "db"] {
            std::fs::create_dir_all(dir.join(folder)).expect("the folder can be written");
        }
        let (base, socket) = (dir.join("db/conf.db"), dir.join("run/db.sock"));
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        run(ovs.tool("ovsdb-tool").arg("create").arg(&base).arg(schema));
        let database = format!("unix:{}", socket.display());
        ovs.spawn(Command::new("ovsdb-server").arg(format!("--remote=p{database}")).arg(&base), "ovsdb");
        assert!(wait_until(Duration::from_secs(10), || socket.exists()), "{}", tail(&dir.join("log/ovsdb.txt"), 20));
        run(ovs.control().args(["--no-wait", "init"]));
        run(ovs.control().args(["--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true"]).args([
            "other_config:dpdk-lcore-mask=0x2",
            "other_config:pmd-cpu-mask=0x1",
            "other_config:dpdk-socket-mem=256",
            "other_config:dpdk-extra=--no-pci --in-memory",
            "other_config:vhost-sock-dir=.",
        ]));
        ovs.spawn(Command::new(OVS_BINARY).arg(&database), "vswitchd");
        let control = ovs.control_socket("vswitchd");
        let waits = wait_until(Duration::from_secs(10), || control.exists());
        assert!(waits, "{}", tail(&dir.join("log/vswitchd.txt"), 20));
        run(ovs.control().args(["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"]));
        for port in ["vu0", "vu1"] {
            let interface = ["--", "set", "Interface", port, "type=dpdkvhostuser"];
            run(ovs.control().args(["add-port", "br0", port]).args(interface));
        }
        let flows = dir.join("flows");
        std::fs::write(&flows, OVS_FLOWS).expect("the folder can be written");
        run(ovs.tool("ovs-ofctl").args(["del-flows", "br0"]));
        run(ovs.tool("ovs-ofctl").args(["add-flows", "br0"]).arg(flows));
        ovs
    }

    /// One of its tools, which finds this instance by its folders, and does not wait for ever.
    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["20", program]);
        self.in_its_folders(&mut command);
        command
    }

    fn in_its_folders(&self, command: &mut Command) {
        for (variable, folder) in [("OVS_RUNDIR", "run"), ("OVS_LOGDIR", "log"), ("OVS_DBDIR", "db")] {
            command.env(variable, self.dir.join(folder));
        }
    }

    fn control(&self) -> Command {
        let mut command = self.tool("ovs-vsctl");
        command.arg(format!("--db=unix:{}/run/db.sock", self.dir.display()));
        command
    }

    fn control_socket(&self, name: &str) -> PathBuf {
        self.dir.join(format!("run/{name}.control"))
    }

    /// A question to the daemon.
    fn ask(&self, question: &str) -> Command {
        let mut command = self.tool("ovs-appctl");
        command.arg("--target").arg(self.control_socket("vswitchd")).arg(question);
        command
    }

    fn spawn(&mut self, wanted: &Command, name: &str) {
        let log = std::fs::File::create(self.dir.join(format!("log/{name}.txt"))).expect("the folder can be written");
        let mut command = tethered(Path::new(wanted.get_program()));
        command.args(wanted.get_args()).arg(format!("--unixctl={}", self.control_socket(name).display()));
        self.in_its_folders(&mut command);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        self.processes.push(command.spawn().expect("setpriv starts"));
    }
}

impl Drop for Ovs {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The number that stands right behind a text, where that comes last.
fn number_behind(text: &str, label: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once(label)?;
    rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.parse().ok()
}

/// The number that stands right before a text.
fn number_before(text: &str, label: &str) -> Option<f64> {
    let (before, _) = text.split_once(label)?;
    before.rsplit([' ', '(']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_read_from_what_the_peers_print() {
        let testpmd = "  CPU cycles/packet=183.40 (total cycles=9 / total TX packets=1) at 2600 MHz Clock";
        assert_eq!(number_behind(testpmd, "CPU cycles/packet="), Some(183.4));
        let ovs = "  Rx packets:            1024000  (2560 Kpps, 612 cycles/pkt)";
        assert_eq!(number_before(ovs, " cycles/pkt"), Some(612.0));
        assert_eq!(number_before("Rx packets: 0", " cycles/pkt"), None);
    }
}
