//! Application protocols: recognised from their first bytes, taken apart into named buffers.
//!
//! [`Conversation`] is the protocol state of one flow: it is fed the flow's bytes, recognises what they speak
//! ([`recognise`]; ports play no part, a guest chooses its ports), and hands them to a parser that tells a [`Sink`] what
//! it finds: [`Buffer`]s, [`Number`]s, [`Anomaly`]s, [`File`]s. Parsers are resumable at every byte, keep a bounded number
//! of bytes, allocate only for bytes that have arrived, and never panic.

mod anomaly;
mod app_protocol;
mod buffer;
mod conversation;
mod dhcp;
mod dns;
mod file;
#[cfg(test)]
mod file_tests;
mod ftp;
mod http1;
mod line;
mod parser;
mod recognise;
#[cfg(test)]
mod recorder;
mod settings;
mod sink;
mod smb;
mod smtp;
mod ssh;
#[cfg(test)]
mod tests;
mod tls;

pub use anomaly::Anomaly;
pub use app_protocol::AppProtocol;
pub use buffer::{Buffer, Delivery, Sides};
pub use conversation::{Conversation, Status};
pub use settings::Settings;
pub use sink::{Expectation, File, FileProgress, Number, Piece, Sink, Stage};
