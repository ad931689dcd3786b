//! What captures begin with, made into Ethernet frames: the only thing that the switch's parser reads.

use super::capture::LinkType;

const NULL: LinkType = LinkType(0);
const ETHERNET: LinkType = LinkType(1);
const PPP: LinkType = LinkType(9);
const RAW_BSD: LinkType = LinkType(12);
const RAW_OPENBSD: LinkType = LinkType(14);
const PPP_HDLC: LinkType = LinkType(50);
const RAW: LinkType = LinkType(101);
const CISCO_HDLC: LinkType = LinkType(104);
const LOOP: LinkType = LinkType(108);
const LINUX_SLL: LinkType = LinkType(113);
const IPV4: LinkType = LinkType(228);
const IPV6: LinkType = LinkType(229);
const LINUX_SLL2: LinkType = LinkType(276);

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// VLAN tags that are taken off a frame.
const VLAN_TAGS_MAX: usize = 3;

/// Addresses for frames that were captured without usable ones.
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// Makes the packet an Ethernet frame with IPv4, IPv6 or ARP behind its header. `None` if it holds none of these.
pub fn to_ethernet(link: LinkType, packet: &mut Vec<u8>) -> Option<()> {
    let (header, ethertype) = match link {
        ETHERNET => return untag(packet),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => (0, by_version(packet)?),
        // The address family of the capturing system: IPv6 has three numbers on three systems. The version tells.
        NULL | LOOP => (4, by_version(packet.get(4..)?)?),
        PPP | PPP_HDLC => match *packet.as_slice() {
            [0xff, 3, high, low, ..] => (4, by_ppp(u16::from_be_bytes([high, low]))?),
            [high, low, ..] if high & 1 == 0 => (2, by_ppp(u16::from_be_bytes([high, low]))?),
            [low, ..] => (1, by_ppp(u16::from(low))?),
            [] => return None,
        },
        CISCO_HDLC => (4, word(packet, 2)?),
        LINUX_SLL => (16, word(packet, 14)?),
        LINUX_SLL2 => (20, word(packet, 0)?),
        _ => return None,
    };
    if packet.len() < header {
        return None;
    }
    let new = [&MACS[..], &ethertype.to_be_bytes()].concat();
    packet.splice(..header, new);
    untag(packet)
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn by_version(packet: &[u8]) -> Option<u16> {
    match packet.first()? >> 4 {
        4 => Some(ETHERTYPE_IPV4),
        6 => Some(ETHERTYPE_IPV6),
        _ => None,
    }
}

fn by_ppp(protocol: u16) -> Option<u16> {
    match protocol {
        PPP_IPV4 => Some(ETHERTYPE_IPV4),
        PPP_IPV6 => Some(ETHERTYPE_IPV6),
        _ => None,
    }
}

/// Takes VLAN tags off and puts usable addresses in: a capture on a loopback has zeros, which no frame of a guest may have.
fn untag(packet: &mut Vec<u8>) -> Option<()> {
    for _ in 0..VLAN_TAGS_MAX {
        match word(packet, 12)? {
            ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => packet.drain(12..16.min(packet.len())),
            ETHERTYPE_IPV4 | ETHERTYPE_IPV6 | ETHERTYPE_ARP => {
                if packet[..6] == [0; 6] {
                    packet[..6].copy_from_slice(&MACS[..6]);
                }
                if packet[6..12] == [0; 6] || packet[6] & 1 != 0 {
                    packet[6..12].copy_from_slice(&MACS[6..]);
                }
                return Some(());
            }
            _ => return None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(link: LinkType, packet: &[u8], expected: Option<&[u8]>) {
        let mut packet = packet.to_vec();
        let made = to_ethernet(link, &mut packet).map(|()| packet[12..].to_vec());
        assert_eq!(made.as_deref(), expected);
    }

    #[test]
    fn every_link_type_gives_its_ip_packet() {
        let frame = b"\x08\0E4";
        check(RAW, b"E4", Some(frame));
        check(IPV6, b"`6", Some(b"\x86\xdd`6"));
        check(NULL, b"\x02\0\0\0E4", Some(frame));
        check(PPP, b"\xff\x03\0\x21E4", Some(frame));
        check(PPP, b"\0\x21E4", Some(frame));
        check(PPP, b"\x21E4", Some(frame));
        check(CISCO_HDLC, b"\x0f\0\x08\0E4", Some(frame));
        check(LINUX_SLL, b"\0\0\0\x01\0\x06\x01\x02\x03\x04\x05\x06\0\0\x08\0E4", Some(frame));
        check(ETHERNET, b"abcdefghijkl\x81\0\0\x05\x88\xa8\0\x06\x08\0E4", Some(frame));
        check(ETHERNET, b"abcdefghijkl\x88\xcc", None);
        check(LinkType(999), b"E4", None);
        check(LINUX_SLL, b"\0", None);
        check(ETHERNET, b"abcdefghijkl\x81\0", None);
    }

    #[test]
    fn unusable_addresses_are_replaced() {
        let mut packet = vec![0; 12];
        packet.extend_from_slice(b"\x08\0E4");
        assert_eq!(to_ethernet(ETHERNET, &mut packet), Some(()));
        assert_eq!(packet[..12], MACS);
    }
}
