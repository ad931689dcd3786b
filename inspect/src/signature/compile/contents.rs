//! Keywords about the bytes of a buffer: patterns, their modifiers, and tests of place and length.

use super::super::cause::Cause;
use super::super::content::{Content, FastPattern, Operand, parse_content};
use super::super::program::Op;
use super::Draft;
use super::values::{interval, needed, none, number};

impl Draft<'_> {
    /// Reads the option when it is one of these; `false` when it is not.
    pub(super) fn contents(&mut self, name: &str, value: Option<&str>) -> Result<bool, Cause> {
        match name {
            "content" => {
                let (bytes, negated) = parse_content(name, needed(name, value)?)?;
                self.push(Op::Content(Content::new(bytes, negated)));
            }
            "nocase" => {
                none(name, value)?;
                self.last_content(name)?.pattern.ignore_case();
            }
            // There are no decoded bytes that it could exclude: each buffer has one form only.
            "rawbytes" => {
                none(name, value)?;
                self.last_content(name)?;
            }
            "offset" | "depth" | "distance" | "within" => {
                let operand = self.operand(name, needed(name, value)?)?;
                place(name, self.last_content(name)?, operand)?;
            }
            "startswith" => {
                none(name, value)?;
                let content = self.last_content(name)?;
                if content.is_relative() || content.offset.is_some() || content.depth.is_some() {
                    return Err(Cause::context(name, "the content has a place already"));
                }
                content.offset = Some(Operand::Literal(0));
                content.depth = Some(Operand::Literal(length(content)));
            }
            "endswith" => {
                none(name, value)?;
                self.last_content(name)?.ends_with = true;
            }
            "fast_pattern" => self.fast_pattern(name, value)?,
            "isdataat" => {
                let op = self.is_data_at(name, needed(name, value)?)?;
                let is_relative = matches!(op, Op::IsDataAt { relative: true, .. });
                self.push_step(op, is_relative);
            }
            "bsize" => {
                let size = interval(name, needed(name, value)?, u64::from(u32::MAX))?;
                self.lists[self.current].ops.push(Op::Size(size));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The content that a modifier such as `nocase` refers to.
    fn last_content(&mut self, keyword: &str) -> Result<&mut Content, Cause> {
        let last = self.last.and_then(|(list, op)| self.lists.get_mut(list)?.ops.get_mut(op));
        match last {
            Some(Op::Content(content)) => Ok(content),
            _ => Err(Cause::context(keyword, "there is no content before it")),
        }
    }

    fn fast_pattern(&mut self, keyword: &str, value: Option<&str>) -> Result<(), Cause> {
        let content = self.last_content(keyword)?;
        content.fast = match value {
            None | Some("only") => FastPattern::Whole,
            Some(value) => {
                let chop = value.split_once(',').ok_or_else(|| Cause::value(keyword, "only, or offset,length"))?;
                let (offset, length): (u16, u16) = (number(keyword, chop.0)?, number(keyword, chop.1)?);
                if length == 0 || usize::from(offset) + usize::from(length) > content.pattern.len() {
                    return Err(Cause::value(keyword, "an offset and a length within the content"));
                }
                FastPattern::Chop(offset, length)
            }
        };
        Ok(())
    }

    fn is_data_at(&self, keyword: &str, value: &str) -> Result<Op, Cause> {
        let (negated, value) = match value.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        let mut parts = value.split(',').map(str::trim);
        let count = self.operand(keyword, parts.next().unwrap_or(""))?;
        let mut relative = false;
        for word in parts {
            match word {
                "relative" => relative = true,
                "rawbytes" => {}
                _ => {
                    return Err(Cause::value(keyword, "a number, perhaps relative, perhaps rawbytes"));
                }
            }
        }
        Ok(Op::IsDataAt { count, relative, negated })
    }
}

fn length(content: &Content) -> i64 {
    i64::try_from(content.pattern.len()).unwrap_or(i64::MAX)
}

/// Puts a place on a content, when the place makes sense.
fn place(keyword: &str, content: &mut Content, operand: Operand) -> Result<(), Cause> {
    let relative = matches!(keyword, "distance" | "within");
    if relative && (content.offset.is_some() || content.depth.is_some()) {
        return Err(Cause::context(keyword, "the content has an offset or a depth, which excludes a relative place"));
    }
    if !relative && content.is_relative() {
        return Err(Cause::context(keyword, "the content has a relative place, which excludes offset and depth"));
    }
    if let Operand::Literal(value) = operand {
        let too_short = matches!(keyword, "depth" | "within") && value < length(content);
        if too_short || (keyword == "offset" && value < 0) || value.unsigned_abs() > u64::from(u32::MAX) {
            return Err(Cause::value(keyword, "room for the content"));
        }
    }
    let slot = match keyword {
        "offset" => &mut content.offset,
        "depth" => &mut content.depth,
        "distance" => &mut content.distance,
        _ => &mut content.within,
    };
    if slot.replace(operand).is_some() {
        return Err(Cause::context(keyword, "the content has one already"));
    }
    Ok(())
}
