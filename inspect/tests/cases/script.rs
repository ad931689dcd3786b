//! What is said in a case, and the frames that say it: whole, cut, out of order or repeated.
//!
//! A script is text, so that a reviewer sees what is sent and why, and so that its segments can be cut anew. A line that begins
//! with white space belongs to the one before it; `#` begins a comment.
//!
//! | line | what happens |
//! | --- | --- |
//! | `tcp 10.0.0.1:40000 10.0.0.2:80` | a client and a server shake hands; their first data bytes are number 1001 and 5001 |
//! | `tcp A B closed` | the same without the handshake |
//! | `udp A B`, `icmp A B`, `ip A B 47` | two ends that exchange datagrams |
//! | `tcp A B as name`, `on name` | names them; goes on with those that were named |
//! | `> BYTES`, `< BYTES` | the client, the server says something; see [`super::bytes`]. TCP's are acknowledged |
//! | `> at 5 ttl 1 BYTES` | with [`Options`]: sent just so in every variant; `at`, `seq` and `badsum` do not count as said |
//! | `close >`, `reset <` | that side ends the connection, the other follows |
//! | `wait 3000` | milliseconds pass |
//! | `times 9 > BYTES` | the same nine times, each with the next IP identification |
//! | `frame > BYTES` | an Ethernet frame |

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use inspect::inspector::Direction;
use inspect::wire::TcpFlags;
use inspect::wire::emit::{self, FrameBuilder};

use super::bytes;

/// What is said, in order.
#[derive(Debug, Default)]
pub struct Script {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Open(Ends),
    On(usize),
    Say(Say, u16),
    Close(Direction),
    Reset(Direction),
    Wait(u64),
    Frame(Direction, Vec<u8>),
}

#[derive(Clone, Debug)]
struct Ends {
    client: SocketAddr,
    server: SocketAddr,
    shakes_hands: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    Icmp,
    Ip(u8),
}

#[derive(Debug)]
struct Say {
    kind: Kind,
    by: Direction,
    options: Options,
    bytes: Vec<u8>,
}

/// How a packet differs from a plain one: each is a word and its value, in front of the bytes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `at 5`: bytes from there on of the sender's stream, rather than the next.
    at: Option<u32>,
    ttl: Option<u8>,
    id: Option<u16>,
    tos: Option<u8>,
    /// `nodf`: may be fragmented.
    may_fragment: bool,
    /// `ipoption 9404 0000`, in hexadecimal.
    ip_option: Vec<u8>,
    /// `flags SA`, by the letters of the rule language.
    flags: Option<TcpFlags>,
    window: Option<u16>,
    seq: Option<u32>,
    ack: Option<u32>,
    urgent: Option<u16>,
    tcp_option: Vec<u8>,
    /// `badsum`: the transport checksum is wrong.
    has_bad_sum: bool,
    /// `pad 20`: so many bytes behind the datagram.
    padding: usize,
    /// `piece 8`: a fragment of the datagram, its bytes from there on; with `more` behind it.
    piece: Option<u16>,
    has_more: bool,
    /// ICMP's type, code and the four bytes behind its checksum.
    icmp_type: Option<u8>,
    icmp_code: u8,
    icmp_rest: Vec<u8>,
    /// Any of these was given.
    is_set: bool,
}

/// A frame of the script.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Whether the client or the server sends it.
    #[allow(dead_code, reason = "inspection finds it out; the switch, which shares this file, has to know the port")]
    pub by: Direction,
    /// Milliseconds since the script began.
    pub at_ms: u64,
    /// The Ethernet frame.
    pub frame: Vec<u8>,
}

/// Where what is said over TCP is cut into segments, and datagrams into fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nowhere.
    Whole,
    /// What is said as the n-th, counted from 0, behind so many of its bytes.
    At(usize, usize),
    /// Behind every so many bytes.
    Every(usize),
    /// Datagrams are fragmented behind every so many bytes.
    Fragments(usize),
}

/// The order of the segments or fragments of what is said at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    AsSent,
    Reversed,
    /// The second before the first, the fourth before the third...
    Swapped,
}

