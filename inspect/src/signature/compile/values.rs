//! Forms of values that many keywords share.

use super::super::cause::Cause;
use super::super::program::{FlagMode, FlagTest, Interval};

/// The value of a keyword that needs one.
pub(super) fn needed<'v>(keyword: &str, value: Option<&'v str>) -> Result<&'v str, Cause> {
    value.ok_or_else(|| Cause::value(keyword, "a value"))
}

/// Nothing, for a keyword that takes no value.
pub(super) fn none(keyword: &str, value: Option<&str>) -> Result<(), Cause> {
    match value {
        None => Ok(()),
        Some(_) => Err(Cause::value(keyword, "no value")),
    }
}

/// A number in decimal, or in hexadecimal after `0x`.
pub(super) fn number<T: TryFrom<i64>>(keyword: &str, text: &str) -> Result<T, Cause> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let parsed = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<i64>().ok(),
        None => None,
    };
    parsed.and_then(|number| T::try_from(sign * number).ok()).ok_or_else(|| Cause::value(keyword, "a number in range"))
}

/// `5`, `!5`, `>5`, `>=5`, `<5`, `<=5`, `3<>7` or `3-7`, the last two without their ends, as Suricata reads them.
pub(super) fn interval(keyword: &str, text: &str, max: u64) -> Result<Interval, Cause> {
    let error = || Cause::value(keyword, "a number, <n, >n, <=n, >=n, !n or a<>b");
    let read = |text: &str| {
        let number: i64 = number(keyword, text)?;
        u64::try_from(number).ok().filter(|&number| number <= max).ok_or_else(error)
    };
    let text = text.trim();
    let of = |first: Option<u64>, last: Option<u64>| match (first, last) {
        (Some(first), Some(last)) if first <= last => Ok(Interval { first, last, negated: false }),
        _ => Err(error()),
    };
    if let Some(rest) = text.strip_prefix("<=") {
        return of(Some(0), Some(read(rest)?));
    }
    if let Some(rest) = text.strip_prefix(">=") {
        return of(Some(read(rest)?), Some(max));
    }
    if let Some((low, high)) = text.split_once("<>").or_else(|| text.split_once('-')) {
        return of(read(low)?.checked_add(1), read(high)?.checked_sub(1));
    }
    if let Some(rest) = text.strip_prefix('<') {
        return of(Some(0), read(rest)?.checked_sub(1));
    }
    if let Some(rest) = text.strip_prefix('>') {
        return of(read(rest)?.checked_add(1), Some(max.max(read(rest)?.saturating_add(1))));
    }
    let (negated, rest) = match text.strip_prefix('!').or_else(|| text.strip_prefix("!=")) {
        Some(rest) => (true, rest.strip_prefix('=').unwrap_or(rest)),
        None => (false, text.strip_prefix('=').unwrap_or(text)),
    };
    let value = read(rest)?;
    Ok(Interval { first: value, last: value, negated })
}

/// `[+*!]LETTERS[,LETTERS]`: bits by letter, the ones behind the comma do not matter.
pub(super) fn flags(keyword: &str, text: &str, letter: impl Fn(char) -> Option<u8>) -> Result<FlagTest, Cause> {
    let error = || Cause::value(keyword, "flag letters, perhaps after one of + * !");
    let bits = |text: &str| {
        let mut bits = 0;
        for character in text.trim().chars() {
            match character {
                '0' => {}
                _ => bits |= letter(character.to_ascii_uppercase()).ok_or_else(error)?,
            }
        }
        Ok(bits)
    };
    let (main, ignored) = text.split_once(',').unwrap_or((text, ""));
    let main = main.trim();
    let (mode, letters) = match main.chars().next() {
        Some('+') => (FlagMode::All, &main[1..]),
        Some('*') => (FlagMode::Any, &main[1..]),
        Some('!') => (FlagMode::Not, &main[1..]),
        _ => match (main.strip_suffix('+'), main.strip_suffix('*')) {
            (Some(letters), _) => (FlagMode::All, letters),
            (_, Some(letters)) => (FlagMode::Any, letters),
            _ => (FlagMode::Exact, main),
        },
    };
    if letters.trim().is_empty() {
        return Err(error());
    }
    Ok(FlagTest { bits: bits(letters)?, ignored: bits(ignored)?, mode })
}
