//! OVN's `port_security` strings: `MAC [address | prefix ...]`, one string per MAC.

use super::{ENTRIES_MAX, Entry, PortSecurity, link_local_of};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

/// What is wrong with a list of `port_security` strings, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSecurityError {
    /// Which string of the list.
    pub entry: usize,
    /// Which bytes of that string.
    pub at: Range<usize>,
    /// What is wrong there.
    pub fault: PortSecurityFault,
}

/// What can be wrong with a `port_security` string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortSecurityFault {
    /// Nothing in it.
    Empty,
    /// The first word is no MAC address.
    BadMac(String),
    /// A MAC that no host may send from: all zeros, or with the group bit.
    NotUnicastMac(String),
    /// A word that is neither an IP address nor a prefix.
    BadAddress(String),
    /// An address that no host may send from: unspecified, loopback, multicast or broadcast.
    NotUnicastAddress(String),
    /// An address where the MAC should be.
    MacMissing(String),
    /// A second MAC in one string.
    SecondMac(String),
    /// OVN's form for shared virtual MACs, which is not supported.
    Vrrp,
    /// More than [`ENTRIES_MAX`] strings, or addresses in one.
    TooMany,
}

impl fmt::Display for PortSecurityFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "nothing is listed here: expected a MAC address, then IP addresses or prefixes"),
            Self::BadMac(word) => {
                write!(f, "`{word}` is not a MAC address (as in 52:54:00:00:00:01)")
            }
            Self::NotUnicastMac(word) => {
                write!(f, "`{word}` is not a MAC address that a host can have")
            }
            Self::BadAddress(word) => write!(f, "`{word}` is neither an IP address nor a prefix (as in 10.0.1.0/24)"),
            Self::NotUnicastAddress(word) => {
                write!(f, "`{word}` is not an IP address that a host can have")
            }
            Self::MacMissing(word) => write!(f, "the MAC address comes first, before `{word}`"),
            Self::SecondMac(word) => write!(f, "`{word}` is a second MAC address: give each MAC a string of its own"),
            Self::Vrrp => write!(f, "the `VRRPv3` form is not supported: list the virtual MAC as a string of its own"),
            Self::TooMany => write!(f, "more than {ENTRIES_MAX} entries"),
        }
    }
}

impl fmt::Display for PortSecurityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port_security string {}, column {}: {}", self.entry + 1, self.at.start + 1, self.fault)
    }
}

impl std::error::Error for PortSecurityError {}

impl PortSecurity {
    /// Reads OVN's strings. No string at all leaves all addresses free.
    ///
    /// A prefix with host bits (`10.0.0.4/24`) stands for that one address, one without (`10.0.0.0/24`) for all of its
    /// addresses, as in OVN.
    pub fn parse<S: AsRef<str>>(strings: &[S]) -> Result<Self, PortSecurityError> {
        if strings.len() > ENTRIES_MAX {
            return Err(PortSecurityError { entry: ENTRIES_MAX, at: 0..0, fault: PortSecurityFault::TooMany });
        }
        let mut entries = Vec::with_capacity(strings.len());
        for (index, text) in strings.iter().enumerate() {
            let entry =
                parse_entry(text.as_ref()).map_err(|(at, fault)| PortSecurityError { entry: index, at, fault })?;
            entries.push(entry);
        }
        let mut macs: Vec<[u8; 6]> = Vec::with_capacity(entries.len());
        for entry in &entries {
            if !macs.contains(&entry.mac) {
                macs.push(entry.mac);
            }
        }
        Ok(Self { only: only_address(&entries), entries: entries.into(), macs: macs.into(), ..Self::default() })
    }
}

/// MAC and IPv4 address, where there is exactly one of each.
fn only_address(entries: &[Entry]) -> Option<([u8; 6], Ipv4Addr)> {
    match entries {
        [entry] => match *entry.ipv4 {
            [(first, last)] if first == last => Some((entry.mac, Ipv4Addr::from(first))),
            _ => None,
        },
        _ => None,
    }
}

fn parse_entry(text: &str) -> Result<Entry, (Range<usize>, PortSecurityFault)> {
    let mut words = words(text);
    let Some((at, first)) = words.next() else {
        return Err((0..text.len(), PortSecurityFault::Empty));
    };
    let mac = parse_mac(first).map_err(|fault| (at, fault))?;
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for (at, word) in words {
        if ipv4.len() + ipv6.len() == ENTRIES_MAX {
            return Err((at, PortSecurityFault::TooMany));
        }
        match parse_addresses(word).map_err(|fault| (at, fault))? {
            IpNet::V4(net) => ipv4.push((u32::from(net.network()), u32::from(net.broadcast()))),
            IpNet::V6(net) => ipv6.push((u128::from(net.network()), u128::from(net.broadcast()))),
        }
    }
    let is_listed = !(ipv4.is_empty() && ipv6.is_empty());
    Ok(Entry { mac, is_listed, ipv4: ipv4.into(), ipv6: ipv6.into(), link_local: link_local_of(mac) })
}

/// The words of a string, each with the bytes that it takes.
fn words(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    text.split_whitespace().map(move |word| {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        (start..start + word.len(), word)
    })
}

fn parse_mac(word: &str) -> Result<[u8; 6], PortSecurityFault> {
    if word.eq_ignore_ascii_case("VRRPv3") {
        return Err(PortSecurityFault::Vrrp);
    }
    if word.parse::<IpAddr>().is_ok() || word.parse::<IpNet>().is_ok() {
        return Err(PortSecurityFault::MacMissing(word.to_string()));
    }
    let mac = read_mac(word).ok_or_else(|| PortSecurityFault::BadMac(word.to_string()))?;
    // The group bit is the lowest of the first octet (IEEE 802, clause 8.2).
    if mac == [0; 6] || mac[0] & 1 != 0 { Err(PortSecurityFault::NotUnicastMac(word.to_string())) } else { Ok(mac) }
}

fn read_mac(word: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut octets = word.split(':');
    for octet in &mut mac {
        let digits = octets.next().filter(|digits| digits.len() == 2)?;
        *octet = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
    }
    octets.next().is_none().then_some(mac)
}

fn parse_addresses(word: &str) -> Result<IpNet, PortSecurityFault> {
    let written = match (word.parse::<IpAddr>(), word.parse::<IpNet>()) {
        (Ok(address), _) => IpNet::from(address),
        (Err(_), Ok(net)) => net,
        (Err(_), Err(_)) if read_mac(word).is_some() => {
            return Err(PortSecurityFault::SecondMac(word.to_string()));
        }
        (Err(_), Err(_)) => return Err(PortSecurityFault::BadAddress(word.to_string())),
    };
    let has_host_bits = written.addr() != written.network();
    let net = if has_host_bits { IpNet::from(written.addr()) } else { written };
    let is_single = net.addr() == net.broadcast();
    let is_host = match net.addr() {
        IpAddr::V4(address) => {
            let is_nobody = is_single && (address.is_unspecified() || address.is_broadcast());
            !is_nobody && !address.is_loopback() && !address.is_multicast()
        }
        IpAddr::V6(address) => {
            let is_nobody = is_single && (address.is_unspecified() || address.is_loopback());
            !is_nobody && !address.is_multicast()
        }
    };
    if is_host { Ok(net) } else { Err(PortSecurityFault::NotUnicastAddress(word.to_string())) }
}
