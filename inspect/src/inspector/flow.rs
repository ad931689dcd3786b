//! What is remembered of one flow.

use crate::announcements::Announced;
use crate::inspector::memory::FlowNotes;
use crate::inspector::observer::Observed;
use crate::inspector::transactions::{Pool, Transactions};
use crate::inspector::{Direction, Look};
use crate::limits::{MATCHED_MAX, STREAM_WINDOW_BYTES, WAITING_MAX, WORK_SAVED_FIRST};
use crate::protocol::{AppProtocol, Conversation, Status};
use crate::record::FlowSummary;
use crate::signature::{FlowCounts, Known, Noted, RuleSet, Transports, UNRECOGNISED};
use crate::stream::{Stream, StreamMemory};

/// What is remembered of one flow.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Of the rule set and the choice among its signatures that the flow was looked at with.
    signatures: u64,
    /// Among all flows that its inspector has followed; no other has the same.
    pub(crate) number: u64,
    /// An audit has found what would have ended the flow.
    pub(crate) would_be_refused: bool,
    /// By direction; `None` before the first segment, and for flows that are not TCP.
    pub(crate) streams: [Option<Stream>; 2],
    pub(crate) windows: [Window; 2],
    /// Whether a packet of each direction has been looked at.
    pub(crate) has_sent: [bool; 2],
    /// By direction, which of the signatures that are looked at for each packet the flow leaves.
    pub(crate) eligible: [Eligible; 2],
    pub(crate) conversation: Conversation,
    /// What it was announced as, if it was.
    pub(crate) announced: Option<Box<Announced>>,
    /// The packet at hand has told what the flow speaks.
    pub(crate) has_new_protocol: bool,
    pub(crate) transactions: Transactions,
    /// What is noted for the caller's log, if anything is wanted.
    pub(crate) observed: Option<Box<Observed>>,
    pub(crate) notes: FlowNotes,
    /// Time of the first packet.
    pub(crate) began_ms: u64,
    /// Packets and bytes of each direction.
    pub(crate) passed: [(u64, u64); 2],
    /// Work that earlier packets were allowed and did not need.
    pub(crate) saved_work: u64,
    /// Bytes that had waited behind a gap until the packet at hand filled it.
    pub(crate) waited: usize,
    /// It has been given what a flow of a known protocol is.
    pub(crate) is_endowed: bool,
    /// Bytes held, as counted among those of all flows.
    pub(crate) counted_bytes: usize,
}

/// What is known of the signatures that are looked at for each packet of one direction, whatever it holds.
#[derive(Debug, Default)]
pub(crate) struct Eligible {
    /// Of those without a pattern.
    pub(crate) direct: Noted,
    /// Of those with short patterns, by gate.
    pub(crate) shorts: Noted,
}

/// The last bytes of one direction of a stream, and the signatures that wait for more.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) bytes: Vec<u8>,
    /// Place of the first kept byte in the stream.
    pub(crate) base: u64,
    /// Offset in `bytes` of what the packet at hand has brought.
    pub(crate) fresh_from: usize,
    /// Signatures of which the fast pattern was seen, in rising order, with the place in the stream behind which they stop
    /// waiting.
    waiting: Vec<(Known, u64)>,
    /// Signatures that matched, with the stream's end at that time.
    matched: Vec<(Known, u64)>,
    /// Place in the stream up to which short patterns were searched for.
    shorts_end: u64,
}

/// The index of a direction in a pair.
pub(crate) fn index(direction: Direction) -> usize {
    match direction {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
    }
}

impl Window {
    /// Prepares for the next packet: what was fresh is so no more, and what lies too far back goes.
    pub(crate) fn turn(&mut self) {
        if self.bytes.len() > 2 * STREAM_WINDOW_BYTES {
            let gone = self.bytes.len() - STREAM_WINDOW_BYTES;
            self.bytes.drain(..gone);
            self.base += gone as u64;
        }
        self.fresh_from = self.bytes.len();
    }

    fn renew(&mut self) {
        self.bytes.clear();
        self.waiting.clear();
        self.matched.clear();
        (self.base, self.fresh_from, self.shorts_end) = (0, 0, 0);
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets what lies before a hole of so many bytes: nothing goes on behind it.
    pub(crate) fn skip(&mut self, length: u64) {
        (self.base, self.fresh_from) = (self.end() + length, 0);
        self.bytes.clear();
    }

    /// Gives its bytes away: no signature will look at them any more.
    fn take_bytes(&mut self) -> Vec<u8> {
        (self.base, self.fresh_from) = (self.end(), 0);
        std::mem::take(&mut self.bytes)
    }

    /// Whether the packet at hand has brought anything.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh_from < self.bytes.len()
    }

