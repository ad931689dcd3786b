//! Why a frame left the walk. One list gives each reason its counter, its EVE word and its sentence of documentation.

use inspect::wire::Malformed;
use zones::binding::Spoof;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $word:literal,)+) => {
        /// Why a frame left the walk.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// All reasons, in the order of their discriminants.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant,)+];

            /// The word used in metrics, EVE and the command line.
            pub fn word(self) -> &'static str {
                match self {
                    $(DropReason::$variant => $word,)+
                }
            }

            /// A sentence for operators.
            pub fn explanation(self) -> &'static str {
                match self {
                    $(DropReason::$variant => concat!($($doc,)+).trim_ascii(),)+
                }
            }
        }
    };
}

drop_reasons! {
    /// The buffer held no whole Ethernet header.
    Runt = "runt",
    /// The frame was longer than any frame may be.
    Oversize = "oversize",
    /// The virtio-net header claimed an offload that was not negotiated or does not fit the frame.
    OffloadClaim = "offload_claim",
    /// The headers were refused by the parser; the EVE record names the cause.
    Malformed = "malformed",
    /// The Ethernet source address is not bound to the port.
    SpoofMac = "spoof_mac",
    /// The IPv4 source address is not bound to the port.
    SpoofIpv4 = "spoof_ipv4",
    /// The IPv6 source address is not bound to the port.
    SpoofIpv6 = "spoof_ipv6",
    /// The sender inside an ARP packet is not bound to the port.
    SpoofArp = "spoof_arp",
    /// The addresses inside a neighbour discovery message are not bound to the port.
    SpoofNeighbour = "spoof_neighbour",
    /// A router advertisement or redirect came from a port that is no router.
    SpoofRouter = "spoof_router",
    /// A DHCP server's message came from a port that is no DHCP server.
    SpoofDhcpServer = "spoof_dhcp_server",
    /// No port to send the frame to: unknown destination, or nobody else is there.
    NoEgress = "no_egress",
    /// The port sent more frames for everybody (broadcast, multicast, unknown destination) than it may.
    Storm = "storm",
    /// The destination is behind the port that the frame came from.
    Hairpin = "hairpin",
    /// The zone policy denies the flow; the EVE record names the rule.
    Policy = "policy",
    /// The ports may not talk at all, so they may not resolve each other's addresses either.
    NeighbourIsolated = "neighbour_isolated",
    /// The frame is part of a scan, sweep, flood or burst that `detect` stops; the EVE record names the kind.
    Anomaly = "anomaly",
    /// The port that the frame came from, or that it goes to, is in quarantine.
    Quarantined = "quarantined",
    /// A TCP segment that neither opens a flow nor belongs to one.
    NotOpened = "not_opened",
    /// A TCP segment that its flow's state does not allow.
    TcpState = "tcp_state",
    /// An ICMP error that belongs to no flow.
    IcmpUnrelated = "icmp_unrelated",
    /// The flow table is full.
    FlowTableFull = "flow_table_full",
    /// The port has used up its share of the flow table.
    FlowQuota = "flow_quota",
    /// A fragment that could not be put together with the rest of its datagram.
    Fragment = "fragment",
    /// A signature with action drop matched; the EVE record names it.
    Signature = "signature",
    /// An earlier frame of the flow was refused for good.
    FlowRefused = "flow_refused",
    /// The frame completes a file whose hash is on a list; the EVE record before it names the list.
    FileHash = "file_hash",
    /// A file that is too big to be hashed, or a part of one, where such are not to pass.
    FileUnjudged = "file_unjudged",
    /// Data that contradicts what was accepted before.
    Overlap = "overlap",
    /// Inspection had no memory left for the flow.
    InspectionMemory = "inspection_memory",
    /// Inspection had spent the work allowed for a frame.
    InspectionBudget = "inspection_budget",
    /// The bytes do not follow the flow's protocol.
    ProtocolError = "protocol_error",
    /// The egress port is not connected.
    PortDown = "port_down",
    /// The receiver offered no buffers.
    ReceiveBuffers = "receive_buffers",
    /// The frame does not fit what the receiver can take.
    TooBig = "too_big",
    /// The port was isolated after it broke the rules of its ring or memory.
    PortFault = "port_fault",
    /// The frame had to go on to another worker, and all parcels to that one were under way.
    WorkerOverload = "worker_overload",
    /// A stage panicked over the frame.
    Panic = "panic",
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
}

impl From<Malformed> for DropReason {
    fn from(_: Malformed) -> Self {
        DropReason::Malformed
    }
}

impl From<Spoof> for DropReason {
    fn from(spoof: Spoof) -> Self {
        match spoof {
            Spoof::Mac => DropReason::SpoofMac,
            Spoof::Ipv4 => DropReason::SpoofIpv4,
            Spoof::Ipv6 => DropReason::SpoofIpv6,
            Spoof::Arp => DropReason::SpoofArp,
            Spoof::Neighbour => DropReason::SpoofNeighbour,
            Spoof::Router => DropReason::SpoofRouter,
            Spoof::DhcpServer => DropReason::SpoofDhcpServer,
        }
    }
}
