//! What protocol parsers have said about a flow and signatures have not done with: the buffers, numbers and events of
//! each side of each open transaction.
//!
//! # Theory of operation
//!
//! A signature may ask for several buffers of a transaction, which arrive packet by packet. So what a parser delivers
//! is kept until that side of the transaction is over, as far as any signature asks for it: whole buffers as they are,
//! bodies as a window of their last bytes. A signature whose fast pattern was found but of which something is still
//! missing waits with the transaction. When the side is over, its memory goes back to a pool.

use crate::inspector::Direction;
use crate::inspector::flow::index;
use crate::limits::{
    BODIES_PER_SIDE_MAX, BODY_WINDOW_BYTES, MATCHED_MAX, POOL_MAX, POOLED_BYTES_MAX, SIDE_POOLED_BYTES_MAX,
    SIDES_POOLED_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_SIDES_MAX, TRANSACTION_SIDES_PER_PACKET_MAX, WAITING_MAX,
};
use crate::protocol::{Anomaly, Buffer, Number, Piece, Stage};
use crate::signature::{Known, RUN_SET_TEXT_MAX, RuleSet, RunSet, Witness};

/// Bytes of a body from which on it is worth to know what runs of bytes it holds.
const RUNS_BODY_BYTES_MIN: usize = 256;

/// One side of one transaction.
#[derive(Debug)]
pub(crate) struct TransactionSide {
    pub(crate) number: u32,
    pub(crate) side: Direction,
    /// How far it has come.
    pub(crate) stage: Option<Stage>,
    /// Whole buffers: which, and where in `bytes`.
    pub(crate) wholes: Vec<(Buffer, u32, u32)>,
    bytes: Vec<u8>,
    pub(crate) bodies: Vec<Body>,
    /// Bytes that the bodies hold, their own descriptions included.
    bodies_bytes: usize,
    pub(crate) numbers: Vec<(Number, u64)>,
    pub(crate) events: Vec<Anomaly>,
    /// Whole buffers before this one have been looked at.
    pub(crate) looked_at: usize,
    /// Something is new since the last look.
    pub(crate) is_fresh: bool,
    /// Signatures that wait for more of it, in rising order.
    pub(crate) waiting: Vec<Known>,
    /// Signatures that have matched it, in rising order.
    matched: Vec<Known>,
}

/// An instance of a buffer that arrives in pieces: its last bytes.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) buffer: Buffer,
    pub(crate) bytes: Vec<u8>,
    /// Place of the first kept byte in the instance.
    pub(crate) base: u64,
    pub(crate) is_over: bool,
    /// Offset in `bytes` up to which they have been looked at.
    pub(crate) looked_at: usize,
    pub(crate) is_fresh: bool,
    /// What is fresh was scanned with the stream already.
    pub(crate) is_scanned: bool,
    /// What runs of bytes it holds, once many signatures were to look at it.
    runs: Option<Runs>,
}

/// The runs of bytes that a body holds.
#[derive(Debug)]
struct Runs {
    set: RunSet,
    /// Place in the instance up to which they are noted.
    end: u64,
    /// Bytes of text that the set has taken.
    noted: usize,
}

impl TransactionSide {
    /// Makes a side anew, with the memory of one that is over where there is one.
    fn begin(number: u32, side: Direction, pool: &mut Pool) -> Self {
        if let Some(mut used) = pool.sides.pop() {
            (used.number, used.side, used.stage) = (number, side, None);
            used.wholes.clear();
            used.bytes.clear();
            used.numbers.clear();
            used.events.clear();
            used.waiting.clear();
            used.matched.clear();
            used.looked_at = 0;
            used.bodies_bytes = 0;
            for body in used.bodies.drain(..) {
                pool.keep_bytes(body.bytes);
            }
            return used;
        }
        Self {
            number,
            side,
            stage: None,
            wholes: Vec::new(),
            bytes: Vec::new(),
            bodies: Vec::new(),
            bodies_bytes: 0,
            numbers: Vec::new(),
            events: Vec::new(),
            looked_at: 0,
            is_fresh: false,
            waiting: Vec::new(),
            matched: Vec::new(),
        }
    }

    /// The bytes of a whole buffer.
    pub(crate) fn bytes(&self, start: u32, end: u32) -> &[u8] {
        &self.bytes[start as usize..end as usize]
    }

    /// Whether buffers that come in one piece can still come.
    pub(crate) fn awaits_wholes(&self) -> bool {
        self.stage.is_none_or(|stage| stage < Stage::Headers)
    }

    /// Whether anything can still come.
    pub(crate) fn is_open(&self) -> bool {
        self.stage.is_none_or(|stage| stage < Stage::Complete)
    }

    /// Lets a signature wait for more. `false` when too many wait already.
    pub(crate) fn wait(&mut self, known: Known) -> bool {
        let Err(place) = self.waiting.binary_search_by_key(&known.signature, |waiting| waiting.signature) else {
            return true;
        };
        let has_room = self.waiting.len() < WAITING_MAX;
        if has_room {
            self.waiting.insert(place, known);
        }
        has_room
    }

