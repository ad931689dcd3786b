//! Whether a packet's headers and its flow are what a signature asks for.

use super::definition::{HeaderPart, Signature};
use super::facts::Facts;
use super::program::{PacketTest, StreamSide, StreamSize};
use super::ruleset::RuleSet;
use crate::inspector::Direction;
use crate::wire::{Network, TcpView, Transport};

/// What a signature may ask of the packet's flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowFacts {
    pub(crate) direction: Direction,
    pub(crate) established: bool,
    /// Bytes of TCP payload so far from the originator and from the responder, where a stream is followed.
    pub(crate) stream_sizes: Option<(u64, u64)>,
    /// What has passed of the flow, where it is counted.
    pub(crate) counts: Option<FlowCounts>,
}

/// What has passed of a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowCounts {
    /// Seconds since the first packet.
    pub(crate) age_s: u64,
    /// Packets of the originator and of the responder.
    pub(crate) packets: (u64, u64),
    /// Their bytes.
    pub(crate) bytes: (u64, u64),
}

/// The addresses and ports that a signature asks for, by the numbers of their sets: what all packets of a flow in one
/// direction have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    sources: Asked,
    destinations: Asked,
    source_ports: Asked,
    destination_ports: Asked,
    bidirectional: bool,
}

/// The number of a set that is asked for; most sets are everything, and need not be fetched. Half as large as an option, so
/// that a gate is half a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked(u32);

impl Asked {
    const EVERYTHING: Self = Self(u32::MAX);

    #[inline]
    fn is_met(self, has: impl FnOnce(u32) -> bool) -> bool {
        self == Self::EVERYTHING || has(self.0)
    }
}

impl Ends {
    pub(crate) fn of(rules: &RuleSet, signature: &Signature) -> Self {
        let addresses = |set: u32| if rules.address_set(set).is_any() { Asked::EVERYTHING } else { Asked(set) };
        let ports = |set: u32| if rules.port_set(set).is_any() { Asked::EVERYTHING } else { Asked(set) };
        Self {
            sources: addresses(signature.sources),
            destinations: addresses(signature.destinations),
            source_ports: ports(signature.source_ports),
            destination_ports: ports(signature.destination_ports),
            bidirectional: signature.bidirectional,
        }
    }

    /// Whether a packet's addresses and ports are among them.
    #[inline]
    pub(crate) fn match_those_of(&self, rules: &RuleSet, facts: &Facts<'_>) -> bool {
        self.meet(
            |set, of_source| {
                rules.port_set(set).contains(if of_source { facts.source_port } else { facts.destination_port })
            },
            |set, of_source| rules.address_set(set).contains(if of_source { facts.source } else { facts.destination }),
        )
    }

    /// The same, by those who tell whether a set has the packet's port, or address: that of its source, or the other one.
    #[inline]
    pub(crate) fn meet(
        &self,
        mut has_port: impl FnMut(u32, bool) -> bool,
        mut has_address: impl FnMut(u32, bool) -> bool,
    ) -> bool {
        let mut are_between = |as_they_are: bool| {
            self.destination_ports.is_met(|set| has_port(set, !as_they_are))
                && self.source_ports.is_met(|set| has_port(set, as_they_are))
                && self.destinations.is_met(|set| has_address(set, !as_they_are))
                && self.sources.is_met(|set| has_address(set, as_they_are))
        };
        are_between(true) || (self.bidirectional && are_between(false))
    }
}

/// Runs the tests of single header fields.
#[inline]
pub(crate) fn tests_match(signature: &Signature, facts: &Facts<'_>, flow: &FlowFacts) -> bool {
    signature.tests.iter().all(|test| test_matches(test, facts, flow))
}