/// One way to say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    pub cut: Cut,
    pub order: Order,
    /// Every segment is sent twice, and all of them once more at the end of what is said.
    pub repeated: bool,
    /// The initial sequence numbers of client and server.
    pub initial: [u32; 2],
}

impl Variant {
    /// As it is written.
    pub const PLAIN: Variant =
        Variant { cut: Cut::Whole, order: Order::AsSent, repeated: false, initial: [1000, 5000] };

    /// The plain one, cut.
    pub fn cut(cut: Cut) -> Self {
        Self { cut, ..Self::PLAIN }
    }
}

impl Script {
    /// Reads a script.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut statements: Vec<String> = Vec::new();
        for line in text.lines() {
            match statements.last_mut() {
                Some(last) if line.starts_with([' ', '\t']) => *last = format!("{last}\n{line}"),
                _ if line.trim().is_empty() || line.starts_with('#') => {}
                _ => statements.push(line.to_owned()),
            }
        }
        let mut reader = Reader::default();
        for statement in &statements {
            reader.statement(statement).map_err(|why| format!("{why}, in {statement:?}"))?;
        }
        Ok(Self { steps: reader.steps })
    }

    /// Lengths of what is said over TCP and can be cut, in order: index for [`Cut::At`], length.
    pub fn cuttable(&self) -> Vec<(usize, usize)> {
        let says = self.steps.iter().filter_map(|step| match step {
            Step::Say(say, _) => Some(say),
            _ => None,
        });
        let cuttable = |(_, say): &(usize, &Say)| say.kind == Kind::Tcp && !say.options.is_set;
        says.enumerate().filter(cuttable).map(|(index, say)| (index, say.bytes.len())).collect()
    }

    /// Whether sequence or acknowledgement numbers are written out, so that no others can be chosen.
    pub fn has_fixed_numbers(&self) -> bool {
        let is_fixed = |say: &Say| say.options.seq.is_some() || say.options.ack.is_some();
        self.steps.iter().any(|step| matches!(step, Step::Say(say, _) if is_fixed(say)))
    }

    /// Whether there are datagrams that can be fragmented.
    pub fn has_datagrams(&self) -> bool {
        let is_datagram = |say: &Say| matches!(say.kind, Kind::Udp | Kind::Icmp) && !say.options.is_set;
        self.steps.iter().any(|step| matches!(step, Step::Say(say, _) if is_datagram(say)))
    }

    /// The frames, said in one way.
    pub fn frames(&self, variant: &Variant) -> Vec<Shown> {
        let mut stage = Stage { variant: *variant, shown: Vec::new(), now_ms: 1_000, talks: Vec::new(), current: 0 };
        let mut say_index = 0;
        for step in &self.steps {
            match step {
                Step::Open(ends) => stage.open(ends),
                Step::On(index) => stage.current = *index,
                Step::Say(say, times) => {
                    (0..*times).for_each(|time| stage.say(say, say_index, time));
                    say_index += 1;
                }
                Step::Close(by) => stage.close(*by),
                Step::Reset(by) => {
                    let builder = stage.segment(*by, stage.talk().sent[index(*by)], &[]);
                    stage.show(*by, builder.flags(TcpFlags::RST | TcpFlags::ACK).build());
                }
                Step::Wait(ms) => stage.now_ms += ms,
                Step::Frame(by, frame) => stage.show(*by, frame.clone()),
            }
        }
        stage.shown
    }
}

#[derive(Default)]
struct Reader {
    steps: Vec<Step>,
    kinds: Vec<Kind>,
    names: HashMap<String, usize>,
    current: usize,
}

