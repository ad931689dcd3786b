//! Bytes that a guest wrote, as text that does no harm to who reads it.

use std::borrow::Cow;
use std::net::IpAddr;

/// Whether a terminal or an editor would act upon a character instead of showing it: controls, and what changes the
/// direction of writing or is not seen at all.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Bytes as text: what is UTF-8 and shows stays as it is, every other byte is written `\x1b` (attack F09). Suricata writes
/// them so too.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(is_harmful) => Cow::Borrowed(text),
        Ok(_) | Err(_) => Cow::Owned(escaped(bytes)),
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 16);
    let escape = |out: &mut String, bytes: &[u8]| {
        for byte in bytes {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    };
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_harmful(c) {
                escape(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                out.push(c);
            }
        }
        escape(&mut out, chunk.invalid());
    }
    out
}

/// Bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as pairs of hex digits with colons between.
pub fn hex_pairs(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// An address as Suricata writes it: of IPv6 every digit, so that equal addresses are equal texts whoever wrote them.
pub fn address_text(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let groups = address.segments().map(|group| format!("{group:04x}"));
            groups.join(":")
        }
    }
}

/// A payload as Suricata prints it: every byte that ASCII cannot show is a dot, but line ends stay.
pub fn printable(bytes: &[u8]) -> String {
    let show = |&byte: &u8| match byte {
        b' '..=b'~' | b'\r' | b'\n' => char::from(byte),
        _ => '.',
    };
    bytes.iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_stays_and_what_acts_is_written_out() {
        assert_eq!(text(b"GET /a?b=\"c\" \\ \xc3\xa4"), "GET /a?b=\"c\" \\ \u{e4}");
        assert_eq!(text(b"\x1b[2J\r\n\0\x7f"), "\\x1b[2J\\x0d\\x0a\\x00\\x7f");
        assert_eq!(text(b"a\xff\xfe\xc3"), "a\\xff\\xfe\\xc3");
        assert_eq!(text("exe.\u{202e}txt \u{9b}31m".as_bytes()), "exe.\\xe2\\x80\\xaetxt \\xc2\\x9b31m");
        assert_eq!(hex_pairs(&[0, 0xab]), "00:ab");
        assert_eq!(address_text("2001:db8::1:20".parse().unwrap()), "2001:0db8:0000:0000:0000:0000:0001:0020");
        assert_eq!((hex(&[0, 0xab]), printable(b"a\x1b\n\xff")), ("00ab".to_owned(), "a.\n.".to_owned()));
    }
}
