//! What the parser costs per frame, in nanoseconds: `cargo bench -p inspect --bench wire`.
//!
//! Each line is the best of many rounds over a batch of 32 frames, as a worker sees them: best, because everything that
//! disturbs a round makes it slower. The frames of a batch differ in their addresses, so that nothing can be hoisted.

use std::hint::black_box;
use std::time::Instant;

use inspect::flow_key::FlowKey;
use inspect::wire::{Checksums, Packet, checksum, emit};

const BATCH: u8 = 32;

/// Rounds of each measurement; few with `--short`, which only shows that it runs.
fn round_count() -> usize {
    if std::env::args().any(|word| word == "--short") { 10 } else { 20_000 }
}

fn main() {
    let v6 = |last: u8| [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x100 + u16::from(last)];
    let udp4 = |i: u8, len| emit::udp(([10, 0, 0, i + 1], 1000), ([10, 0, 1, i + 1], 53)).payload(vec![i; len]).build();
    let udp6 = |i: u8, len| emit::udp((v6(i), 1000), (v6(i + 64), 53)).payload(vec![i; len]).build();
    let tcp4 = |i: u8, len| {
        let tcp = emit::tcp(([10, 0, 0, i + 1], 1000), ([10, 0, 1, i + 1], 443)).timestamps(1, 2);
        tcp.payload(vec![i; len]).build()
    };
    use Checksums::{TransportPartial, Verify};
    let frames: Vec<Vec<u8>> = (0..BATCH).map(|i| udp4(i, 18)).collect();
    measure("nothing, what measuring costs", &frames, <[u8]>::len);
    parse("IPv4/UDP, 60 bytes, transport checksum left out", |i| udp4(i, 18), TransportPartial);
    parse("IPv4/UDP, 60 bytes", |i| udp4(i, 18), Verify);
    parse("IPv4/TCP with timestamps, 66 bytes", |i| tcp4(i, 0), Verify);
    parse("IPv6/UDP, 80 bytes", |i| udp6(i, 18), Verify);
    parse("IPv4/TCP, 1514 bytes, transport checksum left out", |i| tcp4(i, 1448), TransportPartial);
    parse("IPv4/TCP, 1514 bytes", |i| tcp4(i, 1448), Verify);
    parse("IPv4/TCP, 64 KiB", |i| tcp4(i, 65_000), Verify);
    let frames: Vec<Vec<u8>> = (0..BATCH).map(|i| udp4(i, 18)).collect();
    measure("IPv4/UDP, 60 bytes, with flow key", &frames, |frame| {
        let packet = Packet::parse(frame, TransportPartial).expect("sound");
        FlowKey::of(&packet)
    });
    let frames: Vec<Vec<u8>> = (0..BATCH).map(|i| vec![i; 1460]).collect();
    measure("checksum of 1460 bytes", &frames, |bytes| checksum::fold(checksum::sum(bytes)));
}

fn parse(name: &str, frame: impl Fn(u8) -> Vec<u8>, checksums: Checksums) {
    let frames: Vec<Vec<u8>> = (0..BATCH).map(frame).collect();
    measure(name, &frames, |frame| inspect::wire::parse(frame, checksums).expect("sound").payload_offset);
}

fn measure<T>(name: &str, frames: &[Vec<u8>], work: impl Fn(&[u8]) -> T) {
    let mut best_ns = f64::MAX;
    for _ in 0..round_count() {
        let start = Instant::now();
        for frame in frames {
            black_box(work(black_box(frame)));
        }
        best_ns = best_ns.min(start.elapsed().as_nanos() as f64 / frames.len() as f64);
    }
    println!("{name}: ns {best_ns:.1}");
}
