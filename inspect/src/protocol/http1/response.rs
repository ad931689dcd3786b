//! Responses.

use super::body::Body;
use super::fields::{is_space, mentions, trim};
use super::header::{self, Header, Taken, TakenBlock, content_length, word};
use super::multipart::parameter;
use super::names;
use super::{Broken, FirstLine, Http1, Method, Outcome, State, encodings, is_whole_range};
use crate::inspector::Direction;
use crate::protocol::anomaly::Anomaly;
use crate::protocol::buffer::Buffer;
use crate::protocol::settings::Settings;
use crate::protocol::sink::{Piece, Sink, Stage};

const SIDE: Direction = Direction::ToClient;

/// Bytes of a line before a status line that is skipped rather than taken for body.
const SKIPPED_LINE_BYTES_MAX: usize = 2;

/// A status line taken apart.
struct StatusLine<'a> {
    protocol: &'a [u8],
    status: &'a [u8],
    message: &'a [u8],
}

impl<'a> StatusLine<'a> {
    fn parse(line: &'a [u8]) -> Self {
        let start = line.iter().position(|&byte| !is_space(byte) && byte != 0).unwrap_or(line.len());
        let (protocol, rest) = word(&line[start..]);
        let (status, message) = word(rest);
        StatusLine { protocol, status, message: trim(message) }
    }

    /// The status as a number, if it is one of three digits.
    fn code(&self) -> Option<u16> {
        let text = std::str::from_utf8(self.status).ok()?;
        text.parse().ok().filter(|code| (100..=999).contains(code) && text.len() == 3)
    }

    /// Whether the version is one that exists; zeros and spaces around it do not count.
    fn has_version(&self) -> bool {
        let Some(rest) = self.protocol.get(4..).filter(|_| starts_http(self.protocol)) else {
            return false;
        };
        let Some(version) = rest.strip_prefix(b"/") else {
            return false;
        };
        let zeros = version.iter().take_while(|&&byte| byte == b'0').count();
        matches!(&version[zeros..], b".9" | b"1.0" | b"1.1")
    }
}

/// Whether a line can be a status line: anything else is taken for body, as browsers do.
fn starts_http(line: &[u8]) -> bool {
    let start = line.iter().position(|&byte| !is_space(byte) && byte != 0).unwrap_or(line.len());
    line.get(start..start + 4).is_some_and(|word| word.eq_ignore_ascii_case(b"http"))
}

/// Whether the bytes, few as they are, may become a status line.
fn is_start_of_http(bytes: &[u8]) -> bool {
    bytes.len() < 4 && b"http"[..bytes.len()].eq_ignore_ascii_case(bytes)
}

/// Finds the end of a status line: LF, CR LF or CR alone, for which the byte behind the CR must be known.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let at = memchr::memchr2(b'\r', b'\n', bytes)?;
    match (bytes[at], bytes.get(at + 1)) {
        (b'\n', _) => Some(at),
        (_, Some(b'\n')) => Some(at + 1),
        (_, Some(_)) => Some(at),
        (_, None) => None,
    }
}

