//! DPDK's testpmd as a guest: a poll-mode virtio driver in a process of its own, quite unlike Linux's.
//!
//! It needs no hugepages: `--no-huge` backs its memory with one memfd, which vhost-user can share.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use crate::tools::{check_program, tail, tethered, wait_until};

/// A testpmd with one virtio-user port, killed when dropped.
#[derive(Debug)]
pub struct Testpmd {
    process: Child,
    input: ChildStdin,
    log: PathBuf,
}

/// What a testpmd counted at its port since it started forwarding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames that it received.
    pub received: u64,
    /// Frames that it sent.
    pub sent: u64,
}

impl Testpmd {
    /// Starts a testpmd on the socket of a port, with its hardware address and further arguments (`--forward-mode=`…).
    ///
    /// # Panics
    /// If it is not installed or cannot be started.
    pub fn start(name: &str, dir: &Path, socket: &Path, mac: &str, queue_size: u16, arguments: &[&str]) -> Self {
        let device = format!("--vdev=net_virtio_user0,path={},mac={mac},queue_size={queue_size}", socket.display());
        let environment = ["--lcores", "0@0,1@1", "--no-huge", "-m", "256", "--single-file-segments", &device];
        let rings = [format!("--txd={queue_size}"), format!("--rxd={queue_size}")];
        let mut all = vec!["--nb-cores=1", "--total-num-mbufs=8192", &rings[0], &rings[1]];
        all.extend(arguments);
        Self::launch(name, dir, &environment, &all)
    }

    /// Starts a testpmd with any devices: arguments of DPDK's environment (`--vdev=`…), then its own (`--forward-mode=`…).
    ///
    /// # Panics
    /// If it is not installed or cannot be started.
    pub fn launch(name: &str, dir: &Path, environment: &[&str], arguments: &[&str]) -> Self {
        check_program("dpdk-testpmd", "dpdk-dev");
        let log = dir.join(format!("{name}.testpmd"));
        let file = std::fs::File::create(&log).expect("the lab's folder can be written");
        // stdbuf: into a file it would print by the block, and "Done." would never be seen
        let mut process = tethered("stdbuf")
            .args(["-oL", "dpdk-testpmd", "--no-pci", "--no-telemetry"])
            .arg(format!("--file-prefix={name}{}", std::process::id()))
            .args(environment)
            .args(["--", "-i"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a file can be shared"))
            .stderr(file)
            .spawn()
            .expect("setpriv starts");
        let input = process.stdin.take().expect("piped above");
        let testpmd = Self { process, input, log };
        testpmd.wait_for("testpmd>", 1);
        testpmd
    }

    /// Types a line.
    ///
    /// # Panics
    /// If testpmd has ended.
    pub fn command(&mut self, line: &str) {
        let sent = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
        assert!(sent.is_ok(), "testpmd has ended:\n{}", self.report());
    }

    /// Stops forwarding and returns the totals that testpmd then prints.
    ///
    /// # Panics
    /// If it does not print them.
    pub fn stop(&mut self) -> PortStats {
        self.command("stop");
        self.wait_for("Done.", 1);
        let text = self.text();
        // "RX-packets: 12   RX-dropped: 0   RX-total: 12", and the same with TX, in the block of the only port
        let block = text.rsplit_once("Forward statistics for port 0").map_or("", |(_, block)| block);
        let number = |label: &str| {
            let after = block.split_once(label).map(|(_, after)| after.trim_start());
            after.and_then(|after| after.split_whitespace().next()).and_then(|word| word.parse().ok())
        };
        match (number("RX-packets:"), number("TX-packets:")) {
            (Some(received), Some(sent)) => PortStats { received, sent },
            _ => panic!("testpmd printed no totals:\n{}", self.report()),
        }
    }

    /// All that it printed so far.
    pub fn text(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until it has printed a text so many times.
    ///
    /// # Panics
    /// If that takes too long.
    pub fn wait_for(&self, text: &str, count: usize) {
        let seen = wait_until(Duration::from_secs(60), || self.text().matches(text).count() >= count);
        assert!(seen, "testpmd did not print {text:?}:\n{}", self.report());
    }

    /// The end of what it printed.
    pub fn report(&self) -> String {
        tail(&self.log, 30)
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
