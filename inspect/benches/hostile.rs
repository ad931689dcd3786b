//! What hostile payload costs beside benign payload, per byte of frames:
//! `cargo bench -p inspect --bench hostile [-- RULES [WAY [TEXT [SECONDS]]]]`; with words of names, of those ways and texts
//! only, each for so many seconds, which a profiler needs.
//!
//! The hostile texts are written from what the rule set searches for: runs that nearly match, whatever makes most
//! signatures candidates, regular expressions that run long. Each goes by every way on which a prefilter stands, beside a
//! benign text of the same shape, by turns with it, so that what else the machine does falls on both; and there are shapes
//! that are hostile by themselves. Processor time, in nanoseconds; `work` is what the engine itself counts per byte;
//! `refused` are flows that ran out of budget or broke a bound, whose later frames are not counted, neither their bytes
//! nor their cost. As a short flow costs more per byte than a long one, whatever it carries, a hostile flow is compared with
//! a benign one of as many frames; the second ratio is that to benign flows of full length. Ways of short flows show what a
//! guest gains that opens a new one each time.

mod talk;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use inspect::inspector::{Direction, Inspector, Settings};
use inspect::protocol::Buffer;
use inspect::signature::RuleSet;
use talk::{MSS, Shown, Talk, processor_ns};

/// Bytes of a text.
const TEXT_BYTES: usize = 48 * 1024;

/// Processor time that each line measures at least, unless told otherwise, and that one turn takes at least.
const LEAST_NS: f64 = 90e6;
const TURN_NS: f64 = 15e6;

const BENIGN: &str = "The quick brown fox jumps over the lazy dog, and the rest of this page says what pages say all day: \
    welcome, sign in, search for more, read our privacy policy; copyright by the authors, all rights reserved. ";

/// What is searched for.
struct Patterns {
    /// What signatures are found by, each with the number of them.
    found_by: Vec<(Vec<u8>, usize)>,
    /// All that each asks for, the last first.
    demands: Vec<Vec<u8>>,
}

/// How a text reaches the engine.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    /// What is searched for there.
    patterns: fn(&RuleSet) -> Patterns,
    /// Wraps a text into a flow of client number so many.
    wrap: fn(u32, &[u8]) -> Talk,
}

