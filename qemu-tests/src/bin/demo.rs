//! The demonstration behind `scripts/demo`: three guests, a firewall with a client behind it, and one table at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use qemu_tests::firewall::{CLIENT_IP, Firewall};
use qemu_tests::lab::Lab;
use qemu_tests::setup::{Member, Setup};
use qemu_tests::switch::METRICS_ADDRESS;
use qemu_tests::tools::{wait_until, workspace};

/// The uplink's name on this host, until it is handed to the firewall.
const TAP: &str = "vsw-demo0";
/// How long the switch stays for a look at its metrics.
const STAY_S: u64 = 600;
/// The signature that has to catch the attack.
const SIGNATURE: &str = "drop tcp any any -> any 5432 (msg:\"DEMO injected SQL\"; flow:established,to_server; \
                         content:\"union select\"; nocase; classtype:web-application-attack; sid:1000001; rev:1;)";

/// One line of the table.
struct Row {
    tried: &'static str,
    expected: &'static str,
    seen: String,
    ok: bool,
}

fn main() -> ExitCode {
    let keep = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--keep") => true,
        Some(other) => {
            eprintln!("demo: unknown option {other}; usage: scripts/demo [--keep]");
            return ExitCode::from(2);
        }
    };
    let out = workspace().join("target/demo");
    fs::create_dir_all(&out).expect("target can be written");
    end_earlier_switch(&out.join("switch.pid"));

    let mut lab = start();
    let pid = lab.switch.pid().expect("the switch runs");
    fs::write(out.join("switch.pid"), pid.to_string()).expect("target can be written");
    let rows = vec![
        allowed(&mut lab),
        denied(&mut lab),
        attack(&mut lab),
        spoof(&mut lab),
        outward(&mut lab),
        firewall_in_between(&mut lab),
        inward(&mut lab),
        inward_denied(&mut lab),
        books(&lab),
    ];

    let metrics = lab.switch.metrics_text();
    fs::write(out.join("metrics.txt"), &metrics).expect("target can be written");
    print_metrics(&metrics);
    print_table(&rows);
    if keep {
        stay(&lab);
    } else {
        leave(lab);
    }
    if rows.iter().all(|row| row.ok) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(text: &str) {
    eprintln!("demo: {text}");
}

fn start() -> Lab {
    say("starting the switch, a firewall and a client behind it");
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::web2())
        .guest(Member::db1())
        .firewall()
        .on_this_host(TAP)
        .rule("{name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}")
        .rule("{name: no-telnet, from: web, to: db, proto: tcp, dport: 23, action: drop}")
        .rule("{name: web-out, from: web, to: outside, proto: tcp, action: allow}")
        .rule("{name: out-web, from: outside, to: web, proto: tcp, dport: 80, action: allow}")
        .signature(SIGNATURE)
        .start_switch();
    say("booting three guests: web1 and web2 in zone web, db1 in zone db");
    lab.boot_guests();
    for port in [5432, 23] {
        lab.guest("db1").serve_tcp(port);
    }
    lab.guest("web1").serve_tcp(80);
    lab
}

fn allowed(lab: &mut Lab) -> Row {
    say("web1 asks db1 on the allowed port");
    let ok = lab.guest("web1").echo_tcp(Member::db1().ip, 5432, "select 1", 5);
    Row {
        tried: "web1 -> db1 TCP 5432",
        expected: "passes (rule web-db)",
        seen: if ok { "answered".to_owned() } else { "no answer".to_owned() },
        ok,
    }
}

fn denied(lab: &mut Lab) -> Row {
    say("web1 tries another port of db1");
    let answered = lab.guest("web1").echo_tcp(Member::db1().ip, 23, "login", 2);
    let drop = lab.switch.find_eve(|event| event["event_type"] == "drop" && event["dest_port"] == 23);
    let rule = drop.map_or_else(|| "none".to_owned(), |event| text(&event["vswitch"]["rule"]));
    Row {
        tried: "web1 -> db1 TCP 23",
        expected: "denied by rule no-telnet",
        seen: format!("{}, dropped by rule {rule}", if answered { "ANSWERED" } else { "no answer" }),
        ok: !answered && rule == "no-telnet",
    }
}

