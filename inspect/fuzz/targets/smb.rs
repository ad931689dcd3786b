//! SMB 1 and 2.
#![no_main]

mod parser;

use inspect::inspector::Direction::ToServer;
use inspect::protocol::{AppProtocol, Conversation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    parser::converse(
        Conversation::speaking(AppProtocol::Smb),
        &[
            &[(ToServer, b"\0\0\0\x80\xfeSMB\x40\0\0\0\0\0\0\0")],
            &[(ToServer, b"\0\0\0\x80\xffSMB")],
            &[(ToServer, b"\0\0\0\x80\xfeSMB\x40\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0NTLMSSP\0\x03\0\0\0")],
        ],
        data,
    );
});
