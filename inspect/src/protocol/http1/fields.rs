//! Header fields: where each ends, what its name and value are.
//!
//! # Theory of operation
//!
//! Receivers disagree about line ends, so an attacker can make a header that a browser sees and a filter does not. The
//! reader takes what lax receivers take (the behaviour of libhtp, which was tuned on browsers):
//!
//! * a request's lines end with LF or CR LF; a response's also with CR, or LF CR;
//! * LF CR CR LF before an empty line, and in responses CR LF CR followed by blanks, are one line end, not two: browsers go
//!   on reading header fields there;
//! * a line that starts with a blank or NUL continues the field before it, except that in a response a line that looks
//!   like `token:` is a field of its own;
//! * a line without a colon is a field without a name.
//!
//! The block ends with an empty line. The reader works on a block that may still grow: where the next byte could change
//! the outcome, it says so and is asked again later, unless it is told that no more will come.

use std::borrow::Cow;

use crate::inspector::Direction;

/// Continuation lines of one field; more end the field. Keeps the work for one field linear.
const FOLDS_MAX: usize = 128;

/// One header field as it stands in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: Cow<'a, [u8]>,
    /// The line had no colon.
    pub(super) lacks_colon: bool,
    /// The line began with a blank although there was nothing to continue.
    pub(super) is_misfolded: bool,
}

/// What the reader found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    Field(Field<'a>),
    /// The block is over; the reader stands behind it.
    End,
    /// More bytes are needed.
    More,
}

/// Reads the fields of a block one after the other.
pub(super) struct Reader<'a> {
    side: Direction,
    bytes: &'a [u8],
    /// Everything before this has been handed out.
    pub(super) at: usize,
    /// No more bytes will come.
    is_whole: bool,
}

/// More bytes are needed before anything can be said.
struct Short;

impl<'a> Reader<'a> {
    pub(super) fn new(side: Direction, bytes: &'a [u8], at: usize, is_whole: bool) -> Self {
        Reader { side, bytes, at, is_whole }
    }

