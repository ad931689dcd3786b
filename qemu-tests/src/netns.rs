//! A network namespace without a name: it lives as long as one process that sleeps in it, so nothing is left behind.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crate::tools::{run, shell, succeeds, tethered, wait_until};

/// A network namespace of the lab, gone with its last process when this value is dropped.
#[derive(Debug)]
pub struct Netns {
    holder: Child,
}

impl Netns {
    /// A new namespace with nothing in it but a loopback interface that is up.
    ///
    /// # Panics
    /// If namespaces cannot be made here.
    pub fn new() -> Self {
        let holder = tethered("unshare").args(["--net", "sleep", "infinity"]).spawn().expect("unshare starts");
        let ours = std::fs::read_link("/proc/self/ns/net").expect("/proc has namespaces");
        let theirs = format!("/proc/{}/ns/net", holder.id());
        let apart = wait_until(Duration::from_secs(5), || {
            std::fs::read_link(&theirs).is_ok_and(|ns| ns != ours) && !holds_setpriv(holder.id())
        });
        assert!(apart, "no new network namespace: is CAP_SYS_ADMIN missing?");
        let netns = Self { holder };
        netns.run("ip link set lo up");
        netns
    }

    /// The process id that stands for this namespace, as `ip link set X netns PID` takes it.
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A tethered command that will run in this namespace.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = tethered("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg("--").arg(program.as_ref());
        command
    }

    /// Runs a line of shell in the namespace and returns what it printed.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, line: &str) -> String {
        run(shell(&mut self.command("sh"), line))
    }

    /// Whether a line of shell succeeds in the namespace.
    pub fn try_run(&self, line: &str) -> bool {
        succeeds(shell(&mut self.command("sh"), line))
    }

    /// Calls `f` on a thread that has moved into the namespace: a socket made there stays a socket of the namespace.
    ///
    /// # Errors
    /// Those of `f`, and those of entering the namespace.
    pub fn within<T: Send>(&self, f: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let target = File::open(format!("/proc/{}/ns/net", self.pid()))?;
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(target.as_fd(), Some(kind))?;
                f()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Default for Netns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // A failure here means that it is dead already, which is what is wanted.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Whether the process is still on its way to `sleep`: only then has its last `exec` happened.
fn holds_setpriv(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() != "sleep")
}
