//! Keywords about numbers within a buffer: `byte_test`, `byte_jump`, `byte_extract`, `byte_math`, `base64_decode`.

use super::super::cause::Cause;
use super::super::content::Operand;
use super::super::number::{Arithmetic, Comparison, Extract, Jump, JumpFrom, Math, NumberAt, Relation};
use super::super::program::{Base64, Op};
use super::values::{needed, none, number};
use super::{Draft, Place};
use crate::limits::VARIABLES_PER_RULE_MAX;

/// The options that all these keywords share, as far as they were given.
struct Common {
    relative: bool,
    little_endian: bool,
    is_text: bool,
    base: u32,
    bitmask: Option<u32>,
}

impl Common {
    fn new() -> Self {
        Self { relative: false, little_endian: false, is_text: false, base: 10, bitmask: None }
    }

    /// Takes a word such as `relative` or `bitmask 0x0f`; `false` when it is none of these.
    fn take(&mut self, keyword: &str, word: &str) -> Result<bool, Cause> {
        let (name, value) = word.split_once(char::is_whitespace).unwrap_or((word, ""));
        match (name, value.trim()) {
            ("relative", "") => self.relative = true,
            ("big", "") | ("endian", "big") => self.little_endian = false,
            ("little", "") | ("endian", "little") => self.little_endian = true,
            // Text of DCE/RPC states its own order, which has to be known first.
            ("string", "") => self.is_text = true,
            ("hex", "") | ("string", "hex") => (self.is_text, self.base) = (true, 16),
            ("dec", "") | ("string", "dec") => (self.is_text, self.base) = (true, 10),
            ("oct", "") | ("string", "oct") => (self.is_text, self.base) = (true, 8),
            ("bitmask", mask) if !mask.is_empty() => {
                let hex = mask.trim_start_matches("0x").trim_start_matches("0X");
                let parsed = u32::from_str_radix(hex, 16).ok().filter(|&mask| mask != 0);
                self.bitmask = Some(parsed.ok_or_else(|| Cause::value(keyword, "a bitmask that keeps some bits"))?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn number(&self, keyword: &str, size: Operand, offset: Operand) -> Result<NumberAt, Cause> {
        let size_max = if self.is_text { 23 } else { 8 };
        // As text, 0 bytes are as many as there are digits; a jump may go without a number.
        let size_min = if self.is_text || keyword == "byte_jump" { 0 } else { 1 };
        if let Operand::Literal(size) = size
            && !(size_min..=size_max).contains(&size)
        {
            return Err(Cause::value(keyword, "1 to 8 bytes, or up to 23 as text"));
        }
        let text = self.is_text.then_some(self.base);
        let Self { relative, little_endian, bitmask, .. } = *self;
        Ok(NumberAt { size, offset, relative, little_endian, text, bitmask })
    }
}

impl Draft<'_> {
    /// Reads the option when it is one of these; `false` when it is not.
    pub(super) fn numbers(&mut self, name: &str, value: Option<&str>) -> Result<bool, Cause> {
        let op = match name {
            "byte_test" => self.byte_test(name, needed(name, value)?)?,
            "byte_jump" => self.byte_jump(name, needed(name, value)?)?,
            "byte_extract" => self.byte_extract(name, needed(name, value)?)?,
            "byte_math" => self.byte_math(name, needed(name, value)?)?,
            "base64_decode" => base64_decode(name, value)?,
            "base64_data" => {
                none(name, value)?;
                self.open_base64(name)?;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        let is_relative = match &op {
            Op::ByteTest(comparison) => comparison.number.relative,
            Op::ByteJump(jump) => jump.number.relative,
            Op::ByteExtract(extract) => extract.number.relative,
            Op::ByteMath(math) => math.number.relative,
            _ => true,
        };
        self.push_step(op, is_relative);
        Ok(true)
    }

    /// A number, or the name of a value that an earlier option remembered.
    pub(super) fn operand(&self, keyword: &str, text: &str) -> Result<Operand, Cause> {
        let text = text.trim();
        if let Some(index) = self.variables.iter().position(|name| name == text) {
            return Ok(Operand::Variable(u8::try_from(index).unwrap_or(u8::MAX)));
        }
        number::<i64>(keyword, text).map(Operand::Literal)
    }

    fn variable(&mut self, name: &str) -> Result<u8, Cause> {
        let index = self.variables.iter().position(|known| known == name).unwrap_or_else(|| {
            self.variables.push(name.to_owned());
            self.variables.len() - 1
        });
        if index >= VARIABLES_PER_RULE_MAX {
            return Err(Cause::Limit("variables"));
        }
        u8::try_from(index).map_err(|_| Cause::Limit("variables"))
    }

    fn byte_test(&mut self, keyword: &str, value: &str) -> Result<Op, Cause> {
        let error = || Cause::value(keyword, "bytes, operator, value, offset, ...");
        let mut parts = value.split(',').map(str::trim);
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or_else(error);
        let size = self.operand(keyword, part()?)?;
        let operator = part()?;
        let (negated, operator) = match operator.strip_prefix('!') {
            Some("") => (true, "="),
            Some("=") => (true, "="),
            Some(rest) => (true, rest.trim()),
            None => (false, operator),
        };
        let relation = match operator {
            "<" => Relation::Less,
            "<=" => Relation::LessOrEqual,
            ">" => Relation::Greater,
            ">=" => Relation::GreaterOrEqual,
            "=" => Relation::Equal,
            "&" => Relation::And,
            "^" => Relation::Xor,
            _ => return Err(error()),
        };
        let value = self.operand(keyword, part()?)?;
        let offset = self.operand(keyword, part()?)?;
        let mut common = Common::new();
        for word in parts {
            if !common.take(keyword, word)? {
                return Err(error());
            }
        }
        let number = common.number(keyword, size, offset)?;
        Ok(Op::ByteTest(Comparison { number, relation, negated, value }))
    }

    fn byte_jump(&mut self, keyword: &str, value: &str) -> Result<Op, Cause> {
        let error = || Cause::value(keyword, "bytes, offset, ...");
        let mut parts = value.split(',').map(str::trim);
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or_else(error);
        let (size, offset) = (self.operand(keyword, part()?)?, self.operand(keyword, part()?)?);
        let (mut multiplier, mut align, mut from, mut post_offset) = (1, false, JumpFrom::Number, 0);
        let mut common = Common::new();
        for word in parts {
            match word.split_once(char::is_whitespace).map_or((word, ""), |(name, value)| (name, value.trim())) {
                ("align", "") => align = true,
                ("from_beginning", "") => from = JumpFrom::Beginning,
                ("from_end", "") => from = JumpFrom::End,
                ("multiplier", value) => multiplier = number(keyword, value)?,
                ("post_offset", value) => post_offset = number(keyword, value)?,
                _ if common.take(keyword, word)? => {}
                _ => return Err(error()),
            }
        }
        let number = common.number(keyword, size, offset)?;
        Ok(Op::ByteJump(Jump { number, multiplier, align, from, post_offset }))
    }

    fn byte_extract(&mut self, keyword: &str, value: &str) -> Result<Op, Cause> {
        let error = || Cause::value(keyword, "bytes, offset, name, ...");
        let mut parts = value.split(',').map(str::trim);
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or_else(error);
        let (size, offset) = (self.operand(keyword, part()?)?, self.operand(keyword, part()?)?);
        let name = part()?.to_owned();
        let (mut multiplier, mut align) = (1, 0);
        let mut common = Common::new();
        for word in parts {
            match word.split_once(char::is_whitespace).map_or((word, ""), |(name, value)| (name, value.trim())) {
                ("align", "2") => align = 2,
                ("align", "4") => align = 4,
                ("multiplier", value) => multiplier = number(keyword, value)?,
                _ if common.take(keyword, word)? => {}
                _ => return Err(error()),
            }
        }
        let number = common.number(keyword, size, offset)?;
        let variable = self.variable(&name)?;
        Ok(Op::ByteExtract(Extract { number, multiplier, align, variable }))
    }

    fn byte_math(&mut self, keyword: &str, value: &str) -> Result<Op, Cause> {
        let error = || Cause::value(keyword, "bytes n, offset n, oper +, rvalue n, result name, ...");
        let (mut size, mut offset, mut arithmetic, mut operand, mut result) = (None, None, None, None, None);
        let mut common = Common::new();
        for word in value.split(',').map(str::trim) {
            match word.split_once(char::is_whitespace).map_or((word, ""), |(name, value)| (name, value.trim())) {
                ("bytes", value) => size = Some(self.operand(keyword, value)?),
                ("offset", value) => offset = Some(self.operand(keyword, value)?),
                ("rvalue", value) => operand = Some(self.operand(keyword, value)?),
                ("result", value) if !value.is_empty() => result = Some(value.to_owned()),
                ("oper", value) => {
                    arithmetic = Some(match value {
                        "+" => Arithmetic::Add,
                        "-" => Arithmetic::Subtract,
                        "*" => Arithmetic::Multiply,
                        "/" => Arithmetic::Divide,
                        "<<" => Arithmetic::ShiftLeft,
                        ">>" => Arithmetic::ShiftRight,
                        _ => return Err(error()),
                    });
                }
                _ if common.take(keyword, word)? => {}
                _ => return Err(error()),
            }
        }
        let (Some(size), Some(offset), Some(arithmetic)) = (size, offset, arithmetic) else {
            return Err(error());
        };
        let (Some(value), Some(result)) = (operand, result) else {
            return Err(error());
        };
        if arithmetic == Arithmetic::Divide && value == Operand::Literal(0) {
            return Err(Cause::value(keyword, "a divisor other than 0"));
        }
        let number = common.number(keyword, size, offset)?;
        let variable = self.variable(&result)?;
        Ok(Op::ByteMath(Math { number, arithmetic, value, variable }))
    }

    /// What follows asks about the bytes that `base64_decode` decodes.
    fn open_base64(&mut self, keyword: &str) -> Result<(), Cause> {
        let is_decode = |op: &Op| matches!(op, Op::Base64(_));
        match self.lists.iter().position(|list| list.ops.iter().any(is_decode)) {
            Some(_) => {
                self.current = self.list_for(Place::Base64);
                Ok(())
            }
            None => Err(Cause::context(keyword, "there is no base64_decode before it")),
        }
    }
}

/// `base64_decode[: bytes n, offset n, relative]`.
fn base64_decode(keyword: &str, value: Option<&str>) -> Result<Op, Cause> {
    let mut base64 = Base64 { count: None, offset: 0, relative: false, steps: Box::default() };
    for word in value.unwrap_or("").split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word.split_once(char::is_whitespace).map_or((word, ""), |(name, value)| (name, value.trim())) {
            ("bytes", value) => base64.count = Some(number(keyword, value)?),
            ("offset", value) => base64.offset = number(keyword, value)?,
            ("relative", "") => base64.relative = true,
            _ => return Err(Cause::value(keyword, "bytes n, offset n, relative")),
        }
    }
    Ok(Op::Base64(base64))
}
