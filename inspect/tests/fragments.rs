//! Fragments put together: whole datagrams come out as they were sent, everything else does not come out.

use inspect::fragments::{Discarded, FragmentLimits, FragmentOutcome, FragmentRefused, FragmentTable, Whole};
use inspect::limits::{FRAGMENT_BYTES_MAX, FRAGMENT_TIMEOUT_MS, FRAGMENTS_PER_DATAGRAM_MAX};
use inspect::wire::emit::{self, FrameBuilder};
use inspect::wire::{Checksums, Packet, parse};
use proptest::prelude::*;

fn udp4() -> FrameBuilder {
    emit::udp(([10, 0, 0, 1], 1000), ([10, 0, 0, 2], 2000)).dont_fragment(false)
}

fn udp6() -> FrameBuilder {
    emit::udp(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 1000), ([0xfd00, 0, 0, 0, 0, 0, 0, 2], 2000))
}

/// Puts frames into a table in domain 1 at time 0.
fn insert(table: &mut FragmentTable, frame: &[u8]) -> Result<FragmentOutcome, FragmentRefused> {
    insert_at(table, 1, 0, frame, &mut Vec::new())
}

fn insert_at(
    table: &mut FragmentTable,
    domain: u32,
    now_ms: u64,
    frame: &[u8],
    discarded: &mut Vec<Discarded>,
) -> Result<FragmentOutcome, FragmentRefused> {
    let packet = Packet::parse(frame, Checksums::Verify).expect("a sound fragment");
    table.insert(domain, &packet, now_ms, discarded)
}

fn whole(outcome: Result<FragmentOutcome, FragmentRefused>) -> Option<Whole> {
    match outcome {
        Ok(FragmentOutcome::Complete(whole)) => Some(whole),
        Ok(FragmentOutcome::Held) | Err(_) => None,
    }
}

#[test]
fn datagrams_come_out_as_they_were_sent() {
    let payload: Vec<u8> = (0..=255).cycle().take(3000).collect();
    let shapes = [
        ("v4", udp4()),
        ("v4 with options", udp4().ip_options(&[148, 4, 0, 0])),
        ("v6", udp6()),
        ("v6 with options", udp6().extension(0, &[5, 2, 0, 0]).extension(60, &[1, 4])),
        ("TCP", emit::tcp(([10, 0, 0, 1], 5), ([10, 0, 0, 2], 6)).dont_fragment(false).timestamps(1, 2)),
        ("echo", emit::icmp_echo_request([10, 0, 0, 1], [10, 0, 0, 2], 7, 8).dont_fragment(false)),
    ];
    for (name, builder) in shapes {
        let builder = builder.payload(&payload);
        let (expected, pieces) = (builder.build(), builder.fragments(800));
        let orders = [vec![0, 1, 2, 3], vec![3, 2, 1, 0], vec![1, 3, 0, 2]];
        for order in orders {
            let mut table = FragmentTable::default();
            let (last, early) = order.split_last().expect("an order");
            for index in early {
                assert_eq!(insert(&mut table, &pieces[*index]), Ok(FragmentOutcome::Held), "{name}");
            }
            assert_eq!((table.datagram_count(), table.frame_count()), (1, 3));
            let padded = [&pieces[*last][..], &[0xaa; 9]].concat();
            let whole = whole(insert(&mut table, &padded)).expect(name);
            assert_eq!(whole.frame, expected, "{name}");
            assert_eq!(whole.fragments, pieces, "{name}: by offset, without padding");
            assert!(parse(&whole.frame, Checksums::Verify).is_ok(), "{name}");
            assert_eq!((table.datagram_count(), table.byte_count()), (0, 0));
        }
    }
}

#[test]
fn names_keep_datagrams_apart() {
    let builder = udp4().payload([1; 64]);
    let others = [
        builder.clone().ip_id(2),
        builder.clone().macs(emit::SOURCE_MAC, [2, 0, 0, 0, 0, 9]),
        emit::udp(([10, 0, 0, 3], 1000), ([10, 0, 0, 2], 2000)).payload([1; 64]),
        emit::ip([10, 0, 0, 1], [10, 0, 0, 2], 47).payload([1; 72]),
    ];
    for other in others {
        let mut table = FragmentTable::default();
        insert(&mut table, &builder.fragments(40)[0]).expect("held");
        assert_eq!(insert(&mut table, &other.fragments(40)[1]), Ok(FragmentOutcome::Held));
        assert_eq!(table.datagram_count(), 2);
    }
    let mut table = FragmentTable::default();
    insert_at(&mut table, 1, 0, &builder.fragments(40)[0], &mut Vec::new()).expect("held");
    let elsewhere = insert_at(&mut table, 2, 0, &builder.fragments(40)[1], &mut Vec::new());
    assert_eq!(elsewhere, Ok(FragmentOutcome::Held), "another domain");
}

