//! The daemon as its operator sees it: the command line, the pages, the control socket, signals and files. No guests here;
//! they are in qemu-tests.

mod process;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use process::{Daemon, RULES, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

#[test]
fn the_pages_answer() {
    let daemon = Daemon::running();
    assert_eq!(daemon.get("/healthz"), Some((200, "ok\n".to_owned())));
    assert_eq!(daemon.get("/readyz"), Some((200, "ready\n".to_owned())));
    assert_eq!(daemon.get("/nothing").map(|(status, _)| status), Some(404));
    let (_, text) = daemon.get("/metrics").expect("a scrape");
    for (series, expected) in [
        ("vswitch_config_generation", 1.0),
        ("vswitch_config_last_reload_successful", 1.0),
        ("vswitch_drops_total{reason=\"policy\"}", 0.0),
        ("vswitch_rule_hits_total{rule=\"web-db\"}", 0.0),
        ("vswitch_rule_hits_total{rule=\"default\"}", 0.0),
        ("vswitch_port_receive_packets_total{port=\"web1\"}", 0.0),
        ("vswitch_port_connected{port=\"db1\"}", 0.0),
        ("vswitch_port_quarantined{port=\"db1\"}", 0.0),
        ("vswitch_anomalies_total{kind=\"port_scan\"}", 0.0),
        ("vswitch_flows", 0.0),
        ("vswitch_eve_lost_total{type=\"drop\"}", 0.0),
    ] {
        assert_eq!(daemon.metric(series), Some(expected), "{series}\n{text}");
    }
    assert!(text.contains(concat!("vswitch_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")));
}

#[test]
fn what_show_tells() {
    let daemon = Daemon::running();
    let ports = daemon.show("ports");
    assert_eq!((&ports[0]["name"], &ports[0]["zone"]), (&json!("web1"), &json!("web")));
    assert_eq!((&ports[1]["kind"], &ports[1]["connected"]), (&json!("vhost-user"), &json!(false)));
    let zones = daemon.show("zones");
    let zone = |name: &str| zones.as_array().expect("rows").iter().find(|row| row["name"] == name).cloned();
    assert_eq!(zone("web"), Some(json!({"name": "web", "intra_zone": "allow", "ports": ["web1"]})));
    assert_eq!(zone("db"), Some(json!({"name": "db", "intra_zone": "drop", "ports": ["db1"]})));
    let fixed = json!({"mac": "52:54:00:00:00:01", "port": "web1", "origin": "fixed", "age_s": null});
    assert_eq!(daemon.show("mac")[0], fixed);
    assert_eq!(daemon.show("flows")["open"], json!(0));
    let drops = daemon.show("drops");
    assert!(drops.as_array().is_some_and(|rows| rows.iter().any(|row| row["reason"] == "signature")));
    assert_eq!(daemon.show("rules")[0], json!({"name": "web-db", "hits": 0}));
    assert_eq!(daemon.show("workers")[0]["generation"], json!(1));
    assert_eq!(daemon.show("threats"), json!({"threats": [], "quarantines": []}));
    for table in ["ports", "zones", "mac", "flows", "drops", "alerts", "threats", "rules", "workers", "profiles"] {
        let ended = daemon.cli(&["show", table]);
        assert_eq!((ended.status, ended.err.as_str()), (0, ""), "show {table}");
        assert!(!ended.out.is_empty(), "show {table}");
    }
    assert!(daemon.cli(&["show", "ports"]).out.contains("web1  web   vhost-user  down"));
}

#[test]
fn exit_statuses() {
    let daemon = Daemon::running();
    let check = |arguments: &[&str], status: i32, words: &str| {
        let ended = daemon.cli(arguments);
        assert_eq!(ended.status, status, "{arguments:?}: {ended:?}");
        let told = if status == 0 { &ended.out } else { &ended.err };
        assert!(told.contains(words), "{arguments:?}: {ended:?}");
        let silent = if status == 0 { &ended.err } else { &ended.out };
        assert_eq!(silent, "", "{arguments:?}");
    };
    check(&["version"], 0, concat!("vswitch ", env!("CARGO_PKG_VERSION"), "\nrunning: "));
    check(&["reload"], 0, "generation 2");
    check(&["show", "flows", "--port", "web1"], 0, "0 shown");
    check(&["show", "flows", "--port", "nobody"], 1, "there is no port nobody");
    check(&["release", "web1"], 1, "web1 is not in quarantine");
    check(&["release", "nobody"], 1, "there is no port nobody");
    check(&["release"], 2, "<PORT>");
    check(&["release", "web1", "--run-dir", "/does/not"], 3, "no vswitch answers at");
    check(&["show", "threats"], 0, "no port is in quarantine");
    check(&["show", "secrets"], 2, "possible values");
    check(&["run"], 2, "--config");
    check(&["run", "--config", "/does/not/exist.yaml"], 2, "/does/not/exist.yaml");
    check(&["show", "ports", "--socket", "/does/not/exist.sock"], 3, "no vswitch answers at");
    check(&["reload", "--run-dir", "/does/not"], 3, "no vswitch answers at");
    check(&["version", "--run-dir", "/does/not"], 0, "running: none");
    let config = daemon.config();
    let config = config.to_str().expect("text");
    check(&["run", "--config", config], 1, "another vswitch uses");
}

#[test]
fn a_broken_configuration_is_not_started() {
    let mut daemon = Daemon::new();
    daemon.configure(&daemon.yaml(&["web1", "nozone1"], RULES));
    daemon.launch();
    assert_eq!(daemon.wait(), 2);
    assert!(daemon.log().contains("nozone"), "{}", daemon.log());
    assert!(!daemon.path("run").exists(), "nothing was begun");
}

#[test]
fn a_reload_is_taken_whole_or_not_at_all() {
    let daemon = Daemon::running();
    daemon.configure(&daemon.yaml(&["web1", "web2"], RULES));
    let ended = daemon.cli(&["reload", "--json"]);
    let answer: Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!((ended.status, &answer), (0, &json!({"generation": 2})), "{ended:?}");
    let names =
        |rows: Value| -> Vec<Value> { rows.as_array().expect("rows").iter().map(|row| row["name"].clone()).collect() };
    assert_eq!(names(daemon.show("ports")), [json!("web1"), json!("web2")]);
    assert!(daemon.path("web2.sock").exists() && !daemon.path("db1.sock").exists());
    assert_eq!(daemon.metric("vswitch_config_generation"), Some(2.0));
    let gone = daemon.metric("vswitch_port_receive_packets_total{port=\"db1\"}");
    assert_eq!(gone, Some(0.0), "the counters of a port that is gone stay");

    daemon.configure(&daemon.yaml(&["web1", "wbe2"], RULES));
    let refused = daemon.cli(&["reload"]);
    assert_eq!((refused.status, refused.out.as_str()), (2, ""), "{refused:?}");
    assert!(refused.err.contains("wbe") && refused.err.contains("did you mean"), "{refused:?}");
    assert_eq!(daemon.metric("vswitch_config_generation"), Some(2.0));
    assert_eq!(daemon.metric("vswitch_config_last_reload_successful"), Some(0.0));
    assert_eq!(names(daemon.show("ports")), [json!("web1"), json!("web2")]);
    assert_eq!(daemon.get("/readyz").map(|(status, _)| status), Some(200));

    daemon.configure(&daemon.yaml(&["web1"], "    []\n"));
    daemon.signal(Signal::HUP);
    wait_for("the next generation", || daemon.metric("vswitch_config_generation") == Some(3.0));
    assert_eq!(daemon.metric("vswitch_config_last_reload_successful"), Some(1.0));
    assert_eq!(names(daemon.show("ports")), [json!("web1")]);
}

/// Whether the daemon reads a configuration at the moment.
fn is_reading(daemon: &Daemon) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.id())).expect("our child");
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.filter_map(Result::ok).any(|task| name(task) == "reload\n")
}

