//! Frames of which some are fragments, into one table.
#![no_main]

use inspect::fragments::{FragmentOutcome, FragmentTable};
use inspect::wire::{Checksums, Packet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut table = FragmentTable::default();
    let (mut rest, mut now_ms, mut discarded) = (data, 0, Vec::new());
    while let Some((&[high, low], after)) = rest.split_first_chunk::<2>() {
        let (frame, next) = after.split_at((usize::from(high & 7) << 8 | usize::from(low)).min(after.len()));
        rest = next;
        now_ms += u64::from(high >> 3) * 100;
        let Ok(packet) = Packet::parse(frame, Checksums::Unchecked) else { continue };
        if packet.headers().fragment.is_none() {
            continue;
        }
        if let Ok(FragmentOutcome::Complete(whole)) = table.insert(u32::from(high & 1), &packet, now_ms, &mut discarded)
        {
            let _ = Packet::parse(&whole.frame, Checksums::Unchecked);
        }
    }
    table.remove_domain(0, &mut discarded);
    table.remove_domain(1, &mut discarded);
    assert_eq!(table.byte_count(), 0);
});
