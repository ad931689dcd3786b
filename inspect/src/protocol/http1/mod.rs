//! HTTP/0.9 to 1.1 (RFC 9112), read as tolerantly as clients and servers do.
//!
//! # Theory of operation
//!
//! Requests and responses are two state machines that share the queue of requests waiting for their response. Each takes
//! its side's bytes as they come:
//!
//! ```text
//!   request:   Line ─> Fields ─> Length(n) | Chunks ─> [Trailer] ─> Tail ─> Line ...     CONNECT: Fields ─> Connect
//!   response:  Line ─> Fields ─> Length(n) | Chunks | UntilClose ─> [Trailer] ─> Tail ─> Line ...
//! ```
//!
//! What is lax and what is not follows libhtp, which was tuned on what browsers and servers accept: a filter that is
//! stricter than the receiver is blind to what it refuses to read. Where bytes go on behind the announced end of a body in
//! the same segment and do not look like the next message, they count as body (`Tail`).
//!
//! Only lines and header blocks are kept, up to their limits; bodies go to the sink as they pass.

mod body;
mod fields;
mod gzip;
mod header;
mod multipart;
mod names;
mod pipeline;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod unpack;
mod uri;

use self::body::Body;
use self::header::Header;
use self::pipeline::{Method, Pipeline};
use self::unpack::Encoding;
use super::anomaly::Anomaly;
use super::parser::{Parse, Progress};
use super::settings::Settings;
use super::sink::{Sink, Stage};
use crate::inspector::Direction;

pub(super) use multipart::parameter;

/// Bytes of a first line or of one header field; Suricata's limit.
const FIELD_BYTES_MAX: usize = 18_000;

/// Bytes of a whole header block; servers stop at 8 to 64 KiB.
const HEADER_BYTES_MAX: usize = 128 * 1024;

/// Header fields of one message; Suricata's default.
const FIELDS_MAX: usize = 1024;

/// Requests of one connection that may wait for their responses: what clients pipeline at once may be some thousand, which fit
/// into one super-segment. A request that waits takes 8 bytes, and its path.
const PIPELINE_MAX: usize = 4096;

/// Bytes that a client may send behind a CONNECT before the proxy has answered.
const CONNECT_BYTES_MAX: usize = 16 * 1024;

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Line,
    /// Within a line that is no status line and therefore body.
    LooseLine,
    Fields,
    /// Bytes of the body that are left.
    Length(u64),
    UntilClose,
    ChunkLength,
    /// Bytes of the chunk that are left.
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// The message is over; what follows at once may be more of its body.
    Tail,
    /// A CONNECT waits for its answer.
    Connect,
}

/// One side of the connection.
#[derive(Debug)]
struct Half {
    state: State,
    /// The line or block that is not whole yet; behind a CONNECT, what the client has sent since.
    kept: Vec<u8>,
    /// How much of `kept` has been read as header fields.
    read: usize,
    transaction: u32,
    /// The first line of the message, for the buffers that are made at the end of its header.
    line: Vec<u8>,
    /// How that line ended.
    first_line: FirstLine,
    body: Option<Body>,
}

impl Half {
    fn new() -> Self {
        Half {
            state: State::Line,
            kept: Vec::new(),
            read: 0,
            transaction: 0,
            line: Vec::new(),
            first_line: FirstLine::Ended,
            body: None,
        }
    }

    /// Takes the CR that belongs to the end of a first line, LF CR. With a LF behind it, it is an empty line.
    fn end_first_line(&mut self, rest: &mut &[u8]) {
        match (std::mem::replace(&mut self.first_line, FirstLine::Ended), *rest) {
            (FirstLine::Fed, [b'\r']) => {
                *rest = &[];
                self.first_line = FirstLine::Returned;
            }
            (FirstLine::Fed, [b'\r', next, ..]) if *next != b'\n' => *rest = &rest[1..],
            (FirstLine::Returned, [b'\n', ..]) => self.kept.push(b'\r'),
            _ => {}
        }
    }
}

/// What is known of the end of a message's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstLine {
    /// It is whole.
    Ended,
    /// It was a LF, which a CR may follow.
    Fed,
    /// It was a LF and a CR, which make an empty line with another LF.
    Returned,
}

