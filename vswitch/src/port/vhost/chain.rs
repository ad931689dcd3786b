//! Walking descriptor chains that are more than one plain buffer (virtio 1.2 sections 2.7.5 and 2.7.5.3).
//!
//! A walk either reads the whole chain or fails: a broken chain that looked like a shorter good one would be a frame cut off
//! where the guest likes it. The number of steps is bounded by the ring's size, loops or not.

use super::ring::{Descriptor, RING_SIZE_MAX, Ring};
use crate::memory::access;
use crate::port::PortFault;

/// Pieces that one chain may fall into: one for each descriptor, and one more for each border of regions that a buffer
/// crosses.
pub(crate) const SEGMENTS_MAX: usize = RING_SIZE_MAX as usize + 64;

/// A piece of guest memory, located and contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) at: *mut u8,
    pub(crate) len: u32,
}

/// Which way the bytes of a chain go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The guest sends: all its buffers are readable only.
    FromGuest,
    /// The guest receives: all its buffers are writable only.
    ToGuest,
}

/// Private copy of an indirect table, made before its first entry is looked at.
pub(crate) struct TableCopy(Box<[Descriptor]>);

impl Default for TableCopy {
    fn default() -> Self {
        Self(vec![Descriptor::default(); usize::from(RING_SIZE_MAX)].into_boxed_slice())
    }
}

/// Locates all buffers of the chain that starts with `first`, in order, behind what `segments` holds already. Answers the
/// chain's length in bytes.
pub(crate) fn walk(
    ring: &mut Ring,
    first: Descriptor,
    direction: Direction,
    indirect: bool,
    table: &mut TableCopy,
    segments: &mut Vec<Segment>,
) -> Result<u64, PortFault> {
    let start = segments.len();
    let mut total = 0;
    let mut descriptor = first;
    for _ in 0..ring.size() {
        if descriptor.flags & Descriptor::INDIRECT != 0 {
            if !indirect {
                return Err(PortFault { word: "indirect_not_negotiated" });
            }
            let entries = copy_table(ring, descriptor, table)?;
            return Ok(total + walk_table(ring, &table.0[..entries], direction, start, segments)?);
        }
        total += locate(ring, descriptor, direction, start, segments)?;
        if descriptor.flags & Descriptor::NEXT == 0 {
            return Ok(total);
        }
        descriptor = ring.descriptor(descriptor.next)?;
    }
    Err(PortFault { word: "chain_loop" })
}

/// Copies an indirect table; answers its number of entries.
fn copy_table(ring: &mut Ring, descriptor: Descriptor, table: &mut TableCopy) -> Result<usize, PortFault> {
    let len = descriptor.len as usize;
    let entries = len / size_of::<Descriptor>();
    if descriptor.flags & Descriptor::NEXT != 0 {
        return Err(PortFault { word: "indirect_and_next" });
    }
    // No chain may be longer than the ring (section 2.7.5.3.1).
    if !len.is_multiple_of(size_of::<Descriptor>()) || entries == 0 || entries > usize::from(ring.size()) {
        return Err(PortFault { word: "indirect_length" });
    }
    let mut copied = 0;
    let mut hint = 0;
    while copied < len {
        let place = descriptor.addr.checked_add(copied as u64).and_then(|at| ring.map().contiguous(at, &mut hint));
        let (at, room) = place.ok_or(PortFault { word: "indirect_address" })?;
        let part = (len - copied).min(usize::try_from(room).unwrap_or(usize::MAX));
        // SAFETY: `contiguous` answered that `room` bytes are mapped there. Any bytes are valid descriptors, and the table
        // has room for `RING_SIZE_MAX` of them; `len` is no more than that.
        unsafe {
            let bytes = std::slice::from_raw_parts_mut(table.0.as_mut_ptr().cast::<u8>(), len);
            access::copy_in(at, &mut bytes[copied..copied + part]);
        }
        copied += part;
    }
    Ok(entries)
}

/// Follows the chain inside a copied table, which starts with its first entry.
fn walk_table(
    ring: &mut Ring,
    table: &[Descriptor],
    direction: Direction,
    start: usize,
    segments: &mut Vec<Segment>,
) -> Result<u64, PortFault> {
    let mut total = 0;
    let mut index = 0;
    for _ in 0..table.len() {
        let descriptor = *table.get(index).ok_or(PortFault { word: "indirect_index" })?;
        if descriptor.flags & Descriptor::INDIRECT != 0 {
            return Err(PortFault { word: "indirect_nested" });
        }
        total += locate(ring, descriptor, direction, start, segments)?;
        if descriptor.flags & Descriptor::NEXT == 0 {
            return Ok(total);
        }
        index = usize::from(descriptor.next);
    }
    Err(PortFault { word: "indirect_loop" })
}

/// Locates one buffer, in as many pieces as it crosses regions. Buffers of no bytes must still have an address.
fn locate(
    ring: &mut Ring,
    descriptor: Descriptor,
    direction: Direction,
    start: usize,
    segments: &mut Vec<Segment>,
) -> Result<u64, PortFault> {
    let writable = descriptor.flags & Descriptor::WRITE != 0;
    if writable != (direction == Direction::ToGuest) {
        return Err(PortFault { word: "descriptor_direction" });
    }
    let at = ring.locate(descriptor.addr, descriptor.len);
    let whole = Segment { at, len: descriptor.len };
    if !at.is_null() {
        return push(whole, start, segments).map(|()| u64::from(descriptor.len));
    }
    let mut hint = 0;
    let mut left = descriptor.len;
    while left > 0 {
        let place = descriptor
            .addr
            .checked_add(u64::from(descriptor.len - left))
            .and_then(|at| ring.map().contiguous(at, &mut hint));
        let (at, room) = place.ok_or(PortFault { word: "descriptor_address" })?;
        let part = left.min(u32::try_from(room).unwrap_or(u32::MAX));
        push(Segment { at, len: part }, start, segments)?;
        left -= part;
    }
    if descriptor.len == 0 {
        return Err(PortFault { word: "descriptor_address" });
    }
    Ok(u64::from(descriptor.len))
}

fn push(segment: Segment, start: usize, segments: &mut Vec<Segment>) -> Result<(), PortFault> {
    if segments.len() - start >= SEGMENTS_MAX {
        return Err(PortFault { word: "chain_pieces" });
    }
    if segment.len > 0 {
        segments.push(segment);
    }
    Ok(())
}
