//! Community ID, version 1: a flow's name that Zeek, Suricata and others compute alike, so that their logs can be joined.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::event::Tuple;

/// The Community ID of a packet's flow: `1:` and the base64 of a SHA-1 over seed, addresses, protocol and ports, the lower end
/// first.
pub fn community_id(seed: u16, tuple: &Tuple) -> String {
    let (ports, is_one_way) = match tuple.protocol {
        1 => icmp_ports(tuple, icmp4_answer),
        58 => icmp_ports(tuple, icmp6_answer),
        protocol if super::parts::has_ports(protocol) => (Some((tuple.source_port, tuple.destination_port)), false),
        _ => (None, false),
    };
    let (from, to) = ports.unwrap_or_default();
    let mut ends = [(octets(tuple.source), from), (octets(tuple.destination), to)];
    if !is_one_way && ends[0] > ends[1] {
        ends.swap(0, 1);
    }
    let mut hasher = Sha1::new();
    hasher.update(seed.to_be_bytes());
    hasher.update(&ends[0].0);
    hasher.update(&ends[1].0);
    hasher.update([tuple.protocol, 0]);
    if ports.is_some() {
        hasher.update(ends[0].1.to_be_bytes());
        hasher.update(ends[1].1.to_be_bytes());
    }
    format!("1:{}", STANDARD.encode(hasher.finalize()))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// ICMP has a type and a code for ports. Where the type has an answer, that stands for the other end's port; where it has
/// none, the flow goes one way and its ends are not put in order.
fn icmp_ports(tuple: &Tuple, answer: fn(u16) -> Option<u16>) -> (Option<(u16, u16)>, bool) {
    match answer(tuple.source_port) {
        Some(answer) => (Some((tuple.source_port, answer)), false),
        None => (Some((tuple.source_port, tuple.destination_port)), true),
    }
}

fn icmp4_answer(kind: u16) -> Option<u16> {
    Some(match kind {
        0 => 8,
        8 => 0,
        9 => 10,
        10 => 9,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        _ => return None,
    })
}

fn icmp6_answer(kind: u16) -> Option<u16> {
    Some(match kind {
        128 => 129,
        129 => 128,
        130 => 131,
        131 => 130,
        133 => 134,
        134 => 133,
        135 => 136,
        136 => 135,
        139 => 140,
        140 => 139,
        144 => 145,
        145 => 144,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(protocol: u8, source: (&str, u16), destination: (&str, u16), expected: &str) {
        let address = |text: &str| text.parse().expect("an address");
        let tuple = Tuple {
            source: address(source.0),
            destination: address(destination.0),
            protocol,
            source_port: source.1,
            destination_port: destination.1,
        };
        assert_eq!(community_id(0, &tuple), expected);
        if !matches!(protocol, 1 | 58) {
            assert_eq!(community_id(0, &tuple.reversed()), expected, "the same from the other end");
        }
        assert_ne!(community_id(1, &tuple), expected, "the seed counts");
    }

    /// Values that the specification and its implementations publish.
    #[test]
    fn published_values() {
        check(6, ("1.2.3.4", 1122), ("5.6.7.8", 3344), "1:wCb3OG7yAFWelaUydu0D+125CLM=");
        check(6, ("128.232.110.120", 34855), ("66.35.250.204", 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        check(17, ("192.168.1.52", 54585), ("8.8.8.8", 53), "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
        check(1, ("192.168.0.89", 8), ("192.168.0.1", 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
        check(1, ("192.168.0.1", 0), ("192.168.0.89", 0), "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
    }
}
