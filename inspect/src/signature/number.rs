//! Numbers in a buffer: `byte_test`, `byte_jump`, `byte_extract`, `byte_math`.

use super::content::Operand;

/// Places in a text, in bytes from its first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    /// The end of the previous match.
    pub(crate) here: i64,
    /// The buffer's first byte: before the text's own first, when earlier bytes are not at hand any more.
    pub(crate) origin: i64,
}

/// Where a number stands and how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumberAt {
    /// Bytes that it takes: at most 8, or 23 as text.
    pub(crate) size: Operand,
    /// Bytes from the buffer's start, or from the previous match.
    pub(crate) offset: Operand,
    pub(crate) relative: bool,
    pub(crate) little_endian: bool,
    /// As text in this base.
    pub(crate) text: Option<u32>,
    /// Bits to keep; the result is shifted down to the mask's lowest bit.
    pub(crate) bitmask: Option<u32>,
}

impl NumberAt {
    /// The number, and the offset behind its last byte. `None` when the buffer does not hold it.
    pub(crate) fn read(&self, data: &[u8], at: At, value: &impl Fn(Operand) -> i64) -> Option<(u64, usize)> {
        let base = if self.relative { at.here } else { at.origin };
        let start = usize::try_from(base.checked_add(value(self.offset))?).ok()?;
        let size = usize::try_from(value(self.size)).ok()?;
        let size = match (self.text, size) {
            (Some(base), 0) => digit_count(data.get(start..)?, base),
            _ => size,
        };
        let end = start.checked_add(size)?;
        let bytes = data.get(start..end)?;
        let number = match self.text {
            Some(base) => text_number(bytes, base)?,
            None if size == 0 || size > 8 => return None,
            None if self.little_endian => bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)),
            None => bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)),
        };
        let number = match self.bitmask {
            Some(mask) => (number & u64::from(mask)) >> mask.trailing_zeros().min(31),
            None => number,
        };
        Some((number, end))
    }
}

/// How many digits there are, as far as a number can have.
fn digit_count(bytes: &[u8], base: u32) -> usize {
    bytes.iter().take(23).take_while(|&&byte| char::from(byte).is_digit(base)).count()
}

/// A number as text, read as far as its digits go: leading spaces and `0x` are passed over.
fn text_number(bytes: &[u8], base: u32) -> Option<u64> {
    let bytes = bytes.trim_ascii_start();
    let bytes = match bytes {
        [b'0', b'x' | b'X', rest @ ..] if base == 16 => rest,
        _ => bytes,
    };
    let mut number = None;
    for &byte in bytes {
        let Some(digit) = char::from(byte).to_digit(base) else {
            break;
        };
        number = Some(number.unwrap_or(0u64).checked_mul(u64::from(base))?.checked_add(u64::from(digit))?);
    }
    number
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    And,
    Xor,
}

/// `byte_test`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub(crate) number: NumberAt,
    pub(crate) relation: Relation,
    pub(crate) negated: bool,
    pub(crate) value: Operand,
}

impl Comparison {
    pub(crate) fn holds(&self, data: &[u8], at: At, value: &impl Fn(Operand) -> i64) -> bool {
        let Some((number, _)) = self.number.read(data, at, value) else {
            return false;
        };
        let other = value(self.value).cast_unsigned();
        let result = match self.relation {
            Relation::Less => number < other,
            Relation::LessOrEqual => number <= other,
            Relation::Greater => number > other,
            Relation::GreaterOrEqual => number >= other,
            Relation::Equal => number == other,
            Relation::And => number & other != 0,
            Relation::Xor => number ^ other != 0,
        };
        result != self.negated
    }
}

/// From where `byte_jump` jumps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JumpFrom {
    /// Behind the number.
    Number,
    /// The buffer's first byte.
    Beginning,
    /// Behind the buffer's last byte, forward by a negative number or a negative `post_offset`.
    End,
}

/// `byte_jump`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    pub(crate) number: NumberAt,
    pub(crate) multiplier: u32,
    pub(crate) align: bool,
    pub(crate) from: JumpFrom,
    pub(crate) post_offset: i32,
}

impl Jump {
    /// The offset that it leads to, when that lies within the buffer. What lies before the buffer's first byte means that byte,
    /// as in Suricata.
    pub(crate) fn target(&self, data: &[u8], at: At, value: &impl Fn(Operand) -> i64) -> Option<usize> {
        // A size of 0 reads nothing and jumps by `post_offset` alone.
        let (number, behind) = match value(self.number.size) {
            0 => {
                let base = if self.number.relative { at.here } else { at.origin };
                (0, usize::try_from(base.checked_add(value(self.number.offset))?).ok()?)
            }
            _ => self.number.read(data, at, value)?,
        };
        let mut distance = i128::from(number) * i128::from(self.multiplier);
        if self.align {
            distance = (distance + 3) & !3;
        }
        let base = match self.from {
            JumpFrom::Number => i64::try_from(behind).ok()?,
            JumpFrom::Beginning => at.origin,
            JumpFrom::End => i64::try_from(data.len()).ok()?,
        };
        let target = i128::from(base) + distance + i128::from(self.post_offset);
        usize::try_from(target.max(0)).ok().filter(|&target| target < data.len())
    }
}

/// `byte_extract`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extract {
    pub(crate) number: NumberAt,
    pub(crate) multiplier: u32,
    /// Round up to a multiple of this; 0 for none.
    pub(crate) align: u8,
    pub(crate) variable: u8,
}

impl Extract {
    /// The value to remember, and the offset behind the bytes that it was read from.
    pub(crate) fn read(&self, data: &[u8], at: At, value: &impl Fn(Operand) -> i64) -> Option<(u64, usize)> {
        let (number, behind) = self.number.read(data, at, value)?;
        let number = number.checked_mul(u64::from(self.multiplier))?;
        let number = match self.align {
            0 => number,
            align => number.checked_next_multiple_of(u64::from(align))?,
        };
        Some((number, behind))
    }
}

/// What `byte_math` computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    ShiftLeft,
    ShiftRight,
}

/// `byte_math`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Math {
    pub(crate) number: NumberAt,
    pub(crate) arithmetic: Arithmetic,
    pub(crate) value: Operand,
    pub(crate) variable: u8,
}

impl Math {
    /// The value to remember, and the offset behind the bytes that it was read from.
    pub(crate) fn read(&self, data: &[u8], at: At, value: &impl Fn(Operand) -> i64) -> Option<(u64, usize)> {
        let unmasked = NumberAt { bitmask: None, ..self.number };
        let (number, behind) = unmasked.read(data, at, value)?;
        let other = value(self.value).cast_unsigned();
        let result = match self.arithmetic {
            Arithmetic::Add => number.wrapping_add(other),
            Arithmetic::Subtract => number.wrapping_sub(other),
            Arithmetic::Multiply => number.wrapping_mul(other),
            Arithmetic::Divide => number.checked_div(other)?,
            Arithmetic::ShiftLeft => number.checked_shl(u32::try_from(other).ok()?).unwrap_or(0),
            Arithmetic::ShiftRight => number.checked_shr(u32::try_from(other).ok()?).unwrap_or(0),
        };
        // Unlike in `byte_test`, the mask applies to the result.
        let result = match self.number.bitmask {
            Some(mask) => (result & u64::from(mask)) >> mask.trailing_zeros().min(31),
            None => result,
        };
        Some((result, behind))
    }
}