/// Why a side is given up.
#[derive(Debug, PartialEq, Eq)]
struct Broken;

/// How the bytes of one call ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Taken,
    /// Another protocol begins after this many bytes.
    Switched(usize),
}

/// The HTTP of one connection.
#[derive(Debug)]
pub(super) struct Http1 {
    next: u32,
    waiting: Pipeline,
    request: Half,
    response: Half,
    /// The end of a body has brought more than there may be.
    has_bomb: bool,
}

impl Http1 {
    pub(super) fn new(first_transaction: u32) -> Self {
        let (request, response) = (Half::new(), Half::new());
        Http1 { next: first_transaction, waiting: Pipeline::default(), request, response, has_bomb: false }
    }

    fn allocate(&mut self) -> u32 {
        let transaction = self.next;
        self.next = self.next.wrapping_add(1);
        transaction
    }

    fn half(&mut self, side: Direction) -> &mut Half {
        match side {
            Direction::ToServer => &mut self.request,
            Direction::ToClient => &mut self.response,
        }
    }

    fn body_data(
        &mut self,
        side: Direction,
        bytes: &[u8],
        settings: &Settings,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let half = self.half(side);
        let transaction = half.transaction;
        let file_name = match (&half.body, side) {
            (None, Direction::ToClient) => Some(self.waiting.front_path().to_vec()),
            (None, Direction::ToServer) | (Some(_), _) => None,
        };
        let body = self.half(side).body.get_or_insert_with(|| {
            let mut body = Body::new(transaction, side);
            if let Some(name) = file_name {
                body.is_file(name, sink);
            }
            body
        });
        if body.data(bytes, settings, sink).is_err() {
            // The rest of a bomb is not unpacked, so it would go by unseen: that is for the exception policy to decide.
            return Err(Broken);
        }
        Ok(())
    }

