//! `vswitch check`: what is wrong with a configuration, and what there is in one that is sound.

use super::diagnostic::{DiagnosticRow, Severity};
use super::{Counts, PortNumbering, Report, Resolved, load, load_text, read_text, unreadable};
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
    let text = read_text(std::io::stdin().lock()).map_err(|fault| unreadable("-", &fault))?;
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
    let Counts { ports, uplinks, zones, rules, signatures, signatures_refused, refused_by_reason } = &resolved.counts;
    let mut text = format!(
        "{path}: sound, {}\n  {}, {}, {}, {}\n  {} in use, {signatures_refused} refused\n",
        plural(resolved.warnings.count(Severity::Warning), "warning"),
        plural(*ports, "port"),
        plural(*uplinks, "uplink"),
        plural(*zones, "zone"),
        plural(*rules, "rule"),
        plural(*signatures, "signature"),
    );
    let mut reasons: Vec<(&String, &usize)> = refused_by_reason.iter().collect();
    reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), reason.as_str()));
    for (reason, count) in reasons {
        text.push_str(&format!("  {count:>6}  {reason}\n"));
    }
    text
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
