//! What is noted of a flow's transactions for the caller's log, beside what signatures ask for.
//!
//! # Theory of operation
//!
//! Parsers say everything to one sink, which passes to a flow's [`Observed`] what a record is made of: a few short fields per
//! transaction, each cut to a bound. When a transaction is over it waits until the packet has been judged, for the packet's
//! alerts show it, and then goes to the caller as a [`Note`]. A flow of which nothing is wanted has no [`Observed`].

use crate::inspector::Direction;
use crate::limits::{
    NOTE_BYTES_MAX, NOTE_FIELD_BYTES_MAX, NOTE_FIELDS_MAX, NOTE_FILES_MAX, NOTE_TRANSACTIONS_MAX, NOTES_MAX,
};
use crate::protocol::{Anomaly, AppProtocol, Buffer, File, Number};
use crate::record::{Detail, FieldPlace, FileNote, Note, Transaction, Wanted};

/// The transactions of one flow, as far as they are to be told.
#[derive(Debug)]
pub(crate) struct Observed {
    wanted: Wanted,
    #[expect(clippy::vec_box, reason = "the boxes are what is told: they go into the notes as they are")]
    open: Vec<Box<Transaction>>,
    /// What the packet at hand has brought to its end.
    done: Vec<Note>,
    /// Names of files whose end has not come.
    names: Vec<(u32, Direction, Vec<u8>)>,
    /// Notes that had no room.
    lost_count: u64,
}

/// Whether a buffer is a field of some record.
pub(crate) fn is_noted(buffer: Buffer) -> bool {
    matches!(
        buffer,
        Buffer::HttpMethod
            | Buffer::HttpUriRaw
            | Buffer::HttpHost
            | Buffer::HttpUserAgent
            | Buffer::HttpContentType
            | Buffer::HttpReferer
            | Buffer::HttpProtocol
            | Buffer::HttpStatCode
            | Buffer::HttpLocation
            | Buffer::TlsSni
            | Buffer::TlsCertSubject
            | Buffer::TlsCertIssuer
            | Buffer::TlsCertSerial
            | Buffer::TlsCertFingerprint
            | Buffer::TlsSubjectAltName
            | Buffer::TlsAlpn
            | Buffer::Ja3Hash
            | Buffer::Ja3String
            | Buffer::Ja3sHash
            | Buffer::Ja3sString
            | Buffer::SshProto
            | Buffer::SshSoftware
            | Buffer::SshHassh
            | Buffer::SshHasshString
            | Buffer::SshHasshServer
            | Buffer::SshHasshServerString
            | Buffer::SmtpHelo
            | Buffer::SmtpMailFrom
            | Buffer::SmtpRcptTo
            | Buffer::EmailFrom
            | Buffer::EmailTo
            | Buffer::EmailCc
            | Buffer::EmailSubject
            | Buffer::EmailDate
            | Buffer::EmailMessageId
            | Buffer::EmailXMailer
            | Buffer::EmailReceived
            | Buffer::FtpCommand
            | Buffer::FtpCommandData
            | Buffer::FtpReply
            | Buffer::FtpCompletionCode
            | Buffer::SmbNamedPipe
            | Buffer::SmbShare
            | Buffer::SmbNtlmsspUser
            | Buffer::SmbNtlmsspDomain
    )
}

/// Whether a file's record shows a protocol's transaction beside it.
fn carries_files(protocol: AppProtocol) -> bool {
    matches!(protocol, AppProtocol::Http1 | AppProtocol::Smtp | AppProtocol::Smb)
}

/// The protocol that tells a number, where a record has it.
fn protocol_of(number: Number) -> Option<AppProtocol> {
    match number {
        Number::TlsVersion | Number::TlsNotBefore | Number::TlsNotAfter => Some(AppProtocol::Tls),
        Number::DhcpLeaseTime | Number::DhcpRenewalTime | Number::DhcpRebindingTime => Some(AppProtocol::Dhcp),
        Number::DnsOpcode | Number::DnsRcode | Number::DnsRrtype | Number::TlsCertChainLen | Number::SmbVersion => None,
    }
}

/// Whether a transaction is over now that one side of it is.
fn is_over(transaction: &Transaction, side: Direction) -> bool {
    match transaction.protocol {
        // An answer follows.
        AppProtocol::Http1 | AppProtocol::Tls | AppProtocol::Ssh => transaction.is_over == [true; 2],
        AppProtocol::Ftp => side == Direction::ToClient,
        // Its answer is a detail.
        AppProtocol::Smb => false,
        _ => true,
    }
}

