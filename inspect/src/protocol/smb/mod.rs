//! SMB 1 to 3 (MS-CIFS, MS-SMB2): shares, users, and the files that are written and read.
//!
//! # Theory of operation
//!
//! Messages come behind four bytes of NetBIOS session framing. Only a message's head is kept, up to [`HEAD_BYTES_MAX`]: it
//! holds the command and where the data of a write or read stands. That data then goes to its file as it passes. What a
//! response needs of its request (a name for a file handle, a file for a read) waits in small tables; when one is full, its
//! oldest entry goes, and the file is without name or is not followed.

mod files;
mod head;

use self::files::{Files, Handle};
use self::head::{Credentials, Head, Meaning, NO_DIALECT};
use super::anomaly::Anomaly;
use super::buffer::Buffer;
use super::parser::{Parse, Progress};
use super::settings::Settings;
use super::sink::{Number, Piece, Sink, Stage};
use crate::inspector::Direction;
use crate::record::{Detail, SmbAnswer};
use std::collections::VecDeque;

/// Requests that are told with their answers; the oldest goes without. Clients connect and authenticate one at a time.
const ASKED_MAX: usize = 32;

/// Bytes of a message that are kept to be understood. Names take up to 64 KiB in theory and some hundred in practice.
const HEAD_BYTES_MAX: usize = 4096;

const FRAMING_BYTES: usize = 4;

/// Bytes of one message: the framing's 24 bits.
const SESSION_MESSAGE: u8 = 0;

/// The SMB of one connection.
#[derive(Debug)]
pub(super) struct Smb {
    next: u32,
    version: u8,
    halves: [Half; 2],
    files: Files,
    /// Message and transaction of requests that are told with their answers.
    asked: VecDeque<(u64, u32)>,
    /// The dialects that the client offers, and the one that was agreed.
    offer: Vec<&'static str>,
    dialect: &'static str,
}

/// One side of the connection.
#[derive(Debug, Default)]
struct Half {
    framing: Vec<u8>,
    /// Bytes left of the framed message.
    left: usize,
    head: Vec<u8>,
    /// Bytes of the message before those at hand, once its head has been read.
    passed: Option<usize>,
    /// What of the message belongs to a file.
    data: Option<Data>,
    /// Where the next message of a compound begins, counted from the current one.
    next_at: Option<usize>,
}

/// Data of a write or read within its message.
#[derive(Debug)]
struct Data {
    handle: Handle,
    start: usize,
    end: usize,
    is_begun: bool,
    offset: u64,
    /// The message says behind the data that the file is to be closed.
    is_last: bool,
}

/// The bytes cannot be SMB.
struct Broken;

/// The rest is encrypted.
struct Encrypted;

enum End {
    Broken,
    Encrypted,
}

impl From<Broken> for End {
    fn from(_: Broken) -> Self {
        End::Broken
    }
}

impl From<Encrypted> for End {
    fn from(_: Encrypted) -> Self {
        End::Encrypted
    }
}

impl Smb {
    pub(super) fn new(first_transaction: u32) -> Self {
        Smb {
            next: first_transaction,
            version: 0,
            halves: Default::default(),
            files: Files::default(),
            asked: VecDeque::new(),
            offer: Vec::new(),
            dialect: NO_DIALECT,
        }
    }

    fn allocate(&mut self) -> u32 {
        let transaction = self.next;
        self.next = self.next.wrapping_add(1);
        transaction
    }

    fn bytes(&mut self, side: Direction, mut input: &[u8], sink: &mut dyn Sink) -> Result<(), End> {
        while !input.is_empty() {
            let half = &mut self.halves[side as usize];
            if half.left == 0 {
                let wanted = FRAMING_BYTES - half.framing.len();
                let (taken, rest) = input.split_at(wanted.min(input.len()));
                half.framing.extend_from_slice(taken);
                input = rest;
                if let [kind, high, middle, low] = half.framing[..] {
                    half.framing.clear();
                    half.left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                    // Session requests, their answers and keep-alives (RFC 1002 section 4.3.1) are counted past.
                    half.passed = (kind != SESSION_MESSAGE).then_some(0);
                    half.data = None;
                    half.next_at = None;
                    if kind != SESSION_MESSAGE && !(0x81..=0x85).contains(&kind) {
                        sink.anomaly(self.next, side, Anomaly::SmbMalformedData);
                        return Err(Broken.into());
                    }
                }
                continue;
            }
            let (part, rest) = input.split_at(half.left.min(input.len()));
            input = rest;
            half.left -= part.len();
            self.message(side, part, sink)?;
        }
        Ok(())
    }

