//! What `check` and a refused reload say: every fault at once, each with its place, the line and a way out.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Diagnostics that are printed at most; the rest are counted. A rule file of another engine may be refused line by line.
pub const PRINTED_MAX: usize = 50;

/// How much a diagnostic matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not say what its author meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// A text that diagnostics point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Its name, as given by the operator.
    pub name: String,
    /// The text.
    pub text: String,
}

/// A place in a text.
#[derive(Clone, Debug)]
pub struct Place {
    /// The text.
    pub source: Arc<SourceText>,
    /// The bytes.
    pub at: Range<usize>,
}

impl Place {
    /// Line and column, both counted from 1, the column in characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let start = self.at.start.min(self.source.text.len());
        let before = self.source.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The bytes to underline: within one line, and at least one of them where the line has any.
    fn underlined(&self) -> Range<usize> {
        let text = &self.source.text;
        let start = self.at.start.min(text.len());
        let rest = text.get(start..).unwrap_or_default();
        let line_end = start + rest.find('\n').unwrap_or(rest.len());
        let line_end = start + text[start..line_end].trim_end().len();
        let next = rest.chars().next().map_or(0, char::len_utf8);
        let end = self.at.end.min(line_end).max((start + next).min(text.len()));
        start..end
    }
}

/// One thing to say about a configuration.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What is the matter, complete without the rest.
    pub message: String,
    /// Where; `None` when it is about a file that cannot be read.
    pub place: Option<Place>,
    /// A second place that has to do with it, and what.
    pub related: Option<(Place, String)>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without a place.
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), place: None, related: None, help: None }
    }

    /// The same, at a place.
    pub fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    /// The same, with a second place.
    pub fn related_to(self, place: Place, what: impl Into<String>) -> Self {
        Self { related: Some((place, what.into())), ..self }
    }

    /// The same, with a way out.
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    fn render(&self, renderer: &Renderer) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let title = level.primary_title(self.message.as_str());
        let mut group = match &self.place {
            None => Group::with_title(title),
            Some(place) => {
                let mut snippet = Snippet::source(place.source.text.as_str())
                    .path(place.source.name.as_str())
                    .annotation(AnnotationKind::Primary.span(place.underlined()));
                match &self.related {
                    Some((other, what)) if Arc::ptr_eq(&other.source, &place.source) => {
                        snippet =
                            snippet.annotation(AnnotationKind::Context.span(other.underlined()).label(what.as_str()));
                    }
                    Some(_) | None => {}
                }
                title.element(snippet)
            }
        };
        if let Some(help) = &self.help {
            group = group.element(Element::from(Level::HELP.message(help.as_str())));
        }
        renderer.render(&[group])
    }

    /// The diagnostic as a row of `check --json`.
    pub fn to_row(&self) -> DiagnosticRow<'_> {
        let position = self.place.as_ref().map(Place::line_and_column);
        DiagnosticRow {
            severity: self.severity,
            message: &self.message,
            file: self.place.as_ref().map(|place| place.source.name.as_str()),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            help: self.help.as_deref(),
        }
    }
}

/// A diagnostic in `check --json`.
#[derive(Clone, Debug, Serialize)]
pub struct DiagnosticRow<'a> {
    /// How much it matters.
    pub severity: Severity,
    /// What is the matter.
    pub message: &'a str,
    /// File that it is in.
    pub file: Option<&'a str>,
    /// Line in that file, from 1.
    pub line: Option<usize>,
    /// Column in that line, from 1, in characters.
    pub column: Option<usize>,
    /// What to do about it.
    pub help: Option<&'a str>,
}

/// Everything that is to be said about a configuration, errors first. Printed, it is what an operator reads.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The diagnostics.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Adds a diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether there is an error among them.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// How many there are of one severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// Puts the diagnostics into the order of reading: errors first, then by place.
    pub(super) fn sort(&mut self) {
        self.diagnostics.sort_by_cached_key(|diagnostic| {
            let place = diagnostic.place.as_ref().map(|place| (place.source.name.clone(), place.at.start));
            (diagnostic.severity, place)
        });
    }

    /// The rows of `check --json`.
    pub fn rows(&self) -> Vec<DiagnosticRow<'_>> {
        self.diagnostics.iter().map(Diagnostic::to_row).collect()
    }
}

impl fmt::Display for Report {
    /// Every diagnostic as rustc would show it, without colours; at most [`PRINTED_MAX`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain().decor_style(DecorStyle::Ascii);
        for (index, diagnostic) in self.diagnostics.iter().take(PRINTED_MAX).enumerate() {
            let blank = if index == 0 { "" } else { "\n" };
            writeln!(f, "{blank}{}", diagnostic.render(&renderer))?;
        }
        let more_count = self.diagnostics.len().saturating_sub(PRINTED_MAX);
        if more_count > 0 { writeln!(f, "\n... and {more_count} more") } else { Ok(()) }
    }
}

impl std::error::Error for Report {}
