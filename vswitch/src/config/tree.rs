//! A YAML document as a tree in which every node knows which bytes of the file it is.
//!
//! serde-saphyr reads the text; the tree stands between it and the typed shapes so that one pass can report every fault of
//! a file and not only the first (see [`super::decode`]), and so that a doubled key can be shown with its double.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Options, Spanned};
use std::fmt;
use std::ops::Range;

/// A node and its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Range<usize>,
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Nothing, or `null`.
    Null,
    /// A scalar, as written and unquoted.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Mapping),
}

/// A mapping in file order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mapping {
    pub(super) entries: Vec<Entry>,
    /// Keys whose entries were taken out because they are faulty: they are not missing as well.
    pub(super) lost: Vec<String>,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_at: Range<usize>,
    pub(super) value: Node,
}

/// A key that a mapping has twice.
#[derive(Debug, PartialEq)]
pub(super) struct Doubled {
    pub(super) key: String,
    pub(super) first_at: Range<usize>,
    pub(super) second_at: Range<usize>,
}

/// Text that is no YAML document.
#[derive(Debug, PartialEq)]
pub(super) struct BadYaml {
    pub(super) at: Range<usize>,
    pub(super) message: String,
}

/// Reads a document. Of a key that stands twice the first stays in the tree.
pub(super) fn read(text: &str) -> Result<(Node, Vec<Doubled>), BadYaml> {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    options.with_snippet = false;
    let raw: Spanned<Raw> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| BadYaml::new(text, &error))?;
    let mut doubled = Vec::new();
    let node = Node::new(raw, text, &mut doubled);
    Ok((node, doubled))
}

impl BadYaml {
    fn new(text: &str, error: &serde_saphyr::Error) -> Self {
        let at = error.location().map_or(0..0, |location| bytes_of(location, text));
        let message = error.without_snippet().to_string();
        // The place is shown by us; the library's words repeat it at their end.
        let message = match message.find(" at line ") {
            Some(end) => message[..end].to_string(),
            None => message,
        };
        Self { at, message }
    }
}

impl Node {
    fn new(raw: Spanned<Raw>, text: &str, doubled: &mut Vec<Doubled>) -> Self {
        let at = bytes_of(raw.referenced, text);
        let kind = match raw.value {
            Raw::Null => Kind::Null,
            Raw::Text(value) => Kind::Scalar(value),
            // A plain scalar that looks like a number or a boolean: what was written, not what was understood.
            Raw::Plain(fallback) => {
                let written = text.get(bytes_of(raw.defined, text)).map(str::trim).filter(|text| !text.is_empty());
                Kind::Scalar(written.map_or(fallback, str::to_string))
            }
            Raw::List(items) => Kind::List(items.into_iter().map(|item| Self::new(item, text, doubled)).collect()),
            Raw::Map(entries) => Kind::Map(Mapping::new(entries, text, doubled)),
        };
        Self { at, kind }
    }

    /// The text of a scalar.
    pub(super) fn as_scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text) => Some(text),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }
}

impl Mapping {
    fn new(raw: Vec<(Spanned<Raw>, Spanned<Raw>)>, text: &str, doubled: &mut Vec<Doubled>) -> Self {
        let mut entries: Vec<Entry> = Vec::with_capacity(raw.len());
        for (key, value) in raw {
            let key = Node::new(key, text, doubled);
            let name = key.as_scalar().map_or_else(|| text[key.at.clone()].to_string(), str::to_string);
            let value = Node::new(value, text, doubled);
            match entries.iter().find(|entry| entry.key == name) {
                Some(first) => {
                    doubled.push(Doubled { key: name, first_at: first.key_at.clone(), second_at: key.at });
                }
                None => entries.push(Entry { key: name, key_at: key.at, value }),
            }
        }
        Self { entries, lost: Vec::new() }
    }
}

/// The bytes of a place; always within the text, on character borders.
fn bytes_of(location: Location, text: &str) -> Range<usize> {
    let span = location.span();
    let clamp = |offset: u64| {
        let mut offset = usize::try_from(offset).unwrap_or(text.len()).min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    };
    match (span.byte_offset(), span.byte_len()) {
        (Some(start), Some(len)) => clamp(start)..clamp(start.saturating_add(len)),
        (Some(start), None) => clamp(start)..clamp(start),
        (None, _) => {
            let at = offset_of(location, text);
            at..at
        }
    }
}

/// The byte offset of a place that is known by line and column only, as the parser's own errors are.
fn offset_of(location: Location, text: &str) -> usize {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let line_start: usize =
        text.split_inclusive('\n').take(number(location.line()).saturating_sub(1)).map(str::len).sum();
    let line = text[line_start..].lines().next().unwrap_or_default();
    let in_line = line.chars().take(number(location.column()).saturating_sub(1)).map(char::len_utf8).sum::<usize>();
    line_start + in_line
}

/// What serde-saphyr hands over.
enum Raw {
    Null,
    Text(String),
    Plain(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Plain(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in one line, each node with the text that it points at.
    fn show(node: &Node, text: &str) -> String {
        match &node.kind {
            Kind::Null => "null".into(),
            Kind::Scalar(value) => format!("{value}<{}>", &text[node.at.clone()]),
            Kind::List(items) => {
                format!("[{}]", items.iter().map(|item| show(item, text)).collect::<Vec<_>>().join(" "))
            }
            Kind::Map(map) => {
                let entry = |entry: &Entry| {
                    format!("{}<{}>={}", entry.key, &text[entry.key_at.clone()], show(&entry.value, text))
                };
                format!("{{{}}}", map.entries.iter().map(entry).collect::<Vec<_>>().join(" "))
            }
        }
    }

    fn check(text: &str, expected: &str) {
        let (node, doubled) = read(text).unwrap();
        assert!(doubled.is_empty(), "{doubled:?}");
        assert_eq!(show(&node, text), expected);
    }

    #[test]
    fn nodes_know_their_bytes() {
        check("a: 1\nb: [x, \"y z\"]\n", "{a<a>=1<1> b<b>=[x<x> y z<\"y z\">]}");
        check("é: {k: no, m: 52:54:00:00:00:01}", "{é<é>={k<k>=no<no> m<m>=52:54:00:00:00:01<52:54:00:00:00:01>}}");
        check(
            "n: 0123\nt: true\nx: 10:20:30\nz: ~\n",
            "{n<n>=0123<0123> t<t>=true<true> x<x>=10:20:30<10:20:30> z<z>=null}",
        );
        check("53: a", "{53<53>=a<a>}");
    }

    #[test]
    fn doubled_keys_are_told() {
        let text = "zones:\n  web: 1\n  db: 2\n  web: 3\n";
        let (node, doubled) = read(text).unwrap();
        assert_eq!(show(&node, text), "{zones<zones>={web<web>=1<1> db<db>=2<2>}}");
        assert_eq!(doubled, [Doubled { key: "web".into(), first_at: 9..12, second_at: 26..29 }]);
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        let check = |text: &str, line: usize, words: &str| {
            let bad = read(text).unwrap_err();
            assert_eq!(text[..bad.at.start].matches('\n').count() + 1, line, "{bad:?}");
            assert!(bad.message.contains(words), "{bad:?}");
        };
        check("a: 1\nb: [1, 2\nc: 3\n", 3, "':'");
        check("a: 1\n\tb: 2\n", 1, "tab");
        check("a: *nowhere\n", 1, "anchor");
    }
}
