//! Bulk TCP from one guest to the other: in super-segments of 64 KiB, which guests with offloads exchange whole, and in frames
//! of 1514 bytes, with their checksum left out (by the same guests) or written by the sender. Payload bytes per second of the
//! switch's thread; the answers of the receiver are carried too, and not timed. Beside them what the copies alone cost, over
//! memory of the same extent: out of the sender's memory and into the receiver's, and straight from one to the other.

use inspect::wire::{TcpFlags, emit};
use vswitch::sys;

use crate::Effort;
use crate::guest::{HEADER_LEN, Shape};
use crate::report;
use crate::rig::{ADDRESSES, GUESTS, Rig};

/// Payload bytes of a frame of 1514 bytes.
const SEGMENT_LEN: usize = 1_460;
/// Segments in a super-segment: as many as an IP datagram holds.
const SEGMENTS_MAX: usize = 44;
const ENDS: [([u8; 4], u16); 2] = [(ADDRESSES[0], 40_000), (ADDRESSES[1], 5_001)];
/// Where the sequence number is in a frame.
const SEQ: std::ops::Range<usize> = 38..42;
/// Where the checksum is in a frame.
const CHECKSUM: std::ops::Range<usize> = 50..52;

/// How the sender makes its frames.
#[derive(Clone, Copy)]
struct Manner {
    name: &'static str,
    segments: usize,
    burst: usize,
    has_offloads: bool,
}

const MANNERS: [Manner; 4] = [
    Manner { name: "1514-checksummed", segments: 1, burst: 32, has_offloads: false },
    Manner { name: "1514-partial", segments: 1, burst: 32, has_offloads: true },
    Manner { name: "64k-burst-1", segments: SEGMENTS_MAX, burst: 1, has_offloads: true },
    Manner { name: "64k-burst-4", segments: SEGMENTS_MAX, burst: 4, has_offloads: true },
];

fn from(guest: usize) -> emit::FrameBuilder {
    emit::tcp(ENDS[guest], ENDS[1 - guest]).macs(GUESTS[guest].2, GUESTS[1 - guest].2)
}

/// Carries one frame that no offload concerns.
fn say(rig: &mut Rig, guest: usize, frame: &[u8]) {
    rig.guests[guest].send_chain([0; HEADER_LEN], frame);
    rig.carry(guest, 1);
    assert_eq!(rig.guests[1 - guest].take(), 1, "the handshake and acknowledgements pass");
}

/// The virtio-net header of a frame whose checksum is left out, of so many segments.
fn offload_header(segments: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    // NEEDS_CSUM, from byte 34 on, written 16 bytes further on.
    header[0] = 1;
    header[6..8].copy_from_slice(&34u16.to_le_bytes());
    header[8..10].copy_from_slice(&16u16.to_le_bytes());
    if segments > 1 {
        header[1] = 1;
        header[2..4].copy_from_slice(&54u16.to_le_bytes());
        header[4..6].copy_from_slice(&(SEGMENT_LEN as u16).to_le_bytes());
    }
    header
}

