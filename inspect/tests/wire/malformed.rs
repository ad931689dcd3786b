//! Which frames are refused, and under which name.

use inspect::limits::EXTENSION_HEADERS_MAX;
use inspect::wire::emit::{self, FrameBuilder};
use inspect::wire::{Checksums, Malformed, TcpFlags, parse};

use crate::{seeds, tcp4, tcp6, udp4, udp6};

type Expected = Result<(), Malformed>;

fn check(name: &str, frame: &[u8], expected: Expected) {
    assert_eq!(parse(frame, Checksums::Verify).map(|_| ()), expected, "{name}");
}

/// `frame` with the byte at `at` replaced.
fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// As [`with`], for bytes in an IPv4 header of 20 bytes, whose checksum is put right again.
fn with_ipv4(frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = with(frame, 14 + at, bytes);
    inspect::wire::checksum::complete_ipv4_checksum(&mut frame, 14, 20);
    frame
}

#[test]
fn sound_frames_pass() {
    for (name, frame) in seeds() {
        check(name, &frame, Ok(()));
    }
}

/// Attack N01: every header cut at every byte.
#[test]
fn every_prefix_of_a_sound_frame_is_refused() {
    for (name, frame) in seeds() {
        let end = parse(&frame, Checksums::Verify).expect(name).end as usize;
        for len in 0..frame.len() {
            let answer = parse(&frame[..len], Checksums::Verify);
            assert_eq!(answer.is_ok(), len >= end, "{name} cut to {len} bytes: {answer:?}");
        }
    }
}

/// Attack N02: what follows the datagram changes nothing.
#[test]
fn padding_changes_nothing() {
    for (name, frame) in seeds() {
        let end = parse(&frame, Checksums::Verify).expect(name).end as usize;
        let sound = parse(&frame[..end], Checksums::Verify);
        for (len, byte) in [(1, 0), (18, 0xff), (1500, 0x45)] {
            let mut padded = frame[..end].to_vec();
            padded.resize(end + len, byte);
            assert_eq!(parse(&padded, Checksums::Verify), sound, "{name} with {len} bytes of padding");
        }
    }
}

#[test]
fn link_layer() {
    use Malformed::*;
    let udp = || emit::any_udp4(b"x");
    check("zero destination", &udp4().macs(emit::SOURCE_MAC, [0; 6]).build(), Err(DestinationMacZero));
    check("zero source", &udp4().macs([0; 6], emit::DESTINATION_MAC).build(), Err(SourceMacZero));
    check("broadcast source", &udp4().macs([0xff; 6], emit::DESTINATION_MAC).build(), Err(SourceMacMulticast));
    check("multicast source", &udp4().macs([1, 0, 0, 0, 0, 1], emit::DESTINATION_MAC).build(), Err(SourceMacMulticast));
    for last in 0..=0x1f {
        let frame = udp4().macs(emit::SOURCE_MAC, [0x01, 0x80, 0xc2, 0, 0, last]).build();
        let expected = if last < 0x10 { Err(DestinationMacReserved) } else { Ok(()) };
        check(&format!("bridge group address {last:#x}"), &frame, expected);
    }
    for tag in [0x8100u16, 0x88a8, 0x9100, 0x9200, 0x9300] {
        check("tag", &with(udp(), 12, &tag.to_be_bytes()), Err(VlanTag));
    }
    for ethertype in 0..=u16::MAX {
        let expected = match ethertype {
            0x0800 => Ok(()),
            0x0806 => Err(ArpFormat),
            0x86dd => Err(IpVersion),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => Err(VlanTag),
            0..0x600 => Err(LlcLength),
            _ => Err(UnknownEthertype),
        };
        let frame = with(udp4().payload([0; 40]).build(), 12, &ethertype.to_be_bytes());
        check(&format!("type {ethertype:#06x}"), &frame, expected);
    }
    check("oversize", &with(vec![0; 65_590], 0, &udp()), Err(Oversize));
    check("largest", &with(vec![0; 65_589], 0, &udp()), Ok(()));
}

