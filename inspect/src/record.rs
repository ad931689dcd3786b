//! What there is to tell about a flow beside matches: its transactions, anomalies and files, as plain values for the
//! caller's log. Nothing is noted that nobody asked for.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::inspector::Direction;
use crate::protocol::{Anomaly, AppProtocol, Buffer, Number};

/// What is to be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Wanted {
    /// The transactions of protocols, a bit each (`1 << protocol as u32`).
    pub protocols: u32,
    /// Anomalies of the flows that are followed.
    pub anomalies: bool,
    /// Files of the flows that are followed.
    pub files: bool,
    /// What an alert's flow and transaction are.
    pub context: bool,
}

impl Wanted {
    /// Nothing.
    pub const NOTHING: Self = Self { protocols: 0, anomalies: false, files: false, context: false };

    /// The transactions of a protocol too. Every TCP and UDP flow is followed for it, whether or not a signature asks.
    #[must_use]
    pub const fn with_protocol(self, protocol: AppProtocol) -> Self {
        Self { protocols: self.protocols | 1 << (protocol as u32), ..self }
    }

    /// Whether the transactions of a protocol are to be noted.
    pub fn has_protocol(self, protocol: AppProtocol) -> bool {
        self.protocols & 1 << (protocol as u32) != 0
    }

    /// Whether flows are to be followed that no signature asks for. A file is worth a record whoever else looks at it.
    #[inline]
    pub(crate) fn follows_all(self) -> bool {
        self.protocols != 0 || self.files
    }

    /// Whether anything is to be noted.
    #[inline]
    pub(crate) fn is_anything(self) -> bool {
        self.follows_all() || self.anomalies || self.context
    }
}

/// One thing to tell about the flow of the packet that was looked at, or about a flow that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A transaction is over, or will not go on.
    Transaction(Box<Transaction>),
    /// A protocol's bytes are not as they should be.
    Anomaly {
        /// Number of the transaction in its flow.
        transaction: u32,
        /// Whose bytes show it.
        side: Direction,
        /// What is wrong.
        anomaly: Anomaly,
    },
    /// A file has passed.
    File(Box<FileNote>),
}

impl Note {
    /// Whose packets a record of it shows as the source: of DNS and DHCP, where each message is told by itself, and of anomalies
    /// and files whoever sent them, of other transactions the client.
    pub fn sender(&self) -> Direction {
        match self {
            Self::Transaction(transaction) => match transaction.protocol {
                AppProtocol::Dns | AppProtocol::Dhcp if transaction.is_over[Direction::ToClient as usize] => {
                    Direction::ToClient
                }
                _ => Direction::ToServer,
            },
            Self::Anomaly { side, .. } => *side,
            Self::File(file) => file.side,
        }
    }
}

/// A file that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNote {
    /// Number of the transaction in its flow.
    pub transaction: u32,
    /// Who sent it.
    pub side: Direction,
    /// The protocol that carried it.
    pub protocol: Option<AppProtocol>,
    /// Its name, where it has one; cut to [`crate::limits::NOTE_FIELD_BYTES_MAX`].
    pub name: Vec<u8>,
    /// Its length and hashes.
    pub file: crate::protocol::File,
    /// The transaction that carried it, as far as it is known.
    pub carrier: Option<Box<Transaction>>,
}

/// What is known of one transaction. Fields are cut to [`crate::limits::NOTE_FIELD_BYTES_MAX`] bytes each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// What is spoken.
    pub protocol: AppProtocol,
    /// Its number in the flow, from 0.
    pub number: u32,
    /// By direction (`Direction as usize`), whether that side of it is over.
    pub is_over: [bool; 2],
    /// By direction, bytes of its body, unpacked.
    pub body_bytes: [u64; 2],
    /// Numbers, in the order in which they came.
    pub numbers: Vec<(Number, Direction, u64)>,
    /// What signatures cannot ask for.
    pub details: Vec<Detail<'static>>,
    /// Fields or details came that had no room.
    pub has_more: bool,
    pub(crate) fields: Vec<FieldPlace>,
    pub(crate) bytes: Vec<u8>,
}

/// Where a field's bytes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldPlace {
    pub(crate) buffer: Buffer,
    pub(crate) side: Direction,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) is_cut: bool,
}

/// One field of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// What it is.
    pub buffer: Buffer,
    /// Whose bytes it is from.
    pub side: Direction,
    /// Its bytes, as the guest wrote them.
    pub bytes: &'a [u8],
    /// There were more of them.
    pub is_cut: bool,
}

