//! DNS, in datagrams and over TCP.
#![no_main]

mod parser;

use inspect::protocol::{AppProtocol, Conversation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    parser::exchange(AppProtocol::Dns, data);
    parser::converse(Conversation::speaking(AppProtocol::Dns), &[], data);
});
