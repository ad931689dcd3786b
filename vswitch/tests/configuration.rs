//! Configurations as operators meet them: those that are shipped load, those that are broken say why, the schema is the
//! file's, and a port keeps its number.
//!
//! Expected texts and the schema are made anew with `UPDATE_EXPECTED=1 cargo test -p vswitch --test configuration`; look at
//! the difference before committing it.

use inspect::detect::{AnomalyKind, Threshold};
use inspect::inspector::{ExceptionPolicy, Mode, Settings};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use vswitch::config::diagnostic::Severity;
use vswitch::config::{Attachment, PortNumbering, Resolved, VhostUserMode, load, load_after, load_text, schema};
use vswitch::detect::{DetectConfig, Response};
use zones::PortId;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no *.{extension} in {}", dir.display());
    files
}

/// Compares a text with the file that keeps it, or keeps it anew.
fn check_kept(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == text, "{} keeps\n{kept}\nbut it is\n{text}", path.display());
}

fn loaded(text: &str) -> Resolved {
    load_text("test.yaml", text, Path::new("."), &mut PortNumbering::new()).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn every_shipped_configuration_loads_without_a_warning() {
    for path in files(&repository().join("configs"), "yaml") {
        let resolved = load(&path, &mut PortNumbering::new()).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(resolved.warnings.count(Severity::Warning), 0, "{}", resolved.warnings);
        let names_rules =
            std::fs::read_to_string(&path).unwrap().lines().any(|line| line.trim().starts_with("rule_files:"));
        assert_eq!(!resolved.rules.is_empty(), names_rules, "{}: signatures", path.display());
    }
}

#[test]
fn every_shipped_rule_file_is_in_use() {
    let rule_count: usize = files(&repository().join("configs/rules"), "rules")
        .iter()
        .map(|path| {
            std::fs::read_to_string(path).unwrap().lines().filter(|l| !l.is_empty() && !l.starts_with('#')).count()
        })
        .sum();
    let resolved = load(&repository().join("configs/full.yaml"), &mut PortNumbering::new()).unwrap();
    assert_eq!(resolved.counts.signatures, rule_count);
}

#[test]
fn the_shipped_schema_is_that_of_the_file() {
    check_kept(&repository().join("configs/vswitch.schema.json"), &schema::text());
}

#[test]
fn full_yaml_has_every_key_of_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(&schema::text()).unwrap();
    let mut keys = BTreeSet::new();
    collect_keys(&schema, &mut keys);
    assert!(keys.len() > 40, "{keys:?}");
    let text = std::fs::read_to_string(repository().join("configs/full.yaml")).unwrap();
    for key in keys {
        let is_there = text.lines().any(|line| {
            let line = line.split(" # ").next().unwrap_or_default();
            let is_letter = |c: char| c.is_alphanumeric() || c == '_';
            !line.trim_start().starts_with('#')
                && line.match_indices(&format!("{key}:")).any(|(at, _)| !line[..at].ends_with(is_letter))
        });
        assert!(is_there, "configs/full.yaml does not show `{key}`");
    }
}

fn collect_keys(schema: &serde_json::Value, keys: &mut BTreeSet<String>) {
    match schema {
        serde_json::Value::Object(object) => {
            if let Some(serde_json::Value::Object(properties)) = object.get("properties") {
                keys.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| collect_keys(value, keys));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}

#[test]
fn broken_configurations_say_why() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken-configs");
    for path in files(&dir, "yaml") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let report = match load_text(name, &text, Path::new("."), &mut PortNumbering::new()) {
            Ok(resolved) => panic!("{name} is sound, {}", resolved.warnings),
            Err(report) => report,
        };
        assert!(report.has_errors(), "{name}");
        check_kept(&path.with_extension("txt"), &report.to_string());
    }
}