    /// Bytes that the packet at hand has brought.
    pub(crate) fn fresh_count(&self) -> usize {
        self.bytes.len() - self.fresh_from
    }

    /// Place in the stream behind the last byte.
    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// What a scan has to read so that it finds each pattern that ends in the fresh bytes: the bytes, and how many of
    /// them are not fresh.
    pub(crate) fn scanned(&self, overlap: usize) -> (&[u8], usize) {
        let from = self.fresh_from.saturating_sub(overlap);
        (&self.bytes[from..], self.fresh_from - from)
    }

    /// Lets a signature wait for more; `false` when too many wait already.
    pub(crate) fn wait(&mut self, known: Known) -> bool {
        let until = self.end() + STREAM_WINDOW_BYTES as u64;
        let Err(place) = self.waiting.binary_search_by_key(&known.signature, |(waiting, _)| waiting.signature) else {
            return true;
        };
        let has_room = self.waiting.len() < WAITING_MAX;
        if has_room {
            self.waiting.insert(place, (known, until));
        }
        has_room
    }

    /// What a search for short patterns has to read to find all that it has not found before, with so many bytes before
    /// that.
    pub(crate) fn searched(&mut self, overlap: usize) -> &[u8] {
        let from = self.shorts_end.saturating_sub(self.base + overlap as u64);
        self.shorts_end = self.end();
        self.bytes.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default()
    }

    /// Signatures that wait, those that have waited long enough included.
    pub(crate) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// The signatures that wait, less those that have waited long enough.
    pub(crate) fn waiting(&mut self) -> impl Iterator<Item = u32> {
        let end = self.end();
        self.waiting.retain(|&(_, until)| end <= until);
        self.waiting.iter().map(|(waiting, _)| waiting.signature)
    }

    /// The bytes that a signature is to look at, and their place in the stream. One that has no pattern to tell it what
    /// is new looks only at what has come since it matched last, so that the same bytes do not make it match again.
    pub(crate) fn unmatched(&self, signature: u32, is_stale: bool) -> (&[u8], u64) {
        let is_own = |&&(matched, end): &&(Known, u64)| is_stale && matched.signature == signature && end > self.base;
        let matched = self.matched.iter().find(is_own);
        let from = matched.map_or(0, |&(_, end)| usize::try_from(end - self.base).unwrap_or(0));
        (self.bytes.get(from..).unwrap_or_default(), self.base + from as u64)
    }

    /// Notes a match.
    pub(crate) fn note_match(&mut self, known: Known) {
        self.waiting.retain(|(waiting, _)| waiting.signature != known.signature);
        let (base, end) = (self.base, self.end());
        self.matched.retain(|(matched, end)| matched.signature != known.signature && *end > base);
        if self.matched.len() < MATCHED_MAX {
            self.matched.push((known, end));
        }
    }

    /// Keeps what is known of signatures that another rule set has too.
    fn move_to(&mut self, rules: &RuleSet) {
        self.waiting.retain_mut(|(waiting, _)| waiting.moves_to(rules));
        self.waiting.sort_unstable_by_key(|(waiting, _)| waiting.signature);
        self.matched.retain_mut(|(matched, _)| matched.moves_to(rules));
        self.shorts_end = 0;
    }
}

impl Flow {
    pub(crate) fn new(signatures: u64, now_ms: u64) -> Self {
        Self {
            signatures,
            number: 0,
            would_be_refused: false,
            streams: [None, None],
            windows: [Window::default(), Window::default()],
            has_sent: [false; 2],
            eligible: Default::default(),
            conversation: Conversation::new(),
            announced: None,
            has_new_protocol: false,
            transactions: Transactions::default(),
            observed: None,
            notes: FlowNotes::default(),
            began_ms: now_ms,
            passed: [(0, 0); 2],
            saved_work: WORK_SAVED_FIRST,
            waited: 0,
            is_endowed: false,
            counted_bytes: 0,
        }
    }

    /// Makes it as good as new, but for the memory that it holds.
    pub(crate) fn renew(&mut self, signatures: u64, now_ms: u64) {
        let [mut first, mut second] = std::mem::take(&mut self.windows);
        first.renew();
        second.renew();
        *self = Self {
            windows: [first, second],
            transactions: std::mem::take(&mut self.transactions),
            ..Self::new(signatures, now_ms)
        };
    }

