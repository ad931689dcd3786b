//! Ports that lead off the host.

pub mod tap;
