//! The lines of a rule file: comments and blank lines left out, continued lines joined, and for each byte of a joined
//! line the place in the file that it came from.

use std::fmt;

/// A place in a rule file, both numbers counted from 1; the column counts bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Line in the file.
    pub line: u32,
    /// Byte column in that line.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One rule's text: a physical line, or several that were joined because all but the last end in a backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleLine {
    /// The joined text, without line ends and continuation backslashes.
    pub(crate) text: String,
    /// Where each physical piece starts: offset in `text`, line in the file, column of its first byte.
    pieces: Vec<(usize, u32, u32)>,
}

impl RuleLine {
    /// The place in the file of the byte at `offset` of the text.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let index = self.pieces.partition_point(|&(start, _, _)| start <= offset).saturating_sub(1);
        let (start, line, column) = self.pieces.get(index).copied().unwrap_or((0, 1, 1));
        let within = u32::try_from(offset.saturating_sub(start)).unwrap_or(u32::MAX);
        Position { line, column: column.saturating_add(within) }
    }
}

/// The rule lines of a file in order, one at a time: files are large.
pub(crate) fn rule_lines(text: &str) -> impl Iterator<Item = RuleLine> {
    let mut rest = (1u32..).zip(text.split('\n'));
    std::iter::from_fn(move || {
        let mut open: Option<RuleLine> = None;
        for (number, physical) in rest.by_ref() {
            let physical = physical.strip_suffix('\r').unwrap_or(physical);
            let trimmed = physical.trim_start();
            if open.is_none() && (trimmed.is_empty() || trimmed.starts_with('#')) {
                continue;
            }
            let (kept, continues) = match physical.trim_end().strip_suffix('\\') {
                Some(kept) => (kept, true),
                None => (physical, false),
            };
            let line = open.get_or_insert_with(|| RuleLine { text: String::new(), pieces: Vec::new() });
            line.pieces.push((line.text.len(), number, 1));
            line.text.push_str(kept);
            if !continues {
                break;
            }
        }
        // A backslash on the file's last line continues into nothing: the rule is judged as far as it goes.
        open
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_and_remembers_places() {
        let lines: Vec<RuleLine> = rule_lines("# comment\n\nalert tcp \\\n  any\r\npass ip\\").collect();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["alert tcp   any", "pass ip"]);
        assert_eq!(lines[0].position(6), Position { line: 3, column: 7 });
        assert_eq!(lines[0].position(12), Position { line: 4, column: 3 });
        assert_eq!(lines[1].position(0), Position { line: 5, column: 1 });
    }
}
