//! The switch over hours: guests that come and go, flows without end, reloads, a port that appears and disappears, and a
//! guest that means harm, while two honest guests send to each other all the time. Nothing may grow, and the honest ones
//! must not notice.
//!
//! `scripts/soak` builds and calls it. It prints a line a cycle, and ends with 1 if something was wrong.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use qemu_tests::netns::Netns;
use qemu_tests::switch::{METRICS_ADDRESS, Switch};
use qemu_tests::testpmd::Testpmd;
use qemu_tests::tools::{check_machine, wait_until};

mod evil;
mod vitals;

use evil::Random;
use vitals::Vitals;

const USAGE: &str = "usage: scripts/soak [SECONDS [SEED]]";

/// Cycles after which caches, tables and pools are as large as they get, but for the flows.
const WARM_UP: usize = 3;

/// Visits of the evil guest in a cycle.
const VISITS: usize = 12;

const ADDRESSES: [(&str, &str); 3] =
    [("52:54:00:00:00:0a", "10.0.0.10"), ("52:54:00:00:00:0b", "10.0.0.11"), ("52:54:00:00:00:0c", "10.0.0.12")];

/// The configuration; in every second cycle with a port more and another rule file.
fn yaml(dir: &Path, is_odd: bool) -> String {
    let at = dir.display();
    let port = |name: &str, security: &str| {
        format!("  - name: {name}\n    zone: all\n    vhost_user: {{path: {at}/{name}.sock, mode: server}}\n{security}")
    };
    let secured = |index: usize| {
        let (mac, ip) = ADDRESSES[index];
        format!("    port_security: [\"{mac} {ip}\"]\n")
    };
    let ports = [
        port("sender", &secured(0)),
        port("receiver", &secured(1)),
        port("guest", ""),
        port("evil", "    port_security: [\"52:54:00:00:00:0e 10.0.0.14\"]\n"),
        if is_odd { port("extra", "") } else { String::new() },
    ]
    .concat();
    format!(
        "switch: {{name: soak, run_dir: {at}, workers: [0]}}\nmetrics: {{listen: \"{METRICS_ADDRESS}\"}}\n\
         eve: {{path: {at}/eve.json}}\nzones:\n  all: {{intra_zone: allow}}\nports:\n{ports}\
         inspection:\n  rule_files: [{at}/{}.rules]\nlimits: {{flows: 16384}}\n",
        if is_odd { "odd" } else { "even" }
    )
}

fn rules(word: &str) -> String {
    (0..200)
        .map(|sid| {
            format!(
                "alert udp any any -> any any (msg:\"{word} {sid}\"; content:\"{word}{sid}x\"; \
                 threshold: type limit, track by_src, count 1, seconds 5; sid:{};)\n",
                sid + 1
            )
        })
        .collect()
}

struct Soak {
    switch: Switch,
    dir: tempfile::TempDir,
    random: Random,
    cycle: usize,
    /// Frames that came from the hostile guest.
    harmful: f64,
}

impl Soak {
    fn start(seed: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("vsw-soak-").tempdir().expect("a temporary folder");
        for word in ["odd", "even"] {
            std::fs::write(dir.path().join(format!("{word}.rules")), rules(word)).expect("the folder can be written");
        }
        let mut switch = Switch::new(dir.path(), Some(Netns::new()));
        switch.configure(&yaml(dir.path(), false));
        switch.start();
        Self { switch, dir, random: Random::new(seed), cycle: 0, harmful: 0.0 }
    }

    fn guest(&self, name: &str, index: usize, words: &[&str]) -> Testpmd {
        let socket = self.dir.path().join(format!("{name}.sock"));
        let mut guest = Testpmd::start(name, self.dir.path(), &socket, ADDRESSES[index].0, 256, words);
        guest.command("start");
        guest
    }

