//! Conversations segment by segment, and what the tracker says to each.

use inspect::inspector::Direction::{self, ToClient, ToServer};
use inspect::stream::TcpPhase::*;
use inspect::stream::TcpRefused::{self, *};
use inspect::stream::Transition::{self, *};
use inspect::stream::{TcpPhase, TcpState};
use inspect::wire::{TcpFlags, TcpView};

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const SYN_ACK: TcpFlags = TcpFlags(0x12);
const FIN_ACK: TcpFlags = TcpFlags(0x11);
const RST_ACK: TcpFlags = TcpFlags(0x14);

/// A segment as a test writes it: direction, flags, sequence and acknowledgement number relative to the first data byte of
/// each side, and data length. The window is 1,000 unless [`Step::window`] says otherwise.
#[derive(Clone, Copy)]
struct Step {
    direction: Direction,
    flags: TcpFlags,
    seq: i32,
    ack: i32,
    len: usize,
    window: u16,
    expected: Result<Transition, TcpRefused>,
}

fn step(
    direction: Direction,
    flags: TcpFlags,
    (seq, ack): (i32, i32),
    len: usize,
    expected: Result<Transition, TcpRefused>,
) -> Step {
    Step { direction, flags, seq, ack, len, window: 1000, expected }
}

impl Step {
    fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    /// The segment with absolute numbers; the first data byte of the client is `base`, that of the server `!base`.
    fn view(&self, base: u32) -> TcpView<'static> {
        let (own, other) = match self.direction {
            ToServer => (base, !base),
            ToClient => (!base, base),
        };
        TcpView {
            seq: own.wrapping_add_signed(self.seq),
            ack: other.wrapping_add_signed(self.ack),
            flags: self.flags,
            window: self.window,
            urgent: 0,
            option_bytes: &[],
        }
    }
}

fn syn() -> Step {
    step(ToServer, SYN, (-1, 0), 0, Ok(Unchanged))
}

fn syn_ack() -> Step {
    step(ToClient, SYN_ACK, (-1, 0), 0, Ok(Entered(SynReceived)))
}

fn handshake() -> Vec<Step> {
    vec![syn(), syn_ack(), step(ToServer, ACK, (0, 0), 0, Ok(Entered(Established)))]
}

/// Runs a conversation whose first step is the opening SYN, at several positions in the sequence space, so that every case
/// also runs across the wrap.
fn check(name: &str, steps: &[Step]) -> TcpState {
    let mut last = None;
    for base in [1, 1_000_000, u32::MAX, u32::MAX - 500, 1 << 31, (1 << 31) - 300] {
        let mut state = TcpState::open(&steps[0].view(base), steps[0].len).expect(name);
        for (index, step) in steps.iter().enumerate().skip(1) {
            let before = state;
            let answer = judged(&mut state, step.direction, &step.view(base), step.len);
            assert_eq!(answer, step.expected, "{name}: step {index}, base {base:#x}, {state:?}");
            if answer.is_err() {
                assert_eq!(state, before, "{name}: a refused segment changes nothing");
            }
        }
        last = Some(state);
    }
    last.expect("ran")
}

/// The tracker's answer; what takes the short way is answered as by the long one.
fn judged(
    state: &mut TcpState,
    direction: Direction,
    view: &TcpView<'_>,
    len: usize,
) -> Result<Transition, TcpRefused> {
    let (before, mut short) = (*state, *state);
    let answer = state.on_segment(direction, view, len);
    if short.goes_on(direction, view, len) {
        assert_eq!((answer, &short), (Ok(Unchanged), &*state), "{before:?} {view:?}");
    } else {
        assert_eq!(short, before, "what does not take the short way changes nothing on it");
    }
    answer
}

/// As [`check`], behind a completed handshake.
fn check_established(name: &str, steps: &[Step]) -> TcpState {
    check(name, &[handshake(), steps.to_vec()].concat())
}

