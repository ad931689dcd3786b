//! The header of one message: its fields, merged where repeated, and the buffers that are made of them.

use std::borrow::Cow;

use super::fields::{Field, Next, Reader, is_space, is_token};
use super::names::{Known, Name};
use super::{Broken, FIELD_BYTES_MAX, FIELDS_MAX};
use crate::inspector::Direction;
use crate::protocol::anomaly::Anomaly;
use crate::protocol::buffer::Buffer;
use crate::protocol::sink::{Piece, Sink};

/// One message's header fields.
#[derive(Debug)]
pub(super) struct Header<'a> {
    fields: Vec<Field<'a>>,
    known: Known<'a>,
}

/// Work of taking a field apart, in units of about a nanosecond.
const FIELD_WORK: u64 = 60;

/// Fields that most messages do not have more of.
const USUAL_FIELDS: usize = 16;

/// How far a header block has come.
pub(super) enum Block {
    /// It is over; this many bytes belong to it.
    Over(usize),
    /// More is needed; everything before this place has been read.
    Open(usize),
    /// A field or the number of fields is beyond its limit.
    TooLong,
}

/// Reads fields from `from` on without keeping them.
pub(super) fn measure(side: Direction, bytes: &[u8], from: usize, is_whole: bool) -> Block {
    let mut reader = Reader::new(side, bytes, from, is_whole);
    loop {
        let start = reader.at;
        match reader.next() {
            Next::Field(_) if reader.at - start > FIELD_BYTES_MAX => return Block::TooLong,
            Next::Field(_) => {}
            Next::End => return Block::Over(reader.at),
            Next::More if bytes.len() - reader.at > FIELD_BYTES_MAX => return Block::TooLong,
            Next::More => return Block::Open(reader.at),
        }
    }
}

