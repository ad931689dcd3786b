//! Certificates (RFC 5280): subject, issuer, serial number, validity, fingerprint and names, in Suricata's spellings.

use sha1::{Digest, Sha1};

use super::hello::Bytes;
use crate::inspector::Direction;
use crate::protocol::buffer::Buffer;
use crate::protocol::sink::{Number, Piece, Sink};

/// Certificates of one chain that are delivered. Real chains have up to five.
const CHAIN_MAX: usize = 16;

/// Subject alternative names of one certificate that are delivered.
const ALTERNATIVE_NAMES_MAX: usize = 256;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// Reads a Certificate message: that of TLS 1.2 (RFC 5246 section 7.4.2). Gives whether all of it made sense.
pub(super) fn chain(transaction: u32, side: Direction, body: &[u8], sink: &mut dyn Sink) -> bool {
    let Some(mut list) = Bytes(body).sized24() else {
        return false;
    };
    let mut count = 0;
    let mut is_sound = true;
    while !list.0.is_empty() {
        let Some(certificate) = list.sized24() else {
            is_sound = false;
            break;
        };
        if count == 0 {
            is_sound &= first(transaction, side, certificate.0, sink).is_some();
        }
        if count < CHAIN_MAX {
            sink.buffer(transaction, side, Buffer::TlsCerts, Piece::WHOLE, certificate.0);
        }
        count += 1;
    }
    sink.number(transaction, side, Number::TlsCertChainLen, count as u64);
    is_sound
}

/// Delivers the parts of the server's own certificate.
fn first(transaction: u32, side: Direction, certificate: &[u8], sink: &mut dyn Sink) -> Option<()> {
    let wants_fingerprint = sink.wants(Buffer::TlsCertFingerprint);
    let mut give = |buffer, bytes: &[u8]| {
        if !bytes.is_empty() {
            sink.buffer(transaction, side, buffer, Piece::WHOLE, bytes);
        }
    };
    if wants_fingerprint {
        give(Buffer::TlsCertFingerprint, join(&Sha1::digest(certificate), false).as_bytes());
    }
    let mut outer = Der(certificate);
    let mut whole = Der(outer.expect(SEQUENCE)?);
    let mut parts = Der(whole.expect(SEQUENCE)?);
    parts.optional(VERSION);
    give(Buffer::TlsCertSerial, join(parts.expect(INTEGER)?, true).as_bytes());
    parts.expect(SEQUENCE)?;
    let issuer = parts.expect(SEQUENCE)?;
    let validity = parts.expect(SEQUENCE)?;
    let subject = parts.expect(SEQUENCE)?;
    give(Buffer::TlsCertSubject, &name(subject)?);
    give(Buffer::TlsCertIssuer, &name(issuer)?);
    let mut times = Der(validity);
    for number in [Number::TlsNotBefore, Number::TlsNotAfter] {
        let (tag, text) = times.next()?;
        sink.number(transaction, side, number, time(tag, text)?);
    }
    parts.expect(SEQUENCE)?;
    while let Some((tag, body)) = parts.next() {
        if tag == EXTENSIONS {
            alternative_names(body, &mut |name| {
                if !name.is_empty() {
                    sink.buffer(transaction, side, Buffer::TlsSubjectAltName, Piece::WHOLE, name);
                }
            })?;
        }
    }
    Some(())
}

/// DER read from the front (X.690 section 8.1).
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let mut bytes = Bytes(self.0);
        let tag = bytes.u8()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let length = match bytes.u8()? {
            short @ 0..=0x7f => usize::from(short),
            long @ 0x81..=0x84 => {
                let digits = bytes.take(usize::from(long & 0x7f))?;
                digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit))
            }
            _ => return None,
        };
        let body = bytes.take(length)?;
        self.0 = bytes.0;
        Some((tag, body))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, body)| body)
    }

    fn optional(&mut self, wanted: u8) {
        if self.0.first() == Some(&wanted) {
            self.next();
        }
    }
}

fn join(bytes: &[u8], is_upper: bool) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (place, byte) in bytes.iter().enumerate() {
        if place > 0 {
            text.push(':');
        }
        text += &if is_upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
    }
    text
}

