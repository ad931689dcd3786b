//! A mail (RFC 5322) and its parts (RFC 2045, RFC 2046): header fields become buffers, parts with a file name become files.
//!
//! The mail comes line by line. A line is looked at when it is whole; one that is longer than the limit comes in pieces, of
//! which only the first can be a delimiter.

use crate::inspector::Direction;
use crate::protocol::anomaly::Anomaly;
use crate::protocol::buffer::Buffer;
use crate::protocol::file::FileStream;
use crate::protocol::http1::parameter;
use crate::protocol::sink::{Piece, Sink};

/// Bytes of one part's header.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Parts within parts.
const DEPTH_MAX: usize = 16;

/// Pieces of a file's name, each of which is searched for anew.
const NAME_PIECES_MAX: usize = 32;

/// Bytes of a field in which they are searched for.
const NAME_FIELD_BYTES_MAX: usize = 4096;

/// RFC 2046 allows 70 bytes.
const BOUNDARY_BYTES_MAX: usize = 254;

const SIDE: Direction = Direction::ToServer;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Encoding {
    #[default]
    Plain,
    Base64,
    QuotedPrintable,
}

/// A mail on its way.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// The header of the current part, while it lasts.
    header: Vec<u8>,
    is_in_body: bool,
    /// The current header is not the mail's own.
    is_in_part: bool,
    /// Line under way, while it may yet be a delimiter.
    line: Vec<u8>,
    is_mid_line: bool,
    /// Delimiters of the parts that are open, two hyphens included.
    boundaries: Vec<Vec<u8>>,
    encoding: Encoding,
    file: Option<FileStream>,
    /// A line end that belongs to the next delimiter if one follows.
    held_end: &'static [u8],
    /// Base64 digits that do not make a byte yet, and how many.
    digits: u32,
    digit_count: u32,
    has_told_base64: bool,
}

impl Mail {
    /// Takes bytes of the mail: a line, or a piece of one.
    pub(super) fn bytes(&mut self, transaction: u32, piece: &[u8], sink: &mut dyn Sink) {
        if self.is_mid_line {
            self.is_mid_line = !piece.ends_with(b"\n");
            self.body_piece(transaction, piece, sink);
            return;
        }
        self.line.extend_from_slice(piece);
        let is_whole = piece.ends_with(b"\n");
        if !is_whole && self.line.len() < super::MAIL_LINE_BYTES_MAX {
            return;
        }
        let line = std::mem::take(&mut self.line);
        self.is_mid_line = !is_whole && self.is_in_body;
        if self.is_in_body {
            if !self.delimiter(transaction, &line, sink) {
                self.body_piece(transaction, &line, sink);
            }
        } else if line.trim_ascii_end().is_empty() || self.header.len() > HEADER_BYTES_MAX {
            self.header_over(transaction, sink);
        } else {
            self.header.extend_from_slice(&line);
        }
    }

    /// What has passed may be all that there is.
    pub(super) fn pause(&mut self, sink: &mut dyn Sink) {
        if let Some(file) = &mut self.file {
            file.pause(sink);
        }
    }

    pub(super) fn end(mut self, transaction: u32, is_whole: bool, sink: &mut dyn Sink) {
        let line = std::mem::take(&mut self.line);
        if self.is_in_body && !line.is_empty() && !self.delimiter(transaction, &line, sink) {
            self.body_piece(transaction, &line, sink);
        }
        if !self.is_in_body && !self.is_in_part {
            self.deliver_fields(transaction, sink);
        }
        if let Some(file) = self.file.take() {
            file.end(is_whole, sink);
        }
    }

    /// Whether the line delimits parts; if so, the current part ends.
    fn delimiter(&mut self, transaction: u32, line: &[u8], sink: &mut dyn Sink) -> bool {
        let _ = transaction;
        let found = self.boundaries.iter().rposition(|boundary| line.starts_with(boundary));
        let Some(depth) = found else { return false };
        let is_last = line[self.boundaries[depth].len()..].starts_with(b"--");
        self.boundaries.truncate(if is_last { depth } else { depth + 1 });
        if let Some(file) = self.file.take() {
            file.end(true, sink);
        }
        self.held_end = b"";
        self.encoding = Encoding::Plain;
        self.is_in_part = true;
        // Behind the last delimiter there is an epilogue, which belongs to no part.
        self.is_in_body = is_last;
        self.header.clear();
        true
    }

