//! Signatures in Suricata's rule language: read, compiled into an immutable set, matched.

/// A compiled, immutable set of signatures, shared by all workers and swapped whole.
#[derive(Debug, Default)]
pub struct RuleSet {}