#[test]
fn arp() {
    use Malformed::*;
    let request = || emit::arp_request(emit::SOURCE_MAC, [10, 0, 0, 1], [10, 0, 0, 2]).build();
    for at in 14..20 {
        let byte = request()[at] ^ 1;
        check("format", &with(request(), at, &[byte]), Err(ArpFormat));
    }
    for operation in 0..=u16::MAX {
        let expected = if matches!(operation, 1 | 2) { Ok(()) } else { Err(ArpOperation) };
        check("operation", &with(request(), 20, &operation.to_be_bytes()), expected);
    }
    check("zero sender", &with(request(), 22, &[0; 6]), Err(ArpSenderMac));
    check("broadcast sender", &with(request(), 22, &[0xff; 6]), Err(ArpSenderMac));
    for sender in [[224, 0, 0, 1], [255, 255, 255, 255], [127, 0, 0, 1]] {
        check("sender address", &with(request(), 28, &sender), Err(ArpSenderAddress));
    }
    check("probe", &with(request(), 28, &[0; 4]), Ok(()));
}

#[test]
fn ipv4_header() {
    use Malformed::*;
    let udp = || emit::any_udp4(b"payload");
    let edits: &[(&str, usize, &[u8], Expected)] = &[
        ("version 6", 0, &[0x65], Err(IpVersion)),
        ("header of 16 bytes", 0, &[0x44], Err(Ipv4HeaderLength)),
        ("header beyond the datagram", 2, &[0, 20], Err(Truncated)),
        ("total length under the header", 2, &[0, 19], Err(Ipv4TotalLength)),
        ("total length beyond the frame", 2, &[0, 36], Err(Ipv4TotalLength)),
        ("reserved flag", 6, &[0x80, 0], Err(Ipv4ReservedFlag)),
        ("don't fragment", 6, &[0x40, 0], Ok(())),
        ("ttl zero", 8, &[0], Err(TtlZero)),
        ("multicast source", 12, &[224, 0, 0, 1], Err(SourceAddress)),
        ("broadcast source", 12, &[255; 4], Err(SourceAddress)),
        ("loopback source", 12, &[127, 0, 0, 1], Err(SourceAddress)),
        ("unspecified destination", 16, &[0; 4], Err(DestinationAddress)),
        ("loopback destination", 16, &[127, 9, 9, 9], Err(DestinationAddress)),
        ("source is destination", 16, &[10, 0, 0, 1], Err(SourceIsDestination)),
    ];
    for (name, at, bytes, expected) in edits {
        check(name, &with_ipv4(udp(), *at, bytes), *expected);
    }
    for bit in 0..160 {
        let mut frame = udp();
        frame[14 + bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&frame, Checksums::Verify).is_err(), "header bit {bit} flipped");
    }
    let dhcp = emit::udp(([0, 0, 0, 0], 68), ([255, 255, 255, 255], 67)).build();
    check("unspecified source to broadcast", &dhcp, Ok(()));
    for (name, options, expected) in [
        ("record route", &[7, 7, 4, 0, 0, 0, 0, 0][..], Ok(())),
        ("loose source route", &[131, 7, 4, 10, 0, 0, 3, 0], Err(Ipv4SourceRoute)),
        ("strict source route", &[1, 137, 7, 4, 10, 0, 0, 3], Err(Ipv4SourceRoute)),
        ("source route behind the end", &[0, 131, 7, 4], Ok(())),
        ("option of length 1", &[7, 1, 0, 0], Err(Ipv4OptionLength)),
        ("option beyond the header", &[7, 5, 0, 0], Err(Ipv4OptionLength)),
        ("option without length", &[1, 1, 1, 7], Err(Ipv4OptionLength)),
    ] {
        check(name, &udp4().ip_options(options).build(), expected);
    }
}

#[test]
fn every_protocol_number() {
    use Malformed::*;
    for number in 0..=255 {
        let v4 = emit::ip([10, 0, 0, 1], [10, 0, 0, 2], number).build();
        let expected = match number {
            0 | 255 => Err(ProtocolReserved),
            43 | 44 | 58 | 59 | 60 => Err(ProtocolOfOtherFamily),
            51 => Err(ExtensionHeaderUnknown),
            1 | 6 | 17 => Err(Truncated),
            _ => Ok(()),
        };
        check(&format!("IPv4 protocol {number}"), &v4, expected);
        let v6 =
            emit::ip([0, 0, 0, 0, 0, 0, 0, 5u16], [0, 0, 0, 0, 0, 0, 0, 6u16], number).extension(60, &[1, 4]).build();
        let expected = match number {
            0 => Err(HopByHopNotFirst),
            1 | 2 => Err(ProtocolOfOtherFamily),
            6 | 17 | 43 | 44 | 58 | 60 => Err(Truncated),
            51 | 135 | 139 | 140 | 253 | 254 => Err(ExtensionHeaderUnknown),
            255 => Err(ProtocolReserved),
            _ => Ok(()),
        };
        // An empty body: the next header would stand behind the datagram.
        check(&format!("IPv6 next header {number}"), &v6, expected);
    }
}

