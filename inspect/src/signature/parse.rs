//! Reads rule text into a [`Rule`]: the grammar of Suricata's rule language, without the meaning of its keywords.
//!
//! ```text
//! rule    = action protocol address port ("->" | "<>") address port "(" option* ")"
//! option  = keyword [":" value] ";"          a backslash keeps a semicolon, a quote or a backslash from ending the
//! value address = "any" | "$NAME" | ip | ip "/" prefix | ip "-" ip | "!" address | "[" address ("," address)* "]" port
//! = "any" | "$NAME" | number | [number] ":" [number] | "!" port | "[" port ("," port)* "]"
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::cause::Cause;
use super::syntax::{Action, AddressRange, EndPoint, Expression, PortRange, Rule, RuleOption};
use super::text::{Position, RuleLine};
use crate::limits::{RULE_BYTES_MAX, RULE_LIST_DEPTH_MAX};

/// What is wrong with a rule's text, and where.
pub(crate) type Error = (Position, Cause);

/// Reads one rule.
pub(crate) fn rule(line: &RuleLine) -> Result<Rule, Error> {
    let mut cursor = Cursor { line, text: &line.text, at: 0 };
    if line.text.len() > RULE_BYTES_MAX {
        return Err(cursor.error(0, Cause::TooLong));
    }
    let (action_at, word) = cursor.word("an action")?;
    let action = action(word).ok_or_else(|| cursor.error(action_at, Cause::Action(word.to_owned())))?;
    let (protocol_at, protocol) = cursor.word("a protocol")?;
    let source = cursor.end_point()?;
    let (arrow_at, arrow) = cursor.word("-> or <>")?;
    let bidirectional = match arrow {
        "->" | "=>" => false,
        "<>" => true,
        _ => return Err(cursor.error(arrow_at, Cause::Syntax("-> or <>"))),
    };
    let destination = cursor.end_point()?;
    let options = cursor.options()?;
    Ok(Rule {
        position: line.position(action_at),
        action,
        protocol: protocol.to_ascii_lowercase(),
        protocol_at: line.position(protocol_at),
        source,
        bidirectional,
        destination,
        options,
    })
}

fn action(word: &str) -> Option<Action> {
    match word {
        "alert" => Some(Action::Alert),
        "drop" => Some(Action::Drop),
        "pass" => Some(Action::Pass),
        "reject" | "rejectsrc" | "rejectdst" | "rejectboth" => Some(Action::Reject),
        _ => None,
    }
}

struct Cursor<'t> {
    line: &'t RuleLine,
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn error(&self, offset: usize, cause: Cause) -> Error {
        (self.line.position(offset), cause)
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    /// The next word of the header: up to a space, where spaces within brackets belong to the word.
    fn word(&mut self, expected: &'static str) -> Result<(usize, &'t str), Error> {
        self.skip_space();
        let start = self.at;
        let mut depth = 0usize;
        for (index, byte) in self.text[start..].char_indices() {
            match byte {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                '(' if depth == 0 => break,
                _ if byte.is_whitespace() && depth == 0 => break,
                _ => {}
            }
            self.at = start + index + byte.len_utf8();
        }
        if self.at == start {
            return Err(self.error(start, Cause::Syntax(expected)));
        }
        Ok((start, &self.text[start..self.at]))
    }

    fn end_point(&mut self) -> Result<EndPoint, Error> {
        let (addresses_start, text) = self.word("an address")?;
        let addresses = addresses(text).map_err(|cause| self.error(addresses_start, cause))?;
        let (ports_start, text) = self.word("a port")?;
        let ports = ports(text).map_err(|cause| self.error(ports_start, cause))?;
        Ok(EndPoint {
            addresses,
            addresses_at: self.line.position(addresses_start),
            ports,
            ports_at: self.line.position(ports_start),
        })
    }

    fn options(&mut self) -> Result<Vec<RuleOption>, Error> {
        self.skip_space();
        if !self.text[self.at..].starts_with('(') {
            return Err(self.error(self.at, Cause::Syntax("( before the options")));
        }
        self.at += 1;
        let mut options = Vec::new();
        loop {
            self.skip_space();
            let rest = &self.text[self.at..];
            if let Some(after) = rest.strip_prefix(')') {
                if !after.trim().is_empty() {
                    return Err(self.error(self.at + 1, Cause::Syntax("nothing behind the closing )")));
                }
                return Ok(options);
            }
            if rest.is_empty() {
                return Err(self.error(self.at, Cause::Syntax(") behind the options")));
            }
            options.push(self.option()?);
        }
    }

    fn option(&mut self) -> Result<RuleOption, Error> {
        let start = self.at;
        let Some(end) = option_end(&self.text[start..]) else {
            return Err(self.error(start, Cause::Syntax("; behind the option")));
        };
        let whole = &self.text[start..start + end];
        self.at = start + end + 1;
        let (name, value) = match whole.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (whole.trim(), None),
        };
        let is_keyword = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if name.is_empty() || !name.bytes().all(is_keyword) {
            return Err(self.error(start, Cause::Syntax("a keyword")));
        }
        Ok(RuleOption {
            name: name.to_ascii_lowercase(),
            value: value.filter(|value| !value.is_empty()).map(str::to_owned),
            position: self.line.position(start),
        })
    }
}

