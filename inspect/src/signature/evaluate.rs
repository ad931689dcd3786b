//! Runs a signature's program over a buffer.
//!
//! # Theory of operation
//!
//! Steps run in order and each starts from where the one before it ended. When a later step that is relative fails, the
//! pattern before it is looked for further on, and the rest is tried again: the classic backtracking of the rule
//! language, which a hostile buffer can make expensive. So everything that is done adds to a count of work, and past
//! what the packet is allowed the answer is "out of budget", which the inspector turns into its policy.

use super::content::{Content, Operand};
use super::number::At;
use super::pcre::{Found, Regex, RegexCaches};
use super::program::{Base64, Op, Step};
use super::work::weight;
use crate::limits::{BASE64_BYTES_MAX, VARIABLES_PER_RULE_MAX};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every step held.
    Match,
    /// Some step did not.
    NoMatch,
    /// The allowed work was spent before the answer was known.
    Exhausted,
}

/// The state of one evaluation; cheap to make.
pub(crate) struct Evaluation<'w> {
    /// Work done so far for the packet.
    work: &'w mut u64,
    /// Where the work must end.
    work_max: u64,
    caches: &'w mut RegexCaches,
    /// Place of the text's first byte in its buffer, for offsets from the buffer's start.
    base: u64,
    /// Values that `byte_extract` and `byte_math` remember, kept across the buffers of one signature.
    variables: [u64; VARIABLES_PER_RULE_MAX],
}

impl<'w> Evaluation<'w> {
    pub(crate) fn new(work: &'w mut u64, work_max: u64, caches: &'w mut RegexCaches) -> Self {
        Self { work, work_max, caches, base: 0, variables: [0; VARIABLES_PER_RULE_MAX] }
    }

    /// Runs all steps over `data`, which begins `base` bytes into its buffer.
    pub(crate) fn run_at(&mut self, steps: &[Step], data: &[u8], base: u64) -> Outcome {
        self.base = base;
        self.caches.turn();
        self.steps(steps, data, 0)
    }

    fn value(&self) -> impl Fn(Operand) -> i64 + use<> {
        let variables = self.variables;
        move |operand| match operand {
            Operand::Literal(value) => value,
            // Values past the signed range lie behind every buffer's end anyway.
            Operand::Variable(index) => variables.get(usize::from(index)).map_or(0, |&value| value.cast_signed()),
        }
    }

    /// Runs `steps` with the previous match ending at `at`. The recursion is as deep as the rule has steps
    /// ([`crate::limits::STEPS_PER_RULE_MAX`]).
    fn steps(&mut self, steps: &[Step], data: &[u8], mut at: usize) -> Outcome {
        for (index, step) in steps.iter().enumerate() {
            *self.work += weight::STEP;
            if *self.work > self.work_max {
                return Outcome::Exhausted;
            }
            let next = match &step.op {
                Op::Content(content) if step.retry => {
                    return self.search(content, &steps[index + 1..], data, at);
                }
                Op::Content(content) => match self.content(content, data, at) {
                    Found::Exhausted => return Outcome::Exhausted,
                    Found::At(_, end) => Some(end),
                    Found::Nothing => None,
                },
                Op::IsDataAt { count, relative, negated } => {
                    self.is_data_at(*count, *relative, data, at).then_some(at).xor(negated.then_some(at))
                }
                Op::Size(interval) => interval.contains(self.base + data.len() as u64).then_some(at),
                Op::ByteTest(test) => test.holds(data, self.at(at), &self.value()).then_some(at),
                Op::ByteJump(jump) => jump.target(data, self.at(at), &self.value()),
                Op::ByteExtract(extract) => {
                    let read = extract.read(data, self.at(at), &self.value());
                    self.remember(extract.variable, read)
                }
                Op::ByteMath(math) => {
                    let read = math.read(data, self.at(at), &self.value());
                    self.remember(math.variable, read)
                }
                Op::Regex(regex) if step.retry => {
                    return self.search_regex(regex, &steps[index + 1..], data, at);
                }
                Op::Regex(regex) => match self.regex(regex, data, at, 0) {
                    Found::Exhausted => return Outcome::Exhausted,
                    Found::At(_, end) if !regex.negated => Some(end),
                    Found::Nothing if regex.negated => Some(at),
                    Found::At(..) | Found::Nothing => None,
                },
                Op::Base64(base64) => match self.base64(base64, data, at) {
                    Outcome::Match => Some(at),
                    other => return other,
                },
            };
            match next {
                Some(next) => at = next,
                None => return Outcome::NoMatch,
            }
        }
        Outcome::Match
    }

    fn at(&self, at: usize) -> At {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        At { here: signed(at as u64), origin: -signed(self.base) }
    }

    /// Keeps a value under its variable. What follows counts from behind the bytes that it was read from.
    fn remember(&mut self, variable: u8, read: Option<(u64, usize)>) -> Option<usize> {
        let (value, behind) = read?;
        *self.variables.get_mut(usize::from(variable))? = value;
        Some(behind)
    }

