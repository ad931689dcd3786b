//! The configuration: one YAML file, read, checked and resolved before anything of it takes effect.
//!
//! In the order in which a file meets the modules: [`tree`](self) reads YAML into nodes that know their bytes; `decode`
//! reads the shapes of `file` from them and finds every fault of shape; `resolve` looks up every name and finds every fault
//! of meaning; [`resolved`] is what the rest of the switch is built from. What was found wrong is a
//! [`diagnostic::Report`]: all of it at once, each fault with its place, its line and a way out.

pub mod check;
mod decode;
pub mod diagnostic;
mod file;
pub mod limits;
mod numbering;
mod pattern;
mod resolve;
pub mod resolved;
pub mod schema;
mod selector;
mod spanned;
mod suggest;
mod text;
mod tree;

pub use diagnostic::Report;
pub use limits::Limits;
pub use numbering::PortNumbering;
pub use resolved::{Attachment, Compiled, Counts, PortConfig, Resolved, SwitchConfig, VhostUserMode};

use crate::regular_file::{self, Bounded};
use decode::Decoded;
use diagnostic::{Diagnostic, Place, Severity, SourceText};
use file::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes of a configuration file at most: some thousand ports and rules.
pub const FILE_LEN_MAX: u64 = 4 << 20;

/// Reads and checks a configuration file.
///
/// # Errors
/// Everything that is wrong with it. The numbering is as before then.
pub fn load(path: &Path, numbering: &mut PortNumbering) -> Result<Resolved, Report> {
    load_after(None, path, numbering)
}

/// [`load`], with the signatures of the configuration that is in force: where rule files and variables are still the same, they
/// are used as they are, and no second copy is made.
///
/// # Errors
/// As [`load`].
pub fn load_after(before: Option<&Compiled>, path: &Path, numbering: &mut PortNumbering) -> Result<Resolved, Report> {
    let name = path.display().to_string();
    let text = text_of(regular_file::open(path, FILE_LEN_MAX)).map_err(|fault| unreadable(&name, &fault))?;
    let base_dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    };
    load_text_after(before, (&name, &text), base_dir, numbering)
}

/// Checks a configuration that is at hand as text, under a name for messages; relative paths in it start from `base_dir`.
///
/// # Errors
/// Everything that is wrong with it. The numbering is as before then.
pub fn load_text(name: &str, text: &str, base_dir: &Path, numbering: &mut PortNumbering) -> Result<Resolved, Report> {
    load_text_after(None, (name, text), base_dir, numbering)
}

fn load_text_after(
    before: Option<&Compiled>,
    (name, text): (&str, &str),
    base_dir: &Path,
    numbering: &mut PortNumbering,
) -> Result<Resolved, Report> {
    let source = Arc::new(SourceText::new(name, text));
    let mut report = Report::default();
    let decoded = match tree::read(text) {
        Ok((root, doubled)) => {
            for tree::Doubled { key, first_at, second_at } in doubled {
                let place = |at| Place { source: Arc::clone(&source), at };
                let diagnostic = Diagnostic::new(Severity::Error, format!("the key `{key}` stands twice"));
                report.push(diagnostic.at(place(second_at)).related_to(place(first_at), "first here"));
            }
            decode::decode::<File>(root)
        }
        Err(bad) => {
            let place = Place { source, at: bad.at };
            report.push(Diagnostic::new(Severity::Error, format!("this is not YAML: {}", bad.message)).at(place));
            return Err(report);
        }
    };
    let Decoded { value, faults, lost } = decoded;
    for mut fault in faults {
        let place = Place { source: Arc::clone(&source), at: fault.at.take().unwrap_or(0..0) };
        let diagnostic = Diagnostic::new(Severity::Error, std::mem::take(&mut fault.message)).at(place);
        report.push(Diagnostic { help: fault.help.take(), ..diagnostic });
    }
    let resolved = value.and_then(|file| {
        let context = resolve::Context::new(source, &mut report, lost);
        resolve::resolve(&file, base_dir, before, numbering, context)
    });
    report.sort();
    match resolved {
        Some(resolved) if !report.has_errors() => Ok(Resolved { warnings: report, ..resolved }),
        Some(_) | None => Err(report),
    }
}

/// The text of a configuration.
fn text_of(opened: io::Result<Bounded<impl Read>>) -> Result<String, String> {
    let bytes = opened.and_then(Bounded::read_all).map_err(|error| error.to_string())?;
    String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 text (byte {})", error.utf8_error().valid_up_to()))
}

fn unreadable(name: &str, fault: &str) -> Report {
    Report { diagnostics: vec![Diagnostic::new(Severity::Error, format!("cannot read `{name}`: {fault}"))] }
}
