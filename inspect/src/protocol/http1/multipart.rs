//! Forms that upload files (RFC 7578, RFC 2046 section 5.1): the parts that have a file name become files.
//!
//! The scan is for the delimiter, a line `--boundary`. What might be the beginning of one is held back until it is clear,
//! so that a file's bytes end where its delimiter starts.

use super::fields::{is_space, trim};
use crate::inspector::Direction;
use crate::protocol::file::FileStream;
use crate::protocol::sink::Sink;

/// RFC 2046 allows 70 bytes; browsers accept more.
pub(super) const BOUNDARY_BYTES_MAX: usize = 200;

/// Bytes of one part's header; what follows them counts as a file, so that a long header hides nothing.
const HEADER_BYTES_MAX: usize = 4096;

/// The state of one form.
#[derive(Debug)]
pub(super) struct Multipart {
    /// CR LF, two hyphens and the boundary.
    delimiter: Vec<u8>,
    state: State,
    /// Bytes that may begin a delimiter, or the part's header so far.
    held: Vec<u8>,
    file: Option<FileStream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between delimiters.
    Data,
    /// After a delimiter: the rest of its line, then header fields up to an empty line.
    Header,
    /// After the last delimiter.
    Over,
}

/// The boundary that a `Content-Type` announces for a form, if it does.
pub(super) fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    const START: &[u8] = b"multipart/form-data";
    if content_type.len() < START.len() || !content_type[..START.len()].eq_ignore_ascii_case(START) {
        return None;
    }
    let boundary = parameter(&content_type[START.len()..], b"boundary")?;
    (!boundary.is_empty() && boundary.len() <= BOUNDARY_BYTES_MAX).then_some(boundary)
}

/// The value of a parameter in `; name=value; name="value"`.
pub(in crate::protocol) fn parameter<'a>(mut rest: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    loop {
        let semicolon = rest.iter().position(|&byte| byte == b';')?;
        rest = &rest[semicolon + 1..];
        let start = rest.iter().position(|&byte| !is_space(byte))?;
        rest = &rest[start..];
        let equals = rest.iter().position(|&byte| byte == b'=' || byte == b';')?;
        if rest[equals] == b';' {
            rest = &rest[equals..];
            continue;
        }
        let key = trim(&rest[..equals]);
        let value = trim(&rest[equals + 1..]);
        let (value, after) = match value.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = quoted.iter().position(|&byte| byte == b'"').unwrap_or(quoted.len());
                (&quoted[..end], &quoted[end..])
            }
            None => {
                let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
                (trim(&value[..end]), &value[end..])
            }
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

impl Multipart {
    pub(super) fn new(boundary: &[u8]) -> Self {
        // The first delimiter has no line end before it; the body is read as if it had.
        let delimiter = [b"\r\n--", boundary].concat();
        Multipart { held: b"\r\n".to_vec(), delimiter, state: State::Data, file: None }
    }

