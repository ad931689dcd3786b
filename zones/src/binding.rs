//! What a port may call itself: port security, in OVN's sense and with OVN's string.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What a frame claims about its sender. Addresses are as in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// An ARP packet's inner sender: hardware and protocol address.
    Arp {
        /// `ar$sha`.
        hardware: [u8; 6],
        /// `ar$spa`; 0.0.0.0 in a probe (RFC 5227).
        address: Ipv4Addr,
    },
    /// An IPv4 packet.
    Ipv4 {
        /// Source address.
        source: Ipv4Addr,
        /// Destination address.
        destination: Ipv4Addr,
        /// UDP (source port, destination port) where the packet is UDP and its header was read.
        udp_ports: Option<(u16, u16)>,
    },
    /// An IPv6 packet.
    Ipv6 {
        /// Source address.
        source: Ipv6Addr,
        /// Destination address.
        destination: Ipv6Addr,
        /// UDP (source port, destination port) where the packet is UDP and its header was read.
        udp_ports: Option<(u16, u16)>,
        /// What a neighbour discovery message says inside (RFC 4861).
        neighbour: Option<Neighbour>,
    },
}

/// The claim inside a neighbour discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Router solicitation with its source link-layer address option.
    RouterSolicitation(Option<[u8; 6]>),
    /// Router advertisement.
    RouterAdvertisement,
    /// Neighbour solicitation with its source link-layer address option.
    Solicitation(Option<[u8; 6]>),
    /// Neighbour advertisement: its target and target link-layer address option.
    Advertisement(Ipv6Addr, Option<[u8; 6]>),
    /// Redirect.
    Redirect,
}

/// Which claim was not the port's to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoof {
    /// The Ethernet source address.
    Mac,
    /// The IPv4 source address.
    Ipv4,
    /// The IPv6 source address.
    Ipv6,
    /// The inner sender of an ARP packet.
    Arp,
    /// The inner addresses of a neighbour discovery message.
    Neighbour,
    /// A router advertisement or redirect from a port that is no router.
    Router,
    /// A DHCP or DHCPv6 server's message from a port that is no DHCP server.
    DhcpServer,
}

/// What one port may call itself.
#[derive(Clone, Debug, Default)]
pub struct PortSecurity {}

impl PortSecurity {
    /// Whether the port may send a frame with this source address and claim.
    ///
    /// # Errors
    /// The claim that was not the port's to make.
    pub fn check(&self, source_mac: [u8; 6], claim: &Claim) -> Result<(), Spoof> {
        let _ = (source_mac, claim);
        Err(Spoof::Mac)
    }
}
