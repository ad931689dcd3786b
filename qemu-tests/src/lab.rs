//! The whole lab: a switch, its guests, and outside of it a firewall with a client behind.
//!
//! ```text
//!   namespace "switch"                          namespace "firewall"            namespace "client"
//!   vswitch ── web1 (QEMU)  10.0.1.11                                          198.51.100.10
//!        ├──── db1  (QEMU)  10.0.2.21           10.0.0.1      198.51.100.1        eth0
//!        └──── up0  (TAP) ───────────────────────── TAP ── routes ── veth ──────────┘
//! ```
//! All guests and the firewall share 10.0.0.0/16 and fd00::/64, so guests reach each other without a router and only the
//! switch stands between them. The TAP is the switch's own; once made it is moved into the firewall's namespace.
//!
//! One lab at a time: the lock file in `target/guest` is held from start to drop, whichever runner runs the tests.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::firewall::{FIREWALL_IP, FIREWALL_IP6, Firewall};
use crate::guest::{Guest, GuestConfig};
use crate::metrics::{Books, Metrics};
use crate::netns::Netns;
use crate::setup::{Member, Setup};
use crate::switch::Switch;
use crate::tools::{tail, wait_until, workspace};

/// Waits for other labs on this machine to end.
fn lock() -> File {
    let guest = workspace().join("target/guest");
    std::fs::create_dir_all(&guest).expect("target can be written");
    let lock = File::create(guest.join("lab.lock")).expect("target/guest can be written");
    lock.lock().expect("a lock file can be locked");
    lock
}

/// A running lab. Fields are dropped in this order: guests before their switch, the lock last.
#[derive(Debug)]
pub struct Lab {
    guests: Vec<Guest>,
    /// The switch under test.
    pub switch: Switch,
    firewall: Option<Firewall>,
    setup: Setup,
    dir: TempDir,
    _lock: File,
}

impl Lab {
    pub(crate) fn new(setup: Setup) -> Self {
        let lock = lock();
        let dir = tempfile::Builder::new().prefix("vsw-").tempdir().expect("a temporary folder");
        let place = (!setup.on_this_host).then(Netns::new);
        let switch = Switch::new(dir.path(), place);
        let firewall = setup.firewall.then(Firewall::new);
        let lab = Self { guests: Vec::new(), switch, firewall, setup, dir, _lock: lock };
        lab.write_configuration();
        lab
    }

    /// Starts the switch, again if it was killed, and hands its TAP to the firewall.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_switch(&mut self) {
        if self.setup.on_this_host {
            self.switch.start_untethered();
        } else {
            self.switch.start();
        }
        if let Some(firewall) = &self.firewall {
            firewall.take_tap(&self.switch, self.setup.tap());
        }
    }

    /// Boots all guests that are not running yet, at the same time, and waits for them.
    ///
    /// # Panics
    /// If one does not come up.
    pub fn boot_guests(&mut self) {
        let running_count = self.guests.len();
        self.power_on();
        self.guests[running_count..].iter_mut().for_each(Guest::wait_ready);
    }

    /// Lets the machine of a port that was set up without one be booted, by the next [`Lab::boot_guests`].
    pub fn admit(&mut self, port: &str) {
        self.setup.members.iter_mut().filter(|member| member.name == port).for_each(|member| member.boots = true);
    }

    /// Starts all machines that are not running yet, without waiting for them.
    pub fn power_on(&mut self) {
        let new: Vec<GuestConfig> = self
            .setup
            .members
            .iter()
            .filter(|member| member.boots && self.guests.iter().all(|guest| guest.name() != member.name))
            .map(|member| self.guest_config(member))
            .collect();
        self.guests.extend(new.into_iter().map(Guest::start));
    }

    fn guest_config(&self, member: &Member) -> GuestConfig {
        let gateways = if self.firewall.is_some() { vec![FIREWALL_IP, FIREWALL_IP6] } else { Vec::new() };
        GuestConfig {
            name: member.name.to_owned(),
            mac: member.mac.to_owned(),
            addresses: vec![format!("{}/16", member.ip), format!("{}/64", member.ip6)],
            gateways: gateways.into_iter().map(str::to_owned).collect(),
            socket: self.dir.path().join(format!("{}.sock", member.name)),
            role: member.role,
            queue_size: member.queue_size,
            queue_pairs: member.queue_pairs,
            card_options: member.card_options.to_owned(),
            memory_mib: 128,
            dir: self.dir.path().to_path_buf(),
        }
    }

    /// The guest of that name.
    ///
    /// # Panics
    /// If there is none.
    pub fn guest(&mut self, name: &str) -> &mut Guest {
        let found = self.guests.iter_mut().find(|guest| guest.name() == name);
        found.unwrap_or_else(|| panic!("no guest {name} in this lab"))
    }

    /// The outside.
    ///
    /// # Panics
    /// If the lab was set up without a firewall.
    pub fn firewall(&self) -> &Firewall {
        self.firewall.as_ref().expect("Setup::firewall was called")
    }

    /// The socket of a port whose guest the test brings itself.
    pub fn socket(&self, port: &str) -> PathBuf {
        self.dir.path().join(format!("{port}.sock"))
    }

    /// The lab's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Lets the switch run on when the lab is dropped, with its folder; returns its process id.
    ///
    /// # Panics
    /// If the switch does not run.
    pub fn leave_switch(&mut self) -> u32 {
        if let Some(firewall) = &self.firewall {
            firewall.return_tap(self.setup.tap());
        }
        self.dir.disable_cleanup(true);
        self.switch.release().expect("the switch runs")
    }

    /// Changes the setup and writes the configuration; the switch keeps the old one until it is told to reload.
    pub fn reconfigure(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(std::mem::take(&mut self.setup));
        self.write_configuration();
    }

    fn write_configuration(&self) {
        let signatures = self.setup.signatures();
        std::fs::write(self.dir.path().join("lab.rules"), signatures).expect("the lab's folder can be written");
        self.switch.configure(&self.setup.yaml(self.dir.path()));
    }

    /// Waits until no counter moves, then returns the scrape. Idle guests send little, so this takes a second.
    ///
    /// # Panics
    /// If the lab does not come to rest within half a minute.
    pub fn settled(&self) -> Metrics {
        let mut last = self.switch.metrics();
        let quiet = wait_until(Duration::from_secs(30), || {
            std::thread::sleep(Duration::from_millis(400));
            let now = self.switch.metrics();
            let same = now.books() == last.books();
            last = now;
            same
        });
        assert!(quiet, "frames still move after half a minute: {}", last.books());
        last
    }

    /// The books at rest, which have to balance.
    ///
    /// # Panics
    /// If they do not.
    pub fn balanced_books(&self) -> Books {
        let metrics = self.settled();
        let books = metrics.books();
        assert!(books.balance(), "the books do not balance: {books}\n{}", self.switch.metrics_text());
        books
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for guest in &self.guests {
            eprintln!("{}", guest.report());
        }
        eprintln!("--- the switch's log\n{}", self.switch.log_tail());
        eprintln!("--- EVE\n{}", tail(&self.switch.eve_path(), 15));
    }
}