#[test]
fn ipv6_header() {
    use Malformed::*;
    let mapped = [0, 0, 0, 0, 0, 0xffff, 0x0a00, 1];
    let global = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
    let multicast = [0xff02, 0, 0, 0, 0, 0, 0, 1u16];
    let loopback = [0, 0, 0, 0, 0, 0, 0, 1];
    let between = |source: [u16; 8], destination: [u16; 8]| emit::udp((source, 1), (destination, 2)).build();
    check("mapped source", &between(mapped, global), Err(MappedAddress));
    check("mapped destination", &between(global, mapped), Err(MappedAddress));
    check("multicast source", &between(multicast, global), Err(SourceAddress));
    check("multicast destination", &between(global, multicast), Ok(()));
    check("loopback source", &between(loopback, global), Err(SourceAddress));
    check("loopback destination", &between(global, loopback), Err(DestinationAddress));
    check("unspecified destination", &between(global, [0; 8]), Err(DestinationAddress));
    check("unspecified source", &between([0; 8], multicast), Ok(()));
    check("source is destination", &between(global, global), Err(SourceIsDestination));
    let udp = || udp6().payload(b"payload").build();
    check("version 4", &with(udp(), 14, &[0x40]), Err(IpVersion));
    check("payload length zero", &with(udp(), 18, &[0, 0]), Err(Ipv6PayloadLength));
    check("payload length beyond the frame", &with(udp(), 18, &[0, 16]), Err(Ipv6PayloadLength));
    check("hop limit zero", &udp6().ttl(0).build(), Err(TtlZero));
    check("mixed families", &emit::udp(([10, 0, 0, 1], 1), (global, 2)).build(), Err(MappedAddress));
}

