//! The syntax tree of one rule: what was written, before anything is known about keywords or variables.
//!
//! [`std::fmt::Display`] writes a tree as rule text that parses into an equal tree.

use std::fmt;
use std::net::IpAddr;

use super::text::Position;

/// What a rule asks for when it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Let the packet (or the flow) through, and look no further.
    Pass,
    /// Discard the packet, silently.
    Drop,
    /// Discard the packet; a refusal towards the sender may be sent by the caller.
    Reject,
    /// Report only.
    Alert,
}

impl Action {
    /// The word of the rule language.
    pub fn word(self) -> &'static str {
        match self {
            Action::Pass => "pass",
            Action::Drop => "drop",
            Action::Reject => "reject",
            Action::Alert => "alert",
        }
    }

    /// The place in the order in which actions are considered: pass, drop, reject, alert (Suricata's default order).
    pub fn order(self) -> u8 {
        match self {
            Action::Pass => 0,
            Action::Drop => 1,
            Action::Reject => 2,
            Action::Alert => 3,
        }
    }
}

/// An expression over addresses or ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression<T> {
    /// `any`.
    Any,
    /// `$NAME`.
    Variable(String),
    /// One value or range.
    Item(T),
    /// `[a,b,!c]`: any of the positive members, and none of the negated ones.
    List(Vec<Expression<T>>),
    /// `!a`.
    Not(Box<Expression<T>>),
}

/// Addresses from `first` to `last`, both included, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// Lowest address.
    pub first: IpAddr,
    /// Highest address.
    pub last: IpAddr,
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

/// The addresses and ports of one side of the arrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndPoint {
    /// Addresses.
    pub addresses: Expression<AddressRange>,
    /// Place of the addresses.
    pub addresses_at: Position,
    /// Ports.
    pub ports: Expression<PortRange>,
    /// Place of the ports.
    pub ports_at: Position,
}

/// One `keyword` or `keyword:value` between semicolons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleOption {
    /// The keyword, in lower case.
    pub name: String,
    /// What follows the colon, surrounding spaces removed, quotes and escapes untouched.
    pub value: Option<String>,
    /// Place of the keyword's first byte.
    pub position: Position,
}

/// A rule as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Place of the rule's first byte.
    pub position: Position,
    /// First word.
    pub action: Action,
    /// Second word, in lower case.
    pub protocol: String,
    /// Place of the protocol.
    pub protocol_at: Position,
    /// Left of the arrow.
    pub source: EndPoint,
    /// `<>` instead of `->`.
    pub bidirectional: bool,
    /// Right of the arrow.
    pub destination: EndPoint,
    /// The options in their order.
    pub options: Vec<RuleOption>,
}

impl Rule {
    /// The signature id, when the rule has a readable one: for messages about rules that are refused.
    pub fn sid(&self) -> Option<u32> {
        self.options.iter().find(|option| option.name == "sid")?.value.as_deref()?.parse().ok()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}:{}", self.first, self.last) }
    }
}

impl<T: fmt::Display> fmt::Display for Expression<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Any => f.write_str("any"),
            Expression::Variable(name) => write!(f, "${name}"),
            Expression::Item(item) => item.fmt(f),
            Expression::Not(inner) => write!(f, "!{inner}"),
            Expression::List(members) => {
                f.write_str("[")?;
                for (index, member) in members.iter().enumerate() {
                    if index > 0 {
                        f.write_str(",")?;
                    }
                    member.fmt(f)?;
                }
                f.write_str("]")
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.bidirectional { "<>" } else { "->" };
        let (from, to) = (&self.source, &self.destination);
        write!(f, "{} {} {} {} {arrow} ", self.action.word(), self.protocol, from.addresses, from.ports)?;
        write!(f, "{} {} (", to.addresses, to.ports)?;
        for (index, option) in self.options.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&option.name)?;
            if let Some(value) = &option.value {
                write!(f, ":{value}")?;
            }
            f.write_str(";")?;
        }
        f.write_str(")")
    }
}