    pub(super) fn next(&mut self) -> Next<'a> {
        match self.try_next() {
            Ok(next) => next,
            Err(Short) => Next::More,
        }
    }

    fn try_next(&mut self) -> Result<Next<'a>, Short> {
        if let Some(length) = self.line_end(self.at)? {
            self.at += length;
            return Ok(Next::End);
        }
        if self.at >= self.bytes.len() {
            return if self.is_whole { Ok(Next::End) } else { Err(Short) };
        }
        let start = self.at;
        let colon = self.colon(start)?;
        let (value, end) = self.value(colon.map_or(start, |colon| colon + 1))?;
        let name = colon.map_or(&b""[..], |colon| &self.bytes[start..colon]);
        self.at = end;
        Ok(Next::Field(Field {
            name: trim(name),
            value,
            lacks_colon: colon.is_none(),
            is_misfolded: colon.is_some() && matches!(self.bytes[start], b' ' | b'\t'),
        }))
    }

    fn ends_line(&self, byte: u8) -> bool {
        byte == b'\n' || (byte == b'\r' && self.side == Direction::ToClient)
    }

    /// Finds the colon that ends a name. A line end followed by a space does not end the name.
    fn colon(&self, start: usize) -> Result<Option<usize>, Short> {
        let mut ended_by = None;
        for (offset, &byte) in self.bytes[start..].iter().enumerate() {
            match ended_by {
                None if byte == b':' => return Ok(Some(start + offset)),
                None if self.ends_line(byte) => ended_by = Some(byte),
                None => {}
                Some(_) if byte == b' ' => ended_by = None,
                Some(b'\r') if byte == b'\n' => ended_by = Some(byte),
                Some(_) => return Ok(None),
            }
        }
        if self.is_whole { Ok(None) } else { Err(Short) }
    }

    /// Reads a value with its continuation lines; gives the place behind its line end too.
    fn value(&self, start: usize) -> Result<(Cow<'a, [u8]>, usize), Short> {
        let (first, end) = self.line(start)?;
        // Nearly every line: its end is an ordinary one, and what follows neither continues it nor is an end too.
        if let [b'\r', b'\n', next, ..] = self.bytes[end..]
            && !matches!(next, b' ' | b'\t' | 0 | b'\r')
        {
            return Ok((Cow::Borrowed(trim(first)), end + 2));
        }
        let Some(mut fold) = self.fold(end)? else {
            let after = end + self.any_end(end)?;
            return Ok((Cow::Borrowed(trim(first)), after));
        };
        let mut value = first.to_vec();
        let mut accepted = fold;
        for _ in 0..FOLDS_MAX {
            if self.side == Direction::ToClient && self.looks_like_field(fold)? {
                return Ok((Cow::Owned(trim(&value).to_vec()), fold));
            }
            let (line, end) = self.line(fold)?;
            let next = self.fold(end)?;
            let after = match next {
                Some(next) => next,
                None => end + self.any_end(end)?,
            };
            let end_length = next.map_or(after, |next| next - 1) - end;
            if !value.is_empty() {
                value.push(self.bytes[fold - 1]);
            }
            if !line.is_empty() || end_length > 1 {
                accepted = after;
                value.extend_from_slice(line);
            } else if end_length == 1 && self.bytes.get(after) == Some(&b'\n') {
                accepted = after;
            }
            match next {
                Some(next) => fold = next,
                None => break,
            }
        }
        Ok((Cow::Owned(trim(&value).to_vec()), accepted))
    }

    /// The bytes up to the line end, and where that stands.
    fn line(&self, start: usize) -> Result<(&'a [u8], usize), Short> {
        let rest = self.bytes.get(start..).unwrap_or_default();
        let length = match self.side {
            Direction::ToServer => memchr::memchr(b'\n', rest),
            Direction::ToClient => memchr::memchr2(b'\n', b'\r', rest),
        };
        let length = match length {
            Some(length) => length,
            None if self.is_whole => rest.len(),
            None => return Err(Short),
        };
        let length = if length > 0 && length < rest.len() && rest[length - 1] == b'\r' { length - 1 } else { length };
        Ok((&rest[..length], start + length))
    }

    /// The place behind a line end and the one blank after it, if the next line continues this one.
    fn fold(&self, at: usize) -> Result<Option<usize>, Short> {
        let length = match self.side {
            Direction::ToServer => match self.deformed_end(at)? {
                Some(length) => Some(length),
                None => self.line_end(at)?,
            },
            Direction::ToClient => self.line_end(at)?,
        };
        let Some(length) = length else {
            return Ok(None);
        };
        match self.bytes.get(at + length) {
            Some(b' ' | b'\t' | 0) => Ok(Some(at + length + 1)),
            Some(_) => Ok(None),
            None if self.is_whole => Ok(None),
            None => Err(Short),
        }
    }

    /// The length of the line end of either kind; at the end of a whole block, 0.
    fn any_end(&self, at: usize) -> Result<usize, Short> {
        if let Some(length) = self.deformed_end(at)? {
            return Ok(length);
        }
        Ok(self.line_end(at)?.unwrap_or(0))
    }

    /// The length of an ordinary line end.
    fn line_end(&self, at: usize) -> Result<Option<usize>, Short> {
        let is_response = self.side == Direction::ToClient;
        match *self.bytes.get(at..).unwrap_or_default() {
            [b'\r', b'\n', ..] => Ok(Some(2)),
            [b'\n', b'\r', ..] if is_response => Ok(Some(2)),
            [b'\n'] if is_response && !self.is_whole => Err(Short),
            [b'\n', ..] => Ok(Some(1)),
            [b'\r'] if !self.is_whole => Err(Short),
            [b'\r', ..] if is_response => Ok(Some(1)),
            _ => Ok(None),
        }
    }

    /// The length of a line end that looks like an empty line, but that receivers take for one line end.
    fn deformed_end(&self, at: usize) -> Result<Option<usize>, Short> {
        let rest = self.bytes.get(at..).unwrap_or_default();
        if let Some(after) = self.follows(rest, b"\n\r\r\n")?
            && self.empty_line_follows(after)?
        {
            return Ok(Some(4));
        }
        match self.side {
            Direction::ToServer => {
                if let Some(after) = self.follows(rest, b"\n\r")?
                    && self.follows(after, b"\r\n")?.is_some()
                {
                    return Ok(Some(2));
                }
            }
            Direction::ToClient => {
                if let Some(after) = self.follows(rest, b"\r\n\r")? {
                    let blanks = after.iter().take_while(|byte| matches!(byte, b'\r' | b' ' | b'\t')).count();
                    if blanks == after.len() && !self.is_whole {
                        return Err(Short);
                    }
                    let after = &after[blanks..];
                    let newline = usize::from(after.first() == Some(&b'\n'));
                    if blanks > 0 && !self.empty_line_follows(&after[newline..])? {
                        return Ok(Some(3 + blanks + newline));
                    }
                }
            }
        }
        Ok(None)
    }

    fn empty_line_follows(&self, rest: &[u8]) -> Result<bool, Short> {
        Ok(self.follows(rest, b"\n")?.is_some() || self.follows(rest, b"\r\n")?.is_some())
    }

    /// What comes after `text` if `rest` starts with it.
    fn follows<'b>(&self, rest: &'b [u8], text: &[u8]) -> Result<Option<&'b [u8]>, Short> {
        match rest.strip_prefix(text) {
            Some(after) => Ok(Some(after)),
            None if text.starts_with(rest) && !self.is_whole => Err(Short),
            None => Ok(None),
        }
    }

    /// Whether a continuation line reads like a field: blanks, a token, blanks, a colon.
    fn looks_like_field(&self, at: usize) -> Result<bool, Short> {
        let rest = self.bytes.get(at..).unwrap_or_default();
        let is_blank = |byte: &&u8| matches!(**byte, b' ' | b'\t');
        let start = rest.iter().take_while(is_blank).count();
        let token = rest[start..].iter().take_while(|byte| is_token(**byte)).count();
        let end = start + token + rest[start + token..].iter().take_while(is_blank).count();
        match rest.get(end) {
            Some(&byte) => Ok(token > 0 && byte == b':'),
            None if self.is_whole => Ok(false),
            None => Err(Short),
        }
    }
}

