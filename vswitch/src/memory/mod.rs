//! A guest's memory as the switch sees it: a flat table of mapped regions, and the few functions that touch their bytes.
//!
//! Two rules hold for everything in here, because the guest (and the process that runs it) may rewrite or take away its
//! memory at any moment:
//! - guest memory is never a Rust reference; it is read and written through raw pointers, each word read once, then judged;
//! - memory that vanishes under our feet (a file that is cut short) must not kill the switch: [`sigbus`] puts zeros in its
//!   place and marks the map as lost, and whoever copied from it looks at [`GuestMap::is_lost`] before using the copy.

pub(crate) mod access;
mod map;
pub mod sigbus;

pub use map::{GuestMap, MapError, REGIONS_MAX, Region};