#[test]
fn everything_else_goes_on_while_a_configuration_is_read() {
    let daemon = Daemon::running();
    let slow = "inspection: {rule_files: [slow.rules], profiles: {default: {mode: audit}}}\n";
    daemon.configure(&format!("{}{slow}", daemon.yaml(&["web1", "db1"], RULES)));
    let rule = |sid: usize| {
        format!("drop tcp any any -> any any (content:\"abcd\"; pcre:\"/[a-f]{{9}}{sid}/\"; sid:{sid};)\n")
    };
    // As many signatures as take longer than the questions below, however fast this machine is.
    let (mut generation, mut count) = (1.0, 250);
    loop {
        assert!(count < 300_000, "nobody answers while a configuration is read");
        count *= 4;
        std::fs::write(daemon.path("slow.rules"), (1..=count).map(rule).collect::<String>()).expect("writable");
        let was_answered = std::thread::scope(|scope| {
            let reload = || daemon.cli(&["reload"]);
            let one = scope.spawn(reload);
            wait_for("the reading", || is_reading(&daemon) || one.is_finished());
            assert_eq!(daemon.get("/readyz").map(|(status, _)| status), Some(200));
            let is_audit = daemon.show("profiles")[0]["mode"] == json!("audit");
            let loaded = daemon.metric("vswitch_signatures_loaded").expect("a scrape");
            // Asked for while the file was read, so it is read again.
            let other = scope.spawn(reload);
            let was_answered = is_reading(&daemon) && !one.is_finished();
            let told = [one.join().expect("no panic"), other.join().expect("no panic")].map(|ended| ended.status);
            assert_eq!(told, [0, 0]);
            // What was answered meanwhile is what was in force.
            assert!(!was_answered || (is_audit, loaded < count as f64) == (generation > 1.0, true));
            was_answered
        });
        generation = daemon.metric("vswitch_config_generation").expect("a scrape");
        assert_eq!(daemon.metric("vswitch_signatures_loaded"), Some(count as f64));
        if was_answered {
            break;
        }
    }
    let row = &daemon.show("profiles")[0];
    assert_eq!((&row["name"], &row["mode"]), (&json!("default"), &json!("audit")));
    assert_eq!(
        (&row["signatures"], &row["stopping"], &row["is_default"]),
        (&json!(count), &json!(count), &json!(true))
    );
    let shown = daemon.cli(&["show", "profiles"]).out;
    assert!(shown.contains("default  audit") && shown.contains("all others"), "{shown}");
}