impl Reader {
    fn statement(&mut self, text: &str) -> Result<(), String> {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let step = match word {
            "tcp" | "udp" | "icmp" | "ip" => self.open(word, rest)?,
            "on" => {
                self.current = *self.names.get(rest.trim()).ok_or("nobody has this name")?;
                Step::On(self.current)
            }
            ">" | "<" => Step::Say(self.say(word, rest)?, 1),
            "times" => {
                let mut words = rest.splitn(3, ' ');
                let mut word = || words.next().ok_or("a count, a direction and bytes");
                let (times, direction, rest) = (number(word()?)?, word()?, word()?);
                Step::Say(self.say(direction, rest)?, times)
            }
            "close" => Step::Close(direction(rest.trim())?),
            "reset" => Step::Reset(direction(rest.trim())?),
            "wait" => Step::Wait(number(rest)?),
            "frame" => {
                let (word, rest) = rest.split_once(' ').ok_or("a direction and bytes")?;
                Step::Frame(direction(word)?, bytes::parse(rest)?)
            }
            _ => return Err(format!("nothing is called {word}")),
        };
        self.steps.push(step);
        Ok(())
    }

    fn say(&self, word: &str, rest: &str) -> Result<Say, String> {
        let kind = *self.kinds.get(self.current).ok_or("nobody is there to speak")?;
        let (options, rest) = options(rest)?;
        Ok(Say { kind, by: direction(word)?, options, bytes: bytes::parse(rest)? })
    }

    fn open(&mut self, word: &str, rest: &str) -> Result<Step, String> {
        let mut words = rest.split_whitespace();
        let mut end = || {
            let text = words.next().ok_or("two ends")?;
            let address = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
            text.parse::<SocketAddr>().or_else(|_| address()).map_err(|_| format!("{text} is no address"))
        };
        let (client, server) = (end()?, end()?);
        let kind = match word {
            "tcp" => Kind::Tcp,
            "udp" => Kind::Udp,
            "icmp" => Kind::Icmp,
            _ => Kind::Ip(number(words.next().ok_or("a protocol number")?)?),
        };
        let mut shakes_hands = kind == Kind::Tcp;
        self.current = self.kinds.len();
        self.kinds.push(kind);
        while let Some(word) = words.next() {
            match word {
                "closed" => shakes_hands = false,
                "as" => {
                    self.names.insert(words.next().ok_or("a name")?.to_owned(), self.current);
                }
                _ => return Err(format!("{word} says nothing here")),
            }
        }
        Ok(Step::Open(Ends { client, server, shakes_hands }))
    }
}