    /// Notes a match, so that it is not made again.
    pub(crate) fn note_match(&mut self, known: Known) {
        self.waiting.retain(|waiting| waiting.signature != known.signature);
        if self.matched.len() < MATCHED_MAX
            && let Err(place) = self.place_among_matched(known.signature)
        {
            self.matched.insert(place, known);
        }
    }

    /// Whether a signature has matched it.
    pub(crate) fn has_matched(&self, signature: u32) -> bool {
        self.place_among_matched(signature).is_ok()
    }

    fn place_among_matched(&self, signature: u32) -> Result<usize, usize> {
        self.matched.binary_search_by_key(&signature, |matched| matched.signature)
    }

    /// Nothing more will come.
    pub(crate) fn close(&mut self) {
        self.stage = Some(Stage::Complete);
        self.is_fresh = true;
        for body in &mut self.bodies {
            body.is_fresh |= !body.is_over;
            body.is_over = true;
        }
    }

    /// Lets the signatures of another set look at all of it. Of those that are the same, it stays known what they have come to.
    pub(crate) fn look_anew(&mut self, rules: &RuleSet) {
        for known in [&mut self.waiting, &mut self.matched] {
            known.retain_mut(|known| known.moves_to(rules));
            known.sort_unstable_by_key(|known| known.signature);
        }
        self.looked_at = 0;
        self.is_fresh = true;
        for body in &mut self.bodies {
            body.looked_at = 0;
            (body.is_fresh, body.is_scanned) = (true, false);
        }
    }

    /// Bytes held.
    fn byte_count(&self) -> usize {
        self.bytes.len() + self.bodies_bytes
    }

    /// Notes what runs of bytes its bodies hold, for many signatures are to look at them. Answers how many bytes it has gone
    /// over.
    pub(crate) fn note_runs(&mut self) -> usize {
        let mut count = 0;
        for body in self.bodies.iter_mut().filter(|body| body.bytes.len() >= RUNS_BODY_BYTES_MIN) {
            if body.runs.is_none() {
                self.bodies_bytes += RunSet::BYTES;
            }
            count += body.note_runs();
        }
        count
    }

    /// Whether none of the bodies of a buffer holds what a signature cannot do without, as far as that is noted.
    pub(crate) fn has_no_body_for(&self, buffer: Buffer, witness: &Witness) -> bool {
        self.bodies.iter().filter(|body| body.buffer == buffer).all(|body| body.lacks(witness))
    }

    /// Whether a signature waits for more of it.
    pub(crate) fn is_awaited_by(&self, signature: u32) -> bool {
        self.waiting.binary_search_by_key(&signature, |waiting| waiting.signature).is_ok()
    }

    /// Takes a buffer that comes in one piece; `false` when there is no room for it.
    pub(crate) fn whole(&mut self, buffer: Buffer, bytes: &[u8]) -> bool {
        if self.byte_count() + bytes.len() > TRANSACTION_BYTES_MAX {
            return false;
        }
        let place = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let start = place(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        self.wholes.push((buffer, start, place(self.bytes.len())));
        true
    }

    /// Takes a piece of a body; `false` when there are too many bodies.
    pub(crate) fn piece(&mut self, buffer: Buffer, piece: Piece, bytes: &[u8], pool: &mut Pool) -> bool {
        let open = self.bodies.iter_mut().rev().find(|body| body.buffer == buffer && !body.is_over);
        let body = match open {
            Some(body) if !piece.first => body,
            _ => {
                if self.bodies.len() >= BODIES_PER_SIDE_MAX {
                    return false;
                }
                self.bodies_bytes += size_of::<Body>();
                self.bodies.push(Body {
                    buffer,
                    bytes: pool.bytes(),
                    base: 0,
                    is_over: false,
                    looked_at: 0,
                    is_fresh: true,
                    is_scanned: false,
                    runs: None,
                });
                let last = self.bodies.len() - 1;
                &mut self.bodies[last]
            }
        };
        self.bodies_bytes -= body.bytes.len();
        body.append(bytes);
        self.bodies_bytes += body.bytes.len();
        body.is_over = piece.last;
        (body.is_fresh, body.is_scanned) = (true, false);
        true
    }
}

impl Body {
    /// Whether what is to be looked at, and so many bytes before, are these.
    pub(crate) fn holds(&self, text: &[u8], old: usize) -> bool {
        self.looked_at.checked_sub(old).is_some_and(|from| self.bytes[from..] == *text)
    }

    /// Whether another body has the same bytes in what is to be looked at, and in so many before.
    pub(crate) fn is_same(&self, other: &Body, overlap: usize) -> bool {
        let from = self.looked_at.saturating_sub(overlap);
        (self.base, self.looked_at) == (other.base, other.looked_at) && self.bytes[from..] == other.bytes[from..]
    }

    /// Place in the instance behind the last byte.
    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// Whether it is known not to hold what a signature cannot do without.
    pub(crate) fn lacks(&self, witness: &Witness) -> bool {
        self.runs.as_ref().is_some_and(|runs| runs.end == self.end() && !runs.set.may_hold(witness))
    }