fn attack(lab: &mut Lab) -> Row {
    say("web1 sends db1 an attack on the allowed port");
    let answered = lab.guest("web1").echo_tcp(Member::db1().ip, 5432, "1 UNION SELECT password", 3);
    let alert = lab.switch.find_eve(|event| event["alert"]["signature_id"] == 1_000_001);
    let action = alert.map_or_else(|| "no alert".to_owned(), |event| text(&event["alert"]["action"]));
    let reached = lab.guest("db1").received(5432).contains("UNION");
    Row {
        tried: "web1 -> db1 TCP 5432, attack string",
        expected: "caught by signature 1000001",
        seen: format!("{action}, the victim saw {}", if reached || answered { "IT" } else { "nothing of it" }),
        ok: !answered && !reached && action == "blocked",
    }
}

fn spoof(lab: &mut Lab) -> Row {
    say("web2 sends with an address that is not its own");
    let web1 = Member::web1().ip;
    let neighbours = lab.guest("web2").can_ping(web1, 5);
    let before = lab.guest("web1").snmp("Icmp", "InEchos");
    lab.guest("web2").must("ip addr add 10.0.1.99/16 dev eth0");
    let answered = lab.guest("web2").run(&format!("ping -c 2 -W 1 -w 2 -I 10.0.1.99 {web1}")).ok();
    let reached = lab.guest("web1").snmp("Icmp", "InEchos") > before;
    let drop = lab.switch.find_eve(|event| {
        event["event_type"] == "drop" && event["src_ip"] == "10.0.1.99" && event["vswitch"]["from_port"] == "web2"
    });
    let reason = drop.map_or_else(|| "none".to_owned(), |event| text(&event["vswitch"]["reason"]));
    Row {
        tried: "web2 -> web1 ping from 10.0.1.99",
        expected: "dropped as spoof_ipv4",
        seen: format!("{}, drop reason {reason}", if reached || answered { "ARRIVED" } else { "not seen by web1" }),
        ok: neighbours && !reached && !answered && reason == "spoof_ipv4",
    }
}

fn outward(lab: &mut Lab) -> Row {
    say("web1 talks to the client behind the firewall");
    let uplink = |lab: &Lab| lab.switch.metrics().labelled("vswitch_port_transmit_packets_total", "port", "up0");
    let (left, forwarded) = (uplink(lab), lab.firewall().forwarded());
    lab.firewall().serve_client(9000);
    let ok = lab.guest("web1").echo_tcp(CLIENT_IP, 9000, "hello outside", 5);
    let (left, forwarded) = (uplink(lab) - left, lab.firewall().forwarded() - forwarded);
    Row {
        tried: "web1 -> client TCP 9000",
        expected: "by the uplink, through the firewall",
        seen: format!(
            "{}, {left} frames left, firewall forwarded {forwarded}",
            if ok { "answered" } else { "no answer" }
        ),
        ok: ok && left > 0.0 && forwarded > 0,
    }
}

fn firewall_in_between(lab: &mut Lab) -> Row {
    say("web1 tries what only the firewall forbids");
    let count = lab.firewall().serve_client(Firewall::CLOSED_PORT);
    let answered = lab.guest("web1").echo_tcp(CLIENT_IP, Firewall::CLOSED_PORT, "hello", 2);
    let reached = count.load(Ordering::SeqCst) > 0;
    Row {
        tried: "web1 -> client TCP 8081",
        expected: "stopped by the firewall outside",
        seen: if reached || answered { "ARRIVED".to_owned() } else { "never reached the client".to_owned() },
        ok: !answered && !reached,
    }
}

fn inward(lab: &mut Lab) -> Row {
    say("the client talks to web1");
    let forwarded = lab.firewall().forwarded();
    let ok = lab.firewall().client_echo(Member::web1().ip, 80);
    let forwarded = lab.firewall().forwarded() - forwarded;
    Row {
        tried: "client -> web1 TCP 80",
        expected: "passes (rule out-web)",
        seen: format!("{}, firewall forwarded {forwarded}", if ok { "answered" } else { "no answer" }),
        ok: ok && forwarded > 0,
    }
}

fn inward_denied(lab: &mut Lab) -> Row {
    say("the client tries db1");
    let before = lab.switch.metrics().drops("policy") + lab.switch.metrics().drops("neighbour_isolated");
    let answered = lab.firewall().client_echo(Member::db1().ip, 5432);
    let metrics = lab.switch.metrics();
    let dropped = metrics.drops("policy") + metrics.drops("neighbour_isolated") - before;
    let reached = lab.guest("db1").received(5432).contains("from outside");
    Row {
        tried: "client -> db1 TCP 5432",
        expected: "denied by default",
        seen: format!("{}, {dropped} frames dropped", if answered || reached { "ARRIVED" } else { "no answer" }),
        ok: !answered && !reached && dropped > 0.0,
    }
}