#[test]
fn a_whole_connection() {
    let state = check_established(
        "request, response, close",
        &[
            step(ToServer, ACK, (0, 0), 100, Ok(Unchanged)),
            step(ToClient, ACK, (0, 100), 0, Ok(Unchanged)),
            step(ToClient, ACK, (0, 100), 500, Ok(Unchanged)),
            step(ToServer, ACK, (100, 500), 0, Ok(Unchanged)),
            step(ToServer, FIN_ACK, (100, 500), 0, Ok(Entered(Closing))),
            step(ToClient, ACK, (500, 101), 20, Ok(Unchanged)),
            step(ToClient, FIN_ACK, (520, 101), 0, Ok(Unchanged)),
            step(ToServer, ACK, (101, 521), 0, Ok(Entered(TimeWait))),
            step(ToClient, FIN_ACK, (520, 101), 0, Ok(Unchanged)),
            step(ToServer, ACK, (101, 521), 0, Ok(Unchanged)),
            step(ToServer, SYN, (90_000, 0), 0, Ok(Reopen)),
            step(ToClient, SYN, (90_000, 0), 0, Ok(Reopen)),
        ],
    );
    assert_eq!((state.phase(), state.is_established()), (TimeWait, true));
}

#[test]
fn only_a_bare_syn_opens() {
    for bits in 0..=255 {
        let flags = TcpFlags(bits);
        let expected = if flags.contains(SYN) && !flags.contains(ACK) { None } else { Some(Midstream) };
        let view = Step { flags, ..syn() }.view(7);
        assert_eq!(TcpState::open(&view, 0).err(), expected, "flags {bits:#x}");
    }
    assert_eq!(TcpState::open(&syn().view(7), 1).err(), Some(SynData));
}

#[test]
fn handshakes() {
    check("syn again", &[syn(), syn(), syn_ack()]);
    check("another attempt", &[step(ToServer, SYN, (-9, 0), 0, Ok(Unchanged)), syn(), syn_ack()]);
    let wrong = |seq, ack, why| step(ToClient, SYN_ACK, (seq, ack), 0, Err(why));
    check("wrong acknowledgement", &[syn(), wrong(-1, 1, SynAckWrong), wrong(-1, -1, SynAckWrong), syn_ack()]);
    check("another answer", &[syn(), syn_ack(), wrong(5, 0, SynUnexpected)]);
    check("answer again", &[syn(), syn_ack(), step(ToClient, SYN_ACK, (-1, 0), 0, Ok(Unchanged))]);
    check("answer again, last segment lost", &{
        let mut steps = handshake();
        steps.push(step(ToServer, ACK, (0, 0), 100, Ok(Unchanged)));
        steps.push(step(ToClient, SYN_ACK, (-1, 0), 0, Ok(Unchanged)));
        steps.push(step(ToClient, ACK, (0, 100), 10, Ok(Unchanged)));
        steps.push(step(ToClient, SYN_ACK, (-1, 0), 0, Err(SynUnexpected)));
        steps
    });
    check("answer with data", &[syn(), step(ToClient, SYN_ACK, (-1, 0), 5, Err(SynData))]);
    check("data before the answer", &[syn(), step(ToServer, ACK, (0, 0), 5, Err(HandshakeIncomplete))]);
    check("acknowledgement before the answer", &[syn(), step(ToClient, ACK, (0, 0), 0, Err(HandshakeIncomplete))]);
    check("acknowledges nothing", &[syn(), syn_ack(), step(ToServer, ACK, (0, -1), 0, Err(AckTooOld))]);
    check("acknowledges too much", &[syn(), syn_ack(), step(ToServer, ACK, (0, 1), 0, Err(AckUnsent))]);
    check("with data", &[syn(), syn_ack(), step(ToServer, ACK, (0, 0), 99, Ok(Entered(Established)))]);
    check("with everything", &[syn(), syn_ack(), step(ToServer, FIN_ACK, (0, 0), 99, Ok(Entered(Closing)))]);
    check(
        "simultaneous open",
        &[
            syn(),
            step(ToClient, SYN, (-1, 0), 0, Ok(Entered(SynReceived))),
            step(ToServer, SYN_ACK, (-1, 0), 0, Ok(Unchanged)),
            step(ToClient, SYN_ACK, (-1, 0), 0, Ok(Entered(Established))),
            step(ToServer, ACK, (0, 0), 50, Ok(Unchanged)),
        ],
    );
    check(
        "split handshake",
        &[
            syn(),
            step(ToClient, ACK, (-1, 0), 0, Err(HandshakeIncomplete)),
            step(ToClient, SYN, (-1, 0), 0, Ok(Entered(SynReceived))),
            step(ToServer, SYN_ACK, (-1, 0), 0, Ok(Unchanged)),
            step(ToClient, ACK, (0, 0), 0, Ok(Entered(Established))),
        ],
    );
}

