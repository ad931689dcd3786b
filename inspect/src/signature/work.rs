//! The work that one packet may cost.

/// A count of work in units of about a nanosecond, and where it must end.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) done: u64,
    pub(crate) max: u64,
}

impl Work {
    /// Nothing done yet, of so much.
    pub(crate) fn of(max: u64) -> Self {
        Self { done: 0, max }
    }

    /// Whether more has been done than may be.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.done > self.max
    }
}
