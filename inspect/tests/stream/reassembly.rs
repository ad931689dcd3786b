//! Streams put together: each byte is delivered once, in order, and no other byte ever passes for it.

use inspect::stream::StreamRefused::{self, EndMoved, Memory, Overlap};
use inspect::stream::{Progress, Stream, StreamBytes, StreamLimits, StreamMemory, StreamOffset};
use proptest::prelude::*;

/// A stream, its memory, and what was delivered; segments are written as (position, data).
struct Bench {
    first_seq: u32,
    stream: Stream,
    memory: StreamMemory,
    delivered: Vec<u8>,
}

impl Bench {
    fn new(first_seq: u32, limits: StreamLimits) -> Self {
        let (stream, memory) = (Stream::new(1, first_seq), StreamMemory::new(limits));
        Self { first_seq, stream, memory, delivered: Vec::new() }
    }

    fn segment(&mut self, at: i64, data: &[u8], has_fin: bool) -> Result<Progress, StreamRefused> {
        let seq = self.first_seq.wrapping_add(at as u32);
        let (delivered, before) = (&mut self.delivered, self.stream.held());
        let from = delivered.len();
        let answer = self.stream.on_segment(seq, data, has_fin, &mut self.memory, |StreamOffset(at), bytes| {
            assert_eq!(at, delivered.len() as u64, "no byte twice, none left out");
            assert!(!bytes.is_empty());
            delivered.extend_from_slice(bytes);
        });
        assert_eq!(self.memory.total(), self.stream.held());
        match answer {
            Ok(Progress::Delivered(count)) => {
                assert_eq!(count, (self.delivered.len() - from) as u64)
            }
            Ok(Progress::Queued) => assert_eq!(self.delivered.len(), from),
            Err(_) => {
                assert_eq!((self.delivered.len(), self.stream.held()), (from, before), "refused: nothing changed");
            }
        }
        answer
    }

    fn acknowledge(&mut self, at: i64) {
        self.stream.acknowledge(self.first_seq.wrapping_add(at as u32), &mut self.memory);
        assert_eq!(self.memory.total(), self.stream.held());
    }
}

/// What a step of a conversation expects: the count delivered, or queued, or a refusal.
type Expected = Result<Progress, StreamRefused>;

