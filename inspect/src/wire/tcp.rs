//! The TCP header and its options (RFC 9293 section 3.1).

use super::Malformed;

/// Length of the TCP header without options, in bytes.
pub(super) const HEADER_LEN: usize = 20;
/// Offset of the checksum in the header.
pub(super) const CHECKSUM_AT: usize = 16;

/// The largest window shift (RFC 7323 section 2.3).
pub const WINDOW_SHIFT_MAX: u8 = 14;

/// A set of TCP's control bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    #[inline]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These bits without those of `other`.
    #[inline]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl std::ops::BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The fields of a TCP header that matter beyond its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpView<'a> {
    /// Sequence number of the first byte (of the SYN itself where there is one).
    pub seq: u32,
    /// Acknowledgement number; meaningless without [`TcpFlags::ACK`].
    pub ack: u32,
    /// The control bits.
    pub flags: TcpFlags,
    /// The window as written, unscaled.
    pub window: u16,
    /// The urgent pointer; meaningless without [`TcpFlags::URG`].
    pub urgent: u16,
    /// The options' bytes, 0 to 40 of them.
    pub option_bytes: &'a [u8],
}

/// One TCP option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Maximum segment size, in bytes (RFC 9293 section 3.7.1).
    Mss(u16),
    /// Window shift (RFC 7323 section 2), as written: see [`TcpView::window_shift`] for the value to use.
    WindowScale(u8),
    /// Selective acknowledgement permitted (RFC 2018).
    SackPermitted,
    /// Selective acknowledgement blocks, 8 bytes each (RFC 2018).
    Sack(&'a [u8]),
    /// Timestamps (RFC 7323 section 3).
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The receiver's clock, echoed; meaningless without [`TcpFlags::ACK`].
        echo: u32,
    },
    /// Any other kind, with the bytes behind its kind and length.
    Other(u8, &'a [u8]),
}

impl<'a> TcpView<'a> {
    /// Reads the header of a segment that [`check`] passed, `header_len` as it answered.
    #[inline]
    pub(super) fn read(segment: &'a [u8], header_len: usize) -> Self {
        let word = |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
        Self {
            seq: word(4),
            ack: word(8),
            flags: TcpFlags(segment[13]),
            window: u16::from_be_bytes([segment[14], segment[15]]),
            urgent: u16::from_be_bytes([segment[18], segment[19]]),
            option_bytes: &segment[HEADER_LEN..header_len],
        }
    }

    /// The options in order, without padding. Ends early at bytes that are no option.
    pub fn options(&self) -> TcpOptions<'a> {
        TcpOptions { bytes: self.option_bytes, is_broken: false }
    }

    /// The window shift that the segment offers, at most [`WINDOW_SHIFT_MAX`] as RFC 7323 section 2.3 has receivers cap it.
    pub fn window_shift(&self) -> Option<u8> {
        self.options().find_map(|option| match option {
            TcpOption::WindowScale(shift) => Some(shift.min(WINDOW_SHIFT_MAX)),
            _ => None,
        })
    }

    /// The maximum segment size that the segment announces, in bytes.
    pub fn mss(&self) -> Option<u16> {
        self.options().find_map(|option| if let TcpOption::Mss(mss) = option { Some(mss) } else { None })
    }

    /// Whether the segment permits selective acknowledgements.
    pub fn is_sack_permitted(&self) -> bool {
        self.options().any(|option| option == TcpOption::SackPermitted)
    }

    /// The segment's timestamp and echo.
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        self.options().find_map(|option| match option {
            TcpOption::Timestamps { value, echo } => Some((value, echo)),
            _ => None,
        })
    }
}

/// The options of one TCP header; see [`TcpView::options`].
#[derive(Clone, Debug)]
pub struct TcpOptions<'a> {
    bytes: &'a [u8],
    is_broken: bool,
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        while let [1, rest @ ..] = self.bytes {
            self.bytes = rest;
        }
        if matches!(self.bytes, [] | [0, ..]) {
            return None;
        }
        let option = take_option(&mut self.bytes);
        if option.is_none() {
            (self.bytes, self.is_broken) = (&[], true);
        }
        option
    }
}

