//! What a lab is to be: its guests, the switch's policy and signatures, with or without an outside.

use std::path::Path;

use crate::guest::QemuRole;
use crate::lab::Lab;
use crate::switch::METRICS_ADDRESS;
use crate::tools::check_machine;

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
    /// Pairs of rings.
    pub queue_pairs: u16,
    /// Further properties of the card.
    pub card_options: &'static str,
    /// False for a port whose guest the test brings itself.
    pub boots: bool,
}

/// Names and addresses of the guests of zone `web`.
const WEB: [(&str, &str, &str, &str); 8] = [
    ("web1", "52:54:00:00:01:11", "10.0.1.11", "fd00::1:11"),
    ("web2", "52:54:00:00:01:12", "10.0.1.12", "fd00::1:12"),
    ("web3", "52:54:00:00:01:13", "10.0.1.13", "fd00::1:13"),
    ("web4", "52:54:00:00:01:14", "10.0.1.14", "fd00::1:14"),
    ("web5", "52:54:00:00:01:15", "10.0.1.15", "fd00::1:15"),
    ("web6", "52:54:00:00:01:16", "10.0.1.16", "fd00::1:16"),
    ("web7", "52:54:00:00:01:17", "10.0.1.17", "fd00::1:17"),
    ("web8", "52:54:00:00:01:18", "10.0.1.18", "fd00::1:18"),
];

impl Member {
    const fn new(
        name: &'static str,
        zone: &'static str,
        mac: &'static str,
        ip: &'static str,
        ip6: &'static str,
    ) -> Self {
        let role = QemuRole::Client;
        Self { name, zone, mac, ip, ip6, role, queue_size: None, queue_pairs: 1, card_options: "", boots: true }
    }

    /// The first guest of zone `web`.
    pub const fn web1() -> Self {
        Self::web(0)
    }

    /// The second guest of zone `web`.
    pub const fn web2() -> Self {
        Self::web(1)
    }

    /// The first guest of zone `db`.
    pub const fn db1() -> Self {
        Self::new("db1", "db", "52:54:00:00:02:21", "10.0.2.21", "fd00::2:21")
    }

    /// The second guest of zone `db`.
    pub const fn db2() -> Self {
        Self::new("db2", "db", "52:54:00:00:02:22", "10.0.2.22", "fd00::2:22")
    }

    /// One of eight guests of zone `web`, counted from 0; the first two are [`Member::web1`] and [`Member::web2`].
    ///
    /// # Panics
    /// If there are not so many.
    pub const fn web(index: usize) -> Self {
        let (name, mac, ip, ip6) = WEB[index];
        Self::new(name, "web", mac, ip, ip6)
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

    /// Several pairs of rings, and as many processors.
    #[must_use]
    pub fn queue_pairs(mut self, count: u16) -> Self {
        self.queue_pairs = count;
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
    pub(crate) members: Vec<Member>,
    rules: Vec<String>,
    signatures: Vec<String>,
    detect: Option<String>,
    pub(crate) firewall: bool,
    pub(crate) on_this_host: bool,
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

    /// Has the switch watch for scans and floods, by a YAML mapping on one line; instead of what was there.
    #[must_use]
    pub fn detect(mut self, yaml: &str) -> Self {
        self.detect = Some(yaml.to_owned());
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

    pub(crate) fn tap(&self) -> &str {
        self.tap.as_deref().unwrap_or("vsw-up0")
    }

    /// The rule file.
    pub(crate) fn signatures(&self) -> String {
        self.signatures.join("\n") + "\n"
    }

    /// The configuration file for a switch that works in `dir`.
    pub(crate) fn yaml(&self, dir: &Path) -> String {
        let dir = dir.display();
        let mut yaml = format!(
            "switch: {{name: lab, run_dir: {dir}, workers: [0], poll: adaptive}}\n\
             metrics: {{listen: \"{METRICS_ADDRESS}\"}}\n\
             eve: {{path: {dir}/eve.json}}\n\
             zones:\n  web: {{intra_zone: allow}}\n  db: {{intra_zone: drop}}\n  outside: {{}}\n\
             ports:\n"
        );
        for Member { name, zone, mac, ip, ip6, role, queue_pairs, .. } in &self.members {
            let mode = match role {
                QemuRole::Client => "server",
                QemuRole::Server => "client",
            };
            yaml += &format!(
                "  - name: {name}\n    zone: {zone}\n    port_security: [\"{mac} {ip} {ip6}\"]\n    \
                 vhost_user: {{path: {dir}/{name}.sock, mode: {mode}, queues: {queue_pairs}}}\n"
            );
        }
        if self.firewall {
            yaml += &format!("uplinks:\n  - {{name: up0, zone: outside, tap: {{ifname: {}}}}}\n", self.tap());
        }
        yaml += "policy:\n  default: drop\n";
        if !self.rules.is_empty() {
            yaml += "  rules:\n";
        }
        for rule in &self.rules {
            yaml += &format!("    - {rule}\n");
        }
        if let Some(detect) = &self.detect {
            yaml += &format!("detect: {detect}\n");
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
        Lab::new(self)
    }
}
