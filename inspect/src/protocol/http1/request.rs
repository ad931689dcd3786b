//! Requests.

use super::body::Body;
use super::fields::{is_odd_space, is_space, mentions, trim};
use super::header::{self, Header, Taken, TakenBlock, content_length, word};
use super::uri::{Target, is_host_name, normalise_host, split_host};
use super::{
    Broken, CONNECT_BYTES_MAX, Http1, Method, PIPELINE_MAX, State, encodings, is_whole_range, multipart, names,
};
use crate::inspector::Direction;
use crate::protocol::anomaly::Anomaly;
use crate::protocol::buffer::Buffer;
use crate::protocol::recognise::HTTP_METHODS as METHODS;
use crate::protocol::settings::Settings;
use crate::protocol::sink::{Piece, Sink, Stage};

const SIDE: Direction = Direction::ToServer;

/// A request line taken apart.
struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    protocol: &'a [u8],
    has_leading_space: bool,
    has_odd_method_delimiter: bool,
    has_odd_target_delimiter: bool,
}

impl<'a> RequestLine<'a> {
    /// The method ends at the first white space, the target at the last space; without a space, at the last white space.
    fn parse(line: &'a [u8]) -> Self {
        let text = trim(line);
        let has_leading_space = line.first().is_some_and(|&byte| is_space(byte));
        let (method, rest) = word(text);
        let delimiter = &text[method.len()..text.len() - rest.len()];
        let split_at = |at: usize| (trim(&rest[..at]), trim(&rest[at + 1..]));
        let (target, protocol) = memchr::memrchr(b' ', rest).map_or((rest, &[][..]), split_at);
        // All bytes are looked at, many at a time: most targets have none.
        let has_odd_target_delimiter = target.iter().fold(false, |any, &byte| any | is_odd_space(byte));
        let (target, protocol) = if has_odd_target_delimiter && protocol.is_empty() {
            rest.iter().rposition(|&byte| is_space(byte)).map_or((target, protocol), split_at)
        } else {
            (target, protocol)
        };
        RequestLine {
            method,
            target,
            protocol,
            has_leading_space,
            has_odd_method_delimiter: !rest.is_empty() && delimiter != b" ",
            has_odd_target_delimiter,
        }
    }
}

impl Http1 {
    pub(super) fn request_bytes(
        &mut self,
        input: &[u8],
        settings: &Settings,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        self.request_parts(input, settings, sink)?;
        if self.request.state == State::Tail {
            self.complete(SIDE, true, settings, sink);
        }
        Ok(())
    }

    fn request_parts(&mut self, mut input: &[u8], settings: &Settings, sink: &mut dyn Sink) -> Result<(), Broken> {
        while !input.is_empty() {
            if self.take_body(SIDE, &mut input, settings, sink)? {
                continue;
            }
            match self.request.state {
                State::Tail => self.request_tail(&mut input, settings, sink)?,
                State::Line => {
                    match header::take_line(&mut self.request.kept, &mut input, |bytes| memchr::memchr(b'\n', bytes)) {
                        Taken::Line(line) => self.request_line(&line, sink)?,
                        Taken::Open => {}
                        Taken::TooLong => return Err(self.too_long(sink)),
                    }
                }
                State::Fields | State::Trailer => {
                    let half = &mut self.request;
                    match header::take_block(SIDE, &mut half.kept, &mut half.read, &mut input) {
                        TakenBlock::Block(block, behind) => {
                            self.request_block(&block, settings, sink)?;
                            self.request_parts(&behind, settings, sink)?;
                        }
                        TakenBlock::Open => {}
                        TakenBlock::TooLong => return Err(self.too_long(sink)),
                    }
                }
                State::Connect => {
                    if self.request.kept.len() + input.len() > CONNECT_BYTES_MAX {
                        return Err(Broken);
                    }
                    self.request.kept.extend_from_slice(input);
                    input = &[];
                }
                State::LooseLine
                | State::Length(_)
                | State::UntilClose
                | State::ChunkLength
                | State::Chunk(_)
                | State::ChunkEnd => return Err(Broken),
            }
        }
        Ok(())
    }

    fn too_long(&mut self, sink: &mut dyn Sink) -> Broken {
        let transaction = match self.request.state {
            State::Line => self.allocate(),
            _ => self.request.transaction,
        };
        sink.anomaly(transaction, SIDE, Anomaly::HttpRequestFieldTooLong);
        Broken
    }