#[test]
fn syns_within_a_connection_are_refused() {
    for flags in [SYN, SYN_ACK] {
        for direction in [ToServer, ToClient] {
            for seq in [-1, 0, 50, 5000] {
                if (flags, direction, seq) != (SYN_ACK, ToClient, -1)
                    && (flags, direction, seq) != (SYN_ACK, ToServer, -1)
                {
                    check_established("syn", &[step(direction, flags, (seq, 0), 0, Err(SynUnexpected))]);
                }
            }
        }
    }
}

#[test]
fn windows() {
    let data = |seq, len, expected| step(ToServer, ACK, (seq, 0), len, expected);
    check_established(
        "sender's side",
        &[
            data(0, 1000, Ok(Unchanged)),
            data(1000, 2, Err(BeyondWindow)),
            data(1000, 1, Ok(Unchanged)),
            data(0, 1001, Ok(Unchanged)),
            data(0, 1002, Err(BeyondWindow)),
            data(5000, 0, Err(BeyondWindow)),
            data(0, 0, Ok(Unchanged)),
            data(-1, 1, Ok(Unchanged)),
            data(-4, 1, Err(BelowWindow)),
            data(-2000, 100, Err(BelowWindow)),
        ],
    );
    check_established(
        "receiver's side",
        &[
            data(0, 900, Ok(Unchanged)),
            step(ToClient, ACK, (0, 900), 0, Ok(Unchanged)),
            data(900, 1000, Ok(Unchanged)),
            step(ToClient, ACK, (0, 1901), 0, Err(AckUnsent)),
            step(ToClient, ACK, (0, 1900), 0, Ok(Unchanged)).window(0),
            data(1900, 2, Err(BeyondWindow)).window(0),
            data(1900, 1, Ok(Unchanged)).window(0),
            step(ToClient, ACK, (0, 1900), 0, Ok(Unchanged)),
            data(1900, 1000, Ok(Unchanged)),
            step(ToClient, ACK, (0, 900), 0, Ok(Unchanged)),
            step(ToClient, ACK, (0, 1900 - 66_001), 0, Err(AckTooOld)),
        ],
    );
    check_established(
        "a keep-alive with a byte",
        &[
            data(0, 10, Ok(Unchanged)),
            step(ToClient, ACK, (0, 10), 0, Ok(Unchanged)),
            data(9, 1, Ok(Unchanged)),
            data(9, 0, Ok(Unchanged)),
        ],
    );
}

#[test]
fn windows_are_scaled_when_both_ends_agree() {
    let option: &[u8] = &[1, 3, 3, 4];
    for (client_options, server_options, window) in
        [(option, option, 16_000), (option, &[][..], 1000), (&[], option, 1000)]
    {
        let view = |step: Step, option_bytes| TcpView { option_bytes, ..step.view(77) };
        let mut state = TcpState::open(&view(syn(), client_options), 0).expect("a SYN");
        state.on_segment(ToClient, &view(syn_ack(), server_options), 0).expect("an answer");
        let ack = step(ToServer, ACK, (0, 0), 0, Ok(Unchanged));
        state.on_segment(ToServer, &ack.view(77), 0).expect("the last segment of the handshake");
        // Windows of SYNs are never scaled, so the client may send 1,000 bytes first.
        let early = ack.view(77);
        assert_eq!(state.on_segment(ToServer, &early, 1002), Err(BeyondWindow));
        state.on_segment(ToClient, &step(ToClient, ACK, (0, 0), 0, Ok(Unchanged)).view(77), 0).expect("a window");
        assert_eq!(state.on_segment(ToServer, &early, window + 2), Err(BeyondWindow));
        assert_eq!(state.on_segment(ToServer, &early, window), Ok(Unchanged));
    }
}

