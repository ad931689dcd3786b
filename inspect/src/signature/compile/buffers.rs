//! Keywords about where contents look: sticky buffers, the modifiers of old, transformations, and single values that
//! protocol parsers deliver.

use super::super::cause::Cause;
use super::super::content::{Content, parse_content};
use super::super::definition::{Absence, HeaderPart, Moment};
use super::super::program::{Interval, Op};
use super::super::transform::Transform;
use super::values::{interval, needed, none, number};
use super::{Draft, List, Place};
use crate::protocol::{Anomaly, AppProtocol, Buffer, Delivery, Number};

impl Draft<'_> {
    /// Reads the option when it is one of these; `false` when it is not.
    pub(super) fn buffers(&mut self, name: &str, value: Option<&str>) -> Result<bool, Cause> {
        if let Some(place) = sticky(name) {
            none(name, value)?;
            self.current = self.list_for(place);
            return Ok(true);
        }
        if let Some(buffer) = Buffer::from_modifier(name) {
            none(name, value)?;
            self.move_last_content(name, buffer)?;
            return Ok(true);
        }
        match (Transform::from_name(name), name) {
            (Some(transform), _) => {
                none(name, value)?;
                self.transform(name, transform)?;
            }
            (None, "xor") => {
                let key = needed(name, value)?.trim_matches('"');
                let transform = Transform::xor(key);
                self.transform(name, transform.ok_or_else(|| Cause::value(name, "a key of up to 16 bytes in hex"))?)?;
            }
            (None, "absent") => self.absent(name, value)?,
            (None, "pcre") => self.pcre(needed(name, value)?)?,
            (None, "urilen") => self.uri_length(name, needed(name, value)?)?,
            (None, "uricontent") => {
                let (bytes, negated) = parse_content(name, needed(name, value)?)?;
                self.current = 0;
                self.push(Op::Content(Content::new(bytes, negated)));
                self.move_last_content(name, Buffer::HttpUri)?;
            }
            (None, "app-layer-protocol") => self.app_layer_protocol(name, needed(name, value)?)?,
            (None, "app-layer-event") => {
                let event = needed(name, value)?;
                let anomaly = Anomaly::from_name(event);
                self.events.push(anomaly.ok_or_else(|| Cause::value(name, format!("a known event, not {event}")))?);
            }
            _ => return self.single_value(name, value),
        }
        Ok(true)
    }

    /// The list of a place: contents of one buffer belong together, unless the buffer comes in many instances, of which
    /// each mention may mean another.
    pub(super) fn list_for(&mut self, place: Place) -> usize {
        let many = matches!(place, Place::Buffer(buffer) if buffer.delivery() == Delivery::Many);
        let known = self.lists.iter().position(|list| list.place == place && list.transforms.is_empty());
        match known {
            Some(index) if !many || self.lists[index].is_unused() => index,
            _ => {
                self.lists.push(List::new(place));
                self.lists.len() - 1
            }
        }
    }

    fn transform(&mut self, keyword: &str, transform: Transform) -> Result<(), Cause> {
        let list = &self.lists[self.current];
        let Place::Buffer(_) = list.place else {
            return Err(Cause::context(keyword, "there is no sticky buffer before it"));
        };
        // Contents that were named before look at the buffer as it is.
        if !list.ops.is_empty() {
            self.lists.push(List::new(list.place));
            self.current = self.lists.len() - 1;
        }
        self.lists[self.current].transforms.push(transform);
        Ok(())
    }

    /// `content:"x"; http_uri;`: the content looks at the buffer rather than at the payload.
    fn move_last_content(&mut self, keyword: &str, buffer: Buffer) -> Result<(), Cause> {
        let Some((0, index)) = self.last else {
            return Err(Cause::context(keyword, "there is no content over the payload before it"));
        };
        let target = self.list_for(Place::Buffer(buffer));
        let op = self.lists[0].ops.remove(index);
        self.push_to(target, op);
        self.last = Some((target, self.lists[target].ops.len() - 1));
        Ok(())
    }

    fn absent(&mut self, keyword: &str, value: Option<&str>) -> Result<(), Cause> {
        let list = &mut self.lists[self.current];
        if !matches!(list.place, Place::Buffer(_)) {
            return Err(Cause::context(keyword, "there is no sticky buffer before it"));
        }
        list.absence = match value {
            None => Absence::Demanded,
            Some("or_else") => Absence::Accepted,
            Some(_) => return Err(Cause::value(keyword, "nothing, or or_else")),
        };
        Ok(())
    }

    fn pcre(&mut self, value: &str) -> Result<(), Cause> {
        let parsed = self.expressions.get(value)?;
        let buffer = match parsed.buffers.as_slice() {
            [] => None,
            [letter] => Some(pcre_buffer(*letter)?),
            _ => return Err(Cause::value("pcre", "one letter for a buffer")),
        };
        match buffer {
            Some(buffer) => {
                let list = self.list_for(Place::Buffer(buffer));
                self.push_to(list, Op::Regex(parsed.regex));
            }
            None => self.push(Op::Regex(parsed.regex)),
        }
        Ok(())
    }

    /// `urilen:5<>10[,norm|raw]`.
    fn uri_length(&mut self, keyword: &str, value: &str) -> Result<(), Cause> {
        let (size, buffer) = match value.split_once(',').map_or((value, "norm"), |(size, form)| (size, form.trim())) {
            (size, "norm") => (size, Buffer::HttpUri),
            (size, "raw") => (size, Buffer::HttpUriRaw),
            _ => return Err(Cause::value(keyword, "norm or raw")),
        };
        let size = interval(keyword, size, u64::from(u16::MAX))?;
        let list = self.list_for(Place::Buffer(buffer));
        self.lists[list].ops.push(Op::Size(size));
        Ok(())
    }

    fn app_layer_protocol(&mut self, keyword: &str, value: &str) -> Result<(), Cause> {
        let (negated, word) = match value.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, value),
        };
        self.names_protocol = true;
        let (word, moment) = value_and_moment(word);
        let mask = match word {
            "failed" | "unknown" => super::UNRECOGNISED,
            _ => super::protocol_mask(word),
        };
        if mask == 0 {
            return Err(Cause::value(keyword, format!("a protocol that is recognised, not {word}")));
        }
        let mask = if negated { !mask } else { mask };
        match moment {
            // Both sides come to one answer here.
            "" | "either" | "to_server" | "to_client" => self.restrict_protocols(keyword, mask)?,
            "original" => self.protocol_moments.push((Moment::Original, mask)),
            "final" => self.protocol_moments.push((Moment::Final, mask)),
            _ => {
                return Err(Cause::value(
                    keyword,
                    "original, final, either, to_server or to_client behind the protocol",
                ));
            }
        }
        Ok(())
    }

    /// Keywords that test one value of a transaction.
    fn single_value(&mut self, name: &str, value: Option<&str>) -> Result<bool, Cause> {
        if let Some((buffer, text)) = old_text(name) {
            let text_value = needed(name, value)?;
            let (negated, inner) = match text_value.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, text_value),
            };
            let inner = inner.trim_matches('"');
            let quoted = if text == Text::Extension { format!("\".{inner}\"") } else { format!("\"{inner}\"") };
            let (bytes, _) = parse_content(name, &quoted)?;
            let mut content = Content::new(bytes, negated);
            if text != Text::Exact {
                content.pattern.ignore_case();
            }
            content.ends_with = text == Text::Extension;
            let list = self.list_for(Place::Buffer(buffer));
            self.lists[list].ops.push(Op::Content(content));
            return Ok(true);
        }
        let number = match name {
            "ssl_version" | "tls.version" => Number::TlsVersion,
            _ => match Number::from_name(name) {
                Some(number) => number,
                None => return Ok(false),
            },
        };
        let value = needed(name, value)?;
        let interval = match number {
            Number::TlsVersion => tls_version(name, value)?,
            Number::DnsRrtype => named_interval(name, value, dns_type)?,
            Number::DnsRcode => named_interval(name, value, dns_rcode)?,
            _ => interval(name, value, u64::from(u32::MAX))?,
        };
        self.numbers.push((number, interval));
        Ok(true)
    }
}

