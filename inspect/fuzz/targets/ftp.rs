//! FTP, control and data.
#![no_main]

mod parser;

use inspect::protocol::{AppProtocol, Conversation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    parser::converse(Conversation::speaking(AppProtocol::Ftp), &[], data);
    parser::converse(Conversation::speaking(AppProtocol::FtpData), &[], data);
});