/// White space in C's sense.
#[inline(always)]
pub(super) fn is_space(byte: u8) -> bool {
    byte == b' ' || is_odd_space(byte)
}

/// White space other than a blank: tab, LF, VT, FF and CR.
#[inline(always)]
pub(super) fn is_odd_space(byte: u8) -> bool {
    byte.wrapping_sub(b'\t') < 5
}

/// Removes white space from both ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| !is_space(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|&byte| !is_space(byte)).map_or(start, |at| at + 1);
    &bytes[start..end]
}

/// A byte of a token (RFC 2616 section 2.2).
#[inline(always)]
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN_BYTES[usize::from(byte)]
}

const TOKEN_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = true;
        byte += 1;
    }
    let separators = b"()<>@,;:\\\"/[]?={}";
    let mut index = 0;
    while index < separators.len() {
        table[separators[index] as usize] = false;
        index += 1;
    }
    table
};

/// Equal but for case, NUL bytes in `bytes` left out: receivers written in C drop or ignore them.
pub(super) fn is_named(bytes: &[u8], name: &[u8]) -> bool {
    bytes.eq_ignore_ascii_case(name)
        || bytes.contains(&0)
            && bytes
                .iter()
                .filter(|&&byte| byte != 0)
                .map(u8::to_ascii_lowercase)
                .eq(name.iter().map(u8::to_ascii_lowercase))
}

/// Whether `bytes`, NULs left out, contain `text` in any case.
pub(super) fn mentions(bytes: &[u8], text: &[u8]) -> bool {
    let sought = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text));
    sought(bytes) || bytes.contains(&0) && sought(&bytes.iter().copied().filter(|&byte| byte != 0).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{ToClient, ToServer};

    #[track_caller]
    fn check(side: Direction, block: &[u8], expected: &str) {
        let read = |bytes: &[u8], is_whole: bool| {
            let mut reader = Reader::new(side, bytes, 0, is_whole);
            let mut text = String::new();
            loop {
                match reader.next() {
                    Next::Field(field) => {
                        text += &format!("{}={};", field.name.escape_ascii(), field.value.escape_ascii());
                    }
                    Next::End => return Some(text + &format!("+{}", bytes.len() - reader.at)),
                    Next::More => return None,
                }
            }
        };
        assert_eq!(read(block, false).as_deref(), Some(expected));
        // Shorter blocks give the same, or ask for more.
        for end in 0..block.len() {
            let shorter = read(&block[..end], false).map(|text| text.split('+').next().unwrap().to_owned());
            assert!(shorter.is_none() || shorter.as_deref() == expected.split('+').next(), "{end}: {shorter:?}");
        }
    }

    #[test]
    fn fields_end_where_lax_receivers_end_them() {
        check(ToServer, b"A: b\r\nC:d\r\n\r\nxx", "A=b;C=d;+2");
        check(ToServer, b"A: b\nC:d\n\nxx", "A=b;C=d;+2");
        check(ToServer, b"\r\nxx", "+2");
        check(ToServer, b"A: b\r\n c\r\n\td\r\n\r\n", "A=b c\\td;+0");
        check(ToServer, b"A b\r\nC: d\r\n\r\n", "=A b;C=d;+0");
        check(ToServer, b"A\r: b\r\n\r\n", "A=b;+0");
        check(ToServer, b"A: b\rC: d\r\n\r\n", "A=b\\rC: d;+0");
        check(ToClient, b"A: b\rC: d\r\r\nx", "A=b;C=d;+1");
        check(ToClient, b"A: b\n\rC: d\n\r\n\rx", "A=b;C=d;+1");
        check(ToClient, b"A: b\r\n C: d\r\n\r\nx", "A=b;C=d;+1");
        check(ToClient, b"A: b\r\n c\r\n\r\nx", "A=b c;+1");
        check(ToClient, b"A: b\r\n\r\r\nC: d\r\n\r\nx", "A=b;C=d;+1");
        check(ToClient, b"A: b\n\r\r\n\nx", "A=b;+1");
    }

    #[test]
    fn names_are_compared_without_nul() {
        assert!(is_named(b"Tra\0nsfer", b"transfer") && !is_named(b"x", b"transfer"));
        assert!(mentions(b"x, CHU\0NKED", b"chunked") && !mentions(b"chunke", b"chunked"));
    }
}