/// Offset of the semicolon that ends an option. As in Suricata, a semicolon counts even between quotes, unless a
/// backslash stands before it.
fn option_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|&index| bytes[index] == b';' && (index == 0 || bytes[index - 1] != b'\\'))
}

/// Reads an address expression.
pub(crate) fn addresses(text: &str) -> Result<Expression<AddressRange>, Cause> {
    expression(text.trim(), 0, &address_range)
}

/// Reads a port expression.
pub(crate) fn ports(text: &str) -> Result<Expression<PortRange>, Cause> {
    expression(text.trim(), 0, &port_range)
}

fn expression<T>(text: &str, depth: usize, item: &dyn Fn(&str) -> Result<T, Cause>) -> Result<Expression<T>, Cause> {
    if depth > RULE_LIST_DEPTH_MAX {
        return Err(Cause::TooLong);
    }
    if text.eq_ignore_ascii_case("any") {
        return Ok(Expression::Any);
    }
    if let Some(inner) = text.strip_prefix('!') {
        return Ok(Expression::Not(Box::new(expression(inner.trim(), depth + 1, item)?)));
    }
    if let Some(name) = text.strip_prefix('$') {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(Cause::Syntax("a variable's name"));
        }
        return Ok(Expression::Variable(name.to_owned()));
    }
    if let Some(inner) = text.strip_prefix('[') {
        let Some(inner) = inner.strip_suffix(']') else {
            return Err(Cause::Syntax("] behind the list"));
        };
        let members = members(inner)?.into_iter().map(|member| expression(member.trim(), depth + 1, item));
        return Ok(Expression::List(members.collect::<Result<_, _>>()?));
    }
    // A variable may be defined as a bare list: `10.0.0.0/8,192.168.0.0/16`.
    if text.contains(',') {
        let members = members(text)?.into_iter().map(|member| expression(member.trim(), depth + 1, item));
        return Ok(Expression::List(members.collect::<Result<_, _>>()?));
    }
    item(text).map(Expression::Item)
}

/// Splits a list at the commas of its own level.
fn members(text: &str) -> Result<Vec<&str>, Cause> {
    let mut members = Vec::new();
    let (mut depth, mut start) = (0usize, 0usize);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth = depth.checked_sub(1).ok_or(Cause::Syntax("balanced brackets"))?,
            b',' if depth == 0 => {
                members.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    if depth != 0 {
        return Err(Cause::Syntax("balanced brackets"));
    }
    members.push(&text[start..]);
    Ok(members)
}

fn address_range(text: &str) -> Result<AddressRange, Cause> {
    const EXPECTED: Cause = Cause::Syntax("an address, a prefix, a range, a list, $VARIABLE or any");
    let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| EXPECTED);
    if let Some((base, prefix)) = text.split_once('/') {
        return prefix_range(address(base)?, prefix.trim()).ok_or(EXPECTED);
    }
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (address(first)?, address(last)?);
        return match first.is_ipv4() == last.is_ipv4() && first <= last {
            true => Ok(AddressRange { first, last }),
            false => Err(EXPECTED),
        };
    }
    address(text).map(|first| AddressRange { first, last: first })
}

/// The range of `base/prefix`; for IPv4 the prefix may also be a netmask.
fn prefix_range(base: IpAddr, prefix: &str) -> Option<AddressRange> {
    match base {
        IpAddr::V4(base) => {
            let mask = match prefix.parse::<Ipv4Addr>() {
                Ok(mask) => u32::from(mask),
                Err(_) => {
                    let length: u32 = prefix.parse().ok().filter(|&length| length <= 32)?;
                    u32::MAX.checked_shl(32 - length).unwrap_or(0)
                }
            };
            // Only a contiguous mask describes a range.
            if mask.leading_ones() + mask.trailing_zeros() < 32 {
                return None;
            }
            let first = u32::from(base) & mask;
            let range = |bits: u32| IpAddr::V4(Ipv4Addr::from(bits));
            Some(AddressRange { first: range(first), last: range(first | !mask) })
        }
        IpAddr::V6(base) => {
            let length: u32 = prefix.parse().ok().filter(|&length| length <= 128)?;
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            let first = u128::from(base) & mask;
            let range = |bits: u128| IpAddr::V6(Ipv6Addr::from(bits));
            Some(AddressRange { first: range(first), last: range(first | !mask) })
        }
    }
}

fn port_range(text: &str) -> Result<PortRange, Cause> {
    const EXPECTED: Cause = Cause::Syntax("a port, a range, a list, $VARIABLE or any");
    let port = |text: &str, open: u16| match text.trim() {
        "" => Ok(open),
        digits => digits.parse::<u16>().map_err(|_| EXPECTED),
    };
    let (first, last) = match text.split_once(':') {
        Some((first, last)) => (port(first, 0)?, port(last, u16::MAX)?),
        None if text.is_empty() => return Err(EXPECTED),
        None => (port(text, 0)?, port(text, 0)?),
    };
    if first > last {
        return Err(EXPECTED);
    }
    Ok(PortRange { first, last })
}