impl Draft<'_> {
    /// Narrows the protocols that the rule applies to.
    pub(super) fn restrict_protocols(&mut self, keyword: &str, mask: u32) -> Result<(), Cause> {
        self.protocols = if self.protocols == 0 { mask } else { self.protocols & mask };
        if self.protocols == 0 {
            return Err(Cause::context(keyword, "it excludes the protocol that the rule is for"));
        }
        Ok(())
    }
}

/// The protocol, and what stands behind the comma.
fn value_and_moment(value: &str) -> (&str, &str) {
    value.split_once(',').map_or((value.trim(), ""), |(word, moment)| (word.trim(), moment.trim()))
}

fn sticky(name: &str) -> Option<Place> {
    Some(match name {
        "pkt_data" => Place::Payload,
        "ipv4.hdr" => Place::Header(HeaderPart::Ipv4),
        "ipv6.hdr" => Place::Header(HeaderPart::Ipv6),
        "tcp.hdr" => Place::Header(HeaderPart::Tcp),
        "udp.hdr" => Place::Header(HeaderPart::Udp),
        "icmpv4.hdr" => Place::Header(HeaderPart::Icmp4),
        "icmpv6.hdr" => Place::Header(HeaderPart::Icmp6),
        _ => Place::Buffer(Buffer::from_name(name)?),
    })
}

