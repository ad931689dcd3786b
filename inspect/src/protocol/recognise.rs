//! Which protocol do these first bytes speak? Decided from bytes alone: a guest chooses its ports.
//!
//! Each probe looks at the first bytes of one side and answers yes, no, or "more bytes needed". A probe must answer within
//! [`RECOGNITION_BYTES_MAX`] bytes. Probes are strict enough not to claim arbitrary binary data, and lax enough that
//! what a real server would accept is claimed: an attack that is not recognised is an attack that is not looked at.

use super::app_protocol::AppProtocol;
use super::dns;
use super::settings::RECOGNITION_BYTES_MAX;
use crate::inspector::Direction;

/// The answer of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guess {
    /// The bytes speak this protocol.
    Is(AppProtocol),
    /// They may yet turn out to, given more bytes.
    NotYet,
    /// They do not.
    No,
}

impl Guess {
    fn or(self, next: impl FnOnce() -> Guess) -> Guess {
        match self {
            Guess::Is(_) => self,
            Guess::NotYet => match next() {
                Guess::No => Guess::NotYet,
                other => other,
            },
            Guess::No => next(),
        }
    }
}

/// Looks at the first bytes that one side of a TCP connection has sent.
pub(super) fn tcp(side: Direction, bytes: &[u8]) -> Guess {
    if bytes.is_empty() {
        return Guess::NotYet;
    }
    let guess = match side {
        Direction::ToServer => http_request(bytes)
            .or(|| tls(bytes))
            .or(|| smb(bytes))
            .or(|| literal(bytes, b"SSH-", AppProtocol::Ssh))
            .or(|| smtp_command(bytes))
            .or(|| ftp_command(bytes))
            .or(|| literal(bytes, b"RFB ", AppProtocol::Rfb))
            .or(|| rdp(bytes))
            .or(|| dcerpc(bytes))
            .or(|| dns_over_tcp(side, bytes)),
        Direction::ToClient => http_response(bytes)
            .or(|| tls(bytes))
            .or(|| smb(bytes))
            .or(|| literal(bytes, b"SSH-", AppProtocol::Ssh))
            .or(|| greeting(bytes))
            .or(|| literal(bytes, b"RFB ", AppProtocol::Rfb))
            .or(|| literal(bytes, b"+OK", AppProtocol::Pop3))
            .or(|| literal(bytes, b"* OK", AppProtocol::Imap))
            .or(|| rdp(bytes))
            .or(|| dcerpc(bytes))
            .or(|| dns_over_tcp(side, bytes)),
    };
    if guess == Guess::NotYet && bytes.len() >= RECOGNITION_BYTES_MAX { Guess::No } else { guess }
}

/// Looks at one UDP datagram.
pub(super) fn udp(side: Direction, bytes: &[u8]) -> Guess {
    if is_dhcp(bytes) {
        return Guess::Is(AppProtocol::Dhcp);
    }
    if dns::looks_like_message(bytes, side == Direction::ToServer) {
        return Guess::Is(AppProtocol::Dns);
    }
    if is_quic(bytes) {
        return Guess::Is(AppProtocol::Quic);
    }
    if is_sip(bytes) {
        return Guess::Is(AppProtocol::Sip);
    }
    Guess::No
}

/// Whether `bytes` start with `text`, or could.
fn literal(bytes: &[u8], text: &[u8], protocol: AppProtocol) -> Guess {
    let shared = bytes.len().min(text.len());
    if !bytes[..shared].eq_ignore_ascii_case(&text[..shared]) {
        Guess::No
    } else if shared == text.len() {
        Guess::Is(protocol)
    } else {
        Guess::NotYet
    }
}

/// The request methods of HTTP, WebDAV and friends. Others are believed when the line ends in a version.
pub(super) const HTTP_METHODS: [&[u8]; 28] = [
    b"GET",
    b"PUT",
    b"POST",
    b"HEAD",
    b"TRACE",
    b"OPTIONS",
    b"CONNECT",
    b"DELETE",
    b"PATCH",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"CHECKOUT",
    b"UNCHECKOUT",
    b"CHECKIN",
    b"UPDATE",
    b"LABEL",
    b"REPORT",
    b"MKWORKSPACE",
    b"MKACTIVITY",
    b"MERGE",
    b"INVALID",
    b"VERSION-CONTROL",
    b"BASELINE-CONTROL",
];

