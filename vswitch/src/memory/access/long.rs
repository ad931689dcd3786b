//! Copying long runs of bytes at a speed that does not hang on where they lie.
//!
//! What it guards against: from a few kilobytes on, the C library's `memcpy` leaves the work to the processor's `rep movsb`. On
//! AMD's Zen 3 that takes twelve times as long when the destination lies 1 to 31 bytes behind the source as their addresses
//! within a page go (0.86 cycles a byte instead of 0.07, measured with 4,000 and 8,000 bytes). A guest chooses where its buffers
//! start. Vectors take what they take: by half as long again where it is worst.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::__m256i;

#[cfg(target_arch = "x86_64")]
use super::Unaligned;

/// Length up to which `memcpy` uses vectors itself, whatever processor its author had in mind.
pub(super) const MEMCPY_LEN_MAX: usize = 2_048;

#[cfg(target_arch = "x86_64")]
const VECTOR_LEN: usize = size_of::<__m256i>();

/// Copies `len` bytes, more than [`MEMCPY_LEN_MAX`]. Some are read twice, and written again as they were read last.
///
/// # Safety
/// Both have `len` bytes, and they do not overlap.
#[cold]
#[inline(never)]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; the rest by contract.
        return unsafe { copy_avx2(from, to, len) };
    }
    // SAFETY: by contract. Processors without AVX2 are older than the fast `rep movsb`.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
}

/// As [`copy`]: the first and the last vector wherever they fall, what is between them by aligned stores, four loads ahead of
/// four stores.
///
/// # Safety
/// As [`copy`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn copy_avx2(from: *const u8, to: *mut u8, len: usize) {
    debug_assert!(len >= VECTOR_LEN);
    // SAFETY: wherever it is called below, `at` and the vector behind it lie within `len`.
    let load = |at: usize| unsafe { from.add(at).cast::<Unaligned<__m256i>>().read_volatile().0 };
    // SAFETY: as above.
    let store_anywhere = |at: usize, value| unsafe { to.add(at).cast::<Unaligned<__m256i>>().write(Unaligned(value)) };
    let last = len - VECTOR_LEN;
    store_anywhere(0, load(0));
    // The first aligned place behind the start.
    let mut at = VECTOR_LEN - to.addr() % VECTOR_LEN;
    // SAFETY: as above; `at` moves by whole vectors, so it stays aligned.
    let store = |at: usize, value| unsafe { to.add(at).cast::<__m256i>().write(value) };
    while at + 4 * VECTOR_LEN <= len {
        let values = [0, 1, 2, 3].map(|n| load(at + n * VECTOR_LEN));
        for (n, value) in values.into_iter().enumerate() {
            store(at + n * VECTOR_LEN, value);
        }
        at += 4 * VECTOR_LEN;
    }
    while at + VECTOR_LEN <= len {
        store(at, load(at));
        at += VECTOR_LEN;
    }
    store_anywhere(last, load(last));
}

#[cfg(test)]
mod tests {
    use crate::memory::access;

    #[test]
    fn every_length_is_copied_whole_and_no_further_wherever_it_lies() {
        let bytes: Vec<u8> = (0..70_000u32).map(|n| (n ^ n >> 8) as u8).collect();
        let edges = (1_900..2_200).chain([4_095, 4_096, 4_097, 9_000, 65_535, 65_549]);
        // Miri takes a thousand times as long for a byte.
        for (start, len) in edges.enumerate().filter(|(start, _)| !cfg!(miri) || start % 60 == 0) {
            let from = &bytes[start % 67..][..len];
            let place = 1 + start % 41..1 + start % 41 + len;
            let fresh = || vec![0xa5; place.end + 1];
            let (mut plain, mut inward, mut outward, mut appended) =
                (fresh(), fresh(), fresh(), vec![0xa5; place.start]);
            access::copy_private(from, &mut plain[place.clone()]);
            access::append_private(&mut appended, from);
            appended.push(0xa5);
            // SAFETY: each has `len` bytes there, and they are apart.
            unsafe {
                access::copy_in(from.as_ptr(), &mut inward[place.clone()]);
                access::copy_out(from, outward.as_mut_ptr().add(place.start));
            }
            for copied in [plain, inward, outward, appended] {
                assert_eq!(&copied[place.clone()], from, "{len} bytes");
                assert!(copied[..place.start].iter().all(|byte| *byte == 0xa5) && copied[place.end..] == [0xa5]);
            }
        }
    }
}
