//! One compiled signature: what it asks of a packet and its flow, and what it says about itself.

use std::sync::Arc;

use super::classification;
use super::memory_test::{MemoryEffect, MemoryTest};
use super::program::{Interval, PacketTest, Step};
use super::rate::{Rate, Track};
use super::syntax::Action;
use super::transform::Transform;
use super::witness::Witness;
use crate::inspector::Direction;
use crate::protocol::{Anomaly, Buffer, Number};

/// What a signature says about itself: the texts of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureInfo {
    /// Signature id.
    pub sid: u32,
    /// Generator id; 1 unless the rule says otherwise.
    pub gid: u32,
    /// Revision.
    pub rev: u32,
    /// What the rule's author calls it; empty when the rule has no `msg`.
    pub msg: String,
    /// Class type, when the rule has one.
    pub classtype: Option<String>,
    /// Priority, 1 being the gravest: Suricata's `severity`.
    pub priority: u8,
    /// What it asks for.
    pub action: Action,
    /// Whether the rule's source or destination is the one attacked, when it says so.
    pub target: Option<Target>,
    /// Keys and values of `metadata`, in their order.
    pub metadata: Vec<(String, String)>,
    /// Kind and value of each `reference`, in their order.
    pub references: Vec<(String, String)>,
    /// Name of the rule file, without its directory and `.rules`.
    pub group: Arc<str>,
}

impl SignatureInfo {
    /// What its class type is called for people, as in `A Network Trojan was detected`; empty without one.
    pub fn category(&self) -> &str {
        self.classtype.as_deref().map_or("", classification::title)
    }
}

/// The attacked end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The packet's source.
    Source,
    /// The packet's destination.
    Destination,
}

/// Transport protocols as a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transports(u8);

impl Transports {
    pub(crate) const TCP: Self = Self(1);
    pub(crate) const UDP: Self = Self(2);
    pub(crate) const ICMP4: Self = Self(4);
    pub(crate) const ICMP6: Self = Self(8);
    pub(crate) const OTHER: Self = Self(16);
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ANY: Self = Self(31);
    pub(crate) const ICMP: Self = Self(4 | 8);

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[inline]
    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What `flow` asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct FlowTest {
    pub(crate) direction: Option<Direction>,
    /// `established` or `not_established`.
    pub(crate) established: Option<bool>,
}

/// On what the program over the payload runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Scope {
    /// On each packet's payload by itself.
    pub(crate) packet: bool,
    /// On the reassembled stream.
    pub(crate) stream: bool,
}

/// A compiled signature. Sets are indices into the rule set's tables, so that equal ones are kept once. What takes memory
/// is behind an [`Arc`]: a copy for another rule set shares it, and the way to it is no longer than to a list of one's own.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    /// The same in each rule set that holds the same text with the same addresses and ports, and no other signature's:
    /// what is remembered of a signature beyond its rule set is kept under it.
    pub(crate) identity: u64,
    pub(crate) action: Action,
    /// Matches are counted and bits are set, but nobody is told.
    pub(crate) silent: bool,
    pub(crate) transports: Transports,
    /// 4 or 6, when the protocol word says so.
    pub(crate) ip_version: Option<u8>,
    pub(crate) sources: u32,
    pub(crate) destinations: u32,
    pub(crate) source_ports: u32,
    pub(crate) destination_ports: u32,
    pub(crate) bidirectional: bool,
    pub(crate) flow: FlowTest,
    pub(crate) tests: Arc<[PacketTest]>,
    pub(crate) payload: Arc<[Step]>,
    /// Programs over bytes of the packet's headers.
    pub(crate) header_parts: Arc<[(HeaderPart, Box<[Step]>)]>,
    pub(crate) scope: Scope,
    /// Application protocols as bits, 0 for all and none.
    pub(crate) protocols: u32,
    /// Protocols at the flow's beginning, or at last.
    pub(crate) protocol_moments: Arc<[(Moment, u32)]>,
    /// What is asked of a transaction.
    pub(crate) app: Option<Arc<AppMatch>>,
    pub(crate) asks: Arc<[MemoryTest]>,
    pub(crate) effects: Arc<[MemoryEffect]>,
    pub(crate) rate: Option<Rate>,
    /// Nothing but addresses and memory is asked, so that one look per flow and direction is enough.
    pub(crate) is_about_addresses: bool,
    /// Nothing but the protocol is asked by keyword: only the packet by which it is recognised matches.
    pub(crate) is_about_protocol: bool,
    /// Bytes that it cannot do without.
    pub(crate) witness: Witness,
}

/// A list that rule sets can share; there is one empty list for all.
pub(crate) fn shared<T>(list: Vec<T>) -> Arc<[T]> {
    if list.is_empty() { Arc::default() } else { list.into() }
}

impl Signature {
    /// Whether it looks into streams or transactions, so that flows of this transport must be followed.
    pub(crate) fn follows(&self, transport: Transports) -> bool {
        let reads_stream = transport == Transports::TCP && self.scope.stream && !self.payload.is_empty();
        let asks_flow =
            self.app.is_some() || self.protocols != 0 || !self.protocol_moments.is_empty() || self.asks_counts();
        let remembers = !self.asks.is_empty() || !self.effects.is_empty();
        let counts_by_flow = self.rate.is_some_and(|rate| rate.track == Track::Flow);
        reads_stream || asks_flow || remembers || counts_by_flow || self.is_about_addresses
    }

    /// Those that set bits come before those that ask for them, so that one packet can do both.
    pub(crate) fn memory_order(&self) -> u8 {
        match (self.effects.is_empty(), self.asks.is_empty()) {
            (false, true) => 0,
            (false, false) => 1,
            (true, false) => 2,
            (true, true) => 3,
        }
    }

    /// Whether it asks what has passed of a flow or stream.
    fn asks_counts(&self) -> bool {
        self.tests.iter().any(|test| {
            let of_flow =
                matches!(test, PacketTest::FlowAge(_) | PacketTest::FlowPackets(_) | PacketTest::FlowBytes(_));
            of_flow || matches!(test, PacketTest::StreamSize(_))
        })
    }
}

/// When a flow spoke a protocol: CONNECT, STARTTLS and upgrades change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Original,
    Final,
}

/// Bytes of a packet's headers that a rule can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HeaderPart {
    Ipv4,
    Ipv6,
    Tcp,
    Udp,
    Icmp4,
    Icmp6,
}

/// What a rule asks of one side of one transaction: all of it must hold.
#[derive(Clone, Debug)]
pub(crate) struct AppMatch {
    /// Whose bytes the transaction side is made from; `None` for either.
    pub(crate) side: Option<Direction>,
    pub(crate) buffers: Box<[BufferCondition]>,
    pub(crate) numbers: Box<[(Number, Interval)]>,
    pub(crate) events: Box<[Anomaly]>,
}

/// What is asked of one buffer.
#[derive(Clone, Debug)]
pub(crate) struct BufferCondition {
    pub(crate) buffer: Buffer,
    pub(crate) transforms: Box<[Transform]>,
    pub(crate) steps: Box<[Step]>,
    pub(crate) absence: Absence,
}

impl BufferCondition {
    /// Whether the signature cannot match without the buffer.
    pub(crate) fn is_needed(&self) -> bool {
        self.absence == Absence::Refused
    }
}

/// What a buffer that the transaction does not have means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absence {
    /// The condition fails.
    Refused,
    /// `absent`: the condition holds then, and only then.
    Demanded,
    /// `absent: or_else`: the condition holds too.
    Accepted,
}
