//! Inspection as pure code: bytes and a time in, a verdict and alerts out.
//!
//! The modules stand in the order in which a frame meets them:
//!
//! 1. [`wire`] reads the headers of a frame, once, and refuses what a sound host would not send;
//! 2. [`flow_key`] names the conversation that the packet belongs to;
//! 3. [`fragments`] and [`stream`] put datagrams and byte streams together again;
//! 4. [`protocol`] recognises what is spoken and takes it apart into buffers;
//! 5. [`signature`] holds the compiled signatures and matches them against packets, streams and buffers;
//! 6. [`file_hashes`] knows files by their hash;
//! 7. [`announcements`] has the connections that others have announced;
//! 8. [`detect`] notices scans and floods, which no single packet betrays;
//! 9. [`inspector`] drives all this for one worker and answers with a [`verdict::Verdict`] and [`alert::Alert`]s, and with
//!    [`record`]s of what was spoken, where the caller wants them.
//!
//! Invariants of absence: no I/O, no clock, no thread, no log line, no `unsafe`. Nothing here knows of zones or of
//! switch ports. Every table has its limit in [`limits`].
#![forbid(unsafe_code)]

pub mod alert;
pub mod announcements;
mod causes;
pub mod detect;
pub mod file_hashes;
pub mod flow_key;
pub mod fragments;
pub mod inspector;
pub mod limits;
pub mod protocol;
pub mod record;
pub mod signature;
pub mod stream;
pub mod verdict;
pub mod wire;