/// Takes one option with a length off the front of `bytes`.
fn take_option<'a>(bytes: &mut &'a [u8]) -> Option<TcpOption<'a>> {
    let (&kind, &len) = (bytes.first()?, bytes.get(1)?);
    let body = bytes.get(2..usize::from(len))?;
    *bytes = &bytes[usize::from(len)..];
    match (kind, body) {
        (2, &[b0, b1]) => Some(TcpOption::Mss(u16::from_be_bytes([b0, b1]))),
        (3, &[shift]) => Some(TcpOption::WindowScale(shift)),
        (4, &[]) => Some(TcpOption::SackPermitted),
        (5, blocks) if !blocks.is_empty() && blocks.len().is_multiple_of(8) => Some(TcpOption::Sack(blocks)),
        (8, &[v0, v1, v2, v3, e0, e1, e2, e3]) => Some(TcpOption::Timestamps {
            value: u32::from_be_bytes([v0, v1, v2, v3]),
            echo: u32::from_be_bytes([e0, e1, e2, e3]),
        }),
        (2 | 3 | 4 | 5 | 8, _) => None,
        (other, body) => Some(TcpOption::Other(other, body)),
    }
}

/// Which of the 64 combinations of FIN, SYN, RST, PSH, ACK and URG stacks send; bit n stands for combination n. ECE and
/// CWR go with any (RFC 3168 sets both on a SYN).
const LEGAL_FLAGS: u64 = legal_flags();

const fn legal_flags() -> u64 {
    let mut set = 0;
    let mut bits = 0;
    while bits < 64 {
        let flags = TcpFlags(bits as u8);
        let is_legal = match flags.without(TcpFlags(TcpFlags::PSH.0 | TcpFlags::URG.0)).0 {
            // SYN; SYN+ACK
            0x02 | 0x12 => !flags.intersects(TcpFlags::URG),
            // RST; RST+ACK
            0x04 | 0x14 => !flags.intersects(TcpFlags::URG),
            // ACK; FIN+ACK
            0x10 | 0x11 => true,
            _ => false,
        };
        if is_legal {
            set |= 1 << bits;
        }
        bits += 1;
    }
    set
}

/// Checks the header and answers its length, options included.
#[inline(always)]
pub(super) fn check(segment: &[u8]) -> Result<usize, Malformed> {
    let Some(head) = segment.first_chunk::<HEADER_LEN>() else {
        return Err(Malformed::Truncated);
    };
    if [head[0], head[1]] == [0, 0] {
        return Err(Malformed::SourcePortZero);
    }
    if [head[2], head[3]] == [0, 0] {
        return Err(Malformed::DestinationPortZero);
    }
    let header_len = usize::from(head[12] >> 4) * 4;
    if header_len < HEADER_LEN || header_len > segment.len() {
        return Err(Malformed::TcpDataOffset);
    }
    if LEGAL_FLAGS >> (head[13] & 0x3f) & 1 == 0 {
        return Err(Malformed::TcpFlags);
    }
    if header_len != HEADER_LEN {
        check_options(&segment[HEADER_LEN..header_len])?;
    }
    Ok(header_len)
}

/// Refuses options that one stack might skip and another trip over: what they would make of the segment is a guess.
#[inline(always)]
fn check_options(bytes: &[u8]) -> Result<(), Malformed> {
    // NOP, NOP, timestamps: the options of nearly every segment of an established connection.
    if bytes.len() == 12 && bytes[..4] == [1, 1, 8, 10] {
        return Ok(());
    }
    walk_options(bytes)
}

fn walk_options(bytes: &[u8]) -> Result<(), Malformed> {
    let mut options = TcpOptions { bytes, is_broken: false };
    while options.next().is_some() {}
    if options.is_broken { Err(Malformed::TcpOptionLength) } else { Ok(()) }
}
