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

/// The number of a set that is asked for; most sets are everything, and need not be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked(Option<u32>);

impl Ends {
    pub(crate) fn of(rules: &RuleSet, signature: &Signature) -> Self {
        let addresses = |set: u32| Asked((!rules.address_set(set).is_any()).then_some(set));
        let ports = |set: u32| Asked((!rules.port_set(set).is_any()).then_some(set));
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
        let ends = (facts.source, facts.source_port, facts.destination, facts.destination_port);
        let swapped = (facts.destination, facts.destination_port, facts.source, facts.source_port);
        self.are_between(rules, ends) || (self.bidirectional && self.are_between(rules, swapped))
    }

    #[inline]
    fn are_between(&self, rules: &RuleSet, ends: (u128, u16, u128, u16)) -> bool {
        let (source, source_port, destination, destination_port) = ends;
        let has_port = |Asked(set): Asked, port| set.is_none_or(|set| rules.port_set(set).contains(port));
        let has_address = |Asked(set): Asked, address| set.is_none_or(|set| rules.address_set(set).contains(address));
        has_port(self.destination_ports, destination_port)
            && has_port(self.source_ports, source_port)
            && has_address(self.destinations, destination)
            && has_address(self.sources, source)
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