    /// Gives memory back that is not needed any more: of transactions that are over, and the windows of streams that
    /// have ended or that nobody can read.
    pub(crate) fn tidy(&mut self, pool: &mut Pool) {
        self.transactions.tidy(pool);
        let is_sealed = self.is_sealed();
        for (window, stream) in self.windows.iter_mut().zip(&self.streams) {
            let is_over = is_sealed || stream.as_ref().is_some_and(Stream::is_finished);
            if is_over && window.bytes.capacity() > 0 {
                pool.keep_bytes(window.take_bytes());
            }
        }
    }

    /// Under another rule set, signatures have other numbers, and under another profile others apply. What was noted of those
    /// that are the same goes on, so that a reload in the middle of an attack does not hide it; bits and numbers have names.
    pub(crate) fn meet(&mut self, look: &Look<'_>) {
        let signatures = look.signatures();
        if self.signatures == signatures {
            return;
        }
        self.signatures = signatures;
        // Of a stream, prevention would stay with it.
        self.would_be_refused &= look.facts.transport == Transports::TCP;
        self.has_sent = [false; 2];
        self.eligible = Default::default();
        for window in &mut self.windows {
            window.move_to(look.rules);
        }
        for side in &mut self.transactions.sides {
            side.look_anew(look.rules);
        }
    }

    /// Bytes that each side's stream has carried.
    pub(crate) fn stream_sizes(&self) -> Option<(u64, u64)> {
        let size = |stream: &Option<Stream>| stream.as_ref().map_or(0, |stream| stream.next_offset().0);
        let [client, server] = &self.streams;
        (client.is_some() || server.is_some()).then(|| (size(client), size(server)))
    }

    /// Whether what the flow carries is encrypted from here on, as both ends have shown by their handshake: no pattern
    /// can be found in it but by chance. One end alone cannot bring this about.
    #[inline]
    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.conversation.status(), Status::Opaque(AppProtocol::Tls | AppProtocol::Ssh))
    }

    /// The application protocols that it speaks or has spoken, as bits; all of them while that may still turn out.
    pub(crate) fn protocols(&self) -> u32 {
        let last = match self.conversation.status() {
            Status::Recognising => return u32::MAX,
            Status::Unrecognised => UNRECOGNISED,
            Status::Speaking(protocol) | Status::Opaque(protocol) | Status::Broken(protocol) => 1 << (protocol as u32),
        };
        last | self.conversation.original_protocol().map_or(0, |protocol| 1 << (protocol as u32))
    }

    /// Whether a parser reads what it carries.
    pub(crate) fn is_parsed(&self) -> bool {
        matches!(self.conversation.status(), Status::Speaking(_))
    }

    /// Whether files can still be found in it.
    pub(crate) fn may_carry_files(&self) -> bool {
        self.conversation.may_carry_files()
    }

    /// Bytes held in windows, buffers and bodies.
    pub(crate) fn held_bytes(&self) -> usize {
        let observed = self.observed.as_ref().map_or(0, |observed| observed.held_bytes());
        self.windows.iter().map(|window| window.bytes.len()).sum::<usize>() + self.transactions.held_bytes() + observed
    }

    /// What has passed so far.
    pub(crate) fn counts(&self, now_ms: u64) -> FlowCounts {
        let [(client_packets, client_bytes), (server_packets, server_bytes)] = self.passed;
        FlowCounts {
            age_s: now_ms.saturating_sub(self.began_ms) / 1000,
            packets: (client_packets, server_packets),
            bytes: (client_bytes, server_bytes),
        }
    }

    /// What the caller's log is told of it.
    pub(crate) fn summary(&self) -> FlowSummary {
        let [(client_packets, client_bytes), (server_packets, server_bytes)] = self.passed;
        let protocol = self.conversation.protocol();
        FlowSummary {
            protocol,
            original: self.conversation.original_protocol().filter(|&original| protocol != Some(original)),
            is_unrecognised: self.conversation.status() == Status::Unrecognised,
            began_ms: self.began_ms,
            packets: (client_packets, server_packets),
            bytes: (client_bytes, server_bytes),
        }
    }

    /// Gives back what the streams hold.
    pub(crate) fn release(&mut self, memory: &mut StreamMemory) {
        for stream in &mut self.streams {
            if let Some(stream) = stream.take() {
                stream.release(memory);
            }
        }
    }
}
