//! DNS messages (RFC 1035 section 4), in datagrams and behind length bytes in streams.
//!
//! Every message is a transaction of its own, queries and responses alike, as in Suricata. Names are walked with both
//! their labels and their compression pointers counted, so that neither loops nor fan-out cost more than a bound that
//! grows with the message.

mod data;

use std::borrow::Cow;

use super::anomaly::Anomaly;
use super::buffer::Buffer;
use super::parser::{Parse, Progress};
use super::settings::Settings;
use super::sink::{Number, Piece, Sink, Stage};
use crate::inspector::Direction;
use crate::record::{Detail, DnsData, DnsSection};
use data::{TYPE_CNAME, TYPE_MX, TYPE_NS, TYPE_PTR, TYPE_SOA, TYPE_SRV, TYPE_TXT};

/// The fixed header of a message.
pub(super) const HEADER_BYTES: usize = 12;

/// Labels and pointers followed for one name. Legal names have at most 127 labels.
const NAME_STEPS_MAX: usize = 255;

/// Bytes of a name as text; RFC 1035 allows 253, the rest is for seeing abuse. The same bound as Suricata's.
const NAME_BYTES_MAX: usize = 1025;

/// Bytes of all names of one message as text. Pointers let 12 bytes of a record stand for a whole name, so without this
/// bound a 64 KiB message over TCP would cost 5 MiB of names.
const NAMES_BYTES_MAX: usize = 64 * 1024;

/// Bytes that most names are not longer than.
const USUAL_NAME_BYTES: usize = 256;

/// Work of walking one label, in units of about a nanosecond.
const LABEL_WORK: u64 = 4;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_Z: u16 = 0x0040;

/// Whether the bytes, as many as there are, can be the header of a message in this direction.
pub(super) fn looks_like_header(bytes: &[u8], is_to_server: bool) -> bool {
    let Some(&[_, _, high, low]) = bytes.first_chunk::<4>() else {
        return true;
    };
    let flags = u16::from_be_bytes([high, low]);
    let opcode = flags >> 11 & 0xf;
    // The reserved bit says nothing: servers answer queries that have it.
    if opcode > 6 || (flags & FLAG_RESPONSE != 0) == is_to_server {
        return false;
    }
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return true;
    };
    let [questions, answers, authorities, additionals] =
        [4, 6, 8, 10].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));
    if is_to_server {
        // An update (opcode 5) counts zones, prerequisites and updates here.
        questions == 1 && additionals <= 4 && (opcode == 5 || answers <= 2 && authorities <= 2)
    } else {
        questions <= 1 && answers <= 4096 && authorities <= 512 && additionals <= 512
    }
}

/// Whether the bytes can be a message in this direction: a sound header and a first question whose name can be walked.
pub(super) fn looks_like_message(bytes: &[u8], is_to_server: bool) -> bool {
    if bytes.len() < HEADER_BYTES || !looks_like_header(bytes, is_to_server) {
        return false;
    }
    let questions = u16::from_be_bytes([bytes[4], bytes[5]]);
    if questions == 0 {
        return bytes.len() > HEADER_BYTES || u16::from_be_bytes([bytes[2], bytes[3]]) & 0xf != 0;
    }
    let mut name = Vec::with_capacity(USUAL_NAME_BYTES);
    let mut walk = Walk::new(bytes, &mut name);
    walk.at = HEADER_BYTES;
    walk.name().is_ok() && bytes.len() >= walk.at + 4
}

/// The DNS of one flow.
#[derive(Debug)]
pub(super) struct Dns {
    next: u32,
    /// Bytes of each side's message that is not whole yet, its two length bytes included.
    partial: [Vec<u8>; 2],
}

impl Dns {
    pub(super) fn new(first_transaction: u32) -> Self {
        Dns { next: first_transaction, partial: [Vec::new(), Vec::new()] }
    }

    fn message(&mut self, side: Direction, bytes: &[u8], sink: &mut dyn Sink) {
        let transaction = self.next;
        self.next = self.next.wrapping_add(1);
        let mut name = sink.spare_bytes();
        let wants_details = sink.wants_details();
        let mut message = Message { transaction, side, sink, walk: Walk::new(bytes, &mut name), wants_details };
        if let Err(anomaly) = message.deliver() {
            message.sink.anomaly(transaction, side, anomaly);
        }
        let work = LABEL_WORK * message.walk.label_count;
        message.sink.parsed(work);
        sink.give_back(name);
        sink.stage(transaction, side, Stage::Complete);
    }
}

