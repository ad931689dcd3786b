//! TLS.
#![no_main]

mod parser;

use inspect::inspector::Direction::{ToClient, ToServer};
use inspect::protocol::{AppProtocol, Conversation};
use libfuzzer_sys::fuzz_target;

/// A server hello, and a record with a certificate up to the inside of its first sequence.
const CERTIFICATE: &[u8] = b"\x16\x03\x03\0\x2a\x02\0\0\x26\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0\xc0\x2f\0\
    \x16\x03\x03\x01\x0a\x0b\0\x01\x06\0\x01\x03\0\x01\0\x30\x81\xfd\x30\x81\xe8\xa0\x03\x02\x01\x02\x02\x01\x05";

fuzz_target!(|data: &[u8]| {
    parser::converse(
        Conversation::speaking(AppProtocol::Tls),
        &[
            &[(
                ToServer,
                b"\x16\x03\x01\x01\0\x01\0\0\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0\0\x02\x13\x01\x01\0\0\xd3",
            )],
            &[(ToClient, CERTIFICATE)],
            &[(ToServer, b"\x14\x03\x03\0\x01\x01\x18\x03\x03")],
        ],
        data,
    );
});
