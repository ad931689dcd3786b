//! TLS 1.0 to 1.3, SSL 3.0 and the SSL 2.0 hello: what can be seen before encryption starts.
//!
//! # Theory of operation
//!
//! Records (RFC 8446 section 5.1) carry handshake messages, which may be cut anywhere across records and segments. Only
//! hellos and certificates are kept until they are whole; all other messages and records are counted past. A side that has
//! sent a change of cipher, or any application data, has nothing more to show; when both have come so far, the flow is
//! opaque. All of a connection is one transaction.

mod certificate;
mod hello;

use super::anomaly::Anomaly;
use super::parser::{Parse, Progress};
use super::settings::Settings;
use super::sink::{Sink, Stage};
use crate::inspector::Direction;

pub(super) use hello::md5_hex;

/// Bytes of a record's payload: 2^14 and the expansion that RFC 5246 section 6.2.3 allows.
pub(super) const RECORD_BYTES_MAX: usize = (1 << 14) + 2048;

/// Bytes of a hello or a chain of certificates. Real chains take up to some 30 KiB.
const MESSAGE_BYTES_MAX: usize = 128 * 1024;

const RECORD_HEADER_BYTES: usize = 5;
const MESSAGE_HEADER_BYTES: usize = 4;

const CHANGE_CIPHER: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION: u8 = 23;
const HEARTBEAT: u8 = 24;

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_HELLO_DONE: u8 = 14;

/// One side of the connection.
#[derive(Debug, Default)]
struct Half {
    /// The record's header that is not whole yet.
    header: Vec<u8>,
    /// Bytes left of the record whose header has been read, and what they are.
    left: usize,
    kind: u8,
    /// Payload bytes of that record in all.
    length: usize,
    /// The first bytes of a heartbeat.
    heartbeat: Vec<u8>,
    message: Message,
    /// Nothing more can be seen of this side.
    is_over: bool,
    has_hello: bool,
    has_certificate: bool,
}

/// The handshake message under way.
#[derive(Debug, Default)]
struct Message {
    /// Its header and body so far, unless it is being counted past.
    kept: Vec<u8>,
    /// Bytes left of a message that is not kept.
    skip: usize,
}

/// The TLS of one connection.
#[derive(Debug)]
pub(super) struct Tls {
    transaction: u32,
    halves: [Half; 2],
    has_sent_application: [bool; 2],
}

/// The bytes cannot be TLS.
struct Broken;

impl Tls {
    pub(super) fn new(first_transaction: u32) -> Self {
        Tls { transaction: first_transaction, halves: Default::default(), has_sent_application: [false; 2] }
    }

    fn anomaly(&self, side: Direction, anomaly: Anomaly, sink: &mut dyn Sink) {
        sink.anomaly(self.transaction, side, anomaly);
    }

