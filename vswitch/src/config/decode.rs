//! From the tree to typed shapes, finding every fault on the way.
//!
//! # Theory of operation
//!
//! serde stops at the first fault. So the shapes are read from the tree, not from the text: when reading fails, the fault
//! is noted, the smallest entry or item that holds it is taken out of the tree, and the reading starts over, until it
//! succeeds or [`FAULTS_MAX`] faults are found. A key that was taken out is not reported as missing as well; a mapping
//! that lacks it is taken out in silence in its turn. What was read in the end is the sound part of the file: enough to
//! look for the faults that lie deeper.

mod reader;

use super::suggest;
use super::tree::{Kind, Node};
use reader::NodeReader;
use serde::de::{self, Expected, Unexpected};
use std::fmt;
use std::ops::{Deref, DerefMut, Range};

/// Faults of shape that are looked for at most: nobody mends more in one go, and each costs a reading of the tree.
pub(super) const FAULTS_MAX: usize = 50;

/// Name under which [`super::spanned::At`] asks for its place.
pub(super) const AT: &str = "\0at";

/// A place where the file has not the shape that it should have. Boxed, because every step of reading hands it on.
#[derive(Debug)]
pub(super) struct Fault(Box<Details>);

/// What is known of a fault.
#[derive(Debug, Default)]
pub(super) struct Details {
    pub(super) message: String,
    /// Bytes of the file; `None` until the reader of the enclosing node fills it in.
    pub(super) at: Option<Range<usize>>,
    pub(super) help: Option<String>,
    /// The key, where the fault is that there is none.
    missing: Option<&'static str>,
    /// The key that an unknown one was meant to be.
    meant: Option<String>,
    /// Whether the key is missing only because it was taken out: already told.
    is_echo: bool,
    /// The way to the faulty node, innermost step first: numbers of entries and items.
    way: Vec<usize>,
}

impl Deref for Fault {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Fault {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

/// What could be read of a file.
#[derive(Debug)]
pub(super) struct Decoded<T> {
    /// The sound part; `None` when the file's outermost shape is wrong.
    pub(super) value: Option<T>,
    pub(super) faults: Vec<Fault>,
    /// Keys and scalars of everything that was taken out. A name among them may well be the one that is missed later.
    pub(super) lost: Vec<String>,
}

/// Reads a tree, and every fault of shape in it.
pub(super) fn decode<T: de::DeserializeOwned>(mut root: Node) -> Decoded<T> {
    let (mut faults, mut lost) = (Vec::new(), Vec::new());
    while faults.len() < FAULTS_MAX {
        match T::deserialize(NodeReader(&root)) {
            Ok(value) => {
                return Decoded { value: Some(value), faults, lost };
            }
            Err(fault) => {
                let is_removed = root.remove(&fault, &mut lost);
                if !fault.is_echo {
                    faults.push(fault);
                }
                if !is_removed {
                    break;
                }
            }
        }
    }
    Decoded { value: None, faults, lost }
}

impl Node {
    /// Takes out the node that a fault is about. Answers whether there was one: the root stays.
    fn remove(&mut self, fault: &Fault, lost: &mut Vec<String>) -> bool {
        let Some((last, outer)) = fault.way.split_first() else {
            return false;
        };
        let mut node = self;
        for step in outer.iter().rev() {
            match node.child_mut(*step) {
                Some(child) => node = child,
                None => return false,
            }
        }
        match &mut node.kind {
            Kind::List(items) if *last < items.len() => items.remove(*last).words(lost),
            Kind::Map(map) if *last < map.entries.len() => {
                let entry = map.entries.remove(*last);
                lost.push(entry.key.clone());
                entry.value.words(lost);
                map.lost.push(entry.key);
                map.lost.extend(fault.meant.clone());
            }
            Kind::List(_) | Kind::Map(_) | Kind::Null | Kind::Scalar(_) => return false,
        }
        true
    }

    fn child_mut(&mut self, step: usize) -> Option<&mut Node> {
        match &mut self.kind {
            Kind::List(items) => items.get_mut(step),
            Kind::Map(map) => map.entries.get_mut(step).map(|entry| &mut entry.value),
            Kind::Null | Kind::Scalar(_) => None,
        }
    }

    fn words(&self, words: &mut Vec<String>) {
        match &self.kind {
            Kind::Null => {}
            Kind::Scalar(text) => words.push(text.clone()),
            Kind::List(items) => items.iter().for_each(|item| item.words(words)),
            Kind::Map(map) => {
                for entry in &map.entries {
                    words.push(entry.key.clone());
                    entry.value.words(words);
                }
            }
        }
    }
}

impl Fault {
    /// A fault in words of our own, at the node that is being read.
    fn new(message: String) -> Self {
        Self(Box::new(Details { message, ..Details::default() }))
    }

    fn with_suggestion(mut self, word: &str, known: &[&str]) -> Self {
        match suggest::nearest(word, known.iter().copied()) {
            Some(near) => {
                self.message.push_str(&format!(", did you mean `{near}`?"));
                self.meant = Some(near.to_string());
            }
            None => self.help = Some(format!("possible here: {}", suggest::listed(known.iter().copied(), '`'))),
        }
        self
    }

    fn within(mut self, at: &Range<usize>) -> Self {
        self.at.get_or_insert_with(|| at.clone());
        self
    }

    fn behind(mut self, step: usize) -> Self {
        self.way.push(step);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, found {}", Found(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {expected}, found {}", Found(found)))
    }

    fn unknown_variant(word: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("`{word}` is not possible here")).with_suggestion(word, expected)
    }

    fn unknown_field(key: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("unknown key `{key}`")).with_suggestion(key, expected)
    }

    fn missing_field(key: &'static str) -> Self {
        let mut fault = Self::new(format!("the key `{key}` is missing"));
        fault.missing = Some(key);
        fault
    }
}

/// What was found, in the words of the file and not of the programming language.
struct Found<'a>(Unexpected<'a>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Unexpected::Str(text) => write!(f, "`{text}`"),
            Unexpected::Unit | Unexpected::Option => write!(f, "nothing"),
            Unexpected::Seq => write!(f, "a list"),
            Unexpected::Map => write!(f, "a mapping"),
            Unexpected::Unsigned(number) => write!(f, "{number}"),
            Unexpected::Signed(number) => write!(f, "{number}"),
            other => write!(f, "{other}"),
        }
    }
}