const TWO_PORTS: &str = "
zones: {web: {}}
ports:
  - {name: a, zone: web, vhost_user: {path: /a.sock}, port_security: [\"52:54:00:00:00:01\"]}
  - {name: b, zone: web, vhost_user: {path: /b.sock, mode: client, queues: 4}, port_security: [\"52:54:00:00:00:02\"]}
uplinks: [{name: up, zone: web, tap: {ifname: tap0}}]
";

#[test]
fn ports_are_resolved() {
    let resolved = loaded(TWO_PORTS);
    let attachments: Vec<&Attachment> = resolved.ports.iter().map(|port| &port.attachment).collect();
    let socket = |path: &str, mode, queues| Attachment::VhostUser { path: path.into(), mode, queues };
    assert_eq!(
        attachments,
        [
            &socket("/a.sock", VhostUserMode::Server, 1),
            &socket("/b.sock", VhostUserMode::Client, 4),
            &Attachment::Tap { ifname: "tap0".into() }
        ]
    );
    let uplinks: Vec<bool> = resolved.ports.iter().map(|port| port.is_uplink).collect();
    assert_eq!(uplinks, [false, false, true]);
    assert_eq!(resolved.ports[1].security.as_ref().unwrap().macs(), [[0x52, 0x54, 0, 0, 0, 2]]);
    assert!(resolved.ports[2].security.is_none());
    assert_eq!(resolved.policy.deciders(), ["intra-zone:web", "default"]);
}

#[test]
fn an_empty_file_is_a_switch_without_ports() {
    let resolved = loaded("");
    assert!(resolved.ports.is_empty() && resolved.warnings.is_empty());
    assert_eq!((resolved.switch.name.as_str(), resolved.switch.workers.as_slice()), ("br0", &[0][..]));
    assert_eq!(resolved.limits.flows, 65_536);
}

#[test]
fn smaller_tables_keep_their_proportion() {
    let limits = |text: &str| loaded(text).limits;
    assert_eq!(limits("limits: {flows: 2048}").flows_per_port, 512);
    assert_eq!(limits("limits: {flows: 4194304}").flows_per_port, 16_384);
    assert_eq!(limits("limits: {flow_timeouts: {icmp: 5s}, mac_ageing: 1h}").mac_ageing_ms, 3_600_000);
    assert_eq!(limits("limits: {flow_timeouts: {icmp: 5s}}").flow_timeouts.icmp_ms, 5_000);
}

#[test]
fn the_watch_is_resolved() {
    assert_eq!(loaded(TWO_PORTS).detect, None, "nobody asked for one");
    let detect = |section: &str| loaded(&format!("{TWO_PORTS}detect: {section}\n")).detect.unwrap();
    let all = detect("{}");
    let defaults = AnomalyKind::ALL.map(|kind| (kind, (kind.default_threshold(), Response::Alert)));
    assert_eq!(all, DetectConfig { kinds: defaults.into(), exempt: Vec::new() });
    let some = detect(
        "{port_scan: {threshold: 7, window: 2s, quiet_time: 3s, action: quarantine}, udp_flood: {enabled: false},
          icmp_flood: {action: quarantine, quarantine_time: 5s}, syn_flood: {action: drop}, exempt: [b]}",
    );
    let threshold = Threshold { count_max: 7, window_ms: 2_000, quiet_ms: 3_000 };
    assert_eq!(some.kinds[&AnomalyKind::PortScan], (threshold, Response::Quarantine { ms: 600_000 }));
    assert_eq!(some.kinds[&AnomalyKind::IcmpFlood].1, Response::Quarantine { ms: 5_000 });
    assert_eq!(some.kinds[&AnomalyKind::SynFlood].1, Response::Drop);
    assert!(!some.kinds.contains_key(&AnomalyKind::UdpFlood) && some.kinds.len() == 6);
    assert_eq!(some.exempt, [PortId(1)]);
    assert_eq!(detect("{exempt: [web]}").exempt, [PortId(0), PortId(1), PortId(2)], "a zone is its ports");
}

#[test]
fn a_refused_configuration_numbers_no_port() {
    let mut numbering = PortNumbering::new();
    let mut ids = |text: &str| {
        let resolved = load_text("test.yaml", text, Path::new("."), &mut numbering);
        resolved.map(|resolved| resolved.ports.iter().map(|port| port.id).collect::<Vec<_>>()).ok()
    };
    assert_eq!(ids(TWO_PORTS), Some(vec![PortId(0), PortId(1), PortId(2)]));
    assert_eq!(ids(&TWO_PORTS.replace("name: a", "name: c").replace("queues: 4", "queues: 99")), None);
    let renamed = TWO_PORTS.replace("name: a", "name: d");
    assert_eq!(ids(&renamed), Some(vec![PortId(3), PortId(1), PortId(2)]));
    assert_eq!(ids(TWO_PORTS), Some(vec![PortId(0), PortId(1), PortId(2)]));
}

#[test]
fn a_port_without_security_is_warned_of_and_is_still_no_router() {
    let resolved = loaded("zones: {web: {}}\nports: [{name: a, zone: web, vhost_user: {path: /a.sock}}]\n");
    assert_eq!(resolved.warnings.count(Severity::Warning), 1);
    let claim = zones::binding::Claim::Ipv4 {
        source: "10.0.0.1".parse().unwrap(),
        destination: "10.0.0.2".parse().unwrap(),
        udp_ports: Some((67, 68)),
    };
    let security = resolved.ports[0].security.as_ref().unwrap();
    assert_eq!(security.check([2, 0, 0, 0, 0, 1], &claim), Err(zones::binding::Spoof::DhcpServer));
}

#[test]
fn hidden_rules_are_warned_of_with_both_places() {
    let text = "zones: {web: {}, db: {}}
ports:
  - {name: a, zone: web, vhost_user: {path: /a.sock}, port_security: [\"52:54:00:00:00:01\"]}
  - {name: b, zone: db, vhost_user: {path: /b.sock}, port_security: [\"52:54:00:00:00:02\"]}
policy:
  rules:
    - {name: all, from: web, action: drop}
    - {name: one, from: web, to: db, proto: tcp, action: allow}
";
    let warnings = loaded(text).warnings.to_string();
    let expected = "\
warning: rule \"one\" never decides: rule \"all\" does the opposite first
 --> test.yaml:8:14
  |
7 |     - {name: all, from: web, action: drop}
  |              --- asked first
8 |     - {name: one, from: web, to: db, proto: tcp, action: allow}
  |              ^^^
";
    assert_eq!(warnings, expected);
}

#[test]
fn a_first_place_far_away_is_told_by_its_numbers() {
    let text = format!("zones:\n  web: {{}}\n{}  web: {{}}\n", "  # much\n".repeat(2000));
    let report = load_text("test.yaml", &text, Path::new("."), &mut PortNumbering::new()).unwrap_err();
    let expected = "\
error: the key `web` stands twice
    --> test.yaml:2003:3
     |
2003 |   web: {}
     |   ^^^
     |
     = note: first here: test.yaml:2:3
";
    assert_eq!(report.to_string(), expected);
}

#[test]
fn refused_signatures_are_named_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let rules = "alert tcp any any -> any any (msg:\"fine\"; content:\"a\"; sid:1;)\n\
                 alert tcp any any -> any any (msg:\"odd\"; frobnicate:1; sid:2;)\n";
    std::fs::write(dir.path().join("local.rules"), rules).unwrap();
    let check = |extra: &str| {
        let text = format!("inspection: {{rule_files: [\"*.rules\"]{extra}}}\n");
        load_text("test.yaml", &text, dir.path(), &mut PortNumbering::new())
    };
    let skipped = check("").unwrap();
    assert_eq!((skipped.counts.signatures, skipped.counts.signatures_refused), (1, 1));
    let place = format!("{}:2:42", dir.path().join("local.rules").display());
    let warnings = skipped.warnings.to_string();
    assert!(warnings.contains(&place) && warnings.contains("frobnicate"), "{warnings}");
    assert_eq!(skipped.counts.refused_by_reason.values().sum::<usize>(), 1);
    let refused = check(", on_refused_rule: error").unwrap_err().to_string();
    assert!(refused.contains(&place) && refused.starts_with("error:"), "{refused}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let report = load(Path::new("/nonexistent/x.yaml"), &mut PortNumbering::new()).unwrap_err();
    assert!(report.to_string().starts_with("error: cannot read `/nonexistent/x.yaml`: "), "{report}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("latin1.yaml");
    std::fs::write(&path, b"switch: {name: \xe9}\n").unwrap();
    let report = load(&path, &mut PortNumbering::new()).unwrap_err();
    assert!(report.to_string().contains("it is not UTF-8 text (byte 15)"), "{report}");
}

const PROFILES: &str = "
zones: {web: {}, db: {}, up: {}}
ports:
  - {name: a, zone: web, vhost_user: {path: /a.sock}, port_security: [\"52:54:00:00:00:01\"]}
  - {name: b, zone: db, vhost_user: {path: /b.sock}, port_security: [\"52:54:00:00:00:02\"]}
uplinks: [{name: out, zone: up, tap: {ifname: tap0}}]
";

/// The profile of flows between ports a, b and out, row by row, under what stands below `inspection`.
fn profiles_between(inspection: &str) -> Vec<String> {
    let resolved = loaded(&format!("{PROFILES}inspection: {{{inspection}}}\n"));
    assert_eq!(resolved.warnings.count(Severity::Warning), 0, "{}", resolved.warnings);
    let row = |from| (0..3).map(move |to| (PortId(from), PortId(to)));
    let names = |from| row(from).map(|(from, to)| resolved.profiles.between(from, to).name.clone()).collect::<Vec<_>>();
    (0..3).map(|from| names(from).join(" ")).collect()
}

#[test]
fn profiles_are_chosen_by_the_first_pair_that_matches() {
    let all = |name: &str| vec![[name; 3].join(" "); 3];
    assert_eq!(profiles_between(""), all("default"));
    assert_eq!(profiles_between("profiles: {x: {}}"), all("default"));
    assert_eq!(profiles_between("profiles: {x: {}}, default_profile: x"), all("x"));
    assert_eq!(profiles_between("profiles: {default: {mode: ids}}"), all("default"));
    let pairs = "profiles: {x: {}, y: {mode: ids}, z: {mode: audit}}, default_profile: z, pairs: [\
                 {from: web, to: db, profile: x}, {from: [web, db], to: any, profile: y}, {to: web, profile: x}]";
    assert_eq!(profiles_between(pairs), ["y x y", "y y y", "x z z"]);
}

#[test]
fn what_profiles_say_is_what_holds() {
    let exceptions = "{stream: drop-flow, memory: pass-packet, protocol: bypass, budget: ignore}";
    let text = format!(
        "{PROFILES}inspection: {{profiles: {{default: {{mode: audit, midstream: true, \
                        exceptions: {exceptions}}}}}}}\n"
    );
    let resolved = loaded(&text);
    let expected = Settings {
        mode: Mode::Audit,
        midstream: true,
        stream_exception: ExceptionPolicy::DropFlow,
        memory_exception: ExceptionPolicy::PassPacket,
        protocol_exception: ExceptionPolicy::Bypass,
        budget_exception: ExceptionPolicy::Ignore,
        ..Settings::default()
    };
    assert_eq!(*resolved.profiles.between(PortId(0), PortId(1)).profile.settings(), expected);
    // A profile that is not configured prevents and believes nobody.
    let unsaid = loaded(PROFILES);
    assert_eq!(*unsaid.profiles.between(PortId(0), PortId(1)).profile.settings(), Settings::default());
    assert_eq!(Settings::default().mode, Mode::Prevent);
}

#[test]
fn profiles_choose_among_signatures() {
    let dir = tempfile::tempdir().unwrap();
    let rule =
        |action: &str, sid: u32| format!("{action} tcp any any -> any any (msg:\"x\"; content:\"abcd\"; sid:{sid};)\n");
    std::fs::write(dir.path().join("one.rules"), rule("alert", 1) + &rule("drop", 2)).unwrap();
    std::fs::write(dir.path().join("two.rules"), rule("alert", 3)).unwrap();
    let text = "inspection:
  rule_files: [\"*.rules\"]
  profiles:
    one: {enable: \"group:one\"}
    less: {disable: 2, drop: [1, 3]}
    none: {mode: ids, enable: []}
    idle: {enable: [\"group:three\", 1]}
  default_profile: one
  pairs: [{from: any, profile: one}]
";
    let resolved = load_text("test.yaml", text, dir.path(), &mut PortNumbering::new()).unwrap();
    let counts: Vec<(&str, usize, usize)> =
        resolved.counts.profiles.iter().map(|count| (count.name.as_str(), count.signatures, count.stopping)).collect();
    assert_eq!(counts, [("one", 2, 1), ("less", 2, 2), ("none", 0, 0), ("idle", 1, 0)]);
    let warnings = resolved.warnings.to_string();
    let expected = "warning: no signature is selected by this\n --> test.yaml:7:21\n";
    assert!(warnings.contains(expected), "{warnings}");
    assert!(warnings.contains("warning: this pair never decides"), "{warnings}");
}

#[test]
fn signatures_that_did_not_change_are_not_compiled_again() {
    let dir = tempfile::tempdir().unwrap();
    let rule = "alert tcp any any -> $HOME_NET any (msg:\"x\"; content:\"abcd\"; sid:1;)\nalert x (sid:2;)\n";
    let config = dir.path().join("vswitch.yaml");
    std::fs::write(dir.path().join("one.rules"), rule).unwrap();
    let text = "inspection: {rule_files: [one.rules], profiles: {x: {mode: ids}}, default_profile: x}\n";
    let mut before: Option<Resolved> = None;
    let mut check = |text: &str, is_same: bool| {
        std::fs::write(&config, text).unwrap();
        let compiled = before.as_ref().map(|resolved| &resolved.compiled);
        let resolved = load_after(compiled, &config, &mut PortNumbering::new()).unwrap();
        assert_eq!((resolved.counts.signatures, resolved.counts.signatures_refused), (1, 1));
        assert_eq!(resolved.warnings.count(Severity::Warning), 1, "{}", resolved.warnings);
        let shares = before.as_ref().is_some_and(|before| std::sync::Arc::ptr_eq(&before.rules, &resolved.rules));
        assert_eq!(shares, is_same, "{text}");
        before = Some(resolved);
    };
    check(text, false);
    check(text, true);
    check(&text.replace("ids", "audit"), true);
    check(&text.replace("one.rules]", "one.rules], vars: {HOME_NET: 10.0.0.0/8}"), false);
    std::fs::write(dir.path().join("one.rules"), rule.replace("abcd", "abce")).unwrap();
    check(text, false);
}

#[test]
fn a_rule_file_that_cannot_be_read_is_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let pipe = dir.path().join("b.rules");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    std::fs::write(dir.path().join("a.rules"), "alert tcp any any -> any any (sid:1;)\n").unwrap();
    std::fs::create_dir(dir.path().join("c.rules")).unwrap();
    let load =
        || load_text("x.yaml", "inspection: {rule_files: [\"*.rules\"]}\n", dir.path(), &mut PortNumbering::new());
    let report = load().unwrap_err().to_string();
    assert!(report.contains("b.rules`: it is a named pipe; name a regular file"), "{report}");
    assert!(report.contains("x.yaml:1:"), "{report}");
    std::fs::remove_file(&pipe).unwrap();
    assert_eq!(load().unwrap().counts.signatures, 1);
    std::os::unix::fs::symlink("nowhere", &pipe).unwrap();
    assert!(load().unwrap_err().to_string().contains("b.rules`: No such file"));
    std::fs::remove_file(&pipe).unwrap();
    // Each is small enough, but not all together.
    for index in 0..5 {
        let file = std::fs::File::create(dir.path().join(format!("d{index}.rules"))).unwrap();
        file.set_len(60 << 20).unwrap();
    }
    let report = load().unwrap_err().to_string();
    assert!(report.contains("the rule files have more than 256 MiB together"), "{report}");
}

/// What tools outside of this repository write; none of its names may change.
const CONTRACT: &str = r#"
switch:
  name: br0
  run_dir: /run/vswitch
  workers: [0]
  poll: adaptive
metrics: {listen: "127.0.0.1:9477"}
eve: {path: /var/log/vswitch/eve.json}
zones:
  web:     {intra_zone: allow}
  db:      {intra_zone: drop}
  outside: {}
ports:
  - name: web1
    zone: web
    tenant: acme
    labels: {tier: web}
    vhost_user: {path: /run/vswitch/web1.sock, mode: server, queues: 1}
    port_security: ["52:54:00:00:00:01 10.0.1.11"]
    qmp: /run/vm/web1.qmp
uplinks:
  - {name: up0, zone: outside, tap: {ifname: vsw-up0}}
groups:       {web: {labels: {tier: web}}}
address_sets: {dns: [10.0.9.53]}
policy:
  default: drop
  rules:
    - {name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}
    - {name: group, from: "@web", to: $dns, proto: udp, dport: 53, action: allow}
inspection:
  rule_files: [rules/*.rules]
  vars: {HOME_NET: "[10.0.0.0/8]", EXTERNAL_NET: "any"}
limits: {}
"#;

#[test]
fn the_contract_holds() {
    let dir = tempfile::tempdir().unwrap();
    let resolved = load_text("test.yaml", CONTRACT, dir.path(), &mut PortNumbering::new()).unwrap();
    let warning = "warning: `rules/*.rules` matches no file: no signatures come from it\n";
    assert!(resolved.warnings.to_string().starts_with(warning), "{}", resolved.warnings);
    assert_eq!(resolved.warnings.diagnostics.len(), 1);
    let deciders = ["web-db", "group", "intra-zone:web", "intra-zone:db", "intra-zone:outside", "default"];
    assert_eq!(resolved.policy.deciders(), deciders);
    assert_eq!(resolved.ports[0].tenant.as_deref(), Some("acme"));
    assert_eq!(resolved.ports[0].qmp.as_deref(), Some(Path::new("/run/vm/web1.qmp")));
}

proptest::proptest! {
    /// Whatever an editor leaves behind: an answer, never a panic, and a report that can be printed.
    #[test]
    fn any_text_gets_an_answer(
        edits in proptest::collection::vec((0usize..4000, 0usize..40, "[ -~é\n]{0,6}"), 0..6),
    ) {
        let mut text = std::fs::read_to_string(repository().join("configs/full.yaml")).unwrap();
        // Without comments, so that edits meet something.
        text = text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect();
        for (start, len, inserted) in edits {
            let boundary = |offset: usize| (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let range = boundary(start)..boundary(start + len);
            text.replace_range(range, &inserted);
        }
        match load_text("test.yaml", &text, &repository().join("configs"), &mut PortNumbering::new()) {
            Ok(resolved) => assert!(!resolved.warnings.has_errors()),
            Err(report) => assert!(report.has_errors() && report.to_string().contains("error: ")),
        }
    }
}