#[test]
fn what_is_no_regular_file_refuses_the_reload_and_holds_up_none() {
    let daemon = Daemon::running();
    let node = |name: &str| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, daemon.path(name), rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    };
    let yaml = daemon.yaml(&["web1", "db1"], RULES);
    // Nobody ever writes to them.
    node("pipe.rules");
    node("pipe.sha256");
    std::fs::File::create(daemon.path("huge.rules")).and_then(|file| file.set_len(1 << 40)).expect("a hole");
    for (inspection, expected) in [
        ("rule_files: [pipe.rules]", "/pipe.rules`: it is a named pipe; name a regular file"),
        ("rule_files: [\"pip*.rules\"]", "/pipe.rules`: it is a named pipe; name a regular file"),
        ("rule_files: [/dev/zero]", "cannot read the rule file `/dev/zero`: it is a device; name a regular file"),
        ("rule_files: [.]", ".`: it is a directory; name a regular file"),
        ("rule_files: [huge.rules]", "/huge.rules`: it has more than 64 MiB; split it, or name another file"),
        ("file_hashes: [{name: x, path: pipe.sha256}]", "/pipe.sha256`: it is a named pipe; name a regular file"),
        ("file_hashes: [{name: x, path: huge.rules}]", "/huge.rules`: it has more than 4096 MiB; split it"),
    ] {
        daemon.configure(&format!("{yaml}inspection: {{{inspection}}}\n"));
        let refused = daemon.cli(&["reload"]);
        assert_eq!(refused.status, 2, "{inspection}: {refused:?}");
        assert!(
            refused.err.contains(expected) && refused.err.contains("vswitch.yaml:"),
            "{inspection}: {}",
            refused.err
        );
    }
    // So is the configuration itself.
    std::fs::remove_file(daemon.config()).expect("there");
    node("vswitch.yaml");
    let refused = daemon.cli(&["reload"]);
    assert!(refused.status == 2 && refused.err.contains("vswitch.yaml`: it is a named pipe"), "{refused:?}");
    std::fs::remove_file(daemon.config()).expect("there");
    daemon.configure(&yaml);
    assert_eq!((daemon.cli(&["reload"]).out.as_str(), is_reading(&daemon)), ("generation 2\n", false));
}

