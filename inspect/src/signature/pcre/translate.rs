//! From the syntax of PCRE to that of the regex crates.
//!
//! Both look alike but differ in small things that rules rely on: which letters and marks may be escaped, what a bare
//! `{` or a `[` within brackets means, what `$` does before a last line feed. So the pattern is read as PCRE reads it
//! and written anew; every byte that is meant literally is written in a form that means nothing else.

/// A pattern written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Translated {
    /// The pattern in the syntax of the regex crates.
    pub(crate) pattern: String,
    /// Whether it has what no finite automaton can do: lookaround, backreferences, atomic and possessive parts.
    pub(crate) needs_backtracking: bool,
}

/// The letters behind the closing slash that change how the pattern reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// `x`: white space and comments mean nothing.
    pub(crate) extended: bool,
    /// `m`: `$` matches at line ends.
    pub(crate) multi_line: bool,
    /// `E`: `$` matches at the very end only.
    pub(crate) dollar_end_only: bool,
}

/// Writes `pattern` anew.
///
/// # Errors
/// What it holds that is not supported.
pub(crate) fn translate(pattern: &str, reading: Reading) -> Result<Translated, String> {
    let mut translator = Translator::new(pattern, reading, Aim::Same);
    translator.pattern()?;
    Ok(Translated { pattern: translator.out, needs_backtracking: translator.needs_backtracking })
}

/// Writes `pattern` anew as one that a finite automaton can do, and that matches wherever the pattern does, and maybe
/// elsewhere: without what it asks of its surroundings, with anything in place of a reference, and with groups that may give
/// back what they have taken.
///
/// # Errors
/// What it holds that is not supported.
pub(crate) fn approximate(pattern: &str, reading: Reading) -> Result<String, String> {
    let mut translator = Translator::new(pattern, reading, Aim::Wider);
    translator.pattern()?;
    Ok(translator.out)
}

/// What the pattern that is written is to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    Same,
    /// At least as much, by what a finite automaton can do.
    Wider,
}

/// A group that is not closed yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Length of what was written before a group of which nothing is to be left.
    dropped_from: Option<usize>,
    /// The letters in force before it, as they are again behind it.
    reading: Reading,
}

/// A pattern while it is read.
pub(super) struct Translator<'p> {
    pub(super) input: &'p [u8],
    pub(super) at: usize,
    pub(super) out: String,
    reading: Reading,
    needs_backtracking: bool,
    /// The names of the capturing groups so far, empty for those without.
    groups: Vec<String>,
    aim: Aim,
    /// The groups around the place that is read.
    open: Vec<Open>,
}

impl<'p> Translator<'p> {
    fn new(pattern: &'p str, reading: Reading, aim: Aim) -> Self {
        Self {
            input: pattern.as_bytes(),
            at: 0,
            out: String::new(),
            reading,
            needs_backtracking: false,
            groups: Vec::new(),
            aim,
            open: Vec::new(),
        }
    }

    /// A group begins. `is_dropped` if nothing of it is to be left.
    fn open(&mut self, is_dropped: bool) {
        let dropped_from = is_dropped.then_some(self.out.len());
        self.open.push(Open { dropped_from, reading: self.reading });
    }

    fn close(&mut self) {
        self.out.push(')');
        let Some(open) = self.open.pop() else { return };
        self.reading = open.reading;
        if let Some(length) = open.dropped_from {
            self.out.truncate(length);
            // What may follow repeats something.
            self.out.push_str("(?:)");
        }
    }

