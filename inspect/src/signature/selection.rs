//! Which signatures are looked at when: by packet group and by buffer, through prefilters where a pattern allows it.

use super::blocks::Blocks;
use super::definition::{AppMatch, Signature, Transports};
use super::group::{GroupId, GroupKey};
use super::need::Need;
use super::prefilter::{Builder, Prefilter};
use super::ranges::PortSet;
use super::reach::with_reaches;
use super::ruleset::RuleSet;
use super::searched::{Searched, score, searched};
use super::transform::Transform;
use super::witness::Witness;
use crate::inspector::Direction;
use crate::protocol::{Buffer, Delivery};

/// The signatures of a set, by what makes it worth to look at them.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// By [`GroupId`].
    packets: Vec<PacketGroup>,
    /// By `Buffer as usize`.
    buffers: Vec<BufferGroup>,
    /// Of which buffers any signature asks anything, so that their bytes must be kept.
    used: Used,
    /// Those that ask for numbers, events or absent buffers of a transaction, and for no buffer.
    pub(crate) without_buffer: Box<[u32]>,
    /// Whether any asks for numbers, events or absent buffers.
    pub(crate) asks_values: bool,
    /// Whether any looks into the bytes of TCP streams.
    pub(crate) reads_streams: bool,
    /// What [`Buffer::HttpResponseBody`] and [`Buffer::FileData`] are searched for, together.
    pub(crate) response_files: Prefilter,
    /// The same and what payload of TCP to clients is searched for, for segments that are all body, as most are. The
    /// numbers of signatures that look into bodies are marked with [`Selection::OF_BODY`].
    pub(crate) response_streams: Prefilter,
}

/// A mark per buffer.
#[derive(Debug)]
struct Used([bool; Buffer::COUNT]);

impl Default for Used {
    fn default() -> Self {
        Self([false; Buffer::COUNT])
    }
}

/// Signatures for packets of one transport in one direction.
#[derive(Debug)]
pub(crate) struct PacketGroup {
    /// By patterns in the payload, or in the stream.
    pub(crate) payload: Prefilter,
    /// By short patterns that may stand anywhere.
    pub(crate) shorts: Shorts,
    /// Without a pattern that is worth to be searched for: to be looked at for each packet, unless the flow's addresses
    /// and ports rule them out.
    pub(crate) direct: Box<[u32]>,
    pub(crate) direct_gates: Blocks,
    /// With nothing but addresses to ask for: for the first packet of each direction of a flow.
    pub(crate) addresses_only: Box<[u32]>,
    /// Ports of packets that some signature accepts.
    matched: PortPair,
    /// Ports of flows that must be followed, in both directions.
    followed: PortPair,
}

/// Signatures with nothing but short patterns that may stand anywhere. A second pass over the payload costs more than
/// looking at the few of these that a packet's headers usually leave; it costs less than looking at all.
#[derive(Debug)]
pub(crate) struct Shorts {
    pub(crate) prefilter: Prefilter,
    /// Those with the same gate together.
    pub(crate) by_gate: Box<[Vec<u32>]>,
    /// The first of each.
    pub(crate) gates: Blocks,
}

impl Shorts {
    fn of(rules: &RuleSet, prefilter: Prefilter, signatures: &[u32]) -> Self {
        let mut by_gate: Vec<Vec<u32>> = Vec::new();
        for &signature in signatures {
            let gate = rules.gates.number(signature);
            match by_gate.iter_mut().find(|known| rules.gates.number(known[0]) == gate) {
                Some(known) => known.push(signature),
                None => by_gate.push(vec![signature]),
            }
        }
        let gates = Blocks::of(&rules.gates, by_gate.iter().map(|those| those[0]));
        Self { prefilter, by_gate: by_gate.into(), gates }
    }
}

/// Ports of packets: what sources, and what destinations, may have.
#[derive(Debug)]
struct PortPair {
    sources: PortSet,
    destinations: PortSet,
}

