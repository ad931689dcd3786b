//! Transactions, anomalies and files in Suricata's words.

mod dhcp;
mod dns;
mod ftp;
mod mail;
mod smb;
mod ssh;

use inspect::file_hashes::Digests;
use inspect::inspector::{Direction, FileEvent};
use inspect::protocol::{Anomaly, AppProtocol, Buffer, FileProgress, Number};
use inspect::record::{FileNote, Transaction};
use serde_json::{Map, Value, json};

use super::settings::EventType;
use super::text::{hex, text};
use super::timestamp::format_utc;

/// Keys and values of a record, or of an object in it.
pub type Object = Map<String, Value>;

/// The objects that describe a transaction, by the keys that they stand under in a record: `http`, `dns`, ...
pub fn transaction(transaction: &Transaction) -> Object {
    let mut record = Object::new();
    let mut put = |object: Object| {
        if !object.is_empty()
            && let Some(kind) = EventType::of_protocol(transaction.protocol)
        {
            record.insert(kind.name().to_owned(), object.into());
        }
    };
    match transaction.protocol {
        AppProtocol::Http1 => put(http(transaction)),
        AppProtocol::Tls => put(tls(transaction)),
        AppProtocol::Dns => put(dns::object(transaction)),
        AppProtocol::Dhcp => put(dhcp::object(transaction)),
        AppProtocol::Ssh => put(ssh::object(transaction)),
        AppProtocol::Smtp => {
            put(mail::smtp(transaction));
            let email = mail::email(transaction);
            if !email.is_empty() {
                record.insert("email".to_owned(), email.into());
            }
        }
        AppProtocol::Ftp => put(ftp::object(transaction)),
        AppProtocol::Smb => put(smb::object(transaction)),
        AppProtocol::Http2
        | AppProtocol::FtpData
        | AppProtocol::Imap
        | AppProtocol::Pop3
        | AppProtocol::Dcerpc
        | AppProtocol::Rdp
        | AppProtocol::Rfb
        | AppProtocol::Sip
        | AppProtocol::Quic => {}
    }
    record
}

/// What of a transaction was cut, by the names that rules have for it; `...` where further fields had no room.
pub fn cut(transaction: &Transaction) -> Vec<&'static str> {
    let cut = transaction.fields().filter(|field| field.is_cut).map(|field| field.buffer.name());
    cut.chain(transaction.has_more.then_some("...")).collect()
}

/// Fills an object from the fields of a transaction.
struct Filling<'a> {
    transaction: &'a Transaction,
    object: Object,
}

impl<'a> Filling<'a> {
    fn of(transaction: &'a Transaction) -> Self {
        Self { transaction, object: Object::new() }
    }

    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.object.insert(key.to_owned(), value.into());
    }

    /// The first field of a kind from a side; any side, if none is given.
    fn text(&self, buffer: Buffer, side: Option<Direction>) -> Option<String> {
        let mut fields = self.transaction.fields();
        let field = fields.find(|field| field.buffer == buffer && side.is_none_or(|side| side == field.side))?;
        Some(text(field.bytes).into_owned())
    }

    fn first(&mut self, key: &str, buffer: Buffer) {
        self.of_side(key, buffer, None);
    }

    fn of_side(&mut self, key: &str, buffer: Buffer, side: Option<Direction>) {
        if let Some(value) = self.text(buffer, side) {
            self.put(key, value);
        }
    }

    fn all(&mut self, key: &str, buffer: Buffer, side: Option<Direction>) {
        let fields = self.transaction.fields();
        let fields = fields.filter(|field| field.buffer == buffer && side.is_none_or(|side| side == field.side));
        let values: Vec<Value> = fields.map(|field| text(field.bytes).into()).collect();
        if !values.is_empty() {
            self.put(key, values);
        }
    }

    fn pair(&mut self, key: &str, hash: Buffer, string: Buffer) {
        let mut pair = Filling::of(self.transaction);
        pair.first("hash", hash);
        pair.first("string", string);
        if !pair.object.is_empty() {
            self.put(key, pair.object);
        }
    }
}