impl Transaction {
    pub(crate) fn new(protocol: AppProtocol, number: u32) -> Self {
        Self {
            protocol,
            number,
            is_over: [false; 2],
            body_bytes: [0; 2],
            numbers: Vec::new(),
            details: Vec::new(),
            has_more: false,
            fields: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// All fields, in the order in which they came.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().map(|place| Field {
            buffer: place.buffer,
            side: place.side,
            bytes: &self.bytes[place.start as usize..place.end as usize],
            is_cut: place.is_cut,
        })
    }

    /// The first field of a kind.
    pub fn field(&self, buffer: Buffer) -> Option<Field<'_>> {
        self.fields().find(|field| field.buffer == buffer)
    }

    /// The first number of a kind.
    pub fn number(&self, number: Number) -> Option<u64> {
        self.numbers.iter().find(|(known, ..)| *known == number).map(|&(_, _, value)| value)
    }

    /// Whether nothing is known but that it was there.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.details.is_empty() && self.numbers.is_empty()
    }
}

/// What a message says that signatures have no words for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail<'a> {
    /// The head of a DNS message.
    DnsHeader {
        /// Identifier that a response repeats.
        id: u16,
        /// The second 16-bit word (RFC 1035 section 4.1.1).
        flags: u16,
    },
    /// A question of a DNS message.
    DnsQuestion {
        /// The name, labels joined by dots.
        name: Cow<'a, [u8]>,
        /// Type of the records asked for.
        kind: u16,
    },
    /// A resource record of a DNS message.
    DnsRecord {
        /// Where it stands.
        section: DnsSection,
        /// Its owner, labels joined by dots.
        name: Cow<'a, [u8]>,
        /// Its type.
        kind: u16,
        /// How long it may be kept, in seconds.
        ttl: u32,
        /// What it says, where the type is understood.
        data: DnsData<'a>,
    },
    /// A DHCP message.
    Dhcp(DhcpDetail<'a>),
    /// An FTP command that a data connection is agreed by (RFC 959 section 3.2, RFC 2428).
    FtpPort {
        /// The client listens (PORT, EPRT), rather than the server (PASV, EPSV).
        is_active: bool,
        /// The port that is listened on, where it is known by now.
        port: Option<u16>,
    },
    /// Who authenticates by NTLMSSP over SMB, beside name and domain (MS-NLMP section 2.2.1.3).
    Ntlmssp {
        /// The name of the client's machine.
        host: Cow<'a, [u8]>,
        /// Its system's major and minor version and build, and the revision of NTLMSSP.
        version: Option<(u8, u8, u16, u8)>,
    },
    /// What an SMB server answers. Nothing more will be said of its request.
    SmbAnswer(SmbAnswer),
}

/// The sections of a DNS message that records stand in (RFC 1035 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsSection {
    /// What was asked for.
    Answer,
    /// Who is in charge.
    Authority,
    /// What may be of use beside.
    Additional,
}

/// What a DNS record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsData<'a> {
    /// A type that is not taken apart.
    Other,
    /// A, AAAA.
    Address(IpAddr),
    /// NS, CNAME, PTR, MX.
    Name(Cow<'a, [u8]>),
    /// TXT: one of its strings. NULL: what it holds.
    Text(Cow<'a, [u8]>),
    /// SOA (RFC 1035 section 3.3.13).
    Authority {
        /// The name server that the zone comes from.
        server: Cow<'a, [u8]>,
        /// The mailbox of who is responsible, as a name.
        mailbox: Cow<'a, [u8]>,
        /// The zone's version; when others look for a new one, how soon they try again, until when they answer without one,
        /// and how long it is remembered that a name is not there, in seconds.
        numbers: [u32; 5],
    },
    /// SRV (RFC 2782).
    Service {
        /// Priority, weight, port.
        numbers: [u16; 3],
        /// Who serves.
        target: Cow<'a, [u8]>,
    },
    /// SSHFP (RFC 4255).
    SshKey {
        /// The key's algorithm.
        algorithm: u8,
        /// The hash's algorithm.
        kind: u8,
        /// The hash.
        fingerprint: Cow<'a, [u8]>,
    },
}

impl DnsData<'_> {
    /// The same with bytes of its own, each text shortened by `keep`.
    fn kept(&self, keep: impl Fn(&[u8]) -> Cow<'static, [u8]>) -> DnsData<'static> {
        match self {
            DnsData::Other => DnsData::Other,
            DnsData::Address(address) => DnsData::Address(*address),
            DnsData::Name(name) => DnsData::Name(keep(name)),
            DnsData::Text(text) => DnsData::Text(keep(text)),
            DnsData::Authority { server, mailbox, numbers } => {
                DnsData::Authority { server: keep(server), mailbox: keep(mailbox), numbers: *numbers }
            }
            DnsData::Service { numbers, target } => DnsData::Service { numbers: *numbers, target: keep(target) },
            DnsData::SshKey { algorithm, kind, fingerprint } => {
                DnsData::SshKey { algorithm: *algorithm, kind: *kind, fingerprint: keep(fingerprint) }
            }
        }
    }

    fn byte_count(&self) -> usize {
        match self {
            DnsData::Other | DnsData::Address(_) => 0,
            DnsData::Name(text) | DnsData::Text(text) => text.len(),
            DnsData::Authority { server, mailbox, .. } => server.len() + mailbox.len(),
            DnsData::Service { target: text, .. } | DnsData::SshKey { fingerprint: text, .. } => text.len(),
        }
    }
}

/// What a DHCP message says (RFC 2131 section 2, RFC 2132).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpDetail<'a> {
    /// `op`: 1 from a client, 2 from a server.
    pub operation: u8,
    /// `xid`, which the answer repeats.
    pub id: u32,
    /// `chaddr`, the client's hardware address: as many bytes as `hlen` says, 16 at most.
    pub client_hardware: Cow<'a, [u8]>,
    /// `ciaddr`, the address that the client has.
    pub client: u32,
    /// `yiaddr`, the address that the client is given.
    pub assigned: u32,
    /// `siaddr`, the server that is next to be asked.
    pub next_server: u32,
    /// `giaddr`, the relay that has passed the message on.
    pub relay: u32,
    /// Options by their code, in the order of the message: those of [`DhcpDetail::TOLD`], the last of each.
    pub options: Vec<(u8, Cow<'a, [u8]>)>,
}

impl DhcpDetail<'_> {
    /// The options that are told (RFC 2132): subnet mask, routers, name servers, host name, requested address, kind of the
    /// message, wanted parameters, vendor class, client identifier.
    pub const TOLD: [u8; 9] = [1, 3, 6, 12, 50, 53, 55, 60, 61];
}

