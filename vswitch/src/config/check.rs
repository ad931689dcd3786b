//! `vswitch check`: what is wrong with a configuration, and what there is in one that is sound.

use super::diagnostic::{DiagnosticRow, Severity};
use super::resolved::{HashListCount, ProfileCount};
use super::{Counts, FILE_LEN_MAX, PortNumbering, Report, Resolved, load, load_text, text_of, unreadable};
use crate::regular_file::Bounded;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// Exit code for a configuration that cannot be used, as for wrong usage.
const INVALID: u8 = 2;

/// What `check --json` prints.
#[derive(Serialize)]
struct Outcome<'a> {
    valid: bool,
    counts: Option<&'a Counts>,
    diagnostics: Vec<DiagnosticRow<'a>>,
}

/// Checks a file, or what comes on stdin when the path is `-`: diagnostics to stderr, counts to stdout (with `json`
/// everything to stdout). Answers 0 for a sound configuration, whatever its warnings, and 2 for one that cannot be used.
pub fn check_command(path: &str, json: bool) -> ExitCode {
    let checked = check(path);
    let report = match &checked {
        Ok(resolved) => &resolved.warnings,
        Err(report) => report,
    };
    if json {
        println!("{}", to_json(&checked, report));
    } else {
        eprint!("{report}");
        match &checked {
            Ok(resolved) => print!("{}", summary(path, resolved)),
            Err(report) => eprintln!("\n{path}: not usable, {}", plural(report.count(Severity::Error), "error")),
        }
    }
    if checked.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(INVALID) }
}

fn check(path: &str) -> Result<Resolved, Report> {
    let mut numbering = PortNumbering::new();
    if path != "-" {
        return load(Path::new(path), &mut numbering);
    }
    let input = Bounded::new(std::io::stdin().lock(), FILE_LEN_MAX);
    let text = text_of(Ok(input)).map_err(|fault| unreadable("-", &fault))?;
    load_text("-", &text, Path::new("."), &mut numbering)
}

fn to_json(checked: &Result<Resolved, Report>, report: &Report) -> String {
    let outcome = Outcome {
        valid: checked.is_ok(),
        counts: checked.as_ref().ok().map(|resolved| &resolved.counts),
        diagnostics: report.rows(),
    };
    // The shape has string keys only, so there is nothing that JSON could not say.
    serde_json::to_string_pretty(&outcome).unwrap_or_else(|error| format!("{{\"valid\":false,\"error\":\"{error}\"}}"))
}

fn summary(path: &str, resolved: &Resolved) -> String {
    let Counts {
        ports,
        uplinks,
        zones,
        rules,
        signatures,
        signatures_refused,
        refused_by_reason,
        profiles,
        hash_lists,
    } = &resolved.counts;
    let mut text = format!(
        "{path}: sound, {}\n  {}, {}, {}, {}\n  {} in use, {signatures_refused} refused\n",
        plural(resolved.warnings.count(Severity::Warning), "warning"),
        plural(*ports, "port"),
        plural(*uplinks, "uplink"),
        plural(*zones, "zone"),
        plural(*rules, "rule"),
        plural(*signatures, "signature"),
    );
    for ProfileCount { name, mode, signatures, stopping } in profiles {
        let signatures = plural(*signatures, "signature");
        text.push_str(&format!("  profile {name}: {mode}, {signatures}, {stopping} of them to drop or reject\n"));
    }
    let mut reasons: Vec<(&String, &usize)> = refused_by_reason.iter().collect();
    reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), reason.as_str()));
    for (reason, count) in reasons {
        text.push_str(&format!("  {count:>6}  {reason}\n"));
    }
    for HashListCount { name, hashes, bytes } in hash_lists {
        text.push_str(&format!("  list of hashes {name}: {hashes} hashes, {:.1} MiB\n", *bytes as f64 / 1_048_576.0));
    }
    text
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "alert tcp any any -> any any (msg:\"a\"; content:\"a\"; sid:1;)\n\
                         alert tcp any any -> any any (msg:\"b\"; frobnicate:1; sid:2;)\n";

    fn checked(text: &str) -> Result<Resolved, Report> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.rules"), RULES).unwrap();
        load_text("f.yaml", text, dir.path(), &mut PortNumbering::new())
    }

    #[test]
    fn a_sound_file_is_counted() {
        let resolved = checked("zones: {web: {}}\ninspection: {rule_files: [a.rules]}\n").unwrap();
        let expected = "f.yaml: sound, 1 warning\n  0 ports, 0 uplinks, 1 zone, 0 rules\n  1 signature in use, 1 refused\n  profile default: ips, 1 signature, 0 of them to drop or reject\n       1  unknown keyword frobnicate\n";
        assert_eq!(summary("f.yaml", &resolved), expected);
    }

    #[test]
    fn lists_of_hashes_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let hashes = format!("# two\n{}  a\n{}  b\n{}  b again\n", "a".repeat(64), "b".repeat(64), "b".repeat(64));
        std::fs::write(dir.path().join("bad.sha256"), hashes).unwrap();
        let text = "inspection: {file_hashes: [{name: bad, path: '*.sha256'}]}\n";
        let resolved = load_text("f.yaml", text, dir.path(), &mut PortNumbering::new()).unwrap();
        let summary = summary("f.yaml", &resolved);
        assert!(summary.ends_with("  list of hashes bad: 2 hashes, 0.0 MiB\n"), "{summary}");
    }

    #[test]
    fn json_has_every_diagnostic_with_its_place() {
        let checked = checked("zones: {web: {}}\nports: [{name: a, zone: wbe, vhost_user: {path: /a}}]\n");
        let report = checked.as_ref().unwrap_err();
        let json: serde_json::Value = serde_json::from_str(&to_json(&checked, report)).unwrap();
        assert_eq!(json["valid"], false);
        assert_eq!(json["counts"], serde_json::Value::Null);
        let first = &json["diagnostics"][0];
        assert_eq!(first["message"], "zone \"wbe\" does not exist, did you mean \"web\"?");
        assert_eq!((&first["file"], &first["line"], &first["column"]), (&"f.yaml".into(), &2.into(), &25.into()));
        assert_eq!(first["severity"], "error");
    }
}