    fn header_over(&mut self, transaction: u32, sink: &mut dyn Sink) {
        if !self.is_in_part {
            self.deliver_fields(transaction, sink);
        }
        self.is_in_body = true;
        // A mail within a mail is encoded as its own header says; what the part around it says means nothing (RFC 2045
        // section 6.4).
        self.encoding = Encoding::Plain;
        (self.digits, self.digit_count) = (0, 0);
        let header = std::mem::take(&mut self.header);
        let mut name: Option<Vec<u8>> = None;
        let mut other_name = None;
        for (field, value) in fields(&header) {
            if field.eq_ignore_ascii_case(b"content-transfer-encoding") {
                self.encoding = if value.eq_ignore_ascii_case(b"base64") {
                    Encoding::Base64
                } else if value.eq_ignore_ascii_case(b"quoted-printable") {
                    Encoding::QuotedPrintable
                } else {
                    Encoding::Plain
                };
            } else if field.eq_ignore_ascii_case(b"content-disposition") {
                let long = long_parameter(&value, b"filename");
                let short = parameter(&value, b"filename").map(<[u8]>::to_vec);
                (name, other_name) = match (long, short) {
                    (Some(long), short) => (Some(long), short),
                    (None, short) => (short.or(name), None),
                };
            } else if field.eq_ignore_ascii_case(b"content-type") {
                name = name.or_else(|| long_parameter(&value, b"name"));
                name = name.or_else(|| parameter(&value, b"name").map(<[u8]>::to_vec));
                if let Some(boundary) = parameter(&value, b"boundary").filter(|it| !it.is_empty())
                    && self.boundaries.len() < DEPTH_MAX
                {
                    let boundary = &boundary[..boundary.len().min(BOUNDARY_BYTES_MAX)];
                    self.boundaries.push([b"--", boundary].concat());
                }
                if value.len() >= 8 && value[..8].eq_ignore_ascii_case(b"message/") {
                    // A mail within the mail: its header follows.
                    self.is_in_body = false;
                    self.is_in_part = true;
                }
            }
        }
        if !self.is_in_body {
            return;
        }
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let mut file = FileStream::new(transaction, SIDE, sink);
            // Mail programs disagree about which of two names counts.
            for name in [other_name.as_deref().unwrap_or_default(), &name].into_iter().filter(|name| !name.is_empty()) {
                file.name(name, sink);
            }
            self.file = Some(file);
        } else {
            // Mail programs save parts without a name too.
            self.file = FileStream::aside(transaction, SIDE, sink);
        }
    }

    fn deliver_fields(&self, transaction: u32, sink: &mut dyn Sink) {
        const KNOWN: [(&[u8], Buffer); 8] = [
            (b"from", Buffer::EmailFrom),
            (b"to", Buffer::EmailTo),
            (b"cc", Buffer::EmailCc),
            (b"subject", Buffer::EmailSubject),
            (b"date", Buffer::EmailDate),
            (b"message-id", Buffer::EmailMessageId),
            (b"x-mailer", Buffer::EmailXMailer),
            (b"received", Buffer::EmailReceived),
        ];
        for (field, value) in fields(&self.header) {
            if let Some((_, buffer)) = KNOWN.iter().find(|(name, _)| field.eq_ignore_ascii_case(name))
                && !value.is_empty()
            {
                sink.buffer(transaction, SIDE, *buffer, Piece::WHOLE, &value);
            }
        }
    }

    /// Decodes a line of the body, or a piece of one, into the file.
    fn body_piece(&mut self, transaction: u32, piece: &[u8], sink: &mut dyn Sink) {
        let Some(file) = &mut self.file else { return };
        let text = piece.strip_suffix(b"\n").unwrap_or(piece);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let end: &'static [u8] = match &piece[text.len()..] {
            b"\r\n" => b"\r\n",
            b"\n" => b"\n",
            b"\r" => b"\r",
            _ => b"",
        };
        match self.encoding {
            Encoding::Plain => {
                file.data(self.held_end, sink);
                file.data(text, sink);
                self.held_end = end;
            }
            Encoding::QuotedPrintable => {
                file.data(self.held_end, sink);
                let is_soft = !end.is_empty() && text.ends_with(b"=");
                let text = if is_soft { &text[..text.len() - 1] } else { text };
                file.data(&unquote(text), sink);
                self.held_end = if is_soft { b"" } else { end };
            }
            Encoding::Base64 => {
                let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
                let mut is_sound = true;
                for &byte in text {
                    let Some(digit) = base64_digit(byte) else {
                        // Padding ends a group; a further group may follow where encodings were joined.
                        if byte == b'=' {
                            (self.digits, self.digit_count) = (0, 0);
                        } else if !byte.is_ascii_whitespace() {
                            is_sound = false;
                        }
                        continue;
                    };
                    self.digits = self.digits << 6 | digit;
                    self.digit_count += 1;
                    // Bytes are given as soon as they are whole, so that nothing is held back.
                    match self.digit_count {
                        2 => out.push((self.digits >> 4) as u8),
                        3 => out.push((self.digits >> 2) as u8),
                        4 => {
                            out.push(self.digits as u8);
                            (self.digits, self.digit_count) = (0, 0);
                        }
                        _ => {}
                    }
                }
                file.data(&out, sink);
                if !is_sound && !self.has_told_base64 {
                    self.has_told_base64 = true;
                    sink.anomaly(transaction, SIDE, Anomaly::SmtpMimeInvalidBase64);
                }
            }
        }
    }
}