/// How an SMB server answers a request (MS-CIFS section 2.2.3.1, MS-SMB2 section 2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmbAnswer {
    /// 1 or 2: how the message is laid out.
    pub version: u8,
    /// The dialect that was agreed: a word of SMB 1, a number of SMB 2 as text; `unknown` before that.
    pub dialect: &'static str,
    /// The command.
    pub command: u16,
    /// What became of it.
    pub status: SmbStatus,
    /// The session, by the server's number.
    pub session: u64,
    /// The share, by the server's number.
    pub tree: u32,
    /// What kind of share it is, of a TREE_CONNECT of SMB 2: 1 disk, 2 pipe, 3 printer.
    pub share_type: Option<u8>,
}

/// What became of an SMB request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmbStatus {
    /// NTSTATUS (MS-ERREF section 2.3).
    Nt(u32),
    /// Class and code (MS-CIFS section 2.2.2.4), of servers from before Windows NT.
    Dos(u8, u16),
}

impl Detail<'_> {
    /// The same with bytes of its own, each text of at most `bytes_max`.
    pub(crate) fn kept(&self, bytes_max: usize) -> Detail<'static> {
        let keep = |text: &[u8]| Cow::Owned(text[..text.len().min(bytes_max)].to_vec());
        match self {
            Detail::DnsHeader { id, flags } => Detail::DnsHeader { id: *id, flags: *flags },
            Detail::DnsQuestion { name, kind } => Detail::DnsQuestion { name: keep(name), kind: *kind },
            Detail::DnsRecord { section, name, kind, ttl, data } => {
                let (name, data) = (keep(name), data.kept(keep));
                Detail::DnsRecord { section: *section, name, kind: *kind, ttl: *ttl, data }
            }
            Detail::Dhcp(dhcp) => Detail::Dhcp(DhcpDetail {
                client_hardware: keep(&dhcp.client_hardware),
                options: dhcp.options.iter().map(|(code, value)| (*code, keep(value))).collect(),
                ..*dhcp
            }),
            Detail::FtpPort { is_active, port } => Detail::FtpPort { is_active: *is_active, port: *port },
            Detail::Ntlmssp { host, version } => Detail::Ntlmssp { host: keep(host), version: *version },
            Detail::SmbAnswer(answer) => Detail::SmbAnswer(*answer),
        }
    }

    /// Bytes of its texts.
    pub(crate) fn byte_count(&self) -> usize {
        match self {
            Detail::DnsHeader { .. } | Detail::FtpPort { .. } | Detail::SmbAnswer(_) => 0,
            Detail::DnsQuestion { name, .. } | Detail::Ntlmssp { host: name, .. } => name.len(),
            Detail::DnsRecord { name, data, .. } => name.len() + data.byte_count(),
            Detail::Dhcp(dhcp) => dhcp.options.iter().map(|(_, value)| value.len()).sum(),
        }
    }
}

/// What an alert's flow was when the alert was raised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// What the flow speaks, and has passed.
    pub flow: FlowSummary,
    /// The transaction that matched; without one, the newest.
    pub transaction: Option<Box<Transaction>>,
}

/// What inspection knows of a flow that it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct FlowSummary {
    /// The protocol that it speaks, where it was recognised.
    pub protocol: Option<AppProtocol>,
    /// The protocol that it spoke first, where that is another (after CONNECT or STARTTLS).
    pub original: Option<AppProtocol>,
    /// It has said enough to know that it speaks no protocol that we recognise.
    pub is_unrecognised: bool,
    /// When its first packet was looked at, in milliseconds on the caller's clock.
    pub began_ms: u64,
    /// Packets looked at, to the server and to the client.
    pub packets: (u64, u64),
    /// Their bytes, headers included.
    pub bytes: (u64, u64),
}