    /// Takes a part of a message.
    fn message(&mut self, side: Direction, mut part: &[u8], sink: &mut dyn Sink) -> Result<(), End> {
        loop {
            let half = &mut self.halves[side as usize];
            if half.passed.is_none() {
                let (taken, rest) = part.split_at(part.len().min(HEAD_BYTES_MAX - half.head.len()));
                half.head.extend_from_slice(taken);
                part = rest;
                // The last command of a compound, too, may be shorter than a head.
                if half.head.len() < HEAD_BYTES_MAX && half.left > 0 {
                    return Ok(());
                }
                let head = std::mem::take(&mut half.head);
                self.read_head(side, &head, sink)?;
                let used = self.halves[side as usize].next_at.map_or(head.len(), |at| at.min(head.len()));
                self.pass(side, &head[..used], sink);
                let half = &mut self.halves[side as usize];
                if half.next_at == Some(used) {
                    // The next command of the compound is in what was kept already.
                    let behind = [&head[used..], part].concat();
                    half.passed = None;
                    half.next_at = None;
                    part = &[];
                    self.message(side, &behind, sink)?;
                }
            }
            let half = &mut self.halves[side as usize];
            let until = match (half.next_at, half.passed) {
                (Some(next), Some(passed)) => part.len().min(next.saturating_sub(passed)),
                (_, _) => part.len(),
            };
            self.pass(side, &part[..until], sink);
            part = &part[until..];
            if part.is_empty() {
                return Ok(());
            }
            let half = &mut self.halves[side as usize];
            half.passed = None;
            half.next_at = None;
        }
    }

    /// Lets bytes of a message pass whose head has been read: those of its data go to their file.
    fn pass(&mut self, side: Direction, part: &[u8], sink: &mut dyn Sink) {
        let half = &mut self.halves[side as usize];
        let from = half.passed.unwrap_or(0);
        let to = from + part.len();
        half.passed = Some(to);
        let Some(data) = &mut half.data else { return };
        let (start, end) = (data.start.max(from), data.end.min(to));
        if start < end {
            let first = !std::mem::replace(&mut data.is_begun, true);
            let (handle, offset) = (data.handle, data.offset.saturating_add((start - data.start) as u64));
            let bytes = &part[start - from..end - from];
            let fresh = self.next;
            let is_last = data.is_last && end == data.end;
            if self.files.data(side, handle, offset, first, bytes, fresh, sink) {
                self.next = self.next.wrapping_add(1);
            }
            if is_last {
                self.files.close(handle, sink);
            }
        }
    }

    fn read_head(&mut self, side: Direction, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), End> {
        let Some(head) = Head::read(side, bytes) else {
            sink.anomaly(self.next, side, Anomaly::SmbMalformedData);
            return Err(Broken.into());
        };
        let Head { version, message_id, next_at, meanings, answer } = head;
        self.halves[side as usize].next_at = next_at;
        self.halves[side as usize].data = None;
        if self.version != version {
            self.version = version;
            sink.number(self.next, side, Number::SmbVersion, u64::from(version));
        }
        for meaning in meanings {
            self.heed(side, message_id, meaning, sink)?;
        }
        if let Some(answer) = answer {
            self.answer(message_id, answer, sink);
        }
        Ok(())
    }

