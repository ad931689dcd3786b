//! The table of flows: what is remembered of each, by the slot that the caller has for it.

use super::FlowSlot;
use super::fate::Refusal;
use super::flow::Flow;
use crate::limits::FLOW_SLOTS_MAX;

/// What the table says of a flow.
#[derive(Debug, Default)]
pub(crate) enum Kept {
    /// Nothing is remembered.
    #[default]
    Nothing,
    /// Nothing of the flow passes any more, while this stands.
    Refused(Box<Refusal>),
    /// It speaks nothing that carries files; no signature asked for it to be followed.
    WithoutFiles,
    /// A `pass` signature, or an exception policy, took the flow out of inspection, as long as the rule set and the profile
    /// with this mark hold for it.
    Passed(u64),
    Open(Box<Flow>),
}

/// What the next packet of a flow can expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// To be refused.
    Refused,
    /// To pass, under the rule set and the profile with this mark.
    Passed(u64),
    /// To be looked at by signatures only.
    WithoutFiles,
    /// To be looked at.
    Unknown,
}

/// Slots that get their memory together.
const PAGE_SLOTS: usize = 4096;

/// Memory per flow slot. Only flows of which something must be remembered have any, and only pages of slots that such flows are
/// in: with a large table of which nothing is followed there are none.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    pages: Vec<Option<Box<[Kept; PAGE_SLOTS]>>>,
}

impl Flows {
    #[inline(always)]
    fn kept(&self, slot: FlowSlot) -> Option<&Kept> {
        let index = slot.0 as usize;
        Some(&self.pages.get(index / PAGE_SLOTS)?.as_ref()?[index % PAGE_SLOTS])
    }

    #[inline(always)]
    fn kept_mut(&mut self, slot: FlowSlot) -> Option<&mut Kept> {
        let index = slot.0 as usize;
        Some(&mut self.pages.get_mut(index / PAGE_SLOTS)?.as_mut()?[index % PAGE_SLOTS])
    }

    /// Takes out what is remembered of a flow.
    #[inline]
    pub(crate) fn take(&mut self, slot: FlowSlot) -> Kept {
        self.kept_mut(slot).map(std::mem::take).unwrap_or_default()
    }

    /// Whether nothing was ever remembered of a flow.
    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Whether the flow has been refused.
    #[inline]
    pub(crate) fn is_refused(&self, slot: FlowSlot) -> bool {
        matches!(self.kept(slot), Some(Kept::Refused(_)))
    }

    /// Why a flow has been refused, if it has.
    pub(crate) fn refusal(&mut self, slot: FlowSlot) -> Option<&mut Refusal> {
        match self.kept_mut(slot) {
            Some(Kept::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    /// What the next packet of a flow can expect, without a look at it.
    #[inline(always)]
    pub(crate) fn outlook(&self, slot: FlowSlot) -> Outlook {
        match self.kept(slot) {
            Some(Kept::Refused(_)) => Outlook::Refused,
            Some(Kept::Passed(fingerprint)) => Outlook::Passed(*fingerprint),
            Some(Kept::WithoutFiles) => Outlook::WithoutFiles,
            Some(Kept::Open(_) | Kept::Nothing) | None => Outlook::Unknown,
        }
    }

    /// A look at an open flow.
    pub(crate) fn peek(&self, slot: FlowSlot) -> Option<&Flow> {
        match self.kept(slot) {
            Some(Kept::Open(flow)) => Some(flow),
            _ => None,
        }
    }

    /// Remembers something of a flow; gives it back when the slot is beyond what the table can hold.
    pub(crate) fn keep(&mut self, slot: FlowSlot, kept: Kept) -> Option<Kept> {
        let index = slot.0 as usize;
        if index >= FLOW_SLOTS_MAX {
            return Some(kept);
        }
        if index / PAGE_SLOTS >= self.pages.len() {
            self.pages.resize_with(index / PAGE_SLOTS + 1, || None);
        }
        let page =
            self.pages[index / PAGE_SLOTS].get_or_insert_with(|| Box::new([const { Kept::Nothing }; PAGE_SLOTS]));
        page[index % PAGE_SLOTS] = kept;
        None
    }
}