/// `C=US, O=Example, CN=www`; several attributes of one step are joined by ` + `.
fn name(sequence: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut steps = Der(sequence);
    while !steps.0.is_empty() {
        let mut attributes = Der(steps.expect(SET)?);
        let mut is_first = true;
        while !attributes.0.is_empty() {
            let mut attribute = Der(attributes.expect(SEQUENCE)?);
            let kind = attribute.expect(OBJECT_ID)?;
            let (tag, value) = attribute.next()?;
            if !out.is_empty() {
                out.extend_from_slice(if is_first { b", " } else { b" + " });
            }
            is_first = false;
            push_attribute_kind(&mut out, kind);
            out.push(b'=');
            push_attribute_value(&mut out, tag, value);
        }
    }
    Some(out)
}

fn push_attribute_kind(out: &mut Vec<u8>, kind: &[u8]) {
    let known: Option<&[u8]> = match kind {
        [0x55, 4, 3] => Some(b"CN"),
        [0x55, 4, 4] => Some(b"surname"),
        [0x55, 4, 5] => Some(b"serialNumber"),
        [0x55, 4, 6] => Some(b"C"),
        [0x55, 4, 7] => Some(b"L"),
        [0x55, 4, 8] => Some(b"ST"),
        [0x55, 4, 9] => Some(b"streetAddress"),
        [0x55, 4, 10] => Some(b"O"),
        [0x55, 4, 11] => Some(b"OU"),
        [0x55, 4, 12] => Some(b"title"),
        [0x55, 4, 13] => Some(b"description"),
        [0x55, 4, 15] => Some(b"businessCategory"),
        [0x55, 4, 16] => Some(b"postalAddress"),
        [0x55, 4, 17] => Some(b"postalCode"),
        [0x55, 4, 41] => Some(b"name"),
        [0x55, 4, 42] => Some(b"givenName"),
        [0x55, 4, 43] => Some(b"initials"),
        [0x55, 4, 44] => Some(b"generationQualifier"),
        [0x55, 4, 45] => Some(b"uniqueIdentifier"),
        [0x55, 4, 46] => Some(b"dnQualifier"),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => Some(b"Email"),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 2] => Some(b"unstructuredName"),
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => Some(b"uid"),
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => Some(b"DC"),
        _ => None,
    };
    match known {
        Some(name) => out.extend_from_slice(name),
        None => push_object_id(out, kind),
    }
}

/// An object identifier in dots (X.690 section 8.19).
fn push_object_id(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut value: u64 = 0;
    let mut is_first = true;
    for &byte in bytes {
        value = value << 7 & (u64::MAX >> 1) | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if std::mem::take(&mut is_first) {
            let root = (value / 40).min(2);
            out.extend_from_slice(format!("{root}.{}", value - root * 40).as_bytes());
        } else {
            out.extend_from_slice(format!(".{value}").as_bytes());
        }
        value = 0;
    }
}

