//! Flows that benches show to an inspector: frames are built first, so that only the inspector's time is measured.

use std::net::SocketAddr;

use inspect::alert::Alert;
use inspect::inspector::{Direction, FlowSlot, FlowView, Inspector};
use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::verdict::Verdict;
use inspect::wire::{Checksums, Packet, emit};

/// Bytes of a full segment.
pub const MSS: usize = 1448;

/// One flow: its frames, who sends each, and whether the flow is established by then.
#[derive(Default)]
pub struct Talk {
    frames: Vec<(Direction, bool, Vec<u8>)>,
    sent: [u32; 2],
    client: Option<SocketAddr>,
    port: u16,
}

/// What showing flows has come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Bytes of the frames that were shown.
    pub bytes: u64,
    /// Frames that were shown, and flows that were refused.
    pub frames: u64,
    pub refused: u64,
    pub flows: u64,
}

impl Talk {
    /// A TCP connection of client number `index` with a server's port, with its handshake.
    pub fn tcp(index: u32, port: u16) -> Self {
        let mut talk = Self { client: Some(client(index)), port, ..Self::default() };
        let (from, to) = talk.ends(Direction::ToServer);
        talk.frames.push((Direction::ToServer, false, emit::tcp(from, to).syn().seq(999).build()));
        talk.frames.push((Direction::ToClient, false, emit::tcp(to, from).syn_ack().seq(999).ack(1000).build()));
        talk.frames.push((Direction::ToServer, true, emit::tcp(from, to).seq(1000).ack(1000).build()));
        talk
    }

    /// A UDP flow.
    pub fn udp(index: u32, port: u16) -> Self {
        Self { client: Some(client(index)), port, ..Self::default() }
    }

    fn ends(&self, by: Direction) -> (SocketAddr, SocketAddr) {
        let client = self.client.unwrap_or_else(|| client(0));
        let server = SocketAddr::from(([198, 51, 100, 7], self.port));
        if by == Direction::ToServer { (client, server) } else { (server, client) }
    }

    /// One side speaks in segments of a size; the other acknowledges every second one and the last.
    pub fn say(&mut self, by: Direction, bytes: &[u8], size: usize) {
        let count = bytes.len().div_ceil(size);
        for (index, piece) in bytes.chunks(size).enumerate() {
            self.segment(by, self.sent(by), piece);
            *self.sent_mut(by) += piece.len() as u32;
            if index % 2 == 1 || index + 1 == count {
                self.acknowledge(by.reversed());
            }
        }
    }

    /// A bare acknowledgement of all that the other side has sent.
    pub fn acknowledge(&mut self, by: Direction) {
        self.segment(by, self.sent(by), &[]);
    }

    /// A segment at a place of the sender's stream, which does not count as sent.
    pub fn segment(&mut self, by: Direction, at: u32, bytes: &[u8]) {
        let (from, to) = self.ends(by);
        let frame = emit::tcp(from, to).seq(1000 + at).ack(1000 + self.sent(by.reversed())).payload(bytes).build();
        self.frames.push((by, true, frame));
    }

    /// A datagram.
    pub fn datagram(&mut self, by: Direction, bytes: &[u8]) {
        let (from, to) = self.ends(by);
        self.frames.push((by, self.frames.len() > 1, emit::udp(from, to).payload(bytes).build()));
    }

    fn sent(&self, by: Direction) -> u32 {
        self.sent[usize::from(by == Direction::ToClient)]
    }

    fn sent_mut(&mut self, by: Direction) -> &mut u32 {
        &mut self.sent[usize::from(by == Direction::ToClient)]
    }

    /// Shows the flow's first frames to an inspector, until it is refused. It stays open.
    pub fn show(
        &self,
        count: usize,
        inspector: &mut Inspector,
        rules: &RuleSet,
        slot: u32,
        now_ms: u64,
        shown: &mut Shown,
    ) {
        let mut alerts: Vec<Alert> = Vec::new();
        shown.flows += 1;
        for (index, (direction, established, frame)) in self.frames.iter().take(count).enumerate() {
            alerts.clear();
            shown.bytes += frame.len() as u64;
            shown.frames += 1;
            let packet = Packet::parse(frame, Checksums::Unchecked).expect("frames are sound");
            let view = FlowView {
                slot: Some(FlowSlot(slot)),
                direction: *direction,
                established: *established,
                is_first: index == 0,
            };
            if inspector.inspect(rules, &packet, &view, now_ms, &mut alerts) != Verdict::Forward {
                shown.refused += 1;
                break;
            }
        }
    }
}

fn client(index: u32) -> SocketAddr {
    let [_, a, b, c] = index.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 40_000))
}

/// Processor time of this thread, in steps of some milliseconds: what others do meanwhile does not count.
pub fn processor_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}

/// The words of the command line that are no options: a file of rules, and what else a bench asks for.
pub fn words() -> impl Iterator<Item = String> {
    std::env::args().skip(1).filter(|argument| !argument.starts_with('-'))
}

/// The rules of the file that the command line names; rules of our own making if it names none.
pub fn rules() -> RuleSet {
    let named = words().next();
    let text = match &named {
        // Rules are ASCII; what is not stands in comments and messages.
        Some(path) => String::from_utf8_lossy(&std::fs::read(path).expect("the rule file can be read")).into_owned(),
        None => made_up(),
    };
    let file = RuleFile { name: named.unwrap_or_else(|| "made up".into()), text };
    let loaded = RuleSet::compile(&[file], &Vars::conventional());
    println!("{} rules loaded, {} refused", loaded.rules.len(), loaded.refused.len());
    loaded.rules
}

/// Some thousand rules over all the buffers that the bench attacks, the same in every run.
fn made_up() -> String {
    let mut state = 7u64;
    let mut word = |length: usize| -> String {
        let letters = (0..length).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + ((state >> 33) % 26) as u8)
        });
        letters.collect()
    };
    let places = [
        ("tcp", "flow:to_server,established;", ""),
        ("tcp", "flow:to_client,established;", ""),
        ("udp", "", ""),
        ("http", "flow:to_server,established;", "http.uri;"),
        ("http", "flow:to_server,established;", "http.header;"),
        ("http", "flow:to_server,established;", "http.request_body;"),
        ("http", "flow:to_client,established;", "file.data;"),
        ("dns", "", "dns.query;"),
        ("tls", "flow:to_server,established;", "tls.sni;"),
    ];
    let mut text = String::new();
    for sid in 1..6000usize {
        let (protocol, flow, buffer) = places[sid % places.len()];
        let (first, second) = (word(4 + sid % 9), word(6));
        let options = match sid % 7 {
            0 => format!("content:\"{first}\"; pcre:\"/{first}[a-z]{{1,20}}{second}/\";"),
            1 => format!("content:\"{first}\"; nocase; content:\"{second}\"; distance:0; within:60;"),
            2 => format!("content:\"{first}\"; content:\"a\"; distance:1; content:\"{second}\"; distance:1;"),
            _ => format!("content:\"{first}\"; content:\"{second}\"; nocase;"),
        };
        text +=
            &format!("alert {protocol} any any -> any any (msg:\"made up\"; {flow} {buffer} {options} sid:{sid};)\n");
    }
    text
}
