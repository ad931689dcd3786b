//! Habits of the tree that a program can check better than a reviewer. Each failure names file and line.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use qemu_tests::tools::{run, workspace};

/// Columns of a line, in any text file of ours. rustfmt holds code to 120; prose may end a word later.
const LINE_WIDTH_MAX: usize = 130;
/// Lines of a Rust file before its tests: beyond this a file holds more than one concept.
const FILE_LINES_MAX: usize = 450;
/// Lines of a script: beyond this it becomes Rust.
const SCRIPT_LINES_MAX: usize = 60;

/// Where `unsafe` may stand: rings, guest memory, the uplink's system calls, and thin wrappers of system calls.
const UNSAFE_ALLOWED: &[&str] = &[
    "vswitch/src/port/vhost",
    "vswitch/src/port/uplink",
    "vswitch/src/port/memory",
    "vswitch/src/memory",
    // Says of its entries that zero bytes are one.
    "vswitch/src/flow_table",
    "vswitch/src/sys",
    // The synthetic guest of the benchmark, whose memory the switch shares.
    "vswitch/benches/pipeline/guest.rs",
];

/// A file of the tree, as git knows it.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_script(&self) -> bool {
        self.path.starts_with("scripts/") || self.path.starts_with(".ci/")
    }

    /// The part before the file's own tests.
    fn before_tests(&self) -> &str {
        self.text.split_once("\n#[cfg(test)]\nmod tests").map_or(&self.text, |(before, _)| before)
    }
}

/// All text files that git tracks or would track.
fn sources() -> Vec<Source> {
    let top = workspace();
    let mut git = Command::new("git");
    git.arg("-C").arg(&top);
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed = run(&mut git);
    let read = |path: &str| {
        let text = std::fs::read_to_string(top.join(path)).ok()?;
        Some(Source { path: path.to_owned(), text })
    };
    let sources: Vec<Source> = listed.lines().filter_map(read).collect();
    let complete = sources.iter().any(Source::is_rust) && sources.iter().any(Source::is_script);
    assert!(complete, "git lists our files");
    sources
}

/// Fails with one line for each finding.
fn check(what: &str, findings: impl IntoIterator<Item = String>) {
    let mut list = String::new();
    for finding in findings {
        let _ = writeln!(list, "  {finding}");
    }
    assert!(list.is_empty(), "{what}:\n{list}");
}

/// Findings of `is_bad` over each line of the files that `wanted` picks.
fn lines_where<'a>(
    sources: &'a [Source],
    wanted: impl Fn(&Source) -> bool + 'a,
    is_bad: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = String> + 'a {
    sources.iter().filter(move |source| wanted(source)).flat_map(move |source| {
        let bad: Vec<_> = source.lines().filter(|(_, line)| is_bad(line)).collect();
        bad.into_iter().map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim()))
    })
}

#[test]
fn lines_are_narrow() {
    let sources = sources();
    let ours = |source: &Source| source.is_rust() || source.is_script() || source.path.starts_with("configs/");
    // Text in quotes is data, and as long as it is.
    let is_data = |line: &str| line.contains('"') && !line.trim_start().starts_with(['/', '#']);
    let is_wide = |line: &str| line.chars().count() > LINE_WIDTH_MAX && !is_data(line);
    check("too wide", lines_where(&sources, ours, is_wide));
}

#[test]
fn files_hold_one_concept() {
    let long = sources().into_iter().filter(Source::is_rust).filter_map(|source| {
        let line_count = source.before_tests().lines().count();
        let too_long = line_count > FILE_LINES_MAX && !source.path.contains("/tests/");
        too_long.then(|| format!("{}: {line_count} lines before its tests", source.path))
    });
    check("split along concepts", long);
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two halves so that this list does not find itself.
    let words = [("todo", "!("), ("unimplemented", "!("), ("dbg", "!("), ("#[ign", "ore")];
    let words = words.map(|(first, second)| format!("{first}{second}"));
    let sources = sources();
    let unfinished = |line: &str| words.iter().any(|word| line.contains(word));
    check("unfinished", lines_where(&sources, Source::is_rust, unfinished));
}

