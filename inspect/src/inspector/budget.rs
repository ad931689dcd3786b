//! The work that a packet may cost.
//!
//! # Theory of operation
//!
//! A worker's time is shared among ports by what their frames take, so a hostile guest spends its own share; what the budget
//! bounds is how long one packet, and one flow, can hold the worker. It must never end a connection that means no harm, and
//! these differ by a hundred: under 32,000 rules a byte of most files takes one unit or two, and one of source code that is
//! posted as a form up to fifty, as it holds what signatures are found by and these look at all of it with each packet. So a
//! packet is granted a little, since small ones cost more per byte, and some for each byte, more where a parser reads them;
//! what it does not need its flow saves up for one that completes much at once; and a flow is given some once, when it turns
//! out to speak a protocol that a parser reads. Unpacking is granted apart, by the bytes that came, so that it does not take
//! from what signatures need; and so is taking messages apart, up to what small ones cost. A packet that fills a gap is granted
//! something for all that has waited behind it: what it costs is one look, where each packet had one of its own.

use crate::inspector::Look;
use crate::inspector::flow::Flow;
use crate::limits::{
    WORK_PARSING_PER_BYTE, WORK_PARSING_PER_PACKET, WORK_PER_BARE_PACKET, WORK_PER_BYTE, WORK_PER_PACKED_BYTE,
    WORK_PER_PACKET, WORK_PER_PARSED_BYTE, WORK_RECOGNISED, WORK_SAVED_FIRST, WORK_WAITED_PARSED_MAX,
};
use crate::signature::Work;

/// Work for verifying signatures, with what the flow has saved up.
pub(super) fn granted(look: &Look<'_>, flow: Option<&Flow>) -> u64 {
    let length = look.facts.payload.len() as u64;
    let per_packet = if length == 0 { WORK_PER_BARE_PACKET } else { WORK_PER_PACKET };
    let per_byte = if flow.is_some_and(Flow::is_parsed) { WORK_PER_PARSED_BYTE } else { WORK_PER_BYTE };
    let waited = flow.map_or(0, |flow| flow.waited as u64);
    // Of a flow that nothing is remembered of, each packet is the first.
    per_packet + per_byte * length + WORK_PER_BYTE * waited + flow.map_or(WORK_SAVED_FIRST, |flow| flow.saved_work)
}

/// Allows a packet's work for unpacking and for taking messages apart, beside that.
pub(super) fn allow_parsers(look: &Look<'_>, work: &mut Work) {
    let length = look.facts.payload.len() as u64;
    work.allow_parsers(WORK_PER_PACKED_BYTE * length, WORK_PARSING_PER_PACKET + WORK_PARSING_PER_BYTE * length);
}

/// Allows as much for bytes that have waited behind a gap until the packet came, of which `known` are paid for; for more of
/// them than a super-segment brings, nothing.
pub(super) fn allow_parsers_waited(count: usize, known: usize, work: &mut Work) {
    let count = count.min(WORK_WAITED_PARSED_MAX.saturating_sub(known)) as u64;
    work.allow_parsers(WORK_PER_PACKED_BYTE * count, WORK_PARSING_PER_BYTE * count);
}

/// Work that the flow is given, once, for turning out to speak a protocol that a parser reads.
pub(super) fn for_recognition(flow: &mut Flow) -> u64 {
    let is_first = flow.is_parsed() && !std::mem::replace(&mut flow.is_endowed, true);
    if is_first { WORK_RECOGNISED } else { 0 }
}
