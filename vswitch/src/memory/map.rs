//! The flat region table: where a guest-physical address lies in our address space.

use std::any::Any;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use vm_memory::{Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

use super::sigbus;

/// Regions that one guest may have. QEMU sends at most 8 in one table; the rest is for memory that is plugged in later.
pub const REGIONS_MAX: usize = 32;

/// One piece of guest-physical address space that is mapped here.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// First guest-physical address.
    pub guest: u64,
    /// Length in bytes.
    pub len: u64,
    /// Where it is mapped.
    pub host: *mut u8,
    /// Size in bytes of the pages behind it.
    pub page_len: usize,
}

impl Region {
    /// Address of `len` bytes at `guest` if the region holds them all, else null.
    #[inline(always)]
    pub(crate) fn locate(&self, guest: u64, len: u64) -> *mut u8 {
        // An address below the region wraps to a huge offset, which fails the first comparison.
        let offset = guest.wrapping_sub(self.guest);
        if offset < self.len && len <= self.len - offset {
            self.host.wrapping_add(offset as usize)
        } else {
            ptr::null_mut()
        }
    }
}

/// Why a guest's memory was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// More than [`REGIONS_MAX`] regions.
    Regions,
    /// The table of the SIGBUS guard is full.
    GuardFull,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapError::Regions => write!(f, "more than {REGIONS_MAX} memory regions"),
            MapError::GuardFull => write!(f, "no room left to guard further guest memory"),
        }
    }
}

impl std::error::Error for MapError {}

/// A guest's memory map. Immutable: a change of the guest's memory makes a new map, and the old one stays mapped until the
/// last ring that uses it has dropped its `Arc`.
pub struct GuestMap {
    regions: Box<[Region]>,
    // Dropped before `_mapping`: an address must have left the guard's table before something else can be mapped there.
    guard: sigbus::Guard,
    _mapping: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pointers in `regions` are plain numbers until somebody dereferences them, which only the unsafe functions of
// `access` do; the mapping that they point into is kept alive by `_mapping`.
unsafe impl Send for GuestMap {}
// SAFETY: as above, and nothing in a map changes after it is made.
unsafe impl Sync for GuestMap {}

impl fmt::Debug for GuestMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestMap").field("regions", &self.regions).finish_non_exhaustive()
    }
}

impl GuestMap {
    /// A map of `regions`, which stay mapped for as long as `mapping` lives, under the protection of the SIGBUS guard.
    ///
    /// # Safety
    /// Each region is memory mapped readable and writable over all its length until `mapping` is dropped, and may be
    /// replaced by anonymous memory in whole pages of `page_len` bytes; no Rust reference to it exists meanwhile.
    ///
    /// # Errors
    /// Too many regions, here or in all maps together.
    pub unsafe fn new(regions: Vec<Region>, mapping: Arc<dyn Any + Send + Sync>) -> Result<Self, MapError> {
        if regions.len() > REGIONS_MAX {
            return Err(MapError::Regions);
        }
        let spans = regions
            .iter()
            .map(|r| sigbus::Span { base: r.host as usize, len: (r.len as usize).next_multiple_of(r.page_len) });
        let guard = sigbus::guard(spans).ok_or(MapError::GuardFull)?;
        Ok(Self { regions: regions.into_boxed_slice(), guard, _mapping: mapping })
    }

    /// A map of what vhost-user-backend has mapped.
    ///
    /// # Errors
    /// As [`GuestMap::new`].
    pub fn from_mmap(memory: Arc<GuestMemoryMmap>) -> Result<Self, MapError> {
        let regions = memory
            .iter()
            .map(|region| Region {
                guest: region.start_addr().raw_value(),
                len: region.len(),
                host: region.as_ptr(),
                page_len: page_len(region.file_offset().map(|f| f.file())),
            })
            .collect();
        // SAFETY: vm-memory mapped these regions shared, readable and writable, keeps them mapped until the `Arc` is
        // dropped, and hands out raw pointers only.
        unsafe { Self::new(regions, memory) }
    }

