//! The files of an SMB connection that are open, and what responses need of their requests.

use std::collections::VecDeque;

use crate::inspector::Direction;
use crate::protocol::anomaly::Anomaly;
use crate::protocol::file::{FileStream, NAME_BYTES_MAX};
use crate::protocol::sink::{Sink, Stage};

/// Files that are followed at once; the oldest goes.
const FILES_MAX: usize = 64;

/// Requests whose responses are waited for; the oldest goes. Clients keep some ten in flight.
const REQUESTS_MAX: usize = 128;

/// Names of files that are open but not written or read yet.
const NAMES_MAX: usize = 128;

/// A file's handle: the 16 bytes of SMB 2, or the two of SMB 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(pub(super) [u8; 16]);

#[derive(Debug)]
struct Open {
    side: Direction,
    handle: Handle,
    transaction: u32,
    stream: FileStream,
    /// Offset of the byte that comes next.
    next: u64,
}

#[derive(Debug)]
enum Request {
    Open(Vec<u8>),
    Read(Handle, u64),
}

#[derive(Debug, Default)]
pub(super) struct Files {
    open: VecDeque<Open>,
    requests: VecDeque<(u64, Request)>,
    names: VecDeque<(Handle, Vec<u8>)>,
}

fn push<T>(queue: &mut VecDeque<T>, item: T, max: usize) {
    if queue.len() >= max {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl Files {
    pub(super) fn asked_to_open(&mut self, message_id: u64, mut name: Vec<u8>) {
        name.truncate(NAME_BYTES_MAX);
        push(&mut self.requests, (message_id, Request::Open(name)), REQUESTS_MAX);
    }

    pub(super) fn asked_to_read(&mut self, message_id: u64, handle: Handle, offset: u64) {
        push(&mut self.requests, (message_id, Request::Read(handle, offset)), REQUESTS_MAX);
    }

    fn take(&mut self, message_id: u64) -> Option<Request> {
        let place = self.requests.iter().position(|(id, _)| *id == message_id)?;
        self.requests.remove(place).map(|(_, request)| request)
    }

    pub(super) fn opened(&mut self, message_id: u64, handle: Handle) {
        if let Some(Request::Open(name)) = self.take(message_id) {
            push(&mut self.names, (handle, name), NAMES_MAX);
        }
    }

    /// The file and offset that a read asked for.
    pub(super) fn answered(&mut self, message_id: u64) -> Option<(Handle, u64)> {
        match self.take(message_id)? {
            Request::Read(handle, offset) => Some((handle, offset)),
            Request::Open(_) => None,
        }
    }

    /// Takes data of a file. Data that does not go on where the last ended begins a new file, which uses the transaction
    /// number `fresh`; gives whether it did.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn data(
        &mut self,
        side: Direction,
        handle: Handle,
        offset: u64,
        is_first: bool,
        bytes: &[u8],
        fresh: u32,
        sink: &mut dyn Sink,
    ) -> bool {
        let known = self.open.iter().position(|open| open.side == side && open.handle == handle);
        if let Some(place) = known {
            let open = &mut self.open[place];
            if open.next == offset {
                open.next = open.next.saturating_add(bytes.len() as u64);
                open.stream.data(bytes, sink);
                return false;
            }
            if is_first && offset < open.next {
                sink.anomaly(open.transaction, side, Anomaly::SmbFileOverlap);
            }
            self.end(place, false, sink);
        }
        if self.open.len() >= FILES_MAX {
            self.end(0, false, sink);
        }
        let mut stream = FileStream::new(fresh, side, sink);
        if offset > 0 {
            stream.is_part();
        }
        if let Some((_, name)) = self.names.iter().find(|(known, _)| *known == handle) {
            stream.name(name, sink);
        }
        stream.data(bytes, sink);
        let next = offset.saturating_add(bytes.len() as u64);
        self.open.push_back(Open { side, handle, transaction: fresh, stream, next });
        true
    }

    pub(super) fn pause(&mut self, side: Direction, sink: &mut dyn Sink) {
        for open in self.open.iter_mut().filter(|open| open.side == side) {
            open.stream.pause(sink);
        }
    }

    fn end(&mut self, place: usize, complete: bool, sink: &mut dyn Sink) {
        if let Some(open) = self.open.remove(place) {
            open.stream.end(complete, sink);
            sink.stage(open.transaction, open.side, Stage::Complete);
        }
    }

    pub(super) fn close(&mut self, handle: Handle, sink: &mut dyn Sink) {
        while let Some(place) = self.open.iter().position(|open| open.handle == handle) {
            self.end(place, true, sink);
        }
        self.names.retain(|(known, _)| *known != handle);
    }

    pub(super) fn side_closed(&mut self, side: Direction, sink: &mut dyn Sink) {
        while let Some(place) = self.open.iter().position(|open| open.side == side) {
            self.end(place, false, sink);
        }
    }
}