fn http(transaction: &Transaction) -> Object {
    let mut http = Filling::of(transaction);
    http.first("hostname", Buffer::HttpHost);
    http.first("url", Buffer::HttpUriRaw);
    http.first("http_user_agent", Buffer::HttpUserAgent);
    http.of_side("http_content_type", Buffer::HttpContentType, Some(Direction::ToClient));
    http.first("http_refer", Buffer::HttpReferer);
    http.first("http_method", Buffer::HttpMethod);
    http.of_side("protocol", Buffer::HttpProtocol, Some(Direction::ToServer));
    if let Some(status) = http.text(Buffer::HttpStatCode, None) {
        // A status that is no number is the server's own doing, and worth to be seen.
        match status.parse::<u16>() {
            Ok(number) => http.put("status", number),
            Err(_) => http.put("status_string", status),
        }
    }
    http.first("redirect", Buffer::HttpLocation);
    http.put("length", transaction.body_bytes[Direction::ToClient as usize]);
    http.object
}

fn tls(transaction: &Transaction) -> Object {
    let mut tls = Filling::of(transaction);
    tls.first("subject", Buffer::TlsCertSubject);
    tls.first("issuerdn", Buffer::TlsCertIssuer);
    tls.first("serial", Buffer::TlsCertSerial);
    tls.first("fingerprint", Buffer::TlsCertFingerprint);
    tls.first("sni", Buffer::TlsSni);
    // The server chooses; what the client says alone is its highest.
    let versions = transaction.numbers.iter().filter(|(number, ..)| *number == Number::TlsVersion);
    if let Some((.., version)) = versions.max_by_key(|(_, side, _)| *side == Direction::ToClient) {
        tls.put("version", tls_version(*version));
    }
    for (key, number) in [("notbefore", Number::TlsNotBefore), ("notafter", Number::TlsNotAfter)] {
        if let Some(seconds) = transaction.number(number) {
            // A certificate may end in the year 9999; without the fraction and the zone, as Suricata writes it.
            let whole = format_utc(seconds.min(253_402_300_799) * 1_000_000);
            tls.put(key, whole.split('.').next().unwrap_or_default());
        }
    }
    tls.all("subjectaltname", Buffer::TlsSubjectAltName, None);
    tls.pair("ja3", Buffer::Ja3Hash, Buffer::Ja3String);
    tls.pair("ja3s", Buffer::Ja3sHash, Buffer::Ja3sString);
    tls.all("client_alpns", Buffer::TlsAlpn, Some(Direction::ToServer));
    tls.all("server_alpns", Buffer::TlsAlpn, Some(Direction::ToClient));
    tls.object
}

fn tls_version(version: u64) -> String {
    match version {
        0x0002 => "SSLv2".to_owned(),
        0x0300 => "SSLv3".to_owned(),
        0x0301 => "TLSv1".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        0x0303 => "TLS 1.2".to_owned(),
        0x0304 => "TLS 1.3".to_owned(),
        other => format!("0x{other:04x}"),
    }
}

/// The protocol and the `anomaly` object of an anomaly.
pub fn anomaly(anomaly: Anomaly) -> (&'static str, Value) {
    let (protocol, event) = anomaly.name().split_once('.').unwrap_or(("", anomaly.name()));
    // Suricata's older parsers shout.
    let event = if matches!(protocol, "http" | "smtp" | "tls") { event.to_ascii_uppercase() } else { event.to_owned() };
    let object = json!({"app_proto": protocol, "type": "applayer", "event": event, "layer": "proto_parser"});
    (protocol, object)
}

/// The `fileinfo` object of a file.
pub fn file(note: &FileNote) -> Value {
    let state = if note.file.progress == FileProgress::Complete { "CLOSED" } else { "TRUNCATED" };
    file_object(&note.name, state, note.file.length, note.transaction, &note.file.digests)
}

/// The `fileinfo` object of a file that is on a list of hashes, or cannot be judged by one.
pub fn file_event(file: &FileEvent) -> Value {
    // Whether more follows is its sender's secret.
    let state = if file.is_complete { "CLOSED" } else { "UNKNOWN" };
    file_object(&file.name, state, file.length, file.transaction, &file.digests)
}

fn file_object(name: &[u8], state: &str, size: u64, transaction: u32, digests: &Digests) -> Value {
    let mut file = json!({
        "filename": text(name),
        "gaps": false,
        "state": state,
        "stored": false,
        "size": size,
        "tx_id": transaction,
    });
    let hashes = [
        ("md5", digests.md5.map(|hash| hex(&hash))),
        ("sha1", digests.sha1.map(|hash| hex(&hash))),
        ("sha256", digests.sha256.map(|hash| hex(&hash))),
    ];
    for (key, hash) in hashes {
        if let Some(hash) = hash {
            file[key] = hash.into();
        }
    }
    file
}
