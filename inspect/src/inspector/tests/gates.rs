//! What gates have answered is remembered from packet to packet: never longer than it holds.

use super::*;
use crate::wire::emit;

/// What a datagram has by which rules tell it from others: whether it comes from one of ten, its ports, and its payload.
type Kind = (bool, (u16, u16), &'static str);

const FROM: u16 = 5;

fn sids_of(inspector: &mut Inspector, rules: &RuleSet, (is_ten, (from, to), payload): Kind) -> Vec<u32> {
    let source = ([if is_ten { 10 } else { 11 }, 0, 0, 1], from);
    let frame = emit::udp(source, ([8, 8, 8, 8], to)).payload(payload).build();
    let packet = Packet::parse(&frame, Checksums::Verify).unwrap();
    let view = FlowView { slot: None, direction: Direction::ToServer, established: false, is_first: true };
    let mut alerts: Vec<Alert> = Vec::new();
    inspector.inspect(rules, &packet, &view, 0, &mut alerts);
    let mut sids: Vec<u32> = alerts.iter().map(|alert| rules.signature(alert.signature).unwrap().sid).collect();
    sids.sort_unstable();
    sids
}

#[test]
fn each_packet_is_asked_what_is_its_own() {
    let one = rules(
        r#"alert udp any any -> any 1000 (content:"needle"; sid:1;)
           alert udp any any -> any 2000 (content:"needle"; dsize:6; sid:2;)
           alert udp 10.0.0.0/8 any -> any any (content:"needle"; dsize:>6; sid:3;)
           alert udp any 5 <> any 7 (content:"needle"; sid:4;)"#,
    );
    let other = rules(
        r#"alert udp 11.0.0.0/8 any -> any any (content:"needle"; sid:5;)
           alert udp any any -> any 7 (content:"needle"; sid:6;)"#,
    );
    let expected = |is_one: bool, (is_ten, (from, to), payload): Kind| {
        let of_one = [
            to == 1000,
            to == 2000 && payload.len() == 6,
            is_ten && payload.len() > 6,
            (from, to) == (5, 7) || (from, to) == (7, 5),
        ];
        let of_other = [!is_ten, to == 7];
        let (first, holds) = if is_one { (1, &of_one[..]) } else { (5, &of_other[..]) };
        (first..).zip(holds).filter(|(_, holds)| **holds).map(|(sid, _)| sid).collect::<Vec<u32>>()
    };
    let ports = [(FROM, 1000), (FROM, 2000), (FROM, 7), (7, FROM), (9, 9)];
    let mut inspector = Inspector::new(detect());
    // Often enough that all counts come round.
    for round in 0..1500usize {
        let kind = (
            round / 3 % 2 == 0,
            ports[round / 2 % ports.len()],
            if round % 2 == 0 { "needle" } else { "a needle in a haystack" },
        );
        let is_one = round / 40 % 2 == 0;
        let found = sids_of(&mut inspector, if is_one { &one } else { &other }, kind);
        assert_eq!(found, expected(is_one, kind), "packet {round}: {kind:?}");
    }
}