/// Every set is compiled after the one before it; what the last one holds is what its file says.
#[test]
fn signatures_follow_their_file_from_reload_to_reload() {
    let daemon = Daemon::running();
    let file = daemon.path("some.rules");
    daemon.configure(&(daemon.yaml(&["web1", "db1"], RULES) + "inspection: {rule_files: [some.rules]}\n"));
    let rule = |sid: usize, rev: usize| {
        format!("drop tcp any any -> any any (content:\"abcd{rev}\"; sid:{sid}; rev:{rev};)\n")
    };
    for round in 1..=10 {
        let text: String = (round..2 * round + 5).map(|sid| rule(sid, if sid % 7 == 0 { round } else { 1 })).collect();
        std::fs::write(&file, text + "alert nonsense\n").expect("writable");
        assert_eq!(daemon.cli(&["reload"]).status, 0);
        assert_eq!(daemon.metric("vswitch_signatures_loaded"), Some(round as f64 + 5.0));
    }
    // Of the last fifteen, two are new and two have changed.
    let told = "signatures compiled signatures=15 kept=11";
    assert!(daemon.log().contains(told), "{}", daemon.log());
}

#[test]
fn what_needs_a_restart_is_refused_by_name() {
    let daemon = Daemon::running();
    let yaml = daemon.yaml(&["web1", "db1"], RULES);
    daemon.configure(&yaml.replace("workers: [0]", "workers: [0], poll: busy"));
    let refused = daemon.cli(&["reload"]);
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(refused.err.contains("switch.poll"), "{refused:?}");
    assert_eq!(daemon.metric("vswitch_config_generation"), Some(1.0));
}

#[test]
fn a_port_that_cannot_be_attached_refuses_the_reload() {
    let daemon = Daemon::running();
    let yaml = daemon.yaml(&["web1", "db1", "web2"], RULES);
    let nowhere = daemon.path("vswitch.yaml/web2.sock");
    daemon.configure(&yaml.replace(daemon.path("web2.sock").to_str().expect("text"), nowhere.to_str().expect("text")));
    let refused = daemon.cli(&["reload"]);
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.err.contains("web2"), "{refused:?}");
    assert_eq!(daemon.metric("vswitch_config_generation"), Some(1.0));
    assert_eq!(daemon.show("ports").as_array().map(Vec::len), Some(2));
}

#[test]
fn lists_of_hashes_are_exchanged_by_a_reload() {
    let daemon = Daemon::running();
    let hash = |letter: &str| format!("{}  {letter}\n", letter.repeat(64));
    let list = daemon.path("bad.sha256");
    let inspection = "inspection: {file_hashes: [{name: bad, path: bad.sha256}]}\n";
    std::fs::write(&list, hash("a")).expect("writable");
    daemon.configure(&(daemon.yaml(&["web1", "db1"], RULES) + inspection));
    let lists = |daemon: &Daemon| daemon.metric("vswitch_file_hashes{list=\"bad\"}");
    assert_eq!(lists(&daemon), None);
    assert_eq!(daemon.cli(&["reload"]).status, 0);
    assert_eq!(lists(&daemon), Some(1.0));
    assert_eq!(daemon.metric("vswitch_file_hash_matches_total{list=\"bad\"}"), Some(0.0));
    std::fs::write(&list, hash("a") + &hash("b")).expect("writable");
    assert_eq!(daemon.cli(&["reload"]).status, 0);
    assert_eq!(lists(&daemon), Some(2.0));
    // A list that is not understood changes nothing.
    std::fs::write(&list, hash("a") + "oops\n").expect("writable");
    let ended = daemon.cli(&["reload"]);
    assert_eq!(ended.status, 2);
    assert!(ended.err.contains("bad.sha256`, line 2: "), "{}", ended.err);
    assert_eq!(lists(&daemon), Some(2.0));
}

#[test]
fn a_hundred_reloads_leave_nothing_behind() {
    let daemon = Daemon::running();
    let descriptors = |daemon: &Daemon| {
        let pid = daemon.control(b"{\"request\":\"version\"}\n").expect("an answer");
        let pid: Value = serde_json::from_str(&pid).expect("JSON");
        std::fs::read_dir(format!("/proc/{}/fd", pid["result"]["pid"])).expect("our child").count()
    };
    let with = daemon.yaml(&["web1", "db1", "web2"], RULES);
    let without = daemon.yaml(&["web1", "db1"], RULES);
    assert_eq!(daemon.cli(&["reload"]).status, 0);
    let before = descriptors(&daemon);
    for round in 0..50 {
        for yaml in [&with, &without] {
            daemon.configure(yaml);
            let answer = daemon.control(b"{\"request\":\"reload\"}\n").expect("an answer");
            assert!(answer.contains("\"ok\""), "round {round}: {answer}");
        }
    }
    assert_eq!(daemon.metric("vswitch_config_generation"), Some(102.0));
    wait_for("descriptors are given back", || descriptors(&daemon) <= before);
}