fn push_attribute_value(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    match tag {
        // The string types of one byte a character, and UTF-8.
        0x07 | 0x0c | 0x12..=0x16 | 0x19..=0x1b => out.extend_from_slice(value),
        BMP_STRING => {
            let units = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            for character in char::decode_utf16(units) {
                let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        _ => {
            // A bit string starts with its count of unused bits, which is no part of the value.
            let value = if tag == BIT_STRING { value.get(1..).unwrap_or_default() } else { value };
            for byte in value {
                out.extend_from_slice(format!("{byte:02X}").as_bytes());
            }
        }
    }
}

/// Seconds since 1970 of a time (RFC 5280 section 4.1.2.5); 0 for what is before.
fn time(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = |from: usize, count: usize| -> Option<i64> {
        let part = text.get(from..from + count)?;
        part.iter()
            .all(u8::is_ascii_digit)
            .then(|| part.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    };
    let (year, at) = match tag {
        UTC_TIME => {
            let year = digits(0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        GENERALIZED_TIME => (digits(0, 4)?, 4),
        _ => return None,
    };
    let (month, day) = (digits(at, 2)?, digits(at + 2, 2)?);
    let (hour, minute) = (digits(at + 4, 2)?, digits(at + 6, 2)?);
    let second = digits(at + 8, 2).unwrap_or(0);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970-01-01 in the proleptic Gregorian calendar, years counted from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 719_469;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Some(u64::try_from(seconds).unwrap_or(0))
}

/// Hands out the DNS names and URIs among the subject alternative names (RFC 5280 section 4.2.1.6).
fn alternative_names(extensions: &[u8], give: &mut dyn FnMut(&[u8])) -> Option<()> {
    const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    let mut list = Der(Der(extensions).expect(SEQUENCE)?);
    while !list.0.is_empty() {
        let mut extension = Der(list.expect(SEQUENCE)?);
        if extension.expect(OBJECT_ID)? != SUBJECT_ALT_NAME {
            continue;
        }
        extension.optional(0x01);
        let mut names = Der(Der(extension.expect(OCTET_STRING)?).expect(SEQUENCE)?);
        for _ in 0..ALTERNATIVE_NAMES_MAX {
            match names.next() {
                // rfc822Name, dNSName, uniformResourceIdentifier.
                Some((0x81 | 0x82 | 0x86, name)) => give(name),
                Some(_) => {}
                None => break,
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::recorder::Recorder;

    fn der(tag: u8, body: &[u8]) -> Vec<u8> {
        match body.len() {
            short @ 0..=0x7f => [&[tag, short as u8], body].concat(),
            long => [&[tag, 0x82, (long >> 8) as u8, long as u8], body].concat(),
        }
    }

    fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        der(SET, &der(SEQUENCE, &[der(OBJECT_ID, kind), der(tag, value)].concat()))
    }

    fn certificate(subject: &[u8], serial: &[u8]) -> Vec<u8> {
        let issuer = attribute(&[0x55, 4, 10], 0x13, b"Issuer, Inc");
        let names = der(SEQUENCE, &[der(0x82, b"a.example"), der(0x87, &[1, 2, 3, 4])].concat());
        let extension = der(SEQUENCE, &[der(OBJECT_ID, &[0x55, 0x1d, 0x11]), der(OCTET_STRING, &names)].concat());
        let parts = [
            der(VERSION, &der(INTEGER, &[2])),
            der(INTEGER, serial),
            der(SEQUENCE, b""),
            der(SEQUENCE, &issuer),
            der(SEQUENCE, &[der(UTC_TIME, b"700101000001Z"), der(GENERALIZED_TIME, b"20380119031408Z")].concat()),
            der(SEQUENCE, subject),
            der(SEQUENCE, b""),
            der(EXTENSIONS, &der(SEQUENCE, &extension)),
        ]
        .concat();
        der(SEQUENCE, &[der(SEQUENCE, &parts), der(SEQUENCE, b""), der(BIT_STRING, b"\0")].concat())
    }

    fn message(certificates: &[Vec<u8>]) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[1..], bytes].concat();
        sized(&certificates.iter().map(|bytes| sized(bytes)).collect::<Vec<_>>().concat())
    }

    #[test]
    fn a_certificate_gives_its_parts() {
        let subject = [
            attribute(&[0x55, 4, 6], 0x13, b"US"),
            attribute(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], 0x16, b"a@b"),
            attribute(&[0x55, 4, 3], BMP_STRING, b"\0w\0w\0w"),
            attribute(&[0x55, 0x1d, 0x11], 0x05, b""),
        ]
        .concat();
        let mut recorder = Recorder::wanting(&[
            "tls.cert_subject",
            "tls.cert_issuer",
            "tls.cert_serial",
            "tls.notbefore",
            "tls.notafter",
            "tls.subjectaltname",
            "tls.cert_chain_len",
        ]);
        let body = message(&[certificate(&subject, &[0, 0xab, 1]), b"x".to_vec()]);
        assert!(chain(0, Direction::ToClient, &body, &mut recorder));
        assert_eq!(
            recorder.text(),
            "0< tls.cert_serial[00:AB:01]|0< tls.cert_subject[C=US, Email=a@b, CN=www, 2.5.29.17=]\
             |0< tls.cert_issuer[O=Issuer, Inc]|0< tls.notbefore=1|0< tls.notafter=2147483648\
             |0< tls.subjectaltname[a.example]|0< tls.cert_chain_len=2"
        );
    }

    #[test]
    fn a_certificate_cut_anywhere_is_refused() {
        let whole = certificate(&attribute(&[0x55, 4, 3], 0x0c, b"www"), &[1]);
        for end in 0..whole.len() {
            let mut recorder = Recorder::default();
            assert!(!chain(0, Direction::ToClient, &message(&[whole[..end].to_vec()]), &mut recorder), "{end}");
        }
    }

    #[test]
    fn times_are_read() {
        assert_eq!(time(UTC_TIME, b"000229120000Z"), Some(951_825_600));
        assert_eq!(time(UTC_TIME, b"500101000000Z"), Some(0));
        assert_eq!(time(GENERALIZED_TIME, b"99991231235959Z"), Some(253_402_300_799));
        assert_eq!(time(UTC_TIME, b"0013"), None);
    }
}
