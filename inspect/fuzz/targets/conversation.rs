//! Both sides of a TCP conversation, cut where the input says: every protocol's recognition and parser.
#![no_main]

mod parser;

use inspect::protocol::Conversation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| parser::converse(Conversation::new(), &[], data));