impl PortPair {
    fn of<'s>(rules: &RuleSet, signatures: impl Iterator<Item = &'s Signature>) -> Self {
        let (mut sources, mut destinations) = (Vec::new(), Vec::new());
        for signature in signatures {
            let (from, to) = (signature.source_ports, signature.destination_ports);
            sources.extend_from_slice(rules.port_set(from).ranges());
            destinations.extend_from_slice(rules.port_set(to).ranges());
            if signature.bidirectional {
                sources.extend_from_slice(rules.port_set(to).ranges());
                destinations.extend_from_slice(rules.port_set(from).ranges());
            }
        }
        Self { sources: PortSet::union(sources), destinations: PortSet::union(destinations) }
    }

    #[inline]
    fn contains(&self, source: u16, destination: u16) -> bool {
        self.sources.contains(source) && self.destinations.contains(destination)
    }
}

/// Signatures that look into one buffer.
#[derive(Debug, Default)]
pub(crate) struct BufferGroup {
    pub(crate) prefilter: Prefilter,
    /// A dot is to be put before the text that is scanned, because some patterns begin with one for `dotprefix`.
    pub(crate) dotted: bool,
    /// Those without a pattern, each with what it needs.
    pub(crate) always: Box<[(u32, Need)]>,
}

/// What a signature is selected by.
enum Trigger {
    Payload(Searched),
    Short(Searched),
    AnyPayload,
    AnyPacket,
    Buffer(Buffer, Searched, bool),
    AnyBuffer(Buffer),
    Transaction,
}

/// What [`Selection::response_files`] and [`Selection::response_streams`] are built from.
fn response_builders(rules: &RuleSet, triggers: &[Trigger]) -> (Builder, Builder) {
    let (mut files, mut streams) = (Builder::default(), Builder::default());
    let to_client = GroupKey { transport: Transports::TCP, direction: Direction::ToClient };
    for (index, (signature, trigger)) in (0u32..).zip(rules.signatures.iter().zip(triggers)) {
        let gate = rules.gates.number(index);
        match trigger {
            Trigger::Buffer(Buffer::HttpResponseBody | Buffer::FileData, pattern, _) => {
                files.add(&pattern.bytes, pattern.reach, index, gate);
                streams.add(&pattern.bytes, pattern.reach, index | Selection::OF_BODY, gate);
            }
            Trigger::Payload(pattern) if to_client.meets(signature) => {
                streams.add(&pattern.bytes, pattern.reach, index, gate);
            }
            _ => {}
        }
    }
    (files, streams)
}

impl Selection {
    /// Marks a signature's number in [`Selection::response_streams`]. No set has so many signatures.
    pub(crate) const OF_BODY: u32 = 1 << 31;

