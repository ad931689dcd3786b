//! IP fragments of a datagram that holds the forbidden word.

use inspect::fragments::{FragmentOutcome, FragmentTable};
use inspect::inspector::Direction::ToServer;
use inspect::wire::emit::{self, FrameBuilder};
use inspect::wire::{Checksums, Packet};
use proptest::prelude::*;

use super::{FORBIDDEN, Switch, contains_forbidden};

const RULE: &str = r#"drop udp any any -> any any (msg:"word"; content:"EXPLOIT"; sid:1;)"#;

/// How a receiver puts overlapping fragments together.
#[derive(Clone, Copy, Debug)]
enum Policy {
    First,
    Last,
}

/// A receiver of the fragments that were let through: the datagram's payload, once it has no gaps.
fn reassemble(fragments: &[(usize, bool, Vec<u8>)], policy: Policy) -> Option<Vec<u8>> {
    let len = fragments.iter().find(|(_, more, _)| !more).map(|(at, _, data)| at + data.len())?;
    let mut bytes = vec![None; len];
    for (at, _, data) in fragments {
        for (at, byte) in (*at..).zip(data) {
            if let Some(slot) = bytes.get_mut(at)
                && (slot.is_none() || matches!(policy, Policy::Last))
            {
                *slot = Some(*byte);
            }
        }
    }
    bytes.into_iter().collect()
}

/// The switch as far as fragments go: holds them until whole, judges the whole, lets all or none through.
struct Path {
    switch: Switch,
    table: FragmentTable,
}

impl Path {
    fn new() -> Self {
        Self { switch: Switch::new(RULE), table: FragmentTable::default() }
    }

    /// The frames that go on because of this one.
    fn send(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        let Ok(packet) = Packet::parse(frame, Checksums::Verify) else { return Vec::new() };
        if packet.headers().fragment.is_none() {
            return if self.switch.passes(ToServer, frame) { vec![frame.to_vec()] } else { Vec::new() };
        }
        match self.table.insert(1, &packet, 0, &mut Vec::new()) {
            Ok(FragmentOutcome::Complete(whole)) if self.switch.passes(ToServer, &whole.frame) => whole.fragments,
            Ok(FragmentOutcome::Complete(_) | FragmentOutcome::Held) | Err(_) => Vec::new(),
        }
    }
}

fn datagram(is_v6: bool, payload: &[u8]) -> FrameBuilder {
    if is_v6 {
        emit::udp(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 1000), ([0xfd00, 0, 0, 0, 0, 0, 0, 2], 2000)).payload(payload)
    } else {
        emit::udp(([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 2000)).payload(payload)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_victim_reads_the_word(
        is_v6 in any::<bool>(),
        word_at in 0..50usize,
        pieces in proptest::collection::vec((0..9usize, 1..5usize, any::<bool>(), prop::bool::weighted(0.25)), 1..30),
        plan in proptest::collection::vec(1..4usize, 9),
    ) {
        let mut payload: Vec<u8> = (0..57).map(|at| b'a' + at % 23).collect();
        let harmless = datagram(is_v6, &payload).segment();
        payload[word_at..word_at + FORBIDDEN.len()].copy_from_slice(FORBIDDEN);
        let builder = datagram(is_v6, &payload);
        let (mut harmless, mut segment) = (harmless, builder.segment());
        if !is_v6 {
            // A checksum of zero is none: decoys and the word may then be mixed at will.
            harmless[6..8].fill(0);
            segment[6..8].fill(0);
        }
        let mut path = Path::new();
        let mut through: Vec<(usize, bool, Vec<u8>)> = Vec::new();
        // A clean cut, in order, and any pieces in between.
        let mut clean = Vec::new();
        let mut unit = 0;
        for unit_count in plan {
            clean.push((unit, unit_count, true, false));
            unit += unit_count;
        }
        for (index, (unit, unit_count, is_more, is_decoy)) in pieces.into_iter().chain(clean).enumerate() {
            let source = if is_decoy { &harmless } else { &segment };
            let (from, to) = ((unit * 8).min(source.len()), ((unit + unit_count) * 8).min(source.len()));
            let more = to < source.len() && (is_more || index % 7 != 0);
            if from == to {
                continue;
            }
            for frame in path.send(&builder.fragment(from as u16, more, &source[from..to])) {
                let packet = Packet::parse(&frame, Checksums::Verify).expect("it passed");
                let (offset, more) = packet.headers().fragment.map_or((0, false), |fragment| (fragment.offset, fragment.more));
                through.push((offset.into(), more, packet.payload().to_vec()));
            }
            for policy in [Policy::First, Policy::Last] {
                let read = reassemble(&through, policy).unwrap_or_default();
                prop_assert!(!contains_forbidden(&read), "{policy:?} reads the word");
            }
        }
    }

    #[test]
    fn the_harmless_get_through(is_v6 in any::<bool>(), len in 40..3000usize, cut in 16..1400usize) {
        let builder = datagram(is_v6, &vec![b'h'; len]);
        let fragments = builder.fragments(cut);
        prop_assume!((2..64).contains(&fragments.len()));
        let mut path = Path::new();
        let through: Vec<_> = fragments.iter().flat_map(|frame| path.send(frame)).collect();
        prop_assert_eq!(through, fragments);
    }
}

#[test]
fn the_word_in_fragments_is_dropped() {
    for is_v6 in [false, true] {
        let builder = datagram(is_v6, b"aaaaEXPLOITaaaaaaaaaaaaaaaaaaaaa");
        for cut in [8, 16, 24] {
            let mut path = Path::new();
            let through: Vec<_> = builder.fragments(cut).iter().flat_map(|frame| path.send(frame)).collect();
            assert!(through.is_empty());
        }
    }
}
