//! Who may know whom, read from the manifests: a dependency that is not listed here fails, so that a new one is a decision
//! and not a habit.
//!
//! `inspect` and `zones` are pure: they know neither one another nor the switch, and no crate that does I/O, reads a clock
//! or starts a thread. `qemu-tests` knows the switch as an operator does, by its binary and its files, and links none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What each crate of the workspace may use, and in its own tests.
const ALLOWED: [(&str, &[&str], &[&str]); 4] = [
    ("zones", &["ipnet"], &["proptest"]),
    // What inspection unpacks and names by a digest is computed by these; each is given bytes and gives bytes.
    (
        "inspect",
        &[
            "brotli-decompressor",
            "etherparse",
            "fancy-regex",
            "flate2",
            "lzma-rs",
            "md-5",
            "memchr",
            "regex-automata",
            "regex-syntax",
            "sha1",
            "sha2",
        ],
        &["proptest"],
    ),
    (
        "vswitch",
        &[
            "inspect",
            "zones",
            "annotate-snippets",
            "arc-swap",
            "arrayvec",
            "base64",
            "clap",
            "crossbeam-channel",
            "dashmap",
            "getrandom",
            "httparse",
            "ipnet",
            "libc",
            "metrics",
            "metrics-exporter-prometheus",
            "mio",
            "rtrb",
            "rustix",
            "schemars",
            "serde",
            "serde-saphyr",
            "serde_json",
            "sha1",
            "signal-hook",
            "signal-hook-mio",
            "tracing",
            "tracing-subscriber",
            "vhost",
            "vhost-user-backend",
            "virtio-queue",
            "vm-memory",
            "vmm-sys-util",
        ],
        &["etherparse", "flate2", "loom", "proptest", "tempfile", "virtio-queue"],
    ),
    ("qemu-tests", &["rustix", "serde_json", "tempfile"], &[]),
];

/// The dependencies of a manifest, by the table that they stand in.
fn dependencies(manifest: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']').trim_matches('[').to_string();
            // `[dependencies.name]` is one dependency too.
            if let Some((kind, name)) = table.split_once('.').filter(|(kind, _)| kind.ends_with("dependencies")) {
                tables.entry(kind.to_string()).or_default().insert(name.to_string());
            }
        } else if table.ends_with("dependencies") {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            tables.entry(table.clone()).or_default().insert(name.trim_matches('"').to_string());
        }
    }
    tables
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn only_listed_dependencies() {
    for (name, normal, dev) in ALLOWED {
        let path = repository().join(name).join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path).unwrap();
        for (table, found) in dependencies(&manifest) {
            let allowed = match table.as_str() {
                "dependencies" => normal,
                "dev-dependencies" => dev,
                other => {
                    panic!("{name}/Cargo.toml has a table [{other}]: say here what it may hold")
                }
            };
            let allowed: BTreeSet<String> = allowed.iter().map(ToString::to_string).collect();
            let unlisted: Vec<&String> = found.difference(&allowed).collect();
            assert!(unlisted.is_empty(), "{name} [{table}]: {unlisted:?} is not listed in this test");
        }
    }
}

#[test]
fn every_crate_of_the_workspace_is_listed() {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap();
    let members: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    assert_eq!(members, ALLOWED.iter().map(|(name, ..)| *name).collect());
}

#[test]
fn the_pure_crates_forbid_unsafe_code_and_reach_for_nothing_outside() {
    // Paths of the standard library that do I/O, read a clock, or start a thread; and what prints.
    const REACHING: [&str; 12] = [
        "std::fs",
        "std::net::Tcp",
        "std::net::Udp",
        "std::os",
        "std::process",
        "std::thread",
        "std::env",
        "std::time::Instant",
        "std::time::SystemTime",
        "println!",
        "eprint",
        "dbg!",
    ];
    for name in ["zones", "inspect"] {
        let source = repository().join(name).join("src");
        let root = std::fs::read_to_string(source.join("lib.rs")).unwrap();
        assert!(root.contains("#![forbid(unsafe_code)]"), "{name}");
        let mut file_count = 0;
        let mut folders = vec![source];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                file_count += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                for (number, line) in text.lines().enumerate() {
                    let reaching = REACHING.iter().find(|word| line.contains(**word));
                    let is_comment = line.trim_start().starts_with("//");
                    assert!(is_comment || reaching.is_none(), "{}:{}: {line}", path.display(), number + 1);
                }
            }
        }
        assert!(file_count > 5, "{name}: {file_count} files");
    }
}

#[test]
fn manifests_are_read_in_each_of_their_spellings() {
    let manifest = "
[package]
name = \"x\"
[dependencies]
a.workspace = true
# b = \"1\"
c = { version = \"1\" }
d=\"1\"
[dependencies.e]
version = \"1\"
[dev-dependencies]
f = \"1\"
[target.'cfg(unix)'.dependencies]
g = \"1\"
";
    let tables = dependencies(manifest);
    let names = |table: &str| tables[table].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(names("dependencies"), ["a", "c", "d", "e"]);
    assert_eq!(names("dev-dependencies"), ["f"]);
    assert_eq!(names("target.'cfg(unix)'.dependencies"), ["g"]);
}
