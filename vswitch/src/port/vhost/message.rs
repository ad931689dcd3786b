//! Vhost-user messages (QEMU's docs/interop/vhost-user.rst): reading them off a front-end's socket without trusting their
//! sender, and taking them apart.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use vhost::vhost_user::message::FrontendReq as Code;

use crate::memory::REGIONS_MAX;

const HEADER_LEN: usize = 12;
/// Length of one region in a message, in bytes.
const REGION_LEN: usize = 32;
/// Length of the longest body that we take: a table of [`REGIONS_MAX`] regions.
const BODY_LEN_MAX: usize = 8 + REGION_LEN * REGIONS_MAX;

const VERSION_MASK: u32 = 3;
const VERSION: u32 = 1;
const FLAG_REPLY: u32 = 4;
const FLAG_NEED_REPLY: u32 = 8;

/// In the body of a request that brings a descriptor for a ring: none is attached.
const NO_DESCRIPTOR: u64 = 0x100;

/// How long a message may take from its first byte to its last. A front-end writes each in one call.
const MESSAGE_DEADLINE: Duration = Duration::from_secs(2);

/// Why a front-end's connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The front-end hung up.
    HungUp,
    /// The port is being stopped.
    Stopped,
    /// It broke the protocol's rules, as named.
    Broken(&'static str),
    /// Its queue or memory broke the rules, as named by the alarm.
    Fault(String),
    /// A system call failed.
    System(&'static str, Errno),
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closing::HungUp => f.write_str("the front-end hung up"),
            Closing::Stopped => f.write_str("the port was stopped"),
            Closing::Broken(rule) => f.write_str(rule),
            Closing::Fault(word) => f.write_str(word),
            Closing::System(call, errno) => write!(f, "{call}: {errno}"),
        }
    }
}

/// A message as it came in.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) code: u32,
    pub(crate) needs_reply: bool,
    pub(crate) body: Vec<u8>,
    pub(crate) files: Vec<OwnedFd>,
}

/// The message that is being read. Bytes come when they come; nobody waits for them.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    files: Vec<OwnedFd>,
    started: Option<Instant>,
}

impl Inbox {
    /// By when the message that was begun must be whole.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.started.map(|started| started + MESSAGE_DEADLINE)
    }

    /// Reads what is there; answers a message once it is whole. `None` when there is nothing more to read.
    pub(crate) fn read(&mut self, socket: BorrowedFd<'_>) -> Result<Option<Message>, Closing> {
        loop {
            let wanted = self.wanted()?;
            if wanted == 0 {
                return Ok(Some(self.take()));
            }
            if !self.read_part(socket, wanted)? {
                return Ok(None);
            }
        }
    }

    /// How many bytes the message lacks, as far as can be told.
    fn wanted(&self) -> Result<usize, Closing> {
        if self.bytes.len() < HEADER_LEN {
            return Ok(HEADER_LEN - self.bytes.len());
        }
        let flags = word(&self.bytes, 4);
        if flags & VERSION_MASK != VERSION || flags & FLAG_REPLY != 0 {
            return Err(Closing::Broken("message flags"));
        }
        let len = word(&self.bytes, 8) as usize;
        if len > BODY_LEN_MAX {
            return Err(Closing::Broken("message too long"));
        }
        Ok(HEADER_LEN + len - self.bytes.len())
    }

    fn read_part(&mut self, socket: BorrowedFd<'_>, wanted: usize) -> Result<bool, Closing> {
        // One more than any request may bring; what does not fit the kernel closes, and says so.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(REGIONS_MAX + 1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let start = self.bytes.len();
        self.bytes.resize(start + wanted, 0);
        let mut parts = [IoSliceMut::new(&mut self.bytes[start..])];
        let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC);
        self.bytes.truncate(start + received.as_ref().map_or(0, |r| r.bytes));
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.files.extend(files);
            }
        }
        match received {
            Ok(received) if received.flags.contains(ReturnFlags::CTRUNC) || self.files.len() > REGIONS_MAX => {
                Err(Closing::Broken("too many file descriptors"))
            }
            Ok(received) if received.bytes == 0 => Err(Closing::HungUp),
            Ok(_) => {
                self.started.get_or_insert_with(Instant::now);
                Ok(true)
            }
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::INTR) => Ok(true),
            Err(Errno::CONNRESET | Errno::PIPE) => Err(Closing::HungUp),
            Err(errno) => Err(Closing::System("recvmsg", errno)),
        }
    }

    fn take(&mut self) -> Message {
        let whole = std::mem::take(self);
        Message {
            code: word(&whole.bytes, 0),
            needs_reply: word(&whole.bytes, 4) & FLAG_NEED_REPLY != 0,
            body: whole.bytes[HEADER_LEN..].to_vec(),
            files: whole.files,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(long)
}

/// Sends a reply with a body. A front-end that lets its socket fill up with replies is not waited for.
pub(crate) fn reply(socket: BorrowedFd<'_>, code: u32, body: &[u8]) -> Result<(), Closing> {
    let bytes = encode(code, FLAG_REPLY, body);
    match rustix::net::send(socket, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) | Err(Errno::AGAIN) => Err(Closing::Broken("replies are not read")),
        Err(Errno::PIPE | Errno::CONNRESET) => Err(Closing::HungUp),
        Err(errno) => Err(Closing::System("send", errno)),
    }
}

