//! What a front-end's file descriptors must be before anybody maps, polls or writes them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fcntl_getfl, fstat, fstatfs};

use super::message::{Closing, MemoryRegion};
use crate::memory::REGIONS_MAX;

const TMPFS_MAGIC: u64 = 0x0102_1994;
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

/// Checks that a descriptor is an eventfd: a write to it moves 8 bytes of kernel memory and runs nobody's code, where a pipe
/// could fill up and a FUSE file could answer when it likes.
pub(crate) fn check_eventfd(file: &OwnedFd) -> Result<(), Closing> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    match link {
        Ok(target) if target.as_os_str() == "anon_inode:[eventfd]" => Ok(()),
        _ => Err(Closing::Broken("not an eventfd")),
    }
}

/// Checks the file behind a memory region, and seals it against shrinking where its owner allows that. Whether it is sealed
/// in the end. The order matters: the size is looked at after the seal.
pub(crate) fn check_memory_file(file: &OwnedFd, region: &MemoryRegion) -> Result<bool, Closing> {
    let fd = file.as_fd();
    let broken = Closing::Broken;
    let stat = fstat(fd).map_err(|e| Closing::System("fstat", e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(broken("memory is not a regular file"));
    }
    let fs = fstatfs(fd).map_err(|e| Closing::System("fstatfs", e))?;
    // Memory file systems only: pages of any other (FUSE, NFS) may take as long to come as their server likes.
    let page_len = match fs.f_type as u64 {
        TMPFS_MAGIC => rustix::param::page_size() as u64,
        HUGETLBFS_MAGIC => fs.f_bsize as u64,
        _ => return Err(broken("memory is not on tmpfs or hugetlbfs")),
    };
    let flags = fcntl_getfl(fd).map_err(|e| Closing::System("fcntl", e))?;
    if flags & OFlags::RWMODE != OFlags::RDWR || flags.contains(OFlags::PATH) {
        return Err(broken("memory is not open for reading and writing"));
    }
    if !region.offset.is_multiple_of(page_len) || !region.len.is_multiple_of(page_len) {
        return Err(broken("memory region is not made of whole pages"));
    }
    let is_sealed = seal(fd)?;
    let size = fstat(fd).map_err(|e| Closing::System("fstat", e))?.st_size as u64;
    // Mapping beyond the end succeeds, and the first touch is a SIGBUS.
    if region.offset.checked_add(region.len).is_none_or(|end| end > size) {
        return Err(broken("memory region is longer than its file"));
    }
    Ok(is_sealed)
}

/// Whether the file is, or now is, sealed against shrinking.
fn seal(fd: BorrowedFd<'_>) -> Result<bool, Closing> {
    let Ok(seals) = fcntl_get_seals(fd) else {
        return Ok(false);
    };
    if seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE) {
        return Err(Closing::Broken("memory is sealed against writing"));
    }
    Ok(seals.contains(SealFlags::SHRINK) || fcntl_add_seals(fd, SealFlags::SHRINK).is_ok())
}

/// Checks regions against each other and against the port's quota: no region is empty or wraps around, none overlaps another,
/// by the guest's addresses or by the front-end's.
pub(crate) fn check_regions(regions: &[MemoryRegion], memory_len_max: u64) -> Result<(), Closing> {
    let broken = Closing::Broken;
    if regions.is_empty() || regions.len() > REGIONS_MAX {
        return Err(broken("number of memory regions"));
    }
    let mut total: u64 = 0;
    for (index, region) in regions.iter().enumerate() {
        total = total.checked_add(region.len).ok_or(broken("memory quota"))?;
        let fits = |start: u64| start.checked_add(region.len).is_some();
        if region.len == 0 || !fits(region.guest) || !fits(region.user) || !fits(region.offset) {
            return Err(broken("memory region bounds"));
        }
        let overlap = |a: u64, a_len: u64, b: u64, b_len: u64| a < b + b_len && b < a + a_len;
        // Earlier regions have passed, so these sums do not overflow.
        for other in &regions[..index] {
            if overlap(region.guest, region.len, other.guest, other.len)
                || overlap(region.user, region.len, other.user, other.len)
            {
                return Err(broken("memory regions overlap"));
            }
        }
    }
    if total > memory_len_max {
        return Err(broken("memory quota"));
    }
    Ok(())
}
