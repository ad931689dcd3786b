//! What protocol parsers say: buffers, numbers, stages of a transaction, anomalies, files.
//!
//! # Theory of operation
//!
//! A parser is fed one side's bytes in order and calls the sink as soon as it knows something. Every event carries the
//! number of its transaction (counted from 0 within the flow) and the side whose bytes it comes from.
//!
//! * A buffer instance is a run of [`Sink::buffer`] calls for one (transaction, side, buffer): the first has
//!   [`Piece::first`], the last [`Piece::last`]. Buffers with [`Delivery::Once`](super::Delivery) or
//!   [`Delivery::Many`](super::Delivery) always come in one call with both set. The pieces of a
//!   [`Delivery::Streamed`](super::Delivery) buffer arrive as the data arrives, an empty last piece included, so the cut
//!   points mean nothing. Instances of different buffers may interleave (`http.response_body` and `file.data` do).
//! * [`Sink::stage`] says what can no longer come: after [`Stage::Headers`] no buffer of the first line or header
//!   fields of that side will be delivered, so their absence is final; after [`Stage::Complete`] nothing more at all.
//! * Nothing is kept for the sink: bytes that it needs later, it copies.

use super::anomaly::Anomaly;
use super::buffer::Buffer;
use crate::file_hashes::{Digests, HashesWanted};
use crate::inspector::Direction;
use crate::record::Detail;

/// Where a call of [`Sink::buffer`] stands within its instance of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The instance begins with this piece.
    pub first: bool,
    /// The instance ends with this piece.
    pub last: bool,
}

impl Piece {
    /// An instance in one piece.
    pub const WHOLE: Piece = Piece { first: true, last: true };
}

/// How far one side of a transaction has come. The order is the order in time; stages may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The first line has been delivered (HTTP).
    Line,
    /// All header fields, or for protocols without such, all whole buffers have been delivered.
    Headers,
    /// The body has ended.
    Body,
    /// This side of the transaction is over.
    Complete,
}

macro_rules! numbers {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal;)*) => {
        /// A number that signatures can test.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Number {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Number {
            /// Every number, in the order of the enum.
            pub const ALL: &'static [Number] = &[$(Number::$variant),*];

            /// The keyword that tests it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Number::$variant => $name,)*
                }
            }
        }
    };
}

numbers! {
    /// Opcode of a DNS message (RFC 1035 section 4.1.1).
    DnsOpcode = "dns.opcode";
    /// Response code of a DNS message, the EDNS extension bits left out.
    DnsRcode = "dns.rcode";
    /// Type of a question, or of a record of any section; one event each.
    DnsRrtype = "dns.rrtype";
    /// Protocol version of a hello, as on the wire (0x0303 is TLS 1.2); from the supported_versions extension where
    /// present.
    TlsVersion = "tls.version";
    /// Certificates in the message that carried them.
    TlsCertChainLen = "tls.cert_chain_len";
    /// Start of the first certificate's validity, seconds since 1970; clamped to 0 below.
    TlsNotBefore = "tls.notbefore";
    /// End of the first certificate's validity, seconds since 1970; clamped to 0 below.
    TlsNotAfter = "tls.notafter";
    /// Highest SMB dialect family on the wire: 1, 2 or 3.
    SmbVersion = "smb.version";
    /// DHCP lease time in seconds.
    DhcpLeaseTime = "dhcp.leasetime";
    /// DHCP renewal time in seconds.
    DhcpRenewalTime = "dhcp.renewal_time";
    /// DHCP rebinding time in seconds.
    DhcpRebindingTime = "dhcp.rebinding_time";
}

impl Number {
    /// Finds a number by its keyword.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|number| number.name() == name)
    }
}

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileProgress {
    /// It has ended, or the length that was announced is reached.
    Complete,
    /// More may come, or not.
    SoFar,
    /// A limit, a gap or a broken connection has ended it.
    Cut,
    /// It has grown beyond [`HashesWanted::size_max`] and is not hashed any more.
    TooBig,
    /// It has begun, and is not the whole of a file.
    Part,
}

