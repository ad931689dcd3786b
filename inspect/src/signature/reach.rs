//! How far into its buffer a pattern can stand: what may stand only near the start need not be looked for in the rest.

use super::content::{Content, Operand};
use super::number::NumberAt;
use super::program::{Op, Step};

/// The steps, each with the place of its buffer behind which it cannot end, where that is known. A step that counts from
/// the match before it stands near the start if that does; before the first match is the start.
pub(crate) fn with_reaches(steps: &[Step]) -> impl Iterator<Item = (&Step, Option<usize>)> {
    steps.iter().scan(Some(0), |behind, step| {
        *behind = farthest(&step.op, *behind);
        Some((step, behind.map(|place| usize::try_from(place).unwrap_or(0))))
    })
}

/// The farthest place that the next step can count from, if this one counts from no farther than `at`.
fn farthest(op: &Op, at: Option<i64>) -> Option<i64> {
    match op {
        Op::Content(content) if content.negated => at,
        Op::Content(content) => end_of_content(content, at),
        Op::ByteExtract(extract) => end_of_number(&extract.number, at),
        Op::ByteMath(math) => end_of_number(&math.number, at),
        Op::Regex(regex) if regex.negated => at,
        Op::Regex(_) | Op::ByteJump(_) => None,
        Op::IsDataAt { .. } | Op::Size(_) | Op::ByteTest(_) | Op::Base64(_) => at,
    }
}

fn end_of_content(content: &Content, at: Option<i64>) -> Option<i64> {
    let literal_or_zero = |operand: Option<Operand>| operand.map_or(Some(0), literal);
    let (start, count) = if content.is_relative() {
        (at?.saturating_add(literal_or_zero(content.distance)?), content.within)
    } else {
        (literal_or_zero(content.offset)?, content.depth)
    };
    // A region that begins before the buffer is cut there.
    Some(start.saturating_add(literal(count?)?).max(0))
}

fn end_of_number(number: &NumberAt, at: Option<i64>) -> Option<i64> {
    if number.text.is_some() && number.size == Operand::Literal(0) {
        return None; // As many digits as there are.
    }
    let from = if number.relative { at? } else { 0 };
    Some(from.saturating_add(literal(number.offset)?).saturating_add(literal(number.size)?).max(0))
}

fn literal(operand: Operand) -> Option<i64> {
    match operand {
        Operand::Literal(value) => Some(value),
        Operand::Variable(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::program::link;

    fn content(place: impl FnOnce(&mut Content)) -> Op {
        let mut content = Content::new(b"PK".to_vec(), false);
        place(&mut content);
        Op::Content(content)
    }

    fn reaches(ops: Vec<Op>) -> Vec<Option<usize>> {
        link(ops).map(|steps| with_reaches(&steps).map(|(_, reach)| reach).collect()).unwrap_or_default()
    }

    #[test]
    fn what_counts_from_near_the_start_stands_near_the_start() {
        let within = |distance, within| {
            content(move |content| {
                content.distance = Some(Operand::Literal(distance));
                content.within = Some(Operand::Literal(within));
            })
        };
        let anywhere = || content(|_| {});
        let refused = || content(|content| content.negated = true);
        let deep = |depth| content(move |content| content.depth = Some(Operand::Literal(depth)));
        assert_eq!(reaches(vec![within(0, 2), refused(), within(5, 4)]), [Some(2), Some(2), Some(11)]);
        assert_eq!(reaches(vec![deep(10), within(-20, 4), anywhere(), within(0, 2)]), [Some(10), Some(0), None, None]);
        assert_eq!(reaches(vec![anywhere(), deep(3), within(1, 2)]), [None, Some(3), Some(6)]);
        let unbounded = content(|content| content.distance = Some(Operand::Literal(4)));
        let unknown = content(|content| content.within = Some(Operand::Variable(0)));
        assert_eq!(reaches(vec![unbounded, deep(2), unknown]), [None, Some(2), None]);
    }

    #[test]
    fn numbers_move_the_place_by_their_size() {
        use crate::signature::number::Extract;
        let extract = |relative, size, text| {
            let (size, offset) = (Operand::Literal(size), Operand::Literal(3));
            let number = NumberAt { size, offset, relative, little_endian: false, text, bitmask: None };
            Op::ByteExtract(Extract { number, multiplier: 1, align: 0, variable: 0 })
        };
        assert_eq!(reaches(vec![extract(false, 4, None), extract(true, 1, None)]), [Some(7), Some(11)]);
        assert_eq!(reaches(vec![extract(false, 0, Some(10))]), [None]);
    }
}