/// Sends a request with its descriptors, and asks for a reply.
pub(crate) fn request(socket: impl AsFd, code: Code, body: &[u8], files: &[OwnedFd]) -> io::Result<()> {
    let bytes = encode(code.into(), FLAG_NEED_REPLY, body);
    let borrowed: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(REGIONS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let sent = sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

fn encode(code: u32, flags: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + body.len());
    for word in [code, VERSION | flags, body.len() as u32] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(body);
    bytes
}

/// A memory region as a front-end describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryRegion {
    /// First guest-physical address.
    pub(crate) guest: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    /// First address in the front-end's own space, by which it names rings.
    pub(crate) user: u64,
    /// Where the region starts in its file.
    pub(crate) offset: u64,
}

/// The body of a memory table.
pub(crate) fn memory_table(regions: &[MemoryRegion]) -> Vec<u8> {
    let mut body = (regions.len() as u64).to_ne_bytes().to_vec();
    for region in regions {
        for field in [region.guest, region.len, region.user, region.offset] {
            body.extend_from_slice(&field.to_ne_bytes());
        }
    }
    body
}

/// A request taken apart. Ring indices stay as wide as they came until they were compared.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    GetFeatures,
    SetFeatures(u64),
    SetOwner,
    ResetOwner,
    SetMemTable(Vec<MemoryRegion>),
    SetVringNum {
        ring: u32,
        size: u32,
    },
    SetVringAddr {
        ring: u32,
        flags: u32,
    },
    SetVringBase {
        ring: u32,
        base: u32,
    },
    GetVringBase {
        ring: u32,
    },
    SetVringKick {
        ring: u32,
        has_file: bool,
    },
    SetVringCall {
        ring: u32,
        has_file: bool,
    },
    SetVringErr {
        ring: u32,
        has_file: bool,
    },
    GetProtocolFeatures,
    SetProtocolFeatures(u64),
    GetQueueNum,
    SetVringEnable {
        ring: u32,
        enable: u32,
    },
    GetMaxMemSlots,
    AddMemRegion(MemoryRegion),
    RemoveMemRegion(MemoryRegion),
    /// Something that was never offered and that expects no answer but an acknowledgement.
    Unoffered,
}

impl Message {
    /// The request that this message is: its code, its length and the number of its descriptors agree.
    pub(crate) fn request(&self) -> Result<Request, Closing> {
        let code = Code::try_from(self.code).map_err(|_| Closing::Broken("unknown request"))?;
        let request = self.parse(code)?;
        let files = match &request {
            Request::SetMemTable(regions) => regions.len(),
            Request::AddMemRegion(_) => 1,
            Request::SetVringKick { has_file, .. }
            | Request::SetVringCall { has_file, .. }
            | Request::SetVringErr { has_file, .. } => usize::from(*has_file),
            // Some front-ends attach the region's file here too; it is closed unused, as the specification asks.
            Request::RemoveMemRegion(_) => self.files.len().min(1),
            _ => 0,
        };
        if self.files.len() != files {
            return Err(Closing::Broken("wrong number of file descriptors"));
        }
        Ok(request)
    }

