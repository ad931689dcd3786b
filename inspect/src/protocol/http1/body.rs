//! A message body on its way to the sink: unpacked, as the body buffer and as a file.

use super::multipart::Multipart;
use super::unpack::{Bounds, Encoding, Go, Unpacker};
use crate::inspector::Direction;
use crate::protocol::anomaly::Anomaly;
use crate::protocol::buffer::Buffer;
use crate::protocol::file::FileStream;
use crate::protocol::settings::Settings;
use crate::protocol::sink::{Piece, Sink};

/// What the body's bytes are besides a body.
#[derive(Debug)]
enum Contents {
    Nothing,
    File(FileStream),
    Parts(Box<Multipart>),
}

/// One body.
#[derive(Debug)]
pub(super) struct Body {
    out: Out,
    unpacker: Option<Unpacker>,
    has_reported_failure: bool,
    is_part: bool,
    /// The bytes as they came, where what is a file besides are others: a receiver may keep them as they are.
    whole: Option<FileStream>,
}

/// Where unpacked bytes go.
#[derive(Debug)]
struct Out {
    transaction: u32,
    side: Direction,
    contents: Contents,
    file_name: Vec<u8>,
    packed: u64,
    unpacked: u64,
    has_begun: bool,
}

/// The body grows beyond all reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bomb;

impl Body {
    pub(super) fn new(transaction: u32, side: Direction) -> Self {
        Body {
            out: Out {
                transaction,
                side,
                contents: Contents::Nothing,
                file_name: Vec::new(),
                packed: 0,
                unpacked: 0,
                has_begun: false,
            },
            unpacker: None,
            has_reported_failure: false,
            is_part: false,
            whole: None,
        }
    }

    /// The body is packed with these, in the order of application.
    pub(super) fn packed_with(&mut self, encodings: &[Encoding]) {
        if !encodings.is_empty() {
            self.unpacker = Some(Unpacker::new(encodings));
        }
    }

    /// The body is one file of this name.
    pub(super) fn is_file(&mut self, name: Vec<u8>, sink: &dyn Sink) {
        self.out.contents = Contents::File(FileStream::new(self.out.transaction, self.out.side, sink));
        self.out.file_name = name;
    }

    /// The body is a form with files in it (RFC 7578).
    pub(super) fn is_form(&mut self, boundary: &[u8]) {
        self.out.contents = Contents::Parts(Box::new(Multipart::new(boundary)));
    }

    /// The body is a part of a file (RFC 9110 section 14.4): its hash is not the file's.
    pub(super) fn is_part(&mut self) {
        self.is_part = true;
    }

    /// Tells what the first byte needs: a second reading of the bytes where they are packed or not one file.
    fn begin(&mut self, sink: &mut dyn Sink) {
        let out = &mut self.out;
        if self.unpacker.is_some() || !matches!(out.contents, Contents::File(_)) {
            self.whole = FileStream::aside(out.transaction, out.side, sink);
        }
        if let Some(whole) = &mut self.whole {
            whole.name(&out.file_name, sink);
        }
        if let (true, Contents::File(file)) = (self.is_part, &mut out.contents) {
            file.is_part();
        }
    }

    pub(super) fn data(&mut self, bytes: &[u8], settings: &Settings, sink: &mut dyn Sink) -> Result<(), Bomb> {
        if self.out.packed == 0 && !bytes.is_empty() {
            self.begin(sink);
        }
        if let Some(whole) = &mut self.whole {
            whole.data(bytes, sink);
        }
        let out = &mut self.out;
        out.packed += bytes.len() as u64;
        let Some(unpacker) = &mut self.unpacker else {
            out.deliver(bytes, settings, sink);
            return Ok(());
        };
        let mut bounds = out.bounds(settings, sink);
        let go = unpacker.data(bytes, &mut bounds, &mut |piece| {
            out.deliver(piece, settings, sink);
            Go::On
        });
        sink.worked(bounds.work);
        if unpacker.has_failed() && !self.has_reported_failure {
            self.has_reported_failure = true;
            sink.anomaly(out.transaction, out.side, Anomaly::HttpDecompressionFailed);
        }
        match go {
            Go::On => Ok(()),
            // Whoever counts the work decides; where the flow goes on, it does so without the rest of this body.
            Go::Stop if bounds.is_spent() => {
                unpacker.give_up();
                Ok(())
            }
            Go::Stop => {
                sink.anomaly(out.transaction, out.side, Anomaly::HttpCompressionBomb);
                Err(Bomb)
            }
        }
    }

