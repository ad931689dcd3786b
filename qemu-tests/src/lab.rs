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
use std::time::Duration;

use tempfile::TempDir;

use crate::guest::{Guest, GuestConfig, QemuRole};
use crate::metrics::{Books, Metrics};
use crate::netns::Netns;
use crate::switch::{METRICS_ADDRESS, Switch};
use crate::tools::{check_machine, tail, wait_until, workspace};

/// The firewall's address on the guests' side.
pub const FIREWALL_IP: &str = "10.0.0.1";
/// The firewall's IPv6 address on the guests' side.
pub const FIREWALL_IP6: &str = "fd00::ffff";
/// The firewall's hardware address on the guests' side.
pub const FIREWALL_MAC: &str = "52:54:00:ff:00:01";
/// The client behind the firewall.
pub const CLIENT_IP: &str = "198.51.100.10";

/// A guest as tests name it: its place in zone and address plan.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name of guest and port.
    pub name: &'static str,
    /// Its zone: `web` (guests may talk to each other) or `db` (they may not).
    pub zone: &'static str,
    /// Its hardware address.
    pub mac: &'static str,
    /// Its IPv4 address.
    pub ip: &'static str,
    /// Its IPv6 address.
    pub ip6: &'static str,
    /// Which side of the socket QEMU is.
    pub role: QemuRole,
    /// Entries in each ring, if not QEMU's default.
    pub queue_size: Option<u16>,
    /// Further properties of the card.
    pub card_options: &'static str,
    /// False for a port whose guest the test brings itself.
    pub boots: bool,
}

impl Member {
    const fn new(
        name: &'static str,
        zone: &'static str,
        mac: &'static str,
        ip: &'static str,
        ip6: &'static str,
    ) -> Self {
        let role = QemuRole::Client;
        Self {
            name,
            zone,
            mac,
            ip,
            ip6,
            role,
            queue_size: None,
            card_options: "",
            boots: true,
        }
    }

    /// The first guest of zone `web`.
    pub const fn web1() -> Self {
        Self::new(
            "web1",
            "web",
            "52:54:00:00:01:11",
            "10.0.1.11",
            "fd00::1:11",
        )
    }

    /// The second guest of zone `web`.
    pub const fn web2() -> Self {
        Self::new(
            "web2",
            "web",
            "52:54:00:00:01:12",
            "10.0.1.12",
            "fd00::1:12",
        )
    }

    /// The first guest of zone `db`.
    pub const fn db1() -> Self {
        Self::new("db1", "db", "52:54:00:00:02:21", "10.0.2.21", "fd00::2:21")
    }

    /// QEMU listens and the switch dials.
    #[must_use]
    pub fn listening(mut self) -> Self {
        self.role = QemuRole::Server;
        self
    }

    /// Rings of `size` entries.
    #[must_use]
    pub fn queue_size(mut self, size: u16) -> Self {
        self.queue_size = Some(size);
        self
    }

    /// Further properties of QEMU's network card, starting with a comma.
    #[must_use]
    pub fn card(mut self, options: &'static str) -> Self {
        self.card_options = options;
        self
    }

    /// Only the port: no machine is booted for it.
    #[must_use]
    pub fn without_machine(mut self) -> Self {
        self.boots = false;
        self
    }
}

/// What a test wants its lab to be.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    members: Vec<Member>,
    rules: Vec<String>,
    signatures: Vec<String>,
    firewall: bool,
    on_this_host: bool,
    tap: Option<String>,
}

impl Setup {
    /// A switch without guests, with zones `web`, `db` and `outside`, and no rule but the default, which is drop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a guest.
    #[must_use]
    pub fn guest(mut self, member: Member) -> Self {
        self.members.push(member);
        self
    }

    /// Adds a rule of policy, one YAML mapping on one line.
    #[must_use]
    pub fn rule(mut self, yaml: &str) -> Self {
        self.rules.push(yaml.to_owned());
        self
    }

    /// The same without any rule of policy so far.
    #[must_use]
    pub fn without_rules(mut self) -> Self {
        self.rules.clear();
        self
    }

    /// Adds a signature.
    #[must_use]
    pub fn signature(mut self, text: &str) -> Self {
        self.signatures.push(text.to_owned());
        self
    }

