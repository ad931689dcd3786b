//! The work that one packet may cost.
//!
//! What is counted is what it takes at worst, when all that is looked at comes from memory: a hostile text names signatures
//! that nobody has looked at lately. [`weight`] says how much each kind of work counts; `inspect/benches/hostile.rs` shows
//! what it really takes.

/// What kinds of work count, in units of about a nanosecond.
pub(crate) mod weight {
    /// Beginning one side of a transaction, and ending it.
    pub(crate) const TRANSACTION: u64 = 200;
    /// Keeping a buffer that a parser gives, and searching it, however short it is.
    pub(crate) const BUFFER: u64 = 100;
    /// Finding a candidate, and a look at its gate.
    pub(crate) const GLANCE: u64 = 4;
    /// Fetching a signature and the lists that it points to.
    pub(crate) const SIGNATURE: u64 = 150;
    /// Fetching what is asked of one buffer, and finding that.
    pub(crate) const CONDITION: u64 = 60;
    /// Fetching one step of a program, with its pattern.
    pub(crate) const STEP: u64 = 20;
    /// One place of a text where a pattern may stand: the search stops, compares and begins again.
    pub(crate) const COMPARISON: u64 = 8;
    /// Starting an automaton that has been built.
    pub(crate) const AUTOMATON: u64 = 200;
    /// Building an automaton's beginnings.
    pub(crate) const AUTOMATON_BUILT: u64 = 5_000;
    /// Starting a backtracking search, and each byte that it goes on by.
    pub(crate) const BACKTRACKING: u64 = 1_000;
    pub(crate) const BACKTRACKING_BYTE: u64 = 12;
    /// A match, with what it is told by.
    pub(crate) const MATCH: u64 = 100;
}

/// A count of work in units of about a nanosecond, and where it must end.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) done: u64,
    pub(crate) max: u64,
    /// What is left of the work that unpacking may take beyond that.
    unpacking: u64,
    /// The same of work of parsers.
    parsing: u64,
    /// Something was left undone because nothing was left for it.
    is_given_up: bool,
}

impl Work {
    /// Nothing done yet, of so much.
    pub(crate) fn of(max: u64) -> Self {
        Self { done: 0, max, unpacking: 0, parsing: 0, is_given_up: false }
    }

    /// Allows so much more for unpacking and for looking at what comes of it, and for taking messages apart.
    pub(crate) fn allow_parsers(&mut self, unpacking: u64, parsing: u64) {
        self.unpacking += unpacking;
        self.parsing += parsing;
    }

    /// Counts work of parsers.
    pub(crate) fn parsed(&mut self, units: u64) {
        let allowed = units.min(self.parsing);
        self.parsing -= allowed;
        self.max += allowed;
        self.done += units;
    }

    /// Counts work of unpacking.
    pub(crate) fn unpacked(&mut self, units: u64) {
        let allowed = units.min(self.unpacking);
        self.unpacking -= allowed;
        self.max += allowed;
        self.done += units;
    }

    /// Work that may still go into unpacking.
    pub(crate) fn left_for_unpacking(&self) -> u64 {
        (self.max + self.unpacking).saturating_sub(self.done)
    }

    /// Whether it must end here, before all is done. The count stays spent then, whatever is granted later.
    pub(crate) fn gives_up(&mut self) -> bool {
        self.is_given_up |= self.done > self.max;
        self.is_given_up
    }

    /// Whether more has been done than may be.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.done > self.max || self.is_given_up
    }
}