    /// What has passed may be all that there is.
    pub(super) fn pause(&mut self, sink: &mut dyn Sink) {
        if let Some(whole) = &mut self.whole {
            whole.pause(sink);
        }
        match &mut self.out.contents {
            Contents::Nothing => {}
            Contents::File(file) => file.pause(sink),
            Contents::Parts(parts) => parts.pause(sink),
        }
    }

    /// What has passed is all that was announced; bytes that follow at once may count as body all the same.
    pub(super) fn reached_its_length(&mut self, sink: &mut dyn Sink) {
        if let Some(whole) = &mut self.whole {
            whole.reached_its_length(sink);
        }
        if let Contents::File(file) = &mut self.out.contents {
            file.reached_its_length(sink);
        }
    }

    /// The body is over; `complete` if it ended as announced.
    ///
    /// # Errors
    /// What an encoding held back to the end was a bomb. The body has ended all the same.
    pub(super) fn end(self, complete: bool, settings: &Settings, sink: &mut dyn Sink) -> Result<(), Bomb> {
        let mut out = self.out;
        let mut result = Ok(());
        if let Some(unpacker) = self.unpacker {
            let mut bounds = out.bounds(settings, sink);
            let go = unpacker.end(&mut bounds, &mut |piece| {
                out.deliver(piece, settings, sink);
                Go::On
            });
            sink.worked(bounds.work);
            if go == Go::Stop && !bounds.is_spent() {
                sink.anomaly(out.transaction, out.side, Anomaly::HttpCompressionBomb);
                result = Err(Bomb);
            }
        }
        if out.has_begun {
            sink.buffer(out.transaction, out.side, out.buffer(), Piece { first: false, last: true }, &[]);
        }
        if let Some(whole) = self.whole {
            whole.end(complete, sink);
        }
        match out.contents {
            Contents::Nothing => {}
            Contents::File(file) => file.end(complete, sink),
            Contents::Parts(parts) => parts.end(sink),
        }
        result
    }
}

impl Out {
    /// What may become of what has come so far by unpacking.
    fn bounds(&self, settings: &Settings, sink: &dyn Sink) -> Bounds {
        let given_max = settings.bomb_bytes_max.max(self.packed.saturating_mul(settings.bomb_ratio_max));
        Bounds { given_max, work_max: sink.work_left(), work: 0 }
    }

    fn buffer(&self) -> Buffer {
        match self.side {
            Direction::ToServer => Buffer::HttpRequestBody,
            Direction::ToClient => Buffer::HttpResponseBody,
        }
    }

    fn deliver(&mut self, bytes: &[u8], settings: &Settings, sink: &mut dyn Sink) {
        let bytes_max = match self.side {
            Direction::ToServer => settings.request_body_bytes_max,
            Direction::ToClient => settings.response_body_bytes_max,
        };
        let room = if bytes_max == 0 { u64::MAX } else { bytes_max.saturating_sub(self.unpacked) };
        self.unpacked += bytes.len() as u64;
        let bytes = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if bytes.is_empty() {
            return;
        }
        let is_first = !self.has_begun;
        self.has_begun = true;
        sink.buffer(self.transaction, self.side, self.buffer(), Piece { first: is_first, last: false }, bytes);
        match &mut self.contents {
            Contents::Nothing => {}
            Contents::File(file) => {
                if is_first {
                    file.name(&self.file_name, sink);
                }
                file.data(bytes, sink);
            }
            Contents::Parts(parts) => parts.data(self.transaction, bytes, sink),
        }
    }
}
