//! TCP: splits, orders, repetitions, overlaps with other bytes, acknowledgements and keep-alives in between.

use inspect::inspector::Direction::{ToClient, ToServer};
use inspect::wire::TcpFlags;
use inspect::wire::emit;
use proptest::prelude::*;

use super::{FORBIDDEN, Switch, contains_forbidden};

const RULE: &str = r#"drop tcp any any -> any any (msg:"word"; flow:established,to_server; content:"EXPLOIT"; sid:1;)"#;
const WINDOW: usize = 4000;

/// A receiver of the attacked stream. Which of two copies of a byte it keeps, while it has not handed it to its
/// application, is its own affair.
struct Victim {
    keeps_first: bool,
    bytes: Vec<Option<u8>>,
    read: usize,
}

impl Victim {
    fn new(keeps_first: bool) -> Self {
        Self { keeps_first, bytes: vec![None; WINDOW + 64], read: 0 }
    }

    fn receive(&mut self, at: i64, data: &[u8]) {
        for (at, byte) in (at..).zip(data) {
            let Ok(at) = usize::try_from(at) else { continue };
            let is_readable = at >= self.read && at < WINDOW;
            if is_readable && (self.bytes[at].is_none() || !self.keeps_first) {
                self.bytes[at] = Some(*byte);
            }
        }
        self.read += self.bytes[self.read..].iter().take_while(|byte| byte.is_some()).count();
    }

    fn application(&self) -> Vec<u8> {
        self.bytes[..self.read].iter().copied().flatten().collect()
    }
}

#[derive(Clone, Debug)]
enum Action {
    /// A part of the stream that holds the word, or of the decoy that does not, with its checksum right or wrong.
    Segment { at: i64, len: usize, is_decoy: bool, is_broken: bool, is_lost: bool, has_fin: bool },
    /// The victim acknowledges what it has read.
    Acknowledge,
}

struct Attack {
    switch: Switch,
    victims: [Victim; 2],
    initial: u32,
}

impl Attack {
    fn new(initial: u32) -> Self {
        let mut attack = Self { switch: Switch::new(RULE), victims: [Victim::new(true), Victim::new(false)], initial };
        let syn = attack.to_server(-1, &[]).syn().build();
        assert!(attack.switch.passes(ToServer, &syn));
        let answer = attack.to_client(0).syn_ack().seq(u32::MAX).build();
        assert!(attack.switch.passes(ToClient, &answer));
        let last = attack.to_server(0, &[]).build();
        assert!(attack.switch.passes(ToServer, &last));
        attack
    }

