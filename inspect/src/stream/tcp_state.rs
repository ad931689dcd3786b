//! Which TCP segments a connection allows, from both ends' point of view at once.
//!
//! Theory of operation: the switch stands between two hosts and must not believe a segment that its receiver would not
//! accept: what it believes, it inspects, and what it inspects in the receiver's stead must be what the receiver reads
//! (attacks N06, N07). For each end it keeps four numbers that both hosts have agreed on in its sight:
//!
//! ```text
//!                acked              end                 limit
//!   sent ----------|-----------------|--------------------|------------> sequence numbers
//!     confirmed by     sent, not yet      may be sent: the     must not be sent
//!     the other end    confirmed          highest ack + window
//!                                         of the other end
//! ```
//!
//! and the largest window that the end ever offered. A segment passes if it starts no earlier than one such window before
//! what its sender already sent, ends within the limit (one byte more is a window probe), and acknowledges only what the
//! other end sent, nothing older than a window (RFC 5961 section 5.2). The idea of these bounds is van Rooij's ("Real
//! stateful TCP packet filtering", 2001). Everything is judged before anything is changed, so a refused segment leaves no
//! trace.
//!
//! ```text
//!   open(SYN) -> SynSent -> SynReceived -> Established -> Closing -> TimeWait
//!                   |            |              |            |          |
//!                   +------------+----- RST ----+------------+--> Reset |
//!                                                                  +----+-- SYN --> Reopen (a new flow)
//! ```
//!
//! A connection starts with a bare SYN and nothing else, unless a policy asks for [`TcpState::pick_up`], which believes a
//! segment from the middle of a connection, and all windows that it could mean. SYNs carry no data (whether a
//! receiver takes it depends on TCP Fast Open cookies; clients fall back), segments no urgent data (one byte of which a
//! receiver may or may not find in its stream, RFC 6093). Both ends may send a SYN (simultaneous open, RFC 9293 section
//! 3.5); so a split handshake passes, but who opened the flow stays who sent the first SYN, which is what it tries to
//! confuse.

mod end;
mod open;

use end::{End, EndFlags, distance, later};

use crate::causes::causes;
use crate::inspector::Direction;
use crate::wire::{TcpFlags, TcpView};

/// The largest in-flight distance granted whatever the windows say: keeps acknowledgements that were overtaken on
/// connections with tiny windows. An unscaled window plus a segment, as in netfilter.
const OLD_ACK_MIN: u32 = 66_000;

/// Beyond the limit a sender may probe a closed window with one byte (RFC 9293 section 3.8.6.1).
const PROBE_LEN: u32 = 1;

/// What may lie below a window's length before what was sent: the byte that a keep-alive repeats (RFC 9293 section 3.8.4),
/// a probe and a FIN.
const BELOW_WINDOW_LEN: u32 = 3;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TcpPhase {
    /// The originator has sent its SYN.
    SynSent,
    /// The responder has answered with a SYN of its own; not both are acknowledged.
    SynReceived,
    /// The handshake is complete.
    Established,
    /// At least one end has sent its FIN.
    Closing,
    /// Both FINs are acknowledged; stray repetitions may follow.
    TimeWait,
    /// One end has reset the connection.
    Reset,
}

impl TcpPhase {
    /// How long a connection may stay silent in this phase before its flow is forgotten, in milliseconds.
    pub fn timeout_ms(self) -> u64 {
        match self {
            // SYNs are repeated after 1, 3, 7, 15 and 31 s: a gap of 16 s must pass, the last of 32 s may.
            TcpPhase::SynSent | TcpPhase::SynReceived => 40_000,
            // RFC 5382 section 5: never less than 2 hours 4 minutes, which outlasts keep-alives.
            TcpPhase::Established => 7_440_000,
            // RFC 5382 section 5: transitory connections 4 minutes.
            TcpPhase::Closing => 240_000,
            // Twice Linux's wait for the last acknowledgement; a new SYN ends it at once.
            TcpPhase::TimeWait => 60_000,
            TcpPhase::Reset => 10_000,
        }
    }
}

/// What a segment that passed has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// The phase is as it was.
    Unchanged,
    /// The connection has entered this phase.
    Entered(TcpPhase),
    /// A SYN after the end of the connection: forget this flow and judge the segment as the first of a new one, policy
    /// included. The state is unchanged.
    Reopen,
}