    /// What follows a request at once is the next request, unless its line does not start with a method.
    fn request_tail(&mut self, input: &mut &[u8], settings: &Settings, sink: &mut dyn Sink) -> Result<(), Broken> {
        let end = memchr::memchr(b'\n', input).map(|at| at + 1);
        let method = word(trim(&input[..end.unwrap_or(input.len())])).0;
        let is_next = METHODS.iter().any(|known| method.eq_ignore_ascii_case(known));
        match end {
            Some(end) if !is_next => {
                let (line, rest) = input.split_at(end);
                *input = rest;
                if !method.is_empty() {
                    sink.anomaly(self.request.transaction, SIDE, Anomaly::HttpRequestBodyUnexpected);
                }
                self.body_data(SIDE, line, settings, sink)
            }
            Some(_) | None => {
                self.complete(SIDE, true, settings, sink);
                Ok(())
            }
        }
    }

    fn request_line(&mut self, line: &[u8], sink: &mut dyn Sink) -> Result<(), Broken> {
        let line = &line[..line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |at| at + 1)];
        if line.is_empty() {
            return Ok(());
        }
        if self.waiting.len() >= PIPELINE_MAX {
            return Err(Broken);
        }
        let transaction = self.allocate();
        self.request.transaction = transaction;
        self.request.state = State::Fields;
        self.request.read = 0;
        self.request.body = None;
        self.request.line = line.to_vec();
        let parts = RequestLine::parse(line);
        let method = match parts.method {
            b"CONNECT" => Method::Connect,
            b"HEAD" => Method::Head,
            _ => Method::Other,
        };
        let target = if method == Method::Connect { Target::default() } else { Target::parse(parts.target) };
        let mut uri = sink.spare_bytes();
        let path_length = target.normalise(&mut uri);
        self.waiting.push(transaction, method, &uri[..path_length]);
        for (buffer, bytes) in [
            (Buffer::HttpRequestLine, line),
            (Buffer::HttpMethod, parts.method),
            (Buffer::HttpUri, &uri),
            (Buffer::HttpUriRaw, parts.target),
            (Buffer::HttpProtocol, parts.protocol),
        ] {
            if !bytes.is_empty() {
                sink.buffer(transaction, SIDE, buffer, Piece::WHOLE, bytes);
            }
        }
        sink.give_back(uri);
        for (is_so, anomaly) in [
            (parts.has_leading_space, Anomaly::HttpRequestLineLeadingWhitespace),
            (parts.has_odd_method_delimiter, Anomaly::HttpMethodDelimiter),
            (parts.has_odd_target_delimiter, Anomaly::HttpUriDelimiter),
        ] {
            if is_so {
                sink.anomaly(transaction, SIDE, anomaly);
            }
        }
        let is_known = METHODS.contains(&parts.method);
        if parts.protocol.is_empty() && !is_known {
            sink.anomaly(transaction, SIDE, Anomaly::HttpRequestLineInvalid);
        }
        sink.stage(transaction, SIDE, Stage::Line);
        Ok(())
    }

    fn request_block(&mut self, block: &[u8], settings: &Settings, sink: &mut dyn Sink) -> Result<(), Broken> {
        let transaction = self.request.transaction;
        let header = Header::read_of(transaction, SIDE, block, sink)?;
        if self.request.state == State::Trailer {
            header.deliver_fields(transaction, SIDE, sink);
            self.request.state = State::Tail;
            return Ok(());
        }
        let line = std::mem::take(&mut self.request.line);
        let parts = RequestLine::parse(&line);
        if parts.protocol.is_empty() {
            sink.anomaly(transaction, SIDE, Anomaly::HttpRequestLineMissingProtocol);
        }
        header.deliver(transaction, SIDE, &line, block, sink);
        deliver_host(transaction, &parts, &header, sink);
        check_authorization(transaction, &header, sink);
        sink.stage(transaction, SIDE, Stage::Headers);
        self.begin_request_body(&parts, &header, settings, sink)
    }

    /// Finds out whether and how a body follows (RFC 9112 section 6.3).
    fn begin_request_body(
        &mut self,
        parts: &RequestLine<'_>,
        header: &Header<'_>,
        settings: &Settings,
        sink: &mut dyn Sink,
    ) -> Result<(), Broken> {
        let transaction = self.request.transaction;
        let length = header.value(names::CONTENT_LENGTH);
        self.request.state = if let Some(coding) = header.value(names::TRANSFER_ENCODING) {
            if !mentions(coding, b"chunked") {
                sink.anomaly(transaction, SIDE, Anomaly::HttpInvalidRequestTransferEncoding);
                return Err(Broken);
            }
            State::ChunkLength
        } else if let Some(length) = length {
            match content_length(length) {
                Some(0) => State::Tail,
                Some(length) => State::Length(length),
                None => {
                    sink.anomaly(transaction, SIDE, Anomaly::HttpInvalidRequestContentLength);
                    return Err(Broken);
                }
            }
        } else {
            State::Tail
        };
        if parts.method == b"CONNECT" {
            self.request.state = State::Connect;
            return Ok(());
        }
        let mut body = Body::new(transaction, SIDE);
        let mut report = |anomaly| sink.anomaly(transaction, SIDE, anomaly);
        body.packed_with(&encodings(header, settings.encoding_layers_max, &mut report));
        let boundary = header.value(names::CONTENT_TYPE).and_then(multipart::boundary);
        match boundary {
            Some(boundary) => body.is_form(boundary),
            None if matches!(parts.method, b"POST" | b"PUT") => {
                body.is_file(self.waiting.back_path().to_vec(), sink);
            }
            None => {}
        }
        if header.value(names::CONTENT_RANGE).is_some_and(|range| !is_whole_range(range)) {
            body.is_part();
        }
        self.request.body = (self.request.state != State::Tail).then_some(body);
        Ok(())
    }

    /// The proxy has refused a CONNECT: what the client has sent since is HTTP again.
    pub(super) fn connect_refused(&mut self, settings: &Settings, sink: &mut dyn Sink) -> Result<(), Broken> {
        if self.request.state == State::Connect {
            self.complete(SIDE, true, settings, sink);
            let kept = std::mem::take(&mut self.request.kept);
            self.request_bytes(&kept, settings, sink)?;
        }
        Ok(())
    }

    pub(super) fn request_closed(&mut self, settings: &Settings, sink: &mut dyn Sink) {
        let kept = std::mem::take(&mut self.request.kept);
        // A line or block that the end of the connection ends counts as it stands; errors change nothing any more.
        match self.request.state {
            State::Line => {
                if !kept.is_empty() && self.request_line(&kept, sink).is_ok() {
                    self.request_closed(settings, sink);
                }
            }
            State::Fields => {
                let _ = self.request_block(&kept, settings, sink);
                self.complete(SIDE, self.request.state == State::Tail, settings, sink);
            }
            State::Trailer => {
                let _ = self.request_block(&kept, settings, sink);
                self.complete(SIDE, true, settings, sink);
            }
            State::Tail | State::Connect => self.complete(SIDE, true, settings, sink),
            State::LooseLine
            | State::Length(_)
            | State::UntilClose
            | State::ChunkLength
            | State::Chunk(_)
            | State::ChunkEnd => {
                self.complete(SIDE, false, settings, sink);
            }
        }
    }
}