    fn note_runs(&mut self) -> usize {
        let end = self.end();
        let runs = self.runs.get_or_insert_with(|| Runs { set: RunSet::default(), end: 0, noted: 0 });
        let fresh = (end - runs.end.max(self.base)) as usize;
        if runs.noted + fresh > RUN_SET_TEXT_MAX && runs.noted > 0 {
            // What has left the window is forgotten.
            runs.set.clear();
            (runs.end, runs.noted) = (0, 0);
        }
        // Runs that begin before what is fresh end in it.
        let known = (runs.end.max(self.base) - self.base) as usize;
        let text = &self.bytes[known.saturating_sub(3)..];
        runs.set.note(text);
        (runs.end, runs.noted) = (end, runs.noted + text.len());
        text.len()
    }

    /// Appends a piece; once there are a quarter more bytes than the window holds, these go. Who waits for more looks at all
    /// that is there with each packet, which costs more than moving it.
    fn append(&mut self, piece: &[u8]) {
        if self.bytes.len() >= BODY_WINDOW_BYTES / 4 * 5 {
            // What has not been looked at yet stays: the look comes after the parser has done with a packet.
            let gone = (self.bytes.len() - BODY_WINDOW_BYTES).min(self.looked_at);
            self.bytes.drain(..gone);
            self.base += gone as u64;
            self.looked_at -= gone;
        }
        self.bytes.extend_from_slice(piece);
    }
}

/// Memory of sides that are over, for those that begin: one worker's, bounded.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    sides: Vec<TransactionSide>,
    bytes: Vec<Vec<u8>>,
}

impl Pool {
    fn keep(&mut self, mut side: TransactionSide) {
        for body in side.bodies.drain(..) {
            self.keep_bytes(body.bytes);
        }
        if self.sides.len() < SIDES_POOLED_MAX && side.bytes.capacity() <= SIDE_POOLED_BYTES_MAX {
            self.sides.push(side);
        }
    }

    /// An empty buffer, with room if there is a used one.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        self.bytes.pop().unwrap_or_default()
    }

    pub(crate) fn keep_bytes(&mut self, mut bytes: Vec<u8>) {
        if self.bytes.len() < POOL_MAX && bytes.capacity() <= POOLED_BYTES_MAX {
            bytes.clear();
            self.bytes.push(bytes);
        }
    }
}

/// The transactions of one flow that are open, and those that the packet at hand has brought to their end.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    pub(crate) sides: Vec<TransactionSide>,
    /// By direction, a number above those of all sides.
    next: [u64; 2],
    /// Transactions, or bytes of them, that had to be given up: judged incompletely.
    pub(crate) is_overrun: bool,
}

impl Transactions {
    /// Forgets the sides that are over, once the packet has been judged.
    pub(crate) fn tidy(&mut self, pool: &mut Pool) {
        self.sides.extract_if(.., |side| !side.is_open()).for_each(|side| pool.keep(side));
        if self.sides.len() > TRANSACTION_SIDES_MAX {
            self.give_up(self.sides.len() - TRANSACTION_SIDES_MAX, pool);
        }
        // A flow keeps no room for all that a super-segment can bring.
        self.sides.shrink_to(TRANSACTION_SIDES_MAX);
    }

    /// Forgets so many of the oldest sides, whatever else comes of them.
    fn give_up(&mut self, count: usize, pool: &mut Pool) {
        self.sides.drain(..count).for_each(|side| pool.keep(side));
        self.is_overrun = true;
    }

    /// Bytes held.
    pub(crate) fn held_bytes(&self) -> usize {
        self.sides.iter().map(TransactionSide::byte_count).sum()
    }

    /// Forgets all sides.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        self.sides.drain(..).for_each(|side| pool.keep(side));
        self.sides.shrink_to(TRANSACTION_SIDES_MAX);
        (self.next, self.is_overrun) = ([0; 2], false);
    }

    /// Where a side stands, if it is there, and how many were looked at to know that. What a parser tells of is mostly the
    /// newest one, or one that is newer.
    #[inline]
    pub(crate) fn place(&self, number: u32, side: Direction) -> (Option<usize>, usize) {
        if u64::from(number) >= self.next[index(side)] {
            return (None, 0);
        }
        let place = self.sides.iter().rposition(|open| open.number == number && open.side == side);
        (place, self.sides.len() - place.unwrap_or(0))
    }

    /// Begins a side. Gives where it stands.
    pub(crate) fn begin(&mut self, number: u32, side: Direction, pool: &mut Pool) -> usize {
        if self.sides.len() >= TRANSACTION_SIDES_PER_PACKET_MAX {
            // Many at once: all that are behind them move.
            self.give_up(TRANSACTION_SIDES_PER_PACKET_MAX / 4, pool);
        }
        let next = &mut self.next[index(side)];
        *next = (*next).max(u64::from(number) + 1);
        self.sides.push(TransactionSide::begin(number, side, pool));
        self.sides.len() - 1
    }
}
