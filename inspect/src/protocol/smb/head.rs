//! What the head of an SMB message says. Offsets within a message are the sender's word and are checked where used.

use super::files::Handle;
use crate::inspector::Direction;
use crate::record::{SmbAnswer, SmbStatus};

/// A message's head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// 1, 2 or 3 (encrypted).
    pub(super) version: u8,
    /// What joins a response to its request.
    pub(super) message_id: u64,
    /// Where the next message of a compound begins.
    pub(super) next_at: Option<usize>,
    /// What the message asks or says, one for each command that is chained in it.
    pub(super) meanings: Vec<Meaning>,
    /// Of an answer that is not to be followed by another.
    pub(super) answer: Option<SmbAnswer>,
}

/// What answers say of the dialect as long as none is agreed.
pub(super) const NO_DIALECT: &str = "unknown";

/// The dialects of SMB 1 (MS-CIFS section 3.2.4.2.2, MS-SMB section 2.2.4.5.1).
const DIALECTS_1: [&str; 10] = [
    "PC NETWORK PROGRAM 1.0",
    "XENIX CORE",
    "MICROSOFT NETWORKS 1.03",
    "LANMAN1.0",
    "Windows for Workgroups 3.1a",
    "LM1.2X002",
    "LANMAN2.1",
    "NT LM 0.12",
    "SMB 2.002",
    "SMB 2.???",
];

/// Dialects that a client may offer; clients offer some ten.
const OFFERED_MAX: usize = 64;

/// The dialects of SMB 2 (MS-SMB2 section 2.2.4).
fn dialect_2(number: u16) -> &'static str {
    match number {
        0x0202 => "2.02",
        0x0210 => "2.10",
        0x02ff => "2.??",
        0x0300 => "3.00",
        0x0302 => "3.02",
        0x0311 => "3.11",
        _ => NO_DIALECT,
    }
}

/// What a message is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Encrypted,
    /// The dialects that a client of SMB 1 offers, in its order.
    Offer(Vec<&'static str>),
    /// The one of them that the server takes.
    Choice(usize),
    /// The dialect of SMB 2 that the server takes.
    Agreed(&'static str),
    Connect(Vec<u8>),
    Authenticate(Credentials),
    Create(Vec<u8>),
    Created(Handle),
    Close(Handle),
    Read {
        handle: Handle,
        offset: u64,
    },
    /// Data of a write, between these places in the message.
    Write {
        handle: Handle,
        offset: u64,
        start: usize,
        end: usize,
    },
    /// Data of a read's response.
    ReadData {
        start: usize,
        end: usize,
    },
}

/// What an NTLMSSP AUTHENTICATE message says about who sends it (MS-NLMP section 2.2.1.3).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Vec<u8>,
    pub(super) domain: Vec<u8>,
    pub(super) host: Vec<u8>,
    /// Of its system: major, minor, build; and the revision of NTLMSSP.
    pub(super) version: Option<(u8, u8, u16, u8)>,
}

const NTLMSSP_UNICODE: u32 = 1;
const NTLMSSP_VERSION: u32 = 0x0200_0000;

const SMB1_HEADER_BYTES: usize = 32;

/// Commands in one message of SMB 1. Clients chain two or three.
const CHAINED_MAX: usize = 8;
const SMB2_HEADER_BYTES: usize = 64;

/// An answer says that another will follow.
const STATUS_PENDING: u32 = 0x103;

const FLAG_ASYNC: u32 = 2;
const TREE_CONNECT: u16 = 3;

/// Little-endian numbers at places that may be beyond the end.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.0.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.0.get(at..at + 4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        Some(u64::from(self.u32(at)?) | u64::from(self.u32(at + 4)?) << 32)
    }

    fn handle(&self, at: usize) -> Option<Handle> {
        Some(Handle(self.0.get(at..at + 16)?.try_into().ok()?))
    }

    fn small_handle(&self, at: usize) -> Option<Handle> {
        let mut handle = [0; 16];
        handle[..2].copy_from_slice(self.0.get(at..at + 2)?);
        Some(Handle(handle))
    }
}

/// UTF-16 as bytes; what does not fit one byte becomes a question mark. Stops at a NUL.
fn narrow(wide: &[u8]) -> Vec<u8> {
    let units = wide.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    units.take_while(|&unit| unit != 0).map(|unit| u8::try_from(unit).unwrap_or(b'?')).collect()
}

impl Head {
    /// Reads the head of a message. `None` if it is none of SMB.
    pub(super) fn read(side: Direction, bytes: &[u8]) -> Option<Self> {
        match bytes.first_chunk::<4>()? {
            b"\xffSMB" => read_1(side, bytes),
            b"\xfeSMB" => read_2(side, bytes),
            b"\xfdSMB" | b"\xfcSMB" => {
                let meanings = vec![Meaning::Encrypted];
                Some(Head { version: 3, message_id: 0, next_at: None, meanings, answer: None })
            }
            _ => None,
        }
    }
}

