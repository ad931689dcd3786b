//! The switch itself: ports, workers, the walk of a frame, and what operators see of it.
//!
//! The walk, in the order in which a frame meets the modules:
//! [`port`] receives a burst into a [`frame::Batch`]; [`pipeline`] walks it through port security, egress lookup
//! ([`mac_table`]), policy ([`flow_table`]) and [`inspection`], which alone can make a [`inspection::Cleared`]; [`forward`]
//! takes nothing else, and hands it to the egress ports. Every frame that ends on the way ends in one [`drop_reason`].

pub mod books;
pub mod cli;
pub mod config;
pub mod control;
pub mod counters;
pub mod daemon;
pub mod detect;
pub mod drop_reason;
pub mod eve;
pub mod event;
pub mod event_log;
pub mod exchange;
pub mod flow_table;
pub mod forward;
pub mod frame;
pub mod generation;
pub mod hash_lines;
pub mod http;
pub mod inspection;
pub mod mac_table;
pub mod memory;
pub mod metrics;
pub mod pipeline;
pub mod port;
pub mod profiles;
pub mod quarantine;
pub mod regular_file;
pub mod replay;
pub mod rule_file;
pub mod status;
pub mod sys;
pub mod worker;

/// The version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