impl Parse for Dns {
    fn next_transaction(&self) -> u32 {
        self.next
    }

    fn stream(&mut self, side: Direction, mut bytes: &[u8], _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        let mut partial = std::mem::take(&mut self.partial[side as usize]);
        while !bytes.is_empty() {
            if partial.is_empty()
                && let Some((length, rest)) = bytes.split_first_chunk::<2>()
                && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length)))
            {
                if !message.is_empty() {
                    self.message(side, message, sink);
                }
                bytes = &rest[message.len()..];
                continue;
            }
            // At most 65,537 bytes, and never more than have arrived.
            let wanted = match partial.first_chunk::<2>() {
                Some(length) => 2 + usize::from(u16::from_be_bytes(*length)),
                None => 2,
            };
            let (taken, rest) = bytes.split_at((wanted - partial.len()).min(bytes.len()));
            partial.extend_from_slice(taken);
            bytes = rest;
            if let Some(length) = partial.first_chunk::<2>()
                && partial.len() == 2 + usize::from(u16::from_be_bytes(*length))
            {
                if partial.len() > 2 {
                    self.message(side, &partial[2..], sink);
                }
                partial.clear();
            }
        }
        self.partial[side as usize] = partial;
        Progress::More
    }

    fn datagram(&mut self, side: Direction, bytes: &[u8], sink: &mut dyn Sink) {
        self.message(side, bytes, sink);
    }
}

/// One message on its way to the sink.
struct Message<'a> {
    transaction: u32,
    side: Direction,
    sink: &'a mut dyn Sink,
    walk: Walk<'a>,
    wants_details: bool,
}

