//! The request target: taken apart and normalised the way a tolerant server would, so that every spelling of a path
//! gives the same `http.uri`.
//!
//! The path is percent-decoded (`%xx` and IIS's `%uxxxx`), backslashes become slashes, runs of slashes become one, UTF-8
//! becomes single bytes by best fit (overlong forms included), and dot segments are removed (RFC 3986 section 5.2.4). The
//! query and the fragment are percent-decoded only. Broken encodings stay as they are.

/// The parts of a request target, as sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) host: Option<&'a [u8]>,
    pub(super) port: Option<&'a [u8]>,
    pub(super) path: Option<&'a [u8]>,
    pub(super) query: Option<&'a [u8]>,
    pub(super) fragment: Option<&'a [u8]>,
}

/// Splits at the place that was found, whose byte stays with the second half.
fn split(bytes: &[u8], place: Option<usize>) -> (&[u8], &[u8]) {
    bytes.split_at(place.unwrap_or(bytes.len()))
}

impl<'a> Target<'a> {
    /// Takes a target apart. A scheme is anything up to a colon unless the target starts with a slash; an authority
    /// follows a scheme only.
    pub(super) fn parse(bytes: &'a [u8]) -> Self {
        let mut target = Target::default();
        let mut rest = bytes;
        if bytes.first() != Some(&b'/')
            && let Some(colon) = memchr::memchr(b':', bytes)
        {
            rest = &bytes[colon + 1..];
            let after = match rest.strip_prefix(b"//") {
                Some(after) if after.first() != Some(&b'/') => after,
                _ => rest,
            };
            if after.first() != Some(&b'/') {
                let (authority, path) = split(after, memchr::memchr3(b'/', b'?', b'#', after));
                let host = match authority.iter().position(|&byte| byte == b'@') {
                    Some(at) => &authority[at + 1..],
                    None => authority,
                };
                let (host, port) = split_host(host);
                target.host = (!host.is_empty()).then_some(host);
                target.port = port;
                rest = path;
            }
        }
        let (path, rest) = split(rest, memchr::memchr2(b'?', b'#', rest));
        target.path = (!path.is_empty()).then_some(path);
        let (query, fragment) = split(rest, memchr::memchr(b'#', rest));
        target.query = query.strip_prefix(b"?");
        target.fragment = fragment.strip_prefix(b"#");
        target
    }

    /// Writes path, query and fragment, normalised, into an empty buffer; gives the length of the path.
    pub(super) fn normalise(&self, out: &mut Vec<u8>) -> usize {
        if let Some(path) = self.path {
            decode_path(path, out);
            fit_utf8(out);
            remove_dot_segments(out);
        }
        let path_length = out.len();
        if let Some(query) = self.query {
            out.push(b'?');
            decode_query(query, out);
        }
        if let Some(fragment) = self.fragment {
            out.push(b'#');
            decode_query(fragment, out);
        }
        path_length
    }
}

/// Splits a host and port, as in `Host` and in an authority: spaces around either do not count, and an IPv6 address in
/// brackets keeps its colons.
pub(super) fn split_host(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    let bytes = trim_spaces(bytes);
    let bytes = bytes.strip_prefix(b"//").unwrap_or(bytes);
    let end = match bytes.first() {
        Some(b'[') => bytes.iter().position(|&byte| byte == b']').map_or(bytes.len(), |at| at + 1),
        _ => bytes.iter().position(|byte| b"/?#:".contains(byte)).unwrap_or(bytes.len()),
    };
    let port =
        bytes[end..].strip_prefix(b":").map(|port| trim_spaces(split(port, memchr::memchr3(b'/', b'?', b'#', port)).0));
    (trim_spaces(&bytes[..end]), port.filter(|port| !port.is_empty()))
}

fn trim_spaces(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| byte != b' ').unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&byte| byte != b' ').map_or(start, |at| at + 1);
    &bytes[start..end]
}