/// A token of at most this many bytes can be a method.
const METHOD_BYTES_MAX: usize = 32;

fn http_request(bytes: &[u8]) -> Guess {
    // Servers skip empty lines before a request (RFC 9112 section 2.2).
    let skipped = bytes.iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count();
    let bytes = &bytes[skipped..];
    if let guess @ (Guess::Is(_) | Guess::NotYet) = literal(bytes, b"PRI * HTTP/2.0\r\n", AppProtocol::Http2) {
        return guess;
    }
    let Some(space) = bytes.iter().take(METHOD_BYTES_MAX + 1).position(|&byte| byte == b' ' || byte == b'\t') else {
        let plausible = bytes.len() <= METHOD_BYTES_MAX
            && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        return if plausible { Guess::NotYet } else { Guess::No };
    };
    let method = &bytes[..space];
    if HTTP_METHODS.iter().any(|known| method.eq_ignore_ascii_case(known)) {
        return Guess::Is(AppProtocol::Http1);
    }
    if method.is_empty() || !method.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Guess::No;
    }
    match memchr::memchr(b'\n', bytes) {
        Some(end) => match line_version(&bytes[..end]) {
            Some(protocol) => Guess::Is(protocol),
            None => Guess::No,
        },
        None if memchr::memchr(0, bytes).is_some() => Guess::No,
        None => Guess::NotYet,
    }
}

/// The protocol that a request line's last word names.
fn line_version(line: &[u8]) -> Option<AppProtocol> {
    let line = line.trim_ascii_end();
    let word = line.rsplit(|&byte| byte == b' ' || byte == b'\t').next()?;
    if word.len() == 8 && word[..5].eq_ignore_ascii_case(b"HTTP/") && word[5].is_ascii_digit() {
        Some(AppProtocol::Http1)
    } else if word == b"SIP/2.0" {
        Some(AppProtocol::Sip)
    } else {
        None
    }
}

fn http_response(bytes: &[u8]) -> Guess {
    let guess = literal(bytes, b"HTTP/", AppProtocol::Http1);
    match (guess, bytes.get(5)) {
        (Guess::Is(_), None) => Guess::NotYet,
        (Guess::Is(_), Some(digit)) if !digit.is_ascii_digit() => Guess::No,
        _ => guess,
    }
}

/// A TLS record (RFC 8446 section 5.1) or an SSL 2.0 client hello (RFC 5246 appendix E.2).
fn tls(bytes: &[u8]) -> Guess {
    match *bytes {
        [kind, ..] if (0x14..=0x17).contains(&kind) => match *bytes {
            [_, major, ..] if major != 3 => Guess::No,
            [_, _, minor, ..] if minor > 4 => Guess::No,
            [_, _, _, high, low, ..] => {
                let length = usize::from(high) << 8 | usize::from(low);
                let first = bytes.get(5).copied();
                match (kind, first) {
                    _ if length == 0 || length > super::tls::RECORD_BYTES_MAX => Guess::No,
                    (0x16, None) => Guess::NotYet,
                    (0x16, Some(message)) if message > 24 => Guess::No,
                    _ => Guess::Is(AppProtocol::Tls),
                }
            }
            _ => Guess::NotYet,
        },
        [high, ..] if high & 0x80 != 0 => match *bytes {
            [_, _, message, ..] if message != 1 => Guess::No,
            [_, _, _, major, ..] if major != 0 && major != 3 => Guess::No,
            [_, _, _, 0, minor, ..] if minor != 2 => Guess::No,
            [_, _, _, 3, minor, ..] if minor > 4 => Guess::No,
            // Lengths of cipher specs, session id (0 or 16) and challenge (16 to 32).
            [_, low, _, _, _, ciphers_high, ciphers_low, id_high, id_low, challenge_high, challenge, ..] => {
                let length = usize::from(high & 0x7f) << 8 | usize::from(low);
                let ciphers = usize::from(ciphers_high) << 8 | usize::from(ciphers_low);
                let id = usize::from(id_high) << 8 | usize::from(id_low);
                let sound = ciphers % 3 == 0
                    && challenge_high == 0
                    && (id == 0 || id == 16)
                    && length == 9 + ciphers + id + usize::from(challenge);
                if sound { Guess::Is(AppProtocol::Tls) } else { Guess::No }
            }
            _ => Guess::NotYet,
        },
        _ => Guess::No,
    }
}

