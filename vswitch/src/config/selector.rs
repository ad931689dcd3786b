//! How profiles name signatures, in the words of suricata-update.

use inspect::signature::SignatureInfo;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use super::pattern;

/// Some of the signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    /// All of them.
    Any,
    /// Those of rule files with such a name, written without directory and `.rules`; `*` and `?` stand for letters.
    Group(String),
    /// Those of a class type.
    Classtype(String),
    /// Those with these signature ids.
    Sid(RangeInclusive<u32>),
    /// Those with these priorities; 1 is the gravest.
    Priority(RangeInclusive<u8>),
    /// Those that have the key with the value in their metadata, whatever the case of letters.
    Metadata(String, String),
}

const FORMS: &str = "`any`, a signature id, or one of `group:NAME`, `classtype:NAME`, `sid:FIRST-LAST`, \
                     `priority:FIRST-LAST`, `metadata:KEY VALUE`";

impl Selector {
    /// Whether it names the signature.
    pub(super) fn selects(&self, info: &SignatureInfo) -> bool {
        match self {
            Self::Any => true,
            Self::Group(name) => pattern::matches(name, &info.group),
            Self::Classtype(name) => info.classtype.as_ref() == Some(name),
            Self::Sid(sids) => sids.contains(&info.sid),
            Self::Priority(priorities) => priorities.contains(&info.priority),
            Self::Metadata(key, value) => info
                .metadata
                .iter()
                .any(|(known, told)| known.eq_ignore_ascii_case(key) && told.eq_ignore_ascii_case(value)),
        }
    }

    fn read(text: &str) -> Result<Self, String> {
        let bad = || format!("expected {FORMS}, found `{text}`");
        if text == "any" {
            return Ok(Self::Any);
        }
        let Some((kind, word)) = text.split_once(':') else {
            return range(text).ok_or_else(bad)?.map(Self::Sid).map_err(|()| backwards(text));
        };
        let word = word.trim();
        if word.is_empty() {
            return Err(bad());
        }
        match kind {
            "group" => Ok(Self::Group(word.strip_suffix(".rules").unwrap_or(word).to_owned())),
            "classtype" => Ok(Self::Classtype(word.to_owned())),
            "sid" => range(word).ok_or_else(bad)?.map(Self::Sid).map_err(|()| backwards(text)),
            "priority" => range(word).ok_or_else(bad)?.map(Self::Priority).map_err(|()| backwards(text)),
            "metadata" => {
                let (key, value) = word.split_once(char::is_whitespace).ok_or_else(bad)?;
                Ok(Self::Metadata(key.to_owned(), value.trim().to_owned()))
            }
            _ => Err(bad()),
        }
    }
}

fn backwards(text: &str) -> String {
    format!("the range in `{text}` ends before it starts")
}

/// A number, or a range of them; `None` for a word that is neither.
fn range<T: std::str::FromStr + PartialOrd + Copy>(word: &str) -> Option<Result<RangeInclusive<T>, ()>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last): (T, T) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    Some(if first <= last { Ok(first..=last) } else { Err(()) })
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor;

        impl Visitor<'_> for WordVisitor {
            type Value = Selector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one word")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Selector, E> {
                Selector::read(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(WordVisitor)
    }
}

impl JsonSchema for Selector {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Selector".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let forms = "^(any|[0-9]+(-[0-9]+)?|(group|classtype|sid|priority|metadata): *[^ ].*)$";
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": forms }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inspect::signature::{RuleFile, RuleSet, Vars};

    #[test]
    fn selectors_select() {
        let text = "alert tcp any any -> any any (msg:\"a\"; content:\"abcd\"; classtype:trojan-activity; \
                    metadata:signature_severity Major, deployment Perimeter; sid:7;)";
        let file = RuleFile { name: "/rules/emerging-web.rules".into(), text: text.into() };
        let rules = RuleSet::compile(&[file], &Vars::conventional()).rules;
        let check = |text: &str, expected: bool| {
            let selector = Selector::read(text).unwrap();
            assert_eq!(selector.selects(rules.signature(0).unwrap()), expected, "{text}");
        };
        check("any", true);
        check("7", true);
        check("8", false);
        check("sid:1-7", true);
        check("sid:8-9", false);
        check("group:emerging-web", true);
        check("group:emerging-*.rules", true);
        check("group:web", false);
        check("classtype:trojan-activity", true);
        check("classtype:trojan", false);
        check("priority:1", true);
        check("priority:2-3", false);
        check("metadata:signature_severity major", true);
        check("metadata: deployment  Perimeter", true);
        check("metadata:deployment Datacenter", false);
    }

    #[test]
    fn slips_are_refused() {
        for text in ["", "web", "group:", "sid:x", "priority:300", "metadata:deployment", "file:web", "1-", "-1"] {
            let refusal = Selector::read(text).unwrap_err();
            assert!(refusal.starts_with("expected `any`") && refusal.ends_with(&format!("`{text}`")), "{refusal}");
        }
        assert_eq!(Selector::read("sid:9-1"), Err("the range in `sid:9-1` ends before it starts".to_owned()));
        assert_eq!(Selector::read("9-1"), Err("the range in `9-1` ends before it starts".to_owned()));
    }
}