/// Delivers the host, from the target where it has one, else from `Host` (RFC 9112 section 3.2.2).
fn deliver_host(transaction: u32, parts: &RequestLine<'_>, header: &Header<'_>, sink: &mut dyn Sink) {
    let target = match parts.method {
        b"CONNECT" => {
            let (host, port) = split_host(parts.target);
            Target { host: Some(host).filter(|host| !host.is_empty()), port, ..Target::default() }
        }
        _ => Target::parse(parts.target),
    };
    let field = header.value(names::HOST);
    let in_field = field.map(|field| split_host(field).0);
    let mut host = sink.spare_bytes();
    match (target.host, in_field) {
        (Some(name), _) => normalise_host(name, &mut host),
        (None, Some(name)) => host.extend(name.iter().map(u8::to_ascii_lowercase)),
        (None, None) => {}
    }
    for (buffer, bytes) in
        [(Buffer::HttpHost, &host[..]), (Buffer::HttpHostRaw, field.or(target.host).unwrap_or_default())]
    {
        if !bytes.is_empty() {
            sink.buffer(transaction, SIDE, buffer, Piece::WHOLE, bytes);
        }
    }
    sink.give_back(host);
    let mut object = |is_so, anomaly| {
        if is_so {
            sink.anomaly(transaction, SIDE, anomaly);
        }
    };
    object(field.is_none() && parts.protocol.eq_ignore_ascii_case(b"HTTP/1.1"), Anomaly::HttpMissingHostHeader);
    object(in_field.is_some_and(|name| !is_host_name(name)), Anomaly::HttpRequestHeaderHostInvalid);
    object(target.host.is_some_and(|name| !is_host_name(name)), Anomaly::HttpRequestUriHostInvalid);
    let differ = matches!((target.host, in_field), (Some(a), Some(b)) if !a.eq_ignore_ascii_case(b));
    object(differ, Anomaly::HttpHostHeaderAmbiguous);
}

fn check_authorization(transaction: u32, header: &Header<'_>, sink: &mut dyn Sink) {
    const KNOWN: [&[u8]; 3] = [b"basic", b"digest", b"bearer"];
    if let Some(value) = header.value(names::AUTHORIZATION)
        && !KNOWN.iter().any(|known| value.len() >= known.len() && value[..known.len()].eq_ignore_ascii_case(known))
    {
        sink.anomaly(transaction, SIDE, Anomaly::HttpRequestAuthUnrecognized);
    }
}