    /// Does what one command of a message asks.
    fn heed(
        &mut self,
        side: Direction,
        message_id: u64,
        meaning: Meaning,
        sink: &mut dyn Sink,
    ) -> Result<(), Encrypted> {
        match meaning {
            Meaning::Encrypted => return Err(Encrypted),
            Meaning::Offer(offer) => self.offer = offer,
            Meaning::Choice(index) => self.dialect = self.offer.get(index).copied().unwrap_or(NO_DIALECT),
            Meaning::Agreed(dialect) => self.dialect = dialect,
            Meaning::Connect(share) => {
                let is_pipe = share.to_ascii_uppercase().ends_with(b"IPC$");
                self.request(
                    message_id,
                    &[(if is_pipe { Buffer::SmbNamedPipe } else { Buffer::SmbShare }, share)],
                    sink,
                );
            }
            Meaning::Authenticate(Credentials { user, domain, host, version }) => {
                sink.detail(self.next, &Detail::Ntlmssp { host: host.into(), version });
                self.request(message_id, &[(Buffer::SmbNtlmsspUser, user), (Buffer::SmbNtlmsspDomain, domain)], sink);
            }
            Meaning::Create(name) => self.files.asked_to_open(message_id, name),
            Meaning::Created(handle) => self.files.opened(message_id, handle),
            Meaning::Close(handle) => match &mut self.halves[side as usize].data {
                // Chained to a write, whose data stands behind both.
                Some(data) if data.handle == handle => data.is_last = true,
                _ => self.files.close(handle, sink),
            },
            Meaning::Read { handle, offset } => self.files.asked_to_read(message_id, handle, offset),
            Meaning::Write { handle, offset, start, end } => {
                self.halves[side as usize].data =
                    Some(Data { handle, start, end, is_begun: false, offset, is_last: false });
            }
            Meaning::ReadData { start, end } => {
                if let Some((handle, offset)) = self.files.answered(message_id) {
                    self.halves[side as usize].data =
                        Some(Data { handle, start, end, is_begun: false, offset, is_last: false });
                }
            }
        }
        Ok(())
    }

    /// Tells a request, whose answer is to be told too if anybody listens.
    fn request(&mut self, message_id: u64, texts: &[(Buffer, Vec<u8>)], sink: &mut dyn Sink) {
        let transaction = self.allocate();
        for (buffer, bytes) in texts.iter().filter(|(_, bytes)| !bytes.is_empty()) {
            sink.buffer(transaction, Direction::ToServer, *buffer, Piece::WHOLE, bytes);
        }
        sink.stage(transaction, Direction::ToServer, Stage::Complete);
        if sink.wants_details() {
            if self.asked.len() >= ASKED_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back((message_id, transaction));
        }
    }

    fn answer(&mut self, message_id: u64, answer: SmbAnswer, sink: &mut dyn Sink) {
        let Some(place) = self.asked.iter().position(|&(asked, _)| asked == message_id) else { return };
        if let Some((_, transaction)) = self.asked.remove(place) {
            sink.detail(transaction, &Detail::SmbAnswer(SmbAnswer { dialect: self.dialect, ..answer }));
        }
    }

    /// Nothing more will come of any file.
    fn close_files(&mut self, sink: &mut dyn Sink) {
        for side in [Direction::ToServer, Direction::ToClient] {
            self.files.side_closed(side, sink);
        }
    }
}

impl Parse for Smb {
    fn next_transaction(&self) -> u32 {
        self.next
    }

    fn stream(&mut self, side: Direction, bytes: &[u8], _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        let end = match self.bytes(side, bytes, sink) {
            Ok(()) => return Progress::More,
            Err(End::Encrypted) => Progress::Opaque,
            Err(End::Broken) => Progress::Broken,
        };
        self.close_files(sink);
        end
    }

    fn gap(&mut self, _side: Direction, _length: u64, _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        self.close_files(sink);
        Progress::Broken
    }

    fn pause(&mut self, side: Direction, sink: &mut dyn Sink) {
        self.files.pause(side, sink);
    }

    fn closed(&mut self, side: Direction, _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        self.files.side_closed(side, sink);
        Progress::More
    }
}

#[cfg(test)]
mod tests;
