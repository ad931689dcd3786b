//! Copying a frame out of guest memory and summing it up on the way, for the transport's checksum: each byte is loaded once, and
//! what is summed is what was stored. The Ethernet header, which no checksum covers, is not counted.
//!
//! Words are taken as signed by flipping their highest bit, so that one multiply-add adds pairs of them into 32-bit lanes; what
//! the flip took off each word is added back at the end. A lane takes 2^15 additions before it can overflow, 16 bytes or more
//! each, and four lanes together 2^13: twice the longest frame.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m128i, __m256i, _mm_add_epi32, _mm_and_si128, _mm_cvtsi128_si32, _mm_madd_epi16, _mm_set_epi16, _mm_set1_epi16,
    _mm_shuffle_epi32, _mm_xor_si128, _mm256_add_epi32, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_madd_epi16, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_xor_si256,
};

use inspect::wire::{ETHERNET_HEADER_LEN, FrameSum};

use super::Unaligned;

/// Length of a vector. The Ethernet header ends in the first one, a word before its end.
const VECTOR_LEN: usize = 16;
const _: () = assert!(ETHERNET_HEADER_LEN == VECTOR_LEN - 2);

/// Copies one `T`, reading it once, and answers it.
///
/// # Safety
/// `from` is mapped and `to` private memory, both with room for a `T`; any bytes are a valid `T`.
#[inline(always)]
unsafe fn take<T: Copy>(from: *const u8, to: *mut u8) -> T {
    // SAFETY: by contract; `Unaligned` needs no alignment.
    unsafe {
        let value = from.cast::<Unaligned<T>>().read_volatile();
        to.cast::<Unaligned<T>>().write(value);
        value.0
    }
}

/// Copies and sums what is left behind the last whole vector: fewer than 16 bytes.
///
/// # Safety
/// As [`copy`].
#[inline(always)]
unsafe fn copy_rest(from: *const u8, to: *mut u8, len: usize) -> u64 {
    let (mut at, mut sum) = (0, 0);
    // SAFETY: each step stays within `len`, for which the contract speaks.
    unsafe {
        if len & 8 != 0 {
            let word: u64 = take(from, to);
            sum = (word & 0xffff_ffff) + (word >> 32);
            at = 8;
        }
        if len & 4 != 0 {
            sum += u64::from(take::<u32>(from.add(at), to.add(at)));
            at += 4;
        }
        if len & 2 != 0 {
            sum += u64::from(take::<u16>(from.add(at), to.add(at)));
            at += 2;
        }
        if len & 1 != 0 {
            sum += u64::from(u16::from_ne_bytes([take::<u8>(from.add(at), to.add(at)), 0]));
        }
    }
    sum
}

/// What flipping the highest bit has taken off the sum of `bytes` bytes' words.
#[cfg(target_arch = "x86_64")]
const fn flipped(bytes: usize) -> u64 {
    (bytes as u64 / 2) << 15
}

/// The sum of a vector's signed 32-bit lanes, each of them below 2^29.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn lanes(vector: __m128i) -> i64 {
    // SAFETY: SSE2 is part of x86-64.
    let sum = unsafe {
        let pairs = _mm_add_epi32(vector, _mm_shuffle_epi32::<0b00_01_10_11>(vector));
        _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32::<1>(pairs)))
    };
    i64::from(sum)
}

/// Copies a frame of `len` bytes and answers its sum as 16-bit words in native order, congruent modulo 65,535, an odd last byte
/// padded with zero.
///
/// # Safety
/// `from` and the `len` bytes behind it are mapped; `to` is private memory with room for them, apart from the former.
#[inline(always)]
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) -> FrameSum {
    if len < VECTOR_LEN {
        // SAFETY: by contract.
        return unsafe { copy_header(from, to, len) };
    }
    // SAFETY: by contract.
    FrameSum(unsafe { copy_vectors(from, to, len) })
}

/// As [`copy`], for less than a vector.
///
/// # Safety
/// As [`copy`].
#[cold]
unsafe fn copy_header(from: *const u8, to: *mut u8, len: usize) -> FrameSum {
    // SAFETY: by contract; the slice is of private memory that was just written.
    unsafe {
        copy_rest(from, to, len);
        FrameSum::of(std::slice::from_raw_parts(to, len))
    }
}

