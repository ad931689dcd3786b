//! What must be installed for a lab, and child processes that cannot outlive it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The top of the source tree, where `target/` and `scripts/` are.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Programs that every lab starts, and the Debian package of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("setpriv", "util-linux"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
];

/// Fails the test, with the command that mends it, if this machine cannot run a lab.
///
/// # Panics
/// Without root (namespaces, TAP), `/dev/net/tun`, or one of the programs. A missing tool is a failure and not a
/// skip: a suite that tested nothing must not look like one that passed.
pub fn check_machine() {
    assert!(rustix::process::geteuid().is_root(), "the lab makes network namespaces and a TAP: run it as root");
    assert!(Path::new("/dev/net/tun").exists(), "/dev/net/tun is missing: run scripts/setup, or modprobe tun");
    for (program, package) in PROGRAMS {
        check_program(program, package);
    }
}

/// Fails the test if `program` is not installed, naming the package that has it.
pub fn check_program(program: &str, package: &str) {
    assert!(
        find_program(program).is_some(),
        "{program} is not installed: run scripts/setup, or apt-get install --no-install-recommends {package}"
    );
}

/// Where `program` is. Also looks where Debian keeps the system programs, which may not be on a plain user's PATH.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])
        .map(|dir| Path::new(dir).join(program))
        .find(|candidate| candidate.is_file())
}

/// A command whose process is killed by the kernel when the thread that started it ends, however that happens.
///
/// The chain of `exec`s keeps one process id from the first program to the last, so the `Child` is the program.
pub fn tethered(program: impl AsRef<Path>) -> Command {
    let program = program.as_ref();
    let found = program.to_str().filter(|p| !p.contains('/')).and_then(find_program);
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(found.as_deref().unwrap_or(program)).stdin(Stdio::null());
    command
}

/// Runs `command` to its end.
///
/// # Panics
/// If it cannot be started or fails, with what it wrote on stderr.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Has `sh`, which `command` starts, run a line of shell up to its first failure. The tools of a lab are found also where
/// the caller's PATH lacks the system folders.
pub fn shell<'a>(command: &'a mut Command, line: &str) -> &'a mut Command {
    command.args(["-ec", &format!("PATH=$PATH:/usr/sbin:/sbin; {line}")])
}

/// Whether `command` can be started and succeeds; what it says goes nowhere.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A size that the kernel tells of a process, such as `VmRSS` (`/proc/PID/status`), in KiB.
///
/// # Panics
/// If the process does not run, or the kernel does not tell.
pub fn process_size_kib(pid: u32, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).expect("the kernel tells")
}

/// Asks `condition` until it holds; false when it still does not after `timeout`.
pub fn wait_until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The last `line_count` lines of a file, for the report of a failed test; what is wrong if it cannot be read.
pub fn tail(path: &Path, line_count: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(line_count)..].join("\n")
        }
        Err(error) => format!("({error})"),
    }
}

/// A counter of a network stack, out of the text of its `/proc/net/snmp`: `Icmp`, `InEchos` and so on.
///
/// # Panics
/// If there is no such counter.
pub fn stack_counter(snmp: &str, group: &str, counter: &str) -> u64 {
    // two lines for each group: the names, then the values
    let mut rows = snmp.lines().filter_map(|line| line.strip_prefix(&format!("{group}: ")));
    let (names, values) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
    let found = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == counter);
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or_else(|| panic!("no {group} {counter} in {snmp}"))
}

#[cfg(test)]
mod tests {
    use super::stack_counter;

    #[test]
    fn a_stack_counter_is_found_by_group_and_name() {
        let snmp = "Ip: Forwarding InReceives\nIp: 2 17\nIcmp: InMsgs InErrors InEchos\nIcmp: 4 0 3\n";
        assert_eq!(stack_counter(snmp, "Icmp", "InEchos"), 3);
        assert_eq!(stack_counter(snmp, "Ip", "InReceives"), 17);
    }
}