    fn to_server(&self, at: i64, data: &[u8]) -> emit::FrameBuilder {
        let seq = self.initial.wrapping_add(at as u32);
        emit::tcp(([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 80)).seq(seq).ack(0).payload(data)
    }

    fn to_client(&self, acked: usize) -> emit::FrameBuilder {
        let ack = self.initial.wrapping_add(acked as u32);
        emit::tcp(([10, 0, 0, 2], 80), ([10, 0, 0, 1], 1000)).seq(0).ack(ack).window(WINDOW as u16)
    }

    fn act(&mut self, action: &Action, stream: &[u8], decoy: &[u8]) {
        match *action {
            Action::Segment { at, len, is_decoy, is_broken, is_lost, has_fin } => {
                let source = if is_decoy { decoy } else { stream };
                let end = source.len().min((at.max(0) as usize) + len);
                let from = (at.max(0) as usize).min(end);
                // What lies before the stream is a keep-alive's byte.
                let before = vec![b'?'; at.min(0).unsigned_abs() as usize];
                let data = [&before, &source[from..end]].concat();
                let flags = if has_fin { TcpFlags::ACK | TcpFlags::FIN } else { TcpFlags::ACK };
                let mut frame = self.to_server(at, &data).flags(flags).build();
                if is_broken {
                    frame[50] ^= 1;
                }
                if is_lost {
                    // Behind the switch: it has judged what no victim got.
                    self.switch.passes(ToServer, &frame);
                    return;
                }
                self.deliver(at, &data, &frame, is_broken);
            }
            Action::Acknowledge => {
                let read = self.victims[0].read.min(self.victims[1].read);
                self.acknowledge(read);
            }
        }
    }

    fn acknowledge(&mut self, acked: usize) {
        let frame = self.to_client(acked).build();
        self.switch.passes(ToClient, &frame);
    }

    fn deliver(&mut self, at: i64, data: &[u8], frame: &[u8], is_broken: bool) {
        if !self.switch.passes(ToServer, frame) {
            return;
        }
        assert!(!is_broken, "victims drop it, so the switch must not take it in");
        for victim in &mut self.victims {
            victim.receive(at, data);
            assert!(
                !contains_forbidden(&victim.application()),
                "a victim that keeps the {} copy has read the word",
                if victim.keeps_first { "first" } else { "last" }
            );
        }
    }
}

fn stream_with_word(at: usize, len: usize) -> Vec<u8> {
    let mut stream: Vec<u8> = (0..len).map(|at| b'a' + (at % 23) as u8).collect();
    stream[at..at + FORBIDDEN.len()].copy_from_slice(FORBIDDEN);
    stream
}

/// The word cut at every place into two and three segments, in every order.
#[test]
fn every_split_and_order() {
    let stream = stream_with_word(3, 14);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let mut attack = Attack::new(u32::MAX - 7);
                let parts = [(0, first), (first, second), (second, stream.len())];
                for index in order {
                    let (from, to) = parts[index];
                    let data = &stream[from..to];
                    let frame = attack.to_server(from as i64, data).build();
                    attack.deliver(from as i64, data, &frame, false);
                }
            }
        }
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    // Decoys that reach the victims soon doom the flow; those that are lost behind the switch are the dangerous ones.
    let copy = prop_oneof![
        12 => Just((false, false)), 2 => Just((false, true)),
        4 => Just((true, true)), 1 => Just((true, false)),
    ];
    let segment =
        (-2..60i64, prop_oneof![0..30usize, 1..4usize], copy, prop::bool::weighted(0.03), prop::bool::weighted(0.01));
    let segment = segment.prop_map(|(at, len, (is_decoy, is_lost), is_broken, has_fin)| Action::Segment {
        at,
        len,
        is_decoy,
        is_broken,
        is_lost,
        has_fin,
    });
    proptest::collection::vec(prop_oneof![8 => segment, 1 => Just(Action::Acknowledge)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_victim_reads_the_word(initial in any::<u32>(), word_at in 0..50usize, actions in actions()) {
        let stream = stream_with_word(word_at, 64);
        let decoy: Vec<u8> = stream.iter().enumerate().map(|(at, byte)| if at % 3 == 0 { b'#' } else { *byte }).collect();
        let mut attack = Attack::new(initial);
        for action in &actions {
            attack.act(action, &stream, &decoy);
        }
    }

    /// The same segments without the word and without decoys all pass, however they are cut and ordered.
    #[test]
    fn the_harmless_are_not_stopped(
        initial in any::<u32>(),
        segments in proptest::collection::vec((0..60usize, 1..30usize), 1..60),
    ) {
        let stream: Vec<u8> = (0..64).map(|at| b'a' + at % 23).collect();
        let mut attack = Attack::new(initial);
        for (index, (at, len)) in segments.into_iter().enumerate() {
            let data = &stream[at..stream.len().min(at + len)];
            let frame = attack.to_server(at as i64, data).build();
            prop_assert!(attack.switch.passes(ToServer, &frame));
            attack.victims[0].receive(at as i64, data);
            if index % 5 == 0 {
                let frame = attack.to_client(attack.victims[0].read).build();
                prop_assert!(attack.switch.passes(ToClient, &frame));
            }
        }
        prop_assert!(stream.starts_with(&attack.victims[0].application()));
    }
}

/// Far more than the memory of one stream flows in both directions, acknowledged as it goes, under a rule about only one.
#[test]
fn acknowledged_data_frees_its_memory() {
    let mut attack = Attack::new(7);
    let data = vec![b'z'; 3000];
    for index in 0..2000u32 {
        let at = i64::from(index) * 3000;
        let frame = attack.to_server(at, &data).build();
        assert!(attack.switch.passes(ToServer, &frame), "segment {index}");
        let frame = attack.to_client(at as usize + 3000).build();
        assert!(attack.switch.passes(ToClient, &frame), "acknowledgement {index}");
        let held = attack.switch.inspector.stream_memory().total();
        assert_eq!((held.unacked, held.queued), (0, 0));
    }
}