impl Message<'_> {
    fn deliver(&mut self) -> Result<(), Anomaly> {
        self.walk.at = 2;
        let flags = self.walk.u16()?;
        let counts = [self.walk.u16()?, self.walk.u16()?, self.walk.u16()?, self.walk.u16()?];
        let is_to_server = self.side == Direction::ToServer;
        let opcode = flags >> 11 & 0xf;
        match (flags & FLAG_RESPONSE != 0, is_to_server) {
            (true, true) => self.anomaly(Anomaly::DnsNotRequest),
            (false, false) => self.anomaly(Anomaly::DnsNotResponse),
            (true, false) | (false, true) => {}
        }
        if flags & FLAG_Z != 0 {
            self.anomaly(Anomaly::DnsZFlagSet);
        }
        if opcode >= 7 {
            self.anomaly(Anomaly::DnsInvalidOpcode);
        }
        self.sink.number(self.transaction, self.side, Number::DnsOpcode, u64::from(opcode));
        self.sink.number(self.transaction, self.side, Number::DnsRcode, u64::from(flags & 0xf));
        if self.wants_details {
            let id = self.walk.bytes.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
            self.sink.detail(self.transaction, &Detail::DnsHeader { id, flags });
        }
        for _ in 0..counts[0] {
            self.question()?;
        }
        for (section, count) in
            [DnsSection::Answer, DnsSection::Authority, DnsSection::Additional].into_iter().zip(&counts[1..])
        {
            for _ in 0..*count {
                self.record(section)?;
            }
        }
        Ok(())
    }

    fn question(&mut self) -> Result<(), Anomaly> {
        self.name()?;
        match self.side {
            Direction::ToServer => self.buffer(Buffer::DnsQuery),
            Direction::ToClient => self.buffer(Buffer::DnsResponseRrname),
        }
        self.buffer(Buffer::DnsQueriesRrname);
        let kind = self.walk.u16()?;
        self.walk.u16()?;
        if self.wants_details {
            let name = Cow::Borrowed(self.walk.name.as_slice());
            self.sink.detail(self.transaction, &Detail::DnsQuestion { name, kind });
        }
        if self.side == Direction::ToServer {
            self.sink.number(self.transaction, self.side, Number::DnsRrtype, u64::from(kind));
        }
        Ok(())
    }

    fn record(&mut self, section: DnsSection) -> Result<(), Anomaly> {
        self.name()?;
        self.buffer(match section {
            DnsSection::Answer => Buffer::DnsAnswersRrname,
            DnsSection::Authority => Buffer::DnsAuthoritiesRrname,
            DnsSection::Additional => Buffer::DnsAdditionalsRrname,
        });
        self.response_name();
        let owner = if self.wants_details { self.walk.name.clone() } else { Vec::new() };
        let kind = self.walk.u16()?;
        self.walk.u16()?;
        let ttl = u32::from(self.walk.u16()?) << 16 | u32::from(self.walk.u16()?);
        let length = usize::from(self.walk.u16()?);
        let end = self.walk.at + length;
        if end > self.walk.bytes.len() {
            return Err(Anomaly::DnsMalformedData);
        }
        if section == DnsSection::Answer && self.side == Direction::ToClient {
            self.sink.number(self.transaction, self.side, Number::DnsRrtype, u64::from(kind));
        }
        let start = self.walk.at;
        let first = self.names_within(kind, length)?;
        if self.wants_details {
            let detail = |data| Detail::DnsRecord { section, name: Cow::Borrowed(&owner), kind, ttl, data };
            let walk = &self.walk;
            match kind {
                // Each string is told as a record of its own, as Suricata does.
                TYPE_TXT => {
                    for string in data::strings(&walk.bytes[start..end]) {
                        self.sink.detail(self.transaction, &detail(DnsData::Text(string.into())));
                    }
                }
                _ => {
                    let names = (first.as_slice(), walk.name.as_slice());
                    let behind = walk.bytes.get(walk.at..).unwrap_or_default();
                    let data = data::said(kind, &walk.bytes[start..end], names, behind);
                    self.sink.detail(self.transaction, &detail(data));
                }
            }
        }
        self.walk.at = end;
        Ok(())
    }

    /// Delivers the names within a record's data. The last one stays with the walk; gives the one before it, if that is told.
    fn names_within(&mut self, kind: u16, length: usize) -> Result<Vec<u8>, Anomaly> {
        let mut first = Vec::new();
        let names = match kind {
            TYPE_NS | TYPE_CNAME | TYPE_PTR => 1,
            TYPE_SOA => 2,
            TYPE_MX if length > 2 => {
                self.walk.skip(2)?;
                1
            }
            TYPE_SRV if length > 6 => {
                self.walk.skip(6)?;
                1
            }
            _ => 0,
        };
        for index in 0..names {
            // Dynamic updates delete with records without data (RFC 2136 section 2.5.2).
            if length == 0 {
                break;
            }
            self.name()?;
            self.response_name();
            if index + 1 < names && self.wants_details {
                first.clone_from(self.walk.name);
            }
        }
        Ok(first)
    }

    fn name(&mut self) -> Result<(), Anomaly> {
        let anomaly = self.walk.name()?;
        if let Some(anomaly) = anomaly {
            self.anomaly(anomaly);
        }
        Ok(())
    }

    fn response_name(&mut self) {
        if self.side == Direction::ToClient {
            self.buffer(Buffer::DnsResponseRrname);
        }
    }

    /// Delivers the name that was walked last; the root has none.
    fn buffer(&mut self, buffer: Buffer) {
        if !self.walk.name.is_empty() {
            self.sink.buffer(self.transaction, self.side, buffer, Piece::WHOLE, self.walk.name);
        }
    }

    fn anomaly(&mut self, anomaly: Anomaly) {
        self.sink.anomaly(self.transaction, self.side, anomaly);
    }
}

