//! Who may know whom. `inspect` and `zones` are pure and do not know each other, `vswitch` knows both, and these tests know
//! nobody: a further dependency is a decision, and this list is where it is taken.

use std::collections::BTreeSet;
use std::path::Path;

use qemu_tests::tools::workspace;

/// Our crates.
const OURS: &[&str] = &["inspect", "zones", "vswitch", "qemu-tests"];

/// What the pure crates may use: matching, address arithmetic, the builder of frames, and what decompresses and hashes
/// the contents of files that cross the switch.
const PURE: &[(&str, &[&str])] = &[
    (
        "inspect",
        &[
            "aho-corasick",
            "etherparse",
            "memchr",
            "regex-automata",
            "brotli-decompressor",
            "flate2",
            "lzma-rs",
            "md-5",
            "sha1",
            "sha2",
        ],
    ),
    ("zones", &["ipnet"]),
];

/// Words of I/O, clocks, threads and logs, none of which has a place in a pure crate.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "Instant",
    "SystemTime",
    "println!",
    "eprintln!",
    "thread_local!",
    "static mut",
];

/// The names in the tables of a crate's manifest that `wanted` picks.
fn dependencies(member: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let path = workspace().join(member).join("Cargo.toml");
    let manifest = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut table = "";
    let mut names = BTreeSet::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']');
        } else if wanted(table) && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or(line);
            names.insert(name.to_owned());
        }
    }
    names
}

fn is_dependency_table(table: &str) -> bool {
    table == "dependencies" || table == "build-dependencies" || table.ends_with(".dependencies")
}

#[test]
fn our_crates_know_only_whom_they_may() {
    let ours = |member: &str| {
        let all = dependencies(member, |table| is_dependency_table(table) || table == "dev-dependencies");
        all.into_iter().filter(|name| OURS.contains(&name.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(ours("vswitch"), ["inspect", "zones"]);
    for alone in ["inspect", "zones", "qemu-tests"] {
        assert_eq!(ours(alone), [""; 0], "{alone} knows no other crate of ours");
    }
}

#[test]
fn the_pure_crates_use_nothing_that_is_not_listed() {
    for (member, allowed) in PURE {
        let used = dependencies(member, is_dependency_table);
        let unlisted: Vec<_> = used.iter().filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(unlisted.is_empty(), "{member} uses {unlisted:?}: add it to the list here, or do without");
    }
}

#[test]
fn the_pure_crates_do_no_io_and_read_no_clock() {
    let mut findings = Vec::new();
    for (member, _) in PURE {
        look_for_impurity(&workspace().join(member).join("src"), &mut findings);
    }
    assert!(findings.is_empty(), "in a pure crate:\n{}", findings.join("\n"));
}

/// Looks at the code of a folder that is not test code.
fn look_for_impurity(folder: &Path, findings: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            look_for_impurity(&path, findings);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("sources are text");
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(&text);
        let is_test_file = path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
        let lines = code.lines().enumerate().filter(|_| !is_test_file);
        for (index, line) in lines {
            let line = line.split("//").next().unwrap_or(line);
            if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
                findings.push(format!("{}:{}: {word}", path.display(), index + 1));
            }
        }
    }
}

#[test]
fn no_async_runtime_has_come_in_by_the_back_door() {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).expect("Cargo.lock is checked in");
    for runtime in ["tokio", "async-std", "smol", "async-executor"] {
        assert!(!lock.contains(&format!("\nname = \"{runtime}\"\n")), "{runtime} is in Cargo.lock");
    }
}
