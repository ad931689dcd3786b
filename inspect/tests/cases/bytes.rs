//! The notation in which cases write bytes.
//!
//! | token | bytes |
//! | --- | --- |
//! | `"GET /\r\n"` | text; escapes are `\r \n \t \0 \\ \"` and `\xHH` |
//! | `0a0b 0c` | pairs of hexadecimal digits |
//! | `30*"a"` | a token thirty times |
//! | `len16[ ... ]` | what is inside behind its length: `len8` to `len32`, little-endian `le16`, `le32`, ASN.1 `der` |
//! | `gzip[ ... ]` | what is inside, packed: `gzip`, `zlib`, `deflate` |
//! | `ip4[ ... ]` | an IPv4 header, its checksum put in |
//! | `base64[ ... ]` | what is inside, as text in Base64 |
//! | `dns"www.example.com"` | a name as labels, its root included |
//! | `utf16"name"` | text in UTF-16, little-endian |
//! | `# ...` | nothing, up to the end of the line |
//!
//! Lengths are counted rather than written, so that a case can be changed without counting again; where a length lies, it is
//! written out.

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

/// Reads `text` to its end.
pub fn parse(text: &str) -> Result<Vec<u8>, String> {
    let mut reader = Reader { rest: text };
    let bytes = reader.sequence()?;
    if reader.rest.is_empty() { Ok(bytes) } else { Err(format!("an odd `]` before {:?}", reader.rest)) }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// Tokens up to the end or to a closing bracket.
    fn sequence(&mut self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        loop {
            self.skip_space();
            if self.rest.is_empty() || self.rest.starts_with(']') {
                return Ok(bytes);
            }
            bytes.extend(self.token()?);
        }
    }

    fn skip_space(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, rest)| rest);
        }
    }

    fn token(&mut self) -> Result<Vec<u8>, String> {
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        match rest.chars().next() {
            Some('*') => {
                let count: usize = word.parse().map_err(|_| format!("{word}* is no count"))?;
                self.rest = &rest[1..];
                Ok(self.token()?.repeat(count))
            }
            Some('"') => {
                self.rest = rest;
                let text = self.quoted()?;
                named(word, &text)
            }
            Some('[') => {
                self.rest = &rest[1..];
                let inside = self.sequence()?;
                self.rest = self.rest.strip_prefix(']').ok_or_else(|| format!("{word}[ without `]`"))?;
                wrapped(word, inside)
            }
            _ => {
                self.rest = rest;
                hex(word)
            }
        }
    }

    /// A text in quotes, which stand before it still.
    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(bytes);
                }
                '\\' => match characters.next().map(|(_, character)| character) {
                    Some('r') => bytes.push(b'\r'),
                    Some('n') => bytes.push(b'\n'),
                    Some('t') => bytes.push(b'\t'),
                    Some('0') => bytes.push(0),
                    Some('x') => {
                        let digits: String = characters.by_ref().take(2).map(|(_, digit)| digit).collect();
                        bytes.extend(hex(&digits)?);
                    }
                    Some(character @ ('\\' | '"')) => bytes.push(character as u8),
                    other => return Err(format!("no escape: \\{other:?}")),
                },
                character => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Err("a text without its closing quote".to_owned())
    }
}

/// Pairs of hexadecimal digits.
pub fn hex(word: &str) -> Result<Vec<u8>, String> {
    if word.is_empty() || !word.len().is_multiple_of(2) || !word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("{word:?} is no pairs of hexadecimal digits"));
    }
    let pair = |at: usize| u8::from_str_radix(&word[at..at + 2], 16).map_err(|error| error.to_string());
    (0..word.len()).step_by(2).map(pair).collect()
}

fn named(word: &str, text: &[u8]) -> Result<Vec<u8>, String> {
    match word {
        "dns" => {
            let labels = text.split(|&byte| byte == b'.').filter(|label| !label.is_empty());
            let mut bytes: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label].concat()).collect();
            bytes.push(0);
            Ok(bytes)
        }
        "utf16" => Ok(text.iter().flat_map(|&byte| [byte, 0]).collect()),
        _ => Err(format!("nothing is called {word}\"...\"")),
    }
}