    /// Adds the uplink, with a firewall and a client outside.
    #[must_use]
    pub fn firewall(mut self) -> Self {
        self.firewall = true;
        self
    }

    /// Runs the switch in the host's own network namespace, with its TAP named `tap` until it is handed over.
    #[must_use]
    pub fn on_this_host(mut self, tap: &str) -> Self {
        self.on_this_host = true;
        self.tap = Some(tap.to_owned());
        self
    }

    fn tap(&self) -> &str {
        self.tap.as_deref().unwrap_or("vsw-up0")
    }

    /// The configuration file for a switch that works in `dir`.
    fn yaml(&self, dir: &std::path::Path) -> String {
        let dir = dir.display();
        let mut yaml = format!(
            "switch: {{name: lab, run_dir: {dir}, workers: [0], poll: adaptive}}\n\
             metrics: {{listen: \"{METRICS_ADDRESS}\"}}\n\
             eve: {{path: {dir}/eve.json}}\n\
             zones:\n  web: {{intra_zone: allow}}\n  db: {{intra_zone: drop}}\n  outside: {{}}\n\
             ports:\n"
        );
        for Member {
            name,
            zone,
            mac,
            ip,
            ip6,
            role,
            ..
        } in &self.members
        {
            let mode = match role {
                QemuRole::Client => "server",
                QemuRole::Server => "client",
            };
            yaml += &format!(
                "  - name: {name}\n    zone: {zone}\n    vhost_user: {{path: {dir}/{name}.sock, mode: {mode}, queues: 1}}\n    \
                 port_security: [\"{mac} {ip} {ip6}\"]\n"
            );
        }
        if self.firewall {
            yaml += &format!(
                "uplinks:\n  - {{name: up0, zone: outside, tap: {{ifname: {}}}}}\n",
                self.tap()
            );
        }
        yaml += "policy:\n  default: drop\n";
        if !self.rules.is_empty() {
            yaml += "  rules:\n";
        }
        for rule in &self.rules {
            yaml += &format!("    - {rule}\n");
        }
        if !self.signatures.is_empty() {
            yaml += &format!("inspection:\n  rule_files: [{dir}/lab.rules]\n");
        }
        yaml
    }

    /// Starts the switch and everything around it, and returns when all guests are up.
    ///
    /// # Panics
    /// If anything is missing on this machine or does not come up.
    pub fn start(self) -> Lab {
        let mut lab = self.start_switch();
        lab.boot_guests();
        lab
    }

    /// Starts everything but the guests.
    ///
    /// # Panics
    /// If anything is missing on this machine or does not come up.
    pub fn start_switch(self) -> Lab {
        let mut lab = self.prepare();
        lab.start_switch();
        lab
    }

    /// Makes the folder, the namespaces and the configuration, and starts nothing yet.
    ///
    /// # Panics
    /// If anything is missing on this machine.
    pub fn prepare(self) -> Lab {
        check_machine();
        let lock = lock();
        let dir = tempfile::Builder::new()
            .prefix("vsw-")
            .tempdir()
            .expect("a temporary folder");
        let place = (!self.on_this_host).then(Netns::new);
        let switch = Switch::new(dir.path(), place);
        let firewall = self.firewall.then(Firewall::new);
        let lab = Lab {
            guests: Vec::new(),
            switch,
            firewall,
            setup: self,
            dir,
            _lock: lock,
        };
        lab.write_configuration();
        lab
    }
}

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
        self.power_on();
        self.guests.iter_mut().for_each(Guest::wait_ready);
    }

    /// Starts all machines that are not running yet, without waiting for them.
    pub fn power_on(&mut self) {
        let new: Vec<GuestConfig> = self
            .setup
            .members
            .iter()
            .filter(|member| {
                member.boots && self.guests.iter().all(|guest| guest.name() != member.name)
            })
            .map(|member| self.guest_config(member))
            .collect();
        self.guests.extend(new.into_iter().map(Guest::start));
    }

    fn guest_config(&self, member: &Member) -> GuestConfig {
        let gateways = if self.firewall.is_some() {
            vec![FIREWALL_IP, FIREWALL_IP6]
        } else {
            Vec::new()
        };
        GuestConfig {
            name: member.name.to_owned(),
            mac: member.mac.to_owned(),
            addresses: vec![format!("{}/16", member.ip), format!("{}/64", member.ip6)],
            gateways: gateways.into_iter().map(str::to_owned).collect(),
            socket: self.dir.path().join(format!("{}.sock", member.name)),
            role: member.role,
            queue_size: member.queue_size,
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
    pub fn socket(&self, port: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("{port}.sock"))
    }

    /// The lab's folder.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Changes the setup and writes the configuration; the switch keeps the old one until it is told to reload.
    pub fn reconfigure(&mut self, change: impl FnOnce(Setup) -> Setup) {
        self.setup = change(std::mem::take(&mut self.setup));
        self.write_configuration();
    }

    fn write_configuration(&self) {
        let signatures = self.setup.signatures.join("\n") + "\n";
        std::fs::write(self.dir.path().join("lab.rules"), signatures)
            .expect("the lab's folder can be written");
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
        assert!(
            quiet,
            "frames still move after half a minute: {}",
            last.books()
        );
        last
    }

    /// The books at rest, which have to balance.
    ///
    /// # Panics
    /// If they do not.
    pub fn balanced_books(&self) -> Books {
        let metrics = self.settled();
        let books = metrics.books();
        assert!(
            books.balance(),
            "the books do not balance: {books}\n{}",
            self.switch.metrics_text()
        );
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
        eprintln!("--- EVE\n{}", tail(&self.switch.eve_path(), 12));
    }
}