/// SMB behind NetBIOS session framing (RFC 1002 section 4.3): a session request, or a message that is SMB.
fn smb(bytes: &[u8]) -> Guess {
    match *bytes {
        [0x81 | 0x82, 0, ..] => match *bytes {
            [0x81, 0, high, ..] if high != 0 => Guess::No,
            [0x81, 0, 0, 0x44, 0x20, ..] => Guess::Is(AppProtocol::Smb),
            [0x82, 0, 0, 0, ..] => Guess::Is(AppProtocol::Smb),
            [_, _, _, _, _, ..] => Guess::No,
            _ => Guess::NotYet,
        },
        [0x81 | 0x82] => Guess::NotYet,
        [0, ..] => match *bytes {
            [_, _, _, _, mark, ..] if !(0xfd..=0xff).contains(&mark) => Guess::No,
            [_, _, _, _, _, ref rest @ ..] => literal(rest, b"SMB", AppProtocol::Smb),
            _ => Guess::NotYet,
        },
        _ => Guess::No,
    }
}

fn smtp_command(bytes: &[u8]) -> Guess {
    literal(bytes, b"EHLO", AppProtocol::Smtp).or(|| literal(bytes, b"HELO", AppProtocol::Smtp))
}

fn ftp_command(bytes: &[u8]) -> Guess {
    literal(bytes, b"USER ", AppProtocol::Ftp)
        .or(|| literal(bytes, b"PASS ", AppProtocol::Ftp))
        .or(|| literal(bytes, b"PORT ", AppProtocol::Ftp))
}

/// The greeting of SMTP and FTP alike, `220 text`. The text may tell them apart; if it does not, the client will.
fn greeting(bytes: &[u8]) -> Guess {
    let shared = bytes.len().min(3);
    if bytes[..shared] != b"220"[..shared] {
        return Guess::No;
    }
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let names = |word: &[u8]| line.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
    match bytes.get(3) {
        None => Guess::NotYet,
        Some(b' ' | b'-') if names(b"SMTP") => Guess::Is(AppProtocol::Smtp),
        Some(b' ' | b'-') if names(b"FTP") => Guess::Is(AppProtocol::Ftp),
        Some(b' ' | b'-') => Guess::NotYet,
        Some(_) => Guess::No,
    }
}

/// TPKT with an X.224 connection request or confirmation (MS-RDPBCGR section 2.2.1.1).
fn rdp(bytes: &[u8]) -> Guess {
    match *bytes {
        [3, 0, high, low, header, code, ..] => {
            let length = usize::from(high) << 8 | usize::from(low);
            let sound = usize::from(header) + 5 == length && matches!(code, 0xe0 | 0xd0);
            if sound { Guess::Is(AppProtocol::Rdp) } else { Guess::No }
        }
        [3] | [3, 0] | [3, 0, _] | [3, 0, _, _] | [3, 0, _, _, _] => Guess::NotYet,
        _ => Guess::No,
    }
}

/// Connection-oriented DCE/RPC version 5 (C706 section 12.6.3.1): version, type, data representation.
fn dcerpc(bytes: &[u8]) -> Guess {
    match *bytes {
        [5, minor, kind, ..] if minor > 1 || kind > 19 => Guess::No,
        [5, _, _, _, order, float, 0, 0, ..] => {
            if matches!(order, 0 | 0x10) && float < 4 {
                Guess::Is(AppProtocol::Dcerpc)
            } else {
                Guess::No
            }
        }
        [5, _, _, _, _, _, _, _, ..] => Guess::No,
        [5, ..] => Guess::NotYet,
        _ => Guess::No,
    }
}

