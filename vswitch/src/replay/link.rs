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

pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const ETHERTYPE_MPLS: u16 = 0x8847;
const ETHERTYPE_PPPOE: u16 = 0x8864;
const ETHERTYPE_NSH: u16 = 0x894f;
const PPP_IPV4: u16 = 0x0021;
const PPP_IPV6: u16 = 0x0057;

/// Tags and labels that are taken off a frame.
const TAGS_MAX: usize = 8;

/// Addresses for frames that were captured without usable ones.
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// Makes the packet an Ethernet frame with IPv4, IPv6 or ARP behind its header. `None` if it holds none of these.
pub fn to_ethernet(link: LinkType, packet: &mut Vec<u8>) -> Option<()> {
    let (header, ethertype) = match link {
        ETHERNET => return untag(packet),
        RAW | RAW_BSD | RAW_OPENBSD | IPV4 | IPV6 => (0, by_version(packet)?),
        // The address family of the capturing system: IPv6 has three numbers on three systems. The version tells.
        NULL | LOOP => (4, by_version(packet.get(4..)?)?),
        PPP | PPP_HDLC => ppp(packet)?,
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

/// The length of a PPP header, perhaps compressed (RFC 1661 section 6), and the ethertype of what is behind it.
fn ppp(packet: &[u8]) -> Option<(usize, u16)> {
    match *packet {
        [0xff, 3, high, low, ..] => Some((4, by_ppp(u16::from_be_bytes([high, low]))?)),
        [high, low, ..] if high & 1 == 0 => Some((2, by_ppp(u16::from_be_bytes([high, low]))?)),
        [low, ..] => Some((1, by_ppp(u16::from(low))?)),
        [] => None,
    }
}

/// The frame within PPP.
pub(super) fn from_ppp(packet: &[u8]) -> Option<Vec<u8>> {
    let (header, ethertype) = ppp(packet)?;
    framed(ethertype, &packet[header..])
}

/// A frame around a packet.
pub(super) fn framed(ethertype: u16, packet: &[u8]) -> Option<Vec<u8>> {
    let mut frame = [&MACS[..], &ethertype.to_be_bytes(), packet].concat();
    untag(&mut frame).map(|()| frame)
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
    for _ in 0..TAGS_MAX {
        match word(packet, 12)? {
            ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => drop(packet.drain(12..16.min(packet.len()))),
            ETHERTYPE_MPLS => {
                let is_bottom = packet.get(16)? & 1 != 0;
                packet.drain(14..18.min(packet.len()));
                if is_bottom {
                    let ethertype = by_version(packet.get(14..)?)?;
                    packet[12..14].copy_from_slice(&ethertype.to_be_bytes());
                }
            }
            ETHERTYPE_PPPOE => {
                let (header, ethertype) = ppp(packet.get(20..)?)?;
                packet.splice(12..20 + header, ethertype.to_be_bytes());
            }
            ETHERTYPE_NSH => {
                // RFC 8300 section 2.2: the length in words, and what follows.
                let length = usize::from(packet.get(15)? & 0x3f) * 4;
                let next = *packet.get(17)?;
                packet.get(14 + length..)?;
                match next {
                    1 => drop(packet.splice(12..14 + length, ETHERTYPE_IPV4.to_be_bytes())),
                    2 => drop(packet.splice(12..14 + length, ETHERTYPE_IPV6.to_be_bytes())),
                    3 => drop(packet.drain(..14 + length)),
                    _ => return None,
                }
            }
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
        }
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
        check(ETHERNET, b"abcdefghijkl\x88\x47\0\0\0\x40\0\0\x11\x40E4", Some(frame));
        check(ETHERNET, b"abcdefghijkl\x88\x64\x11\0\0\x01\0\x04\0\x21E4", Some(frame));
        check(ETHERNET, b"abcdefghijkl\x89\x4f\0\x02\0\x01\0\0\0\0E4", Some(frame));
        check(ETHERNET, b"abcdefghijkl\x89\x4f\0\x02\0\x03\0\0\0\0abcdefghijkl\x08\0E4", Some(frame));
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
