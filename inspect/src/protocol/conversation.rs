//! The protocol state of one flow: first what it may be, then the parser of what it is.
//!
//! ```text
//!                    a probe says yes                         parser asks (CONNECT, STARTTLS)
//!   Recognising ───────────────────────> Speaking(parser) ────────────────────> Recognising
//!        │ both sides say no                  │ bytes break the protocol   │ nothing more to learn
//!        v                                    v                            v
//!   Unrecognised                            Broken                       Opaque
//! ```

use super::app_protocol::AppProtocol;
use super::ftp::FtpData;
use super::recognise::{self, Guess};
use super::settings::{RECOGNITION_BYTES_MAX, RECOGNITION_DATAGRAMS_MAX, Settings};
use super::sink::Sink;
use crate::inspector::Direction;

use super::parser::{Parse, Parser, Progress};

/// What a flow's conversation has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The protocol is not known yet; some bytes are kept.
    Recognising,
    /// The protocol is known and its bytes are taken apart.
    Speaking(AppProtocol),
    /// The protocol is known, but nothing more can be learned from it: it is encrypted from here, or only recognised.
    Opaque(AppProtocol),
    /// The bytes do not follow the protocol; no further buffers will come. The exception policy decides.
    Broken(AppProtocol),
    /// No protocol that we know.
    Unrecognised,
}

/// The protocol state of one flow. An idle one that has not been recognised holds no heap memory.
#[derive(Debug)]
pub struct Conversation {
    state: State,
    original: Option<AppProtocol>,
    /// Its files, of a connection that FTP has announced, while it has not been recognised.
    announced: Option<Box<FtpData>>,
}

#[derive(Debug)]
enum State {
    Recognising(Recognition),
    Speaking(Parser),
    Opaque(AppProtocol),
    Broken(AppProtocol),
    Unrecognised,
}

/// The bytes of both sides so far, and what the probes made of them.
#[derive(Debug)]
struct Recognition {
    sides: [Side; 2],
    /// The side that spoke first.
    first: Option<Direction>,
    first_transaction: u32,
}

#[derive(Debug, Default)]
struct Side {
    kept: Vec<u8>,
    /// The probes will not say yes for this side any more.
    is_refused: bool,
    /// Bytes went by that were not kept.
    is_cut: bool,
    datagram_count: u8,
}

fn index(side: Direction) -> usize {
    match side {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
    }
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}

impl Conversation {
    /// A flow of which nothing is known.
    pub fn new() -> Self {
        Conversation { state: State::Recognising(Recognition::new(0)), original: None, announced: None }
    }

    /// A flow that another one has announced as an FTP data connection. That is a guest's word: its bytes are a file from the
    /// first on, and what it is called shows when they are not recognised as anything else.
    pub fn ftp_data() -> Self {
        Conversation { announced: Some(Box::new(FtpData::new(0))), ..Self::new() }
    }

    /// A flow whose protocol is known without a look at its bytes.
    pub fn speaking(protocol: AppProtocol) -> Self {
        Conversation { state: Self::begun(protocol, 0), original: Some(protocol), announced: None }
    }

