//! Which pattern of a signature a prefilter searches for.

use super::content::{Content, FastPattern};
use super::prefilter::Builder;
use super::program::{Op, Step};
use super::transform::Transform;
use crate::limits::PREFILTER_NEAR_BYTES_MAX;
use crate::protocol::{Buffer, Delivery};

/// A pattern that a prefilter could search for.
pub(crate) struct Searched {
    pub(crate) bytes: Vec<u8>,
    /// The place behind which it cannot end, where that is known.
    pub(crate) reach: Option<usize>,
    /// By the rule's author.
    is_chosen: bool,
}

impl Searched {
    /// A text may hold it anywhere, and often does.
    pub(crate) fn is_short_and_free(&self) -> bool {
        self.bytes.len() < 4 && self.reach.is_none_or(|reach| reach > PREFILTER_NEAR_BYTES_MAX)
    }
}

/// What a step of a program lets a prefilter search for, if anything.
pub(crate) fn searched(step: &Step, reach: Option<usize>, transforms: &[Transform]) -> Option<Searched> {
    let Op::Content(content) = &step.op else { return None };
    // The text is scanned as it is, its case folded: only these leave a pattern where it can be found.
    let found_there = |transform: &Transform| {
        matches!(transform, Transform::DotPrefix | Transform::ToLowercase | Transform::ToUppercase)
    };
    if content.negated || !transforms.iter().all(found_there) {
        return None;
    }
    let (bytes, is_chosen) = chopped(content);
    (bytes.len() >= Builder::LENGTH_MIN).then(|| Searched { bytes: bytes.to_vec(), reach, is_chosen })
}

fn chopped(content: &Content) -> (&[u8], bool) {
    let bytes = content.pattern.bytes();
    match content.fast {
        FastPattern::Unsaid => (bytes, false),
        FastPattern::Whole => (bytes, true),
        FastPattern::Chop(offset, length) => {
            let range = usize::from(offset)..usize::from(offset) + usize::from(length);
            (bytes.get(range).unwrap_or(bytes), true)
        }
    }
}

/// What requests and responses of HTTP say every day, in lower case: header fields, and their names alone.
const EVERYDAY: &str = "get / http/1.1\r\nhost: www.\r\nuser-agent: mozilla/5.0 (windows nt 10.0; win64; x64) \r\naccept: */*\r\n\
    accept-encoding: gzip, deflate\r\naccept-language: en-us,en;q=0.9\r\nconnection: keep-alive\r\ncontent-type: text/html; \
    charset=utf-8\r\ncontent-length: \r\nreferer: http://\r\ncookie: \r\ncache-control: no-cache\r\npragma: no-cache\r\n\
    connection: close\r\ncontent-type: application/x-www-form-urlencoded\r\nhttp/1.1 200 ok\r\ndate: gmt\r\nserver: \r\n\
    \r\nhost\r\nuser-agent\r\naccept\r\naccept-encoding\r\naccept-language\r\nconnection\r\ncontent-type\r\ncontent-length\r\n\
    referer\r\ncookie\r\ncache-control\r\npragma\r\nconnection\r\n\r\ndate\r\nserver\r\n";

/// Whether nearly every text of a buffer holds a pattern, so that searching for it is of little use.
fn is_everyday(buffer: Buffer, pattern: &[u8]) -> bool {
    use Buffer::{
        HttpAccept, HttpAcceptEnc, HttpAcceptLang, HttpConnection, HttpContentLen, HttpContentType, HttpHeader,
        HttpHeaderNames, HttpHeaderRaw, HttpMethod, HttpProtocol, HttpRequestHeader, HttpRequestLine,
        HttpResponseHeader, HttpResponseLine, HttpStart, HttpStatCode, HttpStatMsg, HttpUserAgent,
    };
    match buffer {
        HttpMethod | HttpStatCode | HttpStatMsg | HttpProtocol => true,
        HttpHeader | HttpHeaderRaw | HttpHeaderNames | HttpStart | HttpRequestLine | HttpResponseLine
        | HttpUserAgent | HttpAccept | HttpAcceptEnc | HttpAcceptLang | HttpConnection | HttpContentType
        | HttpContentLen | HttpRequestHeader | HttpResponseHeader => {
            memchr::memmem::find(EVERYDAY.as_bytes(), &pattern.to_ascii_lowercase()).is_some()
        }
        _ => false,
    }
}

/// How good a pattern is to search for: long ones before short ones, but rather a short one than what every text holds; then the
/// author's choice, rare and long ones, and in buffers rather than in payload.
pub(crate) fn score(buffer: Option<Buffer>, pattern: &Searched) -> (u8, bool, bool, u32) {
    let is_everyday = buffer.is_some_and(|buffer| is_everyday(buffer, &pattern.bytes));
    let is_in_whole = buffer.is_some_and(|buffer| buffer.delivery() != Delivery::Streamed);
    let is_near = buffer.is_some() && pattern.reach.is_some();
    let rank = match pattern.bytes.len() {
        4.. if !is_everyday => 3,
        3 if !is_everyday && is_in_whole => 2,
        _ if !is_everyday && (pattern.is_chosen && is_in_whole || is_near) => 2,
        4.. => 1,
        _ => 0,
    };
    (rank, pattern.is_chosen, buffer.is_some() && !is_everyday, super::prefilter::rarity(&pattern.bytes))
}

#[cfg(test)]
mod tests {
    use crate::protocol::Buffer;
    use crate::signature::{RuleFile, RuleSet, Vars};

    /// The pattern that a signature is found by, in which buffer.
    fn found_by(options: &str) -> Option<(Buffer, String)> {
        let text = format!("alert http any any -> any any ({options} sid:1;)");
        let loaded = RuleSet::compile(&[RuleFile { name: "t".into(), text }], &Vars::new());
        assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
        let of = |&buffer: &Buffer| {
            let patterns = loaded.rules.selection.buffer_group(buffer)?.prefilter.patterns().next()?.0;
            Some((buffer, String::from_utf8_lossy(&patterns).into_owned()))
        };
        Buffer::ALL.iter().find_map(of)
    }

    #[test]
    fn what_every_text_holds_is_not_searched_for_if_there_is_anything_else() {
        let uri = |text: &str| Some((Buffer::HttpUri, text.to_owned()));
        let names = r#"http.header_names; content:"|0d 0a|User-Agent|0d 0a|"; fast_pattern;"#;
        assert_eq!(found_by(&format!(r#"http.uri; content:".php"; {names}"#)), uri(".php"));
        assert_eq!(found_by(&format!(r#"http.uri; content:"_W"; startswith; {names}"#)), uri("_w"));
        assert_eq!(found_by(&format!(r#"http.uri; content:"a_W"; {names}"#)), uri("a_w"));
        let agent = Some((Buffer::HttpUserAgent, "6.".to_owned()));
        assert_eq!(found_by(r#"http.header; content:"Host|3a 20|"; http.user_agent; content:"6."; depth:2;"#), agent);
        // The author's choice among those that tell something, and a name that is not met every day.
        assert_eq!(found_by(r#"http.uri; content:"/long/path"; content:".php"; fast_pattern;"#), uri(".php"));
        let odd =
            found_by(r#"http.uri; content:".php"; http.header_names; content:"|0d 0a|X-Odd|0d 0a|"; fast_pattern;"#);
        assert_eq!(odd.map(|(buffer, _)| buffer), Some(Buffer::HttpHeaderNames));
        // With nothing else it is still better than nothing.
        assert_eq!(found_by(names).map(|(buffer, _)| buffer), Some(Buffer::HttpHeaderNames));
    }
}