fn test_matches(test: &PacketTest, facts: &Facts<'_>, flow: &FlowFacts) -> bool {
    let packet = facts.packet;
    let tcp = |holds: &dyn Fn(TcpView<'_>) -> bool| packet.tcp().is_some_and(holds);
    match test {
        PacketTest::PayloadSize(size) => size.contains(facts.payload.len() as u64),
        PacketTest::TcpFlags(flags) => tcp(&|tcp| flags.holds(tcp.flags.0)),
        PacketTest::TcpSequence(sequence) => tcp(&|tcp| tcp.seq == *sequence),
        PacketTest::TcpAcknowledgement(acknowledged) => tcp(&|tcp| tcp.ack == *acknowledged),
        PacketTest::TcpWindow(window) => tcp(&|tcp| window.contains(u64::from(tcp.window))),
        PacketTest::IcmpType(kind) => packet.icmp().is_some_and(|icmp| kind.contains(u64::from(icmp.kind))),
        PacketTest::IcmpCode(code) => packet.icmp().is_some_and(|icmp| code.contains(u64::from(icmp.code))),
        PacketTest::IcmpIdentifier(wanted) => facts.icmp_echo().is_some_and(|(identifier, _)| identifier == *wanted),
        PacketTest::IcmpSequence(wanted) => facts.icmp_echo().is_some_and(|(_, sequence)| sequence == *wanted),
        PacketTest::Ttl(ttl) => ttl.contains(u64::from(packet.ttl())),
        PacketTest::IpIdentification(wanted) => packet.ip_id() == Some(*wanted),
        PacketTest::IpProtocol(protocol) => protocol.contains(u64::from(packet.headers().protocol)),
        PacketTest::Tos(tos) => ipv4_header(facts).is_some_and(|header| tos.contains(u64::from(header[1]))),
        PacketTest::SameAddress => facts.source == facts.destination,
        PacketTest::FragmentBits(bits) => ipv4_header(facts).is_some_and(|header| bits.holds(header[6] >> 5)),
        PacketTest::FragmentOffset(offset) => {
            let eighths = facts.fragment().map_or(0, |fragment| fragment.offset / 8);
            facts.ip_version == 4 && offset.contains(u64::from(eighths))
        }
        PacketTest::IpOption(wanted) => ipv4_header(facts).is_some_and(|header| has_option(&header[20..], *wanted)),
        PacketTest::StreamSize(wanted) => flow.stream_sizes.is_some_and(|sizes| side_matches(wanted, sizes)),
        PacketTest::FlowAge(age) => flow.counts.is_some_and(|counts| age.contains(counts.age_s)),
        PacketTest::FlowPackets(wanted) => flow.counts.is_some_and(|counts| side_matches(wanted, counts.packets)),
        PacketTest::FlowBytes(wanted) => flow.counts.is_some_and(|counts| side_matches(wanted, counts.bytes)),
    }
}

/// The bytes of a part of the packet's headers, if it has that part.
pub(crate) fn header_part<'a>(part: HeaderPart, facts: &Facts<'a>) -> Option<&'a [u8]> {
    let headers = facts.packet.headers();
    let network = usize::from(headers.network_offset)..usize::from(headers.transport_offset);
    let transport = usize::from(headers.transport_offset)..usize::from(headers.payload_offset);
    let (has_it, range) = match part {
        HeaderPart::Ipv4 => (headers.network == Network::Ipv4, network),
        HeaderPart::Ipv6 => (headers.network == Network::Ipv6, network),
        HeaderPart::Tcp => (headers.transport == Transport::Tcp, transport),
        HeaderPart::Udp => (headers.transport == Transport::Udp, transport),
        HeaderPart::Icmp4 => (headers.transport == Transport::Icmp4, transport),
        HeaderPart::Icmp6 => (headers.transport == Transport::Icmp6, transport),
    };
    if has_it { facts.packet.frame().get(range) } else { None }
}

/// The IPv4 header with its options: at least twenty bytes, as [`crate::wire`] has validated.
fn ipv4_header<'a>(facts: &Facts<'a>) -> Option<&'a [u8]> {
    let headers = facts.packet.headers();
    if headers.network != Network::Ipv4 {
        return None;
    }
    let header =
        facts.packet.frame().get(usize::from(headers.network_offset)..usize::from(headers.transport_offset))?;
    (header.len() >= 20).then_some(header)
}

/// Whether the options hold one of the wanted type, or any but padding.
fn has_option(mut options: &[u8], wanted: Option<u8>) -> bool {
    while let [kind, rest @ ..] = options {
        let length = match (*kind, rest) {
            (0, _) => return wanted == Some(0),
            (1, _) => 1,
            (_, [length, ..]) => usize::from(*length).max(2),
            (_, []) => return false,
        };
        if wanted.map_or(*kind > 1, |wanted| wanted == *kind) {
            return true;
        }
        options = options.get(length..).unwrap_or(&[]);
    }
    false
}

fn side_matches(wanted: &StreamSize, (client, server): (u64, u64)) -> bool {
    let (client, server) = (wanted.size.contains(client), wanted.size.contains(server));
    match wanted.side {
        StreamSide::Client => client,
        StreamSide::Server => server,
        StreamSide::Both => client && server,
        StreamSide::Either => client || server,
    }
}
