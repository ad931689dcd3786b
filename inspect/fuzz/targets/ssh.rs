//! SSH.
#![no_main]

mod parser;

use inspect::inspector::Direction::{ToClient, ToServer};
use inspect::protocol::{AppProtocol, Conversation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    parser::converse(
        Conversation::speaking(AppProtocol::Ssh),
        &[&[
            (ToServer, b"SSH-2.0-a\r\n"),
            (ToClient, b"SSH-2.0-b\r\n"),
            (ToServer, b"\0\0\0\x80\x04\x14aaaaaaaaaaaaaaaa"),
        ]],
        data,
    );
});
