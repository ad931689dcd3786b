//! SMTP, and the mails within.
#![no_main]

mod parser;

use inspect::inspector::Direction::{ToClient, ToServer};
use inspect::protocol::{AppProtocol, Conversation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    parser::converse(
        Conversation::speaking(AppProtocol::Smtp),
        &[
            &[(ToClient, b"220 x ESMTP\r\n"), (ToServer, b"EHLO a\r\n"), (ToClient, b"250 b\r\n")],
            &[(ToServer, b"EHLO a\r\nDATA\r\n"), (ToClient, b"220 x\r\n250 a\r\n354 b\r\n")],
            &[
                (ToServer, b"EHLO a\r\nDATA\r\nContent-Type: multipart/mixed; boundary=X\r\n\r\n--X\r\n"),
                (ToServer, b"Content-Disposition: a; filename=b\r\nContent-Transfer-Encoding: base64\r\n\r\n"),
            ],
            &[(ToServer, b"EHLO a\r\nBDAT 200\r\n")],
        ],
        data,
    );
});