/// Sets the sequence number; a checksum that is written follows it (RFC 1624), one that is left out does not cover it.
fn set_seq(frame: &mut [u8], seq: u32, is_checksummed: bool) {
    if is_checksummed {
        let word = |at: usize| u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let old = (0xffff - word(SEQ.start)) + (0xffff - word(SEQ.start + 2));
        let mut sum = (0xffff - word(CHECKSUM.start)) + old + (seq >> 16) + (seq & 0xffff);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        frame[CHECKSUM].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    frame[SEQ].copy_from_slice(&seq.to_be_bytes());
}

fn transfer(effort: Effort, manner: Manner) -> f64 {
    let shape = Shape { buffer_len: 4_096, has_offloads: manner.has_offloads, ..Shape::plain(256) };
    let mut rig = Rig::new(effort, shape);
    say(&mut rig, 0, &from(0).syn().seq(0).ack(0).mss(1_460).window_scale(10).build());
    say(&mut rig, 1, &from(1).syn_ack().seq(0).ack(1).mss(1_460).window_scale(10).build());
    say(&mut rig, 0, &from(0).build());
    // A window counts as scaled only from here on.
    say(&mut rig, 1, &from(1).build());
    let payload_len = manner.segments * SEGMENT_LEN;
    let data = from(0).flags(TcpFlags::ACK).payload(vec![0x5a; payload_len]);
    let mut frame = if manner.has_offloads { data.partial_checksum().build() } else { data.build() };
    let header = if manner.has_offloads { offload_header(manner.segments) } else { [0; HEADER_LEN] };
    let mut seq = 1u32;
    let mut cycles = Vec::new();
    for _ in 0..effort.rounds(if manner.segments > 1 { 8_000 } else { 30_000 }) {
        for _ in 0..manner.burst {
            set_seq(&mut frame, seq, !manner.has_offloads);
            rig.guests[0].send_chain(header, &frame);
            seq = seq.wrapping_add(payload_len as u32);
        }
        cycles.push((rig.carry(0, manner.burst) / manner.burst as u64) as u32);
        assert_eq!(rig.guests[1].take(), manner.burst as u64, "every frame arrives, and whole");
        say(&mut rig, 1, &from(1).ack(seq).build());
        rig.now_us += 10;
    }
    report::cycles(&format!("segments {}", manner.name), &mut cycles);
    let median = f64::from(report::percentile(&mut cycles, 50.0));
    payload_len as f64 * report::cycles_per_s() / median
}

/// Bytes of the guests' buffers in [`copies`], from one to the next, and how many each guest has.
const BUFFER_LEN: usize = 4_096;
const STRIDE: usize = BUFFER_LEN + 128;
const BUFFERS: usize = 256;
const PAGE_LEN: usize = 4_096;

/// Bytes per second of super-segments that are only copied, from guest memory to guest memory: over memory of the switch's own,
/// or straight.
fn copies(effort: Effort, is_straight: bool) -> f64 {
    let payload_len = SEGMENTS_MAX * SEGMENT_LEN;
    let memory = |len: usize| vec![0x5au8; len + 2 * PAGE_LEN];
    let (sender, mut receiver, mut own) = (memory(BUFFERS * STRIDE), memory(BUFFERS * STRIDE), memory(payload_len));
    // Where they lie within a page decides how fast `memcpy` is; like this it is as fast as it can be.
    let place = |memory: &[u8], wanted: usize| (wanted + PAGE_LEN - memory.as_ptr().addr() % PAGE_LEN) % PAGE_LEN;
    let (sender, receiver_at, own_at) = (&sender[place(&sender, 0)..], place(&receiver, 2_048), place(&own, 1_024));
    let (receiver, own) = (&mut receiver[receiver_at..], &mut own[own_at..][..payload_len]);
    let mut cycles = Vec::new();
    let mut first = 0;
    for _ in 0..effort.rounds(8_000) {
        let before = sys::cycles();
        let places = (first..first + payload_len.div_ceil(BUFFER_LEN)).map(|place| place % BUFFERS * STRIDE);
        for (at, own) in places.clone().zip(own.chunks_mut(BUFFER_LEN)) {
            let at = at..at + own.len();
            if is_straight {
                receiver[at.clone()].copy_from_slice(&sender[at]);
            } else {
                own.copy_from_slice(&sender[at]);
            }
        }
        if !is_straight {
            for (at, own) in places.zip(own.chunks(BUFFER_LEN)) {
                receiver[at..at + own.len()].copy_from_slice(own);
            }
        }
        first += payload_len.div_ceil(BUFFER_LEN);
        std::hint::black_box(&mut *receiver);
        cycles.push((sys::cycles() - before) as u32);
    }
    payload_len as f64 * report::cycles_per_s() / f64::from(report::percentile(&mut cycles, 50.0))
}

pub(super) fn measure(effort: Effort) {
    for manner in MANNERS {
        println!("segments {}: bytes/s {:.0}", manner.name, transfer(effort, manner));
    }
    println!("segments 64k-copied-twice: bytes/s {:.0}", copies(effort, false));
    println!("segments 64k-copied-once: bytes/s {:.0}", copies(effort, true));
}
