//! Stands in for `inspect::stream::tcp_state` until that is there: states without sequence windows.

use inspect::inspector::Direction;
use inspect::wire::{TcpFlags, TcpView};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpState {
    answered: bool,
    established: bool,
    fins: u8,
    reset: bool,
}

/// Why a segment is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpRefused {
    /// Not a SYN.
    NotSyn,
    /// A SYN after the connection has ended: it opens a new one.
    Reopens,
}

impl TcpState {
    /// Opens.
    pub fn open(segment: &TcpView<'_>) -> Result<Self, TcpRefused> {
        let is_syn =
            segment.flags.contains(TcpFlags::SYN) && !segment.flags.contains(TcpFlags::ACK);
        if is_syn {
            Ok(Self::default())
        } else {
            Err(TcpRefused::NotSyn)
        }
    }

    /// Follows.
    pub fn on_segment(
        &mut self,
        direction: Direction,
        segment: &TcpView<'_>,
        _: u32,
    ) -> Result<(), TcpRefused> {
        let is_syn =
            segment.flags.contains(TcpFlags::SYN) && !segment.flags.contains(TcpFlags::ACK);
        if is_syn && (self.reset || self.fins == 3) {
            return Err(TcpRefused::Reopens);
        }
        match direction {
            Direction::ToClient => self.answered = true,
            Direction::ToServer if self.answered => self.established = true,
            Direction::ToServer => {}
        }
        if segment.flags.contains(TcpFlags::FIN) {
            self.fins |= if direction == Direction::ToServer {
                1
            } else {
                2
            };
        }
        self.reset |= segment.flags.contains(TcpFlags::RST);
        Ok(())
    }

    /// Closing.
    pub fn is_closing(&self) -> bool {
        self.reset || self.fins != 0
    }

    /// Established.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Timeout.
    pub fn timeout_ms(&self) -> u32 {
        if self.is_closing() {
            30_000
        } else if self.established {
            3_600_000
        } else {
            30_000
        }
    }
}
