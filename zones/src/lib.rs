//! Zones and the policy between them, as pure values: no packet is seen here, only the facts of one.
//!
//! Invariants of absence: no I/O, no clock, no thread, no log line, no `unsafe`, nothing of `inspect`.
#![forbid(unsafe_code)]

pub mod binding;
pub mod policy;
pub mod zone;

pub use zone::{PortId, ZoneId};
