//! How a connection begins: with a SYN, or where an operator wants it, in the middle.

use super::end::{End, EndFlags};
use super::{TcpPhase, TcpRefused, TcpState, index};
use crate::inspector::Direction;
use crate::wire::{TcpFlags, TcpView, WINDOW_SHIFT_MAX};

/// The largest window that can be offered (RFC 7323 section 2.3).
const WINDOW_MAX: u32 = 65_535 << WINDOW_SHIFT_MAX;

impl TcpState {
    /// Starts a connection with its first segment.
    ///
    /// # Errors
    /// [`TcpRefused::Midstream`] for anything but a bare SYN, [`TcpRefused::SynData`] if it carries data.
    pub fn open(syn: &TcpView<'_>, payload_len: usize) -> Result<Self, TcpRefused> {
        if !syn.flags.contains(TcpFlags::SYN) || syn.flags.contains(TcpFlags::ACK) {
            return Err(TcpRefused::Midstream);
        }
        if payload_len != 0 {
            return Err(TcpRefused::SynData);
        }
        let mut state = Self { ends: [End::default(); 2], phase: TcpPhase::SynSent };
        state.take_syn(0, syn);
        Ok(state)
    }

    /// Starts tracking in the middle of a connection, from any segment of it but a RST; a bare SYN is as good as
    /// [`TcpState::open`]. `direction` is the way the segment goes. What both ends agreed on in their SYNs is unknown, so their
    /// windows are taken for as large as they could be: the bounds are loose, and an operator has to ask for this.
    ///
    /// # Errors
    /// As [`TcpState::open`]; [`TcpRefused::Midstream`] for a RST, [`TcpRefused::Urgent`] for urgent data.
    pub fn pick_up(direction: Direction, segment: &TcpView<'_>, payload_len: usize) -> Result<Self, TcpRefused> {
        let (has_syn, has_ack) = (segment.flags.contains(TcpFlags::SYN), segment.flags.contains(TcpFlags::ACK));
        if has_syn && !has_ack {
            return Self::open(segment, payload_len);
        }
        if segment.flags.contains(TcpFlags::RST) || !has_ack {
            return Err(TcpRefused::Midstream);
        }
        if segment.flags.contains(TcpFlags::URG) {
            return Err(TcpRefused::Urgent);
        }
        if has_syn && payload_len != 0 {
            return Err(TcpRefused::SynData);
        }
        let from = index(direction);
        let unseen = |at: u32| End {
            end: at,
            limit: at.wrapping_add(WINDOW_MAX),
            acked: at,
            window_max: WINDOW_MAX,
            shift: WINDOW_SHIFT_MAX,
            flags: EndFlags(EndFlags::SYN | EndFlags::SYN_ACKED | EndFlags::SCALES),
        };
        let mut state = Self { ends: [unseen(segment.ack); 2], phase: TcpPhase::Established };
        if has_syn {
            state.ends[from] = End::default();
            state.take_syn(from, segment);
            state.phase = TcpPhase::SynReceived;
            return Ok(state);
        }
        state.ends[from] = unseen(segment.seq);
        state.take_segment(from, segment, payload_len as u32);
        Ok(state)
    }

    /// Takes the SYN of one end into account. Windows of SYNs are not scaled (RFC 7323 section 2.2).
    pub(super) fn take_syn(&mut self, from: usize, tcp: &TcpView<'_>) {
        let window = u32::from(tcp.window);
        let shift = tcp.window_shift();
        let own = &mut self.ends[from];
        own.end = tcp.seq.wrapping_add(1);
        own.acked = own.end;
        own.window_max = window.max(1);
        own.shift = shift.unwrap_or(0);
        own.flags = EndFlags(EndFlags::SYN);
        if shift.is_some() {
            own.flags.set(EndFlags::SCALES);
        }
        let (own, other) = (self.ends[from], self.ends[1 - from]);
        self.ends[from].limit = own.end.wrapping_add(other.window_max);
        if !other.flags.has(EndFlags::SYN) {
            return;
        }
        // Scaling needs both ends' consent.
        if !(own.flags.has(EndFlags::SCALES) && other.flags.has(EndFlags::SCALES)) {
            (self.ends[0].shift, self.ends[1].shift) = (0, 0);
        }
        self.ends[1 - from].limit = other.end.wrapping_add(window);
        if tcp.flags.contains(TcpFlags::ACK) {
            self.ends[1 - from].flags.set(EndFlags::SYN_ACKED);
        }
    }
}