#[test]
fn resets() {
    let rst = |seq, expected| step(ToServer, RST, (seq, 0), 0, expected);
    let data = [step(ToServer, ACK, (0, 0), 300, Ok(Unchanged)), step(ToClient, ACK, (0, 100), 0, Ok(Unchanged))];
    let with_data = |steps: &[Step]| [&data[..], steps].concat();
    let entered = Ok(Entered(Reset));
    check_established("at what is acknowledged", &with_data(&[rst(100, entered)]));
    check_established("at what was sent", &with_data(&[rst(300, entered)]));
    check_established("elsewhere in the window", &with_data(&[rst(200, Ok(Unchanged)), rst(1100, Ok(Unchanged))]));
    check_established(
        "outside",
        &with_data(&[
            rst(99, Err(ResetOutOfWindow)),
            rst(1101, Err(ResetOutOfWindow)),
            rst(-70_000, Err(ResetOutOfWindow)),
        ]),
    );
    let ack = |seq, expected| step(ToServer, ACK, (seq, 0), 0, expected);
    check_established(
        "after a reset",
        &with_data(&[
            rst(300, entered),
            ack(300, Err(AfterReset)),
            rst(100, Ok(Unchanged)),
            step(ToClient, ACK, (0, 100), 0, Ok(Unchanged)),
            step(ToServer, SYN_ACK, (299, 0), 0, Err(SynUnexpected)),
            step(ToServer, SYN, (7000, 0), 0, Ok(Reopen)),
        ]),
    );
    let refusal = |flags, ack, expected| step(ToClient, flags, (-1, ack), 0, expected);
    let reset_answer = |expected| refusal(RST_ACK, 0, expected);
    check("a refused connection", &[syn(), reset_answer(entered), step(ToServer, SYN, (50, 0), 0, Ok(Reopen))]);
    check(
        "a forged refusal",
        &[syn(), refusal(RST_ACK, 1, Err(ResetOutOfWindow)), refusal(RST, 0, Err(ResetOutOfWindow))],
    );
    check("the originator gives up", &[syn(), syn_ack(), step(ToServer, RST, (0, 0), 0, entered)]);
    check("a reset before the SYN", &[syn(), step(ToServer, RST, (-1, 0), 0, Err(ResetOutOfWindow))]);
}

#[test]
fn fins() {
    let fin = |seq, len, expected| step(ToServer, FIN_ACK, (seq, 0), len, expected);
    let data = |seq, len, expected| step(ToServer, ACK, (seq, 0), len, expected);
    check_established(
        "nothing follows a FIN",
        &[
            data(0, 100, Ok(Unchanged)),
            fin(100, 0, Ok(Entered(Closing))),
            fin(100, 0, Ok(Unchanged)),
            fin(50, 50, Ok(Unchanged)),
            data(100, 1, Err(AfterFin)),
            data(50, 51, Err(AfterFin)),
            data(101, 1, Err(AfterFin)),
            data(0, 100, Ok(Unchanged)),
            fin(101, 0, Err(AfterFin)),
            fin(99, 0, Err(FinMoved)),
            data(101, 0, Ok(Unchanged)),
        ],
    );
    check_established("a FIN before sent data", &[data(0, 100, Ok(Unchanged)), fin(50, 0, Err(FinMoved))]);
    check_established("a FIN takes no window", &[fin(0, 1000, Ok(Entered(Closing)))]);
    check_established("a FIN overtakes data", &[fin(100, 0, Ok(Entered(Closing))), data(0, 100, Ok(Unchanged))]);
}

#[test]
fn urgent_data_is_refused() {
    check_established("urgent", &[step(ToServer, ACK | TcpFlags::URG, (0, 0), 1, Err(Urgent))]);
}

#[test]
fn super_segments() {
    let big = |seq, ack, expected| step(ToServer, ACK, (seq, ack), 65_483, expected);
    let view = |step: Step, option_bytes| TcpView { option_bytes, ..step.view(1) };
    let option: &[u8] = &[1, 3, 3, 7];
    let mut state = TcpState::open(&view(syn(), option), 0).expect("a SYN");
    state.on_segment(ToClient, &view(syn_ack(), option), 0).expect("an answer");
    state.on_segment(ToServer, &handshake()[2].view(1), 0).expect("established");
    state
        .on_segment(ToClient, &step(ToClient, ACK, (0, 0), 0, Ok(Unchanged)).window(2048).view(1), 0)
        .expect("a window");
    for index in 0..4 {
        assert_eq!(state.on_segment(ToServer, &big(index * 65_483, 0, Ok(Unchanged)).view(1), 65_483), Ok(Unchanged));
    }
    assert_eq!(state.on_segment(ToServer, &big(4 * 65_483, 0, Ok(Unchanged)).view(1), 65_483), Err(BeyondWindow));
}