/// What stands outside: a router that has rules of its own, and a client behind it.
///
/// The firewall forwards everything except TCP to port 8081 of the client, so that a test can tell that its frames
/// really went through it.
#[derive(Debug)]
pub struct Firewall {
    /// The router.
    pub router: Netns,
    /// The client behind it.
    pub client: Netns,
}

impl Firewall {
    /// The port on which the firewall lets nobody reach the client.
    pub const CLOSED_PORT: u16 = 8081;

    fn new() -> Self {
        let (router, client) = (Netns::new(), Netns::new());
        router.run(&format!(
            "ip link add out0 type veth peer name eth0 netns {}",
            client.pid()
        ));
        router.run(
            "ip addr add 198.51.100.1/24 dev out0; ip -6 addr add fd00:c::1/64 dev out0 nodad; ip link set out0 up
             echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
             echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects; echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects",
        );
        let closed = Self::CLOSED_PORT;
        router.run(&format!(
            "ip rule add to {CLIENT_IP} ipproto tcp dport {closed} blackhole"
        ));
        client.run(&format!(
            "ip addr add {CLIENT_IP}/24 dev eth0; ip -6 addr add fd00:c::10/64 dev eth0 nodad; ip link set eth0 up
             ip route add default via 198.51.100.1; ip -6 route add default via fd00:c::1"
        ));
        Self { router, client }
    }

    /// Moves the switch's TAP into the router and gives it the guests' gateway addresses.
    fn take_tap(&self, switch: &Switch, tap: &str) {
        let in_switch = |line: &str| {
            let script = format!("PATH=$PATH:/usr/sbin:/sbin; {line}");
            switch
                .command("sh")
                .args(["-ec", &script])
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let there = wait_until(Duration::from_secs(5), || {
            in_switch(&format!("ip link show {tap}"))
        });
        assert!(
            there,
            "the switch has made no TAP {tap}; its log ends:\n{}",
            switch.log_tail()
        );
        assert!(
            in_switch(&format!("ip link set {tap} netns {}", self.router.pid())),
            "{tap} cannot be moved"
        );
        self.router.run(&format!(
            "ip link set {tap} address {FIREWALL_MAC}; ip addr add {FIREWALL_IP}/16 dev {tap}
             ip -6 addr add {FIREWALL_IP6}/64 dev {tap} nodad; ip link set {tap} up"
        ));
    }

    /// Packets that the router has forwarded so far, IPv4.
    pub fn forwarded(&self) -> u64 {
        let text = self.router.run("cat /proc/net/snmp");
        let mut rows = text.lines().filter_map(|line| line.strip_prefix("Ip: "));
        let (names, values) = (
            rows.next().unwrap_or_default(),
            rows.next().unwrap_or_default(),
        );
        let found = names
            .split(' ')
            .zip(values.split(' '))
            .find(|(name, _)| *name == "ForwDatagrams");
        found
            .and_then(|(_, value)| value.parse().ok())
            .expect("the kernel counts forwarded datagrams")
    }
}
