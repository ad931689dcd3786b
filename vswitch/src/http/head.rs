//! The head of an HTTP/1.1 request, as far as a server of a few read-only pages needs it.

/// Bytes of a request's head.
pub const HEAD_MAX: usize = 8 * 1024;

/// Header fields of a request. Browsers send about fifteen, scrapers four.
const FIELDS_MAX: usize = 64;

/// What the bytes of a client amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head<'a> {
    /// The head is not complete yet.
    Incomplete,
    /// A request.
    Request {
        /// Method, as sent: methods are case-sensitive (RFC 9110 section 9.1).
        method: &'a str,
        /// Path without its query.
        path: &'a str,
    },
    /// This is no request of HTTP/1.
    Malformed,
    /// More header fields than `FIELDS_MAX`, or more bytes than [`HEAD_MAX`].
    TooLarge,
}

/// Reads a request's head. `is_full` says that no more bytes will come.
pub fn parse(input: &[u8], is_full: bool) -> Head<'_> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(input) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if is_full => return Head::TooLarge,
        Ok(httparse::Status::Partial) => return Head::Incomplete,
        Err(httparse::Error::TooManyHeaders) => return Head::TooLarge,
        Err(_) => return Head::Malformed,
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Head::Malformed;
    };
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    Head::Request { method, path }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, is_full: bool, expected: Head<'_>) {
        assert_eq!(parse(input.as_bytes(), is_full), expected, "{input:?}");
    }

    const fn request<'a>(method: &'a str, path: &'a str) -> Head<'a> {
        Head::Request { method, path }
    }

    #[test]
    fn heads() {
        check("", false, Head::Incomplete);
        check("GET /metrics HT", false, Head::Incomplete);
        check("GET /metrics HTTP/1.1\r\nHost: x\r\n", false, Head::Incomplete);
        check("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", false, request("GET", "/metrics"));
        check("GET /metrics?a=b HTTP/1.0\n\n", false, request("GET", "/metrics"));
        check("post / HTTP/1.1\r\n\r\n", false, request("post", "/"));
        check("GET  / HTTP/1.1\r\n\r\n", false, Head::Malformed);
        check("GET / HTTP/2.0\r\n\r\n", false, Head::Malformed);
        check("\u{0}\u{1}\u{2}", false, Head::Malformed);
        check("GET / HTTP/1.1\r\nbad header\r\n\r\n", false, Head::Malformed);
        check("GET / HTTP/1.1\r\nA: b\r\n", true, Head::TooLarge);
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX + 1));
        check(&many, false, Head::TooLarge);
        let just = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(FIELDS_MAX));
        check(&just, false, request("GET", "/"));
    }

    proptest! {
        #[test]
        fn never_panics(input in proptest::collection::vec(any::<u8>(), 0..512), is_full: bool) {
            parse(&input, is_full);
        }

        /// A request cut anywhere is incomplete, and never read as another request.
        #[test]
        fn a_prefix_is_incomplete(path in "/[a-z]{0,20}", value in "[ -~]{0,30}", cut in 0.0f64..1.0) {
            let whole = format!("GET {path} HTTP/1.1\r\nX: {value}\r\n\r\n");
            let cut = (whole.len() as f64 * cut) as usize;
            prop_assert_eq!(parse(&whole.as_bytes()[..cut], false), Head::Incomplete);
            prop_assert_eq!(parse(whole.as_bytes(), false), request("GET", &path));
        }

        /// Bytes around a valid head: mutated by one byte, it parses to something or is refused, but never panics.
        #[test]
        fn one_byte_off(position in 0usize..64, byte: u8) {
            let mut input = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: text/plain\r\n\r\n".to_vec();
            let position = position.min(input.len() - 1);
            input[position] = byte;
            parse(&input, false);
            parse(&input, true);
        }
    }
}
