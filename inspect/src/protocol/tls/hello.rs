//! Hellos: server name, versions, and the JA3 and JA3S fingerprints.

use md5::{Digest, Md5};

use crate::inspector::Direction::{self, ToClient, ToServer};
use crate::protocol::buffer::Buffer;
use crate::protocol::sink::{Number, Piece, Sink};

const SERVER_NAME: u16 = 0;
const GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// Bytes read from the front. Every method gives nothing where there are too few.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u24(&mut self) -> Option<usize> {
        self.take(3).map(|bytes| usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]))
    }

    /// What one length byte announces.
    fn sized8(&mut self) -> Option<Bytes<'a>> {
        let count = self.u8()?;
        self.take(usize::from(count)).map(Bytes)
    }

    /// What two length bytes announce.
    pub(super) fn sized16(&mut self) -> Option<Bytes<'a>> {
        let count = self.u16()?;
        self.take(usize::from(count)).map(Bytes)
    }

    /// What three length bytes announce.
    pub(super) fn sized24(&mut self) -> Option<Bytes<'a>> {
        let count = self.u24()?;
        self.take(count).map(Bytes)
    }
}

/// The values that clients sprinkle in so that servers stay tolerant (RFC 8701).
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

fn is_version(value: u16) -> bool {
    matches!(value, 0x0002 | 0x0300..=0x0304 | 0x7f00..=0x7fff)
}

/// The MD5 of the bytes in hex, the form of all these fingerprints.
pub(in crate::protocol) fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Appends the values of a list of 16-bit numbers, joined by hyphens, GREASE left out.
fn push_list(text: &mut String, mut list: Bytes<'_>) {
    let mut is_first = true;
    while let Some(value) = list.u16() {
        if !is_grease(value) {
            push_value(text, &mut is_first, value);
        }
    }
}

fn push_value(text: &mut String, is_first: &mut bool, value: u16) {
    if !std::mem::take(is_first) {
        text.push('-');
    }
    text.push_str(&value.to_string());
}

/// What the sink hears of one hello. A repeated hello (after HelloRetryRequest) says its buffers again.
struct Report<'a> {
    transaction: u32,
    side: Direction,
    sink: &'a mut dyn Sink,
}

impl Report<'_> {
    fn buffer(&mut self, buffer: Buffer, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.sink.buffer(self.transaction, self.side, buffer, Piece::WHOLE, bytes);
        }
    }

    fn random(&mut self, random: &[u8]) {
        self.buffer(Buffer::TlsRandom, random);
        self.buffer(Buffer::TlsRandomTime, &random[..4]);
        self.buffer(Buffer::TlsRandomBytes, &random[4..]);
    }

    fn fingerprint(&mut self, string: Buffer, hash: Buffer, text: &str) {
        self.buffer(string, text.as_bytes());
        if self.sink.wants(hash) {
            self.buffer(hash, md5_hex(text.as_bytes()).as_bytes());
        }
    }

    fn version(&mut self, version: u16) {
        self.sink.number(self.transaction, self.side, Number::TlsVersion, u64::from(version));
    }

    fn alpn(&mut self, mut names: Bytes<'_>) {
        while let Some(name) = names.sized8() {
            self.buffer(Buffer::TlsAlpn, name.0);
        }
    }
}

