//! Super-segments cut into frames: nothing is lost, each piece stands on its own.

use inspect::limits::SEGMENTS_PER_FRAME_MAX;
use inspect::wire::emit::FrameBuilder;
use inspect::wire::segment::{BufferTooShort, NotSegmentable, Segments};
use inspect::wire::{Checksums, Packet, TcpFlags, parse};
use proptest::prelude::*;

use crate::{tcp4, tcp6, udp4};

fn cut(frame: &[u8], payload_len_max: u16) -> Result<Vec<Vec<u8>>, NotSegmentable> {
    let headers = parse(frame, Checksums::TransportPartial).expect("a sound super-segment");
    let mut segments = Segments::new(frame, &headers, payload_len_max)?;
    let mut buffer = vec![0xee; segments.frame_len_max()];
    let mut pieces = Vec::new();
    while let Some(len) = segments.write_next(&mut buffer).expect("the buffer suffices") {
        pieces.push(buffer[..len].to_vec());
    }
    assert_eq!(pieces.len(), segments.count());
    Ok(pieces)
}

fn check(builder: &FrameBuilder, payload: &[u8], payload_len_max: u16) {
    let frame = builder.clone().payload(payload).padding(&[0xaa; 3]).partial_checksum().build();
    let original = Packet::parse(&frame, Checksums::TransportPartial).expect("sound");
    let tcp = original.tcp().expect("TCP");
    let pieces = cut(&frame, payload_len_max).expect("cuttable");
    let mut joined = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let packet = Packet::parse(piece, Checksums::Verify).expect("each piece is sound");
        let view = packet.tcp().expect("TCP");
        assert_eq!(packet.headers().end as usize, piece.len());
        assert_eq!(view.seq, tcp.seq.wrapping_add(joined.len() as u32));
        assert_eq!((view.ack, view.window, view.option_bytes), (tcp.ack, tcp.window, tcp.option_bytes));
        assert_eq!(packet.ip_id(), original.ip_id().map(|id| id.wrapping_add(index as u16)));
        assert_eq!((packet.source(), packet.destination()), (original.source(), original.destination()));
        let (is_first, is_last) = (index == 0, index + 1 == pieces.len());
        let mut expected = tcp.flags;
        if !is_last {
            expected = expected.without(TcpFlags::FIN | TcpFlags::PSH);
        }
        if !is_first {
            expected = expected.without(TcpFlags::CWR);
        }
        assert_eq!(view.flags, expected);
        assert!(packet.payload().len() <= usize::from(payload_len_max));
        joined.extend_from_slice(packet.payload());
    }
    assert_eq!(joined, payload);
}

#[test]
fn the_largest_frames() {
    check(&tcp4().ip_id(0xfffe), &vec![7; 65_535 - 40], 1460);
    check(&tcp6(), &vec![7; 65_535 - 23], 1440);
}

#[test]
fn what_is_not_cut() {
    let cut_of = |builder: &FrameBuilder, size| cut(&builder.clone().payload([0; 3000]).build(), size);
    assert_eq!(cut_of(&udp4(), 1000), Err(NotSegmentable::NotTcp));
    assert_eq!(cut(&tcp4().payload([0; 99]).fragments(32)[0], 8), Err(NotSegmentable::NotTcp));
    assert_eq!(cut_of(&tcp4().syn(), 1000), Err(NotSegmentable::Flags));
    assert_eq!(cut_of(&tcp4().rst(), 1000), Err(NotSegmentable::Flags));
    assert_eq!(cut_of(&tcp4().flags(TcpFlags::ACK | TcpFlags::URG), 1000), Err(NotSegmentable::Flags));
    assert_eq!(cut_of(&tcp4(), 0), Err(NotSegmentable::SegmentSize));
    let least = 3000usize.div_ceil(SEGMENTS_PER_FRAME_MAX) as u16;
    assert_eq!(cut_of(&tcp4(), least - 1), Err(NotSegmentable::SegmentSize));
    assert!(cut_of(&tcp4(), least).is_ok());
}

#[test]
fn a_short_buffer_loses_nothing() {
    let frame = tcp4().payload([1; 300]).build();
    let headers = parse(&frame, Checksums::Verify).expect("sound");
    let mut segments = Segments::new(&frame, &headers, 200).expect("cuttable");
    let mut buffer = [0; 400];
    assert_eq!(segments.write_next(&mut buffer[..253]), Err(BufferTooShort));
    assert_eq!(segments.write_next(&mut buffer), Ok(Some(254)));
    assert_eq!(segments.write_next(&mut buffer), Ok(Some(154)));
    assert_eq!(segments.write_next(&mut buffer), Ok(None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn joined_pieces_are_the_original(
        payload in proptest::collection::vec(any::<u8>(), 0..20_000),
        payload_len_max in 100u16..9000,
        seq in any::<u32>(),
        id in any::<u16>(),
        is_v6 in any::<bool>(),
        has_options in any::<bool>(),
        flags in prop::sample::select(vec![
            TcpFlags::ACK,
            TcpFlags::ACK | TcpFlags::PSH,
            TcpFlags::ACK | TcpFlags::FIN | TcpFlags::PSH | TcpFlags::CWR,
        ]),
    ) {
        let mut builder = if is_v6 { tcp6().extension(60, &[1, 4]) } else { tcp4().ip_options(&[148, 4, 0, 0]) };
        builder = builder.seq(seq).ip_id(id.into()).flags(flags);
        if has_options {
            builder = builder.timestamps(1, 2);
        }
        check(&builder, &payload, payload_len_max);
    }
}
