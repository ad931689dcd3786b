//! Signatures in Suricata's rule language: read, compiled into an immutable set, matched.
//!
//! In the order in which a rule meets them: [`text`] cuts files into lines, [`parse`] turns a line into the tree of
//! [`syntax`], [`compile`] gives its keywords a meaning ([`program`], [`content`], [`number`], [`ranges`], [`rate`]) or
//! a [`cause`] of refusal, [`ruleset`] collects the results, and [`group`] says which of them a packet can match.
//! [`header_match`] and [`evaluate`] then judge packets.

mod blocks;
mod cause;
mod classification;
mod compile;
mod content;
mod definition;
mod evaluate;
mod facts;
mod gate;
mod group;
mod header_match;
mod identity;
mod memory_test;
mod need;
mod number;
mod parse;
mod pcre;
mod prefilter;
mod program;
mod ranges;
mod rate;
mod reach;
mod ruleset;
mod searched;
mod selection;
mod syntax;
mod text;
mod transform;
mod witness;
mod work;

#[cfg(test)]
mod tests;

pub use cause::{Cause, Refusal};
pub use definition::{SignatureInfo, Target};
pub use group::GroupId;
pub use ranges::Vars;
pub use ruleset::{Loaded, RuleFile, RuleSet};
pub use syntax::Action;
pub use text::Position;

pub(crate) use blocks::Noted;
pub(crate) use compile::UNRECOGNISED;
pub(crate) use definition::{Absence, AppMatch, BufferCondition, Moment, Signature, Transports};
pub(crate) use evaluate::{Evaluation, Outcome};
pub(crate) use facts::Facts;
pub(crate) use gate::Glance;
pub(crate) use header_match::{FlowCounts, FlowFacts, header_part, tests_match};
pub(crate) use memory_test::{BitChange, BitTrack, IntChange, IntValue, MemoryEffect, MemoryTest, NameId};
pub(crate) use pcre::RegexCaches;
pub(crate) use prefilter::{Named, Prefilter};
pub(crate) use program::{Op, Step};
pub(crate) use rate::{RateKey, Rated, Rates, Track};
pub(crate) use ruleset::Known;
pub(crate) use selection::{PacketGroup, Selection, side_allows};
pub(crate) use witness::{RUN_SET_TEXT_MAX, RunSet, Within, Witness};
pub(crate) use work::{Work, weight};