    /// One cycle of everything. Answers what is wrong after it.
    fn cycle(&mut self) -> Vec<String> {
        self.cycle += 1;
        let is_odd = self.cycle % 2 == 1;
        let before = self.switch.metrics();
        let peer = format!("--eth-peer=0,{}", ADDRESSES[1].0);
        let flows = ["--forward-mode=txonly", "--txonly-multi-flow", &peer, "--tx-ip=10.0.0.12,10.0.0.11"];
        let guest = self.guest("guest", 2, &flows);
        let socket = self.dir.path().join("evil.sock");
        (0..VISITS).for_each(|_| evil::visit(&socket, &mut self.random));
        self.switch.configure(&yaml(self.dir.path(), is_odd));
        self.switch.reload();
        (0..VISITS).for_each(|_| evil::visit(&socket, &mut self.random));
        for what in ["ports", "flows", "drops", "workers"] {
            self.switch.show(what);
        }
        drop(guest);

        let mut wrong = Vec::new();
        if !self.switch.is_running() {
            return vec![format!("the switch has ended:\n{}", self.switch.log_tail())];
        }
        let after = self.switch.metrics();
        let moved = |port: &str, direction: &str| {
            let name = format!("vswitch_port_{direction}_packets_total");
            after.labelled(&name, "port", port) - before.labelled(&name, "port", port)
        };
        for (port, direction) in [("sender", "receive"), ("receiver", "transmit")] {
            let frames = moved(port, direction);
            if frames < 1_000.0 {
                wrong.push(format!("only {frames} frames went over {port} in this cycle"));
            }
        }
        self.harmful += moved("evil", "receive");
        if after.total("vswitch_config_last_reload_successful") != 1.0 {
            wrong.push("the reload was refused".to_owned());
        }
        wrong
    }

    /// What the switch takes when only the two honest guests are there, in its first configuration.
    fn rest(&self) -> Vitals {
        self.switch.configure(&yaml(self.dir.path(), false));
        self.switch.reload();
        let connected = || self.switch.connected_ports();
        assert!(wait_until(Duration::from_secs(20), || connected() == 2), "{} ports are connected", connected());
        // What the guests that have left had pinned is given back a moment later.
        std::thread::sleep(Duration::from_secs(1));
        Vitals::of(self.switch.pid().expect("the switch runs"))
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Option<Vec<u64>> = words.iter().map(|word| word.parse().ok()).collect();
    let Some(&[seconds, ref rest @ ..]) = numbers.as_deref().filter(|numbers| numbers.len() <= 2) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let seed = rest.first().copied().unwrap_or_else(|| u64::from(std::process::id()));
    check_machine();
    println!("soak: {seconds} s, seed {seed}");

    let started = Instant::now();
    let mut soak = Soak::start(seed);
    let receiver = soak.guest("receiver", 1, &["--forward-mode=rxonly"]);
    let peer = format!("--eth-peer=0,{}", ADDRESSES[1].0);
    let steady = ["--forward-mode=txonly", &peer, "--tx-ip=10.0.0.10,10.0.0.11", "--txpkts=200"];
    let sender = soak.guest("sender", 0, &steady);
    let (mut warm, mut wrong) = (None, Vec::new());
    while wrong.is_empty() && (soak.cycle < WARM_UP + 1 || started.elapsed() < Duration::from_secs(seconds)) {
        wrong = soak.cycle();
        if soak.cycle == WARM_UP {
            warm = Some((soak.rest(), Instant::now()));
        }
        if wrong.is_empty() {
            let now = Vitals::of(soak.switch.pid().expect("the switch runs"));
            let time = started.elapsed().as_secs_f64();
            println!("soak: {time:6.0} s, cycle {}: {now}; {} frames of the hostile guest", soak.cycle, soak.harmful);
        }
    }
    if let (true, Some((warm, since))) = (wrong.is_empty(), warm) {
        let end = soak.rest();
        println!("soak: at rest: {warm} when warm, {end} at the end");
        wrong.extend(end.grown_since(&warm, since.elapsed()));
        drop((sender, receiver));
        let balanced = wait_until(Duration::from_secs(20), || soak.switch.metrics().books().balance());
        let books = soak.switch.metrics().books();
        println!("soak: {books}");
        if soak.harmful == 0.0 {
            wrong.push("the hostile guest has not got one frame in: it tests nothing".to_owned());
        }
        if !balanced {
            wrong.push("the books do not balance".to_owned());
        }
    }
    for line in &wrong {
        eprintln!("soak: {line}");
    }
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("soak: the switch's log ends:\n{}", soak.switch.log_tail());
    ExitCode::FAILURE
}