impl Http1 {
    pub(super) fn response_bytes(
        &mut self,
        input: &[u8],
        settings: &Settings,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Broken> {
        let outcome = self.response_parts(input, settings, sink)?;
        if self.response.state == State::Tail {
            self.response_over(settings, sink)?;
        }
        Ok(outcome)
    }

    fn response_parts(&mut self, input: &[u8], settings: &Settings, sink: &mut dyn Sink) -> Result<Outcome, Broken> {
        let mut rest = input;
        while !rest.is_empty() {
            if self.take_body(SIDE, &mut rest, settings, sink)? {
                continue;
            }
            match self.response.state {
                State::Tail => self.response_tail(&mut rest, settings, sink)?,
                State::Line => self.take_status_line(&mut rest, settings, sink)?,
                State::Fields | State::Trailer => {
                    let half = &mut self.response;
                    half.end_first_line(&mut rest);
                    match header::take_block(SIDE, &mut half.kept, &mut half.read, &mut rest) {
                        TakenBlock::Block(block, behind) => {
                            if self.response_block(&block, settings, sink)? {
                                return Ok(Outcome::Switched(input.len() - rest.len()));
                            }
                            self.response_parts(&behind, settings, sink)?;
                        }
                        TakenBlock::Open => {}
                        TakenBlock::TooLong => {
                            sink.anomaly(self.response.transaction, SIDE, Anomaly::HttpResponseFieldTooLong);
                            return Err(Broken);
                        }
                    }
                }
                State::LooseLine
                | State::Connect
                | State::Length(_)
                | State::UntilClose
                | State::ChunkLength
                | State::Chunk(_)
                | State::ChunkEnd => return Err(Broken),
            }
        }
        Ok(Outcome::Taken)
    }

    /// Ends the response, and lets the client go on that waited for it.
    fn response_over(&mut self, settings: &Settings, sink: &mut dyn Sink) -> Result<(), Broken> {
        let is_connect = self.waiting.front().is_some_and(|waiting| waiting.method == Method::Connect);
        self.complete(SIDE, true, settings, sink);
        if is_connect { self.connect_refused(settings, sink) } else { Ok(()) }
    }

    /// What follows a response at once is the next response, or more of its body.
    fn response_tail(&mut self, rest: &mut &[u8], settings: &Settings, sink: &mut dyn Sink) -> Result<(), Broken> {
        let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        if starts_http(&rest[..end]) || is_start_of_http(rest) {
            return self.response_over(settings, sink);
        }
        let (line, after) = rest.split_at(end);
        *rest = after;
        self.body_data(SIDE, line, settings, sink)
    }

    fn take_status_line(&mut self, rest: &mut &[u8], settings: &Settings, sink: &mut dyn Sink) -> Result<(), Broken> {
        // A CR that was last needs the byte behind it to be known for what it is.
        if self.response.kept.last() == Some(&b'\r') {
            if rest.first() == Some(&b'\n') {
                self.response.kept.push(b'\n');
                *rest = &rest[1..];
            }
            let line = std::mem::take(&mut self.response.kept);
            return self.status_line(&line, settings, sink);
        }
        match header::take_line(&mut self.response.kept, rest, line_end) {
            Taken::Line(line) => self.status_line(&line, settings, sink),
            Taken::Open => self.loose_line(settings, sink),
            Taken::TooLong => {
                sink.anomaly(self.response.transaction, SIDE, Anomaly::HttpResponseFieldTooLong);
                Err(Broken)
            }
        }
    }

    /// Does not wait for the end of a line that cannot be a status line: a browser does not either.
    fn loose_line(&mut self, settings: &Settings, sink: &mut dyn Sink) -> Result<(), Broken> {
        let kept = &self.response.kept;
        let start = kept.iter().position(|&byte| !is_space(byte) && byte != 0).unwrap_or(kept.len());
        let may_be_skipped = kept.len() <= SKIPPED_LINE_BYTES_MAX + 1;
        if may_be_skipped || starts_http(kept) || is_start_of_http(&kept[start..]) || kept.ends_with(b"\r") {
            return Ok(());
        }
        let line = std::mem::take(&mut self.response.kept);
        self.answer(sink);
        self.response.state = State::LooseLine;
        self.body_data(SIDE, &line, settings, sink)
    }

    /// Makes sure that there is a request to answer.
    fn answer(&mut self, sink: &mut dyn Sink) -> u32 {
        let transaction = match self.waiting.front() {
            Some(waiting) => waiting.transaction,
            None => {
                let transaction = self.allocate();
                self.waiting.push(transaction, Method::Other, &[]);
                sink.anomaly(transaction, SIDE, Anomaly::HttpUnableToMatchResponse);
                transaction
            }
        };
        self.response.transaction = transaction;
        transaction
    }

    fn status_line(&mut self, line: &[u8], settings: &Settings, sink: &mut dyn Sink) -> Result<(), Broken> {
        let text = &line[..line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1)];
        if text.is_empty() && self.response.body.is_none() {
            return Ok(());
        }
        let transaction = self.answer(sink);
        if !starts_http(line) {
            // A short line before a status line is skipped; anything else is body without a header.
            if text.len() <= SKIPPED_LINE_BYTES_MAX && self.response.body.is_none() {
                return Ok(());
            }
            return self.body_data(SIDE, line, settings, sink);
        }
        let parts = StatusLine::parse(text);
        if !parts.has_version() {
            sink.anomaly(transaction, SIDE, Anomaly::HttpResponseInvalidProtocol);
        }
        if parts.code().is_none() {
            sink.anomaly(transaction, SIDE, Anomaly::HttpResponseInvalidStatus);
        }
        self.response.line = text.to_vec();
        if line.ends_with(b"\n") && !line.ends_with(b"\r\n") {
            self.response.first_line = FirstLine::Fed;
        }
        self.response.state = State::Fields;
        self.response.read = 0;
        Ok(())
    }