/// An overlap dooms the datagram, including what comes later, until its time is over.
#[test]
fn an_overlap_dooms() {
    for builder in [udp4().payload([1; 120]), udp6().payload([1; 120])] {
        let mut table = FragmentTable::default();
        let mut discarded = Vec::new();
        insert(&mut table, &builder.fragment(0, true, &[0; 32])).expect("held");
        insert(&mut table, &builder.fragment(64, true, &[0; 32])).expect("held");
        let overlap = builder.fragment(24, true, &[0; 16]);
        assert_eq!(insert_at(&mut table, 1, 5, &overlap, &mut discarded), Err(FragmentRefused::Overlap));
        assert_eq!(discarded, [Discarded { domain: 1, frame_count: 2, why: FragmentRefused::Overlap }]);
        assert_eq!((table.byte_count(), table.frame_count(), table.datagram_count()), (0, 0, 1));
        for piece in builder.fragments(40) {
            assert_eq!(insert(&mut table, &piece), Err(FragmentRefused::Doomed));
        }
        let later = insert_at(&mut table, 1, FRAGMENT_TIMEOUT_MS, &builder.fragments(40)[0], &mut discarded);
        assert_eq!(later, Ok(FragmentOutcome::Held));
        assert_eq!(discarded.len(), 1, "a doomed datagram holds no frames");
    }
}

#[test]
fn what_is_refused() {
    let builder = udp4();
    let first = |len: usize| builder.fragment(0, true, &vec![0; len]);
    let check = |name: &str, frames: &[Vec<u8>], expected| {
        let mut table = FragmentTable::default();
        let (last, early) = frames.split_last().expect("frames");
        for frame in early {
            assert_eq!(insert(&mut table, frame), Ok(FragmentOutcome::Held), "{name}");
        }
        assert_eq!(insert(&mut table, last).map(|_| ()), Err(expected), "{name}");
    };
    let last = builder.fragment(64, false, &[0; 8]);
    check("two ends", &[last.clone(), builder.fragment(80, false, &[0; 8])], FragmentRefused::EndMoved);
    check("behind the end", &[last.clone(), builder.fragment(80, true, &[0; 8])], FragmentRefused::EndMoved);
    check("end before data", &[builder.fragment(80, true, &[0; 8]), last.clone()], FragmentRefused::EndMoved);
    check("the same again", &[first(32), first(32)], FragmentRefused::Duplicate);
    check("the same with other bytes", &[first(32), builder.fragment(0, true, &[1; 32])], FragmentRefused::Overlap);
    check("the same with another end", &[last, builder.fragment(64, true, &[0; 8])], FragmentRefused::Overlap);
    check("longer than before", &[first(32), first(40)], FragmentRefused::Overlap);
    let many: Vec<_> =
        (0..=FRAGMENTS_PER_DATAGRAM_MAX).map(|index| builder.fragment(index as u16 * 16, true, &[0; 8])).collect();
    check("too many", &many, FragmentRefused::TooMany);
    // Each header by itself leaves room for the end, the first fragment's options do not.
    let optioned = udp4().ip_options(&[148, 4, 0, 0]);
    let mut frames: Vec<_> = (0..8).map(|index| builder.fragment(8184 * index, true, &[0; 8184])).collect();
    frames[0] = optioned.fragment(0, true, &[0; 8184]);
    frames.push(builder.fragment(8184 * 8, false, &[0; 43]));
    check("ping of death by options", &frames, FragmentRefused::Oversize);
    let mut table = FragmentTable::default();
    assert_eq!(insert(&mut table, &udp4().build()), Err(FragmentRefused::NotFragment));
}

