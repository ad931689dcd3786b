//! What a port may call itself: port security, in OVN's sense and with OVN's string.
//!
//! # Theory of operation
//!
//! A binding is a list of entries, each a MAC address and the IP addresses that go with it. A frame passes when the entry
//! of its source MAC allows what the frame claims:
//!
//! - an entry with a MAC only leaves the IP addresses free, yet ARP and neighbour discovery inside must still name that MAC;
//! - an entry that lists addresses allows those; a family of which it lists none is dropped altogether;
//! - where IPv4 addresses are listed, 0.0.0.0 may still ask for a lease (DHCP, RFC 2131 clause 4.1) and probe for those
//!   addresses (RFC 5227);
//! - where IPv6 addresses are listed, the link-local address made of the MAC (RFC 4291 appendix A) is the port's too, and
//!   the unspecified address may still speak to link-local multicast groups: duplicate address detection and MLD reports
//!   come before there is an address (RFC 4862 clause 5.4.2, RFC 3810 clause 5.2.13).
//!
//! Two roles are never a matter of addresses: routers (router advertisements, redirects) and DHCP servers. A port has
//! neither unless it is told so, whether or not it has entries: one forged advertisement takes over a whole zone's traffic.

mod parse;

pub use parse::{PortSecurityError, PortSecurityFault};

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
        /// `ar$tpa`: the address that is asked about, or in a probe, that the sender wants to have.
        target: Ipv4Addr,
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
    /// Neighbour solicitation: its target and source link-layer address option.
    Solicitation(Ipv6Addr, Option<[u8; 6]>),
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

/// Most entries of one port, and most addresses of one entry: a frame is compared with each in turn, so they are bounded
/// by what a virtual machine with a few shared addresses needs.
pub const ENTRIES_MAX: usize = 64;

/// The MAC and IP addresses that a port may use, and its roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSecurity {
    entries: Box<[Entry]>,
    /// The MACs of the entries, each once, in the order written.
    macs: Box<[[u8; 6]]>,
    /// MAC and IPv4 address of a port that has one of each, as most have: judged before anything else is looked at.
    only: Option<([u8; 6], Ipv4Addr)>,
    is_router: bool,
    is_dhcp_server: bool,
}

/// One MAC address and what goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    mac: [u8; 6],
    /// Whether any IP address is listed: then only those are allowed.
    is_listed: bool,
    ipv4: Box<[(u32, u32)]>,
    ipv6: Box<[(u128, u128)]>,
    link_local: Ipv6Addr,
}

const DHCP_SERVER_PORT: u16 = 67;
const DHCP_CLIENT_PORT: u16 = 68;
const DHCPV6_SERVER_PORT: u16 = 547;

impl PortSecurity {
    /// The same addresses for a port that may, or may not, be a router: send router advertisements and redirects.
    pub fn with_router(self, is_router: bool) -> Self {
        Self { is_router, ..self }
    }

    /// The same addresses for a port that may, or may not, answer as a DHCP or DHCPv6 server.
    pub fn with_dhcp_server(self, is_dhcp_server: bool) -> Self {
        Self { is_dhcp_server, ..self }
    }

    /// The MAC addresses that are this port's, each once, in the order written. None: any MAC may be used.
    pub fn macs(&self) -> &[[u8; 6]] {
        &self.macs
    }

