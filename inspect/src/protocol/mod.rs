//! Application protocols: recognised from their first bytes, taken apart into named buffers.
//!
//! [`buffer`] names what signatures can look at. Ports play no part in recognition: a guest chooses its ports.

mod app_protocol;
mod buffer;

pub use app_protocol::AppProtocol;
pub use buffer::{Buffer, Delivery, Sides};
