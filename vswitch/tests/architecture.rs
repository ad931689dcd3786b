//! `ARCHITECTURE.md` and `README.md` name files and tests; all of them must exist, or the documents lie.

use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(name: &str) -> String {
    std::fs::read_to_string(repository().join(name)).expect("the document is there")
}

/// What stands between backquotes on one line, outside of blocks.
fn quoted(text: &str) -> Vec<&str> {
    let mut is_block = false;
    let mut quoted = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            quoted.extend(line.split('`').skip(1).step_by(2));
        }
    }
    quoted
}

/// The top folders of the tree: what starts with one of them is a path.
const TOPS: [&str; 7] = ["vswitch/", "inspect/", "zones/", "qemu-tests/", "configs/", "scripts/", ".ci/"];

/// Words of a text that look like paths of the tree.
fn paths(text: &str) -> Vec<&str> {
    let is_path = |word: &&str| TOPS.iter().any(|top| word.starts_with(top)) && !word.contains('<');
    text.split(|c: char| c.is_whitespace() || "`(),;".contains(c))
        .map(|word| word.split("::").next().unwrap_or(word).trim_end_matches(['.', ':']))
        .filter(is_path)
        .collect()
}

/// Whether a source has a test function of this name: an attribute `#[test]` right before it, or a place in `proptest!`.
fn has_test(source: &str, name: &str) -> bool {
    let wanted = format!("fn {name}(");
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let Some(at) = lines.iter().position(|line| line.starts_with(&wanted)) else { return false };
    lines[..at]
        .iter()
        .rev()
        .take_while(|line| !line.starts_with('}') && !line.is_empty())
        .any(|line| *line == "#[test]")
}

#[test]
fn every_path_exists() {
    for (name, path_count_min) in [("ARCHITECTURE.md", 50), ("README.md", 5)] {
        let text = document(name);
        let paths = paths(&text);
        let missing: Vec<_> = paths.iter().filter(|path| !repository().join(path).exists()).collect();
        assert!(missing.is_empty(), "{name} names {missing:?}");
        assert!(paths.len() >= path_count_min, "{name}: {} paths", paths.len());
    }
}

#[test]
fn every_test_exists() {
    let text = document("ARCHITECTURE.md");
    let mut count = 0;
    for (file, test) in quoted(&text).into_iter().filter_map(|word| word.split_once("::")) {
        if !file.ends_with(".rs") {
            continue;
        }
        let source = std::fs::read_to_string(repository().join(file)).unwrap_or_default();
        assert!(has_test(&source, test), "ARCHITECTURE.md names {file}::{test}, which is no test");
        count += 1;
    }
    assert!(count >= 50, "{count} tests");
}

#[test]
fn every_invariant_names_its_tests_or_says_that_it_has_none() {
    let text = document("ARCHITECTURE.md");
    let section = text.split("\n## 6. ").nth(1).and_then(|rest| rest.split("\n## 7. ").next()).expect("section 6");
    let invariants: Vec<&str> = section.split("\n\n**").skip(1).collect();
    assert!(invariants.len() >= 18, "{} invariants", invariants.len());
    for invariant in invariants {
        assert!(invariant.contains(".rs::") || invariant.contains("ot guarded"), "no test: **{invariant}");
    }
}

#[test]
fn the_table_of_reasons_has_all_of_them() {
    let text = document("README.md");
    for reason in vswitch::drop_reason::DropReason::ALL {
        let row = format!("| `{}` | {} |", reason.word(), reason.explanation());
        assert!(text.contains(&row), "README.md lacks the line\n{row}");
    }
}

#[test]
fn tests_are_told_from_other_functions() {
    let source =
        "#[test]\nfn one() {}\n\nfn two() {}\n\nproptest! {\n    #[test]\n    fn three(\n        a: u8,\n    ) {}\n}\n";
    let found = ["one", "two", "three", "four"].map(|name| has_test(source, name));
    assert_eq!(found, [true, false, true, false]);
}
