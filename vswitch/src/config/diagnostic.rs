//! What `check` and a refused reload say: every fault at once, each with its place, the line and a way out.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::{Range, RangeInclusive};
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

/// A text that diagnostics point into. It knows where its lines start: a public rule set has tens of thousands of lines,
/// and a diagnostic for many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    name: String,
    text: String,
    line_starts: Vec<usize>,
}

impl SourceText {
    /// A text under the name that messages give it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_newlines).collect();
        Self { name: name.into(), text, line_starts }
    }

    /// Its name, as given by the operator.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line of a byte, counted from 0.
    fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// The byte at a line and a column of bytes, both counted from 1; the nearest there is before it otherwise.
    pub(super) fn offset_of(&self, line: u32, column: u32) -> usize {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
        let line_start = self.line_starts.get(number(line)).copied().unwrap_or(self.text.len());
        let mut offset = line_start.saturating_add(number(column)).min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }

    /// The bytes of whole lines.
    fn bytes_of_lines(&self, lines: RangeInclusive<usize>) -> Range<usize> {
        let end = self.line_starts.get(*lines.end() + 1).copied().unwrap_or(self.text.len());
        self.line_starts[*lines.start()]..end
    }
}

/// Lines between two places that are shown at most; a place further away is told by its numbers.
const SHOWN_LINES_MAX: usize = 1_000;

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
        let (text, start) = (self.source.text(), self.at.start.min(self.source.text().len()));
        let line = self.source.line_of(start);
        let before = text.get(self.source.line_starts[line]..start).unwrap_or_default();
        (line + 1, before.chars().count() + 1)
    }

    /// Whether both places can be shown in one piece of text.
    fn is_near(&self, other: &Self) -> bool {
        Arc::ptr_eq(&other.source, &self.source) && other.line().abs_diff(self.line()) < SHOWN_LINES_MAX
    }

    fn line(&self) -> usize {
        self.source.line_of(self.at.start.min(self.source.text().len()))
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
            Some(place) => title.element(self.snippet(place)),
        };
        if let (Some(place), Some((other, what))) = (&self.place, &self.related)
            && !place.is_near(other)
        {
            let (line, column) = other.line_and_column();
            let note = format!("{what}: {}:{line}:{column}", other.source.name());
            group = group.element(Element::from(Level::NOTE.message(note)));
        }
        if let Some(help) = &self.help {
            group = group.element(Element::from(Level::HELP.message(help.as_str())));
        }
        renderer.render(&[group])
    }

    /// The lines from the place to the related one, or the place's own.
    fn snippet<'a>(&'a self, place: &'a Place) -> Snippet<'a, Annotation<'a>> {
        let line = place.line();
        let related = self.related.as_ref().filter(|(other, _)| {
            Arc::ptr_eq(&other.source, &place.source) && other.line().abs_diff(line) < SHOWN_LINES_MAX
        });
        let other_line = related.map_or(line, |(other, _)| other.line());
        let (first, last) = (line.min(other_line), line.max(other_line));
        let shown = place.source.bytes_of_lines(first..=last);
        let within = |bytes: Range<usize>| bytes.start - shown.start..bytes.end - shown.start;
        let mut snippet = Snippet::source(&place.source.text()[shown.clone()])
            .line_start(first + 1)
            .path(place.source.name())
            .annotation(AnnotationKind::Primary.span(within(place.underlined())));
        if let Some((other, what)) = related {
            let annotation = AnnotationKind::Context.span(within(other.underlined()));
            snippet = snippet.annotation(annotation.label(what.as_str()));
        }
        snippet
    }

    /// The diagnostic as a row of `check --json`.
    pub fn to_row(&self) -> DiagnosticRow<'_> {
        let position = self.place.as_ref().map(Place::line_and_column);
        DiagnosticRow {
            severity: self.severity,
            message: &self.message,
            file: self.place.as_ref().map(|place| place.source.name()),
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
            let place = diagnostic.place.as_ref().map(|place| (place.source.name().to_string(), place.at.start));
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