    /// What the flow speaks now.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Recognising(_) => Status::Recognising,
            State::Speaking(parser) => Status::Speaking(parser.protocol()),
            State::Opaque(protocol) => Status::Opaque(*protocol),
            State::Broken(protocol) => Status::Broken(*protocol),
            State::Unrecognised => Status::Unrecognised,
        }
    }

    /// The protocol that the flow speaks now, whatever its status.
    pub fn protocol(&self) -> Option<AppProtocol> {
        match self.status() {
            Status::Speaking(protocol) | Status::Opaque(protocol) | Status::Broken(protocol) => Some(protocol),
            Status::Recognising | Status::Unrecognised => None,
        }
    }

    /// The protocol that the flow spoke first: differs from [`Conversation::protocol`] after CONNECT or STARTTLS.
    pub fn original_protocol(&self) -> Option<AppProtocol> {
        self.original
    }

    /// Takes the next bytes of one side of a TCP stream, in order.
    pub fn stream(&mut self, side: Direction, bytes: &[u8], settings: &Settings, sink: &mut dyn Sink) -> Status {
        match &mut self.state {
            State::Speaking(parser) => {
                let progress = parser.stream(side, bytes, settings, sink);
                self.apply(progress, side, bytes, settings, sink);
            }
            State::Recognising(recognition) => {
                let guess = recognition.stream(side, bytes);
                let is_refused = recognition.sides[index(side)].is_refused;
                match (guess, &mut self.announced) {
                    (Guess::Is(protocol), _) => {
                        self.give_up_files(settings, sink);
                        self.start(protocol, side, bytes, settings, sink);
                    }
                    (Guess::NotYet | Guess::No, Some(files)) => {
                        files.stream(side, bytes, settings, sink);
                        // Of such a connection, one side speaks.
                        if is_refused {
                            self.settle_for_files();
                        }
                    }
                    (Guess::No, None) => self.state = State::Unrecognised,
                    (Guess::NotYet, None) => {}
                }
            }
            State::Opaque(_) | State::Broken(_) | State::Unrecognised => {}
        }
        self.status()
    }

    /// Takes one UDP datagram.
    pub fn datagram(&mut self, side: Direction, bytes: &[u8], sink: &mut dyn Sink) -> Status {
        if let State::Recognising(recognition) = &mut self.state {
            match recognise::udp(side, bytes) {
                Guess::Is(protocol) => {
                    let first = recognition.first_transaction;
                    self.original = self.original.or(Some(protocol));
                    self.state = Self::begun(protocol, first);
                }
                Guess::NotYet | Guess::No => {
                    let count = &mut recognition.sides[index(side)].datagram_count;
                    *count += 1;
                    if *count >= RECOGNITION_DATAGRAMS_MAX {
                        self.state = State::Unrecognised;
                    }
                }
            }
        }
        if let State::Speaking(parser) = &mut self.state {
            parser.datagram(side, bytes, sink);
        }
        self.status()
    }

    /// `length` bytes of one side are missing and will not come.
    pub fn gap(&mut self, side: Direction, length: u64, settings: &Settings, sink: &mut dyn Sink) -> Status {
        match &mut self.state {
            State::Speaking(parser) => {
                let progress = parser.gap(side, length, settings, sink);
                self.apply(progress, side, &[], settings, sink);
            }
            State::Recognising(recognition) => {
                let own = &mut recognition.sides[index(side)];
                own.is_cut = true;
                own.is_refused = true;
                if let Some(files) = &mut self.announced {
                    files.gap(side, length, settings, sink);
                }
                if recognition.sides.iter().all(|side| side.is_refused) {
                    self.state = State::Unrecognised;
                }
            }
            State::Opaque(_) | State::Broken(_) | State::Unrecognised => {}
        }
        self.status()
    }

    /// The bytes that one packet of a side has brought are over. To be called by who wants the hashes of files before their
    /// receiver may have the whole of them.
    pub fn pause(&mut self, side: Direction, sink: &mut dyn Sink) {
        match (&mut self.state, &mut self.announced) {
            (State::Speaking(parser), _) => parser.pause(side, sink),
            (State::Recognising(_), Some(files)) => files.pause(side, sink),
            (_, _) => {}
        }
    }

    /// The connection is recognised as something else than it was announced to be.
    fn give_up_files(&mut self, settings: &Settings, sink: &mut dyn Sink) {
        if let Some(mut files) = self.announced.take() {
            for side in [Direction::ToServer, Direction::ToClient] {
                files.gap(side, 0, settings, sink);
            }
        }
    }

    /// The connection is what it was announced to be.
    fn settle_for_files(&mut self) {
        if let Some(files) = self.announced.take() {
            self.original = Some(AppProtocol::FtpData);
            self.state = State::Speaking(Parser::FtpData(files));
        }
    }

    /// Whether files can still be found in the flow.
    pub fn may_carry_files(&self) -> bool {
        match self.status() {
            Status::Recognising => true,
            Status::Speaking(protocol) => matches!(
                protocol,
                AppProtocol::Http1 | AppProtocol::Smtp | AppProtocol::Smb | AppProtocol::Ftp | AppProtocol::FtpData
            ),
            Status::Opaque(_) | Status::Broken(_) | Status::Unrecognised => false,
        }
    }

    /// One side has sent its last byte (FIN), or the connection is gone (RST, timeout): call for both sides then.
    pub fn closed(&mut self, side: Direction, settings: &Settings, sink: &mut dyn Sink) -> Status {
        self.settle_for_files();
        if let State::Speaking(parser) = &mut self.state {
            let progress = parser.closed(side, settings, sink);
            self.apply(progress, side, &[], settings, sink);
        }
        self.status()
    }

    fn begun(protocol: AppProtocol, first_transaction: u32) -> State {
        match Parser::new(protocol, first_transaction) {
            Some(parser) => State::Speaking(parser),
            None => State::Opaque(protocol),
        }
    }

    /// Hands what was kept, and then the bytes in hand, to the parser of a protocol that has just been recognised. The
    /// side that spoke first goes first.
    fn start(
        &mut self,
        protocol: AppProtocol,
        side: Direction,
        bytes: &[u8],
        settings: &Settings,
        sink: &mut dyn Sink,
    ) {
        self.original = self.original.or(Some(protocol));
        let State::Recognising(recognition) = &mut self.state else {
            return;
        };
        let first_transaction = recognition.first_transaction;
        let first = recognition.first.unwrap_or(side);
        let mut sides = std::mem::take(&mut recognition.sides);
        self.state = Self::begun(protocol, first_transaction);
        for which in [first, first.reversed()] {
            let kept = std::mem::take(&mut sides[index(which)]);
            if !kept.kept.is_empty() {
                self.stream(which, &kept.kept, settings, sink);
            }
            if kept.is_cut {
                self.gap(which, 0, settings, sink);
            }
        }
        self.stream(side, bytes, settings, sink);
    }

    fn apply(&mut self, progress: Progress, side: Direction, bytes: &[u8], settings: &Settings, sink: &mut dyn Sink) {
        let State::Speaking(parser) = &mut self.state else {
            return;
        };
        match progress {
            Progress::More => {}
            Progress::Opaque => self.state = State::Opaque(parser.protocol()),
            Progress::Broken => self.state = State::Broken(parser.protocol()),
            Progress::Switch { used, held } => {
                let mut recognition = Recognition::new(parser.next_transaction());
                recognition.sides[index(Direction::ToServer)].kept = held;
                self.state = State::Recognising(recognition);
                let rest = bytes.get(used..).unwrap_or_default();
                if !rest.is_empty() {
                    self.stream(side, rest, settings, sink);
                } else {
                    self.reconsider(settings, sink);
                }
            }
        }
    }

    /// Probes bytes that were already held when the protocol changed.
    fn reconsider(&mut self, settings: &Settings, sink: &mut dyn Sink) {
        let State::Recognising(recognition) = &mut self.state else {
            return;
        };
        let held = std::mem::take(&mut recognition.sides[index(Direction::ToServer)].kept);
        if !held.is_empty() {
            self.stream(Direction::ToServer, &held, settings, sink);
        }
    }
}

