//! A file on its way: its bytes go to the sink as `file.data`, and through the hashes that the sink wants.
//!
//! The sink is told of a file when it has ended, and before that whenever its receiver might have the whole of it: at
//! the end of each packet ([`FileStream::pause`]) and where a length that was announced is reached. Only its sender
//! knows where a file ends, and may keep the end of its frame, or a last byte that does not belong to it, to himself.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::buffer::Buffer;
use super::sink::{File, FileProgress, Piece, Sink};
use crate::file_hashes::{Digests, HashesWanted};
use crate::inspector::Direction;

/// Bytes of a file's name that are reported.
pub(super) const NAME_BYTES_MAX: usize = 1024;

/// One file. Dropped without [`FileStream::end`], its buffer stays open.
#[derive(Debug)]
pub(super) struct FileStream {
    transaction: u32,
    side: Direction,
    /// Its bytes go through the hashes only: they are another reading of bytes that are shown elsewhere.
    is_aside: bool,
    has_begun: bool,
    length: u64,
    hashed: Option<Box<Hashed>>,
}

/// What is kept of a file that is hashed.
#[derive(Debug)]
struct Hashed {
    hashes: Hashes,
    size_max: u64,
    name: Vec<u8>,
    /// It is not the whole of a file.
    is_part: bool,
    /// Length at which the hashes were looked at last, and what they were.
    looked_at: u64,
    digests: Digests,
    /// Nothing more is to be learned from the hashes.
    is_settled: bool,
    /// The sink was told that the file is a part, too big, or on a list.
    is_told: bool,
}

#[derive(Clone, Debug, Default)]
struct Hashes {
    sha256: Option<Sha256>,
    sha1: Option<Sha1>,
    md5: Option<Md5>,
}

impl Hashes {
    fn new(wanted: &HashesWanted) -> Self {
        Hashes {
            sha256: wanted.sha256.then(Sha256::new),
            sha1: wanted.sha1.then(Sha1::new),
            md5: wanted.md5.then(Md5::new),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(hash) = &mut self.sha256 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut self.sha1 {
            hash.update(bytes);
        }
        if let Some(hash) = &mut self.md5 {
            hash.update(bytes);
        }
    }

    /// The hashes of what has passed so far; one block of each.
    fn digests(&self) -> Digests {
        let Hashes { sha256, sha1, md5 } = self.clone();
        Digests {
            sha256: sha256.map(|hash| hash.finalize().into()),
            sha1: sha1.map(|hash| hash.finalize().into()),
            md5: md5.map(|hash| hash.finalize().into()),
        }
    }
}

impl FileStream {
    pub(super) fn new(transaction: u32, side: Direction, sink: &dyn Sink) -> Self {
        let hashed = sink.wants_hashes().map(|wanted| {
            Box::new(Hashed {
                hashes: Hashes::new(&wanted),
                size_max: wanted.size_max,
                name: Vec::new(),
                is_part: false,
                looked_at: 0,
                digests: Digests::default(),
                is_settled: false,
                is_told: false,
            })
        });
        FileStream { transaction, side, is_aside: false, has_begun: false, length: 0, hashed }
    }

    /// A file of which only the hashes are of interest, if they are.
    pub(super) fn aside(transaction: u32, side: Direction, sink: &dyn Sink) -> Option<Self> {
        let file = FileStream { is_aside: true, ..Self::new(transaction, side, sink) };
        file.hashed.is_some().then_some(file)
    }

    /// What follows is not the whole of a file, so its hash says nothing.
    pub(super) fn is_part(&mut self) {
        if let Some(hashed) = &mut self.hashed {
            hashed.is_part = true;
        }
    }

    /// Tells the file's name, where it has one.
    pub(super) fn name(&mut self, name: &[u8], sink: &mut dyn Sink) {
        let name = &name[..name.len().min(NAME_BYTES_MAX)];
        if let Some(hashed) = &mut self.hashed {
            hashed.name = name.to_vec();
        }
        if !name.is_empty() && !self.is_aside {
            sink.buffer(self.transaction, self.side, Buffer::FileName, Piece::WHOLE, name);
        }
    }

    pub(super) fn data(&mut self, bytes: &[u8], sink: &mut dyn Sink) {
        if bytes.is_empty() {
            return;
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        self.length += bytes.len() as u64;
        if is_first && self.hashed.as_ref().is_some_and(|hashed| hashed.is_part) {
            self.tell(FileProgress::Part, false, sink);
        }
        if let Some(hashed) = self.hashed.as_mut().filter(|hashed| !hashed.is_settled) {
            if self.length <= hashed.size_max {
                hashed.hashes.update(bytes);
            } else {
                hashed.is_settled = true;
                hashed.digests = Digests::default();
                self.tell(FileProgress::TooBig, false, sink);
            }
        }
        if !self.is_aside {
            let piece = Piece { first: is_first, last: false };
            sink.buffer(self.transaction, self.side, Buffer::FileData, piece, bytes);
        }
    }

    /// The file may be over here, for all that its receiver knows.
    pub(super) fn pause(&mut self, sink: &mut dyn Sink) {
        self.look(FileProgress::SoFar, sink);
    }

    /// The file is over here, if its announced length is the truth.
    pub(super) fn reached_its_length(&mut self, sink: &mut dyn Sink) {
        self.look(FileProgress::Complete, sink);
    }

    /// Shows the hashes of what has passed, unless that was done.
    fn look(&mut self, progress: FileProgress, sink: &mut dyn Sink) {
        if let Some(hashed) = &mut self.hashed
            && !hashed.is_settled
            && hashed.looked_at < self.length
        {
            hashed.looked_at = self.length;
            hashed.digests = hashed.hashes.digests();
            self.tell(progress, false, sink);
        }
    }

    pub(super) fn end(mut self, complete: bool, sink: &mut dyn Sink) {
        if !self.has_begun {
            return;
        }
        if !self.is_aside {
            let piece = Piece { first: false, last: true };
            sink.buffer(self.transaction, self.side, Buffer::FileData, piece, &[]);
        }
        let progress = if complete { FileProgress::Complete } else { FileProgress::Cut };
        self.look(progress, sink);
        self.tell(progress, true, sink);
    }

    /// Tells the sink how far the file has come; that may settle it.
    fn tell(&mut self, progress: FileProgress, is_over: bool, sink: &mut dyn Sink) {
        let (mut digests, mut is_told, mut name) = (Digests::default(), false, &[][..]);
        if let Some(hashed) = &self.hashed {
            (digests, is_told, name) = (hashed.digests, hashed.is_told, &hashed.name);
        }
        let file = File { length: self.length, progress, is_aside: self.is_aside, is_over, is_told, digests };
        let is_settled = sink.file(self.transaction, self.side, name, &file);
        if let Some(hashed) = &mut self.hashed {
            hashed.is_settled |= is_settled;
            hashed.is_told |= is_settled || matches!(progress, FileProgress::TooBig | FileProgress::Part);
        }
    }
}