const WAYS: [Way; 12] = [
    Way {
        name: "TCP payload, to server",
        patterns: |rules| payload(rules, 6, Direction::ToServer),
        wrap: |index, text| tcp(index, 9000, Direction::ToServer, text),
    },
    Way {
        name: "TCP payload, to client",
        patterns: |rules| payload(rules, 6, Direction::ToClient),
        wrap: |index, text| tcp(index, 9000, Direction::ToClient, text),
    },
    Way {
        name: "UDP payload",
        patterns: |rules| payload(rules, 17, Direction::ToServer),
        wrap: |index, text| {
            let mut talk = Talk::udp(index, 9000);
            text.chunks(MSS).for_each(|piece| talk.datagram(Direction::ToServer, piece));
            talk
        },
    },
    Way {
        name: "UDP payload, a flow per datagram",
        patterns: |rules| payload(rules, 17, Direction::ToServer),
        wrap: |index, text| {
            let mut talk = Talk::udp(index, 9000);
            talk.datagram(Direction::ToServer, piece(index, text));
            talk
        },
    },
    Way {
        name: "TCP payload, a connection per segment",
        patterns: |rules| payload(rules, 6, Direction::ToClient),
        wrap: |index, text| tcp(index, 9000, Direction::ToClient, piece(index, text)),
    },
    Way {
        name: "file.data, a connection per kilobyte",
        patterns: |rules| of_buffer(rules, Buffer::FileData),
        wrap: |index, text| answer(index, &piece(index, text)[..1024], ""),
    },
    Way {
        name: "http.uri",
        patterns: |rules| of_buffer(rules, Buffer::HttpUri),
        wrap: |index, text| requests(index, text, |part| [b"GET /", part, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()),
    },
    Way {
        name: "http.header",
        patterns: |rules| of_buffer(rules, Buffer::HttpHeader),
        wrap: |index, text| {
            requests(index, text, |part| [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", part, b"\r\n\r\n"].concat())
        },
    },
    Way {
        name: "http.user_agent",
        patterns: |rules| of_buffer(rules, Buffer::HttpUserAgent),
        wrap: |index, text| {
            requests(index, text, |part| [b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: ", part, b"\r\n\r\n"].concat())
        },
    },
    Way {
        name: "http.request_body",
        patterns: |rules| of_buffer(rules, Buffer::HttpRequestBody),
        wrap: |index, text| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", text.len());
            tcp(index, 80, Direction::ToServer, &[head.as_bytes(), text].concat())
        },
    },
    Way {
        name: "file.data",
        patterns: |rules| of_buffer(rules, Buffer::FileData),
        wrap: |index, text| answer(index, text, ""),
    },
    Way {
        name: "dns.query",
        patterns: |rules| of_buffer(rules, Buffer::DnsQuery),
        wrap: |index, text| {
            let mut talk = Talk::udp(index, 53);
            text.chunks(200).for_each(|name| talk.datagram(Direction::ToServer, &query(name)));
            talk
        },
    },
];

fn payload(rules: &RuleSet, protocol: u8, direction: Direction) -> Patterns {
    let group = rules.group(protocol, 40_000, 9000, direction);
    Patterns {
        found_by: group.map(|group| rules.payload_patterns(group)).unwrap_or_default(),
        demands: group.map(|group| rules.payload_demands(group)).unwrap_or_default(),
    }
}

fn of_buffer(rules: &RuleSet, buffer: Buffer) -> Patterns {
    Patterns { found_by: rules.buffer_patterns(buffer), demands: rules.buffer_demands(buffer) }
}

/// One segment's worth of a text, another one for each index.
fn piece(index: u32, text: &[u8]) -> &[u8] {
    let start = index as usize * MSS % (text.len() - MSS);
    &text[start..start + MSS]
}

fn tcp(index: u32, port: u16, by: Direction, text: &[u8]) -> Talk {
    let mut talk = Talk::tcp(index, port);
    talk.say(by, text, MSS);
    talk
}

/// A request per kilobyte of text.
fn requests(index: u32, text: &[u8], request: impl Fn(&[u8]) -> Vec<u8>) -> Talk {
    // What would end the line is written otherwise.
    let text: Vec<u8> = text.iter().map(|&byte| if byte <= b' ' { b'+' } else { byte }).collect();
    let all: Vec<u8> = text.chunks(1024).flat_map(request).collect();
    tcp(index, 80, Direction::ToServer, &all)
}

fn answer(index: u32, body: &[u8], fields: &str) -> Talk {
    let mut talk = Talk::tcp(index, 80);
    talk.say(Direction::ToServer, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", MSS);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    talk.say(Direction::ToClient, &[head.as_bytes(), body].concat(), MSS);
    talk
}

/// A query for a name made of a text.
fn query(name: &[u8]) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.chunks(60) {
        message.push(label.len() as u8);
        message.extend_from_slice(label);
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

fn repeated(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().cycle().take(TEXT_BYTES).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("memory does not fail")
}

/// The hostile texts against what is searched for.
fn texts(patterns: &Patterns) -> Vec<(&'static str, Vec<u8>)> {
    let Patterns { found_by, demands } = patterns;
    let all: Vec<&[u8]> = found_by.iter().map(|(bytes, _)| &**bytes).collect();
    let spoilt = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        bytes
    };
    let near: Vec<u8> = all.iter().flat_map(|bytes| spoilt(bytes)).collect();
    let longest = all.iter().max_by_key(|bytes| bytes.len()).copied().unwrap_or_default();
    let common = found_by.iter().max_by_key(|(_, count)| *count).map(|(bytes, _)| &**bytes).unwrap_or_default();
    let shortest: Vec<u8> =
        all.iter().filter(|bytes| bytes.len() < 6).flat_map(|bytes| bytes.iter().copied()).collect();
    let tails: Vec<u8> =
        all.iter().flat_map(|bytes| [bytes, &b"=aaaaaaaaaaaaaaaa1111/1.1.1.1&"[..]].concat()).collect();
    let starts: Vec<u8> = all.iter().flat_map(|bytes| bytes[..bytes.len().min(6)].to_vec()).collect();
    vec![
        ("all patterns, one after the other", repeated(&all.concat())),
        ("all patterns, each short of its last byte", repeated(&near)),
        ("the first six bytes of each pattern", repeated(&starts)),
        ("short patterns only", repeated(if shortest.is_empty() { b"x" } else { &shortest })),
        ("the pattern with most signatures, again and again", repeated(common)),
        ("the longest pattern, nearly, again and again", repeated(&spoilt(longest))),
        ("patterns with tails for regular expressions", repeated(&tails)),
        ("all that signatures ask for, the last first", repeated(&some_of(demands))),
        (
            "runs of one byte",
            [0, 0xff, 0x90, b' ', b'A', b'0'].iter().flat_map(|&byte| [byte; TEXT_BYTES / 6]).collect(),
        ),
        ("zeros", vec![0; TEXT_BYTES]),
        // These two mean no harm; whole flows of them must get through.
        ("source code", repeated(include_bytes!("hostile.rs"))),
        ("a program", a_program()),
    ]
}

/// Bytes from the middle of this program.
fn a_program() -> Vec<u8> {
    let path = std::env::current_exe().expect("Linux tells it");
    let bytes = std::fs::read(path).expect("it can be read");
    bytes[bytes.len() / 2..].iter().copied().take(TEXT_BYTES).collect()
}

/// As many of some texts as a flow carries, from all over the list.
fn some_of(texts: &[Vec<u8>]) -> Vec<u8> {
    let step = texts.iter().map(Vec::len).sum::<usize>().div_ceil(TEXT_BYTES).max(1);
    let some = texts.iter().step_by(step).flatten().copied().collect::<Vec<u8>>();
    if some.is_empty() { b"x".to_vec() } else { some }
}

fn main() {
    let rules = talk::rules();
    let only = talk::words().nth(1).unwrap_or_default();
    let only_text = talk::words().nth(2).unwrap_or_default();
    let mut worst: f64 = 0.0;
    for way in WAYS.into_iter().filter(|way| way.name.contains(&only)) {
        let patterns = (way.patterns)(&rules);
        if patterns.found_by.is_empty() {
            continue;
        }
        println!("{}: {} patterns", way.name, patterns.found_by.len());
        let page = repeated(BENIGN.as_bytes());
        let mut benign = Side::new(|index| (way.wrap)(index, &page));
        for (name, text) in texts(&patterns).into_iter().filter(|(name, _)| name.contains(&only_text)) {
            worst = worst.max(measure(&rules, name, &mut benign, |index| (way.wrap)(index, &text)));
        }
        benign.print("", "benign text");
    }
    if "shapes".contains(&only) {
        println!("shapes, beside the benign answer of a web server");
        let page = repeated(BENIGN.as_bytes());
        let mut benign = Side::new(|index| answer(index, &page, ""));
        for (name, shape) in shapes().into_iter().filter(|(name, _)| name.contains(&only_text)) {
            worst = worst.max(measure(&rules, name, &mut benign, shape));
        }
        benign.print("", "benign answer");
    }
    if "packed".contains(&only) {
        println!("packed bodies, beside the packed page of a web server: what is unpacked is looked at too");
        let packed = gzip(&page_of_words());
        let mut benign = Side::new(|index| answer(index, &packed, GZIP));
        for (name, body) in packed_bodies(&rules) {
            worst = worst.max(measure(&rules, name, &mut benign, |index| answer(index, &body, GZIP)));
        }
        benign.print("", "packed page");
    }
    println!("the worst costs {worst:.1} times what benign payload costs");
}

const GZIP: &str = "Content-Encoding: gzip\r\n";

fn packed_bodies(rules: &RuleSet) -> [(&'static str, Vec<u8>); 2] {
    let bodies: Vec<u8> = rules.buffer_patterns(Buffer::FileData).into_iter().flat_map(|(bytes, _)| bytes).collect();
    [("packed patterns", gzip(&repeated(&bodies))), ("packed zeros, a thousand to one", gzip(&vec![0; 4 << 20]))]
}

type Shape = Box<dyn Fn(u32) -> Talk>;

fn shapes() -> Vec<(&'static str, Shape)> {
    let page = repeated(BENIGN.as_bytes());
    let fields: Vec<u8> = (0..1500).flat_map(|index| format!("X{index}: {index}\r\n").into_bytes()).collect();
    let random: Vec<u8> = (0..TEXT_BYTES as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let bytes = page[..4096].to_vec();
    let request = b"GET / HTTP/1.1\r\n\r\n".repeat(TEXT_BYTES / 18);
    let whole = request.clone();
    let heavy = [b"GET / HTTP/1.1\r\nHost: a\r\n", &fields[..], b"\r\n"].concat();
    let deep: Vec<Vec<u8>> = (0..200).map(|_| query_of_labels()).collect();
    let ordered = page.clone();
    vec![
        ("random bytes", Box::new(move |index| answer(index, &random, ""))),
        ("tiny requests, pipelined", Box::new(move |index| tcp(index, 80, Direction::ToServer, &request))),
        (
            "tiny requests, pipelined in one segment",
            Box::new(move |index| {
                let mut talk = Talk::tcp(index, 80);
                talk.say(Direction::ToServer, &whole, TEXT_BYTES);
                talk
            }),
        ),
        ("requests with 1,500 header fields", Box::new(move |index| tcp(index, 80, Direction::ToServer, &heavy))),
        (
            "names of 127 labels",
            Box::new(move |index| {
                let mut talk = Talk::udp(index, 53);
                deep.iter().for_each(|query| talk.datagram(Direction::ToServer, query));
                talk
            }),
        ),
        (
            "segments of one byte",
            Box::new(move |index| {
                let mut talk = Talk::tcp(index, 80);
                talk.say(Direction::ToServer, &bytes, 1);
                talk
            }),
        ),
        (
            "segments from the last to the first",
            Box::new(move |index| {
                let mut talk = Talk::tcp(index, 80);
                for (place, piece) in ordered.chunks(512).enumerate().rev() {
                    talk.segment(Direction::ToServer, (place * 512) as u32, piece);
                }
                talk
            }),
        ),
        (
            "every second segment of 16 bytes",
            Box::new(move |index| {
                let mut talk = Talk::tcp(index, 80);
                (0..2000u32).for_each(|place| talk.segment(Direction::ToServer, 32 * place + 16, &[7; 16]));
                talk
            }),
        ),
    ]
}

/// A text that packs about as well as pages do.
fn page_of_words() -> Vec<u8> {
    let words: Vec<&str> = BENIGN.split(' ').collect();
    let word = |index: u64| words[(index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % words.len()];
    (0..40_000).map(word).collect::<Vec<_>>().join(" ").into_bytes()
}

fn query_of_labels() -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    (0..126).for_each(|_| message.extend_from_slice(b"\x01a"));
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

/// Flows of a kind, and what they have cost so far.
struct Side {
    flows: Vec<Talk>,
    /// Of each flow, so many frames are shown.
    frames_max: usize,
    inspector: Inspector,
    shown: Shown,
    ns: f64,
    work: u64,
}

impl Side {
    fn new(flow: impl Fn(u32) -> Talk) -> Self {
        Self::of((0..16).map(flow).collect(), usize::MAX)
    }

    fn of(flows: Vec<Talk>, frames_max: usize) -> Self {
        let inspector = Inspector::new(Settings::default());
        Self { flows, frames_max, inspector, shown: Shown::default(), ns: 0.0, work: 0 }
    }

    /// Nanoseconds per byte.
    fn cost(&self) -> f64 {
        self.ns / self.shown.bytes as f64
    }

    fn round(&mut self, rules: &RuleSet, shown: &mut Shown) {
        for (slot, flow) in (0u32..).zip(&self.flows) {
            flow.show(self.frames_max, &mut self.inspector, rules, slot, 0, shown);
            self.inspector.flow_ended(inspect::inspector::FlowSlot(slot));
        }
    }

    /// Shows the flows again and again for a while, once before that counts.
    fn turn(&mut self, rules: &RuleSet) {
        self.round(rules, &mut Shown::default());
        let (start, work) = (processor_ns(), self.inspector.work_done());
        let mut shown = self.shown;
        while processor_ns() - start < TURN_NS {
            self.round(rules, &mut shown);
        }
        self.shown = shown;
        self.ns += processor_ns() - start;
        self.work += self.inspector.work_done() - work;
    }

    fn print(&self, ratio: &str, name: &str) {
        let (bytes, flows) = (self.shown.bytes as f64, self.shown.flows as f64);
        println!(
            "{:9.2} ns/byte {ratio:17} {:7.2} work/byte {:8.0} bytes/flow {:5.1} % refused  {name}",
            self.cost(),
            self.work as f64 / bytes,
            bytes / flows,
            self.shown.refused as f64 * 100.0 / flows,
        );
    }
}

/// Shows hostile and benign flows by turns; how many times as much a byte of the hostile ones costs as one of benign flows
/// of as many frames.
fn measure(rules: &RuleSet, name: &str, benign: &mut Side, flow: impl Fn(u32) -> Talk) -> f64 {
    let mut hostile = Side::new(flow);
    let mut first = Shown::default();
    hostile.round(rules, &mut first);
    let frames_max = first.frames.div_ceil(first.flows) as usize;
    let mut short = Side::of(std::mem::take(&mut benign.flows), frames_max);
    let before = (benign.ns, benign.shown.bytes);
    let least = talk::words().nth(3).and_then(|seconds| seconds.parse().ok());
    while hostile.ns < least.map_or(LEAST_NS, |seconds: f64| seconds * 1e9) {
        hostile.turn(rules);
        short.turn(rules);
        std::mem::swap(&mut benign.flows, &mut short.flows);
        benign.turn(rules);
        std::mem::swap(&mut benign.flows, &mut short.flows);
    }
    benign.flows = short.flows;
    let whole = (benign.ns - before.0) / (benign.shown.bytes - before.1) as f64;
    let (ratio, to_whole) = (hostile.cost() / (short.ns / short.shown.bytes as f64), hostile.cost() / whole);
    hostile.print(&format!("{ratio:6.1} x {to_whole:6.1} x"), name);
    ratio
}