/// Whether the bytes can be a host name or an IPv6 address in brackets. Underscores are let pass: they are common.
pub(super) fn is_host_name(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.len() > 255 {
        return false;
    }
    if bytes[0] == b'[' {
        let inner = bytes[1..].strip_suffix(b"]").unwrap_or_default();
        return std::str::from_utf8(inner).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let labels = bytes.strip_suffix(b".").unwrap_or(bytes).split(|&byte| byte == b'.');
    labels.into_iter().all(|label| {
        (1..=63).contains(&label.len())
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    })
}

/// The host as signatures see it: percent-decoded, lower case, without dots at the end.
pub(super) fn normalise_host(host: &[u8], out: &mut Vec<u8>) {
    decode_query(host, out);
    out.make_ascii_lowercase();
    while out.last() == Some(&b'.') {
        out.pop();
    }
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Reads what follows a percent sign: the byte that it stands for, and how many bytes that took.
fn percent(rest: &[u8]) -> Option<(u8, usize)> {
    match *rest {
        [b'u' | b'U', a, b, c, d, ..] => {
            let high = hex(a)? << 4 | hex(b)?;
            let low = hex(c)? << 4 | hex(d)?;
            Some((if high == 0 { low } else { best_fit(u32::from(high) << 8 | u32::from(low)) }, 5))
        }
        [b'u' | b'U', ..] => None,
        [a, b, ..] => Some((hex(a)? << 4 | hex(b)?, 2)),
        _ => None,
    }
}

fn decode_query(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr(b'%', bytes) {
        let (plain, rest) = (&bytes[..at], &bytes[at + 1..]);
        let (decoded, length) = percent(rest).unwrap_or((b'%', 0));
        out.extend_from_slice(plain);
        out.push(decoded);
        bytes = &rest[length..];
    }
    out.extend_from_slice(bytes);
}

fn decode_path(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr3(b'%', b'\\', b'/', bytes) {
        let (plain, rest) = (&bytes[..at], &bytes[at + 1..]);
        let (decoded, length) = match bytes[at] {
            b'%' => percent(rest).unwrap_or((b'%', 0)),
            _ => (b'/', 0),
        };
        let decoded = if decoded == b'\\' { b'/' } else { decoded };
        out.extend_from_slice(plain);
        if decoded != b'/' || out.last() != Some(&b'/') {
            out.push(decoded);
        }
        bytes = &rest[length..];
    }
    out.extend_from_slice(bytes);
}

/// Turns UTF-8 into single bytes. Overlong forms are decoded: they are how a slash is hidden. Each invalid byte becomes a
/// question mark.
fn fit_utf8(path: &mut Vec<u8>) {
    if path.is_ascii() {
        return;
    }
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let length = match byte {
            0..=0x7f => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 0,
        };
        let tail = path.get(at + 1..at + length).unwrap_or_default();
        if length == 1 {
            out.push(byte);
            at += 1;
        } else if length > 1 && tail.len() + 1 == length && tail.iter().all(|byte| byte & 0xc0 == 0x80) {
            let lead = u32::from(byte) & (0x7f >> length);
            let code = tail.iter().fold(lead, |code, &byte| code << 6 | u32::from(byte & 0x3f));
            out.push(best_fit(code));
            at += length;
        } else {
            out.push(b'?');
            at += 1;
        }
    }
    *path = out;
}

/// The Windows-1252 character that looks most like a code point, as servers on Windows map file names.
fn best_fit(code: u32) -> u8 {
    /// Latin Extended-A, U+0100 to U+017F, without its accents.
    const LATIN_EXTENDED: &[u8; 128] = b"AaAaAaCcCcCcCcDd\
        DdEeEeEeEeEeGgGgGgGgHhHhIiIiIiIiIi??JjKk?LlLlLl??LlNnNnNn???OoOoOo\x8c\x9cRrRrRrSsSsSs\x8a\x9aTtTtTtUuUuUuUuUuUuWwYy\x9fZzZz\x8e\x9e?";
    match code {
        0..=0xff => code as u8,
        0x100..=0x17f => LATIN_EXTENDED[(code - 0x100) as usize],
        0x2000..=0x200a | 0x3000 => b' ',
        0x2010..=0x2013 | 0x2212 => b'-',
        0x2018..=0x201b | 0x2032 => b'\'',
        0x201c..=0x201f | 0x2033 => b'"',
        0x2024 => b'.',
        0x2044 | 0x2215 => b'/',
        0x2216 => b'\\',
        0x2217 => b'*',
        0x2223 => b'|',
        0x2236 => b':',
        0x223c => b'~',
        0x2329 | 0x3008 => b'<',
        0x232a | 0x3009 => b'>',
        0xff01..=0xff5e => (code - 0xff01) as u8 + b'!',
        _ => b'?',
    }
}

fn remove_dot_segments(path: &mut Vec<u8>) {
    // Most dots stand before the ending of a file's name.
    if path.first() != Some(&b'.') && !memchr::memchr_iter(b'.', path).any(|at| at > 0 && path[at - 1] == b'/') {
        return;
    }
    let mut rest: &[u8] = path;
    while let Some(after) = rest.strip_prefix(b"./").or_else(|| rest.strip_prefix(b"../")) {
        rest = after;
    }
    if matches!(rest, b"." | b"..") {
        rest = &[];
    }
    let (first, mut rest) = split(rest, memchr::memchr(b'/', rest));
    let mut out = first.to_vec();
    // A slash that follows a removed segment and ends the path goes with it.
    let mut follows_removed = false;
    while let Some(after) = rest.strip_prefix(b"/") {
        let (segment, next) = split(after, memchr::memchr(b'/', after));
        match segment {
            b"." => follows_removed = true,
            b".." => {
                out.truncate(out.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                follows_removed = true;
            }
            b"" if next.is_empty() && follows_removed => {}
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
                follows_removed = false;
            }
        }
        rest = next;
    }
    *path = out;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: &[u8], expected: &[u8]) {
        let mut out = Vec::new();
        Target::parse(target).normalise(&mut out);
        assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    #[test]
    fn every_spelling_of_a_path_gives_the_same() {
        check(b"/a/b", b"/a/b");
        check(b"/%61/%62", b"/a/b");
        check(b"/%u0061/b", b"/a/b");
        check(b"\\a\\b", b"/a/b");
        check(b"//a///b", b"/a/b");
        check(b"/a/./b", b"/a/b");
        check(b"/x/../a/b", b"/a/b");
        check(b"/../a/b", b"/a/b");
        check(b"/a%2fb", b"/a/b");
        check(b"/a\xc0\xafb", b"/a/b");
        check(b"/a%uff0fb", b"/a/b");
        check(b"http://h:80/a/b", b"/a/b");
        check(b"http://u:p@h/a/b", b"/a/b");
        check(b"/a/b/..", b"/a");
        check(b"/a/", b"/a/");
        check(b"/a/./", b"/a");
        check(b"/a/.", b"/a");
        check(b"/", b"/");
        check(b"*", b"*");
    }

    #[test]
    fn queries_are_decoded_but_not_walked() {
        check(b"/a?b=%41/../c\\d", b"/a?b=A/../c\\d");
        check(b"/a?", b"/a?");
        check(b"/a#%62", b"/a#b");
        check(b"/a?b#c", b"/a?b#c");
        check(b"/a#b?c", b"/a#b?c");
        check(b"/%zz%4", b"/%zz%4");
        check(b"/%u12", b"/%u12");
    }

    #[test]
    fn hosts_lose_their_port() {
        assert_eq!(split_host(b" a.b:80 "), (b"a.b".as_slice(), Some(b"80".as_slice())));
        assert_eq!(split_host(b"[::1]:80"), (b"[::1]".as_slice(), Some(b"80".as_slice())));
        assert_eq!(split_host(b"a.b"), (b"a.b".as_slice(), None));
        let target = Target::parse(b"http://u:p@H.com:8/x@y");
        assert_eq!((target.host, target.port), (Some(b"H.com".as_slice()), Some(b"8".as_slice())));
        assert!(
            is_host_name(b"a-b.c_d.e") && is_host_name(b"[::1]") && !is_host_name(b"a..b") && !is_host_name(b"a b")
        );
    }
}