    fn bytes(&mut self, side: Direction, mut bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let half = &mut self.halves[side as usize];
            if half.left == 0 {
                bytes = self.record_header(side, bytes, sink)?;
                continue;
            }
            let (payload, rest) = bytes.split_at(half.left.min(bytes.len()));
            half.left -= payload.len();
            match half.kind {
                HANDSHAKE if !half.is_over => self.handshake(side, payload, sink)?,
                HEARTBEAT => self.heartbeat(side, payload, sink),
                _ => {}
            }
            bytes = rest;
        }
        Ok(())
    }

    fn record_header<'a>(&mut self, side: Direction, bytes: &'a [u8], sink: &mut dyn Sink) -> Result<&'a [u8], Broken> {
        let half = &mut self.halves[side as usize];
        if half.header.is_empty() && !half.has_hello && bytes[0] & 0x80 != 0 {
            // An SSL 2.0 record: two length bytes. Only the client hello of old clients comes so.
            half.header.push(bytes[0]);
            return Ok(&bytes[1..]);
        }
        let is_ssl2 = !half.has_hello && half.header.first().is_some_and(|byte| byte & 0x80 != 0);
        let wanted = if is_ssl2 { 2 } else { RECORD_HEADER_BYTES } - half.header.len();
        let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
        half.header.extend_from_slice(taken);
        if taken.len() < wanted {
            return Ok(rest);
        }
        let header = std::mem::take(&mut half.header);
        if is_ssl2 {
            // The message is read as a handshake message of its own framing.
            half.left = usize::from(header[0] & 0x7f) << 8 | usize::from(header[1]);
            half.kind = HANDSHAKE;
            half.message.kept = vec![SSL2_MARK, 0, header[0] & 0x7f, header[1]];
            return if half.left == 0 { Err(Broken) } else { Ok(rest) };
        }
        let length = usize::from(header[3]) << 8 | usize::from(header[4]);
        if !(CHANGE_CIPHER..=HEARTBEAT).contains(&header[0]) || header[1] != 3 || length > RECORD_BYTES_MAX {
            self.anomaly(side, Anomaly::TlsInvalidRecord, sink);
            return Err(Broken);
        }
        half.kind = header[0];
        half.left = length;
        half.length = length;
        half.heartbeat.clear();
        if matches!(half.kind, CHANGE_CIPHER | APPLICATION) {
            self.has_sent_application[side as usize] |= half.kind == APPLICATION;
            self.side_over(side, sink);
        }
        Ok(rest)
    }

    fn side_over(&mut self, side: Direction, sink: &mut dyn Sink) {
        let half = &mut self.halves[side as usize];
        if !half.is_over {
            half.is_over = true;
            half.message = Message::default();
            sink.stage(self.transaction, side, Stage::Headers);
            sink.stage(self.transaction, side, Stage::Complete);
        }
    }

    /// A heartbeat request that claims a longer payload than its record has reads memory of the receiver.
    fn heartbeat(&mut self, side: Direction, payload: &[u8], sink: &mut dyn Sink) {
        let half = &mut self.halves[side as usize];
        let wanted = 3usize.saturating_sub(half.heartbeat.len());
        if wanted == 0 || half.is_over {
            return;
        }
        half.heartbeat.extend_from_slice(&payload[..payload.len().min(wanted)]);
        if let [1, high, low] = half.heartbeat[..]
            && (usize::from(high) << 8 | usize::from(low)) + 3 > half.length
        {
            self.anomaly(side, Anomaly::TlsOverflowHeartbeat, sink);
        }
    }

    fn handshake(&mut self, side: Direction, mut bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let half = &mut self.halves[side as usize];
            let message = &mut half.message;
            if message.skip > 0 {
                let skipped = message.skip.min(bytes.len());
                message.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let wanted = match message.kept.first_chunk::<MESSAGE_HEADER_BYTES>() {
                None => MESSAGE_HEADER_BYTES - message.kept.len(),
                Some(header) => MESSAGE_HEADER_BYTES + message_length(*header) - message.kept.len(),
            };
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            message.kept.extend_from_slice(taken);
            bytes = rest;
            let Some(&header) = message.kept.first_chunk::<MESSAGE_HEADER_BYTES>() else {
                continue;
            };
            let length = message_length(header);
            if message.kept.len() == MESSAGE_HEADER_BYTES {
                if !matches!(header[0], CLIENT_HELLO | SERVER_HELLO | CERTIFICATE | SSL2_MARK) {
                    message.kept.clear();
                    message.skip = length;
                    if header[0] == SERVER_HELLO_DONE {
                        sink.stage(self.transaction, side, Stage::Headers);
                    }
                    continue;
                }
                if length > MESSAGE_BYTES_MAX {
                    self.anomaly(side, Anomaly::TlsInvalidHandshake, sink);
                    return Err(Broken);
                }
            }
            if message.kept.len() == MESSAGE_HEADER_BYTES + length {
                let kept = std::mem::take(&mut message.kept);
                self.message(side, header[0], &kept[MESSAGE_HEADER_BYTES..], sink);
            }
        }
        Ok(())
    }

    fn message(&mut self, side: Direction, kind: u8, body: &[u8], sink: &mut dyn Sink) {
        let half = &mut self.halves[side as usize];
        let anomaly = match (kind, side) {
            (CLIENT_HELLO, Direction::ToServer) => {
                let is_sound = hello::client(self.transaction, body, sink).is_some();
                half.has_hello = true;
                sink.stage(self.transaction, side, Stage::Headers);
                (!is_sound).then_some(Anomaly::TlsInvalidHandshake)
            }
            (SSL2_MARK, _) => {
                let is_sound = hello::client_of_ssl2(self.transaction, body, sink).is_some();
                half.has_hello = true;
                sink.stage(self.transaction, side, Stage::Headers);
                (!is_sound).then_some(Anomaly::TlsInvalidHandshake)
            }
            (SERVER_HELLO, Direction::ToClient) => {
                let is_sound = hello::server(self.transaction, body, sink).is_some();
                half.has_hello = true;
                (!is_sound).then_some(Anomaly::TlsInvalidHandshake)
            }
            (CERTIFICATE, _) => {
                let is_sound = half.has_certificate || certificate::chain(self.transaction, side, body, sink);
                half.has_certificate = true;
                sink.stage(self.transaction, side, Stage::Headers);
                (!is_sound).then_some(Anomaly::TlsInvalidCertificate)
            }
            _ => Some(Anomaly::TlsInvalidHandshake),
        };
        if let Some(anomaly) = anomaly {
            self.anomaly(side, anomaly, sink);
        }
    }
}

/// The kind under which an SSL 2.0 hello is kept: no handshake message has it.
const SSL2_MARK: u8 = 0xff;

