//! What the switch knows of one end of a connection.

/// What the switch knows of one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    /// One past the highest sequence number sent, SYN and FIN included.
    pub(super) end: u32,
    /// One past the highest sequence number that the other end allows.
    pub(super) limit: u32,
    /// The other end's highest acknowledgement; before there is one, what it has to acknowledge: the SYN.
    pub(super) acked: u32,
    /// The largest window that this end offered, in bytes, at least 1.
    pub(super) window_max: u32,
    /// How far this end's windows are to be shifted.
    pub(super) shift: u8,
    pub(super) flags: EndFlags,
}

/// What one end has done, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EndFlags(pub(super) u8);

impl EndFlags {
    pub(super) const SYN: u8 = 1;
    pub(super) const SCALES: u8 = 2;
    pub(super) const FIN: u8 = 4;
    pub(super) const RESET: u8 = 8;
    pub(super) const SYN_ACKED: u8 = 16;

    pub(super) fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub(super) fn set(&mut self, flag: u8) {
        self.0 |= flag;
    }
}

/// `a - b` as sequence numbers go: negative when `a` is before `b` (RFC 9293 section 3.4).
pub(super) fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

pub(super) fn later(a: u32, b: u32) -> u32 {
    if distance(a, b) > 0 { a } else { b }
}