fn read_1(side: Direction, bytes: &[u8]) -> Option<Head> {
    let numbers = Numbers(bytes);
    let command = numbers.u8(4)?;
    let is_unicode = numbers.u16(10)? & 0x8000 != 0;
    // Process and multiplex id.
    let message_id = u64::from(numbers.u16(26)?) << 16 | u64::from(numbers.u16(30)?);
    let meanings = meanings_1(side, command, is_unicode, &numbers);
    let has_nt_status = numbers.u16(10)? & 0x4000 != 0;
    let answer = (side == Direction::ToClient).then_some(SmbAnswer {
        version: 1,
        dialect: NO_DIALECT,
        command: command.into(),
        status: if has_nt_status {
            SmbStatus::Nt(numbers.u32(5)?)
        } else {
            SmbStatus::Dos(numbers.u8(5)?, numbers.u16(7)?)
        },
        session: numbers.u16(28)?.into(),
        tree: numbers.u16(24)?.into(),
        share_type: None,
    });
    Some(Head { version: 1, message_id, next_at: None, meanings, answer })
}

/// The commands that are chained in a message (MS-CIFS section 2.2.3.4): each names the next and where its parameters stand.
fn meanings_1(side: Direction, command: u8, is_unicode: bool, numbers: &Numbers<'_>) -> Vec<Meaning> {
    const CHAINS: [u8; 8] = [0x24, 0x2d, 0x2e, 0x2f, 0x73, 0x74, 0x75, 0xa2];
    let (mut command, mut at) = (command, SMB1_HEADER_BYTES);
    let mut meanings = Vec::new();
    for _ in 0..CHAINED_MAX {
        meanings.extend(meaning_1(side, command, at, is_unicode, numbers));
        let words = at + 1;
        let next =
            numbers.u8(words).zip(numbers.u16(words + 2)).filter(|_| numbers.u8(at).is_some_and(|count| count >= 2));
        match next {
            // Only forward, so that no chain is longer than its message.
            Some((next, next_at)) if CHAINS.contains(&command) && usize::from(next_at) > at => {
                (command, at) = (next, next_at.into());
            }
            _ => break,
        }
    }
    meanings
}

/// The parameter words begin behind their count; the bytes behind those, behind theirs.
fn meaning_1(side: Direction, command: u8, at: usize, is_unicode: bool, numbers: &Numbers<'_>) -> Option<Meaning> {
    let words = at + 1;
    let word_count = usize::from(numbers.u8(at)?);
    let bytes_at = words + word_count * 2 + 2;
    let is_request = side == Direction::ToServer;
    let text = |from: usize| {
        if is_unicode {
            narrow(numbers.0.get(from + from % 2..).unwrap_or_default())
        } else {
            numbers.0.get(from..).unwrap_or_default().iter().copied().take_while(|&byte| byte != 0).collect()
        }
    };
    Some(match (command, is_request) {
        // NEGOTIATE: names that end in a NUL, each behind a 2.
        (0x72, true) => {
            let names = numbers.0.get(bytes_at..)?.split(|&byte| byte == 0).take(OFFERED_MAX);
            let known =
                |name: &[u8]| DIALECTS_1.into_iter().find(|known| name.strip_prefix(b"\x02") == Some(known.as_bytes()));
            Meaning::Offer(names.map(|name| known(name).unwrap_or(NO_DIALECT)).collect())
        }
        (0x72, false) => Meaning::Choice(numbers.u16(words)?.into()),
        // TREE_CONNECT_ANDX: the path follows the password.
        (0x75, true) => Meaning::Connect(text(bytes_at + usize::from(numbers.u16(words + 6)?))),
        // SESSION_SETUP_ANDX
        (0x73, true) => authenticate(&Numbers(numbers.0.get(at..)?))?,
        // NT_CREATE_ANDX
        (0xa2, true) => Meaning::Create(text(bytes_at)),
        (0xa2, false) => Meaning::Created(numbers.small_handle(words + 5)?),
        // CLOSE
        (0x04, true) => Meaning::Close(numbers.small_handle(words)?),
        // READ_ANDX
        (0x2e, true) => {
            let high = if word_count >= 12 { numbers.u32(words + 20)? } else { 0 };
            let offset = u64::from(numbers.u32(words + 6)?) | u64::from(high) << 32;
            Meaning::Read { handle: numbers.small_handle(words + 4)?, offset }
        }
        (0x2e, false) => {
            let start = usize::from(numbers.u16(words + 12)?);
            let length = usize::from(numbers.u16(words + 10)?) | usize::from(numbers.u16(words + 14)?) << 16;
            Meaning::ReadData { start: start.max(words), end: start + length }
        }
        // WRITE_ANDX
        (0x2f, true) => {
            let high = if word_count >= 14 { numbers.u32(words + 24)? } else { 0 };
            let offset = u64::from(numbers.u32(words + 6)?) | u64::from(high) << 32;
            let length = usize::from(numbers.u16(words + 20)?) | usize::from(numbers.u16(words + 18)?) << 16;
            let start = usize::from(numbers.u16(words + 22)?).max(words);
            Meaning::Write { handle: numbers.small_handle(words + 4)?, offset, start, end: start + length }
        }
        _ => return None,
    })
}

