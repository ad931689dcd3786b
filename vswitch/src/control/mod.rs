//! The control socket: one JSON request on a line, one JSON reply on a line, then the switch closes the connection.
//!
//! `socat - UNIX-CONNECT:/run/vswitch/control.sock <<<'{"request":"show","table":"ports"}'` is a whole client.

pub mod client;
pub mod socket;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exchange::{Input, Limits, Reply};
use crate::status::Table;

/// What clients of the control socket are allowed. They are few, and all of them belong to the operator.
pub const LIMITS: Limits = Limits { clients_max: 16, input_max: 1024 * 1024, deadline: Duration::from_secs(5) };

/// Flows that one reply lists at most: about 300 bytes each, so a reply stays below 3 MiB.
pub const FLOWS_MAX: usize = 10_000;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Version and state of the daemon.
    Version {},
    /// Read the configuration file anew and judge by it.
    Reload {},
    /// Let a port out of quarantine.
    Release {
        /// Its name.
        port: String,
    },
    /// Rows of a table.
    Show {
        /// Which.
        table: Table,
        /// Rows wanted at most, for tables that can be long.
        #[serde(default)]
        max: Option<usize>,
        /// Only flows of this port.
        #[serde(default)]
        port: Option<String>,
    },
}

/// What a client is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Response {
    /// It was done.
    Ok {
        /// What was asked for.
        result: Value,
    },
    /// It was not.
    Error {
        /// What kind of trouble.
        cause: Cause,
        /// The trouble, for people; several lines for a refused configuration.
        message: String,
    },
}

/// Why a request was not fulfilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The request is not one of [`Request`].
    BadRequest,
    /// Something that the request names does not exist.
    NotFound,
    /// The configuration is invalid; the old one stays.
    InvalidConfiguration,
    /// The configuration changes what cannot change while the switch runs; the old one stays.
    NeedsRestart,
    /// The new generation is in force, but not everything followed it.
    Incomplete,
}

/// Who fulfils requests.
pub trait Operations {
    /// Fulfils one.
    fn fulfil(&mut self, request: Request) -> Fulfilled;
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fulfilled {
    /// This.
    Done(Response),
    /// It takes time; the response comes under this ticket.
    Later(u64),
}

impl From<Response> for Fulfilled {
    fn from(response: Response) -> Self {
        Self::Done(response)
    }
}

/// The reply to what a client has sent so far; `None` as long as that is no whole line.
pub fn answer(input: Input<'_>, operations: &mut dyn Operations) -> Option<Reply> {
    let response = match input.bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => match serde_json::from_slice(&input.bytes[..end]) {
            Ok(request) => match operations.fulfil(request) {
                Fulfilled::Done(response) => response,
                Fulfilled::Later(ticket) => return Some(Reply::Later(ticket)),
            },
            Err(error) => bad_request(format!("this is no request: {error}")),
        },
        None if input.is_full => bad_request(format!("a request has no more than {} bytes", LIMITS.input_max)),
        None => return None,
    };
    Some(Reply::Now(line(&response)))
}

/// A response as the bytes that a client reads.
pub fn line(response: &Response) -> Vec<u8> {
    let mut line = serde_json::to_vec(response).unwrap_or_else(|error| {
        // Our own rows always serialise; a client still gets a reply if that should ever be wrong.
        format!("{{\"status\":\"error\",\"cause\":\"bad_request\",\"message\":\"{error}\"}}").into_bytes()
    });
    line.push(b'\n');
    line
}

fn bad_request(message: String) -> Response {
    Response::Error { cause: Cause::BadRequest, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Answers each request with the request.
    struct Echo;

    impl Operations for Echo {
        fn fulfil(&mut self, request: Request) -> Fulfilled {
            Response::Ok { result: serde_json::to_value(request).expect("requests serialise") }.into()
        }
    }

    fn reply_to(bytes: &[u8], is_full: bool) -> Option<Response> {
        answer(Input { bytes, is_full }, &mut Echo).map(|reply| {
            let Reply::Now(line) = reply else { panic!("{reply:?}") };
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            serde_json::from_slice(&line).expect("replies are JSON")
        })
    }

    fn check(bytes: &str, expected: Option<&str>) {
        let reply = reply_to(bytes.as_bytes(), false);
        let seen = reply.map(|reply| match reply {
            Response::Ok { result } => result.to_string(),
            Response::Error { message, .. } => message,
        });
        match (&seen, expected) {
            (Some(seen), Some(expected)) => assert!(seen.contains(expected), "{bytes:?}: {seen}"),
            (seen, expected) => assert_eq!(seen.as_deref(), expected, "{bytes:?}"),
        }
    }

    #[test]
    fn requests() {
        check("", None);
        check(r#"{"request":"reload"}"#, None);
        check("{\"request\":\"reload\"}\n", Some(r#""request":"reload""#));
        check("{\"request\":\"version\"}\nsurplus", Some("version"));
        check("{\"request\":\"show\",\"table\":\"ports\"}\n", Some(r#""table":"ports""#));
        check("{\"request\":\"show\",\"table\":\"secrets\"}\n", Some("unknown variant"));
        check("{\"request\":\"show\",\"table\":\"mac\",\"colour\":1}\n", Some("unknown field"));
        check("{\"request\":\"reload\",\"force\":true}\n", Some("unknown field"));
        check("{\"request\":\"release\",\"port\":\"web1\"}\n", Some(r#""port":"web1""#));
        check("{\"request\":\"release\"}\n", Some("missing field"));
        check("GET / HTTP/1.1\n", Some("this is no request"));
        check("\n", Some("this is no request"));
    }

    #[test]
    fn a_request_that_never_ends_is_refused() {
        let reply = reply_to(&vec![b'['; LIMITS.input_max], true);
        assert!(matches!(reply, Some(Response::Error { cause: Cause::BadRequest, .. })));
    }

    /// serde_json limits nesting to 128 levels, so brackets cannot exhaust the stack.
    #[test]
    fn deep_nesting_is_refused() {
        let mut line = vec![b'['; LIMITS.input_max - 1];
        line.push(b'\n');
        assert!(matches!(reply_to(&line, true), Some(Response::Error { .. })));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256), is_full: bool) {
            reply_to(&bytes, is_full);
        }
    }
}