/// Keeps a field of a transaction, as far as there is room.
fn keep_field(open: &mut Transaction, side: Direction, buffer: Buffer, bytes: &[u8]) {
    let kept = &bytes[..bytes.len().min(NOTE_FIELD_BYTES_MAX)];
    if open.fields.len() >= NOTE_FIELDS_MAX || open.bytes.len() + kept.len() > NOTE_BYTES_MAX {
        open.has_more = true;
        return;
    }
    // Both are below NOTE_BYTES_MAX.
    let start = open.bytes.len() as u32;
    open.bytes.extend_from_slice(kept);
    let is_cut = kept.len() < bytes.len();
    open.fields.push(FieldPlace { buffer, side, start, end: open.bytes.len() as u32, is_cut });
}

impl Observed {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self { wanted, open: Vec::new(), done: Vec::new(), names: Vec::new(), lost_count: 0 }
    }

    /// Whether a buffer is to be made for it.
    pub(crate) fn wants(&self, buffer: Buffer) -> bool {
        is_noted(buffer) && buffer.protocol().is_some_and(|protocol| self.tells_of(protocol))
    }

    /// Whether transactions of a protocol are told by themselves or with alerts.
    pub(crate) fn tells_of(&self, protocol: AppProtocol) -> bool {
        self.wanted.context || self.wanted.has_protocol(protocol) || self.wanted.files && carries_files(protocol)
    }

    pub(crate) fn buffer(&mut self, number: u32, side: Direction, buffer: Buffer, bytes: &[u8]) {
        match buffer {
            Buffer::HttpRequestBody | Buffer::HttpResponseBody => {
                if let Some(open) = self.open.iter_mut().rev().find(|open| open.number == number) {
                    open.body_bytes[side as usize] += bytes.len() as u64;
                }
            }
            Buffer::FileName => {
                self.attachment(number, side, bytes);
                if !self.wanted.files {
                    return;
                }
                self.names.retain(|&(of, by, _)| (of, by) != (number, side));
                if self.names.len() >= NOTE_FILES_MAX {
                    self.names.remove(0);
                }
                self.names.push((number, side, bytes[..bytes.len().min(NOTE_FIELD_BYTES_MAX)].to_vec()));
            }
            buffer if self.wants(buffer) => {
                let Some(protocol) = buffer.protocol() else { return };
                keep_field(self.transaction(protocol, number), side, buffer, bytes);
            }
            _ => {}
        }
    }

    /// The name of a mail's attachment is a field of the mail.
    fn attachment(&mut self, number: u32, side: Direction, name: &[u8]) {
        let mut open = self.open.iter_mut().rev();
        if let Some(mail) = open.find(|open| open.protocol == AppProtocol::Smtp && open.number == number) {
            keep_field(mail, side, Buffer::FileName, name);
        }
    }

    pub(crate) fn number(&mut self, transaction: u32, side: Direction, number: Number, value: u64) {
        let Some(protocol) = protocol_of(number).filter(|&protocol| self.tells_of(protocol)) else { return };
        let open = self.transaction(protocol, transaction);
        if open.numbers.len() < NOTE_FIELDS_MAX {
            open.numbers.push((number, side, value));
        }
    }

    pub(crate) fn detail(&mut self, transaction: u32, detail: &Detail<'_>) {
        let protocol = match detail {
            Detail::DnsHeader { .. } | Detail::DnsQuestion { .. } | Detail::DnsRecord { .. } => AppProtocol::Dns,
            Detail::Dhcp(_) => AppProtocol::Dhcp,
            Detail::FtpPort { .. } => AppProtocol::Ftp,
            Detail::Ntlmssp { .. } | Detail::SmbAnswer(_) => AppProtocol::Smb,
        };
        if !self.tells_of(protocol) {
            return;
        }
        let is_last = matches!(detail, Detail::SmbAnswer(_));
        let open = self.transaction(protocol, transaction);
        let detail = detail.kept(NOTE_FIELD_BYTES_MAX);
        let held: usize = open.details.iter().map(Detail::byte_count).sum();
        if open.details.len() >= NOTE_FIELDS_MAX || held + detail.byte_count() > NOTE_BYTES_MAX {
            open.has_more = true;
        } else {
            open.details.push(detail);
        }
        if is_last {
            let over = self.open.iter().rposition(|open| open.number == transaction && open.protocol == protocol);
            if let Some(over) = over.map(|index| self.open.remove(index)) {
                self.note(Note::Transaction(over));
            }
        }
    }

    /// A side of a transaction is over.
    pub(crate) fn complete(&mut self, number: u32, side: Direction) {
        let Some(index) = self.open.iter().rposition(|open| open.number == number) else { return };
        let open = &mut self.open[index];
        open.is_over[side as usize] = true;
        if is_over(open, side) {
            let over = self.open.remove(index);
            self.note(Note::Transaction(over));
        }
    }

    pub(crate) fn anomaly(&mut self, transaction: u32, side: Direction, anomaly: Anomaly) {
        if self.wanted.anomalies {
            let note = Note::Anomaly { transaction, side, anomaly };
            // Once per packet is enough.
            if !self.done.contains(&note) {
                self.note(note);
            }
        }
    }

    pub(crate) fn file(&mut self, transaction: u32, side: Direction, file: &File) {
        // Of a file that is read in two ways, one is told, and only when there will be no more of it.
        if !self.wanted.files || !file.is_over || file.is_aside {
            return;
        }
        let place = self.names.iter().position(|&(of, by, _)| (of, by) == (transaction, side));
        let name = place.map(|place| self.names.remove(place).2).unwrap_or_default();
        let carrier = self.of_alert(Some(transaction)).cloned().map(Box::new);
        self.note(Note::File(Box::new(FileNote { transaction, side, protocol: None, name, file: *file, carrier })));
    }

    /// The transaction that an alert is about; without a number, the newest.
    pub(crate) fn of_alert(&self, number: Option<u32>) -> Option<&Transaction> {
        let done = self.done.iter().filter_map(|note| match note {
            Note::Transaction(over) => Some(&**over),
            Note::Anomaly { .. } | Note::File(_) => None,
        });
        let mut all = done.chain(self.open.iter().map(|open| &**open)).filter(|known| !known.is_empty()).rev();
        match number {
            Some(number) => all.find(|known| known.number == number),
            None => all.next(),
        }
    }

    /// Whether the packet at hand has brought anything to its end.
    pub(crate) fn has_news(&self) -> bool {
        !self.done.is_empty() || self.lost_count > 0
    }

    /// Hands over what is to be told, up to [`NOTES_MAX`] notes in `into`; gives how many had no room.
    pub(crate) fn tell(&mut self, protocol: Option<AppProtocol>, into: &mut Vec<Note>) -> u64 {
        let mut lost = std::mem::take(&mut self.lost_count);
        for mut note in self.done.drain(..) {
            match &mut note {
                Note::Transaction(over) if !self.wanted.has_protocol(over.protocol) || over.is_empty() => continue,
                Note::Transaction(_) | Note::Anomaly { .. } => {}
                Note::File(file) => file.protocol = protocol,
            }
            if into.len() < NOTES_MAX {
                into.push(note);
            } else {
                lost += 1;
            }
        }
        lost
    }

    /// Nothing more will come: open transactions are told as they stand.
    pub(crate) fn end(&mut self) {
        for open in std::mem::take(&mut self.open) {
            self.note(Note::Transaction(open));
        }
    }

    /// Bytes held.
    pub(crate) fn held_bytes(&self) -> usize {
        let of = |open: &Transaction| open.bytes.len() + open.details.iter().map(Detail::byte_count).sum::<usize>();
        self.open.iter().map(|open| of(open)).sum::<usize>()
    }

    fn transaction(&mut self, protocol: AppProtocol, number: u32) -> &mut Transaction {
        let known = self.open.iter().rposition(|open| open.number == number && open.protocol == protocol);
        let index = known.unwrap_or_else(|| {
            if self.open.len() >= NOTE_TRANSACTIONS_MAX {
                let oldest = self.open.remove(0);
                self.note(Note::Transaction(oldest));
            }
            self.open.push(Box::new(Transaction::new(protocol, number)));
            self.open.len() - 1
        });
        &mut self.open[index]
    }

    fn note(&mut self, note: Note) {
        if self.done.len() < NOTES_MAX {
            self.done.push(note);
        } else {
            self.lost_count += 1;
        }
    }
}
