//! A file on its way: its bytes go to the sink as `file.data`, and through hashes where those are wanted.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::buffer::Buffer;
use super::settings::Settings;
use super::sink::{File, Piece, Sink};
use crate::inspector::Direction;

/// Bytes of a file's name that are reported.
pub(super) const NAME_BYTES_MAX: usize = 1024;

/// One file. Dropped without [`FileStream::end`], its buffer stays open.
#[derive(Debug)]
pub(super) struct FileStream {
    transaction: u32,
    side: Direction,
    length: u64,
    has_begun: bool,
    hashes: Option<Box<Hashes>>,
}

#[derive(Debug, Default)]
struct Hashes {
    sha256: Sha256,
    sha1: Sha1,
    md5: Md5,
}

impl FileStream {
    pub(super) fn new(transaction: u32, side: Direction, settings: &Settings) -> Self {
        let hashes = settings.hash_files.then(Box::default);
        FileStream { transaction, side, length: 0, has_begun: false, hashes }
    }

    /// Tells the file's name, where it has one.
    pub(super) fn name(&self, name: &[u8], sink: &mut dyn Sink) {
        if !name.is_empty() {
            let name = &name[..name.len().min(NAME_BYTES_MAX)];
            sink.buffer(self.transaction, self.side, Buffer::FileName, Piece::WHOLE, name);
        }
    }

    pub(super) fn data(&mut self, bytes: &[u8], sink: &mut dyn Sink) {
        if bytes.is_empty() {
            return;
        }
        self.length += bytes.len() as u64;
        if let Some(hashes) = &mut self.hashes {
            hashes.sha256.update(bytes);
            hashes.sha1.update(bytes);
            hashes.md5.update(bytes);
        }
        let piece = Piece { first: !self.has_begun, last: false };
        self.has_begun = true;
        sink.buffer(self.transaction, self.side, Buffer::FileData, piece, bytes);
    }

    pub(super) fn end(self, complete: bool, sink: &mut dyn Sink) {
        if !self.has_begun {
            return;
        }
        sink.buffer(self.transaction, self.side, Buffer::FileData, Piece { first: false, last: true }, &[]);
        let hashes = self.hashes.filter(|_| complete);
        let (sha256, sha1, md5) = match hashes {
            Some(hashes) => (
                Some(hashes.sha256.finalize().into()),
                Some(hashes.sha1.finalize().into()),
                Some(hashes.md5.finalize().into()),
            ),
            None => (None, None, None),
        };
        sink.file(self.transaction, self.side, &File { length: self.length, complete, sha256, sha1, md5 });
    }
}