#[test]
fn unsafe_stands_only_where_memory_is_shared_or_the_kernel_is_called() {
    let sources = sources();
    // Benches and tests play the guest, which shares its memory as well.
    let plays_guest = |path: &str| path.contains("/benches/") || path.contains("/tests/");
    let is_allowed = |path: &str| UNSAFE_ALLOWED.iter().any(|prefix| path.starts_with(prefix));
    let elsewhere = |source: &Source| source.is_rust() && !plays_guest(&source.path) && !is_allowed(&source.path);
    let words = ["{", "fn", "impl", "extern"].map(|what| format!("unsa{}{what}", "fe "));
    let is_unsafe = |line: &str| {
        let code = line.split("//").next().unwrap_or(line);
        // `Zeroable` is a claim about a type's bytes, which stands where the type does; it touches no memory.
        words.iter().any(|word| code.contains(word)) && !code.contains(" impl Zeroable for ")
    };
    check("unsafe outside its modules", lines_where(&sources, elsewhere, is_unsafe));
}

#[test]
fn the_pure_crates_forbid_unsafe_code() {
    let top = workspace();
    let missing = ["inspect/src/lib.rs", "zones/src/lib.rs"].into_iter().filter(|path| {
        let text = std::fs::read_to_string(top.join(path)).unwrap_or_default();
        !text.contains("#![forbid(unsafe_code)]")
    });
    check("no forbid(unsafe_code)", missing.map(str::to_owned));
}

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
    "thread_local!",
    "static mut",
];

#[test]
fn the_pure_crates_do_no_io_and_read_no_clock() {
    let pure = |source: &Source| ["inspect/src/", "zones/src/"].iter().any(|folder| source.path.starts_with(folder));
    let is_test_file = |path: &str| path.contains("/tests/") || path.ends_with("tests.rs");
    let sources: Vec<Source> = sources()
        .into_iter()
        .filter(|source| pure(source) && !is_test_file(&source.path))
        .map(|source| Source { text: source.before_tests().to_owned(), path: source.path })
        .collect();
    let is_impure = |line: &str| {
        let code = line.split("//").next().unwrap_or(line);
        IMPURE.iter().any(|word| code.contains(word))
    };
    check("in a pure crate", lines_where(&sources, Source::is_rust, is_impure));
}

#[test]
fn no_async_runtime_has_come_in_by_the_back_door() {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).expect("Cargo.lock is checked in");
    for runtime in ["tokio", "async-std", "smol", "async-executor"] {
        assert!(!lock.contains(&format!("\nname = \"{runtime}\"\n")), "{runtime} is in Cargo.lock");
    }
}

#[test]
fn scripts_are_short_strict_and_executable() {
    let top = workspace();
    let findings = sources().into_iter().filter(Source::is_script).flat_map(|source| {
        let line_count = source.text.lines().count();
        let is_bash = source.text.starts_with("#!/usr/bin/env bash\n");
        let is_strict = source.text.contains("\nset -euo pipefail\n");
        [
            (line_count > SCRIPT_LINES_MAX).then(|| format!("{}: {line_count} lines", source.path)),
            (is_bash && !is_strict).then(|| format!("{}: no `set -euo pipefail`", source.path)),
            (!is_executable(&top.join(&source.path))).then(|| format!("{}: not executable", source.path)),
        ]
    });
    check("scripts", findings.flatten());
}

#[test]
fn the_scripts_that_people_and_ci_start_are_there() {
    let top = workspace();
    let wanted = ["scripts/demo", "scripts/test", "scripts/check", "scripts/setup", "scripts/guest-image", ".ci/run"];
    let missing = wanted.into_iter().filter(|path| !is_executable(&top.join(path)));
    check("missing or not executable", missing.map(str::to_owned));
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    // Written in two halves so that this list does not find itself.
    let homes = [("/ho", "me/"), ("/wo", "rk/"), ("/ro", "ot/")].map(|(first, second)| format!("{first}{second}"));
    // "framework/x" and "target/work/x" are not absolute
    let continues = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || "._-}/".contains(c));
    let names_a_home =
        |line: &str| homes.iter().any(|home| line.match_indices(home.as_str()).any(|(at, _)| !continues(&line[..at])));
    let sources = sources();
    let text = |source: &Source| !source.path.ends_with(".lock");
    check("absolute paths", lines_where(&sources, text, names_a_home));
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.permissions().mode() & 0o111 != 0)
}