    fn parse(&self, code: Code) -> Result<Request, Closing> {
        let body = &self.body;
        let sized = |len: usize| {
            if body.len() == len { Ok(()) } else { Err(Closing::Broken("message length")) }
        };
        let empty = |request| sized(0).map(|()| request);
        let number = || sized(8).map(|()| long(body, 0));
        let pair = || sized(8).map(|()| (word(body, 0), word(body, 4)));
        // Below the flag stands the ring's index, all other bits are to be zero; they stay in the index and fail there.
        let file = || number().map(|n| ((n & !NO_DESCRIPTOR).try_into().unwrap_or(u32::MAX), n & NO_DESCRIPTOR == 0));
        let region = || sized(8 + REGION_LEN).map(|()| memory_region(&body[8..]));
        Ok(match code {
            Code::GET_FEATURES => empty(Request::GetFeatures)?,
            Code::SET_FEATURES => Request::SetFeatures(number()?),
            Code::SET_OWNER => empty(Request::SetOwner)?,
            Code::RESET_OWNER => empty(Request::ResetOwner)?,
            Code::SET_MEM_TABLE => Request::SetMemTable(self.memory_table()?),
            Code::SET_VRING_NUM => pair().map(|(ring, size)| Request::SetVringNum { ring, size })?,
            Code::SET_VRING_ADDR => {
                sized(40)?;
                Request::SetVringAddr { ring: word(body, 0), flags: word(body, 4) }
            }
            Code::SET_VRING_BASE => pair().map(|(ring, base)| Request::SetVringBase { ring, base })?,
            Code::GET_VRING_BASE => pair().map(|(ring, _)| Request::GetVringBase { ring })?,
            Code::SET_VRING_KICK => file().map(|(ring, has_file)| Request::SetVringKick { ring, has_file })?,
            Code::SET_VRING_CALL => file().map(|(ring, has_file)| Request::SetVringCall { ring, has_file })?,
            Code::SET_VRING_ERR => file().map(|(ring, has_file)| Request::SetVringErr { ring, has_file })?,
            Code::GET_PROTOCOL_FEATURES => empty(Request::GetProtocolFeatures)?,
            Code::SET_PROTOCOL_FEATURES => Request::SetProtocolFeatures(number()?),
            Code::GET_QUEUE_NUM => empty(Request::GetQueueNum)?,
            Code::SET_VRING_ENABLE => pair().map(|(ring, enable)| Request::SetVringEnable { ring, enable })?,
            Code::GET_MAX_MEM_SLOTS => empty(Request::GetMaxMemSlots)?,
            Code::ADD_MEM_REG => Request::AddMemRegion(region()?),
            Code::REM_MEM_REG => Request::RemoveMemRegion(region()?),
            // A front-end that was told of no such feature should not ask, but nothing depends on the answer.
            Code::SEND_RARP | Code::NET_SET_MTU | Code::SET_STATUS | Code::SET_VRING_ENDIAN | Code::SET_LOG_FD => {
                Request::Unoffered
            }
            // These expect an answer with a body, or leave something behind: log, inflight, post-copy, IOTLB, configuration
            // space, back-end channel and whatever else is not offered.
            _ => return Err(Closing::Broken("request that was not offered")),
        })
    }

    fn memory_table(&self) -> Result<Vec<MemoryRegion>, Closing> {
        let broken = Closing::Broken("memory table length");
        if self.body.len() < 8 {
            return Err(broken);
        }
        let count = word(&self.body, 0) as usize;
        let (regions, rest) = self.body[8..].as_chunks::<REGION_LEN>();
        if regions.len() != count || !rest.is_empty() {
            return Err(broken);
        }
        Ok(regions.iter().map(|region| memory_region(region)).collect())
    }
}

fn memory_region(bytes: &[u8]) -> MemoryRegion {
    MemoryRegion { guest: long(bytes, 0), len: long(bytes, 8), user: long(bytes, 16), offset: long(bytes, 24) }
}
