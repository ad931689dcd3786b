//! Bracketed classes of an expression: `[^a-z\d[:space:]]`.

use super::translate::Translator;

/// One member of a bracketed class.
enum Member {
    /// A byte, which may begin or end a range.
    Byte(u8),
    /// A class of its own, written out.
    Class(&'static str),
}

impl Translator<'_> {
    /// Writes a class anew, its opening bracket being read.
    pub(super) fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest().first() == Some(&b'^') {
            self.at += 1;
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            let byte = self.next().ok_or("a class without its end")?;
            if byte == b']' && !is_first {
                self.out.push(']');
                return Ok(());
            }
            is_first = false;
            let member = self.member(byte)?;
            let from = match member {
                Member::Class(class) => {
                    self.out.push_str(class);
                    continue;
                }
                Member::Byte(byte) => byte,
            };
            if !matches!(*self.rest(), [b'-', next, ..] if next != b']') {
                self.literal(from);
                continue;
            }
            self.at += 1;
            let byte = self.next().ok_or("a class without its end")?;
            match self.member(byte)? {
                Member::Byte(to) if from <= to => {
                    self.literal(from);
                    self.out.push('-');
                    self.literal(to);
                }
                Member::Byte(_) => return Err("a range that runs backwards".to_owned()),
                Member::Class(class) => {
                    self.literal(from);
                    self.literal(b'-');
                    self.out.push_str(class);
                }
            }
        }
    }

    /// One member of a class, its first byte being read.
    fn member(&mut self, byte: u8) -> Result<Member, String> {
        const POSIX: [&str; 14] = [
            "[:alnum:]",
            "[:alpha:]",
            "[:ascii:]",
            "[:blank:]",
            "[:cntrl:]",
            "[:digit:]",
            "[:graph:]",
            "[:lower:]",
            "[:print:]",
            "[:punct:]",
            "[:space:]",
            "[:upper:]",
            "[:word:]",
            "[:xdigit:]",
        ];
        if byte == b'[' {
            let rest = &self.input[self.at - 1..];
            if let Some(name) = POSIX.into_iter().find(|name| rest.starts_with(name.as_bytes())) {
                self.at += name.len() - 1;
                return Ok(Member::Class(name));
            }
            return Ok(Member::Byte(byte));
        }
        if byte != b'\\' {
            return Ok(Member::Byte(byte));
        }
        let byte = self.next().ok_or("a backslash at the end")?;
        Ok(match byte {
            b'd' => Member::Class("\\d"),
            b'D' => Member::Class("\\D"),
            b'w' => Member::Class("\\w"),
            b'W' => Member::Class("\\W"),
            b's' => Member::Class("\\s"),
            b'S' => Member::Class("\\S"),
            b'h' => Member::Class("\\t\\x20"),
            b'v' => Member::Class("\\n\\x0B\\x0C\\r"),
            b'H' => Member::Class("[^\\t\\x20]"),
            b'V' => Member::Class("[^\\n\\x0B\\x0C\\r]"),
            b'R' => Member::Byte(b'R'),
            b'p' | b'P' | b'N' | b'X' | b'Q' => {
                return Err(format!("\\{} in a class is not supported", char::from(byte)));
            }
            b'b' => Member::Byte(0x08),
            _ => Member::Byte(self.byte_escape(byte)?),
        })
    }
}