    /// Single addresses (not prefixes) bound to this port, with their MAC: what the switch knows without learning.
    pub fn addresses(&self) -> impl Iterator<Item = ([u8; 6], std::net::IpAddr)> + '_ {
        self.entries.iter().flat_map(|entry| {
            let ipv4 = entry.ipv4.iter().filter(|(first, last)| first == last).map(|(a, _)| Ipv4Addr::from(*a).into());
            let ipv6 = entry.ipv6.iter().filter(|(first, last)| first == last).map(|(a, _)| Ipv6Addr::from(*a).into());
            ipv4.chain(ipv6).map(|address| (entry.mac, address))
        })
    }

    /// Whether the port may send a frame from this MAC that claims nothing further.
    pub fn check_mac(&self, source_mac: [u8; 6]) -> Result<(), Spoof> {
        if self.macs.is_empty() || self.macs.contains(&source_mac) { Ok(()) } else { Err(Spoof::Mac) }
    }

    /// Whether these are the one MAC and the one IPv4 address of the port, so that it may send any IPv4 packet with them that
    /// is no DHCP server's message: what [`PortSecurity::check`] would say of most packets, for less.
    #[inline(always)]
    pub fn is_own_ipv4(&self, source_mac: [u8; 6], source: u32) -> bool {
        self.only.is_some_and(|(mac, address)| mac == source_mac && u32::from(address) == source)
    }

    /// Whether the port may send a frame from this MAC with this claim; the first thing that it may not say, otherwise.
    #[inline]
    pub fn check(&self, source_mac: [u8; 6], claim: &Claim) -> Result<(), Spoof> {
        if let (Some((mac, address)), Claim::Ipv4 { source, udp_ports, .. }) = (self.only, claim)
            && (mac, address) == (source_mac, *source)
            && !matches!(udp_ports, Some((DHCP_SERVER_PORT, _)))
        {
            return Ok(());
        }
        self.check_in_full(source_mac, claim)
    }

    fn check_in_full(&self, source_mac: [u8; 6], claim: &Claim) -> Result<(), Spoof> {
        self.check_roles(claim)?;
        if self.entries.is_empty() {
            return check_link_addresses(source_mac, claim);
        }
        let mut answer = Err(Spoof::Mac);
        for entry in self.entries.iter().filter(|entry| entry.mac == source_mac) {
            answer = entry.check(claim);
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    fn check_roles(&self, claim: &Claim) -> Result<(), Spoof> {
        match claim {
            Claim::Arp { .. } => Ok(()),
            Claim::Ipv4 { udp_ports, .. } => match udp_ports {
                Some((DHCP_SERVER_PORT, _)) if !self.is_dhcp_server => Err(Spoof::DhcpServer),
                Some(_) | None => Ok(()),
            },
            Claim::Ipv6 { udp_ports, neighbour, .. } => match (udp_ports, neighbour) {
                (Some((DHCPV6_SERVER_PORT, _)), _) if !self.is_dhcp_server => Err(Spoof::DhcpServer),
                (_, Some(Neighbour::RouterAdvertisement | Neighbour::Redirect)) if !self.is_router => {
                    Err(Spoof::Router)
                }
                (Some(_) | None, Some(_) | None) => Ok(()),
            },
        }
    }
}

impl Entry {
    fn check(&self, claim: &Claim) -> Result<(), Spoof> {
        check_link_addresses(self.mac, claim)?;
        if !self.is_listed {
            return Ok(());
        }
        match claim {
            Claim::Arp { address, target, .. } => {
                // A probe for another's address makes that other give it up (RFC 5227 clause 2.4).
                let is_own_probe = address.is_unspecified() && self.has_ipv4(*target);
                if is_own_probe || self.has_ipv4(*address) { Ok(()) } else { Err(Spoof::Arp) }
            }
            Claim::Ipv4 { source, destination, udp_ports } => {
                let is_own = self.has_ipv4(*source);
                if is_own || self.is_asking_for_lease(*source, *destination, *udp_ports) {
                    Ok(())
                } else {
                    Err(Spoof::Ipv4)
                }
            }
            Claim::Ipv6 { source, destination, udp_ports, neighbour } => {
                if !self.has_ipv6(*source) && !self.is_before_address(*source, *destination, *udp_ports) {
                    return Err(Spoof::Ipv6);
                }
                match neighbour {
                    Some(Neighbour::Advertisement(target, _)) if !self.has_ipv6(*target) => Err(Spoof::Neighbour),
                    // Duplicate address detection for another's address keeps that other from using it (RFC 4862
                    // clause 5.4.3).
                    Some(Neighbour::Solicitation(target, _)) if source.is_unspecified() && !self.has_ipv6(*target) => {
                        Err(Spoof::Neighbour)
                    }
                    Some(_) | None => Ok(()),
                }
            }
        }
    }

    fn has_ipv4(&self, address: Ipv4Addr) -> bool {
        let address = u32::from(address);
        self.ipv4.iter().any(|(first, last)| (*first..=*last).contains(&address))
    }

    /// Whether an address is listed, or is the link-local one made of the MAC and IPv6 is listed at all.
    fn has_ipv6(&self, address: Ipv6Addr) -> bool {
        let number = u128::from(address);
        self.ipv6.iter().any(|(first, last)| (*first..=*last).contains(&number))
            || (!self.ipv6.is_empty() && address == self.link_local)
    }

    /// A DHCP client without an address: RFC 2131 clause 4.1.
    fn is_asking_for_lease(&self, source: Ipv4Addr, destination: Ipv4Addr, udp_ports: Option<(u16, u16)>) -> bool {
        source.is_unspecified()
            && destination.is_broadcast()
            && udp_ports == Some((DHCP_CLIENT_PORT, DHCP_SERVER_PORT))
            && !self.ipv4.is_empty()
    }

    /// What a host says before it has an address: duplicate address detection, router solicitation, MLD.
    fn is_before_address(&self, source: Ipv6Addr, destination: Ipv6Addr, udp_ports: Option<(u16, u16)>) -> bool {
        let is_link_local_group = destination.segments()[0] == 0xff02;
        source.is_unspecified() && is_link_local_group && udp_ports.is_none() && !self.ipv6.is_empty()
    }
}

/// The link-layer addresses inside ARP and neighbour discovery are the frame's own: who answers with another's MAC moves
/// that other's traffic, or sends it nowhere.
fn check_link_addresses(mac: [u8; 6], claim: &Claim) -> Result<(), Spoof> {
    let check_option = |option: Option<[u8; 6]>| match option {
        Some(inner) if inner != mac => Err(Spoof::Neighbour),
        Some(_) | None => Ok(()),
    };
    match claim {
        Claim::Arp { hardware, .. } if *hardware != mac => Err(Spoof::Arp),
        Claim::Arp { .. } | Claim::Ipv4 { .. } => Ok(()),
        Claim::Ipv6 { source, neighbour, .. } => {
            match neighbour {
                None | Some(Neighbour::RouterAdvertisement | Neighbour::Redirect) => Ok(()),
                // Without an address there is nobody to answer, so the option must not be there (RFC 4861 clauses 4.1, 4.3).
                Some(Neighbour::RouterSolicitation(Some(_)) | Neighbour::Solicitation(_, Some(_)))
                    if source.is_unspecified() =>
                {
                    Err(Spoof::Neighbour)
                }
                Some(
                    Neighbour::RouterSolicitation(option)
                    | Neighbour::Solicitation(_, option)
                    | Neighbour::Advertisement(_, option),
                ) => check_option(*option),
            }
        }
    }
}

/// The link-local address with the modified EUI-64 identifier of a MAC: RFC 4291 appendix A.
fn link_local_of(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}
