//! Why a rule is refused.

use std::fmt;

use super::text::Position;

/// Why a rule was refused. A rule loads fully or not at all: nothing that a rule says is ever passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The text does not follow the grammar; the words say what was expected.
    Syntax(&'static str),
    /// The rule is longer than [`crate::limits::RULE_BYTES_MAX`] or nests lists deeper than
    /// [`crate::limits::RULE_LIST_DEPTH_MAX`].
    TooLong,
    /// No such action, or one that this engine does not offer.
    Action(String),
    /// No such protocol, or one that this engine does not recognise.
    Protocol(String),
    /// A `$VARIABLE` that nobody defined.
    UndefinedVariable(String),
    /// A variable that is defined by way of itself.
    CircularVariable(String),
    /// The negations leave no address, or no port.
    NothingLeft(&'static str),
    /// A keyword that this engine does not know.
    UnknownKeyword(String),
    /// A keyword whose value is missing, malformed or out of range; the words say what was expected.
    Value {
        /// The keyword.
        keyword: String,
        /// What was expected.
        expected: String,
    },
    /// A keyword where it cannot stand: a modifier without a content, two options that exclude each other.
    Context {
        /// The keyword.
        keyword: String,
        /// What stands in its way.
        problem: &'static str,
    },
    /// A regular expression that cannot be compiled; the words are the compiler's.
    Regex(String),
    /// The rule has no `sid`.
    NoSid,
    /// Another rule has the same `gid` and `sid`.
    DuplicateSid(u32),
    /// A rule that needs more of something than [`crate::limits`] allows.
    Limit(&'static str),
}

impl Cause {
    /// A malformed value of `keyword`.
    pub(crate) fn value(keyword: &str, expected: impl Into<String>) -> Self {
        Cause::Value { keyword: keyword.to_owned(), expected: expected.into() }
    }

    /// `keyword` stands where it cannot.
    pub(crate) fn context(keyword: &str, problem: &'static str) -> Self {
        Cause::Context { keyword: keyword.to_owned(), problem }
    }

    /// A short name under which refusals of the same kind are counted together.
    pub fn group(&self) -> String {
        match self {
            Cause::Syntax(_) => "syntax".to_owned(),
            Cause::TooLong => "rule too long".to_owned(),
            Cause::Action(word) => format!("action {word}"),
            Cause::Protocol(word) => format!("protocol {word}"),
            Cause::UndefinedVariable(name) => format!("undefined variable ${name}"),
            Cause::CircularVariable(name) => format!("circular variable ${name}"),
            Cause::NothingLeft(what) => format!("no {what} left"),
            Cause::UnknownKeyword(word) => format!("unknown keyword {word}"),
            Cause::Value { keyword, .. } => format!("value of {keyword}"),
            Cause::Context { keyword, .. } => format!("place of {keyword}"),
            Cause::Regex(_) => "pcre".to_owned(),
            Cause::NoSid => "no sid".to_owned(),
            Cause::DuplicateSid(_) => "duplicate sid".to_owned(),
            Cause::Limit(what) => format!("limit of {what}"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Syntax(expected) => write!(f, "expected {expected}"),
            Cause::TooLong => f.write_str("the rule is too long or nests too deeply"),
            Cause::Action(word) => write!(f, "the action \"{word}\" is not one of alert, drop, reject, pass"),
            Cause::Protocol(word) => write!(f, "the protocol \"{word}\" is not known"),
            Cause::UndefinedVariable(name) => write!(f, "the variable ${name} is not defined"),
            Cause::CircularVariable(name) => {
                write!(f, "the variable ${name} is defined by way of itself")
            }
            Cause::NothingLeft(what) => write!(f, "the negations leave no {what}"),
            Cause::UnknownKeyword(word) => write!(f, "the keyword \"{word}\" is not known"),
            Cause::Value { keyword, expected } => write!(f, "{keyword}: expected {expected}"),
            Cause::Context { keyword, problem } => write!(f, "{keyword}: {problem}"),
            Cause::Regex(problem) => write!(f, "pcre: {problem}"),
            Cause::NoSid => f.write_str("the rule has no sid"),
            Cause::DuplicateSid(sid) => write!(f, "another rule has sid {sid} already"),
            Cause::Limit(what) => write!(f, "the rule needs more {what} than allowed"),
        }
    }
}

impl std::error::Error for Cause {}

/// A rule that was not loaded: where it is and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Name of the rule file, as given by the caller.
    pub file: String,
    /// Place of what is wrong.
    pub position: Position,
    /// The rule's signature id, when it has a readable one.
    pub sid: Option<u32>,
    /// What is wrong.
    pub cause: Cause,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.position)?;
        if let Some(sid) = self.sid {
            write!(f, "sid {sid}: ")?;
        }
        self.cause.fmt(f)
    }
}