fn base64_digit(byte: u8) -> Option<u32> {
    match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// The value of a parameter that is encoded, in pieces, or both (RFC 2231): `name*=utf-8''a%20b`, `name*0=a; name*1*=%20b`.
fn long_parameter(field: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let field = &field[..field.len().min(NAME_FIELD_BYTES_MAX)];
    let mut whole: Option<Vec<u8>> = None;
    let mut add = |piece: &[u8], is_encoded: bool, is_first: bool| {
        let piece = match is_encoded && is_first {
            // In front stand the character set and the language.
            true => piece.splitn(3, |&byte| byte == b'\'').nth(2).unwrap_or(piece),
            false => piece,
        };
        let whole = whole.get_or_insert_with(Vec::new);
        if is_encoded { percent_decoded(piece, whole) } else { whole.extend_from_slice(piece) }
    };
    if let Some(value) = parameter(field, &[name, b"*"].concat()) {
        add(value, true, true);
        return whole;
    }
    for index in 0..NAME_PIECES_MAX {
        let key = [name, b"*", index.to_string().as_bytes()].concat();
        match (parameter(field, &key), parameter(field, &[&key, &b"*"[..]].concat())) {
            (Some(plain), _) => add(plain, false, index == 0),
            (None, Some(encoded)) => add(encoded, true, index == 0),
            (None, None) => break,
        }
    }
    whole
}

fn percent_decoded(text: &[u8], into: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after
            .first_chunk::<2>()
            .filter(|two| byte == b'%' && two.iter().all(u8::is_ascii_hexdigit))
            .and_then(|two| std::str::from_utf8(two).ok());
        let (byte, after) = match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => (decoded, &after[2..]),
            None => (byte, after),
        };
        into.push(byte);
        rest = after;
    }
}

/// Decodes quoted-printable text (RFC 2045 section 6.7); what is no encoding stays.
fn unquote(text: &[u8]) -> Vec<u8> {
    let hex = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        match text.get(at..at + 2) {
            Some(&[a, b]) if byte == b'=' => match (hex(a), hex(b)) {
                (Some(a), Some(b)) => {
                    out.push(a << 4 | b);
                    at += 2;
                }
                _ => out.push(byte),
            },
            _ => out.push(byte),
        }
    }
    out
}

/// The fields of a header, folding undone.
fn fields(header: &[u8]) -> Vec<(&[u8], Vec<u8>)> {
    let mut found: Vec<(&[u8], Vec<u8>)> = Vec::new();
    for line in header.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if let Some((_, value)) = found.last_mut() {
                value.extend_from_slice(line);
            }
        } else if let Some(colon) = line.iter().position(|&byte| byte == b':') {
            found.push((line[..colon].trim_ascii(), line[colon + 1..].trim_ascii().to_vec()));
        }
    }
    found
}