#[derive(Clone, Copy)]
enum Step {
    Data(i64, &'static [u8], Expected),
    Fin(i64, &'static [u8], Expected),
    Ack(i64),
}

fn check(name: &str, steps: &[Step], expected: &[u8]) {
    for first_seq in [0, 77, u32::MAX - 3, 1 << 31, (1 << 31) - 2] {
        let mut bench = Bench::new(first_seq, StreamLimits::default());
        for (index, step) in steps.iter().enumerate() {
            match *step {
                Step::Data(at, data, expected) => {
                    assert_eq!(bench.segment(at, data, false), expected, "{name}, step {index}");
                }
                Step::Fin(at, data, expected) => {
                    assert_eq!(bench.segment(at, data, true), expected, "{name}, step {index}");
                }
                Step::Ack(at) => bench.acknowledge(at),
            }
        }
        assert_eq!(bench.delivered, expected, "{name}");
        let Bench { stream, mut memory, .. } = bench;
        stream.release(&mut memory);
        assert_eq!((memory.total(), memory.of_domain(1)), Default::default(), "{name}: all memory given back");
    }
}

const QUEUED: Expected = Ok(Progress::Queued);

fn delivered(count: u64) -> Expected {
    Ok(Progress::Delivered(count))
}

#[test]
fn conversations() {
    use Step::{Ack, Data, Fin};
    check("in order", &[Data(0, b"ab", delivered(2)), Data(2, b"cd", delivered(2))], b"abcd");
    check("without data", &[Data(0, b"", delivered(0)), Data(0, b"a", delivered(1)), Data(1, b"", delivered(0))], b"a");
    check("a gap closes", &[Data(2, b"cd", QUEUED), Data(6, b"gh", QUEUED), Data(0, b"ab", delivered(4))], b"abcd");
    check(
        "two gaps close at once",
        &[Data(2, b"cd", QUEUED), Data(5, b"f", QUEUED), Data(0, b"abcde", delivered(6))],
        b"abcdef",
    );
    check("covers what is queued", &[Data(2, b"c", QUEUED), Data(0, b"abcde", delivered(5))], b"abcde");
    check("ends within what is queued", &[Data(2, b"cdef", QUEUED), Data(0, b"abcd", delivered(6))], b"abcdef");
    check(
        "queues only what is missing",
        &[Data(4, b"e", QUEUED), Data(6, b"g", QUEUED), Data(3, b"defgh", QUEUED), Data(0, b"abc", delivered(8))],
        b"abcdefgh",
    );
    check(
        "repetition",
        &[Data(0, b"abcd", delivered(4)), Data(1, b"bc", delivered(0)), Data(2, b"cdef", delivered(2))],
        b"abcdef",
    );
    check("other bytes delivered", &[Data(0, b"abcd", delivered(4)), Data(1, b"X", Err(Overlap))], b"abcd");
    check("other bytes, partly new", &[Data(0, b"abcd", delivered(4)), Data(3, b"Xef", Err(Overlap))], b"abcd");
    check(
        "other bytes queued",
        &[Data(2, b"cd", QUEUED), Data(3, b"X", Err(Overlap)), Data(0, b"ab", delivered(4))],
        b"abcd",
    );
    check("other bytes in the closing segment", &[Data(2, b"cd", QUEUED), Data(0, b"abX", Err(Overlap))], b"");
    check(
        "acknowledged bytes are not compared",
        &[
            Data(0, b"abcd", delivered(4)),
            Ack(3),
            Data(2, b"Xd", delivered(0)),
            Data(2, b"XX", Err(Overlap)),
            Data(2, b"Xde", delivered(1)),
        ],
        b"abcde",
    );
    check(
        "a keep-alive's byte",
        &[Data(-1, b"X", delivered(0)), Data(0, b"a", delivered(1)), Ack(1), Data(0, b"X", delivered(0))],
        b"a",
    );
    check(
        "acknowledged too much",
        &[Data(0, b"ab", delivered(2)), Data(3, b"d", QUEUED), Ack(4), Data(2, b"c", delivered(2))],
        b"abcd",
    );
    check(
        "acknowledged backwards",
        &[Data(0, b"ab", delivered(2)), Ack(2), Ack(1), Ack(-5), Data(2, b"c", delivered(1))],
        b"abc",
    );
    check("end", &[Fin(0, b"ab", delivered(2)), Fin(2, b"", delivered(0)), Fin(1, b"b", delivered(0)), Ack(3)], b"ab");
    check(
        "behind the end",
        &[Fin(0, b"ab", delivered(2)), Data(2, b"c", Err(EndMoved)), Data(1, b"bc", Err(EndMoved))],
        b"ab",
    );
    check(
        "another end",
        &[Fin(0, b"ab", delivered(2)), Fin(1, b"", Err(EndMoved)), Fin(2, b"c", Err(EndMoved))],
        b"ab",
    );
    check(
        "end before data",
        &[
            Data(2, b"cd", QUEUED),
            Fin(0, b"ab", Err(EndMoved)),
            Data(0, b"ab", delivered(4)),
            Fin(3, b"", Err(EndMoved)),
        ],
        b"abcd",
    );
    check(
        "the end overtakes",
        &[Fin(2, b"c", QUEUED), Data(3, b"d", Err(EndMoved)), Data(0, b"ab", delivered(3))],
        b"abc",
    );
}

#[test]
fn the_end_is_reached_when_all_is_delivered() {
    let mut bench = Bench::new(5, StreamLimits::default());
    bench.segment(2, b"cd", true).expect("queued");
    assert!(!bench.stream.is_finished() && bench.stream.has_gap());
    bench.segment(0, b"ab", false).expect("closes the gap");
    assert!(bench.stream.is_finished() && !bench.stream.has_gap());
    assert_eq!(bench.stream.next_offset(), StreamOffset(4));
}

/// At each limit a segment is refused, and passes once there is room.
#[test]
fn limits() {
    let none = StreamBytes { unacked: usize::MAX, queued: usize::MAX };
    let few = StreamBytes { unacked: 100, queued: 200 };
    for (name, limits) in [
        ("stream", StreamLimits { per_stream: few, per_domain: none, total: none }),
        ("domain", StreamLimits { per_stream: none, per_domain: few, total: none }),
        ("total", StreamLimits { per_stream: none, per_domain: none, total: few }),
    ] {
        let mut bench = Bench::new(9, limits);
        assert_eq!(bench.segment(0, &[1; 100], false), delivered(100), "{name}");
        assert_eq!(bench.segment(100, &[1; 1], false), Err(Memory), "{name}");
        // Bytes behind gaps have room of their own, and never take that of the bytes that close them.
        assert_eq!(bench.segment(110, &[1; 50], false), QUEUED, "{name}");
        assert_eq!(bench.segment(170, &[1; 50], false), Err(Memory), "{name}");
        assert_eq!(bench.segment(120, &[1; 20], false), QUEUED, "{name}: nothing missing, nothing taken");
        bench.acknowledge(61);
        assert_eq!(bench.segment(100, &[1; 10], false), delivered(60), "{name}");
        bench.acknowledge(160);
        assert_eq!(bench.memory.total(), StreamBytes::default(), "{name}");
    }
    assert!(!Memory.is_fatal() && Overlap.is_fatal() && EndMoved.is_fatal());
}

#[test]
fn one_domain_leaves_the_others_their_room() {
    let per_domain = StreamBytes { unacked: 100, queued: 200 };
    let none = StreamBytes { unacked: usize::MAX, queued: usize::MAX };
    let mut memory = StreamMemory::new(StreamLimits { per_stream: none, per_domain, total: none });
    let mut streams: Vec<Stream> = (0..6).map(|index| Stream::new(index / 3, 0)).collect();
    let answers: Vec<bool> = streams
        .iter_mut()
        .map(|stream| stream.on_segment(0, &[0; 50], false, &mut memory, |_, _| {}).is_ok())
        .collect();
    assert_eq!(answers, [true, true, false, true, true, false]);
    assert_eq!(memory.of_domain(0).unacked, 100);
    for stream in streams {
        stream.release(&mut memory);
    }
    assert_eq!(memory.total(), StreamBytes::default());
}

/// What reassembly means, byte by byte.
#[derive(Default)]
struct Model {
    bytes: Vec<Option<u8>>,
    next: usize,
    acked: usize,
    end: Option<usize>,
}

impl Model {
    fn segment(&mut self, at: usize, data: &[u8], has_fin: bool) -> Expected {
        // An acknowledgement, which stands one past the end once its sender's FIN is out.
        if data.is_empty() && !has_fin {
            return delivered(0);
        }
        let end = at + data.len();
        let seen = self.bytes.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if self.end.is_some_and(|known| end > known || (has_fin && end != known))
            || (has_fin && self.end.is_none() && end < seen)
        {
            return Err(EndMoved);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, None);
        }
        let is_other =
            |(at, byte): (usize, &u8)| at >= self.acked && self.bytes[at].is_some_and(|known| known != *byte);
        if (at..end).zip(data).any(is_other) {
            return Err(Overlap);
        }
        let is_behind_gap = at > self.next && !data.is_empty();
        for (at, byte) in (at..end).zip(data) {
            self.bytes[at].get_or_insert(*byte);
        }
        if has_fin {
            self.end = Some(end);
        }
        let before = self.next;
        self.next += self.bytes[before..].iter().take_while(|byte| byte.is_some()).count();
        if is_behind_gap { QUEUED } else { delivered((self.next - before) as u64) }
    }
}

#[derive(Clone, Debug)]
enum Action {
    Segment {
        at: usize,
        len: usize,
        twist: u8,
        has_fin: bool,
    },
    /// As far as delivered, in percent.
    Acknowledge(usize),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let twist = prop_oneof![30 => Just(0u8), 1 => any::<u8>()];
    let segment = (0..300usize, 0..40usize, twist, prop::bool::weighted(0.01));
    let segment = segment.prop_map(|(at, len, twist, has_fin)| Action::Segment { at, len, twist, has_fin });
    let acknowledge = (0..=100usize).prop_map(Action::Acknowledge);
    proptest::collection::vec(prop_oneof![12 => segment, 1 => acknowledge], 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn segments_agree_with_the_model(first_seq in prop_oneof![any::<u32>(), u32::MAX - 200..u32::MAX], actions in actions()) {
        let mut bench = Bench::new(first_seq, StreamLimits::default());
        let mut model = Model::default();
        for action in actions {
            match action {
                Action::Segment { at, len, twist, has_fin } => {
                    let data: Vec<u8> = (at..at + len).map(|at| (at * 7) as u8 ^ twist).collect();
                    let expected = model.segment(at, &data, has_fin);
                    prop_assert_eq!(bench.segment(at as i64, &data, has_fin), expected);
                }
                Action::Acknowledge(percent) => {
                    model.acked = model.acked.max(model.next * percent / 100);
                    bench.acknowledge((model.next * percent / 100) as i64);
                }
            }
            prop_assert_eq!(bench.stream.next_offset(), StreamOffset(model.next as u64));
            let known: Option<Vec<u8>> = model.bytes[..model.next].iter().copied().collect();
            prop_assert_eq!(Some(&bench.delivered), known.as_ref());
        }
    }

    /// Any cut of a stream into segments, in any order and with repetitions, delivers the stream.
    #[test]
    fn every_order_delivers_the_stream(
        data in proptest::collection::vec(any::<u8>(), 1..3000),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 1..400usize), 0..60),
        first_seq in any::<u32>(),
    ) {
        let mut bench = Bench::new(first_seq, StreamLimits::default());
        for (at, len) in cuts {
            let at = at.index(data.len());
            let end = data.len().min(at + len);
            prop_assert!(bench.segment(at as i64, &data[at..end], end == data.len()).is_ok());
        }
        for (index, piece) in data.chunks(100).enumerate() {
            let is_last = (index + 1) * 100 >= data.len();
            prop_assert!(bench.segment((index * 100) as i64, piece, is_last).is_ok());
        }
        prop_assert_eq!(&bench.delivered, &data);
        prop_assert!(bench.stream.is_finished());
        bench.acknowledge(data.len() as i64 + 1);
        prop_assert_eq!(bench.memory.total(), StreamBytes::default());
    }
}
