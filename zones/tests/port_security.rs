//! Port security: which claims a port gets away with. Each table is one binding.

use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};
use zones::binding::{Claim, Neighbour, PortSecurity, PortSecurityFault, Spoof};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const OTHER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const LINK_LOCAL: &str = "fe80::5054:ff:fe00:1";

fn security(strings: &[&str]) -> PortSecurity {
    PortSecurity::parse(strings).unwrap()
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn arp(hardware: [u8; 6], address: &str) -> Claim {
    asks(hardware, address, "10.0.1.1")
}

fn asks(hardware: [u8; 6], address: &str, target: &str) -> Claim {
    Claim::Arp { hardware, address: v4(address), target: v4(target) }
}

fn ipv4(source: &str) -> Claim {
    Claim::Ipv4 { source: v4(source), destination: v4("10.9.9.9"), udp_ports: None }
}

fn udp4(source: &str, destination: &str, ports: (u16, u16)) -> Claim {
    Claim::Ipv4 { source: v4(source), destination: v4(destination), udp_ports: Some(ports) }
}

fn ipv6(source: &str, destination: &str, neighbour: Option<Neighbour>) -> Claim {
    Claim::Ipv6 { source: v6(source), destination: v6(destination), udp_ports: None, neighbour }
}

fn udp6(source: &str, destination: &str, ports: (u16, u16)) -> Claim {
    Claim::Ipv6 { source: v6(source), destination: v6(destination), udp_ports: Some(ports), neighbour: None }
}

fn check(security: &PortSecurity, table: &[([u8; 6], Claim, Result<(), Spoof>)]) {
    for (mac, claim, expected) in table {
        assert_eq!(security.check(*mac, claim), *expected, "{mac:02x?} {claim:?}");
    }
}

#[test]
fn one_mac_and_one_ipv4_address() {
    let security = security(&["52:54:00:00:00:01 10.0.1.11"]);
    check(
        &security,
        &[
            (MAC, ipv4("10.0.1.11"), Ok(())),
            (MAC, ipv4("10.0.1.12"), Err(Spoof::Ipv4)),
            (OTHER_MAC, ipv4("10.0.1.11"), Err(Spoof::Mac)),
            (MAC, arp(MAC, "10.0.1.11"), Ok(())),
            (MAC, asks(MAC, "0.0.0.0", "10.0.1.11"), Ok(())),
            // A probe for another's address would make that other give it up.
            (MAC, asks(MAC, "0.0.0.0", "10.0.1.12"), Err(Spoof::Arp)),
            (MAC, arp(MAC, "10.0.1.1"), Err(Spoof::Arp)),
            (MAC, arp(OTHER_MAC, "10.0.1.11"), Err(Spoof::Arp)),
            (MAC, udp4("0.0.0.0", "255.255.255.255", (68, 67)), Ok(())),
            (MAC, udp4("0.0.0.0", "255.255.255.255", (68, 68)), Err(Spoof::Ipv4)),
            (MAC, udp4("0.0.0.0", "10.0.1.1", (68, 67)), Err(Spoof::Ipv4)),
            (MAC, ipv4("0.0.0.0"), Err(Spoof::Ipv4)),
            // Only IPv4 is listed: no IPv6 at all, its own link-local address included.
            (MAC, ipv6(LINK_LOCAL, "ff02::1", None), Err(Spoof::Ipv6)),
            (MAC, ipv6("::", "ff02::16", None), Err(Spoof::Ipv6)),
        ],
    );
    assert_eq!(security.macs(), [MAC]);
    assert_eq!(security.check_mac(OTHER_MAC), Err(Spoof::Mac));
}

#[test]
fn ipv6_addresses_and_neighbour_discovery() {
    let security = security(&["52:54:00:00:00:01 fd00::5"]);
    let advertises = |target: &str, option| Some(Neighbour::Advertisement(v6(target), option));
    check(
        &security,
        &[
            (MAC, ipv6("fd00::5", "fd00::9", None), Ok(())),
            (MAC, ipv6("fd00::6", "fd00::9", None), Err(Spoof::Ipv6)),
            (MAC, ipv6(LINK_LOCAL, "ff02::2", None), Ok(())),
            (MAC, ipv6("fe80::5054:ff:fe00:2", "ff02::2", None), Err(Spoof::Ipv6)),
            (MAC, ipv6("::", "ff02::16", None), Ok(())),
            (MAC, ipv6("::", "ff02::1:ff00:5", Some(Neighbour::Solicitation(v6("fd00::5"), None))), Ok(())),
            (
                MAC,
                ipv6("::", "ff02::1:ff00:5", Some(Neighbour::Solicitation(v6("fd00::5"), Some(MAC)))),
                Err(Spoof::Neighbour),
            ),
            // Duplicate address detection for another's address would keep that other from having it.
            (
                MAC,
                ipv6("::", "ff02::1:ff00:6", Some(Neighbour::Solicitation(v6("fd00::6"), None))),
                Err(Spoof::Neighbour),
            ),
            (MAC, ipv6("::", "ff02::1:ff00:1", Some(Neighbour::Solicitation(v6(LINK_LOCAL), None))), Ok(())),
            (MAC, ipv6("::", "ff05::2", None), Err(Spoof::Ipv6)),
            (MAC, ipv6("::", "fd00::9", None), Err(Spoof::Ipv6)),
            (MAC, udp6("::", "ff02::1:2", (546, 547)), Err(Spoof::Ipv6)),
            (MAC, udp6(LINK_LOCAL, "ff02::1:2", (546, 547)), Ok(())),
            (MAC, ipv6("fd00::5", "fd00::9", Some(Neighbour::Solicitation(v6("fd00::5"), Some(MAC)))), Ok(())),
            (
                MAC,
                ipv6("fd00::5", "fd00::9", Some(Neighbour::Solicitation(v6("fd00::5"), Some(OTHER_MAC)))),
                Err(Spoof::Neighbour),
            ),
            (MAC, ipv6("fd00::5", "fd00::9", advertises("fd00::5", Some(MAC))), Ok(())),
            (MAC, ipv6("fd00::5", "fd00::9", advertises(LINK_LOCAL, Some(MAC))), Ok(())),
            (MAC, ipv6("fd00::5", "fd00::9", advertises("fd00::1", Some(MAC))), Err(Spoof::Neighbour)),
            (MAC, ipv6("fd00::5", "fd00::9", advertises("fd00::5", Some(OTHER_MAC))), Err(Spoof::Neighbour)),
            (MAC, ipv6(LINK_LOCAL, "ff02::2", Some(Neighbour::RouterSolicitation(Some(MAC)))), Ok(())),
            (MAC, ipv4("10.0.0.1"), Err(Spoof::Ipv4)),
            (MAC, udp4("0.0.0.0", "255.255.255.255", (68, 67)), Err(Spoof::Ipv4)),
            (MAC, arp(MAC, "0.0.0.0"), Err(Spoof::Arp)),
        ],
    );
}

#[test]
fn a_mac_alone_leaves_the_addresses_free_but_not_the_inner_macs() {
    check(
        &security(&["52:54:00:00:00:01"]),
        &[
            (MAC, ipv4("192.0.2.1"), Ok(())),
            (MAC, ipv6("2001:db8::1", "ff02::1", None), Ok(())),
            (MAC, arp(MAC, "192.0.2.1"), Ok(())),
            (MAC, arp(OTHER_MAC, "192.0.2.1"), Err(Spoof::Arp)),
            (
                MAC,
                ipv6("2001:db8::1", "ff02::1", Some(Neighbour::Advertisement(v6("2001:db8::1"), Some(OTHER_MAC)))),
                Err(Spoof::Neighbour),
            ),
            (OTHER_MAC, ipv4("192.0.2.1"), Err(Spoof::Mac)),
        ],
    );
}

#[test]
fn prefixes_stand_for_one_address_or_for_all() {
    check(
        &security(&["52:54:00:00:00:01 10.0.1.0/24 10.0.2.4/24 fd00::/64"]),
        &[
            (MAC, ipv4("10.0.1.0"), Ok(())),
            (MAC, ipv4("10.0.1.255"), Ok(())),
            (MAC, ipv4("10.0.2.4"), Ok(())),
            (MAC, ipv4("10.0.2.5"), Err(Spoof::Ipv4)),
            (MAC, ipv6("fd00::77", "fd00::1", None), Ok(())),
            (MAC, ipv6("fd00:0:0:1::77", "fd00::1", None), Err(Spoof::Ipv6)),
        ],
    );
}

#[test]
fn addresses_belong_to_their_own_mac() {
    let security = security(&["52:54:00:00:00:01 10.0.0.1", "52:54:00:00:00:02 10.0.0.2", "52:54:00:00:00:01 fd00::1"]);
    check(
        &security,
        &[
            (MAC, ipv4("10.0.0.1"), Ok(())),
            (OTHER_MAC, ipv4("10.0.0.2"), Ok(())),
            (OTHER_MAC, ipv4("10.0.0.1"), Err(Spoof::Ipv4)),
            // Two entries of one MAC add up.
            (MAC, ipv6("fd00::1", "fd00::2", None), Ok(())),
        ],
    );
    assert_eq!(security.macs(), [MAC, OTHER_MAC]);
    let addresses: Vec<String> = security.addresses().map(|(_, address)| address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
}

#[test]
fn routers_and_dhcp_servers_are_told_so() {
    let offer = udp4("10.0.0.1", "255.255.255.255", (67, 68));
    let reply = udp6(LINK_LOCAL, "fe80::2", (547, 546));
    let advertisement = ipv6(LINK_LOCAL, "ff02::1", Some(Neighbour::RouterAdvertisement));
    let redirect = ipv6(LINK_LOCAL, "fe80::2", Some(Neighbour::Redirect));
    let strings = ["52:54:00:00:00:01 10.0.0.1 fd00::1"];
    for security in [PortSecurity::default(), security(&strings)] {
        check(
            &security,
            &[
                (MAC, offer, Err(Spoof::DhcpServer)),
                (MAC, reply, Err(Spoof::DhcpServer)),
                (MAC, advertisement, Err(Spoof::Router)),
                (MAC, redirect, Err(Spoof::Router)),
            ],
        );
        check(
            &security.clone().with_dhcp_server(true),
            &[(MAC, offer, Ok(())), (MAC, reply, Ok(())), (MAC, redirect, Err(Spoof::Router))],
        );
        check(
            &security.with_router(true),
            &[(MAC, advertisement, Ok(())), (MAC, redirect, Ok(())), (MAC, offer, Err(Spoof::DhcpServer))],
        );
    }
    // A role is no licence for another's address.
    let router = security(&strings).with_router(true);
    let forged = ipv6("fe80::bad", "ff02::1", Some(Neighbour::RouterAdvertisement));
    check(&router, &[(MAC, forged, Err(Spoof::Ipv6))]);
}

#[test]
fn a_port_without_entries_still_answers_for_its_inner_addresses() {
    let security = PortSecurity::default();
    check(
        &security,
        &[
            (OTHER_MAC, ipv4("10.0.0.1"), Ok(())),
            (OTHER_MAC, arp(OTHER_MAC, "10.0.0.1"), Ok(())),
            (OTHER_MAC, arp(MAC, "10.0.0.1"), Err(Spoof::Arp)),
        ],
    );
    assert!(security.macs().is_empty() && security.check_mac(MAC).is_ok());
}

#[test]
fn faults_are_named_with_their_place() {
    let check = |strings: &[&str], entry: usize, at: std::ops::Range<usize>, fault: PortSecurityFault| {
        let error = PortSecurity::parse(strings).unwrap_err();
        assert_eq!((error.entry, error.at.clone(), error.fault.clone()), (entry, at, fault), "{strings:?}");
    };
    let word = |text: &str| text.to_string();
    check(&["  "], 0, 0..2, PortSecurityFault::Empty);
    check(
        &["52:54:00:00:00:01", "52:54:00:00:01 10.0.0.1"],
        1,
        0..14,
        PortSecurityFault::BadMac(word("52:54:00:00:01")),
    );
    check(&["52:54:00:00:00:0g"], 0, 0..17, PortSecurityFault::BadMac(word("52:54:00:00:00:0g")));
    check(&["52:54:00:00:00:+1"], 0, 0..17, PortSecurityFault::BadMac(word("52:54:00:00:00:+1")));
    check(&["01:00:5e:00:00:01"], 0, 0..17, PortSecurityFault::NotUnicastMac(word("01:00:5e:00:00:01")));
    check(&["00:00:00:00:00:00"], 0, 0..17, PortSecurityFault::NotUnicastMac(word("00:00:00:00:00:00")));
    check(&["10.0.0.1"], 0, 0..8, PortSecurityFault::MacMissing(word("10.0.0.1")));
    check(&["52:54:00:00:00:01  10.0.0.300"], 0, 19..29, PortSecurityFault::BadAddress(word("10.0.0.300")));
    check(&["52:54:00:00:00:01 10.0.0.0/33"], 0, 18..29, PortSecurityFault::BadAddress(word("10.0.0.0/33")));
    check(&["52:54:00:00:00:01 224.0.0.5"], 0, 18..27, PortSecurityFault::NotUnicastAddress(word("224.0.0.5")));
    check(&["52:54:00:00:00:01 0.0.0.0"], 0, 18..25, PortSecurityFault::NotUnicastAddress(word("0.0.0.0")));
    check(&["52:54:00:00:00:01 52:54:00:00:00:02"], 0, 18..35, PortSecurityFault::SecondMac(word("52:54:00:00:00:02")));
    check(&["VRRPv3 52:54:00:00:00:01"], 0, 0..6, PortSecurityFault::Vrrp);
    let many = vec!["52:54:00:00:00:01"; 65];
    check(&many, 64, 0..0, PortSecurityFault::TooMany);
}

// ---- Held to a reading of the strings, word by word, that knows no entry, no range and no short cut ----

/// MACs and addresses of which bindings and claims are made, so that they meet often.
const MACS: [&str; 2] = ["52:54:00:00:00:01", "52:54:00:00:00:02"];
const IPV4: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.1.7"];
const PREFIXES: [&str; 2] = ["10.0.0.0/30", "10.0.1.0/24"];

fn naive_ipv4(strings: &[String], mac: usize, source: &str, udp_ports: Option<(u16, u16)>) -> Result<(), Spoof> {
    if matches!(udp_ports, Some((67, _))) {
        return Err(Spoof::DhcpServer);
    }
    let own: Vec<Vec<&str>> = strings
        .iter()
        .map(|string| string.split(' ').collect::<Vec<_>>())
        .filter(|words| words[0] == MACS[mac])
        .map(|words| words[1..].to_vec())
        .collect();
    let allows = |words: &Vec<&str>| {
        let is_in = |word: &&str| match *word {
            "10.0.0.0/30" => source.starts_with("10.0.0."),
            "10.0.1.0/24" => source.starts_with("10.0.1."),
            word => word == source,
        };
        words.is_empty() || words.iter().any(is_in)
    };
    if strings.is_empty() || own.iter().any(allows) {
        Ok(())
    } else if own.is_empty() {
        Err(Spoof::Mac)
    } else {
        Err(Spoof::Ipv4)
    }
}

fn binding_strings() -> impl Strategy<Value = Vec<String>> {
    let address = prop::sample::select([&IPV4[..], &PREFIXES[..], &["fd00::1"]].concat());
    let entry = (0..MACS.len(), prop::collection::vec(address, 0..3))
        .prop_map(|(mac, addresses)| std::iter::once(MACS[mac]).chain(addresses).collect::<Vec<_>>().join(" "));
    prop::collection::vec(entry, 0..3)
}

proptest! {
    #[test]
    fn ipv4_is_as_the_strings_read(
        strings in binding_strings(),
        mac in 0..MACS.len(),
        source in prop::sample::select(&IPV4[..]),
        udp_ports in prop::option::of((66u16..69, 66u16..69)),
    ) {
        let security = PortSecurity::parse(&strings).unwrap();
        let claim = Claim::Ipv4 { source: v4(source), destination: v4("10.9.9.9"), udp_ports };
        let answer = security.check([MAC, OTHER_MAC][mac], &claim);
        prop_assert_eq!(answer, naive_ipv4(&strings, mac, source, udp_ports), "{:?}", strings);
    }
}
