//! DHCP.
#![no_main]

mod parser;

use inspect::protocol::{AppProtocol, Conversation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    parser::exchange(AppProtocol::Dhcp, data);
    parser::converse(Conversation::speaking(AppProtocol::Dhcp), &[], data);
});