    fn reference(&mut self, number: impl std::fmt::Display) {
        self.needs_backtracking = true;
        match self.aim {
            Aim::Same => self.out.push_str(&format!("(?:\\{number})")),
            Aim::Wider => self.out.push_str("(?s:.*)"),
        }
    }
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.input.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.input[self.at..]
    }

    pub(super) fn literal(&mut self, byte: u8) {
        if byte.is_ascii_alphanumeric() {
            self.out.push(char::from(byte));
        } else {
            self.out.push_str(&format!("\\x{byte:02X}"));
        }
    }

    fn pattern(&mut self) -> Result<(), String> {
        while let Some(byte) = self.next() {
            match byte {
                b'\\' => self.escape()?,
                b'[' => self.class()?,
                b'(' => self.group()?,
                b'{' => self.brace(),
                b'*' | b'+' | b'?' => {
                    self.out.push(char::from(byte));
                    self.after_quantifier();
                }
                b'$' if self.reading.multi_line => self.out.push('$'),
                b'$' if self.reading.dollar_end_only => self.out.push_str("\\z"),
                // Before a last line feed too.
                b'$' => self.out.push_str("(?:\\n?\\z)"),
                b')' => self.close(),
                b'^' | b'.' | b'|' => self.out.push(char::from(byte)),
                b'#' if self.reading.extended => while self.next().is_some_and(|byte| byte != b'\n') {},
                _ if self.reading.extended && byte.is_ascii_whitespace() => {}
                _ => self.literal(byte),
            }
        }
        Ok(())
    }

    /// What may follow a quantifier: `?` for lazy, `+` for possessive.
    fn after_quantifier(&mut self) {
        match self.rest().first() {
            Some(b'?') => {
                self.at += 1;
                self.out.push('?');
            }
            Some(b'+') => {
                self.at += 1;
                self.needs_backtracking = true;
                if self.aim == Aim::Same {
                    self.out.push('+');
                }
            }
            _ => {}
        }
    }

    /// `{n}`, `{n,}` and `{n,m}` repeat; any other brace is a brace.
    fn brace(&mut self) {
        let rest = self.rest();
        let end = rest.iter().position(|&byte| byte == b'}');
        let inner = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok());
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let counts = inner.filter(|inner| match inner.split_once(',') {
            Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
            None => is_number(inner),
        });
        match counts.map(|counts| format!("{{{counts}}}")) {
            Some(counts) if !self.out.is_empty() => {
                self.at += counts.len() - 1;
                self.out.push_str(&counts);
                self.after_quantifier();
            }
            _ => self.literal(b'{'),
        }
    }

    fn group(&mut self) -> Result<(), String> {
        let Some(rest) = self.rest().strip_prefix(b"?") else {
            self.open(false);
            self.out.push('(');
            self.groups.push(String::new());
            return Ok(());
        };
        let (skip, written) = match rest {
            [b'#', ..] => {
                while self.next().is_some_and(|byte| byte != b')') {}
                return Ok(());
            }
            [b':', ..] => (2, "(?:"),
            [b'=', ..] => (2, "(?="),
            [b'!', ..] => (2, "(?!"),
            [b'>', ..] => (2, "(?>"),
            [b'<', b'=', ..] => (3, "(?<="),
            [b'<', b'!', ..] => (3, "(?<!"),
            [b'P', b'<', ..] | [b'<', ..] | [b'\'', ..] => return self.named_group(),
            [b'P', b'=', ..] => return self.named_reference(),
            _ => return self.flags(),
        };
        let asks_around = skip == 3 || matches!(rest[0], b'=' | b'!');
        self.needs_backtracking |= asks_around || rest[0] == b'>';
        self.at += skip;
        self.open(asks_around && self.aim == Aim::Wider);
        match (self.aim, written) {
            (Aim::Wider, "(?>") => self.out.push_str("(?:"),
            _ => self.out.push_str(written),
        }
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`, `(?'name'`: a group like any other, whose name may be referred to.
    fn named_group(&mut self) -> Result<(), String> {
        self.at += if self.rest().starts_with(b"?P") { 3 } else { 2 };
        let name = self.name(|byte| matches!(byte, b'>' | b'\''))?;
        self.groups.push(name);
        self.open(false);
        self.out.push('(');
        Ok(())
    }

    /// Reads a name and the mark that ends it.
    fn name(&mut self, ends: fn(u8) -> bool) -> Result<String, String> {
        let length = self.rest().iter().position(|&byte| ends(byte)).ok_or("a name does not end")?;
        let name = String::from_utf8_lossy(&self.rest()[..length]).into_owned();
        self.at += length + 1;
        Ok(name)
    }

    /// `(?P=name)`: what the named group has matched.
    fn named_reference(&mut self) -> Result<(), String> {
        self.at += 3;
        let name = self.name(|byte| byte == b')')?;
        let group = self.groups.iter().position(|known| *known == name && !name.is_empty());
        let number = group.ok_or("a reference to a group that does not exist")? + 1;
        self.reference(number);
        Ok(())
    }

    /// `(?flags)` and `(?flags:`.
    fn flags(&mut self) -> Result<(), String> {
        self.at += 1;
        let mut flags = String::new();
        let mut negated = false;
        let outside = self.reading;
        loop {
            match self.next() {
                Some(b'-') => {
                    negated = true;
                    flags.push('-');
                }
                Some(b'x') => self.reading.extended = !negated,
                Some(flag @ (b'i' | b's' | b'U')) => flags.push(char::from(flag)),
                Some(b'm') => {
                    self.reading.multi_line = !negated;
                    flags.push('m');
                }
                Some(end @ (b':' | b')')) => {
                    let flags = flags.trim_end_matches('-');
                    match (end, flags) {
                        (b')', "") => {}
                        (b')', _) => self.out.push_str(&format!("(?{flags})")),
                        _ => {
                            self.open.push(Open { dropped_from: None, reading: outside });
                            self.out.push_str(&format!("(?{flags}:"));
                        }
                    }
                    return Ok(());
                }
                _ => return Err("a group of a kind that is not supported".to_owned()),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let byte = self.next().ok_or("a backslash at the end")?;
        match byte {
            b'd' | b'D' | b'w' | b'W' | b's' | b'S' | b'b' | b'B' | b'A' | b'z' => {
                self.out.push('\\');
                self.out.push(char::from(byte));
            }
            b'Z' => self.out.push_str("(?:\\n?\\z)"),
            b'h' => self.out.push_str("[\\t\\x20]"),
            b'H' => self.out.push_str("[^\\t\\x20]"),
            b'v' => self.out.push_str("[\\n\\x0B\\x0C\\r]"),
            b'V' => self.out.push_str("[^\\n\\x0B\\x0C\\r]"),
            b'N' => self.out.push_str("[^\\n]"),
            b'R' => self.out.push_str("(?:\\r\\n|[\\n\\x0B\\x0C\\r])"),
            b'Q' => {
                while !self.rest().is_empty() && !self.rest().starts_with(b"\\E") {
                    let byte = self.input[self.at];
                    self.at += 1;
                    self.literal(byte);
                }
                self.at = (self.at + 2).min(self.input.len());
            }
            b'E' => {}
            b'1'..=b'9' if !self.rest().first().is_some_and(u8::is_ascii_digit) => {
                self.reference(char::from(byte));
            }
            b'g' => self.numbered_reference()?,
            b'G' | b'K' | b'k' | b'p' | b'P' | b'X' | b'C' => {
                return Err(format!("\\{} is not supported", char::from(byte)));
            }
            _ => {
                let byte = self.byte_escape(byte)?;
                self.literal(byte);
            }
        }
        Ok(())
    }

    /// `\g1` and `\g{1}`.
    fn numbered_reference(&mut self) -> Result<(), String> {
        let digit = match *self.rest() {
            [digit @ b'1'..=b'9', ..] => {
                self.at += 1;
                digit
            }
            [b'{', digit @ b'1'..=b'9', b'}', ..] => {
                self.at += 3;
                digit
            }
            _ => return Err("\\g of a kind that is not supported".to_owned()),
        };
        self.reference(char::from(digit));
        Ok(())
    }

    /// The byte that an escape stands for, the backslash and `byte` being read.
    pub(super) fn byte_escape(&mut self, byte: u8) -> Result<u8, String> {
        Ok(match byte {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'f' => 0x0c,
            b'a' => 0x07,
            b'e' => 0x1b,
            b'c' => self.next().ok_or("\\c at the end")?.to_ascii_uppercase() ^ 0x40,
            b'x' => self.hexadecimal()?,
            b'0'..=b'7' => {
                let mut value = u32::from(byte - b'0');
                for _ in 0..2 {
                    let Some(digit @ b'0'..=b'7') = self.rest().first().copied() else {
                        break;
                    };
                    self.at += 1;
                    value = value * 8 + u32::from(digit - b'0');
                }
                u8::try_from(value).map_err(|_| "an octal number beyond a byte")?
            }
            _ => byte,
        })
    }

    /// `\xh`, `\xhh` and `\x{hh}`.
    fn hexadecimal(&mut self) -> Result<u8, String> {
        let braced = self.rest().first() == Some(&b'{');
        self.at += usize::from(braced);
        let mut value = 0u32;
        let digits_max = if braced { 8 } else { 2 };
        for _ in 0..digits_max {
            let digit = self.rest().first().and_then(|&byte| super::super::content::hex_digit(byte));
            let Some(digit) = digit else { break };
            self.at += 1;
            value = value.saturating_mul(16).saturating_add(u32::from(digit));
        }
        if braced && self.next() != Some(b'}') {
            return Err("\\x{ without its end".to_owned());
        }
        u8::try_from(value).map_err(|_| "a character beyond a byte".to_owned())
    }
}