/// A file that passes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Bytes seen.
    pub length: u64,
    /// How far it has come.
    pub progress: FileProgress,
    /// Its bytes are another reading (packed as they came, or the whole of a form) of what is a file or body elsewhere.
    pub is_aside: bool,
    /// Nothing more will be said of it.
    pub is_over: bool,
    /// It was settled before, or told to be too big or a part.
    pub is_told: bool,
    /// The hashes of the bytes seen, as far as they are wanted; those of a file that is over were shown before.
    pub digests: Digests,
}

/// A connection that a control connection has announced (FTP's PORT, PASV, EPRT, EPSV).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation<'a> {
    /// The side that will listen.
    pub listener: Direction,
    /// The address announced, IPv4-mapped where IPv4; `None` for "the address of this connection" (EPSV). A guest's
    /// word, as the port is: it may name, and must not allow (the FTP bounce attack).
    pub address: Option<[u8; 16]>,
    /// TCP port of the listener.
    pub port: u16,
    /// Name of the file that it is for; empty as long as it is not known. What was announced may be announced again with it.
    pub file: &'a [u8],
    /// What passes is not the whole of the file.
    pub is_part: bool,
}

/// Receives what parsers find. `transaction` counts from 0 within a flow.
pub trait Sink {
    /// Whether anybody looks at this buffer. Parsers need not make one that nobody wants, where making it costs
    /// something.
    fn wants(&self, _buffer: Buffer) -> bool {
        true
    }
    /// A piece of a buffer.
    fn buffer(&mut self, transaction: u32, side: Direction, buffer: Buffer, piece: Piece, bytes: &[u8]);
    /// A number of a transaction.
    fn number(&mut self, transaction: u32, side: Direction, number: Number, value: u64);
    /// One side of a transaction has come so far.
    fn stage(&mut self, transaction: u32, side: Direction, stage: Stage);
    /// Something is not as the protocol wants it. Parsing goes on as far as sense can be made.
    fn anomaly(&mut self, transaction: u32, side: Direction, anomaly: Anomaly);
    /// Whether [`Sink::detail`] is listened to. Parsers need not make details that nobody wants.
    fn wants_details(&self) -> bool {
        false
    }
    /// What a message says that signatures have no words for.
    fn detail(&mut self, _transaction: u32, _detail: &Detail<'_>) {}
    /// The hashes of files that are wanted, if any are.
    fn wants_hashes(&self) -> Option<HashesWanted> {
        None
    }
    /// A file has come so far; its bytes went by as [`Buffer::FileData`]. The name is that of a file that is hashed,
    /// where it has one. Gives whether the file is settled, so that its hashes are of no further interest.
    fn file(&mut self, _transaction: u32, _side: Direction, _name: &[u8], _file: &File) -> bool {
        false
    }
    /// Work that may still be done for the packet at hand, in units of about a nanosecond. Asked by parsers that can make much
    /// of few bytes; once more has been done than that, they stop making more.
    fn work_left(&self) -> u64 {
        u64::MAX
    }
    /// So much work has been done, in the same units.
    fn worked(&mut self, _units: u64) {}
    /// So much work went into taking a message apart, beside what is made of it.
    fn parsed(&mut self, _units: u64) {}
    /// Empty bytes to make a buffer in, perhaps with room: to be given back.
    fn spare_bytes(&mut self) -> Vec<u8> {
        Vec::new()
    }
    /// Takes back what [`Sink::spare_bytes`] gave, whatever is in it.
    fn give_back(&mut self, _bytes: Vec<u8>) {}
    /// A further connection belongs to this one.
    fn expect(&mut self, _expectation: &Expectation<'_>) {}
    /// The name of the file that this connection was announced for, and whether what passes is only a part of it.
    fn announced_file(&self) -> Option<(Vec<u8>, bool)> {
        None
    }
}