fn read_2(side: Direction, bytes: &[u8]) -> Option<Head> {
    let numbers = Numbers(bytes);
    let command = numbers.u16(12)?;
    let next = numbers.u32(20)? as usize;
    let message_id = numbers.u64(24)?;
    let is_failure = side == Direction::ToClient && numbers.u32(8)? != 0;
    let meaning = if is_failure { None } else { meaning_2(side, command, &numbers) };
    let (flags, status) = (numbers.u32(16)?, numbers.u32(8)?);
    let is_final = side == Direction::ToClient && status != STATUS_PENDING;
    let answer = is_final.then_some(SmbAnswer {
        version: 2,
        dialect: NO_DIALECT,
        command,
        status: SmbStatus::Nt(status),
        session: numbers.u64(40)?,
        // What is answered later has another number in its place.
        tree: if flags & FLAG_ASYNC == 0 { numbers.u32(36)? } else { 0 },
        share_type: if command == TREE_CONNECT { numbers.u8(SMB2_HEADER_BYTES + 2) } else { None },
    });
    // A command shorter than its header would stand still.
    let next_at = (next >= SMB2_HEADER_BYTES).then_some(next);
    Some(Head { version: 2, message_id, next_at, meanings: meaning.into_iter().collect(), answer })
}

fn meaning_2(side: Direction, command: u16, numbers: &Numbers<'_>) -> Option<Meaning> {
    let body = SMB2_HEADER_BYTES;
    let wide = |offset_at: usize, length_at: usize| -> Option<Vec<u8>> {
        let (start, length) = (usize::from(numbers.u16(offset_at)?), usize::from(numbers.u16(length_at)?));
        let end = (start + length).min(numbers.0.len());
        Some(narrow(numbers.0.get(start..end)?))
    };
    Some(match (command, side == Direction::ToServer) {
        // NEGOTIATE
        (0, false) => Meaning::Agreed(dialect_2(numbers.u16(body + 4)?)),
        // SESSION_SETUP
        (1, true) => authenticate(numbers)?,
        (TREE_CONNECT, true) => Meaning::Connect(wide(body + 4, body + 6)?),
        // CREATE
        (5, true) => Meaning::Create(wide(body + 44, body + 46)?),
        (5, false) => Meaning::Created(numbers.handle(body + 64)?),
        // CLOSE
        (6, true) => Meaning::Close(numbers.handle(body + 8)?),
        // READ
        (8, true) => Meaning::Read { handle: numbers.handle(body + 16)?, offset: numbers.u64(body + 8)? },
        (8, false) => {
            let start = usize::from(numbers.u8(body + 2)?).max(body);
            Meaning::ReadData { start, end: start + numbers.u32(body + 4)? as usize }
        }
        // WRITE
        (9, true) => {
            let start = usize::from(numbers.u16(body + 2)?).max(body);
            Meaning::Write {
                handle: numbers.handle(body + 16)?,
                offset: numbers.u64(body + 8)?,
                start,
                end: start + numbers.u32(body + 4)? as usize,
            }
        }
        _ => return None,
    })
}

/// An NTLMSSP AUTHENTICATE message anywhere in a session setup.
fn authenticate(numbers: &Numbers<'_>) -> Option<Meaning> {
    let at = memchr::memmem::find(numbers.0, b"NTLMSSP\0\x03\0\0\0")?;
    let message = Numbers(&numbers.0[at..]);
    let flags = message.u32(60)?;
    let is_unicode = flags & NTLMSSP_UNICODE != 0;
    let field = |at: usize| -> Option<Vec<u8>> {
        let (length, start) = (usize::from(message.u16(at)?), message.u32(at + 4)? as usize);
        let bytes = message.0.get(start..start.checked_add(length)?)?;
        Some(if is_unicode { narrow(bytes) } else { bytes.to_vec() })
    };
    let version = || Some((message.u8(64)?, message.u8(65)?, message.u16(66)?, message.u8(71)?));
    Some(Meaning::Authenticate(Credentials {
        domain: field(28)?,
        user: field(36)?,
        host: field(44).unwrap_or_default(),
        version: if flags & NTLMSSP_VERSION == 0 { None } else { version() },
    }))
}
