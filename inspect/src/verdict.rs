//! What inspection answers for a packet: forward it or not, and if not, why.

/// The exclusive answer of inspection for one packet. An alert is not a verdict: a packet can raise alerts and still be
/// forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet may go on to its receiver.
    Forward,
    /// The packet ends here.
    Drop(Refused),
    /// The packet may go on, because its profile is an audit; one that prevents would have ended it.
    WouldDrop(Refused),
}

/// Why inspection refused a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// A signature with action `drop` or `reject` matched; the number is the signature's index in its rule set.
    Signature(u32),
    /// An earlier packet of the flow was refused for good, so the rest of the flow is too.
    FlowRefused,
    /// Data that overlaps what was already accepted, with other bytes (RFC 5722 for fragments; first data wins in
    /// streams).
    Overlap,
    /// A limit on stream or fragment memory was reached and the exception policy is to drop.
    Memory,
    /// The work allowed for one packet was spent before an answer was found.
    Budget,
    /// The bytes do not follow the protocol that the flow was recognised as, and the exception policy is to drop.
    Protocol,
    /// The packet completes a file whose hash is on a list; the number is the list's place among those that files are
    /// judged by ([`crate::file_hashes::FileChecks::lists`]).
    File(u16),
    /// A file is too big to be hashed, or a part of one that has another hash than the whole, and such are refused.
    FileUnjudged,
}