/// A number with anything but digits before it and anything after it, as lax receivers read `Content-Length`.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    let start = value.iter().position(u8::is_ascii_digit)?;
    let digits = value[start..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.into_iter().try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

impl<'a> Header<'a> {
    /// Reads a message's whole block, and tells the sink what is wrong with it.
    pub(super) fn read_of(
        transaction: u32,
        side: Direction,
        block: &'a [u8],
        sink: &mut dyn Sink,
    ) -> Result<Self, Broken> {
        let header = Self::read(side, block, &mut |anomaly| sink.anomaly(transaction, side, anomaly));
        let count = header.as_ref().map_or(FIELDS_MAX, |header| header.fields.len());
        sink.parsed(FIELD_WORK * count as u64);
        header.map_err(|anomaly| {
            sink.anomaly(transaction, side, anomaly);
            Broken
        })
    }

    /// Reads a whole block. `report` hears of what is wrong, each thing once.
    fn read(side: Direction, block: &'a [u8], report: &mut dyn FnMut(Anomaly)) -> Result<Self, Anomaly> {
        let mut header = Header { fields: Vec::with_capacity(USUAL_FIELDS), known: Known::with_capacity(USUAL_FIELDS) };
        let mut reader = Reader::new(side, block, 0, true);
        let mut reported = Vec::new();
        let mut report_once = |anomaly: Anomaly| {
            if !reported.contains(&anomaly) {
                reported.push(anomaly);
                report(anomaly);
            }
        };
        while let Next::Field(field) = reader.next() {
            header.add(side, field, &mut report_once)?;
        }
        Ok(header)
    }

    fn add(&mut self, side: Direction, field: Field<'a>, report: &mut dyn FnMut(Anomaly)) -> Result<(), Anomaly> {
        let is_request = side == Direction::ToServer;
        let pick = |request, response| if is_request { request } else { response };
        if field.lacks_colon {
            report(pick(Anomaly::HttpRequestFieldMissingColon, Anomaly::HttpResponseFieldMissingColon));
        } else if field.name.is_empty() || !field.name.iter().all(|&byte| is_token(byte)) {
            report(pick(Anomaly::HttpRequestHeaderInvalid, Anomaly::HttpResponseHeaderInvalid));
        }
        if field.is_misfolded {
            report(pick(Anomaly::HttpInvalidRequestFolding, Anomaly::HttpInvalidResponseFolding));
        }
        match self.known.place_of(field.name, |place| self.fields[place].name) {
            Some(place) => {
                report(pick(Anomaly::HttpRequestHeaderRepetition, Anomaly::HttpResponseHeaderRepetition));
                let value = &mut self.fields[place].value;
                if !field.name.eq_ignore_ascii_case(b"content-length") {
                    let value = value.to_mut();
                    value.extend_from_slice(b", ");
                    value.extend_from_slice(&field.value);
                } else if content_length(value).is_none() || content_length(value) != content_length(&field.value) {
                    report(pick(
                        Anomaly::HttpDuplicateRequestContentLength,
                        Anomaly::HttpDuplicateResponseContentLength,
                    ));
                }
            }
            None if self.fields.len() >= FIELDS_MAX => {
                return Err(pick(Anomaly::HttpRequestTooManyHeaders, Anomaly::HttpResponseTooManyHeaders));
            }
            None => self.fields.push(field),
        }
        Ok(())
    }

    /// The value of a field.
    pub(super) fn value(&self, name: Name) -> Option<&[u8]> {
        let place = self.known.find(name, |place| self.fields[place].name)?;
        Some(&*self.fields[place].value)
    }

    /// Delivers every buffer that is made of fields. `line` is the first line without its end, `raw` the block as sent.
    pub(super) fn deliver(&self, transaction: u32, side: Direction, line: &[u8], raw: &[u8], sink: &mut dyn Sink) {
        let give = |sink: &mut dyn Sink, buffer, bytes: &[u8]| {
            if !bytes.is_empty() {
                sink.buffer(transaction, side, buffer, Piece::WHOLE, bytes);
            }
        };
        let mut text = sink.spare_bytes();
        text.reserve(raw.len() + line.len() + 8);
        if sink.wants(Buffer::HttpStart) {
            text.extend_from_slice(line);
            text.extend_from_slice(b"\r\n");
            for field in &self.fields {
                push_field(&mut text, field);
            }
            text.extend_from_slice(b"\r\n");
            give(sink, Buffer::HttpStart, &text);
            text.clear();
        }
        if sink.wants(Buffer::HttpHeader) {
            let cookie: &[u8] = if side == Direction::ToServer { b"cookie" } else { b"set-cookie" };
            for field in self.fields.iter().filter(|field| !field.name.eq_ignore_ascii_case(cookie)) {
                push_field(&mut text, field);
            }
            give(sink, Buffer::HttpHeader, &text);
            text.clear();
        }
        give(sink, Buffer::HttpHeaderRaw, raw);
        if !self.fields.is_empty() && sink.wants(Buffer::HttpHeaderNames) {
            text.extend_from_slice(b"\r\n");
            for field in &self.fields {
                text.extend_from_slice(field.name);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"\r\n");
            give(sink, Buffer::HttpHeaderNames, &text);
        }
        sink.give_back(text);
        for (place, field) in self.fields.iter().enumerate() {
            if let Some(buffer) = self.known.buffer_of(side, place, field.name) {
                give(sink, buffer, &field.value);
            }
        }
        self.deliver_fields(transaction, side, sink);
    }

    /// Delivers the fields one by one; trailers are delivered so only.
    pub(super) fn deliver_fields(&self, transaction: u32, side: Direction, sink: &mut dyn Sink) {
        let buffer = match side {
            Direction::ToServer => Buffer::HttpRequestHeader,
            Direction::ToClient => Buffer::HttpResponseHeader,
        };
        if !sink.wants(buffer) {
            return;
        }
        let mut text = sink.spare_bytes();
        for field in &self.fields {
            text.clear();
            push_field(&mut text, field);
            text.truncate(text.len() - 2);
            sink.buffer(transaction, side, buffer, Piece::WHOLE, &text);
        }
        sink.give_back(text);
    }
}

fn push_field(text: &mut Vec<u8>, field: &Field<'_>) {
    text.extend_from_slice(field.name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(&field.value);
    text.extend_from_slice(b"\r\n");
}

/// Splits at white space: what comes before, and the rest without it.
pub(super) fn word(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&byte| is_space(byte)).unwrap_or(bytes.len());
    let next = bytes[end..].iter().position(|&byte| !is_space(byte)).map_or(bytes.len(), |at| end + at);
    (&bytes[..end], &bytes[next..])
}

/// A line, from the bytes at hand or joined with what was kept of it.
pub(super) type Line<'a> = Cow<'a, [u8]>;

/// What taking a line from the stream gave.
pub(super) enum Taken<'a> {
    Line(Line<'a>),
    /// The line goes on; it has been kept.
    Open,
    TooLong,
}

/// Takes a line up to and with the byte that `end` finds; keeps it in `kept` while it is not over.
pub(super) fn take_line<'a>(
    kept: &mut Vec<u8>,
    input: &mut &'a [u8],
    end: impl Fn(&[u8]) -> Option<usize>,
) -> Taken<'a> {
    match end(input) {
        Some(at) => {
            let (line, rest) = input.split_at(at + 1);
            *input = rest;
            if kept.len() + line.len() > FIELD_BYTES_MAX {
                return Taken::TooLong;
            }
            if kept.is_empty() {
                return Taken::Line(Cow::Borrowed(line));
            }
            let mut joined = std::mem::take(kept);
            joined.extend_from_slice(line);
            Taken::Line(Cow::Owned(joined))
        }
        None => {
            if kept.len() + input.len() > FIELD_BYTES_MAX {
                return Taken::TooLong;
            }
            kept.extend_from_slice(input);
            *input = &[];
            Taken::Open
        }
    }
}

