//! Rule files: found, read, compiled, and every signature that is not understood named.

use super::Context;
use crate::config::diagnostic::{Diagnostic, Place, Severity, SourceText};
use crate::config::file::{Inspection, OnRefusedRule};
use crate::config::pattern::matches;
use crate::config::resolved::{Compiled, Counts};
use crate::config::spanned::At;
use crate::rule_file;
use inspect::signature::{Refusal, RuleFile, RuleSet, Vars};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rule files of one configuration at most.
const FILES_MAX: usize = 256;
/// Bytes of all rule files together: several public sets. Reading them takes twice that of memory for a while.
const FILES_LEN_MAX: u64 = 256 << 20;

/// The signatures of a configuration, and how many. They share with those of the configuration before what has not changed; where
/// files and variables are all the same, they are used as they are.
pub(super) fn load(
    inspection: &Inspection,
    base_dir: &Path,
    before: Option<&Compiled>,
    context: &mut Context<'_>,
) -> (Compiled, Counts) {
    let files = read_all(inspection, base_dir, context);
    let mut vars = Vars::conventional();
    for (name, value) in &inspection.vars.0 {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_letter) {
            let message = format!("\"{}\" cannot be the name of a variable", name.value.escape_debug());
            context.error_with_help(&name.at, message, "letters, digits and _ only, without the $");
        }
        vars.set(name.value.clone(), value.value.clone());
    }
    let compiled = compile(&files, &vars, before);
    let severity = match inspection.on_refused_rule {
        OnRefusedRule::Skip => Severity::Warning,
        OnRefusedRule::Error => Severity::Error,
    };
    let mut counts =
        Counts { signatures: compiled.rules.len(), signatures_refused: compiled.refused.len(), ..Counts::default() };
    let sources: Vec<Arc<SourceText>> =
        files.into_iter().map(|file| Arc::new(SourceText::new(file.name, file.text))).collect();
    for refusal in &*compiled.refused {
        *counts.refused_by_reason.entry(refusal.cause.group()).or_default() += 1;
        context.report.push(diagnostic(refusal, severity, &sources));
    }
    (compiled, counts)
}

/// The texts of all rule files; none when there are more than there may be.
fn read_all(inspection: &Inspection, base_dir: &Path, context: &mut Context<'_>) -> Vec<RuleFile> {
    let mut files: Vec<RuleFile> = Vec::new();
    for pattern in &inspection.rule_files {
        for path in find(pattern, base_dir, "no signatures come from it", context) {
            if files.len() == FILES_MAX {
                context.error_at(&pattern.at, format!("more than {FILES_MAX} rule files"));
                break;
            }
            read(&path, pattern, &mut files, context);
            if files.iter().map(|file| file.text.len() as u64).sum::<u64>() > FILES_LEN_MAX {
                let message = format!("the rule files have more than {} MiB together", FILES_LEN_MAX >> 20);
                context.error_with_help(
                    &pattern.at,
                    message,
                    "name fewer files: does the pattern match what is no rules?",
                );
                return Vec::new();
            }
        }
    }
    files
}

fn compile(files: &[RuleFile], vars: &Vars, before: Option<&Compiled>) -> Compiled {
    let hash = |half: u8| {
        let mut hasher = DefaultHasher::new();
        half.hash(&mut hasher);
        files.iter().for_each(|file| (&file.name, &file.text).hash(&mut hasher));
        vars.iter().for_each(|var| var.hash(&mut hasher));
        hasher.finish()
    };
    let source = (hash(0), hash(1));
    if let Some(same) = before.filter(|before| before.source == source) {
        return same.clone();
    }
    let loaded = match before {
        Some(before) => RuleSet::compile_after(&before.rules, files, vars),
        None => RuleSet::compile(files, vars),
    };
    Compiled { rules: Arc::new(loaded.rules), refused: loaded.refused.into(), source }
}

fn diagnostic(refusal: &Refusal, severity: Severity, sources: &[Arc<SourceText>]) -> Diagnostic {
    let what = match refusal.sid {
        Some(sid) => format!("signature {sid} is not used: {}", refusal.cause),
        None => format!("a signature is not used: {}", refusal.cause),
    };
    let diagnostic = Diagnostic::new(severity, what);
    match sources.iter().find(|source| source.name() == refusal.file) {
        Some(source) => {
            let start = source.offset_of(refusal.position.line, refusal.position.column);
            diagnostic.at(Place { source: Arc::clone(source), at: start..word_end(source.text(), start) })
        }
        None => diagnostic,
    }
}

fn word_end(text: &str, start: usize) -> usize {
    let is_letter = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '$');
    let word = text.get(start..).unwrap_or_default();
    start + word.find(|c| !is_letter(c)).unwrap_or(word.len())
}

/// The files that a pattern stands for, in the order of their names. Without any, the warning says what that means.
pub(super) fn find(pattern: &At<String>, base_dir: &Path, without: &str, context: &mut Context<'_>) -> Vec<PathBuf> {
    let path = base_dir.join(pattern.as_str());
    let is_pattern = |text: &str| text.contains(['*', '?']);
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        context.error_at(&pattern.at, format!("`{}` names no file", pattern.value));
        return Vec::new();
    };
    if !is_pattern(pattern.as_str()) {
        return vec![path];
    }
    if pattern.rsplit_once('/').is_some_and(|(dir, _)| is_pattern(dir)) {
        context.error_at(&pattern.at, "`*` and `?` stand for letters of the file's name, not of its directory");
        return Vec::new();
    }
    let mut found: Vec<PathBuf> = match std::fs::read_dir(dir) {
        Ok(entries) => entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_str().is_some_and(|file| matches(name, file)))
            .map(|entry| entry.path())
            // Whatever else stands there under such a name was meant to be read, and is refused if it cannot be.
            .filter(|path| !path.is_dir())
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            context.error_at(&pattern.at, format!("cannot list `{}`: {error}", dir.display()));
            return Vec::new();
        }
    };
    found.sort();
    if found.is_empty() {
        context.warning_at(&pattern.at, format!("`{}` matches no file: {without}", pattern.value));
    }
    found
}

fn read(path: &Path, pattern: &At<String>, files: &mut Vec<RuleFile>, context: &mut Context<'_>) {
    let name = path.display().to_string();
    if files.iter().any(|file| file.name == name) {
        return;
    }
    match rule_file::read(path) {
        Err(fault) => context.error_at(&pattern.at, format!("cannot read the rule file `{name}`: {fault}")),
        Ok(file) => files.push(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_rule_files_are_found() {
        let text = SourceText::new("x", "# é\nalert tcp\n");
        assert_eq!(&text.text()[text.offset_of(2, 7)..], "tcp\n");
        assert_eq!(text.offset_of(1, 4), 2);
        assert_eq!(text.offset_of(9, 1), text.text().len());
        assert_eq!(word_end(text.text(), 11), 14);
    }
}