/// Reads a client hello (RFC 8446 section 4.1.2). What can be read is told; nothing, if the message is cut short.
pub(super) fn client(transaction: u32, body: &[u8], sink: &mut dyn Sink) -> Option<()> {
    let mut report = Report { transaction, side: ToServer, sink };
    let mut bytes = Bytes(body);
    let version = bytes.u16()?;
    report.random(bytes.take(32)?);
    bytes.sized8()?;
    let ciphers = bytes.sized16()?;
    bytes.sized8()?;
    let (mut kinds, mut groups, mut formats) = (String::new(), String::new(), String::new());
    let mut is_first = true;
    let mut best = version;
    let mut name: &[u8] = &[];
    let mut alpn = None;
    let mut is_sound = true;
    // Extensions are absent from old hellos.
    let mut extensions = if bytes.0.is_empty() { Bytes(&[]) } else { bytes.sized16()? };
    while !extensions.0.is_empty() {
        let (Some(kind), Some(body)) = (extensions.u16(), extensions.sized16()) else {
            is_sound = false;
            break;
        };
        if !is_grease(kind) {
            push_value(&mut kinds, &mut is_first, kind);
        }
        match kind {
            SERVER_NAME if name.is_empty() => match server_name(body) {
                Some(found) => name = found,
                None => is_sound &= body.0.is_empty(),
            },
            GROUPS => push_list(&mut groups, { body }.sized16().unwrap_or(Bytes(&[]))),
            POINT_FORMATS => {
                let list = { body }.sized8().unwrap_or(Bytes(&[]));
                let mut is_first = true;
                for &format in list.0 {
                    push_value(&mut formats, &mut is_first, u16::from(format));
                }
            }
            ALPN => alpn = { body }.sized16(),
            SUPPORTED_VERSIONS => {
                let mut versions = { body }.sized8().unwrap_or(Bytes(&[]));
                while let Some(version) = versions.u16() {
                    if is_version(version) {
                        best = version;
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    report.version(best);
    report.buffer(Buffer::TlsSni, name);
    if let Some(names) = alpn {
        report.alpn(names);
    }
    let mut ja3 = format!("{version},");
    push_list(&mut ja3, ciphers);
    for part in [kinds, groups, formats] {
        ja3.push(',');
        ja3.push_str(&part);
    }
    report.fingerprint(Buffer::Ja3String, Buffer::Ja3Hash, &ja3);
    is_sound.then_some(())
}

/// The first host name of the extension (RFC 6066 section 3).
fn server_name(mut body: Bytes<'_>) -> Option<&[u8]> {
    let mut list = body.sized16()?;
    loop {
        let kind = list.u8()?;
        let name = list.sized16()?;
        if kind == 0 {
            return Some(name.0);
        }
    }
}

/// Reads a client hello of SSL 2.0 (RFC 5246 appendix E.2): it names versions and ciphers, but no server.
pub(super) fn client_of_ssl2(transaction: u32, body: &[u8], sink: &mut dyn Sink) -> Option<()> {
    let mut report = Report { transaction, side: ToServer, sink };
    let mut bytes = Bytes(body);
    if bytes.u8()? != 1 {
        return None;
    }
    let version = bytes.u16()?;
    let lengths = [bytes.u16()?, bytes.u16()?, bytes.u16()?];
    for length in lengths {
        bytes.take(usize::from(length))?;
    }
    report.version(version);
    Some(())
}

/// Reads a server hello (RFC 8446 section 4.1.3).
pub(super) fn server(transaction: u32, body: &[u8], sink: &mut dyn Sink) -> Option<()> {
    let mut report = Report { transaction, side: ToClient, sink };
    let mut bytes = Bytes(body);
    let version = bytes.u16()?;
    report.random(bytes.take(32)?);
    bytes.sized8()?;
    let cipher = bytes.u16()?;
    bytes.u8()?;
    let mut ja3s = format!("{version},{cipher},");
    let mut best = version;
    let mut is_first = true;
    let mut is_sound = true;
    let mut extensions = if bytes.0.is_empty() { Bytes(&[]) } else { bytes.sized16()? };
    while !extensions.0.is_empty() {
        let (Some(kind), Some(body)) = (extensions.u16(), extensions.sized16()) else {
            is_sound = false;
            break;
        };
        push_value(&mut ja3s, &mut is_first, kind);
        match kind {
            SUPPORTED_VERSIONS => best = { body }.u16().filter(|&version| is_version(version)).unwrap_or(best),
            ALPN => report.alpn({ body }.sized16().unwrap_or(Bytes(&[]))),
            _ => {}
        }
    }
    report.version(best);
    report.fingerprint(Buffer::Ja3sString, Buffer::Ja3sHash, &ja3s);
    is_sound.then_some(())
}