/// What taking a header block from the stream gave.
pub(super) enum TakenBlock<'a> {
    /// The block, and bytes that were kept with it although they come after it.
    Block(Cow<'a, [u8]>, Vec<u8>),
    /// The block goes on; it has been kept.
    Open,
    TooLong,
}

/// Takes a header block. `read` is how much of what is kept has been measured.
pub(super) fn take_block<'a>(
    side: Direction,
    kept: &mut Vec<u8>,
    read: &mut usize,
    input: &mut &'a [u8],
) -> TakenBlock<'a> {
    if kept.is_empty() {
        match measure(side, input, 0, false) {
            Block::Over(length) => {
                let (block, rest) = input.split_at(length);
                *input = rest;
                return TakenBlock::Block(Cow::Borrowed(block), Vec::new());
            }
            Block::Open(at) => *read = at,
            Block::TooLong => return TakenBlock::TooLong,
        }
        kept.extend_from_slice(input);
        *input = &[];
        return TakenBlock::Open;
    }
    if kept.len() + input.len() > super::HEADER_BYTES_MAX + FIELD_BYTES_MAX {
        return TakenBlock::TooLong;
    }
    let before = kept.len();
    kept.extend_from_slice(input);
    // A block ends only behind a line end, or with the byte after one.
    let may_end = input.iter().chain(&kept[before - 1..before]).any(|&byte| byte == b'\n' || byte == b'\r');
    let block = if may_end { measure(side, kept, *read, false) } else { Block::Open(*read) };
    match block {
        Block::Over(length) => {
            let mut block = std::mem::take(kept);
            block.truncate(length.max(before));
            // An end that had to be looked at from behind can lie before the bytes at hand.
            let behind = block.split_off(length);
            *input = &input[length.saturating_sub(before)..];
            *read = 0;
            TakenBlock::Block(Cow::Owned(block), behind)
        }
        Block::Open(at) if kept.len() <= super::HEADER_BYTES_MAX && kept.len() - at <= FIELD_BYTES_MAX => {
            *read = at;
            *input = &[];
            TakenBlock::Open
        }
        Block::Open(_) | Block::TooLong => TakenBlock::TooLong,
    }
}