    fn is_data_at(&self, count: Operand, relative: bool, data: &[u8], at: usize) -> bool {
        let count = self.value()(count);
        let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
        match relative {
            true => i64::try_from(at).unwrap_or(i64::MAX).saturating_add(count) <= length,
            false => count < length.saturating_add(i64::try_from(self.base).unwrap_or(i64::MAX)),
        }
    }

    /// Looks for one occurrence; answers where the next step starts.
    fn content(&mut self, content: &Content, data: &[u8], at: usize) -> Found {
        let found =
            content.region(data.len(), at, self.base, self.value()).and_then(|region| self.find(content, data, region));
        match (content.negated, found) {
            (false, Some(behind)) => Found::At(at, behind),
            (true, Some(_)) => Found::Nothing,
            (_, None) if *self.work > self.work_max => Found::Exhausted,
            (false, None) => Found::Nothing,
            (true, None) => Found::At(at, at),
        }
    }

    /// The end of the pattern's first occurrence in a region of the buffer; `None` is no answer when the budget is spent.
    fn find(&mut self, content: &Content, data: &[u8], (start, end): (usize, usize)) -> Option<usize> {
        let length = content.pattern.len();
        if content.ends_with {
            let place = data.len().checked_sub(length)?;
            *self.work += weight::COMPARISON + length as u64 / 16;
            return (start <= place && end == data.len() && content.pattern.equals(&data[place..])).then_some(end);
        }
        content.pattern.find(&data[start..end], self.work, self.work_max).map(|found| start + found + length)
    }

    /// Tries each occurrence until the rest of the program holds.
    fn search(&mut self, content: &Content, rest: &[Step], data: &[u8], at: usize) -> Outcome {
        let Some((mut start, end)) = content.region(data.len(), at, self.base, self.value()) else {
            return Outcome::NoMatch;
        };
        let variables = self.variables;
        while let Some(behind) = self.find(content, data, (start, end)) {
            match self.steps(rest, data, behind) {
                Outcome::NoMatch => {}
                decided => return decided,
            }
            self.variables = variables;
            start = behind - content.pattern.len() + 1;
            if start > end {
                return Outcome::NoMatch;
            }
        }
        if *self.work > self.work_max { Outcome::Exhausted } else { Outcome::NoMatch }
    }

    /// The first match from `skip` bytes behind where the expression starts.
    fn regex(&mut self, regex: &Regex, data: &[u8], at: usize, skip: usize) -> Found {
        let base = if regex.relative { at } else { 0 };
        // A relative expression begins where it starts from: `^` matches there.
        let Some(text) = data.get(base..) else {
            return Found::Nothing;
        };
        // The first byte of a window is not the first of its buffer: it serves to tell what stands before the second.
        let skip = skip.max(usize::from(base == 0 && self.base > 0));
        match regex.find(text, skip, self.caches, self.work) {
            Found::At(start, end) => Found::At(base + start, base + end),
            other => other,
        }
    }

    /// Tries each match until the rest of the program holds.
    fn search_regex(&mut self, regex: &Regex, rest: &[Step], data: &[u8], at: usize) -> Outcome {
        let base = if regex.relative { at } else { 0 };
        let (mut skip, variables) = (0, self.variables);
        loop {
            let (start, end) = match self.regex(regex, data, at, skip) {
                Found::At(start, end) => (start, end),
                Found::Nothing => return Outcome::NoMatch,
                Found::Exhausted => return Outcome::Exhausted,
            };
            match self.steps(rest, data, end) {
                Outcome::NoMatch => {}
                decided => return decided,
            }
            self.variables = variables;
            skip = start - base + 1;
        }
    }

    fn base64(&mut self, base64: &Base64, data: &[u8], at: usize) -> Outcome {
        let base = if base64.relative { at } else { 0 };
        let Some(encoded) = data.get(base.saturating_add(base64.offset as usize)..) else {
            return Outcome::NoMatch;
        };
        let count = base64.count.map_or(BASE64_BYTES_MAX, |count| count as usize).min(BASE64_BYTES_MAX);
        let encoded = &encoded[..encoded.len().min(count)];
        *self.work += weight::MATCH + 2 * encoded.len() as u64;
        let decoded = decode_base64(encoded);
        if decoded.is_empty() {
            return Outcome::NoMatch;
        }
        let outer = std::mem::take(&mut self.base);
        self.caches.turn();
        let outcome = self.steps(&base64.steps, &decoded, 0);
        self.caches.turn();
        self.base = outer;
        outcome
    }
}

/// Decodes base64 (RFC 4648 section 4) as mail readers do: white space is passed over, and the first other byte that is
/// not of the alphabet ends it.
fn decode_base64(encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(encoded.len() / 4 * 3 + 3);
    let (mut bits, mut bit_count) = (0u32, 0u32);
    for &byte in encoded {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            decoded.push((bits >> bit_count) as u8);
            bits &= (1 << bit_count) - 1;
        }
    }
    decoded
}