fn direction(word: &str) -> Result<Direction, String> {
    match word {
        ">" => Ok(Direction::ToServer),
        "<" => Ok(Direction::ToClient),
        _ => Err(format!("{word:?} is neither > nor <")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is no number in range"))
}

/// The options in front of the bytes, and the rest.
fn options(text: &str) -> Result<(Options, &str), String> {
    let mut options = Options::default();
    let mut rest = text.trim_start();
    loop {
        let (word, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let (value, behind_value) =
            behind.trim_start().split_once(char::is_whitespace).unwrap_or((behind.trim_start(), ""));
        let mut takes_value = true;
        match word {
            "at" => options.at = Some(number(value)?),
            "ttl" => options.ttl = Some(number(value)?),
            "id" => options.id = Some(number(value)?),
            "tos" => options.tos = Some(number(value)?),
            "ipoption" => options.ip_option = bytes::hex(value)?,
            "tcpoption" => options.tcp_option = bytes::hex(value)?,
            "flags" => options.flags = Some(flags(value)?),
            "window" => options.window = Some(number(value)?),
            "seq" => options.seq = Some(number(value)?),
            "ack" => options.ack = Some(number(value)?),
            "urgent" => options.urgent = Some(number(value)?),
            "pad" => options.padding = number(value)?,
            "piece" => options.piece = Some(number(value)?),
            "more" => (options.has_more, takes_value) = (true, false),
            "type" => options.icmp_type = Some(number(value)?),
            "code" => options.icmp_code = number(value)?,
            "rest" => options.icmp_rest = bytes::hex(value)?,
            "nodf" => (options.may_fragment, takes_value) = (true, false),
            "badsum" => (options.has_bad_sum, takes_value) = (true, false),
            _ => return Ok((options, rest)),
        }
        options.is_set = true;
        rest = if takes_value { behind_value } else { behind }.trim_start();
    }
}

fn flags(letters: &str) -> Result<TcpFlags, String> {
    letters.chars().try_fold(TcpFlags::default(), |flags, letter| {
        Ok(flags
            | match letter {
                'F' => TcpFlags::FIN,
                'S' => TcpFlags::SYN,
                'R' => TcpFlags::RST,
                'P' => TcpFlags::PSH,
                'A' => TcpFlags::ACK,
                'U' => TcpFlags::URG,
                'E' => TcpFlags::ECE,
                'C' => TcpFlags::CWR,
                '0' => TcpFlags::default(),
                _ => return Err(format!("{letter} is no flag")),
            })
    })
}

/// Two ends at some point of the script.
struct Talk {
    ends: Ends,
    /// Bytes that client and server have sent.
    sent: [u32; 2],
}

/// A script under way.
struct Stage {
    variant: Variant,
    shown: Vec<Shown>,
    now_ms: u64,
    talks: Vec<Talk>,
    current: usize,
}

fn index(by: Direction) -> usize {
    usize::from(by == Direction::ToClient)
}

impl Stage {
    fn talk(&self) -> &Talk {
        &self.talks[self.current]
    }

    fn show(&mut self, by: Direction, frame: Vec<u8>) {
        self.shown.push(Shown { by, at_ms: self.now_ms, frame });
        self.now_ms += 1;
    }

    fn open(&mut self, ends: &Ends) {
        self.current = self.talks.len();
        self.talks.push(Talk { ends: ends.clone(), sent: [0, 0] });
        if !ends.shakes_hands {
            return;
        }
        let (client, server) = (ends.client, ends.server);
        let [own, other] = self.variant.initial;
        self.show(Direction::ToServer, emit::tcp(client, server).syn().seq(own).build());
        let answer = emit::tcp(server, client).syn_ack().seq(other).ack(own.wrapping_add(1)).build();
        self.show(Direction::ToClient, answer);
        self.acknowledge(Direction::ToServer);
    }

    /// A segment of `by` with the bytes from `at` on.
    fn segment(&self, by: Direction, at: u32, bytes: &[u8]) -> FrameBuilder {
        let talk = self.talk();
        let (from, to) = match by {
            Direction::ToServer => (talk.ends.client, talk.ends.server),
            Direction::ToClient => (talk.ends.server, talk.ends.client),
        };
        let other = index(by.reversed());
        let seq = self.variant.initial[index(by)].wrapping_add(1).wrapping_add(at);
        let ack = self.variant.initial[other].wrapping_add(1).wrapping_add(talk.sent[other]);
        emit::tcp(from, to).seq(seq).ack(ack).payload(bytes)
    }

    fn acknowledge(&mut self, by: Direction) {
        let frame = self.segment(by, self.talk().sent[index(by)], &[]).build();
        self.show(by, frame);
    }

    fn close(&mut self, by: Direction) {
        for by in [by, by.reversed()] {
            let frame = self.segment(by, self.talk().sent[index(by)], &[]).fin().build();
            self.show(by, frame);
            let current = self.current;
            self.talks[current].sent[index(by)] += 1;
        }
        self.acknowledge(by);
    }

    fn say(&mut self, say: &Say, say_index: usize, time: u16) {
        if say.kind != Kind::Tcp {
            return self.datagram(say, time);
        }
        let sent = self.talk().sent[index(say.by)];
        if say.options.is_set {
            let at = say.options.at.unwrap_or(sent);
            let builder = self.segment(say.by, at, &say.bytes);
            self.show(say.by, finished(builder, &say.options));
            let is_next = say.options.at.is_none() && say.options.seq.is_none() && !say.options.has_bad_sum;
            if is_next {
                let current = self.current;
                self.talks[current].sent[index(say.by)] += say.bytes.len() as u32;
            }
            return;
        }
        let cuts = match self.variant.cut {
            Cut::At(which, at) if which == say_index => vec![at],
            Cut::Every(len) => (len..say.bytes.len()).step_by(len).collect(),
            Cut::Whole | Cut::At(..) | Cut::Fragments(_) => Vec::new(),
        };
        let ends = cuts.iter().copied().chain([say.bytes.len()]);
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let pieces: Vec<Vec<u8>> = starts
            .zip(ends)
            .map(|(start, end)| self.segment(say.by, sent + start as u32, &say.bytes[start..end]).build())
            .collect();
        self.pieces(say.by, pieces);
        let current = self.current;
        self.talks[current].sent[index(say.by)] += say.bytes.len() as u32;
        self.acknowledge(say.by.reversed());
    }

    fn datagram(&mut self, say: &Say, time: u16) {
        let Ends { client, server, .. } = self.talk().ends;
        let (from, to) = if say.by == Direction::ToServer { (client, server) } else { (server, client) };
        let options = &say.options;
        let builder = match say.kind {
            Kind::Ip(protocol) => emit::ip(from.ip(), to.ip(), protocol),
            Kind::Icmp => {
                let echo = if say.by == Direction::ToServer { [8, 128] } else { [0, 129] };
                let kind = options.icmp_type.unwrap_or(echo[usize::from(from.is_ipv6())]);
                let rest = <[u8; 4]>::try_from(options.icmp_rest.as_slice()).unwrap_or_default();
                emit::icmp(from.ip(), to.ip(), kind, options.icmp_code, rest)
            }
            Kind::Udp | Kind::Tcp => emit::udp(from, to),
        };
        let id = options.id.unwrap_or(0).wrapping_add(time);
        if let Some(offset) = options.piece {
            // The bytes are those of the datagram, its transport header included.
            return self.show(say.by, builder.ip_id(id.into()).fragment(offset, options.has_more, &say.bytes));
        }
        let builder = builder.payload(&say.bytes);
        match self.variant.cut {
            Cut::Fragments(len) if !say.options.is_set => {
                // The identification tells datagrams apart.
                let builder = builder.ip_id(self.now_ms as u32);
                self.pieces(say.by, builder.fragments(len));
            }
            _ => self.show(say.by, finished(builder, options)),
        }
    }

    fn pieces(&mut self, by: Direction, mut pieces: Vec<Vec<u8>>) {
        match self.variant.order {
            Order::AsSent => {}
            Order::Reversed => pieces.reverse(),
            Order::Swapped => pieces.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1)),
        }
        for piece in &pieces {
            self.show(by, piece.clone());
            if self.variant.repeated {
                self.show(by, piece.clone());
            }
        }
        if self.variant.repeated {
            pieces.into_iter().for_each(|piece| self.show(by, piece));
        }
    }
}

/// The frame, with what its options ask for.
fn finished(mut builder: FrameBuilder, options: &Options) -> Vec<u8> {
    builder = builder.ip_options(&options.ip_option).tcp_options(&options.tcp_option);
    builder = builder.padding(&vec![0xee; options.padding]);
    if let Some(ttl) = options.ttl {
        builder = builder.ttl(ttl);
    }
    if let Some(id) = options.id {
        builder = builder.ip_id(id.into());
    }
    if options.may_fragment {
        builder = builder.dont_fragment(false);
    }
    if let Some(flags) = options.flags {
        builder = builder.flags(flags);
    }
    if let Some(window) = options.window {
        builder = builder.window(window);
    }
    if let Some(seq) = options.seq {
        builder = builder.seq(seq);
    }
    if let Some(ack) = options.ack {
        builder = builder.ack(ack);
    }
    if let Some(urgent) = options.urgent {
        builder = builder.urgent(urgent);
    }
    let mut frame = builder.build();
    if let Some(tos) = options.tos {
        frame[15] = tos;
        frame[24..26].fill(0);
        let header_len = usize::from(frame[14] & 15) * 4;
        let sum = checksum(&frame[14..14 + header_len]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    if options.has_bad_sum {
        let last = frame.len() - options.padding - 1;
        frame[last] ^= 0xff;
    }
    frame
}

/// The Internet checksum (RFC 1071) of a header of even length.
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