    pub(super) fn data(&mut self, transaction: u32, bytes: &[u8], sink: &mut dyn Sink) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Data => self.part(rest, sink),
                State::Header => self.header(transaction, rest, sink),
                State::Over => return,
            };
        }
    }

    /// What has passed may be all that there is.
    pub(super) fn pause(&mut self, sink: &mut dyn Sink) {
        if let Some(file) = &mut self.file {
            file.pause(sink);
        }
    }

    pub(super) fn end(mut self, sink: &mut dyn Sink) {
        if self.state == State::Data {
            let held = std::mem::take(&mut self.held);
            self.give(&held, sink);
        }
        if let Some(file) = self.file.take() {
            file.end(false, sink);
        }
    }

    fn give(&mut self, bytes: &[u8], sink: &mut dyn Sink) {
        if let Some(file) = &mut self.file {
            file.data(bytes, sink);
        }
    }

    /// Takes bytes of a part up to its delimiter.
    fn part<'a>(&mut self, mut rest: &'a [u8], sink: &mut dyn Sink) -> &'a [u8] {
        // What is held is a beginning of the delimiter: go on with it, or let go of as much as no longer fits.
        while !self.held.is_empty() {
            let wanted = &self.delimiter[self.held.len()..];
            let shared = wanted.iter().zip(rest).take_while(|(wanted, byte)| wanted == byte).count();
            if shared == wanted.len() {
                self.held.clear();
                self.delimited(sink);
                return &rest[shared..];
            }
            if shared == rest.len() {
                self.held.extend_from_slice(rest);
                return &[];
            }
            self.held.extend_from_slice(&rest[..shared]);
            rest = &rest[shared..];
            let held = std::mem::take(&mut self.held);
            let next = (1..held.len()).find(|&at| self.delimiter.starts_with(&held[at..])).unwrap_or(held.len());
            self.give(&held[..next], sink);
            self.held = held[next..].to_vec();
        }
        match memchr::memmem::find(rest, &self.delimiter) {
            Some(at) => {
                self.give(&rest[..at], sink);
                self.delimited(sink);
                &rest[at + self.delimiter.len()..]
            }
            None => {
                let tail = rest.len().saturating_sub(self.delimiter.len() - 1);
                let keep = (tail..rest.len()).find(|&at| self.delimiter.starts_with(&rest[at..])).unwrap_or(rest.len());
                self.give(&rest[..keep], sink);
                self.held.extend_from_slice(&rest[keep..]);
                &[]
            }
        }
    }

    fn delimited(&mut self, sink: &mut dyn Sink) {
        if let Some(file) = self.file.take() {
            file.end(true, sink);
        }
        self.state = State::Header;
    }

    /// Takes the rest of a delimiter's line and the part's header fields.
    fn header<'a>(&mut self, transaction: u32, rest: &'a [u8], sink: &mut dyn Sink) -> &'a [u8] {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        self.held.extend_from_slice(&rest[..end]);
        if self.held.starts_with(b"--") {
            self.held.clear();
            self.state = State::Over;
            return &[];
        }
        let is_over = self.held.ends_with(b"\n\r\n") || self.held.ends_with(b"\n\n");
        let is_too_long = self.held.len() > HEADER_BYTES_MAX;
        if is_over || is_too_long {
            let header = std::mem::take(&mut self.held);
            self.state = State::Data;
            let name = file_name(&header);
            if name.is_some() || is_too_long {
                let mut file = FileStream::new(transaction, Direction::ToServer, sink);
                file.name(name.unwrap_or_default(), sink);
                self.file = Some(file);
            } else {
                // A field without a file name may hold a file as well.
                self.file = FileStream::aside(transaction, Direction::ToServer, sink);
            }
        }
        &rest[end..]
    }
}

/// The file name in a part's `Content-Disposition`.
fn file_name(header: &[u8]) -> Option<&[u8]> {
    header.split(|&byte| byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        if !trim(&line[..colon]).eq_ignore_ascii_case(b"content-disposition") {
            return None;
        }
        parameter(trim(&line[colon + 1..]), b"filename").filter(|name| !name.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::recorder::Recorder;

    #[track_caller]
    fn check(body: &[u8], expected: &str) {
        for step in [usize::MAX, 1, 2, 3, 5] {
            let mut recorder = Recorder::default();
            let mut form = Multipart::new(b"XX");
            for bytes in body.chunks(step) {
                form.data(0, bytes, &mut recorder);
            }
            form.end(&mut recorder);
            assert_eq!(recorder.text(), expected, "in pieces of {step}");
        }
    }

    #[test]
    fn parts_with_a_file_name_become_files() {
        check(
            b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\
              --XX\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x;y.exe\"\r\nContent-Type: a/b\r\n\r\n\
              MZ\r\n--X\r\nend\r\n--XX--\r\ntail",
            "0> file.name[x;y.exe]|0> file.data[MZ\\r\\n--X\\r\\nend]|0> file(12,whole)",
        );
        check(
            b"--XX\r\nContent-Disposition: form-data; filename=f\r\n\r\nMZ\r\r\n--XX--",
            "0> file.name[f]|0> file.data[MZ\\r]|0> file(3,whole)",
        );
    }

    #[test]
    fn a_form_that_breaks_off_gives_what_came() {
        check(
            b"--XX\r\nContent-Disposition: form-data; filename=f\r\n\r\nMZ\r\n--",
            "0> file.name[f]|0> file.data[MZ\\r\\n--]|0> file(6,cut)",
        );
    }

    #[test]
    fn boundaries_are_read_from_the_content_type() {
        assert_eq!(boundary(b"multipart/form-data; boundary=abc"), Some(b"abc".as_slice()));
        assert_eq!(boundary(b"Multipart/Form-Data; charset=x; boundary=\"a c\""), Some(b"a c".as_slice()));
        assert_eq!(boundary(b"multipart/form-data"), None);
        assert_eq!(boundary(b"text/plain; boundary=abc"), None);
    }
}
