//! The ways in which a frame's bytes can be wrong: the single list from which the enum, its metric words and its
//! sentences are made.

macro_rules! causes {
    ($($variant:ident $word:literal $sentence:literal)*) => {
        /// Why a frame's bytes were refused. One variant per cause; the caller gives each a counter of its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Malformed {
            $(#[doc = $sentence] $variant,)*
        }

        impl Malformed {
            /// Every cause, in declaration order, so that `ALL[cause as usize] == cause`.
            pub const ALL: &'static [Malformed] = &[$(Malformed::$variant,)*];

            /// The cause as one snake_case word, for metrics and EVE. Never changes once released.
            pub fn name(self) -> &'static str {
                match self { $(Malformed::$variant => $word,)* }
            }

            /// The cause as one sentence, for operators.
            pub fn sentence(self) -> &'static str {
                match self { $(Malformed::$variant => $sentence,)* }
            }
        }
    };
}

causes! {
    Truncated "truncated" "The frame ends before a header that it announces."
    Oversize "oversize" "The frame is longer than any datagram's length field can describe."
    DestinationMacZero "destination_mac_zero" "The destination MAC address is all zeros."
    DestinationMacReserved "destination_mac_reserved"
        "The destination MAC address is one of 01:80:c2:00:00:0x (PAUSE, STP, LACP, LLDP), which a switch must not forward."
    SourceMacMulticast "source_mac_multicast" "The source MAC address is a multicast or broadcast address."
    SourceMacZero "source_mac_zero" "The source MAC address is all zeros."
    VlanTag "vlan_tag" "The frame carries a VLAN tag (802.1Q, 802.1ad or a pre-standard one); ports send untagged."
    LlcLength "llc_length" "The type field is an 802.3 length: LLC and SNAP encapsulations are refused."
    UnknownEthertype "unknown_ethertype" "The ethertype is none of ARP, IPv4 and IPv6."
    ArpFormat "arp_format" "The ARP packet is not for IPv4 over Ethernet."
    ArpOperation "arp_operation" "The ARP operation is neither request nor reply."
    ArpSenderMac "arp_sender_mac" "The ARP sender's hardware address is zero, multicast or broadcast."
    ArpSenderAddress "arp_sender_address" "The ARP sender's IPv4 address is multicast, broadcast or loopback."
    IpVersion "ip_version" "The IP version field contradicts the ethertype."
    Ipv4HeaderLength "ipv4_header_length" "The IPv4 header length is under 20 bytes or beyond the datagram."
    Ipv4TotalLength "ipv4_total_length" "The IPv4 total length is shorter than the header or longer than the frame."
    Ipv4HeaderChecksum "ipv4_header_checksum" "The IPv4 header checksum is wrong."
    Ipv4ReservedFlag "ipv4_reserved_flag" "The reserved bit beside DF and MF is set."
    Ipv4OptionLength "ipv4_option_length" "An IPv4 option's length is under 2 bytes or beyond the header."
    Ipv4SourceRoute "ipv4_source_route" "The IPv4 header carries a loose or strict source route."
    SourceAddress "source_address" "The source address is multicast, broadcast or loopback."
    DestinationAddress "destination_address" "The destination address is unspecified or loopback."
    MappedAddress "mapped_address" "An IPv6 header carries an IPv4-mapped address (RFC 4291 section 2.5.5.2)."
    SourceIsDestination "source_is_destination" "Source and destination address are the same (the LAND attack)."
    TtlZero "ttl_zero" "The TTL or hop limit is zero."
    ProtocolReserved "protocol_reserved" "The IP protocol number is 255, or 0 in IPv4."
    ProtocolOfOtherFamily "protocol_of_other_family" "A protocol of IPv6 inside IPv4, or ICMP for IPv4 inside IPv6."
    Ipv6PayloadLength "ipv6_payload_length" "The IPv6 payload length is zero (jumbogram) or longer than the frame."
    ExtensionHeaderCount "extension_header_count" "More IPv6 extension headers than the parser walks."
    ExtensionHeaderOrder "extension_header_order" "An IPv6 extension header is repeated (RFC 8200 section 4.1)."
    ExtensionHeaderUnknown "extension_header_unknown" "An authentication header (of either family), or an IPv6 extension header that is not walked."
    HopByHopNotFirst "hop_by_hop_not_first" "A hop-by-hop options header stands elsewhere than first."
    Ipv6OptionInvalid "ipv6_option_invalid"
        "An IPv6 option overruns its header, is one too many, or is one that receivers must answer by discarding."
    RoutingTypeZero "routing_type_zero" "A type 0 routing header (RFC 5095)."
    RoutingSegmentsLeft "routing_segments_left" "A routing header that sends the packet on to other addresses."
    FragmentLength "fragment_length" "A fragment is empty, or not the last and not a multiple of 8 bytes long."
    FragmentBeyondDatagram "fragment_beyond_datagram" "A fragment ends beyond 65,535 bytes (ping of death)."
    FirstFragmentIncomplete "first_fragment_incomplete"
        "A first fragment does not hold the whole header chain (RFC 7112, RFC 1858)."
    SourcePortZero "source_port_zero" "The transport source port is zero."
    DestinationPortZero "destination_port_zero" "The transport destination port is zero."
    TcpDataOffset "tcp_data_offset" "The TCP data offset is under 20 bytes or beyond the segment."
    TcpFlags "tcp_flags" "A combination of TCP flags that no stack sends."
    TcpOptionLength "tcp_option_length" "A TCP option's length is under 2 bytes, wrong for its kind, or beyond the header."
    UdpLength "udp_length" "The UDP length differs from the length of the IP payload."
    UdpChecksumMissing "udp_checksum_missing" "A UDP datagram over IPv6 without a checksum (RFC 8200 section 8.1)."
    TransportChecksum "transport_checksum" "The TCP, UDP or ICMP checksum is wrong."
    NdHopLimit "nd_hop_limit" "A neighbour discovery message whose hop limit is not 255: it came from another link."
    NdCode "nd_code" "A neighbour discovery message whose ICMP code is not zero."
    NdTarget "nd_target" "A neighbour discovery message about a multicast or unspecified target."
    NdOption "nd_option" "A neighbour discovery option of length zero, beyond the message, of the wrong size, or repeated."
    NdFragmented "nd_fragmented" "A neighbour discovery message with a fragment header (RFC 6980)."
}