    /// Takes what belongs to a body from the front of `input`. Gives whether the state was one of a body.
    fn take_body(
        &mut self,
        side: Direction,
        input: &mut &[u8],
        settings: &Settings,
        sink: &mut dyn Sink,
    ) -> Result<bool, Broken> {
        match self.half(side).state {
            State::Length(left) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (bytes, rest) = input.split_at(count);
                *input = rest;
                self.body_data(side, bytes, settings, sink)?;
                let left = left - count as u64;
                self.half(side).state = if left == 0 { State::Tail } else { State::Length(left) };
                if left == 0 {
                    self.reached_its_length(side, sink);
                }
            }
            State::UntilClose => {
                self.body_data(side, input, settings, sink)?;
                *input = &[];
            }
            State::LooseLine => {
                let end = memchr::memchr2(b'\r', b'\n', input).map(|at| at + 1);
                let (bytes, rest) = input.split_at(end.unwrap_or(input.len()));
                *input = rest;
                self.body_data(side, bytes, settings, sink)?;
                if end.is_some() {
                    self.half(side).state = State::Line;
                }
            }
            State::ChunkLength => self.chunk_length(side, input, settings, sink)?,
            State::Chunk(left) => {
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (bytes, rest) = input.split_at(count);
                *input = rest;
                self.body_data(side, bytes, settings, sink)?;
                let left = left - count as u64;
                self.half(side).state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
            }
            State::ChunkEnd => match memchr::memchr(b'\n', input) {
                Some(at) => {
                    *input = &input[at + 1..];
                    self.half(side).state = State::ChunkLength;
                }
                None => *input = &[],
            },
            State::Line | State::Fields | State::Trailer | State::Tail | State::Connect => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads the line that gives a chunk's length (RFC 9112 section 7.1).
    fn chunk_length(
        &mut self,
        side: Direction,
        input: &mut &[u8],
        settings: &Settings,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let is_control = |byte: &u8| matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0x0b | 0x0c);
        let half = self.half(side);
        let transaction = half.transaction;
        let line = match header::take_line(&mut half.kept, input, |bytes| memchr::memchr(b'\n', bytes)) {
            header::Taken::Line(line) => line,
            header::Taken::TooLong => return Err(Broken),
            header::Taken::Open => {
                // What cannot become a number is not waited for.
                let start = half.kept.iter().position(|byte| !is_control(byte));
                if start.is_none_or(|start| half.kept[start].is_ascii_hexdigit()) {
                    return Ok(());
                }
                let line = std::mem::take(&mut half.kept);
                return self.no_chunk(side, &line, settings, sink);
            }
        };
        if line.iter().all(is_control) {
            return Ok(());
        }
        let start = line.iter().position(|byte| !is_control(byte)).unwrap_or(line.len());
        let digits = line[start..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let text = std::str::from_utf8(&line[start..start + digits]).unwrap_or_default();
        let Some(length) = u64::from_str_radix(text, 16).ok().filter(|&length| length <= i32::MAX as u64) else {
            return self.no_chunk(side, &line, settings, sink);
        };
        if line[start + digits..].contains(&b';') {
            let anomaly = match side {
                Direction::ToServer => Anomaly::HttpRequestChunkExtension,
                Direction::ToClient => Anomaly::HttpResponseChunkExtension,
            };
            sink.anomaly(transaction, side, anomaly);
        }
        self.half(side).state = if length == 0 { State::Trailer } else { State::Chunk(length) };
        if length == 0 {
            self.reached_its_length(side, sink);
        }
        Ok(())
    }

    /// The body is over as far as its frame says, whatever follows at once.
    fn reached_its_length(&mut self, side: Direction, sink: &mut dyn Sink) {
        if let Some(body) = &mut self.half(side).body {
            body.reached_its_length(sink);
        }
    }

    /// There is no chunk where one should be. In a response, what follows is taken as it comes, as browsers do.
    fn no_chunk(
        &mut self,
        side: Direction,
        bytes: &[u8],
        settings: &Settings,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let transaction = self.half(side).transaction;
        match side {
            Direction::ToServer => {
                sink.anomaly(transaction, side, Anomaly::HttpInvalidRequestChunkLength);
                Err(Broken)
            }
            Direction::ToClient => {
                sink.anomaly(transaction, side, Anomaly::HttpInvalidResponseChunkLength);
                self.response.state = State::UntilClose;
                self.body_data(side, bytes, settings, sink)
            }
        }
    }

    /// Ends the body and the message of one side.
    fn complete(&mut self, side: Direction, is_whole: bool, settings: &Settings, sink: &mut dyn Sink) {
        let half = self.half(side);
        let transaction = half.transaction;
        half.state = State::Line;
        half.line = Vec::new();
        if let Some(body) = half.body.take() {
            self.has_bomb |= body.end(is_whole, settings, sink).is_err();
            sink.stage(transaction, side, Stage::Body);
        }
        sink.stage(transaction, side, Stage::Complete);
        if side == Direction::ToClient {
            self.waiting.pop_front();
        }
    }

    fn finish(
        &mut self,
        side: Direction,
        result: Result<Outcome, Broken>,
        settings: &Settings,
        sink: &mut dyn Sink,
    ) -> Progress {
        match result {
            Ok(_) if self.has_bomb => self.finish(side, Err(Broken), settings, sink),
            Ok(Outcome::Taken) => Progress::More,
            Ok(Outcome::Switched(used)) => Progress::Switch { used, held: std::mem::take(&mut self.request.kept) },
            Err(Broken) => {
                // Nobody will hear of this flow again: the other side's body is over as well.
                for side in [side, side.reversed()] {
                    let half = self.half(side);
                    let transaction = half.transaction;
                    if let Some(body) = half.body.take() {
                        // It is broken already.
                        let _ = body.end(false, settings, sink);
                        sink.stage(transaction, side, Stage::Complete);
                    }
                }
                Progress::Broken
            }
        }
    }
}

impl Parse for Http1 {
    fn next_transaction(&self) -> u32 {
        self.next
    }

    fn stream(&mut self, side: Direction, bytes: &[u8], settings: &Settings, sink: &mut dyn Sink) -> Progress {
        let result = match side {
            Direction::ToServer => self.request_bytes(bytes, settings, sink).map(|()| Outcome::Taken),
            Direction::ToClient => self.response_bytes(bytes, settings, sink),
        };
        self.finish(side, result, settings, sink)
    }