fn message_length(header: [u8; MESSAGE_HEADER_BYTES]) -> usize {
    usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3])
}

impl Parse for Tls {
    fn next_transaction(&self) -> u32 {
        self.transaction.wrapping_add(1)
    }

    fn stream(&mut self, side: Direction, bytes: &[u8], _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        match self.bytes(side, bytes, sink) {
            Err(Broken) => Progress::Broken,
            // Renegotiation is encrypted: after this, nothing can be seen.
            Ok(()) if self.halves.iter().all(|half| half.is_over) && self.has_sent_application.iter().all(|&it| it) => {
                Progress::Opaque
            }
            Ok(()) => Progress::More,
        }
    }

    fn closed(&mut self, side: Direction, _settings: &Settings, sink: &mut dyn Sink) -> Progress {
        self.side_over(side, sink);
        Progress::More
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::{Case, check_stream, check_stream_for};
    use super::*;
    use Direction::{ToClient, ToServer};

    fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&[kind, 3, 1], &(payload.len() as u16).to_be_bytes()[..], payload].concat()
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind], &(body.len() as u32).to_be_bytes()[1..], body].concat()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
    }

    fn sized(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u16).to_be_bytes()[..], body].concat()
    }

    fn client_hello() -> Vec<u8> {
        let extensions = [
            extension(0x0a0a, b""),
            extension(0, &sized(&[&[0], &sized(b"a.example")[..]].concat())),
            extension(10, &sized(b"\x1a\x1a\0\x1d\0\x17")),
            extension(11, b"\x01\0"),
            extension(16, &sized(b"\x02h2\x08http/1.1")),
            extension(43, b"\x04\x2a\x2a\x03\x04"),
        ]
        .concat();
        let body =
            [b"\x03\x03", &[7; 32][..], b"\0", &sized(b"\x0a\x0a\x13\x01\xc0\x2f"), b"\x01\0", &sized(&extensions)];
        message(CLIENT_HELLO, &body.concat())
    }

    fn server_hello() -> Vec<u8> {
        let extensions = extension(43, b"\x03\x04");
        let body = [b"\x03\x03", &[9; 32][..], b"\0", b"\x13\x01", b"\0", &sized(&extensions)];
        message(SERVER_HELLO, &body.concat())
    }

    const HELLO_EVENTS: &str = "0> tls.version=772|0> tls.sni[a.example]|0> tls.alpn[h2]|0> tls.alpn[http/1.1]\
        |0> ja3.string[771,4865-49199,0-10-11-16-43,29-23,0]|0> ja3.hash[{hash}]|0> Headers";

    #[test]
    fn hellos_give_names_versions_and_fingerprints() {
        let hash = super::hello::md5_hex(b"771,4865-49199,0-10-11-16-43,29-23,0");
        let client = record(HANDSHAKE, &client_hello());
        let server = record(HANDSHAKE, &server_hello());
        let wanted = ["tls.version", "tls.sni", "tls.alpn", "ja3.string", "ja3.hash", "ja3s.string", "Headers"];
        check_stream_for(
            &[Case(ToServer, &client), Case(ToClient, &server), Case(ToClient, &record(APPLICATION, b"x"))],
            &wanted,
            &(HELLO_EVENTS.replace("{hash}", &hash)
                + "|0< tls.version=772|0< ja3s.string[771,4865,43]|0< Headers|0> Headers"),
        );
    }

    #[test]
    fn messages_may_be_cut_across_records() {
        let hello = client_hello();
        let (a, b) = hello.split_at(50);
        let bytes = [record(HANDSHAKE, a), record(HANDSHAKE, b)].concat();
        check_stream_for(&[Case(ToServer, &bytes)], &["tls.sni"], "0> tls.sni[a.example]");
    }

    #[test]
    fn a_hello_of_ssl2_is_read() {
        let body = b"\x01\x03\x01\0\x03\0\0\0\x10\0\0\x2f0123456789abcdef";
        let bytes = [&[0x80, body.len() as u8], &body[..]].concat();
        check_stream_for(
            &[Case(ToServer, &bytes)],
            &["tls.version", "Headers"],
            "0> tls.version=769|0> Headers|0> Headers|0< Headers",
        );
    }

    #[test]
    fn what_is_no_tls_is_broken() {
        let good = record(HANDSHAKE, &message(20, b"x"));
        let bytes = [good, b"GET / HTTP/1.1\r\n\r\n".to_vec()].concat();
        check_stream(&[Case(ToServer, &bytes)], "0> !tls.invalid_ssl_record");
        let heartbeat = [record(HANDSHAKE, &message(20, b"x")), record(HEARTBEAT, b"\x01\x40\0xyz")].concat();
        check_stream_for(&[Case(ToServer, &heartbeat)], &["anomaly"], "0> !tls.overflow_heartbeat_message");
    }
}
