//! Lines of text protocols, from pieces that are cut anywhere.

/// Keeps a line that is not whole yet; a line beyond the limit is cut there, and its rest skipped.
#[derive(Debug, Default)]
pub(super) struct Lines {
    kept: Vec<u8>,
    /// The rest of the current line is being skipped.
    is_skipping: bool,
}

/// A line without its line end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    /// The line was longer; this is its beginning.
    pub(super) is_cut: bool,
}

impl Lines {
    /// Takes bytes up to the next line end. Nothing if it is not there yet; then all bytes have been taken.
    pub(super) fn next(&mut self, input: &mut &[u8], bytes_max: usize) -> Option<Line> {
        loop {
            let end = memchr::memchr(b'\n', input);
            let (piece, rest) = input.split_at(end.unwrap_or(input.len()));
            *input = rest.strip_prefix(b"\n").unwrap_or(rest);
            if self.is_skipping {
                end?;
                self.is_skipping = false;
                continue;
            }
            let room = bytes_max - self.kept.len().min(bytes_max);
            if piece.len() > room {
                self.kept.extend_from_slice(&piece[..room]);
                self.is_skipping = end.is_none();
                return Some(Line { bytes: std::mem::take(&mut self.kept), is_cut: true });
            }
            self.kept.extend_from_slice(piece);
            end?;
            let mut bytes = std::mem::take(&mut self.kept);
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
            return Some(Line { bytes, is_cut: false });
        }
    }

    /// As [`Lines::next`], but gives a line with its end, and a line beyond the limit in pieces: what comes of it behind the
    /// first is the caller's to take.
    pub(super) fn next_raw(&mut self, input: &mut &[u8], bytes_max: usize) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
        let count = end.min(bytes_max.saturating_sub(self.kept.len()));
        let (piece, rest) = input.split_at(count);
        *input = rest;
        self.kept.extend_from_slice(piece);
        let is_over = self.kept.ends_with(b"\n") || self.kept.len() >= bytes_max;
        is_over.then(|| std::mem::take(&mut self.kept))
    }
}

/// The first word of a line, and what follows it without the blanks between.
pub(super) fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
    (&line[..end], line[end..].trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_long_ones_cut() {
        for step in [usize::MAX, 1, 2, 3] {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for mut piece in b"ab\r\n\nlonger line\nc".chunks(step) {
                while let Some(line) = lines.next(&mut piece, 6) {
                    found.push((line.bytes.escape_ascii().to_string(), line.is_cut));
                }
            }
            let expected = [("ab", false), ("", false), ("longer", true)].map(|(text, cut)| (text.to_owned(), cut));
            assert_eq!(found, expected, "in pieces of {step}");
        }
    }
}