/// A position within a message, and the name that was read last.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    name: &'a mut Vec<u8>,
    name_bytes: usize,
    /// Labels and pointers of all names so far.
    label_count: u64,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8], name: &'a mut Vec<u8>) -> Self {
        Walk { bytes, at: 0, name, name_bytes: 0, label_count: 0 }
    }

    fn u16(&mut self) -> Result<u16, Anomaly> {
        let bytes = self.bytes.get(self.at..self.at + 2).ok_or(Anomaly::DnsMalformedData)?;
        self.at += 2;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn skip(&mut self, count: usize) -> Result<(), Anomaly> {
        self.at += count;
        if self.at > self.bytes.len() { Err(Anomaly::DnsMalformedData) } else { Ok(()) }
    }

    /// Reads the name at the current position (RFC 1035 section 4.1.4), labels joined by dots. A name that is cut short
    /// because of its length or its loop is no error as long as the walk knows where the message goes on.
    fn name(&mut self) -> Result<Option<Anomaly>, Anomaly> {
        self.name.clear();
        let mut at = self.at;
        let mut after_pointer = None;
        let mut too_long = None;
        for step in 0.. {
            self.label_count += 1;
            let length = usize::from(*self.bytes.get(at).ok_or(Anomaly::DnsMalformedData)?);
            if step > NAME_STEPS_MAX {
                let end = after_pointer.ok_or(Anomaly::DnsTooManyLabels)?;
                self.at = end;
                return Ok(Some(Anomaly::DnsTooManyLabels));
            }
            match length {
                0 => {
                    self.at = after_pointer.unwrap_or(at + 1);
                    break;
                }
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + length).ok_or(Anomaly::DnsMalformedData)?;
                    at += 1 + length;
                    if too_long.is_none() {
                        if !self.name.is_empty() {
                            self.name.push(b'.');
                        }
                        self.name.extend_from_slice(label);
                    }
                }
                0xc0..=0xff => {
                    let low = usize::from(*self.bytes.get(at + 1).ok_or(Anomaly::DnsMalformedData)?);
                    let target = (length & 0x3f) << 8 | low;
                    let end = *after_pointer.get_or_insert(at + 2);
                    if target == at {
                        self.at = end;
                        return Ok(Some(Anomaly::DnsInfiniteLoop));
                    }
                    at = target;
                }
                _ => return Err(Anomaly::DnsMalformedData),
            }
            if self.name.len() > NAME_BYTES_MAX {
                self.name.truncate(NAME_BYTES_MAX);
                too_long = Some(Anomaly::DnsNameTooLong);
                if let Some(end) = after_pointer {
                    self.at = end;
                    break;
                }
            }
        }
        self.name_bytes += self.name.len();
        if self.name_bytes > NAMES_BYTES_MAX { Err(Anomaly::DnsMalformedData) } else { Ok(too_long) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Case, check_datagrams, check_stream};
    use super::*;
    use Direction::{ToClient, ToServer};

    const HEADER_QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0";

    fn query(name: &[u8]) -> Vec<u8> {
        [HEADER_QUERY, name, b"\0\x01\0\x01"].concat()
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u16).to_be_bytes(), message].concat()
    }

    #[test]
    fn queries_give_their_names() {
        let message = query(b"\x03www\x07example\x03com\0");
        let expected = "0> dns.opcode=0|0> dns.rcode=0|0> dns.query[www.example.com]\
             |0> dns.queries.rrname[www.example.com]|0> dns.rrtype=1|0> Complete";
        check_datagrams(&[(ToServer, &message)], expected);
        check_stream(&[Case(ToServer, &framed(&message))], expected);
    }

    #[test]
    fn responses_give_owners_and_names_within_records() {
        let message = [
            b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0".as_slice(),
            b"\x01a\x01b\0\0\x01\0\x01",
            b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01c\xc0\x0e",
            b"\xc0\x21\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x01",
        ]
        .concat();
        check_datagrams(
            &[(ToServer, &query(b"\x01a\x01b\0")), (ToClient, &message)],
            "0> dns.opcode=0|0> dns.rcode=0|0> dns.query[a.b]|0> dns.queries.rrname[a.b]|0> dns.rrtype=1|0> Complete\
             |1< dns.opcode=0|1< dns.rcode=0|1< dns.response.rrname[a.b]|1< dns.queries.rrname[a.b]\
             |1< dns.answers.rrname[a.b]|1< dns.response.rrname[a.b]|1< dns.rrtype=5|1< dns.response.rrname[c.b]\
             |1< dns.answers.rrname[c.b]|1< dns.response.rrname[c.b]|1< dns.rrtype=1|1< Complete",
        );
    }

    #[test]
    fn names_that_loop_or_run_out_are_anomalies() {
        let start = "0> dns.opcode=0|0> dns.rcode=0|";
        let sound = query(b"\x01a\0");
        let check = |name: &[u8], expected: &str| {
            // The first message makes the flow DNS; the second is the case.
            check_datagrams(
                &[(ToServer, &sound), (ToServer, &query(name))],
                &format!(
                    "{start}0> dns.query[a]|0> dns.queries.rrname[a]|0> dns.rrtype=1|0> Complete|{}|1> Complete",
                    format!("{start}{expected}").replace("0>", "1>")
                ),
            );
        };
        check(b"\xc0\x0c", "0> !dns.infinite_loop|0> dns.rrtype=1");
        check(b"\xc0\x0e\xc0\x0c", "0> !dns.too_many_labels|0> dns.rrtype=49164");
        check(b"\x3fshort", "0> !dns.malformed_data");
        check(b"\x41x\0", "0> !dns.malformed_data");
    }

    #[test]
    fn a_pointer_circle_of_two_ends() {
        let mut name = Vec::new();
        let bytes = b"\xc0\x02\xc0\x00";
        let mut walk = Walk::new(bytes, &mut name);
        assert_eq!(walk.name(), Ok(Some(Anomaly::DnsTooManyLabels)));
        assert_eq!(walk.at, 2);
    }
}