#[test]
fn the_largest_datagram() {
    let builder = udp4().payload(vec![3; 65_535 - 28]);
    let mut table = FragmentTable::default();
    let outcomes: Vec<_> = builder.fragments(1480).iter().map(|piece| insert(&mut table, piece)).collect();
    let (last, early) = outcomes.split_last().expect("fragments");
    assert!(early.iter().all(|outcome| *outcome == Ok(FragmentOutcome::Held)));
    assert_eq!(whole(last.clone()).map(|whole| whole.frame), Some(builder.build()));
}

#[test]
fn time_runs_out() {
    let pieces = udp4().payload([1; 64]).fragments(40);
    let mut table = FragmentTable::default();
    let mut discarded = Vec::new();
    insert_at(&mut table, 1, 100, &pieces[0], &mut discarded).expect("held");
    table.expire(100 + FRAGMENT_TIMEOUT_MS - 1, &mut discarded);
    assert_eq!((discarded.len(), table.frame_count()), (0, 1));
    let late = insert_at(&mut table, 1, 100 + FRAGMENT_TIMEOUT_MS, &pieces[1], &mut discarded);
    assert_eq!(late, Ok(FragmentOutcome::Held));
    assert_eq!(discarded, [Discarded { domain: 1, frame_count: 1, why: FragmentRefused::TimedOut }]);
    table.expire(u64::MAX, &mut discarded);
    assert_eq!((table.frame_count(), table.byte_count()), (0, 0));
}

/// Attack N05: a flood through one domain costs the others nothing, and its memory is bounded.
#[test]
fn a_flood_stays_in_its_domain() {
    let victim = udp4().payload([1; 2000]).fragments(800);
    let mut table = FragmentTable::default();
    let mut discarded = Vec::new();
    insert_at(&mut table, 7, 0, &victim[0], &mut discarded).expect("held");
    let (mut held_count, mut refused_count) = (0, 0);
    for id in 0..20_000u32 {
        let flood = udp4().ip_id(id).fragment((id % 64) as u16 * 8, true, &[0; 1400]);
        match insert_at(&mut table, 8 + id % 40, 0, &flood, &mut discarded) {
            Ok(_) => held_count += 1,
            Err(_) => refused_count += 1,
        }
        assert!(table.byte_count() <= FRAGMENT_BYTES_MAX);
    }
    let given_up: usize = discarded.iter().map(|discarded| discarded.frame_count).sum();
    assert_eq!(table.frame_count(), 1 + held_count - given_up, "the books balance ({refused_count} refused)");
    assert!(discarded.iter().all(|discarded| discarded.domain != 7));
    insert_at(&mut table, 7, 0, &victim[1], &mut discarded).expect("held");
    assert!(whole(insert_at(&mut table, 7, 0, &victim[2], &mut discarded)).is_some());
    for domain in 0..60 {
        table.remove_domain(domain, &mut discarded);
    }
    assert_eq!((table.byte_count(), table.datagram_count()), (0, 0));
}

#[test]
fn eviction_spares_the_datagram_at_hand() {
    let limits = FragmentLimits { bytes_per_domain_max: 3000, ..FragmentLimits::default() };
    let mut table = FragmentTable::new(limits);
    let mut discarded = Vec::new();
    let (old, new) = (udp4().ip_id(1), udp4().ip_id(2));
    let piece = |builder: &FrameBuilder, index: u16| builder.fragment(index * 800, true, &[0; 800]);
    insert_at(&mut table, 1, 0, &piece(&old, 0), &mut discarded).expect("held");
    insert_at(&mut table, 1, 0, &piece(&new, 0), &mut discarded).expect("held");
    insert_at(&mut table, 1, 0, &piece(&old, 1), &mut discarded).expect("held");
    insert_at(&mut table, 1, 0, &piece(&old, 2), &mut discarded).expect("held");
    assert_eq!(discarded, [Discarded { domain: 1, frame_count: 1, why: FragmentRefused::Evicted }]);
    let full = insert_at(&mut table, 1, 0, &piece(&old, 3), &mut discarded);
    assert_eq!(full, Err(FragmentRefused::Memory), "nothing but the datagram itself is left to evict");
    assert_eq!(table.frame_count(), 3);
}

/// What reassembly means, byte by byte.
#[derive(Default)]
struct Model {
    bytes: Vec<Option<u8>>,
    pieces: Vec<(usize, bool, Vec<u8>)>,
    len: Option<usize>,
    is_doomed: bool,
}