    /// Bytes that are missing from a body leave the rest of it readable; elsewhere nothing can be made of what follows.
    fn gap(&mut self, side: Direction, length: u64, settings: &Settings, sink: &mut dyn Sink) -> Progress {
        let half = self.half(side);
        let rest = match half.state {
            State::UntilClose => State::UntilClose,
            State::Length(left) if left > length => State::Length(left - length),
            State::Length(left) if left == length => State::Tail,
            State::Chunk(left) if left > length => State::Chunk(left - length),
            State::Chunk(left) if left == length => State::ChunkEnd,
            State::Line
            | State::LooseLine
            | State::Fields
            | State::Length(_)
            | State::ChunkLength
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailer
            | State::Tail
            | State::Connect => return self.finish(side, Err(Broken), settings, sink),
        };
        half.state = rest;
        let transaction = half.transaction;
        // A packed body cannot be unpacked across a gap, and a file with a hole has no hash: what follows is a new body.
        if let Some(body) = half.body.replace(Body::new(transaction, side)) {
            self.has_bomb |= body.end(false, settings, sink).is_err();
        }
        self.finish(side, Ok(Outcome::Taken), settings, sink)
    }

    fn pause(&mut self, side: Direction, sink: &mut dyn Sink) {
        if let Some(body) = &mut self.half(side).body {
            body.pause(sink);
        }
    }

    fn closed(&mut self, side: Direction, settings: &Settings, sink: &mut dyn Sink) -> Progress {
        match side {
            Direction::ToServer => self.request_closed(settings, sink),
            Direction::ToClient => self.response_closed(settings, sink),
        }
        self.finish(side, Ok(Outcome::Taken), settings, sink)
    }
}

/// The encodings that a `Content-Encoding` names, in the order of application. Unknown ones are passed over: a browser
/// that does not know one shows the bytes as they are.
fn encodings(header: &Header<'_>, layers_max: u32, report: &mut dyn FnMut(Anomaly)) -> Vec<Encoding> {
    let Some(value) = header.value(names::CONTENT_ENCODING) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut layers = 0;
    for name in value.split(|&byte| byte == b',' || byte == b' ').filter(|name| !name.is_empty()) {
        layers += 1;
        if layers > layers_max {
            report(Anomaly::HttpTooManyEncodingLayers);
            break;
        }
        let is_exact = |names: &[&[u8]]| names.iter().any(|known| fields::is_named(name, known));
        let encoding = if fields::mentions(name, b"gzip") {
            Some((Encoding::Gzip, is_exact(&[b"gzip", b"x-gzip"])))
        } else if fields::mentions(name, b"deflate") {
            Some((Encoding::Deflate, is_exact(&[b"deflate", b"x-deflate"])))
        } else if is_exact(&[b"br"]) {
            Some((Encoding::Brotli, true))
        } else if is_exact(&[b"lzma"]) {
            Some((Encoding::Lzma, !found.contains(&Encoding::Lzma)))
        } else {
            None
        };
        match encoding {
            Some((Encoding::Lzma, false)) => {
                report(Anomaly::HttpTooManyEncodingLayers);
                break;
            }
            Some((encoding, is_plain)) => {
                if !is_plain {
                    report(Anomaly::HttpAbnormalContentEncoding);
                }
                found.push(encoding);
            }
            None if is_exact(&[b"inflate", b"none", b"identity"]) => {}
            None => report(Anomaly::HttpAbnormalContentEncoding),
        }
    }
    found
}

/// Whether a `Content-Range` (RFC 9110 section 14.4) is that of a whole, `bytes 0-99/100`.
fn is_whole_range(value: &[u8]) -> bool {
    let Some(range) = std::str::from_utf8(value).ok().and_then(|text| text.trim().split_once(' ')) else {
        return false;
    };
    let Some((first, rest)) = range.1.split_once('-') else { return false };
    let Some((last, length)) = rest.split_once('/') else { return false };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let is_bytes = range.0.eq_ignore_ascii_case("bytes");
    is_bytes && number(first) == Some(0) && number(last).is_some_and(|last| number(length) == last.checked_add(1))
}