/// Attack N03.
#[test]
fn extension_headers() {
    use Malformed::*;
    const HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    type Extensions<'a> = &'a [(u8, &'a [u8])];
    let chain = |headers: Extensions<'_>| {
        headers.iter().fold(udp6(), |frame, (number, body)| frame.extension(*number, body)).payload(b"x").build()
    };
    let pad: &[u8] = &[1, 4];
    let cases: &[(&str, Extensions<'_>, Expected)] = &[
        ("the recommended order", &[(HOP, pad), (DESTINATION, pad), (ROUTING, &[4, 0]), (DESTINATION, pad)], Ok(())),
        ("hop-by-hop twice", &[(HOP, pad), (HOP, pad)], Err(HopByHopNotFirst)),
        ("hop-by-hop late", &[(DESTINATION, pad), (HOP, pad)], Err(HopByHopNotFirst)),
        ("three destination options", &[(DESTINATION, pad); 3], Err(ExtensionHeaderOrder)),
        ("routing twice", &[(ROUTING, &[4, 0][..]); 2], Err(ExtensionHeaderOrder)),
        ("fragment header twice", &[(FRAGMENT, &[0; 6][..]); 2], Err(ExtensionHeaderOrder)),
        ("routing type 0", &[(ROUTING, &[0, 0])], Err(RoutingTypeZero)),
        ("segments left", &[(ROUTING, &[4, 1])], Err(RoutingSegmentsLeft)),
        ("authentication", &[(51, pad)], Err(ExtensionHeaderUnknown)),
        ("option to discard", &[(DESTINATION, &[0x40, 0, 1, 0])], Err(Ipv6OptionInvalid)),
        ("option to skip", &[(DESTINATION, &[0x3e, 2, 0, 0])], Ok(())),
        ("option beyond the header", &[(DESTINATION, &[1, 5])], Err(Ipv6OptionInvalid)),
        ("option without length", &[(DESTINATION, &[1, 3, 0, 0, 0, 1])], Err(Ipv6OptionInvalid)),
        ("a header of paddings", &[(DESTINATION, &[0; 30])], Err(Ipv6OptionInvalid)),
    ];
    for (name, headers, expected) in cases {
        check(name, &chain(headers), *expected);
    }
    // Longer chains than these cannot be built without repeating a header, which is refused first.
    const { assert!(EXTENSION_HEADERS_MAX >= 5) };
    let short_body = with(chain(&[(DESTINATION, pad)]), 55, &[200]);
    check("header beyond the datagram", &short_body, Err(Truncated));
}

#[test]
fn fragments() {
    use Malformed::*;
    for (family, udp, tcp) in [("v4", udp4(), tcp4()), ("v6", udp6(), tcp6())] {
        let check = |name: &str, frame: &[u8], expected| check(&format!("{name}, {family}"), frame, expected);
        check("middle of odd length", &udp.fragment(8, true, &[0; 12]), Err(FragmentLength));
        check("last of odd length", &udp.fragment(8, false, &[0; 13]), Ok(()));
        check("empty", &udp.fragment(8, true, &[]), Err(FragmentLength));
        check("ping of death", &udp.fragment(65_528, false, &[0; 8]), Err(FragmentBeyondDatagram));
        let first = |payload: &[u8], builder: &FrameBuilder| builder.fragment(0, true, payload);
        check("tiny first fragment of TCP", &first(&tcp.segment()[..16], &tcp), Err(FirstFragmentIncomplete));
        check(
            "first fragment with all of TCP's header",
            &first(&tcp.clone().payload([0; 8]).segment()[..24], &tcp),
            Ok(()),
        );
        let optioned = tcp.clone().timestamps(1, 1).payload([0; 8]);
        check(
            "first fragment without TCP's options",
            &first(&optioned.segment()[..24], &tcp),
            Err(FirstFragmentIncomplete),
        );
        check("first fragment of UDP", &first(&udp.clone().payload([0; 8]).segment()[..8], &udp), Ok(()));
    }
    let v6 = |last| std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
    let chain_cut = emit::ip(v6(1), v6(2), 60).fragment(0, true, &[17, 1, 1, 4, 0, 0, 0, 0]);
    check("chain continues in the second fragment", &chain_cut, Err(FirstFragmentIncomplete));
    let advertisement = emit::router_advertisement(emit::SOURCE_MAC, v6(1));
    check("fragmented advertisement", &advertisement.fragments(16)[0], Err(NdFragmented));
    let atomic = advertisement.extension(44, &[0; 6]).build();
    check("advertisement in an atomic fragment", &atomic, Err(NdFragmented));
}

#[test]
fn every_set_of_tcp_flags() {
    use TcpFlags as F;
    let ecn = F::ECE | F::CWR;
    for bits in 0..=255 {
        let flags = TcpFlags(bits);
        let core = flags.without(ecn | F::PSH | F::URG);
        let is_legal = [F::ACK, F::ACK | F::FIN].contains(&core)
            || ([F::SYN, F::SYN | F::ACK, F::RST, F::RST | F::ACK].contains(&core) && !flags.intersects(F::URG));
        let expected = if is_legal { Ok(()) } else { Err(Malformed::TcpFlags) };
        check(&format!("flags {bits:#04x}"), &tcp4().flags(flags).build(), expected);
        check(&format!("flags {bits:#04x}"), &tcp6().flags(flags).build(), expected);
    }
}

#[test]
fn transport_headers() {
    use Malformed::*;
    let repaired = |mut frame: Vec<u8>, at: usize, bytes: &[u8], sound: &[u8]| {
        let headers = parse(sound, Checksums::Verify).expect("sound before the edit");
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        inspect::wire::complete_transport_checksum(&mut frame, &headers);
        frame
    };
    let tcp = || tcp4().payload(b"payload").build();
    let udp = || emit::any_udp4(b"payload");
    for (name, frame, at, bytes, expected) in [
        ("TCP source port 0", tcp(), 34, &[0, 0][..], Err(SourcePortZero)),
        ("TCP destination port 0", tcp(), 36, &[0, 0], Err(DestinationPortZero)),
        ("TCP data offset 4", tcp(), 46, &[0x40], Err(TcpDataOffset)),
        ("TCP data offset beyond the segment", tcp(), 46, &[0x70], Err(TcpDataOffset)),
        ("TCP reserved bits", tcp(), 46, &[0x5e], Ok(())),
        ("UDP source port 0", udp(), 34, &[0, 0], Err(SourcePortZero)),
        ("UDP destination port 0", udp(), 36, &[0, 0], Err(DestinationPortZero)),
        ("UDP length short", udp(), 38, &[0, 14], Err(UdpLength)),
        ("UDP length long", udp(), 38, &[0, 16], Err(UdpLength)),
        ("UDP length 0", udp(), 38, &[0, 0], Err(UdpLength)),
    ] {
        let sound = frame.clone();
        check(name, &repaired(frame, at, bytes, &sound), expected);
    }
    check("UDP without checksum, v4", &with(udp(), 40, &[0, 0]), Ok(()));
    check("UDP without checksum, v6", &with(udp6().build(), 60, &[0, 0]), Err(UdpChecksumMissing));
    for (name, options, expected) in [
        ("option of length 1", &[8, 1, 0, 0][..], Err(TcpOptionLength)),
        ("option beyond the header", &[254, 5, 0, 0], Err(TcpOptionLength)),
        ("segment size of 3 bytes", &[2, 3, 0, 1], Err(TcpOptionLength)),
        ("no options behind the end", &[0, 8, 1, 0], Ok(())),
        ("unknown option", &[254, 4, 0, 0], Ok(())),
        ("timestamps after paddings", &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0], Ok(())),
    ] {
        check(name, &tcp4().tcp_options(options).build(), expected);
    }
}

#[test]
fn checksums() {
    for (name, frame) in seeds() {
        let headers = parse(&frame, Checksums::Verify).expect(name);
        let is_offloadable = inspect::wire::expected_partial(&headers).is_some();
        let (from, end) = (usize::from(headers.transport_offset), headers.end as usize);
        for bit in from * 8..end * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let has_sum = !matches!(name, "gre4" | "no next header") && headers.fragment.is_none();
            assert_eq!(parse(&flipped, Checksums::Verify).is_err(), has_sum, "{name}, bit {bit}");
            let unchecked = parse(&flipped, Checksums::Unchecked);
            assert_ne!(unchecked, Err(Malformed::TransportChecksum), "{name}, bit {bit}");
        }
        if is_offloadable {
            let at = from + usize::from(inspect::wire::expected_partial(&headers).expect("checked").1);
            let mut partial = with(frame.clone(), at, &[0x12, 0x34]);
            check(name, &partial, Err(Malformed::TransportChecksum));
            assert_eq!(parse(&partial, Checksums::TransportPartial), Ok(headers), "{name}");
            inspect::wire::complete_transport_checksum(&mut partial, &headers);
            assert_eq!(partial, frame, "{name} completed");
        }
    }
    let header_flipped = with(emit::any_udp4(b"x"), 24, &[0, 0]);
    check("IPv4 header checksum", &header_flipped, Err(Malformed::Ipv4HeaderChecksum));
    assert!(parse(&header_flipped, Checksums::Unchecked).is_ok(), "as in a capture");
    check("partial as drivers write it", &tcp4().partial_checksum().build(), Err(Malformed::TransportChecksum));
}

