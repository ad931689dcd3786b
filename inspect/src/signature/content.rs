//! One byte pattern of a rule: how it is written, and how it is looked for.

use super::cause::Cause;
use super::work::weight;

/// A number in an option: written out, or taken from the packet by an earlier `byte_extract` or `byte_math`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// Written out.
    Literal(i64),
    /// The value that the signature's variable of this number has at the time.
    Variable(u8),
}

/// A byte pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// The bytes; in lower case when case is ignored.
    bytes: Box<[u8]>,
    /// Whether ASCII case is ignored.
    pub(crate) nocase: bool,
    /// Index of the byte that is looked for first: the one that traffic carries least often.
    rarest: u16,
}

impl Pattern {
    pub(crate) fn new(bytes: Vec<u8>, nocase: bool) -> Self {
        let mut pattern = Self { bytes: bytes.into_boxed_slice(), nocase: false, rarest: 0 };
        if nocase {
            pattern.ignore_case();
        }
        pattern.choose_rarest();
        pattern
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The byte that traffic carries least often. Of no bytes, a common one.
    pub(crate) fn rarest(&self) -> Letter {
        let byte = self.bytes.get(usize::from(self.rarest)).copied().unwrap_or(0);
        Letter([byte, if self.nocase { byte.to_ascii_uppercase() } else { byte }])
    }

    pub(crate) fn ignore_case(&mut self) {
        self.nocase = true;
        self.bytes.make_ascii_lowercase();
        self.choose_rarest();
    }

    fn choose_rarest(&mut self) {
        let commonness = |byte: u8| byte_commonness(byte) + u8::from(self.nocase && byte.is_ascii_alphabetic());
        let rarest = (0..self.bytes.len()).min_by_key(|&index| commonness(self.bytes[index])).unwrap_or(0);
        self.rarest = u16::try_from(rarest).unwrap_or(0);
    }

    /// Whether `text`, as long as the pattern, equals it.
    #[inline]
    pub(crate) fn equals(&self, text: &[u8]) -> bool {
        if self.nocase { text.eq_ignore_ascii_case(&self.bytes) } else { text == &*self.bytes }
    }

    /// Offset of the first occurrence in `text`. Adds what the search cost to `work`, in units of about a nanosecond, and
    /// gives up when that has come to more than `work_max`: `None` is no answer then.
    pub(crate) fn find(&self, text: &[u8], work: &mut u64, work_max: u64) -> Option<usize> {
        let length = self.bytes.len();
        if length == 0 {
            return Some(0);
        }
        let last_start = text.len().checked_sub(length)?;
        let (rarest, letter) = (usize::from(self.rarest), self.rarest());
        // What one comparison can cost at worst: a hostile text repeats all but the pattern's last byte.
        let comparison = weight::COMPARISON + length as u64 / 16;
        let mut start = 0;
        while start <= last_start && *work <= work_max {
            let window = &text[start + rarest..=last_start + rarest];
            let found = letter.find(window);
            *work += found.unwrap_or(window.len()) as u64 / 16 + comparison;
            start += found?;
            if self.equals(&text[start..start + length]) {
                return Some(start);
            }
            start += 1;
        }
        None
    }
}

/// A byte to be looked for, in both cases if case does not count; else it is there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Letter([u8; 2]);

impl Letter {
    /// Offset of the first one in `text`.
    #[inline]
    pub(crate) fn find(self, text: &[u8]) -> Option<usize> {
        let [one, other] = self.0;
        if one == other { memchr::memchr(one, text) } else { memchr::memchr2(one, other, text) }
    }

    /// How common it is in traffic, roughly: 0 is rare.
    pub(crate) fn commonness(self) -> u8 {
        byte_commonness(self.0[0])
    }
}

/// How common a byte is in traffic, roughly: 0 is rare.
fn byte_commonness(byte: u8) -> u8 {
    match byte {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b' ' | 0 => 8,
        b'/' | b'.' | b'-' | b':' | b'=' | b'\r' | b'\n' | 0xff => 7,
        b'c' | b'd' | b'h' | b'l' | b'm' | b'p' | b'u' => 6,
        b'0'..=b'9' => 5,
        b'b' | b'f' | b'g' | b'w' | b'y' | b',' | b';' | b'"' => 4,
        b'A'..=b'Z' | b'k' | b'v' => 3,
        b'j' | b'q' | b'x' | b'z' | 1..=8 => 2,
        0x20..=0x7e => 1,
        _ => 0,
    }
}

/// A pattern with the places where it may stand in its buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// What is looked for.
    pub(crate) pattern: Pattern,
    /// The buffer must not hold it there.
    pub(crate) negated: bool,
    /// First byte of the buffer at which it may start.
    pub(crate) offset: Option<Operand>,
    /// Bytes from the offset within which it must end.
    pub(crate) depth: Option<Operand>,
    /// Bytes between the end of the previous match and its start, at least.
    pub(crate) distance: Option<Operand>,
    /// Bytes from there within which it must end.
    pub(crate) within: Option<Operand>,
    /// It must be the buffer's last bytes.
    pub(crate) ends_with: bool,
    /// The rule's author wants this pattern to be the one that is searched for first.
    pub(crate) fast: FastPattern,
}

/// What the rule's author said about `fast_pattern`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FastPattern {
    /// Nothing: the engine chooses.
    Unsaid,
    /// `fast_pattern`, `fast_pattern:only`: this pattern.
    Whole,
    /// `fast_pattern:offset,length`: these bytes of the pattern.
    Chop(u16, u16),
}

