//! Thin wrappers around what only `unsafe` can reach: huge pages, prefetching, the time-stamp counter.

use std::ops::{Deref, DerefMut};

/// An array in its own mapping, on huge pages where the kernel has them (a large table on 4 KiB pages costs a TLB
/// miss beside each cache miss). Its size is fixed at start.
#[derive(Debug)]
pub struct HugeArray<T: Copy> {
    start: std::ptr::NonNull<T>,
    len: usize,
    mapped_len: usize,
}

/// Length of a huge page on x86-64, in bytes.
const HUGE_PAGE_LEN: usize = 2 << 20;

impl<T: Copy> HugeArray<T> {
    /// Maps `len` elements, at least one, and writes `value` to each, so that all its memory is there from the start.
    ///
    /// # Errors
    /// What the kernel said when it refused the mapping.
    pub fn filled(len: usize, value: T) -> std::io::Result<Self> {
        const { assert!(align_of::<T>() <= 4096) };
        let len = len.max(1);
        let wanted = len
            .checked_mul(size_of::<T>())
            .and_then(|bytes| bytes.checked_next_multiple_of(HUGE_PAGE_LEN))
            .ok_or(std::io::ErrorKind::OutOfMemory)?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches no memory of ours.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                wanted,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: advice on the mapping just made; it may be ignored, and changes no contents.
        unsafe { libc::madvise(address, wanted, libc::MADV_HUGEPAGE) };
        let start = std::ptr::NonNull::new(address.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        for index in 0..len {
            // SAFETY: the mapping is page-aligned and has room for `len` elements; nobody else knows of it yet.
            unsafe { start.add(index).write(value) };
        }
        Ok(Self { start, len, mapped_len: wanted })
    }
}

impl<T: Copy> HugeArray<T> {
    /// Asks the processor to fetch an element's first cache line. A hint: it cannot fail, whatever the index is.
    #[inline(always)]
    pub fn prefetch(&self, index: usize) {
        let at = self.start.as_ptr().wrapping_add(index);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: prefetching has no effect on memory or registers, and faults on no address.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
}

impl<T: Copy> Deref for HugeArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `start` is page-aligned, valid for `len` elements for as long as self lives, all of them written by `filled`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Copy> DerefMut for HugeArray<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Copy> Drop for HugeArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `filled` with this length and nothing borrows it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped_len) };
    }
}

// SAFETY: the array owns its mapping alone, as a Vec owns its buffer.
unsafe impl<T: Copy + Send> Send for HugeArray<T> {}

/// The time-stamp counter, in cycles of its own constant rate.
#[inline(always)]
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads a register that user space may read on every x86-64 system that runs Linux normally.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
    }
}