#[test]
fn connections_are_picked_up_when_asked() {
    let pick_up = |first: Step, then: &[Step]| {
        let mut state = TcpState::pick_up(first.direction, &first.view(40), first.len)?;
        for step in then {
            assert_eq!(state.on_segment(step.direction, &step.view(40), step.len), step.expected);
        }
        Ok(state)
    };
    let data = step(ToClient, ACK, (5000, 300), 1000, Ok(Unchanged));
    let then = [
        step(ToServer, ACK, (300, 5000), 100, Ok(Unchanged)),
        step(ToServer, ACK, (400, 6000), 60_000, Ok(Unchanged)),
        step(ToServer, ACK, (400, 6001), 0, Err(AckUnsent)),
        step(ToClient, FIN_ACK, (6000, 60_400), 0, Ok(Entered(Closing))),
        step(ToServer, FIN_ACK, (60_400, 6001), 0, Ok(Unchanged)),
        step(ToClient, ACK, (6001, 60_401), 0, Ok(Entered(TimeWait))),
    ];
    assert!(pick_up(data, &then).is_ok_and(|state| state.is_established()));
    let answered = [step(ToServer, ACK, (0, 0), 10, Ok(Entered(Established)))];
    assert!(pick_up(syn_ack(), &answered).is_ok());
    assert_eq!(pick_up(syn(), &[]).map(|state| state.phase()), Ok(SynSent));
    assert_eq!(pick_up(step(ToServer, RST, (0, 0), 0, Ok(Unchanged)), &[]).err(), Some(Midstream));
    assert_eq!(pick_up(step(ToServer, RST_ACK, (0, 0), 0, Ok(Unchanged)), &[]).err(), Some(Midstream));
    assert_eq!(pick_up(step(ToClient, SYN_ACK, (0, 0), 1, Ok(Unchanged)), &[]).err(), Some(SynData));
    assert_eq!(pick_up(step(ToServer, ACK | TcpFlags::URG, (0, 0), 1, Ok(Unchanged)), &[]).err(), Some(Urgent));
}

#[test]
fn timeouts_follow_rfc_5382() {
    let phases = [SynSent, SynReceived, Established, Closing, TimeWait, Reset];
    assert!(phases.iter().all(|phase: &TcpPhase| phase.timeout_ms() > 0));
    assert!(Established.timeout_ms() >= 124 * 60 * 1000 && Closing.timeout_ms() >= 4 * 60 * 1000);
}

#[test]
fn acknowledged_is_what_the_receiver_confirmed() {
    let state = check_established(
        "data",
        &[
            step(ToServer, ACK, (0, 0), 300, Ok(Unchanged)),
            step(ToClient, ACK, (0, 200), 10, Ok(Unchanged)),
            step(ToClient, ACK, (10, 100), 10, Ok(Unchanged)),
        ],
    );
    // The last base of `check`.
    let base: u32 = (1 << 31) - 300;
    assert_eq!(state.acknowledged(ToServer), base.wrapping_add(200));
    assert_eq!(state.acknowledged(ToClient), !base);
}

/// What a receiver reads, the switch judges: for every pair of flags and position there is an answer, never a panic.
#[test]
fn every_segment_has_an_answer() {
    for prefix in 1..=3 {
        for bits in 0..=255 {
            for offset in [0, 1, 999, 1000, 1001, 66_000, 1 << 20, i32::MAX, i32::MIN, -1, -1001] {
                for len in [0, 1, 1460, 65_535] {
                    for direction in [ToServer, ToClient] {
                        let steps = handshake();
                        let mut state = TcpState::open(&steps[0].view(9), 0).expect("a SYN");
                        for step in &steps[1..prefix] {
                            state.on_segment(step.direction, &step.view(9), 0).expect("legal");
                        }
                        let any = step(direction, TcpFlags(bits), (offset, -offset.max(-9)), len, Ok(Unchanged));
                        let before = state;
                        if judged(&mut state, direction, &any.view(9), len).is_err() {
                            assert_eq!(state, before);
                        }
                    }
                }
            }
        }
    }
}
