//! Segments of one direction of a connection: bytes are given once, in order, and memory is given back.
#![no_main]

use inspect::stream::{Stream, StreamMemory};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut memory = StreamMemory::default();
    let mut stream = Stream::new(1, 1000);
    let (mut rest, mut next) = (data, 0);
    while let Some((&[at, length, flags], after)) = rest.split_first_chunk::<3>() {
        let (payload, left) = after.split_at(usize::from(length).min(after.len()));
        rest = left;
        let seq = 1000u32.wrapping_add(u32::from(at)).wrapping_sub(u32::from(flags >> 4));
        if flags & 2 != 0 {
            stream.acknowledge(seq, &mut memory);
        }
        let _ = stream.on_segment(seq, payload, flags & 1 != 0, &mut memory, |offset, bytes| {
            assert_eq!(offset.0, next);
            next += bytes.len() as u64;
        });
    }
    stream.release(&mut memory);
});
