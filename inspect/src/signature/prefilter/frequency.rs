//! How common four bytes in a row are in traffic: what a pattern is looked for by should be rare.

use std::collections::HashMap;
use std::sync::OnceLock;

/// Text as it passes by all day, in lower case, of our own making: what matters is which runs of four bytes it is full
/// of.
const TYPICAL: &str = concat!(
    "get / http/1.1\r\nhost: www.example.com\r\nuser-agent: mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 ",
    "(khtml, like gecko) chrome/120.0.0.0 safari/537.36\r\naccept: text/html,application/xhtml+xml,application/xml;q=0.9,",
    "image/webp,*/*;q=0.8\r\naccept-language: en-us,en;q=0.5\r\naccept-encoding: gzip, deflate, br\r\nconnection: ",
    "keep-alive\r\nreferer: https://www.example.org/index.html\r\ncookie: session=0123456789abcdef; path=/\r\n",
    "content-type: application/x-www-form-urlencoded\r\ncontent-length: 1000\r\n\r\n",
    "post /api/v1/login.php?id=1&user=admin&password=secret&action=view http/1.0\r\ncache-control: no-cache\r\n",
    "http/1.1 200 ok\r\ndate: mon, 01 jan 2024 00:00:00 gmt\r\nserver: apache/2.4.41 (ubuntu)\r\nlast-modified: tue\r\n",
    "etag: \"1234\"\r\naccept-ranges: bytes\r\ntransfer-encoding: chunked\r\nset-cookie: id=; expires=; httponly; secure\r\n",
    "vary: accept-encoding\r\nkeep-alive: timeout=5, max=100\r\nlocation: http://\r\ncontent-encoding: gzip\r\n",
    "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title></title><link rel=\"stylesheet\" href=\"/static/",
    "css/style.css\"><script type=\"text/javascript\" src=\"/js/jquery.min.js\"></script></head><body class=\"\"><div id=\"",
    "content\"><p>the quick and that this with from have will your information please click here</p><a href=\"http://",
    "\"></a><img src=\"image.png\" alt=\"\" width=\"100\" height=\"100\"/><span></span><ul><li></li></ul><table><tr><td>",
    "</td></tr></table><form method=\"post\" action=\"\"><input type=\"hidden\" name=\"\" value=\"\"></form></div></body></html>",
    "function(){var i=0;return this.length;if(document.getelementbyid(\"\"))window.location=\"\";for(var i=0;i<;i++)",
    "{\"name\":\"value\",\"data\":[],\"status\":\"success\",\"message\":null,\"id\":1,\"type\":\"true\"}",
    ".com.net.org.info.www.mail.google.apple.microsoft.amazonaws.cloudfront.exe.dll.php.html.asp.jsp.png.jpg.gif",
    "the first of these is about what people do when they have been there before, because every other thing which could be ",
    "said would only make it more difficult; after all, some would like to know how much each one should take with them. ",
    "service product company business customer support contact home page news search public group number system program ",
    "question government school world state family student country problem great small right large next early important ",
    "account address available between change community copyright development different download email example general ",
    "health history house however international internet local management market member national network office online ",
    "order part person place policy power price privacy provide read report research result review section security set ",
    "software special table technology through time today travel under university used using version video view water ",
    "where while within without women word work year young description category comment content created default display ",
    "element enabled false items label language length level limit list location method model module options password ",
    "phone position properties query request response resource result select session size source start string style ",
    "summary target template text timestamp token total undefined update upload user username width window ",
    "\0\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\0\x01\0\x01\x0c\0\0\0\u{7f}    ....----====////",
);

/// Four bytes in lower case, the first in the lowest bits.
pub(super) fn gram(bytes: [u8; 4]) -> u32 {
    u32::from_le_bytes(bytes) | FOLD
}

/// Folds ASCII case (and, harmlessly for a filter, some marks) of four bytes at once.
pub(crate) const FOLD: u32 = 0x2020_2020;

/// A higher number is commoner.
pub(crate) fn commonness(bytes: [u8; 4]) -> u32 {
    static GRAMS: OnceLock<HashMap<u32, u32>> = OnceLock::new();
    let grams = GRAMS.get_or_init(|| {
        let mut grams = HashMap::new();
        for window in TYPICAL.as_bytes().windows(4) {
            if let Ok(bytes) = <[u8; 4]>::try_from(window) {
                *grams.entry(gram(bytes)).or_default() += 1;
            }
        }
        grams
    });
    let known = grams.get(&gram(bytes)).copied().unwrap_or(0).min(20) * 100;
    // Runs of one byte fill whole files: zeros, 0xff, spaces, the letter a.
    let run = if bytes.iter().all(|&byte| byte == bytes[0]) { 1500 } else { 0 };
    let single: u32 = bytes.iter().map(|&byte| byte_commonness(byte)).sum();
    known + run + single
}

fn byte_commonness(byte: u8) -> u32 {
    match byte.to_ascii_lowercase() {
        b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' | b' ' => 12,
        0 => 20,
        b'c' | b'd' | b'h' | b'l' | b'm' | b'p' | b'u' | b'/' | b'.' | b'-' | b'=' | b'"' => 9,
        b'0'..=b'9' | b'b' | b'f' | b'g' | b'w' | b'y' | b':' | b'\r' | b'\n' => 7,
        b'k' | b'v' | b'<' | b'>' | b';' | b',' | b'_' | b'(' | b')' | 0xff | 1 => 5,
        b'j' | b'q' | b'x' | b'z' => 3,
        _ => 1,
    }
}