causes! {
    /// Why a segment was refused. Refused segments change nothing.
    TcpRefused {
        Midstream "midstream" "A connection does not start with a bare SYN."
        SynData "syn_data" "A segment with SYN carries data or a FIN."
        Urgent "urgent" "A segment carries urgent data."
        SynUnexpected "syn_unexpected" "A SYN within a connection that already has one (RFC 5961 section 4)."
        SynAckWrong "syn_ack_wrong" "The responder's SYN does not acknowledge the originator's."
        HandshakeIncomplete "handshake_incomplete" "Data or an acknowledgement before the other end has sent its SYN."
        BelowWindow "below_window" "The segment lies more than a window before what its sender already sent."
        BeyondWindow "beyond_window" "The segment reaches beyond what its receiver has allowed."
        AckUnsent "ack_unsent" "The segment acknowledges data that the other end has not sent."
        AckTooOld "ack_too_old" "The segment acknowledges data more than a window old (RFC 5961 section 5.2)."
        AfterFin "after_fin" "Data behind the sender's own FIN."
        FinMoved "fin_moved" "A FIN before data that its sender already sent."
        ResetOutOfWindow "reset_out_of_window" "A RST that its receiver would not accept (RFC 5961 section 3.2)."
        AfterReset "after_reset" "A segment of an end that has reset the connection."
    }
}

/// One connection, as the switch between its ends sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpState {
    ends: [End; 2],
    phase: TcpPhase,
}

// It lives in the second cache line of a flow table's entry.
const _: () = assert!(size_of::<TcpState>() <= 48);

fn index(direction: Direction) -> usize {
    match direction {
        Direction::ToServer => 0,
        Direction::ToClient => 1,
    }
}

impl TcpState {
    /// How far the connection has come.
    pub fn phase(&self) -> TcpPhase {
        self.phase
    }

    /// Whether the handshake was completed, as `flow:established` asks.
    pub fn is_established(&self) -> bool {
        matches!(self.phase, TcpPhase::Established | TcpPhase::Closing | TcpPhase::TimeWait)
    }

    /// How long the connection may stay silent before it is forgotten, in milliseconds.
    pub fn timeout_ms(&self) -> u64 {
        self.phase.timeout_ms()
    }

    /// The highest acknowledgement of bytes that were sent in `direction`: their receiver has read all before it and will
    /// discard any repetition of them. Stream reassembly may forget what lies before.
    pub fn acknowledged(&self, direction: Direction) -> u32 {
        self.ends[index(direction)].acked
    }

    /// Judges a segment that goes in `direction` with `payload_len` bytes of data, and if it passes, takes it into account.
    ///
    /// # Errors
    /// Why the segment must not be forwarded; the state is then unchanged.
    pub fn on_segment(
        &mut self,
        direction: Direction,
        tcp: &TcpView<'_>,
        payload_len: usize,
    ) -> Result<Transition, TcpRefused> {
        let from = index(direction);
        if tcp.flags.contains(TcpFlags::RST) {
            return self.on_reset(from, tcp);
        }
        if tcp.flags.contains(TcpFlags::SYN) {
            if payload_len != 0 || tcp.flags.contains(TcpFlags::FIN) {
                return Err(TcpRefused::SynData);
            }
            return self.on_syn(from, tcp);
        }
        if tcp.flags.contains(TcpFlags::URG) {
            return Err(TcpRefused::Urgent);
        }
        self.check_synchronised(from, tcp, payload_len as u32)?;
        Ok(self.take_segment(from, tcp, payload_len as u32))
    }

    /// Takes it for granted that in `direction` everything before `ack` was sent, though it was not seen. For captures only,
    /// which may lack packets: where frames pass, one that acknowledges what was not sent is refused.
    pub fn missed(&mut self, direction: Direction, ack: u32) {
        let end = &mut self.ends[index(direction)];
        end.end = later(end.end, ack);
    }

