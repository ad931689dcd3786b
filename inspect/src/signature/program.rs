//! What a rule's options become: small programs over buffers and tests over packets.

use super::cause::Cause;
use super::content::{Content, Operand};
use super::number::{Comparison, Extract, Jump, Math, NumberAt};
use super::pcre::Regex;

/// One step of a program over a buffer.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What it does.
    pub(crate) op: Op,
    /// Whether later steps start from this one's end, so that another occurrence may help where the first did not.
    pub(crate) retry: bool,
}

/// What a step asks of the buffer.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A byte pattern.
    Content(Content),
    /// So many bytes are there (behind the previous match, when relative).
    IsDataAt { count: Operand, relative: bool, negated: bool },
    /// The buffer's length.
    Size(Interval),
    /// A number in the buffer compares so.
    ByteTest(Comparison),
    /// Go on behind as many bytes as a number in the buffer says.
    ByteJump(Jump),
    /// Remember a number.
    ByteExtract(Extract),
    /// Compute with a number and remember the result.
    ByteMath(Math),
    /// A regular expression.
    Regex(Regex),
    /// Decode base64 and run the inner program over the result.
    Base64(Base64),
}

/// A range of numbers, ends included, perhaps negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Interval {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) negated: bool,
}

impl Interval {
    #[inline]
    pub(crate) fn contains(&self, value: u64) -> bool {
        (self.first <= value && value <= self.last) != self.negated
    }
}

/// `base64_decode` and what follows `base64_data`.
#[derive(Clone, Debug)]
pub(crate) struct Base64 {
    /// Bytes to decode at most.
    pub(crate) count: Option<u32>,
    /// Where they start.
    pub(crate) offset: u32,
    /// Whether from the previous match.
    pub(crate) relative: bool,
    /// What is asked of the decoded bytes; nothing but that there are some, when empty.
    pub(crate) steps: Box<[Step]>,
}

impl Op {
    /// Whether it starts from where the previous match ended.
    pub(crate) fn is_relative(&self) -> bool {
        let at = |number: &NumberAt| number.relative;
        match self {
            Op::Content(content) => content.is_relative(),
            Op::IsDataAt { relative, .. } => *relative,
            Op::Size(_) => false,
            Op::ByteTest(test) => at(&test.number),
            Op::ByteJump(jump) => at(&jump.number),
            Op::ByteExtract(extract) => at(&extract.number),
            Op::ByteMath(math) => at(&math.number),
            Op::Regex(regex) => regex.relative,
            Op::Base64(base64) => base64.relative,
        }
    }

    /// Whether it may fail from where the match before it ended, and hold from where a later one would have. A pattern that
    /// may stand anywhere behind a place is not so: whatever it finds behind a later one, it finds behind an earlier one too,
    /// and goes through all that it finds.
    fn is_choosy(&self) -> bool {
        match self {
            Op::Content(content) => content.is_relative() && (content.negated || content.within.is_some()),
            _ => self.is_relative(),
        }
    }

    /// Whether what follows starts from a place that it finds by itself, wherever the match before it ended.
    fn finds_its_place(&self) -> bool {
        matches!(self, Op::ByteJump(_) | Op::ByteExtract(_) | Op::ByteMath(_)) && !self.is_relative()
    }

    /// Whether it can match at more than one place.
    fn is_search(&self) -> bool {
        match self {
            Op::Content(content) => !content.negated,
            Op::Regex(regex) => !regex.negated,
            _ => false,
        }
    }
}

/// Marks the steps whose other occurrences are worth a try: those from whose end a later step starts, with no other
/// search in between, unless it is enough for that step to start from the first one.
///
/// # Errors
/// An expression that can be read forwards but not backwards.
pub(crate) fn link(ops: Vec<Op>) -> Result<Box<[Step]>, Cause> {
    let mut steps: Vec<Step> = ops.into_iter().map(|op| Step { op, retry: false }).collect();
    let mut relative_follows = false;
    for step in steps.iter_mut().rev() {
        if step.op.is_search() {
            step.retry = relative_follows;
            relative_follows = false;
        }
        if let Op::Regex(regex) = &mut step.op {
            if step.retry {
                regex.find_starts()?;
            }
            regex.settle();
        }
        if step.op.finds_its_place() {
            relative_follows = false;
        }
        relative_follows |= step.op.is_choosy();
    }
    Ok(steps.into_boxed_slice())
}