#[test]
fn signals_end_it_and_leave_no_sockets() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::running();
        let socket = daemon.path("run/control.sock");
        let mode = std::fs::metadata(&socket).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(daemon.path("web1.sock").exists());
        daemon.signal(signal);
        assert_eq!(daemon.wait(), 0, "{}", daemon.log());
        assert!(!socket.exists() && !daemon.path("web1.sock").exists());
    }
}

#[test]
fn a_killed_daemon_is_replaced() {
    let mut daemon = Daemon::running();
    daemon.signal(Signal::KILL);
    let socket = daemon.path("run/control.sock");
    wait_for("it is gone", || daemon.control(b"\n").is_err());
    assert!(socket.exists(), "a killed daemon leaves its socket");
    daemon.start();
    assert_eq!(daemon.cli(&["reload"]).status, 0);
}

#[test]
fn the_event_file_is_opened_anew() {
    let daemon = Daemon::running();
    let (path, old) = (daemon.path("eve.json"), daemon.path("eve.json.1"));
    std::fs::rename(&path, old).expect("it was made at the start");
    daemon.signal(Signal::USR1);
    wait_for("a new event file", || path.exists());
}

#[test]
fn what_was_counted_is_told_at_an_interval() {
    let mut daemon = Daemon::new();
    let yaml = daemon.yaml(&["web1", "db1"], RULES);
    daemon.configure(&yaml.replace("eve.json}", "eve.json, types: [stats], stats_interval: 1s}"));
    daemon.start();
    let records = || -> Vec<Value> {
        let text = std::fs::read_to_string(daemon.path("eve.json")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    wait_for("two records", || records().len() >= 2);
    let record = &records()[1];
    assert_eq!((&record["event_type"], &record["vswitch"]["name"]), (&json!("stats"), &json!("test")));
    assert_eq!((&record["stats"]["decoder"]["pkts"], &record["stats"]["flow"]["active"]), (&json!(0), &json!(0)));
    assert_eq!(record["vswitch"]["ports"]["web1"]["received"], json!(0));
    assert!(record["stats"]["uptime"].as_u64() > records()[0]["stats"]["uptime"].as_u64());
    assert!(daemon.metric("vswitch_eve_written_total{type=\"stats\"}").is_some_and(|written| written >= 2.0));
}

#[test]
fn a_file_in_the_way_of_events_is_told() {
    let mut daemon = Daemon::new();
    daemon.configure(&daemon.yaml(&["web1", "db1"], RULES));
    std::fs::create_dir(daemon.path("eve.json")).expect("writable");
    daemon.launch();
    assert_eq!(daemon.wait(), 1);
    assert!(daemon.log().contains("eve.json"), "{}", daemon.log());
}

#[test]
fn bad_clients_of_the_pages() {
    let daemon = Daemon::running();
    let status = |request: &[u8]| {
        let answer = daemon.http(request).expect("an answer");
        answer.split(' ').nth(1).map(str::to_owned)
    };
    assert_eq!(status(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").as_deref(), Some("400"), "TLS");
    assert_eq!(status(b"DELETE /metrics HTTP/1.1\r\n\r\n").as_deref(), Some("405"));
    let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 64 * 1024]].concat();
    assert_eq!(status(&endless).as_deref(), Some("431"));
    let huge = [b"GET /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n".to_vec(), vec![0; 100_000]].concat();
    assert_eq!(status(&huge).as_deref(), Some("200"), "what follows the head is thrown away");

    let idle: Vec<_> = (0..64).map(|_| daemon.connect().expect("a place")).collect();
    let mut cut = 0;
    let started = Instant::now();
    for mut stream in idle {
        stream.write_all(b"GET / HT").expect("open");
        // An end and a reset are the same to a client that is cut.
        cut += usize::from(stream.read(&mut [0; 16]).unwrap_or(0) == 0);
    }
    assert_eq!(cut, 64);
    assert!(started.elapsed() >= Duration::from_secs(3), "they had their time");
    wait_for("others are served", || daemon.get("/healthz").is_some());
}

#[test]
fn bad_clients_of_the_control_socket() {
    let daemon = Daemon::running();
    for request in ["\n", "{}\n", "[1]\n", "{\"request\":\"explode\"}\n", "\u{0}\u{1}\n", "GET / HTTP/1.1\r\n\r\n"] {
        let answer: Value =
            serde_json::from_str(&daemon.control(request.as_bytes()).expect("an answer")).expect("JSON");
        assert_eq!((&answer["status"], &answer["cause"]), (&json!("error"), &json!("bad_request")), "{request:?}");
    }
    let endless = vec![b'x'; 2 * 1024 * 1024];
    // The switch answers or cuts the line, whichever the client sees first.
    let answer = daemon.control(&endless).unwrap_or_default();
    assert!(answer.is_empty() || answer.contains("bad_request"), "{answer}");
    assert_eq!(daemon.cli(&["show", "ports"]).status, 0, "others are served");
}

/// The daemon answers root and its own user. The socket's mode keeps others away; this holds also where it was loosened.
#[test]
fn another_user_is_not_answered() {
    let daemon = Daemon::running();
    assert!(rustix::process::geteuid().is_root(), "run the tests as root: this one becomes another user");
    let binary = daemon.path("vswitch-copy");
    std::fs::copy(env!("CARGO_BIN_EXE_vswitch"), &binary).expect("copied");
    let open_to_all = |path: &str, mode| {
        std::fs::set_permissions(daemon.path(path), std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    open_to_all("", 0o755);
    let as_nobody = || {
        let mut command = std::process::Command::new(&binary);
        command.args(["show", "ports"]).env("VSWITCH_RUN_DIR", daemon.path("run")).uid(65_534).gid(65_534);
        let mut output = None;
        // A test beside this one may be starting a process, which holds our copy open for writing until its exec.
        wait_for("the copy can be run", || {
            let started = command.output();
            let is_busy = started.as_ref().is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy);
            output = (!is_busy).then(|| started.expect("started"));
            output.is_some()
        });
        output.expect("waited for")
    };
    let kept_out = as_nobody();
    assert_eq!(kept_out.status.code(), Some(3), "{kept_out:?}");
    open_to_all("run/control.sock", 0o666);
    let unanswered = as_nobody();
    assert_eq!((unanswered.status.code(), unanswered.stdout.len()), (Some(3), 0), "{unanswered:?}");
    assert_eq!(daemon.cli(&["show", "ports"]).status, 0);
}

/// Another port takes over an interface that is in use: the old one has to let go of it first.
#[test]
fn an_uplink_is_exchanged() {
    let daemon = Daemon::running();
    let ifname = format!("vswt{}", std::process::id());
    let with_uplink = |name: &str| {
        let uplink = format!("uplinks:\n  - {{name: {name}, zone: web, tap: {{ifname: {ifname}}}}}\n");
        daemon.configure(&(daemon.yaml(&["web1", "db1"], RULES) + &uplink));
        let ended = daemon.cli(&["reload"]);
        assert_eq!(ended.status, 0, "{ended:?}");
    };
    let uplinks = || -> Vec<Value> {
        let rows = daemon.show("ports");
        let rows = rows.as_array().expect("rows").iter().filter(|row| row["kind"] == "tap");
        rows.map(|row| json!([row["name"], row["connected"]])).collect()
    };
    with_uplink("up0");
    assert_eq!(uplinks(), [json!(["up0", true])]);
    let interface = format!("/sys/class/net/{ifname}");
    assert!(std::path::Path::new(&interface).exists());
    with_uplink("up1");
    assert_eq!(uplinks(), [json!(["up1", true])]);
    wait_for("frames of the interface", || {
        daemon.metric("vswitch_port_receive_packets_total{port=\"up1\"}") > Some(0.0)
    });
    daemon.configure(&daemon.yaml(&["web1", "db1"], RULES));
    assert_eq!(daemon.cli(&["reload"]).status, 0);
    wait_for("the interface goes with its port", || !std::path::Path::new(&interface).exists());
}
