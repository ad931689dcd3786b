//! What is done to a buffer before a rule's contents look at it.

/// A transformation; several run in the order in which the rule names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// A dot before the first byte, so that `.example.com` matches `example.com` as well as its subdomains.
    DotPrefix,
    ToLowercase,
    ToUppercase,
    /// All white space removed.
    StripWhitespace,
    /// Runs of white space made one space.
    CompressWhitespace,
    /// `%41` and `+` decoded.
    UrlDecode,
    /// Header names in lower case, values untouched.
    HeaderLowercase,
    /// Header fields whose names begin with a colon removed (HTTP/2).
    StripPseudoHeaders,
    /// Each byte combined with the key's, the key repeated.
    Xor {
        key: [u8; Transform::XOR_KEY_MAX],
        length: u8,
    },
}

impl Transform {
    /// Longest key of `xor`.
    pub(crate) const XOR_KEY_MAX: usize = 16;

    /// The transformation that a keyword without value names.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "dotprefix" => Transform::DotPrefix,
            "to_lowercase" => Transform::ToLowercase,
            "to_uppercase" => Transform::ToUppercase,
            "strip_whitespace" => Transform::StripWhitespace,
            "compress_whitespace" => Transform::CompressWhitespace,
            "url_decode" => Transform::UrlDecode,
            "header_lowercase" => Transform::HeaderLowercase,
            "strip_pseudo_headers" => Transform::StripPseudoHeaders,
            _ => return None,
        })
    }

    /// `xor:"0d0ac8ff"`, as hexadecimal.
    pub(crate) fn xor(value: &str) -> Option<Self> {
        let digits: Vec<u8> = value.bytes().map(super::content::hex_digit).collect::<Option<_>>()?;
        let length = digits.len() / 2;
        if length == 0 || length > Self::XOR_KEY_MAX || !digits.len().is_multiple_of(2) {
            return None;
        }
        let mut key = [0; Self::XOR_KEY_MAX];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Some(Transform::Xor { key, length: u8::try_from(length).ok()? })
    }

    /// Appends the transformed `data` to `out`.
    pub(crate) fn apply(&self, data: &[u8], out: &mut Vec<u8>) {
        match self {
            Transform::DotPrefix => {
                out.push(b'.');
                out.extend_from_slice(data);
            }
            Transform::ToLowercase => out.extend(data.iter().map(u8::to_ascii_lowercase)),
            Transform::ToUppercase => out.extend(data.iter().map(u8::to_ascii_uppercase)),
            Transform::StripWhitespace => out.extend(data.iter().filter(|&&byte| !is_space(byte))),
            Transform::CompressWhitespace => {
                let mut after_space = false;
                for &byte in data {
                    if !(is_space(byte) && after_space) {
                        out.push(byte);
                    }
                    after_space = is_space(byte);
                }
            }
            Transform::UrlDecode => url_decode(data, out),
            Transform::HeaderLowercase => {
                let mut in_name = true;
                for &byte in data {
                    in_name = (in_name && byte != b':') || byte == b'\n';
                    out.push(if in_name { byte.to_ascii_lowercase() } else { byte });
                }
            }
            Transform::StripPseudoHeaders => {
                let lines = data.split_inclusive(|&byte| byte == b'\n');
                out.extend(lines.filter(|line| !line.starts_with(b":")).flatten());
            }
            Transform::Xor { key, length } => {
                let key = &key[..usize::from(*length)];
                out.extend(data.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
            }
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

fn url_decode(mut data: &[u8], out: &mut Vec<u8>) {
    let digit = super::content::hex_digit;
    while let [byte, rest @ ..] = data {
        data = rest;
        match (*byte, rest) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, behind @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    data = behind;
                }
                _ => out.push(b'%'),
            },
            (byte, _) => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transform() {
        for (transform, data, expected) in [
            (Transform::DotPrefix, "a.b", ".a.b"),
            (Transform::ToLowercase, "AbC", "abc"),
            (Transform::ToUppercase, "AbC", "ABC"),
            (Transform::StripWhitespace, " a\r\nb\t", "ab"),
            (Transform::CompressWhitespace, "a \t b  c", "a b c"),
            (Transform::UrlDecode, "%41+%4%zz%", "A %4%zz%"),
            (Transform::HeaderLowercase, "Host: A\r\nX-Y: B", "host: A\r\nx-y: B"),
            (Transform::StripPseudoHeaders, ":m: x\r\na: b\r\n", "a: b\r\n"),
            (Transform::xor("2000").unwrap(), "aBc", "ABC"),
        ] {
            let mut out = Vec::new();
            transform.apply(data.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{transform:?}");
        }
        assert_eq!(Transform::xor("2"), None);
        assert_eq!(Transform::xor(""), None);
    }
}