/// A test of what the headers of a packet say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PacketTest {
    /// `dsize`: bytes of payload.
    PayloadSize(Interval),
    /// `flags`: TCP flags.
    TcpFlags(FlagTest),
    /// `seq`.
    TcpSequence(u32),
    /// `ack`.
    TcpAcknowledgement(u32),
    /// `window`.
    TcpWindow(Interval),
    /// `itype`.
    IcmpType(Interval),
    /// `icode`.
    IcmpCode(Interval),
    /// `icmp_id`.
    IcmpIdentifier(u16),
    /// `icmp_seq`.
    IcmpSequence(u16),
    /// `ttl`: time to live or hop limit.
    Ttl(Interval),
    /// `id`: identification of IPv4.
    IpIdentification(u16),
    /// `ip_proto`.
    IpProtocol(Interval),
    /// `tos`: the differentiated services field.
    Tos(Interval),
    /// `sameip`.
    SameAddress,
    /// `fragbits`: reserved, don't-fragment, more-fragments as in the IPv4 header's three bits.
    FragmentBits(FlagTest),
    /// `fragoffset`, in units of eight bytes.
    FragmentOffset(Interval),
    /// `ipopts`: an IPv4 option of this type is present; `None` is any option.
    IpOption(Option<u8>),
    /// `stream_size`: bytes that have passed in the TCP stream.
    StreamSize(StreamSize),
    /// `flow.age`: seconds since the flow's first packet.
    FlowAge(Interval),
    /// `flow.pkts`: packets of the flow so far, this one included.
    FlowPackets(StreamSize),
    /// `flow.bytes`: bytes of the flow's packets so far, their link headers included.
    FlowBytes(StreamSize),
}

/// How a set of flag bits is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlagTest {
    /// The bits that are asked for.
    pub(crate) bits: u8,
    /// The bits that do not matter.
    pub(crate) ignored: u8,
    /// How.
    pub(crate) mode: FlagMode,
}

/// The comparison of [`FlagTest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FlagMode {
    /// Exactly these.
    Exact,
    /// All of these, perhaps more (`+`).
    All,
    /// At least one of these (`*`).
    Any,
    /// Not all of these (`!`).
    Not,
}

impl FlagTest {
    pub(crate) fn holds(&self, flags: u8) -> bool {
        let flags = flags & !self.ignored;
        match self.mode {
            FlagMode::Exact => flags == self.bits,
            FlagMode::All => flags & self.bits == self.bits,
            FlagMode::Any => flags & self.bits != 0,
            FlagMode::Not => flags & self.bits != self.bits,
        }
    }
}

/// Whose stream, or packets, are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StreamSide {
    /// What the originator sent.
    Client,
    /// What the responder sent.
    Server,
    /// Both, each by itself.
    Both,
    /// One of them.
    Either,
}

/// A count per side and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamSize {
    pub(crate) side: StreamSide,
    pub(crate) size: Interval,
}

#[cfg(test)]
mod tests {
    use super::super::content::Operand;
    use super::*;

    /// A pattern with a distance and a length within which it must end, where they are given.
    fn content(distance: Option<i64>, within: Option<i64>, negated: bool) -> Op {
        let mut content = Content::new(b"needle".to_vec(), negated);
        (content.distance, content.within) = (distance.map(Operand::Literal), within.map(Operand::Literal));
        Op::Content(content)
    }

    fn extract(relative: bool) -> Op {
        let (size, offset) = (Operand::Literal(2), Operand::Literal(0));
        let number = NumberAt { size, offset, relative, little_endian: false, text: None, bitmask: None };
        Op::ByteExtract(Extract { number, multiplier: 1, align: 0, variable: 0 })
    }

    fn is_data_at() -> Op {
        Op::IsDataAt { count: Operand::Literal(4), relative: true, negated: true }
    }

    fn retries(ops: Vec<Op>) -> Vec<bool> {
        link(ops).map(|steps| steps.iter().map(|step| step.retry).collect()).unwrap_or_default()
    }

    #[test]
    fn other_places_are_tried_where_they_can_help() {
        let anywhere = || content(None, None, false);
        let behind = || content(Some(0), None, false);
        assert_eq!(retries(vec![anywhere(), anywhere()]), [false, false]);
        // Whatever stands behind a later one stands behind the first one too.
        assert_eq!(retries(vec![anywhere(), behind(), behind()]), [false, false, false]);
        assert_eq!(retries(vec![anywhere(), content(None, Some(9), false), behind()]), [true, false, false]);
        assert_eq!(retries(vec![anywhere(), content(Some(0), None, true)]), [true, false]);
        assert_eq!(retries(vec![anywhere(), behind(), is_data_at()]), [false, true, false]);
        // What is read at a place of its own says where to go on.
        assert_eq!(retries(vec![anywhere(), extract(false), is_data_at()]), [false, false, false]);
        assert_eq!(retries(vec![anywhere(), extract(true), is_data_at()]), [true, false, false]);
    }
}
