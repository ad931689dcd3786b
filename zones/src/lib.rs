//! Zones and the policy between them, as pure values: no packet is seen here, only the facts of one.
//!
//! The modules stand in the order in which a frame meets them:
//!
//! 1. [`binding`] answers whether a port may call itself what its frame says it is;
//! 2. [`zone`] and [`group`] name who talks: ports, zones, groups of ports, sets of addresses;
//! 3. [`service`] and [`rule`] are one line of policy, as plain values;
//! 4. [`source`] is the whole policy as plain values, and finds every name that leads nowhere;
//! 5. [`policy`] is the same compiled, and gives a [`decision`] for the first packet of a flow;
//! 6. [`analysis`] finds the rules that another rule keeps from ever deciding.
//!
//! Invariants of absence: no I/O, no clock, no thread, no log line, no `unsafe`, nothing of `inspect`.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod binding;
mod bits;
pub mod decision;
pub mod group;
pub mod policy;
pub mod rule;
pub mod service;
pub mod source;
pub mod zone;

pub use zone::{PortId, ZoneId};
