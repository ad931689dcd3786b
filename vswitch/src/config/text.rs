//! Values that the file writes as a word: read, and refused with a sentence that says what was expected.

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use zones::service::{ICMP, ICMP6, IcmpType, TCP, UDP};

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Action(pub(super) zones::rule::Action);

/// A protocol by its word or number; `None` is `any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol(pub(super) Option<u8>);

/// A transport port, or a range of them; both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortRange(pub(super) u16, pub(super) u16);

/// An ICMP type, perhaps with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IcmpTypeText(pub(super) IcmpType);

/// An address or a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix(pub(super) IpNet);

/// Where a listener listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListenAddress(pub(super) SocketAddr);

/// A duration, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DurationText(pub(super) u64);

/// A type that is read from one word.
trait Word: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

/// Reads a word where its place is known: a fault is told of the word, not of what it stands in.
struct WordVisitor<T>(PhantomData<T>);

impl<T: Word> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one word")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::read(text).map_err(E::custom)
    }
}

macro_rules! words {
    ($($name:ident: $schema:tt)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(WordVisitor(PhantomData))
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

words! {
    Action: { "type": "string", "enum": ["allow", "drop"] }
    Protocol: { "anyOf": [
        { "type": "string", "enum": ["any", "tcp", "udp", "icmp", "icmp6"] },
        { "type": "integer", "minimum": 0, "maximum": 255 },
    ] }
    PortRange: { "anyOf": [
        { "type": "integer", "minimum": 0, "maximum": 65535 },
        { "type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$" },
    ] }
    IcmpTypeText: { "anyOf": [
        { "type": "integer", "minimum": 0, "maximum": 255 },
        { "type": "string", "pattern": "^[0-9]{1,3}(/[0-9]{1,3})?$" },
    ] }
    Prefix: { "type": "string" }
    ListenAddress: { "type": "string" }
    DurationText: { "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" }
}

impl Word for Action {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "allow" => Ok(Self(zones::rule::Action::Allow)),
            "drop" => Ok(Self(zones::rule::Action::Drop)),
            "deny" | "block" | "accept" => {
                Err(format!("`{text}` is not an action here: a rule says `allow` or `drop`"))
            }
            "reject" | "pass" | "alert" | "inspect" | "redirect" | "quarantine" => {
                Err(format!("the action `{text}` is not supported yet: a rule says `allow` or `drop`"))
            }
            other => Err(format!("expected `allow` or `drop`, found `{other}`")),
        }
    }
}

impl Word for Protocol {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Self(None)),
            "tcp" => Ok(Self(Some(TCP))),
            "udp" => Ok(Self(Some(UDP))),
            "icmp" => Ok(Self(Some(ICMP))),
            "icmp6" | "icmpv6" => Ok(Self(Some(ICMP6))),
            "arp" => Err("`arp` needs no rule: addresses are resolved between exactly those ports that may open some \
                          flow to one another"
                .to_string()),
            other => other.parse().map(|number| Self(Some(number))).map_err(|_| {
                format!("expected `any`, `tcp`, `udp`, `icmp`, `icmp6` or an IP protocol number, found `{other}`")
            }),
        }
    }
}

impl Word for PortRange {
    fn read(text: &str) -> Result<Self, String> {
        let bad = || format!("expected a port (0 to 65535) or a range of them (as in 8000-8080), found `{text}`");
        let number = |word: &str| word.trim().parse::<u16>().map_err(|_| bad());
        match text.split_once('-') {
            None => number(text).map(|port| Self(port, port)),
            Some((first, last)) => {
                let range = Self(number(first)?, number(last)?);
                if range.0 > range.1 { Err(format!("the range {text} ends before it starts")) } else { Ok(range) }
            }
        }
    }
}

impl Word for IcmpTypeText {
    fn read(text: &str) -> Result<Self, String> {
        let number = |word: &str| {
            word.parse::<u8>().map_err(|_| format!("expected an ICMP type, or type/code (as in 3/4), found `{text}`"))
        };
        let (icmp_type, code) = match text.split_once('/') {
            None => (number(text)?, None),
            Some((icmp_type, code)) => (number(icmp_type)?, Some(number(code)?)),
        };
        Ok(Self(IcmpType { icmp_type, code }))
    }
}

impl Word for Prefix {
    fn read(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address)));
        }
        let net: IpNet =
            text.parse().map_err(|_| format!("`{text}` is neither an IP address nor a prefix (as in 10.0.1.0/24)"))?;
        // A set of addresses with a slip in it is wider, or elsewhere, than its author thinks.
        if net.addr() == net.network() {
            Ok(Self(net))
        } else {
            Err(format!("`{text}` has bits set after the prefix: write {} or {}", net.trunc(), net.addr()))
        }
    }
}

impl Word for ListenAddress {
    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("expected an IP address and a TCP port (as in 127.0.0.1:9477), found `{text}`"))
    }
}

impl Word for DurationText {
    fn read(text: &str) -> Result<Self, String> {
        let bad = || format!("expected a duration with its unit (as in 500ms, 30s, 5m, 2h), found `{text}`");
        let digits_end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits_end);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)).map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Word + std::fmt::Debug + PartialEq>(text: &str, expected: Result<T, &str>) {
        assert_eq!(T::read(text), expected.map_err(str::to_string), "{text}");
    }

    #[test]
    fn words_are_read() {
        check("allow", Ok(Action(zones::rule::Action::Allow)));
        check("reject", Err::<Action, _>("the action `reject` is not supported yet: a rule says `allow` or `drop`"));
        check("tcp", Ok(Protocol(Some(6))));
        check("132", Ok(Protocol(Some(132))));
        check("any", Ok(Protocol(None)));
        check("80", Ok(PortRange(80, 80)));
        check("80-90", Ok(PortRange(80, 90)));
        check("90-80", Err::<PortRange, _>("the range 90-80 ends before it starts"));
        check("3/4", Ok(IcmpTypeText(IcmpType { icmp_type: 3, code: Some(4) })));
        check("10.0.0.1", Ok(Prefix("10.0.0.1/32".parse().unwrap())));
        check("10.0.0.0/8", Ok(Prefix("10.0.0.0/8".parse().unwrap())));
        check("90s", Ok(DurationText(90_000)));
        check("0ms", Ok(DurationText(0)));
        check("2h", Ok(DurationText(7_200_000)));
    }

    #[test]
    fn slips_are_refused_with_what_was_expected() {
        let port = "expected a port (0 to 65535) or a range of them (as in 8000-8080), found `70000`";
        check("70000", Err::<PortRange, _>(port));
        let net = "`10.0.0.1/8` has bits set after the prefix: write 10.0.0.0/8 or 10.0.0.1";
        check("10.0.0.1/8", Err::<Prefix, _>(net));
        for text in ["30", "s", "30x", "30 s", "99999999999999999999h", ""] {
            let expected = "expected a duration with its unit (as in 500ms, 30s, 5m, 2h), found ";
            assert_eq!(DurationText::read(text), Err(format!("{expected}`{text}`")));
        }
    }
}
