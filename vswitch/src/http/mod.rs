//! The pages for monitoring: `/metrics`, `/healthz`, `/readyz`. Read-only, one request per connection.

pub mod head;

use std::time::Duration;

use crate::exchange::{Input, Limits};
use head::Head;

/// What clients of the pages are allowed: a monitoring system and a few people with `curl`, not the public.
pub const LIMITS: Limits = Limits { clients_max: 64, input_max: head::HEAD_MAX, deadline: Duration::from_secs(5) };

/// What the pages show.
pub trait Pages {
    /// The metrics, in Prometheus' text format.
    fn metrics(&mut self) -> String;

    /// Whether the switch judges and forwards frames; if not, why.
    ///
    /// # Errors
    /// What is still missing, as a sentence.
    fn readiness(&self) -> Result<(), String>;
}

/// Media type of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

/// The reply to what a client has sent so far; `None` as long as that is no whole request.
pub fn answer(input: Input<'_>, pages: &mut dyn Pages) -> Option<Vec<u8>> {
    let (method, path) = match head::parse(input.bytes, input.is_full) {
        Head::Incomplete => return None,
        Head::Malformed => return Some(refusal("400 Bad Request")),
        Head::TooLarge => return Some(refusal("431 Request Header Fields Too Large")),
        Head::Request { method, path } => (method, path),
    };
    let with_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Some(refusal("405 Method Not Allowed")),
    };
    Some(match path {
        "/metrics" => reply("200 OK", METRICS_TYPE, &pages.metrics(), with_body),
        "/healthz" => reply("200 OK", TEXT_TYPE, "ok\n", with_body),
        "/readyz" => match pages.readiness() {
            Ok(()) => reply("200 OK", TEXT_TYPE, "ready\n", with_body),
            Err(why) => {
                let body = format!("not ready: {why}\n");
                reply("503 Service Unavailable", TEXT_TYPE, &body, with_body)
            }
        },
        _ => refusal("404 Not Found"),
    })
}

fn refusal(status: &str) -> Vec<u8> {
    reply(status, TEXT_TYPE, &format!("{status}\n"), true)
}

fn reply(status: &str, content_type: &str, body: &str, with_body: bool) -> Vec<u8> {
    // RFC 9110 section 15.5.6: a 405 names the methods that are allowed.
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let mut reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        body.len(),
    )
    .into_bytes();
    if with_body {
        reply.extend_from_slice(body.as_bytes());
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Result<(), String>);

    impl Pages for Fixed {
        fn metrics(&mut self) -> String {
            "vswitch_up 1\n".to_owned()
        }

        fn readiness(&self) -> Result<(), String> {
            self.0.clone()
        }
    }

    fn check(request: &str, readiness: Result<(), String>, status: &str, body: &str) {
        let input = Input { bytes: request.as_bytes(), is_full: false };
        let reply = answer(input, &mut Fixed(readiness)).expect("a whole request");
        let reply = String::from_utf8(reply).expect("text");
        let (head, sent) = reply.split_once("\r\n\r\n").expect("a head");
        assert_eq!(head.lines().next(), Some(format!("HTTP/1.1 {status}").as_str()), "{request:?}");
        assert_eq!(sent, body, "{request:?}");
    }

    #[test]
    fn pages() {
        let up = || Ok(());
        let down = || Err("no worker has the first generation".to_owned());
        check("GET /metrics HTTP/1.1\r\n\r\n", up(), "200 OK", "vswitch_up 1\n");
        check("HEAD /metrics HTTP/1.1\r\n\r\n", up(), "200 OK", "");
        check("GET /healthz HTTP/1.1\r\n\r\n", down(), "200 OK", "ok\n");
        check("GET /readyz HTTP/1.1\r\n\r\n", up(), "200 OK", "ready\n");
        let why = "not ready: no worker has the first generation\n";
        check("GET /readyz HTTP/1.1\r\n\r\n", down(), "503 Service Unavailable", why);
        check("GET /etc/passwd HTTP/1.1\r\n\r\n", up(), "404 Not Found", "404 Not Found\n");
        let refused = "405 Method Not Allowed";
        check("POST /metrics HTTP/1.1\r\n\r\n", up(), refused, "405 Method Not Allowed\n");
        check("hello\r\n\r\n", up(), "400 Bad Request", "400 Bad Request\n");
    }

    #[test]
    fn a_405_names_the_methods() {
        let bytes = b"DELETE / HTTP/1.1\r\n\r\n";
        let reply = answer(Input { bytes, is_full: false }, &mut Fixed(Ok(()))).expect("a request");
        assert!(String::from_utf8(reply).expect("text").contains("\r\nAllow: GET, HEAD\r\n"));
    }
}
