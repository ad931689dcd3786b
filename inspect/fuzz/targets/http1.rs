//! HTTP/1.
#![no_main]

mod parser;

use inspect::inspector::Direction::{ToClient, ToServer};
use inspect::protocol::{AppProtocol, Conversation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    parser::converse(
        Conversation::speaking(AppProtocol::Http1),
        &[
            &[(ToServer, b"GET / HTTP/1.1\r\nHost: h\r\n"), (ToClient, b"HTTP/1.1 200 OK\r\n")],
            &[(ToServer, b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")],
            &[(
                ToServer,
                b"POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=X\r\nContent-Length: 999\r\n\r\n--X",
            )],
            &[
                (ToServer, b"GET / HTTP/1.1\r\n\r\n"),
                (ToClient, b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08"),
            ],
            &[
                (ToServer, b"GET / HTTP/1.1\r\n\r\n"),
                (ToClient, b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n"),
            ],
            &[(ToServer, b"GET / HTTP/1.1\r\n\r\n"), (ToClient, b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n")],
            &[
                (ToServer, b"GET / HTTP/1.1\r\n\r\n"),
                (ToClient, b"HTTP/1.1 200 OK\r\nContent-Encoding: lzma\r\n\r\n\x5d\0\0"),
            ],
            &[(ToServer, b"CONNECT h:1 HTTP/1.1\r\n\r\n"), (ToClient, b"HTTP/1.1 200 OK\r\n\r\n")],
        ],
        data,
    );
});