/// DNS behind its two length bytes (RFC 1035 section 4.2.2).
fn dns_over_tcp(side: Direction, bytes: &[u8]) -> Guess {
    let Some((length, message)) = bytes.split_first_chunk::<2>() else {
        return Guess::NotYet;
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length < dns::HEADER_BYTES || !dns::looks_like_header(message, side == Direction::ToServer) {
        return Guess::No;
    }
    if message.len() < dns::HEADER_BYTES {
        return Guess::NotYet;
    }
    let message = &message[..message.len().min(length)];
    if dns::looks_like_message(message, side == Direction::ToServer) {
        Guess::Is(AppProtocol::Dns)
    } else if message.len() < length {
        Guess::NotYet
    } else {
        Guess::No
    }
}

/// BOOTP header and the magic cookie of its options (RFC 2131 section 3).
fn is_dhcp(bytes: &[u8]) -> bool {
    matches!(bytes, [1 | 2, _, 0..=16, ..]) && bytes.get(236..240) == Some(&[0x63, 0x82, 0x53, 0x63])
}

/// A QUIC long header of version 1 or 2 (RFC 9000 section 17.2, RFC 9369).
fn is_quic(bytes: &[u8]) -> bool {
    match *bytes {
        [first, a, b, c, d, id_length, ..] => {
            first & 0xc0 == 0xc0 && matches!([a, b, c, d], [0, 0, 0, 1] | [0x6b, 0x33, 0x43, 0xcf]) && id_length <= 20
        }
        _ => false,
    }
}

fn is_sip(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    line.starts_with(b"SIP/2.0 ") || line.trim_ascii_end().ends_with(b" SIP/2.0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use AppProtocol::*;
    use Direction::{ToClient, ToServer};

    #[track_caller]
    fn check(side: Direction, bytes: &[u8], expected: Guess) {
        assert_eq!(tcp(side, bytes), expected, "{}", bytes.escape_ascii());
        if let Guess::Is(_) = expected {
            for end in 0..bytes.len() {
                let shorter = tcp(side, &bytes[..end]);
                assert!(shorter == expected || shorter == Guess::NotYet, "{shorter:?} after {end} bytes");
            }
        }
    }

    #[test]
    fn first_bytes_name_their_protocol() {
        check(ToServer, b"GET / HTTP/1.1\r\n", Guess::Is(Http1));
        check(ToServer, b"\r\n\r\nget\t/ HTTP/1.1\r\n", Guess::Is(Http1));
        check(ToServer, b"FROB /x HTTP/1.1\r\n", Guess::Is(Http1));
        check(ToServer, b"FROB /index.html\r\n", Guess::No);
        check(ToServer, b"PRI * HTTP/2.0\r\n", Guess::Is(Http2));
        check(ToServer, b"SSH-2.0-x", Guess::Is(Ssh));
        check(ToServer, b"EHLO me", Guess::Is(Smtp));
        check(ToServer, b"USER joe", Guess::Is(Ftp));
        check(ToServer, &[0x16, 3, 1, 0, 100, 1, 0], Guess::Is(Tls));
        check(ToServer, &[0x16, 3, 9, 0, 100, 1, 0], Guess::No);
        check(ToServer, &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10], Guess::Is(Tls));
        check(ToServer, b"\0\0\0\x54\xffSMBr", Guess::Is(Smb));
        check(ToServer, b"\0\0\0\x54\xfeSMB@", Guess::Is(Smb));
        check(ToServer, &[3, 0, 0, 19, 14, 0xe0, 0], Guess::Is(Rdp));
        check(ToServer, &[5, 0, 11, 3, 0x10, 0, 0, 0], Guess::Is(Dcerpc));
        check(ToServer, b"\0\x11\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01", Guess::Is(Dns));
        check(ToClient, b"HTTP/1.1 200 OK", Guess::Is(Http1));
        check(ToClient, b"220 mail ESMTP", Guess::Is(Smtp));
        check(ToClient, b"220 ProFTPD", Guess::Is(Ftp));
        check(ToClient, b"220 ready\r\n", Guess::NotYet);
        check(ToClient, b"+OK hello", Guess::Is(Pop3));
        check(ToClient, b"* OK hello", Guess::Is(Imap));
        check(ToServer, b"\x7fELF\x82\x01\x01\0", Guess::No);
    }

    #[test]
    fn probes_end_within_the_limit() {
        let long = [b"FROB ".as_slice(), &vec![b'a'; RECOGNITION_BYTES_MAX]].concat();
        check(ToServer, &long, Guess::No);
    }
}