    /// Takes into account a segment that goes on with an established connection and leaves it in that phase; answers `false`
    /// for all others, having changed nothing: those are for [`TcpState::on_segment`], which says the same of the former.
    #[inline]
    pub fn goes_on(&mut self, direction: Direction, tcp: &TcpView<'_>, payload_len: usize) -> bool {
        const UNUSUAL: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::FIN.0 | TcpFlags::RST.0 | TcpFlags::URG.0);
        let from = index(direction);
        if self.phase != TcpPhase::Established
            || tcp.flags.intersects(UNUSUAL)
            || self.check_synchronised(from, tcp, payload_len as u32).is_err()
        {
            return false;
        }
        let own = &mut self.ends[from];
        own.end = later(own.end, tcp.seq.wrapping_add(payload_len as u32));
        let window = u32::from(tcp.window) << own.shift;
        self.take_acknowledgement(from, tcp.ack, window);
        true
    }

    fn on_syn(&mut self, from: usize, tcp: &TcpView<'_>) -> Result<Transition, TcpRefused> {
        let has_ack = tcp.flags.contains(TcpFlags::ACK);
        match self.phase {
            TcpPhase::TimeWait | TcpPhase::Reset if !has_ack => Ok(Transition::Reopen),
            TcpPhase::SynSent if from == 0 && !has_ack => {
                // The same SYN again, or another attempt from the same port that replaces one never answered.
                self.take_syn(0, tcp);
                Ok(Transition::Unchanged)
            }
            TcpPhase::SynSent if from == 1 => {
                if has_ack && tcp.ack != self.ends[0].end {
                    return Err(TcpRefused::SynAckWrong);
                }
                self.take_syn(1, tcp);
                self.phase = TcpPhase::SynReceived;
                Ok(Transition::Entered(self.phase))
            }
            _ => self.on_repeated_syn(from, tcp, has_ack),
        }
    }

    /// A SYN from an end that has sent one, or the SYN with acknowledgement that ends a simultaneous open. Passes only if
    /// it is its end's first sequence number again: it is, if that end has sent nothing else.
    fn on_repeated_syn(&mut self, from: usize, tcp: &TcpView<'_>, has_ack: bool) -> Result<Transition, TcpRefused> {
        let (own, other) = (self.ends[from], self.ends[1 - from]);
        if !own.flags.has(EndFlags::SYN) || tcp.seq.wrapping_add(1) != own.end || own.flags.has(EndFlags::FIN) {
            return Err(TcpRefused::SynUnexpected);
        }
        match self.phase {
            TcpPhase::SynReceived if !has_ack => {
                // Its window may have grown.
                let window = u32::from(tcp.window);
                self.ends[from].window_max = own.window_max.max(window);
                self.ends[1 - from].limit = later(other.limit, other.acked.wrapping_add(window));
                Ok(Transition::Unchanged)
            }
            TcpPhase::SynReceived if tcp.ack == other.end => {
                self.take_acknowledgement(from, tcp.ack, tcp.window.into());
                Ok(self.advance())
            }
            // The responder has not seen the last segment of the handshake.
            TcpPhase::Established | TcpPhase::Closing if has_ack && tcp.ack == other.acked => {
                self.take_acknowledgement(from, tcp.ack, tcp.window.into());
                Ok(Transition::Unchanged)
            }
            _ => Err(TcpRefused::SynUnexpected),
        }
    }

    fn on_reset(&mut self, from: usize, tcp: &TcpView<'_>) -> Result<Transition, TcpRefused> {
        let (own, other) = (self.ends[from], self.ends[1 - from]);
        if !own.flags.has(EndFlags::SYN) {
            // RFC 9293 section 3.10.7.3: in answer to a SYN, a RST counts if it acknowledges that SYN.
            if !tcp.flags.contains(TcpFlags::ACK) || tcp.ack != other.end {
                return Err(TcpRefused::ResetOutOfWindow);
            }
            return Ok(self.enter_reset(from));
        }
        // RFC 5961 section 3.2: the receiver obeys if the number is exactly the next that it expects, which is what it has
        // acknowledged or, if all of it has arrived, what was sent. A number elsewhere in its window only makes it ask, so
        // such a RST passes and changes nothing; the sender will answer with an exact one.
        if tcp.seq == own.acked || tcp.seq == own.end {
            return Ok(self.enter_reset(from));
        }
        let right_edge = later(own.limit, own.end);
        if distance(tcp.seq, own.acked) < 0 || distance(tcp.seq, right_edge) > 0 {
            return Err(TcpRefused::ResetOutOfWindow);
        }
        Ok(Transition::Unchanged)
    }

    fn enter_reset(&mut self, from: usize) -> Transition {
        self.ends[from].flags.set(EndFlags::RESET);
        if self.phase == TcpPhase::Reset {
            return Transition::Unchanged;
        }
        self.phase = TcpPhase::Reset;
        Transition::Entered(self.phase)
    }

    /// Checks a segment without SYN and RST. (The parser has made sure that it has ACK.)
    fn check_synchronised(&self, from: usize, tcp: &TcpView<'_>, len: u32) -> Result<(), TcpRefused> {
        let (own, other) = (&self.ends[from], &self.ends[1 - from]);
        if !own.flags.has(EndFlags::SYN) || !other.flags.has(EndFlags::SYN) {
            return Err(TcpRefused::HandshakeIncomplete);
        }
        if own.flags.has(EndFlags::RESET) {
            return Err(TcpRefused::AfterReset);
        }
        let has_fin = tcp.flags.contains(TcpFlags::FIN);
        // A FIN takes a sequence number, but no window.
        let data_end = tcp.seq.wrapping_add(len);
        let end = data_end.wrapping_add(u32::from(has_fin));
        // Nor may data take the number of a FIN: the receiver would read whichever comes first.
        if own.flags.has(EndFlags::FIN) && (distance(end, own.end) > 0 || (len != 0 && data_end == own.end)) {
            return Err(TcpRefused::AfterFin);
        }
        if has_fin && distance(end, own.end) < 0 {
            return Err(TcpRefused::FinMoved);
        }
        // A bare acknowledgement may stand behind a probe and a FIN that were lost before they came here.
        let beyond_len = if len == 0 { PROBE_LEN + 1 } else { PROBE_LEN };
        if distance(data_end, own.limit.wrapping_add(beyond_len)) > 0 {
            return Err(TcpRefused::BeyondWindow);
        }
        if distance(data_end, own.end.wrapping_sub(other.window_max).wrapping_sub(BELOW_WINDOW_LEN)) < 0 {
            return Err(TcpRefused::BelowWindow);
        }
        if distance(tcp.ack, other.end) > 0 {
            return Err(TcpRefused::AckUnsent);
        }
        // There is nothing before the SYN to acknowledge.
        let age_max = if other.flags.has(EndFlags::SYN_ACKED) { own.window_max.max(OLD_ACK_MIN) } else { 0 };
        if distance(tcp.ack, other.acked.wrapping_sub(age_max)) < 0 {
            return Err(TcpRefused::AckTooOld);
        }
        Ok(())
    }

    fn take_segment(&mut self, from: usize, tcp: &TcpView<'_>, len: u32) -> Transition {
        let has_fin = tcp.flags.contains(TcpFlags::FIN);
        let end = tcp.seq.wrapping_add(len).wrapping_add(u32::from(has_fin));
        let own = &mut self.ends[from];
        own.end = later(own.end, end);
        if has_fin {
            own.flags.set(EndFlags::FIN);
        }
        let window = u32::from(tcp.window) << own.shift;
        self.take_acknowledgement(from, tcp.ack, window);
        self.advance()
    }

    /// Takes into account what one end has confirmed and allowed, its window already scaled.
    fn take_acknowledgement(&mut self, from: usize, ack: u32, window: u32) {
        let own = &mut self.ends[from];
        own.window_max = own.window_max.max(window);
        let other = &mut self.ends[1 - from];
        other.acked = later(other.acked, ack);
        other.flags.set(EndFlags::SYN_ACKED);
        other.limit = later(other.limit, ack.wrapping_add(window));
    }

    /// Moves to the phase that the ends' numbers say.
    fn advance(&mut self) -> Transition {
        let [first, second] = &self.ends;
        let is_acked = |end: &End| end.acked == end.end;
        let is_handshake_complete = first.flags.has(EndFlags::SYN_ACKED) && second.flags.has(EndFlags::SYN_ACKED);
        let phase = match self.phase {
            TcpPhase::SynReceived if !is_handshake_complete => TcpPhase::SynReceived,
            TcpPhase::SynReceived | TcpPhase::Established | TcpPhase::Closing => {
                match (first.flags.has(EndFlags::FIN), second.flags.has(EndFlags::FIN)) {
                    (true, true) if is_acked(first) && is_acked(second) => TcpPhase::TimeWait,
                    (false, false) => TcpPhase::Established,
                    _ => TcpPhase::Closing,
                }
            }
            same @ (TcpPhase::SynSent | TcpPhase::TimeWait | TcpPhase::Reset) => same,
        };
        if phase == self.phase {
            return Transition::Unchanged;
        }
        self.phase = phase;
        Transition::Entered(phase)
    }
}