fn wrapped(word: &str, inside: Vec<u8>) -> Result<Vec<u8>, String> {
    let len = inside.len() as u32;
    let before = match word {
        "len8" => len.to_be_bytes()[3..].to_vec(),
        "len16" => len.to_be_bytes()[2..].to_vec(),
        "len24" => len.to_be_bytes()[1..].to_vec(),
        "len32" => len.to_be_bytes().to_vec(),
        "le16" => len.to_le_bytes()[..2].to_vec(),
        "le32" => len.to_le_bytes().to_vec(),
        "der" if len < 128 => vec![len as u8],
        "der" if len < 256 => vec![0x81, len as u8],
        "der" => [&[0x82], &len.to_be_bytes()[2..]].concat(),
        "gzip" => return packed(GzEncoder::new(Vec::new(), Compression::best()), &inside, GzEncoder::finish),
        "zlib" => return packed(ZlibEncoder::new(Vec::new(), Compression::best()), &inside, ZlibEncoder::finish),
        "deflate" => {
            return packed(DeflateEncoder::new(Vec::new(), Compression::best()), &inside, DeflateEncoder::finish);
        }
        "ip4" => return ipv4_header(inside),
        "base64" => return Ok(base64(&inside)),
        _ => return Err(format!("nothing is called {word}[...]")),
    };
    let room = u32::MAX >> (32 - 8 * before.len().min(4));
    if word != "der" && len > room {
        return Err(format!("{len} bytes are too many for {word}"));
    }
    Ok([before, inside].concat())
}

/// The header with its checksum (RFC 1071).
fn ipv4_header(mut header: Vec<u8>) -> Result<Vec<u8>, String> {
    if header.len() < 20 || !header.len().is_multiple_of(4) {
        return Err(format!("{} bytes are no IPv4 header", header.len()));
    }
    header[10..12].fill(0);
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    Ok(header)
}

fn packed<W: Write>(
    mut encoder: W,
    inside: &[u8],
    finish: fn(W) -> std::io::Result<Vec<u8>>,
) -> Result<Vec<u8>, String> {
    encoder.write_all(inside).and_then(|()| finish(encoder)).map_err(|error| error.to_string())
}

fn base64(inside: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for group in inside.chunks(3) {
        let bits = group.iter().chain([&0, &0]).take(3).fold(0, |bits, &byte| bits << 8 | usize::from(byte));
        for at in 0..4 {
            text.push(if at <= group.len() { DIGITS[bits >> (18 - 6 * at) & 63] } else { b'=' });
        }
    }
    text
}

#[test]
fn the_notation() {
    for (text, bytes) in [
        (r#""a\r\n\x00\\\"" 0A0b # rest"#, b"a\r\n\0\\\"\x0a\x0b".as_slice()),
        (r#"2*"ab" 3*00"#, b"abab\0\0\0"),
        (r#"len8[ "ab" len16[ 01 ] ]"#, b"\x05ab\0\x01\x01"),
        (r#"30 der[ 02 der[ 05 ] ]"#, b"\x30\x03\x02\x01\x05"),
        (r#"le32[ 01 ] le16[]"#, b"\x01\0\0\0\x01\0\0"),
        (r#"dns"a.bc""#, b"\x01a\x02bc\0"),
        (r#"utf16"ab""#, b"a\0b\0"),
        (r#"base64["any carnal pleas"]"#, b"YW55IGNhcm5hbCBwbGVhcw=="),
    ] {
        assert_eq!(parse(text).as_deref(), Ok(bytes), "{text}");
    }
    for wrong in ["abc", "zz", "\"a", "len8[ 00", "]", "len8[ 256*00 ]", "other[ ]", "\"\\q\""] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
