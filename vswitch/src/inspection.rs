//! The stage that judges, and the only place where a [`Cleared`] is made.

use std::sync::Arc;

use inspect::alert::Alert;
use inspect::announcements::Announcements;
use inspect::inspector::{FlowSlot, FlowView, Inspector, Profile, Settings};
use inspect::signature::RuleSet;
use inspect::verdict::{Refused, Verdict};
use inspect::wire::{Headers, Packet};

use crate::frame::{Offload, OffloadWord};
use crate::memory::access;

/// A frame that was inspected with the verdict forward, for one egress port: the only thing that leaves the switch.
///
/// It borrows the batch that holds the frame, so the bytes cannot change between verdict and delivery, and its fields are
/// private to this module, so nobody else can make one (invariant 2).
#[derive(Clone, Copy, Debug)]
pub struct Cleared<'batch> {
    frame: &'batch [u8],
    headers: &'batch Headers,
    offload: OffloadWord,
}

impl<'batch> Cleared<'batch> {
    /// A fragment of a datagram that was cleared as a whole; its bytes are those that the whole was put together from.
    pub(crate) fn fragment_of(whole: &Cleared<'_>, frame: &'batch [u8], headers: &'batch Headers) -> Self {
        debug_assert!(headers.fragment.is_some() && frame.len() <= whole.frame.len());
        Self { frame, headers, offload: OffloadWord::NONE }
    }

    /// The bytes that were inspected.
    #[inline(always)]
    pub fn frame(&self) -> &'batch [u8] {
        self.frame
    }

    /// Where the headers are in the frame.
    #[inline(always)]
    pub fn headers(&self) -> &'batch Headers {
        self.headers
    }

    /// What is left to be done to the frame by whoever sends it on.
    #[inline(always)]
    pub fn offload(&self) -> Offload {
        self.offload.into()
    }

    /// The same as it goes through the walk.
    #[inline(always)]
    pub fn offload_word(&self) -> OffloadWord {
        self.offload
    }
}

/// Cleared frames on the way to another worker, with bytes of their own: a [`Cleared`] goes in and the same comes out. Nothing
/// else reaches the bytes, so what comes out is what was inspected.
#[derive(Debug, Default)]
pub struct ClearedFrames {
    bytes: Vec<u8>,
    frames: Vec<(std::ops::Range<usize>, Headers, OffloadWord)>,
}

impl ClearedFrames {
    /// Copies a frame in.
    pub fn push(&mut self, cleared: &Cleared<'_>) {
        let start = self.bytes.len();
        access::append_private(&mut self.bytes, cleared.frame);
        self.frames.push((start..self.bytes.len(), *cleared.headers, cleared.offload));
    }

    /// The frame at a place, in the order in which they went in.
    pub fn at(&self, index: usize) -> Option<Cleared<'_>> {
        let (range, headers, offload) = self.frames.get(index)?;
        Some(Cleared { frame: self.bytes.get(range.clone())?, headers, offload: *offload })
    }

    /// Frames held.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
    }
}

/// A frame that is about to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'batch> {
    /// Its bytes, which stay as they are until it is delivered; padding is cut off.
    pub frame: &'batch [u8],
    /// Where its headers are.
    pub headers: &'batch Headers,
    /// What is left to be done to it.
    pub offload: OffloadWord,
}

impl<'batch> Candidate<'batch> {
    /// The frame with its headers.
    #[inline(always)]
    pub fn packet(&self) -> Packet<'batch> {
        Packet::new(self.frame, *self.headers)
    }
}

/// One worker's inspection and the alerts of the frame that was judged last.
#[derive(Debug, Default)]
pub struct Inspection {
    inspector: Inspector,
    alerts: Vec<Alert>,
}

/// What inspection has come to about a frame.
#[derive(Clone, Copy, Debug)]
pub enum Judged<'batch> {
    /// It may leave.
    Cleared(Cleared<'batch>),
    /// It may leave because its profile is an audit: prevention would have refused it.
    Audited(Cleared<'batch>, Refused),
    /// It ends here.
    Refused(Refused),
}

impl Inspection {
    /// Inspection that notes what these settings ask for; the rest of them is the profiles' matter.
    pub fn new(settings: Settings) -> Self {
        Self { inspector: Inspector::new(settings), alerts: Vec::new() }
    }

    /// [`Inspection::new`] of one of several workers: what one of them hears announced, all know.
    pub fn sharing(settings: Settings, announcements: Arc<Announcements>) -> Self {
        Self { inspector: Inspector::sharing(settings, announcements), alerts: Vec::new() }
    }

    /// Whether there is anything to tell of the frame that was judged last.
    #[inline]
    pub fn has_findings(&self) -> bool {
        !self.alerts.is_empty() || self.inspector.has_notes()
    }

    /// Judges one frame by the profile of its flow; its alerts are in [`Inspection::alerts`] until the next call.
    #[inline]
    pub fn judge<'batch>(
        &mut self,
        rules: &RuleSet,
        profile: &Profile,
        candidate: &Candidate<'batch>,
        flow: &FlowView,
        now_ms: u64,
    ) -> Judged<'batch> {
        self.alerts.clear();
        let Candidate { frame, headers, offload } = *candidate;
        match self.inspector.inspect_by(rules, profile, &candidate.packet(), flow, now_ms, &mut self.alerts) {
            Verdict::Forward => Judged::Cleared(Cleared { frame, headers, offload }),
            Verdict::WouldDrop(refused) => Judged::Audited(Cleared { frame, headers, offload }, refused),
            Verdict::Drop(refused) => Judged::Refused(refused),
        }
    }

    /// Whether [`Inspection::judge`] would clear any frame at all without a look at it, now and until it is called.
    pub fn is_idle(&self, rules: &RuleSet) -> bool {
        self.inspector.is_idle(rules)
    }

    /// Clears a frame that inspection has nothing to say of, as [`Inspection::judge`] would, for less; `None` for all others.
    /// `is_idle` is what [`Inspection::is_idle`] says.
    #[inline(always)]
    pub fn clear_unseen<'batch, 'p>(
        &self,
        rules: &RuleSet,
        is_idle: bool,
        profile: impl FnOnce() -> &'p Profile,
        candidate: &Candidate<'batch>,
        slot: FlowSlot,
    ) -> Option<Cleared<'batch>> {
        let Candidate { frame, headers, offload } = *candidate;
        (is_idle || self.inspector.passes_unseen(rules, profile, slot)).then_some(Cleared { frame, headers, offload })
    }

    /// The alerts that the last frame raised.
    #[inline]
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// The inspector, to be told of flows that end.
    pub fn inspector(&mut self) -> &mut Inspector {
        &mut self.inspector
    }
}