#[test]
fn neighbour_discovery() {
    use Malformed::*;
    let v6 = |last| std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
    let advertisement = || emit::neighbour_advertisement(emit::SOURCE_MAC, v6(1), v6(2), v6(1));
    let target = v6(1).octets();
    let multicast = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let with_options = |options: &[u8]| advertisement().payload([&target[..], options].concat()).build();
    let option = [2, 1, 1, 2, 3, 4, 5, 6];
    check("hop limit 254", &advertisement().ttl(254).build(), Err(NdHopLimit));
    check("code 1", &emit::icmp(v6(1), v6(2), 136, 1, [0; 4]).ttl(255).payload(target).build(), Err(NdCode));
    check("multicast target", &advertisement().payload(multicast).build(), Err(NdTarget));
    check("unspecified target", &advertisement().payload([0; 16]).build(), Err(NdTarget));
    check("too short", &advertisement().payload([1; 15]).build(), Err(Truncated));
    check("no option", &with_options(&[]), Ok(()));
    check("option of length 0", &with_options(&[2, 0, 1, 2, 3, 4, 5, 6]), Err(NdOption));
    check("option beyond the message", &with_options(&[2, 2, 1, 2, 3, 4, 5, 6]), Err(NdOption));
    check("address option of 16 bytes", &with_options(&[&[2, 2][..], &[0; 14]].concat()), Err(NdOption));
    check("repeated option", &with_options(&[option, option].concat()), Err(NdOption));
    check("half an option", &with_options(&[2]), Err(NdOption));
    check("too many options", &with_options(&[14, 1, 0, 0, 0, 0, 0, 0].repeat(33)), Err(NdOption));
    check("as many as may be", &with_options(&[14, 1, 0, 0, 0, 0, 0, 0].repeat(32)), Ok(()));
}

/// The list is what metrics are made from: complete, in order, words unique.
#[test]
fn the_list_of_causes() {
    let mut words = std::collections::HashSet::new();
    for (index, cause) in Malformed::ALL.iter().enumerate() {
        assert_eq!(*cause as usize, index);
        assert!(words.insert(cause.name()), "{} twice", cause.name());
        assert!(cause.name().chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
        assert!(cause.sentence().ends_with('.'));
    }
}
