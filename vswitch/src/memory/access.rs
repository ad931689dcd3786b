//! Touching guest memory. Nothing else in the switch dereferences a guest's address.
//!
//! All of it races with the guest by design. Single words are volatile or atomic accesses, so the compiler can neither repeat
//! nor split them. Runs of bytes go through `memcpy`, whose source or destination is only ever a raw pointer; a compiler
//! fence behind each keeps the optimiser from looking through our private copy back at the guest's bytes. Long runs are copied
//! by [`long`], for where buffers start is the guest's choice.
//!
//! In this crate's own tests every read is reported to `watch`, which fails the test when one byte is read twice in one pass.

use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering, compiler_fence};

use inspect::wire::FrameSum;

mod long;
mod summed;
#[cfg(test)]
pub(crate) mod watch;

/// Length of a cache line in bytes.
const LINE: usize = 64;

/// A value at any address.
#[derive(Clone, Copy)]
#[repr(C, packed)]
pub(crate) struct Unaligned<T>(pub(crate) T);

#[inline(always)]
fn observed(at: *const u8, len: usize) {
    #[cfg(test)]
    watch::read(at, len);
    #[cfg(not(test))]
    let _ = (at, len);
}

/// Reads a ring index that the guest publishes, before anything that the guest wrote ahead of it.
///
/// # Safety
/// `at` is aligned to 2 and lies in a mapped region.
#[inline(always)]
pub(crate) unsafe fn load_acquire_u16(at: *const u16) -> u16 {
    // SAFETY: by contract; the guest's own accesses to the word are atomic as far as the processor is concerned.
    let value = unsafe { AtomicU16::from_ptr(at.cast_mut()) }.load(Ordering::Acquire);
    observed(at.cast(), 2);
    value
}

/// Publishes a ring index, after everything that we wrote ahead of it.
///
/// # Safety
/// As [`load_acquire_u16`].
#[inline(always)]
pub(crate) unsafe fn store_release_u16(at: *mut u16, value: u16) {
    // SAFETY: by contract, as in `load_acquire_u16`.
    unsafe { AtomicU16::from_ptr(at) }.store(value, Ordering::Release);
}

/// Reads one value, once.
///
/// # Safety
/// `at` is aligned for `T` and lies with all of `T` in a mapped region; any bytes are a valid `T`.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(at: *const T) -> T {
    // SAFETY: by contract.
    let value = unsafe { ptr::read_volatile(at) };
    observed(at.cast(), size_of::<T>());
    value
}

/// Writes one value.
///
/// # Safety
/// As [`load`].
#[inline(always)]
pub(crate) unsafe fn store<T: Copy>(at: *mut T, value: T) {
    // SAFETY: by contract.
    unsafe { ptr::write_volatile(at, value) };
}

/// Writes one value at any address, to be published by a later [`store_release_u16`].
///
/// # Safety
/// `at` lies with all of `T` in a mapped region.
#[inline(always)]
pub(crate) unsafe fn store_unaligned<T: Copy>(at: *mut u8, value: T) {
    // SAFETY: by contract. (A volatile write of a packed value goes by way of the stack.)
    unsafe { ptr::write_unaligned(at.cast(), value) };
}

/// Copies guest bytes into private memory.
///
/// # Safety
/// `from` and the `to.len()` bytes behind it lie in a mapped region.
#[inline(always)]
pub(crate) unsafe fn copy_in(from: *const u8, to: &mut [u8]) {
    // SAFETY: by contract; `to` is private memory, so the two do not overlap.
    unsafe { copy(from, to.as_mut_ptr(), to.len()) };
    compiler_fence(Ordering::SeqCst);
    observed(from, to.len());
}

/// Copies a frame into private memory and sums up what it has copied, behind the Ethernet header.
///
/// # Safety
/// As [`copy_in`].
#[inline(always)]
pub(crate) unsafe fn copy_in_summed(from: *const u8, to: &mut [u8]) -> FrameSum {
    // SAFETY: by contract; `to` is private memory, so the two do not overlap.
    let sum = unsafe { summed::copy(from, to.as_mut_ptr(), to.len()) };
    compiler_fence(Ordering::SeqCst);
    observed(from, to.len());
    sum
}