fn books(lab: &Lab) -> Row {
    say("adding up the counters");
    let books = lab.settled().books();
    Row {
        tried: "all counters",
        expected: "received + copies = sent + dropped",
        seen: format!("{} + {} = {} + {}", books.received, books.flood_copies, books.transmitted, books.dropped),
        ok: books.balance(),
    }
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or("none").to_owned()
}

fn print_table(rows: &[Row]) {
    let width = |cell: fn(&Row) -> &str, title: &str| {
        rows.iter().map(|row| cell(row).len()).chain([title.len()]).max().unwrap_or(0)
    };
    let widths =
        [width(|row| row.tried, "tried"), width(|row| row.expected, "expected"), width(|row| &row.seen, "seen")];
    let line = |cells: [&str; 4]| {
        let [tried, expected, seen, result] = cells;
        println!("{tried:0$}  {expected:1$}  {seen:2$}  {result}", widths[0], widths[1], widths[2]);
    };
    println!();
    line(["tried", "expected", "seen", ""]);
    line([&"-".repeat(widths[0]), &"-".repeat(widths[1]), &"-".repeat(widths[2]), "----"]);
    for row in rows {
        line([row.tried, row.expected, &row.seen, if row.ok { "ok" } else { "WRONG" }]);
    }
    let ok_count = rows.iter().filter(|row| row.ok).count();
    println!("\n{ok_count} of {} as expected", rows.len());
}

/// Prints what the table's rows left in the counters.
fn print_metrics(text: &str) {
    const SHOWN: &[&str] = &[
        "vswitch_rule_hits_total",
        "vswitch_drops_total",
        "vswitch_alerts_total",
        "vswitch_cleared_total",
        "vswitch_delivered_total",
        "vswitch_flood_copies_total",
        "vswitch_port_receive_packets_total",
        "vswitch_port_transmit_packets_total",
    ];
    println!("\n/metrics (what is not zero; all of it is in target/demo/metrics.txt)");
    let is_shown = |line: &&str| SHOWN.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0");
    let lines: std::collections::BTreeSet<&str> = text.lines().filter(is_shown).collect();
    for line in lines {
        println!("  {line}");
    }
}

/// Keeps everything running until Ctrl-C ends this process, and the kernel all that is tied to it.
fn stay(lab: &Lab) {
    say(&format!("everything keeps running; curl http://{METRICS_ADDRESS}/metrics; Ctrl-C ends it"));
    say(&format!("guests' serial lines and the switch's files are in {}", lab.dir().display()));
    let pid = lab.switch.pid().map_or_else(String::new, |pid| pid.to_string());
    while Path::new("/proc").join(&pid).exists() {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Ends the guests, and leaves the switch to be looked at for a while.
fn leave(mut lab: Lab) {
    let dir = lab.dir().display().to_string();
    let pid = lab.leave_switch();
    drop(lab);
    let clean_up = format!("sleep {STAY_S}; grep -q '{dir}' /proc/{pid}/cmdline && kill {pid}; rm -rf '{dir}'");
    let mut reaper = Command::new("setsid");
    reaper.args(["--fork", "sh", "-c", &clean_up]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    reaper.status().expect("setsid is part of util-linux");
    say(&format!("the switch (pid {pid}) stays for ten minutes: curl http://{METRICS_ADDRESS}/metrics"));
}

/// Ends the switch that an earlier demo left, which still has the metrics' port.
fn end_earlier_switch(pid_file: &Path) {
    let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse::<i32>().ok()) else {
        return;
    };
    let process = PathBuf::from(format!("/proc/{pid}"));
    let is_ours = || fs::read_link(process.join("exe")).is_ok_and(|exe| exe.to_string_lossy().contains("/vswitch"));
    if let (true, Some(pid)) = (is_ours(), rustix::process::Pid::from_raw(pid)) {
        say("ending the switch that the last demo left");
        // If it cannot be ended, the new switch will say that its port is taken.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        wait_until(Duration::from_secs(5), || !is_ours());
    }
    let _ = fs::remove_file(pid_file);
}
