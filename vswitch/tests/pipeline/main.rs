//! The whole walk over ports in memory: what arrives where, what is dropped why, and that exactly those counters moved.

mod bench;
mod detect;
mod drops;
mod evasions;
mod files;
mod flows;
mod profiles;
mod protocol_records;
mod random;
mod reasons;
mod records;
mod signatures;
mod workers;