/// Copies private bytes into guest memory.
///
/// # Safety
/// As [`copy_in`], for `to`.
#[inline(always)]
pub(crate) unsafe fn copy_out(from: &[u8], to: *mut u8) {
    // SAFETY: by contract; `from` is private memory, so the two do not overlap. Two halves of the shortest frames, the
    // second over what the first has of it, cost less than a call.
    unsafe {
        if (SHORT_HALF..=2 * SHORT_HALF).contains(&from.len()) {
            let last = from.len() - SHORT_HALF;
            ptr::copy_nonoverlapping(from.as_ptr(), to, SHORT_HALF);
            ptr::copy_nonoverlapping(from.as_ptr().add(last), to.add(last), SHORT_HALF);
        } else {
            copy(from.as_ptr(), to, from.len());
        }
    }
    compiler_fence(Ordering::SeqCst);
}

/// Copies `len` bytes.
///
/// # Safety
/// Both have `len` bytes, and they do not overlap.
#[inline(always)]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: by contract.
    unsafe {
        if len > long::MEMCPY_LEN_MAX {
            long::copy(from, to, len);
        } else {
            ptr::copy_nonoverlapping(from, to, len);
        }
    }
}

/// Copies bytes from private memory to private memory of the same length, as [`copy_in`] and [`copy_out`] do: by the lengths of
/// its frames a guest chooses where those lie, too.
///
/// # Panics
/// When the lengths differ.
pub(crate) fn copy_private(from: &[u8], to: &mut [u8]) {
    assert_eq!(from.len(), to.len(), "both have the same length");
    // SAFETY: both have the length; what is borrowed for writing overlaps nothing.
    unsafe { copy(from.as_ptr(), to.as_mut_ptr(), to.len()) };
}

/// Appends bytes to private memory; see [`copy_private`].
pub(crate) fn append_private(to: &mut Vec<u8>, from: &[u8]) {
    if from.len() <= long::MEMCPY_LEN_MAX {
        return to.extend_from_slice(from);
    }
    let len = to.len();
    to.resize(len + from.len(), 0);
    copy_private(from, &mut to[len..]);
}

/// Frames of 32 to 64 bytes, the shortest ones, are copied in two halves.
const SHORT_HALF: usize = 32;

/// Asks for the cache lines of the first `len` bytes from `at` on, about `lines_max` at most, to be read.
#[inline(always)]
pub(crate) fn prefetch_read(at: *const u8, len: usize, lines_max: usize) {
    for_lines(at, len, lines_max, |at| {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a prefetch is a hint and faults on no address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = at;
    });
}

/// Asks for the cache lines of the first `len` bytes from `at` on, about `lines_max` at most, to be written. Each is
/// taken away from the guest's cache.
#[inline(always)]
pub(crate) fn prefetch_write(at: *const u8, len: usize, lines_max: usize) {
    for_lines(at, len, lines_max, |at| {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a prefetch is a hint and faults on no address; processors without PREFETCHW run it as a no-op.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = at;
    });
}

/// Asks for the lines of a receive buffer: those of the frame to be written, and that of the header before it, where it
/// is another one, to be read: the right header is usually there already, and then the line can stay in the guest's
/// cache as well.
#[inline(always)]
pub(crate) fn prefetch_receive_buffer(at: *const u8, header_len: usize, frame_len: usize, lines_max: usize) {
    let frame = at.wrapping_add(header_len);
    if (at as usize ^ frame as usize) >= LINE {
        prefetch_read(at, 1, 1);
    }
    prefetch_write(frame, frame_len, lines_max);
}

/// Calls for each line that so many bytes touch; for short frames without a loop.
#[inline(always)]
fn for_lines(at: *const u8, len: usize, lines_max: usize, mut each: impl FnMut(*const u8)) {
    if len <= LINE {
        each(at);
        each(at.wrapping_add(len.saturating_sub(1)));
    } else {
        let start = at as usize & (LINE - 1);
        (0..(start + len).div_ceil(LINE).min(lines_max))
            .for_each(|line| each(at.wrapping_add(line * LINE).wrapping_sub(start)));
    }
}
