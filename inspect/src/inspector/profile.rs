//! How one kind of flow is inspected: what signatures may do, which of them apply, and what becomes of exceptions.
//!
//! All profiles share one compiled rule set. What a profile adds is a bit per signature, which is asked only about those that a
//! prefilter has found or that are looked at for each packet.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::inspector::{Look, Settings};
use crate::signature::{Action, RuleSet, SignatureInfo, Transports};

/// A choice among the signatures of one rule set, by their index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Choice(Box<[u64]>);

impl Choice {
    fn of(count: usize, chosen: impl Fn(u32) -> bool) -> Self {
        let mut words = vec![0; count.div_ceil(64)].into_boxed_slice();
        for index in (0..count).filter(|&index| chosen(index as u32)) {
            words[index / 64] |= 1u64 << (index % 64);
        }
        Self(words)
    }

    #[inline]
    fn contains(&self, signature: u32) -> bool {
        let word = self.0.get(signature as usize / 64).copied().unwrap_or(0);
        word >> (signature % 64) & 1 != 0
    }

    fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// How one kind of flow is inspected. A profile with a choice of signatures belongs to the rule set that it was made for.
#[derive(Clone, Debug)]
pub struct Profile {
    settings: Settings,
    /// `None` for all signatures.
    applying: Option<Choice>,
    /// Signatures with action `alert` that count as `drop` here; `None` for none.
    dropping: Option<Choice>,
    /// Transports that some applying signature is for.
    transports: Transports,
    choice: u64,
    mark: u64,
}

impl Default for Profile {
    fn default() -> Self {
        Self::all(Settings::default())
    }
}

impl Profile {
    /// The profile that all signatures of any rule set apply in, each with its own action.
    pub fn all(settings: Settings) -> Self {
        Self::with(settings, None, None, Transports::ANY)
    }

    /// A profile in which those signatures of `rules` apply that `applies` says yes to. Of these, the ones with action
    /// `alert` that `drops` says yes to count as `drop`; those with `noalert`, which only remember something, do not.
    pub fn of(
        rules: &RuleSet,
        settings: Settings,
        applies: impl Fn(&SignatureInfo) -> bool,
        drops: impl Fn(&SignatureInfo) -> bool,
    ) -> Self {
        let info = |index: u32| rules.signature(index);
        let applying = Choice::of(rules.len(), |index| info(index).is_some_and(&applies));
        let dropping = Choice::of(rules.len(), |index| {
            let signature = &rules.signatures[index as usize];
            let is_told = signature.action == Action::Alert && !signature.silent;
            is_told && applying.contains(index) && info(index).is_some_and(&drops)
        });
        let of_those = rules.signatures.iter().enumerate().filter(|(index, _)| applying.contains(*index as u32));
        let transports = of_those.fold(Transports::NONE, |sum, (_, signature)| sum.or(signature.transports));
        let applying = Some(applying).filter(|choice| choice.count() < rules.len());
        let dropping = Some(dropping).filter(|choice| choice.count() > 0);
        Self::with(settings, applying, dropping, transports)
    }

    fn with(settings: Settings, applying: Option<Choice>, dropping: Option<Choice>, transports: Transports) -> Self {
        let hash = |value: &dyn Fn(&mut DefaultHasher)| {
            let mut hasher = DefaultHasher::new();
            value(&mut hasher);
            hasher.finish()
        };
        let choice = applying.as_ref().map_or(0, |applying| hash(&|hasher| applying.hash(hasher)));
        let mark = hash(&|hasher| (choice, &settings, &dropping).hash(hasher));
        Self { settings, applying, dropping, transports, choice, mark }
    }

    /// What was chosen beside signatures.
    #[inline]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Signatures of `rules` that apply.
    pub fn signature_count(&self, rules: &RuleSet) -> usize {
        self.applying.as_ref().map_or(rules.len(), Choice::count)
    }

    /// Signatures of `rules` that apply and ask for the packet to be stopped, those that count as `drop` only here
    /// included.
    pub fn stopping_count(&self, rules: &RuleSet) -> usize {
        let stops = |index: &u32| {
            let action = rules.signatures[*index as usize].action;
            self.applies(*index) && matches!(self.action(action, *index), Action::Drop | Action::Reject)
        };
        (0..rules.len() as u32).filter(stops).count()
    }

    /// Whether a signature applies.
    #[inline]
    pub(crate) fn applies(&self, signature: u32) -> bool {
        self.applying.as_ref().is_none_or(|choice| choice.contains(signature))
    }

    /// Whether any applying signature is for a transport.
    #[inline]
    pub(crate) fn concerns(&self, transport: Transports) -> bool {
        self.transports.meets(transport)
    }

    /// What a signature asks for here, whose own action is `own`.
    #[inline]
    pub(crate) fn action(&self, own: Action, signature: u32) -> Action {
        match (own, &self.dropping) {
            (Action::Alert, Some(dropping)) if dropping.contains(signature) => Action::Drop,
            (own, _) => own,
        }
    }

    /// Whether there is a signature of this identity that applies and asks for the packet to be stopped.
    pub(crate) fn refuses_by(&self, rules: &RuleSet, identity: u64) -> bool {
        rules.index_of(identity).is_some_and(|index| {
            let action = self.action(rules.signatures[index as usize].action, index);
            self.applies(index) && matches!(action, Action::Drop | Action::Reject)
        })
    }

    /// Tells apart profiles in which other signatures apply; 0 where all do.
    #[inline]
    pub(crate) fn choice(&self) -> u64 {
        self.choice
    }

    /// Tells apart what a flow may have been passed by: rule sets, and profiles that differ in anything.
    #[inline]
    pub(crate) fn pass_mark(&self, rules: &RuleSet) -> u64 {
        rules.fingerprint() ^ self.mark
    }
}

impl Look<'_> {
    /// Tells apart what a flow can be looked at with: the rule set, and which of its signatures apply.
    pub(super) fn signatures(&self) -> u64 {
        self.rules.fingerprint() ^ self.profile.choice()
    }
}