    /// Takes a header block; gives whether another protocol follows it.
    fn response_block(&mut self, block: &[u8], settings: &Settings, sink: &mut dyn Sink) -> Result<bool, Broken> {
        let transaction = self.response.transaction;
        let header = Header::read_of(transaction, SIDE, block, sink)?;
        if self.response.state == State::Trailer {
            header.deliver_fields(transaction, SIDE, sink);
            self.response.state = State::Tail;
            return Ok(false);
        }
        let line = std::mem::take(&mut self.response.line);
        let parts = StatusLine::parse(&line);
        let length = header.value(names::CONTENT_LENGTH);
        let has_body_fields = length.is_some() || header.value(names::TRANSFER_ENCODING).is_some();
        if parts.code() == Some(100) && (!has_body_fields || length.and_then(content_length) == Some(0)) {
            if let Some(waiting) = self.waiting.front_mut() {
                if waiting.has_continued {
                    sink.anomaly(transaction, SIDE, Anomaly::HttpContinueAlreadySeen);
                }
                waiting.has_continued = true;
            }
            self.response.state = State::Line;
            return Ok(false);
        }
        for (buffer, bytes) in [
            (Buffer::HttpResponseLine, &line[..]),
            (Buffer::HttpProtocol, parts.protocol),
            (Buffer::HttpStatCode, parts.status),
            (Buffer::HttpStatMsg, parts.message),
        ] {
            if !bytes.is_empty() {
                sink.buffer(transaction, SIDE, buffer, Piece::WHOLE, bytes);
            }
        }
        header.deliver(transaction, SIDE, &line, block, sink);
        sink.stage(transaction, SIDE, Stage::Headers);
        let method = self.waiting.front().map_or(Method::Other, |waiting| waiting.method);
        let code = parts.code();
        let is_tunnel = method == Method::Connect && code.is_some_and(|code| (200..=299).contains(&code));
        if is_tunnel || (code == Some(101) && !has_body_fields) {
            self.complete(SIDE, true, settings, sink);
            if matches!(self.request.state, State::Connect | State::Tail) {
                self.complete(Direction::ToServer, true, settings, sink);
            }
            return Ok(true);
        }
        self.begin_response_body(&parts, &header, method, settings, sink)?;
        Ok(false)
    }

    /// Finds out whether and how a body follows (RFC 9112 section 6.3, as browsers understand it).
    fn begin_response_body(
        &mut self,
        parts: &StatusLine<'_>,
        header: &Header<'_>,
        method: Method,
        settings: &Settings,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let transaction = self.response.transaction;
        let length = header.value(names::CONTENT_LENGTH);
        let coding = header.value(names::TRANSFER_ENCODING);
        let code = parts.code().unwrap_or(0);
        let is_bodiless = matches!(code, 100..=199 | 204 | 304) && length.is_none() && coding.is_none();
        self.response.state = if method == Method::Head || is_bodiless {
            State::Tail
        } else if let Some(coding) = coding.filter(|coding| mentions(coding, b"chunked")) {
            if !coding.eq_ignore_ascii_case(b"chunked") {
                sink.anomaly(transaction, SIDE, Anomaly::HttpResponseAbnormalTransferEncoding);
            }
            if parts.protocol.ends_with(b"1.0") || parts.protocol.ends_with(b".9") {
                sink.anomaly(transaction, SIDE, Anomaly::HttpResponseChunkedOldProtocol);
            }
            State::ChunkLength
        } else if let Some(length) = length {
            match content_length(length) {
                Some(0) => State::Tail,
                Some(length) => State::Length(length),
                None => {
                    sink.anomaly(transaction, SIDE, Anomaly::HttpInvalidResponseContentLength);
                    return Err(Broken);
                }
            }
        } else {
            State::UntilClose
        };
        let mut body = Body::new(transaction, SIDE);
        let mut report = |anomaly| sink.anomaly(transaction, SIDE, anomaly);
        body.packed_with(&encodings(header, settings.encoding_layers_max, &mut report));
        let named = header.value(names::CONTENT_DISPOSITION).and_then(|value| parameter(value, b"filename"));
        body.is_file(named.unwrap_or(self.waiting.front_path()).to_vec(), sink);
        if code == 206 && !header.value(names::CONTENT_RANGE).is_some_and(is_whole_range) {
            body.is_part();
        }
        if let Some(before) = self.response.body.replace(body) {
            self.has_bomb |= before.end(false, settings, sink).is_err();
        }
        Ok(())
    }

    pub(super) fn response_closed(&mut self, settings: &Settings, sink: &mut dyn Sink) {
        let kept = std::mem::take(&mut self.response.kept);
        match self.response.state {
            State::Line => {
                if !kept.is_empty()
                    && self.status_line(&kept, settings, sink).is_ok()
                    && self.response.state == State::Fields
                {
                    self.response_closed(settings, sink);
                    return;
                }
                if self.response.body.is_some() {
                    self.complete(SIDE, true, settings, sink);
                }
            }
            State::Fields => {
                let _ = self.response_block(&kept, settings, sink);
                if self.response.state != State::Line {
                    self.complete(SIDE, matches!(self.response.state, State::Tail | State::UntilClose), settings, sink);
                }
            }
            State::Trailer => {
                let _ = self.response_block(&kept, settings, sink);
                self.complete(SIDE, true, settings, sink);
            }
            State::ChunkLength => {
                // A length line without its end: whatever it is, it is the last that came.
                if !kept.is_empty() {
                    let _ = self.body_data(SIDE, &kept, settings, sink);
                }
                self.complete(SIDE, false, settings, sink);
            }
            State::Tail | State::UntilClose => self.complete(SIDE, true, settings, sink),
            State::LooseLine => self.complete(SIDE, true, settings, sink),
            State::Length(_) | State::Chunk(_) | State::ChunkEnd | State::Connect => {
                self.complete(SIDE, false, settings, sink)
            }
        }
    }
}
