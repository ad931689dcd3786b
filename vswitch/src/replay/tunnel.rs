//! Packets within packets. A replay looks into tunnels, as Suricata does; the switch forwards them as what they are.

use inspect::wire::{Packet, Transport};

use super::link::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, framed};

const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;

const TEREDO_PORT: u16 = 3544;
const VXLAN_PORT: u16 = 4789;
const GENEVE_PORT: u16 = 6081;

const ETHERTYPE_BRIDGED: u16 = 0x6558;
const ETHERTYPE_ERSPAN_2: u16 = 0x88be;
const ETHERTYPE_PPP: u16 = 0x880b;

const VXLAN_HEADER_BYTES: usize = 8;
const ERSPAN_2_HEADER_BYTES: usize = 8;

/// The frame that a packet carries, if it is a tunnel's.
pub fn inner(packet: &Packet<'_>) -> Option<Vec<u8>> {
    let payload = packet.payload();
    match (packet.headers().transport, packet.headers().protocol) {
        (Transport::Other, IPV4_IN_IP) => framed(ETHERTYPE_IPV4, payload),
        (Transport::Other, IPV6_IN_IP) => framed(ETHERTYPE_IPV6, payload),
        (Transport::Other, GRE) => gre(payload),
        (Transport::Udp, _) => match (packet.source_port(), packet.destination_port()) {
            (TEREDO_PORT, _) | (_, TEREDO_PORT) => framed(ETHERTYPE_IPV6, teredo(payload)?),
            (_, VXLAN_PORT) if payload.first()? & 8 != 0 => Some(payload.get(VXLAN_HEADER_BYTES..)?.to_vec()),
            (_, GENEVE_PORT) if payload.first()? >> 6 == 0 => {
                let options = usize::from(payload[0] & 0x3f) * 4;
                by_ethertype(word(payload, 2)?, payload.get(8 + options..)?)
            }
            _ => None,
        },
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn by_ethertype(ethertype: u16, rest: &[u8]) -> Option<Vec<u8>> {
    match ethertype {
        ETHERTYPE_BRIDGED => Some(rest.to_vec()),
        ETHERTYPE_ERSPAN_2 => Some(rest.get(ERSPAN_2_HEADER_BYTES..)?.to_vec()),
        ETHERTYPE_PPP => super::link::from_ppp(rest),
        other => framed(other, rest),
    }
}

/// RFC 2784 with the fields of RFC 1701, RFC 2890 and, in version 1, of PPTP.
fn gre(bytes: &[u8]) -> Option<Vec<u8>> {
    let flags = word(bytes, 0)?;
    let (has_checksum, has_routing) = (flags & 0x8000 != 0, flags & 0x4000 != 0);
    let (has_key, has_sequence, has_acknowledgement) = (flags & 0x2000 != 0, flags & 0x1000 != 0, flags & 0x0080 != 0);
    if has_routing || flags & 7 > 1 {
        return None;
    }
    let options = [has_checksum, has_key, has_sequence, has_acknowledgement && flags & 7 == 1];
    let header = 4 + 4 * options.into_iter().filter(|&is_there| is_there).count();
    let (ethertype, rest) = (word(bytes, 2)?, bytes.get(header..)?);
    if ethertype == ETHERTYPE_ERSPAN_2 && !has_sequence {
        // Type I has no header of its own.
        return Some(rest.to_vec());
    }
    by_ethertype(ethertype, rest)
}

/// The IPv6 packet behind authentication and origin indication (RFC 4380 section 5.1.1).
fn teredo(mut bytes: &[u8]) -> Option<&[u8]> {
    if bytes.starts_with(&[0, 1]) {
        let (client, authentication) = (usize::from(*bytes.get(2)?), usize::from(*bytes.get(3)?));
        bytes = bytes.get(4 + client + authentication + 9..)?;
    }
    if bytes.starts_with(&[0, 0]) {
        bytes = bytes.get(8..)?;
    }
    (bytes.len() >= 40 && bytes[0] >> 4 == 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use inspect::wire::{Checksums, emit};

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    fn ip() -> Vec<u8> {
        emit::udp((A, 5), (B, 6)).payload(b"inner").build()[14..].to_vec()
    }

    #[track_caller]
    fn check(frame: &[u8], expected: Option<&[u8]>) {
        let packet = Packet::parse(frame, Checksums::Unchecked).unwrap();
        assert_eq!(inner(&packet).map(|frame| frame[12..].to_vec()).as_deref(), expected);
    }

    #[test]
    fn every_tunnel_gives_its_packet() {
        let expected = [&[8, 0], &ip()[..]].concat();
        let bridged = [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &expected].concat();
        let over = |protocol: u8, payload: &[u8]| emit::ip(A, B, protocol).payload(payload).build();
        let udp = |port: u16, payload: &[u8]| emit::udp((A, 9), (B, port)).payload(payload).build();
        check(&over(4, &ip()), Some(&expected));
        check(&over(GRE, &[b"\0\0\x08\0", &ip()[..]].concat()), Some(&expected));
        check(&over(GRE, &[b"\xb0\0\x08\0", &[0; 12][..], &ip()].concat()), Some(&expected));
        check(&over(GRE, &[b"\0\0\x65\x58", &bridged[..]].concat()), Some(&expected));
        check(&over(GRE, &[b"\x10\0\x88\xbe", &[0; 12][..], &bridged].concat()), Some(&expected));
        check(&over(GRE, &[b"\x30\x01\x88\x0b", &[0; 8][..], b"\xff\x03\0\x21", &ip()].concat()), Some(&expected));
        check(&udp(VXLAN_PORT, &[&[8, 0, 0, 0, 0, 0, 1, 0], &bridged[..]].concat()), Some(&expected));
        check(
            &udp(GENEVE_PORT, &[&[1, 0, 0x65, 0x58, 0, 0, 0, 0, 9, 9, 9, 9], &bridged[..]].concat()),
            Some(&expected),
        );
        check(&udp(80, &bridged), None);
        check(&over(GRE, b"\0"), None);
    }
}