/// The buffer that a letter behind an expression names.
fn pcre_buffer(letter: char) -> Result<Buffer, Cause> {
    Ok(match letter {
        'U' => Buffer::HttpUri,
        'I' => Buffer::HttpUriRaw,
        'P' => Buffer::HttpRequestBody,
        'Q' => Buffer::HttpResponseBody,
        'H' => Buffer::HttpHeader,
        'D' => Buffer::HttpHeaderRaw,
        'M' => Buffer::HttpMethod,
        'C' => Buffer::HttpCookie,
        'S' => Buffer::HttpStatCode,
        'Y' => Buffer::HttpStatMsg,
        'V' => Buffer::HttpUserAgent,
        'W' => Buffer::HttpHost,
        'Z' => Buffer::HttpHostRaw,
        _ => return Err(Cause::value("pcre", "a letter that names a buffer")),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Text {
    Exact,
    Insensitive,
    /// What follows the last dot.
    Extension,
}

/// Keywords of old that hold the text that a buffer must hold.
fn old_text(name: &str) -> Option<(Buffer, Text)> {
    Some(match name {
        "tls.subject" => (Buffer::TlsCertSubject, Text::Exact),
        "tls.issuerdn" => (Buffer::TlsCertIssuer, Text::Exact),
        "tls.fingerprint" => (Buffer::TlsCertFingerprint, Text::Insensitive),
        "filename" => (Buffer::FileName, Text::Insensitive),
        "fileext" => (Buffer::FileName, Text::Extension),
        "ssh.protoversion" => (Buffer::SshProto, Text::Exact),
        "ssh.softwareversion" => (Buffer::SshSoftware, Text::Exact),
        _ => return None,
    })
}

/// `1.2`, `0x0303` or a name such as `tls1.2`.
fn tls_version(keyword: &str, value: &str) -> Result<Interval, Cause> {
    let value = value.trim_matches('"').trim();
    let version: u64 = match value.to_ascii_lowercase().trim_start_matches("tls") {
        "1.0" | "1" => 0x0301,
        "1.1" => 0x0302,
        "1.2" => 0x0303,
        "1.3" => 0x0304,
        "sslv2" => 0x0002,
        "sslv3" => 0x0300,
        other => number(keyword, other)?,
    };
    Ok(Interval { first: version, last: version, negated: false })
}

/// An interval, or a name that stands for a number.
fn named_interval(keyword: &str, value: &str, named: fn(&str) -> Option<u64>) -> Result<Interval, Cause> {
    let (negated, word) = match value.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, value.trim()),
    };
    match named(&word.to_ascii_lowercase()) {
        Some(number) => Ok(Interval { first: number, last: number, negated }),
        None => interval(keyword, value, u64::from(u16::MAX)),
    }
}

fn dns_type(name: &str) -> Option<u64> {
    Some(match name {
        "a" => 1,
        "ns" => 2,
        "cname" => 5,
        "soa" => 6,
        "null" => 10,
        "ptr" => 12,
        "hinfo" => 13,
        "mx" => 15,
        "txt" => 16,
        "sig" => 24,
        "key" => 25,
        "aaaa" => 28,
        "srv" => 33,
        "naptr" => 35,
        "ds" => 43,
        "sshfp" => 44,
        "rrsig" => 46,
        "nsec" => 47,
        "dnskey" => 48,
        "nsec3" => 50,
        "tlsa" => 52,
        "svcb" => 64,
        "https" => 65,
        "spf" => 99,
        "tkey" => 249,
        "tsig" => 250,
        "any" => 255,
        "uri" => 256,
        "caa" => 257,
        _ => return None,
    })
}

fn dns_rcode(name: &str) -> Option<u64> {
    Some(match name {
        "noerror" => 0,
        "formerr" => 1,
        "servfail" => 2,
        "nxdomain" => 3,
        "notimp" => 4,
        "refused" => 5,
        "yxdomain" => 6,
        "yxrrset" => 7,
        "nxrrset" => 8,
        "notauth" => 9,
        "notzone" => 10,
        "badvers" | "badsig" => 16,
        "badkey" => 17,
        "badtime" => 18,
        _ => return None,
    })
}

/// Whose protocol the rule's buffers and events belong to.
pub(super) fn protocols_of(buffer: Buffer) -> u32 {
    buffer.protocol().map_or(0, mask_of)
}

/// The bit of a protocol.
pub(super) fn mask_of(protocol: AppProtocol) -> u32 {
    1 << (protocol as u32)
}