    /// Whether some of the memory vanished. What was copied from the map since it was last seen whole may be zeros.
    pub fn is_lost(&self) -> bool {
        self.guard.tripped()
    }

    /// The regions, in the order in which they were given.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Address of `len` bytes at `guest` if one region holds them all, else null. `hint` is the index of the region that was
    /// hit last, kept by the caller.
    #[inline(always)]
    pub(crate) fn locate(&self, guest: u64, len: u64, hint: &mut usize) -> *mut u8 {
        match self.regions.get(*hint).map_or(ptr::null_mut(), |region| region.locate(guest, len)) {
            at if at.is_null() => self.locate_elsewhere(guest, len, hint),
            at => at,
        }
    }

    #[cold]
    fn locate_elsewhere(&self, guest: u64, len: u64, hint: &mut usize) -> *mut u8 {
        match self.contiguous(guest, hint) {
            Some((at, room)) if len <= room => at,
            _ => ptr::null_mut(),
        }
    }

    /// Address of the byte at `guest`, and how many bytes from there on lie in the same region.
    pub(crate) fn contiguous(&self, guest: u64, hint: &mut usize) -> Option<(*mut u8, u64)> {
        self.regions.iter().enumerate().find_map(|(index, region)| {
            let offset = guest.wrapping_sub(region.guest);
            (offset < region.len).then(|| {
                *hint = index;
                (region.host.wrapping_add(offset as usize), region.len - offset)
            })
        })
    }
}

/// Size of the pages behind a mapping of `file`: those of hugetlbfs can only be replaced whole.
fn page_len(file: Option<&std::fs::File>) -> usize {
    const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
    let huge = file
        .and_then(|f| rustix::fs::fstatfs(f).ok())
        .filter(|s| s.f_type as u64 == HUGETLBFS_MAGIC)
        .map(|s| s.f_bsize as usize);
    huge.unwrap_or_else(rustix::param::page_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map of two regions that are neighbours in guest-physical space but not here, and one far off.
    fn map() -> GuestMap {
        let region = |guest, len, host: usize| Region { guest, len, host: host as *mut u8, page_len: 4096 };
        let regions = vec![
            region(0x1000, 0x1000, 0x7000_0000),
            region(0x2000, 0x1000, 0x6000_0000),
            region(u64::MAX - 0xfff, 0xfff, 0x5000_0000),
        ];
        // SAFETY: nothing dereferences these addresses.
        unsafe { GuestMap::new(regions, Arc::new(())) }.unwrap()
    }

    #[test]
    fn addresses_are_located_inside_one_region_or_not_at_all() {
        let map = map();
        #[track_caller]
        fn check(map: &GuestMap, guest: u64, len: u64, expected: usize) {
            for hint in 0..4 {
                assert_eq!(map.locate(guest, len, &mut hint.clone()) as usize, expected, "{guest:#x} + {len:#x}");
            }
        }
        check(&map, 0x1000, 0x1000, 0x7000_0000);
        check(&map, 0x1fff, 1, 0x7000_0fff);
        check(&map, 0x1fff, 2, 0);
        check(&map, 0x1fff, 0, 0x7000_0fff);
        check(&map, 0x2000, 0x1000, 0x6000_0000);
        check(&map, 0x3000, 0, 0);
        check(&map, 0xfff, 1, 0);
        check(&map, 0, u64::MAX, 0);
        check(&map, 0x1000, u64::MAX, 0);
        check(&map, u64::MAX - 0xfff, 0xfff, 0x5000_0000);
        check(&map, u64::MAX - 0xfff, 0x1000, 0);
        check(&map, u64::MAX, 1, 0);
    }

    #[test]
    fn the_contiguous_part_ends_with_the_region() {
        let map = map();
        assert_eq!(map.contiguous(0x1ffe, &mut 0), Some((0x7000_0ffe as *mut u8, 2)));
        assert_eq!(map.contiguous(0x2000, &mut 0), Some((0x6000_0000 as *mut u8, 0x1000)));
        assert_eq!(map.contiguous(0x3000, &mut 0), None);
    }
}