/// As [`copy`], for a vector at least.
///
/// # Safety
/// As [`copy`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn copy_vectors(from: *const u8, to: *mut u8, len: usize) -> u64 {
    if len > SHORT && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2; the rest by contract.
        return unsafe { copy_avx2(from, to, len) };
    }
    // SAFETY: by contract. SSE2 is part of x86-64.
    unsafe {
        let (ones, flip) = (_mm_set1_epi16(1), _mm_set1_epi16(i16::MIN));
        let first = _mm_and_si128(take(from, to), _mm_set_epi16(-1, 0, 0, 0, 0, 0, 0, 0));
        let mut sum = _mm_madd_epi16(_mm_xor_si128(first, flip), ones);
        let (mut at, whole) = (16, len & !15);
        while at != whole {
            let words: __m128i = take(from.add(at), to.add(at));
            sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_xor_si128(words, flip), ones));
            at += 16;
        }
        (lanes(sum) as u64).wrapping_add(flipped(at)) + copy_rest(from.add(at), to.add(at), len - at)
    }
}

/// Length up to which calling the function for wider vectors does not pay.
#[cfg(target_arch = "x86_64")]
const SHORT: usize = 128;

/// As [`copy_vectors`], 64 bytes a step.
///
/// # Safety
/// As [`copy`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn copy_avx2(from: *const u8, to: *mut u8, len: usize) -> u64 {
    let (ones, flip) = (_mm256_set1_epi16(1), _mm256_set1_epi16(i16::MIN));
    // SAFETY: within `len`, for which the contract speaks.
    let header = _mm_and_si128(unsafe { take(from, to) }, _mm_set_epi16(-1, 0, 0, 0, 0, 0, 0, 0));
    let mut sum = _mm_madd_epi16(_mm_xor_si128(header, _mm_set1_epi16(i16::MIN)), _mm_set1_epi16(1));
    let (mut first, mut second) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    let mut at = 16;
    while at + 64 <= len {
        // SAFETY: as above.
        let (low, high): (__m256i, __m256i) =
            unsafe { (take(from.add(at), to.add(at)), take(from.add(at + 32), to.add(at + 32))) };
        first = _mm256_add_epi32(first, _mm256_madd_epi16(_mm256_xor_si256(low, flip), ones));
        second = _mm256_add_epi32(second, _mm256_madd_epi16(_mm256_xor_si256(high, flip), ones));
        at += 64;
    }
    let both = _mm256_add_epi32(first, second);
    let both = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
    sum = _mm_add_epi32(sum, both);
    let (ones, flip) = (_mm_set1_epi16(1), _mm_set1_epi16(i16::MIN));
    while at + 16 <= len {
        // SAFETY: as above.
        let words: __m128i = unsafe { take(from.add(at), to.add(at)) };
        sum = _mm_add_epi32(sum, _mm_madd_epi16(_mm_xor_si128(words, flip), ones));
        at += 16;
    }
    // SAFETY: as above.
    let rest = unsafe { copy_rest(from.add(at), to.add(at), len - at) };
    (lanes(sum) as u64).wrapping_add(flipped(at)) + rest
}

/// As above, 8 bytes a step.
///
/// # Safety
/// As [`copy`].
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn copy_vectors(from: *const u8, to: *mut u8, len: usize) -> u64 {
    // SAFETY: by contract.
    unsafe {
        take::<u64>(from, to);
        take::<u32>(from.add(8), to.add(8));
        take::<u16>(from.add(12), to.add(12));
        let mut sum = u64::from(take::<u16>(from.add(14), to.add(14)));
        let mut at = VECTOR_LEN;
        while at + 8 <= len {
            let word: u64 = take(from.add(at), to.add(at));
            sum += (word & 0xffff_ffff) + (word >> 32);
            at += 8;
        }
        sum + copy_rest(from.add(at), to.add(at), len - at)
    }
}

#[cfg(test)]
mod tests {
    use inspect::wire::{FrameSum, checksum};

    #[test]
    fn any_length_is_copied_and_summed_as_the_plain_sum_says() {
        let mut random: u32 = 7;
        let mut bytes = vec![0u8; 70_000];
        for fill in 0..3 {
            for byte in &mut bytes {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = [(random >> 24) as u8, 0xff, 0][fill];
            }
            for len in (0..400).chain([1_500, 9_001, 65_535, 65_549]).filter(|len| !cfg!(miri) || len % 13 == 0) {
                let from = &bytes[3..3 + len];
                let mut to = vec![0xa5; len + 1];
                // SAFETY: both have `len` bytes.
                let FrameSum(sum) = unsafe { super::copy(from.as_ptr(), to.as_mut_ptr(), len) };
                assert_eq!((&to[..len], to[len]), (from, 0xa5), "{len} bytes");
                let (sum, plain) = (checksum::fold(sum), checksum::fold(FrameSum::of(from).0));
                assert_eq!(sum % 0xffff, plain % 0xffff, "{len} bytes of kind {fill}");
                assert_eq!(sum == 0, plain == 0, "only zeros sum up to nothing");
            }
        }
    }
}
