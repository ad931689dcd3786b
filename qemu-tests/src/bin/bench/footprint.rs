//! What the switch takes when it does little: its memory with 64 ports, and its time with four idle guests.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use qemu_tests::netns::Netns;
use qemu_tests::setup::{Member, Setup};
use qemu_tests::switch::{METRICS_ADDRESS, Switch};
use qemu_tests::tools::{process_size_kib, tethered};

use crate::results::Results;
use crate::{PIPELINE, Plan};

/// Sections of the results.
pub const MEMORY: &str = "memory of the running switch with 64 ports";
pub const IDLE: &str = "time of the running switch with four idle Linux guests";

const PORTS: usize = 64;
/// Flows of the default table, and of the largest: far apart, since tables come in huge pages.
const FLOWS: [u64; 2] = [65_536, 4_194_304];

fn sockets(dir: &std::path::Path) -> Vec<PathBuf> {
    (0..PORTS).map(|port| dir.join(format!("p{port}.sock"))).collect()
}

fn start(dir: &std::path::Path, flows: u64) -> Switch {
    let at = dir.display();
    let mut yaml = format!(
        "switch: {{name: bench, run_dir: {at}, workers: [0], poll: adaptive}}\nmetrics: {{listen: \"{METRICS_ADDRESS}\"}}\n\
         eve: {{path: {at}/eve.json}}\nzones:\n  all: {{}}\nports:\n"
    );
    for port in 0..PORTS {
        let _ = writeln!(
            yaml,
            "  - name: p{port}\n    zone: all\n    vhost_user: {{path: {at}/p{port}.sock, mode: server}}\n    \
             port_security: [\"52:54:00:00:01:{port:02x} 10.0.1.{}\"]",
            port + 1
        );
    }
    if flows != FLOWS[0] {
        let _ = writeln!(yaml, "limits: {{flows: {flows}}}");
    }
    let mut switch = Switch::new(dir, Some(Netns::new()));
    switch.configure(&yaml);
    switch.start();
    switch
}

/// A size that the kernel tells of the switch, in bytes.
fn status(switch: &Switch, name: &str) -> f64 {
    process_size_kib(switch.pid().expect("the switch runs"), name) * 1_024.0
}

/// Memory with all ports, without and with guests, and what a larger flow table adds from the start.
pub fn memory(plan: &Plan, results: &mut Results) {
    let mib = |bytes: f64| bytes / 1_048_576.0;
    let mut sizes = Vec::new();
    for flows in FLOWS {
        let dir = tempfile::Builder::new().prefix("vsw-bench-").tempdir().expect("a temporary folder");
        let switch = start(dir.path(), flows);
        sizes.push(["VmSize", "VmRSS"].map(|name| status(&switch, name)));
        if flows != FLOWS[0] {
            continue;
        }
        results.add(MEMORY, "resident, no guest", "MiB", mib(status(&switch, "VmRSS")));
        results.add(MEMORY, "of these, its own (RssAnon)", "MiB", mib(status(&switch, "RssAnon")));
        let mut command = tethered(plan.program(PIPELINE));
        command.arg("hold").args(sockets(dir.path())).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut guests = command.spawn().expect("setpriv starts");
        let mut line = String::new();
        let output = guests.stdout.take().expect("piped above");
        std::io::BufReader::new(output).read_line(&mut line).expect("the guests say that they are there");
        let all = qemu_tests::tools::wait_until(Duration::from_secs(10), || switch.connected_ports() == PORTS);
        assert!(all, "{} of {PORTS} guests are connected; {line:?}", switch.connected_ports());
        results.add(MEMORY, "resident, 64 guests", "MiB", mib(status(&switch, "VmRSS")));
        results.add(MEMORY, "of these, its own (RssAnon), 64 guests", "MiB", mib(status(&switch, "RssAnon")));
        let _ = guests.kill();
        let _ = guests.wait();
    }
    let flows = (FLOWS[1] - FLOWS[0]) as f64;
    results.add(MEMORY, "per flow, reserved at start", "bytes", (sizes[1][0] - sizes[0][0]) / flows);
    results.add(MEMORY, "per flow, resident from the start", "bytes", (sizes[1][1] - sizes[0][1]) / flows);
}

/// Nanoseconds on a processor so far, of all threads of a process (the first field of `schedstat`).
fn cpu_ns(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.flatten().filter_map(of_task).sum()
}

/// Time with four Linux guests that have booted, have spoken to each other, and do nothing more.
pub fn idle(seconds: u64, results: &mut Results) {
    let members = [Member::web1(), Member::web2(), Member::db1(), Member::db2()];
    let mut lab = members.into_iter().fold(Setup::new(), Setup::guest).start();
    assert!(lab.guest("web1").can_ping(Member::web2().ip, 5), "the rings are in use");
    lab.settled();
    std::thread::sleep(Duration::from_secs(2));
    let pid = lab.switch.pid().expect("the switch runs");
    let (before, start) = (cpu_ns(pid), std::time::Instant::now());
    std::thread::sleep(Duration::from_secs(seconds));
    let share = (cpu_ns(pid) - before) as f64 / start.elapsed().as_nanos() as f64;
    results.add(IDLE, &format!("share of a core over {seconds} s"), "percent", share * 100.0);
}