    /// What selects the signatures of a set, sharing with the selection of an earlier set the tables that are the same.
    pub(crate) fn of(rules: &RuleSet, before: &Selection) -> Self {
        let triggers: Vec<Trigger> = rules.signatures.iter().map(trigger).collect();
        let packet_group = |key: GroupKey| PacketGroup::of(rules, &triggers, key, before.packet_group(key.id()));
        let packets: Vec<PacketGroup> = GroupKey::all().map(packet_group).collect();
        let mut builders: Vec<Builder> = Vec::new();
        builders.resize_with(Buffer::COUNT, Builder::default);
        let mut always: Vec<Vec<(u32, Need)>> = vec![Vec::new(); Buffer::COUNT];
        let mut buffers: Vec<BufferGroup> = Vec::new();
        buffers.resize_with(Buffer::COUNT, BufferGroup::default);
        let mut without_buffer = Vec::new();
        for (index, trigger) in (0u32..).zip(&triggers) {
            match trigger {
                Trigger::Buffer(buffer, pattern, dotted) => {
                    // There may be a dot before the text, for this signature or for another.
                    let reach = pattern.reach.map(|reach| reach.saturating_add(1));
                    builders[*buffer as usize].add(&pattern.bytes, reach, index, rules.gates.number(index));
                    buffers[*buffer as usize].dotted |= dotted;
                }
                Trigger::AnyBuffer(buffer) => {
                    let app = rules.signatures[index as usize].app.iter();
                    let need = Need::of(app.flat_map(|app| &app.buffers).filter(|of| of.buffer == *buffer));
                    always[*buffer as usize].push((index, need));
                }
                Trigger::Transaction => without_buffer.push(index),
                Trigger::Payload(_) | Trigger::Short(_) | Trigger::AnyPayload | Trigger::AnyPacket => {}
            }
        }
        for (place, (group, (builder, always))) in buffers.iter_mut().zip(builders.into_iter().zip(always)).enumerate()
        {
            group.prefilter = builder.build(before.buffers.get(place).map(|group| &group.prefilter));
            group.always = always.into();
        }
        let mut used = Used::default();
        for condition in
            rules.signatures.iter().filter_map(|signature| signature.app.as_ref()).flat_map(|app| &app.buffers)
        {
            used.0[condition.buffer as usize] = true;
        }
        let reads_streams =
            rules.signatures.iter().any(|signature| signature.scope.stream && !signature.payload.is_empty());
        let asks_values = rules.signatures.iter().filter_map(|signature| signature.app.as_ref()).any(|app| {
            let asks_absence = app.buffers.iter().any(|condition| !condition.is_needed());
            !app.numbers.is_empty() || !app.events.is_empty() || asks_absence
        });
        let (files, streams) = response_builders(rules, &triggers);
        Self {
            packets,
            asks_values,
            buffers,
            used,
            without_buffer: without_buffer.into(),
            reads_streams,
            response_files: files.build(Some(&before.response_files)),
            response_streams: streams.build(Some(&before.response_streams)),
        }
    }

    #[inline]
    pub(crate) fn packet_group(&self, id: GroupId) -> Option<&PacketGroup> {
        self.packets.get(usize::from(id.0))
    }

    /// Whether any signature asks anything of a buffer.
    #[inline]
    pub(crate) fn uses(&self, buffer: Buffer) -> bool {
        self.used.0[buffer as usize]
    }

    pub(crate) fn buffer_group(&self, buffer: Buffer) -> Option<&BufferGroup> {
        self.buffers.get(buffer as usize)
    }
}

impl PacketGroup {
    fn of(rules: &RuleSet, triggers: &[Trigger], key: GroupKey, before: Option<&PacketGroup>) -> Self {
        let (mut payload, mut direct, mut addresses_only) = (Builder::default(), Vec::new(), Vec::new());
        let (mut shorts, mut short_signatures) = (Builder::default(), Vec::new());
        let (mut matched, mut followed) = (Vec::new(), Vec::new());
        for (index, (signature, trigger)) in (0u32..).zip(rules.signatures.iter().zip(triggers)) {
            if signature.transports.meets(key.transport) && signature.follows(key.transport) {
                followed.push(signature);
            }
            if !key.meets(signature) {
                continue;
            }
            let gate = rules.gates.number(index);
            match trigger {
                Trigger::Payload(pattern) => payload.add(&pattern.bytes, pattern.reach, index, gate),
                Trigger::Short(pattern) => {
                    shorts.add(&pattern.bytes, None, index, gate);
                    short_signatures.push(index);
                }
                Trigger::AnyPacket if signature.is_about_addresses => addresses_only.push(index),
                Trigger::AnyPacket | Trigger::AnyPayload => direct.push(index),
                Trigger::Buffer(..) | Trigger::AnyBuffer(_) | Trigger::Transaction => continue,
            }
            matched.push(signature);
        }
        Self {
            payload: payload.build(before.map(|before| &before.payload)),
            shorts: Shorts::of(rules, shorts.build(before.map(|before| &before.shorts.prefilter)), &short_signatures),
            direct_gates: Blocks::of(&rules.gates, direct.iter().copied()),
            direct: direct.into(),
            addresses_only: addresses_only.into(),
            matched: PortPair::of(rules, matched.into_iter()),
            followed: PortPair::of(rules, followed.into_iter()),
        }
    }