impl Model {
    fn add(&mut self, offset: usize, more: bool, data: &[u8]) -> Result<Option<Vec<u8>>, FragmentRefused> {
        if self.is_doomed {
            return Err(FragmentRefused::Doomed);
        }
        if self.pieces.contains(&(offset, more, data.to_vec())) {
            return Err(FragmentRefused::Duplicate);
        }
        let end = offset + data.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, None);
        }
        let refused = if self.bytes[offset..end].iter().any(Option::is_some) {
            Some(FragmentRefused::Overlap)
        } else if self.len.is_some_and(|len| end > len || !more)
            || (!more && self.bytes[end..].iter().any(Option::is_some))
        {
            Some(FragmentRefused::EndMoved)
        } else {
            None
        };
        if let Some(why) = refused {
            self.is_doomed = true;
            return Err(why);
        }
        for (at, byte) in data.iter().enumerate() {
            self.bytes[offset + at] = Some(*byte);
        }
        self.pieces.push((offset, more, data.to_vec()));
        if !more {
            self.len = Some(end);
        }
        let whole: Option<Vec<u8>> = self.len.and_then(|len| self.bytes[..len].iter().copied().collect());
        if whole.is_some() {
            *self = Self::default();
        }
        Ok(whole)
    }
}

fn pieces() -> impl Strategy<Value = Vec<(usize, bool, usize, u8)>> {
    // Eight units of payload at most, so that pieces meet each other all the time.
    let piece = (0..8usize, prop::bool::weighted(0.8), 1..4usize, prop_oneof![9 => Just(0u8), 1 => any::<u8>()]);
    proptest::collection::vec(piece, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn patterns_agree_with_the_model(pieces in pieces(), is_v6 in any::<bool>()) {
        let builder = if is_v6 { udp6() } else { udp4() };
        let mut table = FragmentTable::default();
        let mut model = Model::default();
        for (unit, more, unit_count, twist) in pieces {
            // Offset 0 and nothing following is no fragment.
            let more = more || unit == 0;
            let data: Vec<u8> = (unit * 8..(unit + unit_count) * 8).map(|at| at as u8 ^ twist).collect();
            let frame = builder.fragment((unit * 8) as u16, more, &data);
            let expected = model.add(unit * 8, more, &data);
            match (insert(&mut table, &frame), expected) {
                (Ok(FragmentOutcome::Held), Ok(None)) => {}
                (Ok(FragmentOutcome::Complete(whole)), Ok(Some(bytes))) => {
                    let header_len = if is_v6 { 54 } else { 34 };
                    prop_assert_eq!(&whole.frame[header_len..], &bytes);
                }
                (Err(ours), Err(theirs)) => prop_assert_eq!(ours, theirs),
                (ours, theirs) => prop_assert!(false, "{ours:?}, but the model says {theirs:?}"),
            }
        }
    }

    #[test]
    fn shuffled_fragments_come_out_whole(
        payload in proptest::collection::vec(any::<u8>(), 9..4000),
        len_max in 64..1500usize,
        is_v6 in any::<bool>(),
        order in any::<prop::sample::Selector>(),
        repeats in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let builder = if is_v6 { udp6() } else { udp4() }.payload(&payload);
        let pieces = builder.fragments(len_max);
        prop_assume!(pieces.len() > 1 && pieces.len() <= FRAGMENTS_PER_DATAGRAM_MAX);
        let mut left: Vec<_> = pieces.iter().collect();
        let mut shuffled = Vec::new();
        while !left.is_empty() {
            let at = left.iter().position(|piece| *piece == *order.select(left.iter())).expect("one of them");
            shuffled.push(left.remove(at));
        }
        let mut table = FragmentTable::default();
        let (last, early) = shuffled.split_last().expect("two at least");
        for piece in early {
            prop_assert_eq!(insert(&mut table, piece), Ok(FragmentOutcome::Held));
        }
        for repeat in repeats {
            let again = insert(&mut table, early[repeat.index(early.len())]);
            prop_assert_eq!(again, Err(FragmentRefused::Duplicate));
        }
        let whole = whole(insert(&mut table, last));
        prop_assert_eq!(whole.map(|whole| whole.frame), Some(builder.build()));
    }
}