impl Content {
    pub(crate) fn new(bytes: Vec<u8>, negated: bool) -> Self {
        Self {
            pattern: Pattern::new(bytes, false),
            negated,
            offset: None,
            depth: None,
            distance: None,
            within: None,
            ends_with: false,
            fast: FastPattern::Unsaid,
        }
    }

    /// Whether its place depends on the previous match.
    pub(crate) fn is_relative(&self) -> bool {
        self.distance.is_some() || self.within.is_some()
    }

    /// The region of a text of `length` bytes in which the pattern may lie, `at` being the end of the previous match
    /// and
    /// `base` the place of the text's first byte in its buffer. `None` when there is no such region.
    pub(crate) fn region(
        &self,
        length: usize,
        at: usize,
        base: u64,
        value: impl Fn(Operand) -> i64,
    ) -> Option<(usize, usize)> {
        let signed = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (length, at) = (signed(length), signed(at));
        let base = i64::try_from(base).ok()?;
        let number = |operand: Option<Operand>, absent: i64| operand.map_or(absent, &value);
        let (start, end) = if self.is_relative() {
            let start = at.saturating_add(number(self.distance, 0));
            (start, self.within.map_or(length, |within| start.saturating_add(value(within))))
        } else {
            let start = number(self.offset, 0).saturating_sub(base);
            (start, self.depth.map_or(length, |depth| start.saturating_add(value(depth))))
        };
        let (start, end) = (start.max(0), end.min(length));
        if start > end {
            return None;
        }
        Some((usize::try_from(start).ok()?, usize::try_from(end).ok()?))
    }
}

/// Reads the value of `content`: quoted, `|hex|` between bars, backslash before `"`, `;`, `:`, `\`, and a leading `!`.
pub(crate) fn parse_content(keyword: &str, value: &str) -> Result<(Vec<u8>, bool), Cause> {
    let error = |expected: &str| Cause::value(keyword, expected);
    let (negated, text) = match value.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, value),
    };
    let inner = unquote(text).ok_or_else(|| error("a pattern in double quotes"))?;
    let bytes = pattern_bytes(inner).ok_or_else(|| error("bytes, |hex| and the escapes \\\" \\; \\: \\\\"))?;
    if bytes.is_empty() {
        return Err(error("a pattern of at least one byte"));
    }
    if bytes.len() > crate::limits::PATTERN_BYTES_MAX {
        return Err(Cause::Limit("bytes in a pattern"));
    }
    Ok((bytes, negated))
}

/// What stands between the quotes.
pub(crate) fn unquote(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    Some(inner)
}

fn pattern_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'\\' => match rest.next()? {
                escaped @ (b'"' | b';' | b':' | b'\\') => bytes.push(escaped),
                _ => return None,
            },
            b'|' => {
                let mut high: Option<u8> = None;
                loop {
                    let byte = rest.next()?;
                    match (byte, high) {
                        (b'|', None) => break,
                        (b' ', _) => {}
                        (digit, None) => high = Some(hex_digit(digit)?),
                        (digit, Some(nibble)) => {
                            bytes.push(nibble << 4 | hex_digit(digit)?);
                            high = None;
                        }
                    }
                }
            }
            b'"' => return None,
            _ => bytes.push(byte),
        }
    }
    Some(bytes)
}

/// The value of a hexadecimal digit.
pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(value: &str, expected: Option<(&[u8], bool)>) {
        let got = parse_content("content", value).ok();
        assert_eq!(got, expected.map(|(bytes, negated)| (bytes.to_vec(), negated)), "{value}");
    }

    #[test]
    fn written_forms() {
        check(r#""abc""#, Some((b"abc", false)));
        check(r#"!"abc""#, Some((b"abc", true)));
        check(r#"! "abc""#, Some((b"abc", true)));
        check(r#""a|41 42 0d0A|b""#, Some((b"aAB\r\nb", false)));
        check(r#""\"\;\:\\""#, Some((b"\";:\\", false)));
        check(r#""a:b""#, Some((b"a:b", false)));
        check(r#""|4|""#, None);
        check(r#""|4g|""#, None);
        check(r#""|41""#, None);
        check(r#""\n""#, None);
        check(r#""""#, None);
        check("abc", None);
        check(r#""abc"#, None);
        check(r#""a"b""#, None);
    }

    #[test]
    fn a_search_ends_with_its_budget() {
        let pattern = Pattern::new(b"x12".to_vec(), false);
        let text = "x".repeat(250_000) + "x12";
        let mut work = 0;
        assert_eq!(pattern.find(text.as_bytes(), &mut work, 1_000), None);
        assert!((1_000..1_100).contains(&work), "{work}");
        assert_eq!(pattern.find(text.as_bytes(), &mut work, u64::MAX), Some(250_000));
    }

    proptest! {
        #[test]
        fn find_equals_naive(text in "[aAbB/]{0,40}", pattern in "[aAbB/]{1,4}", nocase: bool) {
            let fold = |text: &str| if nocase { text.to_ascii_lowercase() } else { text.to_owned() };
            let expected = fold(&text).find(&fold(&pattern));
            let found = Pattern::new(pattern.clone().into_bytes(), nocase).find(text.as_bytes(), &mut 0, u64::MAX);
            prop_assert_eq!(found, expected);
        }
    }
}