impl Recognition {
    fn new(first_transaction: u32) -> Self {
        Recognition { sides: Default::default(), first: None, first_transaction }
    }

    /// Probes what one side has sent so far. Keeps the bytes unless they are being handed on at once.
    fn stream(&mut self, side: Direction, bytes: &[u8]) -> Guess {
        self.first.get_or_insert(side);
        let own = &mut self.sides[index(side)];
        if own.is_refused {
            own.keep(bytes);
            return Guess::NotYet;
        }
        let guess = if own.kept.is_empty() {
            recognise::tcp(side, bytes)
        } else {
            let room = RECOGNITION_BYTES_MAX.saturating_sub(own.kept.len());
            let before = own.kept.len();
            own.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            let guess = recognise::tcp(side, &own.kept);
            own.kept.truncate(before);
            guess
        };
        match guess {
            Guess::Is(_) => guess,
            Guess::NotYet => {
                own.keep(bytes);
                guess
            }
            Guess::No => {
                own.keep(bytes);
                own.is_refused = true;
                if self.sides.iter().all(|side| side.is_refused) { Guess::No } else { Guess::NotYet }
            }
        }
    }
}

impl Side {
    fn keep(&mut self, bytes: &[u8]) {
        let room = RECOGNITION_BYTES_MAX.saturating_sub(self.kept.len());
        self.is_cut |= bytes.len() > room;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}