    /// What is searched for, with the number of signatures that each stands for.
    pub(crate) fn patterns(&self) -> impl Iterator<Item = (Vec<u8>, usize)> {
        self.payload.patterns().chain(self.shorts.prefilter.patterns())
    }

    /// Whether packets with these ports must be looked at: some signature accepts them, or the flow must be followed.
    #[inline]
    pub(crate) fn meets(&self, source: u16, destination: u16) -> bool {
        self.matched.contains(source, destination) || self.follows(source, destination)
    }

    /// Whether the flow of packets with these ports must be followed.
    #[inline]
    pub(crate) fn follows(&self, source: u16, destination: u16) -> bool {
        self.followed.contains(source, destination) || self.followed.contains(destination, source)
    }
}

/// What a signature cannot do without beside the pattern that it is selected by. Of one that no pattern selects, nothing is
/// known: it is looked at without having waited.
pub(crate) fn witness(signature: &Signature) -> Witness {
    match trigger(signature) {
        Trigger::Payload(pattern) | Trigger::Short(pattern) => Witness::of(signature, &pattern.bytes, None),
        Trigger::Buffer(buffer, pattern, _) => Witness::of(signature, &pattern.bytes, Some(buffer)),
        Trigger::AnyPayload | Trigger::AnyPacket | Trigger::AnyBuffer(_) | Trigger::Transaction => Witness::NONE,
    }
}

fn trigger(signature: &Signature) -> Trigger {
    let payload = with_reaches(&signature.payload).filter_map(|(step, reach)| searched(step, reach, &[]));
    let payload = payload.map(|pattern| (None, false, pattern));
    let buffers = signature.app.iter().flat_map(|app| &app.buffers).filter(|condition| condition.is_needed());
    let buffers = buffers.flat_map(|condition| {
        let place = (Some(condition.buffer), condition.transforms.contains(&Transform::DotPrefix));
        let steps = with_reaches(&condition.steps);
        let searched = steps.filter_map(|(step, reach)| searched(step, reach, &condition.transforms));
        searched.map(move |pattern| (place.0, place.1, pattern))
    });
    let best = payload.chain(buffers).max_by_key(|(buffer, _, pattern)| score(*buffer, pattern));
    match best {
        Some((None, _, pattern)) if pattern.is_short_and_free() => Trigger::Short(pattern),
        Some((None, _, pattern)) => Trigger::Payload(pattern),
        Some((Some(buffer), dotted, pattern)) => Trigger::Buffer(buffer, pattern, dotted),
        None => match &signature.app {
            None if signature.payload.is_empty() => Trigger::AnyPacket,
            None => Trigger::AnyPayload,
            Some(app) => without_pattern(app, signature),
        },
    }
}

/// The trigger of a signature that no pattern selects, but that asks something of transactions.
fn without_pattern(app: &AppMatch, signature: &Signature) -> Trigger {
    // Buffers of which each transaction has one wake it too often; a body wakes it once per piece.
    let needed = app.buffers.iter().filter(|condition| condition.is_needed()).map(|condition| condition.buffer);
    let rank = |buffer: &Buffer| match buffer {
        Buffer::HttpMethod | Buffer::HttpProtocol => 3,
        buffer if buffer.delivery() == Delivery::Streamed => 2,
        Buffer::HttpHeader | Buffer::HttpHeaderRaw | Buffer::HttpStart | Buffer::HttpHeaderNames => 1,
        _ => 0,
    };
    match needed.min_by_key(rank) {
        Some(buffer) => Trigger::AnyBuffer(buffer),
        None if signature.payload.is_empty() => Trigger::Transaction,
        None => Trigger::AnyPayload,
    }
}

/// Whether a signature's direction allows a side.
pub(crate) fn side_allows(app: &AppMatch, side: Direction) -> bool {
    app.side.is_none_or(|wanted| wanted == side)
}
