//! One rule of policy, as plain values: who, to whom, what, and what becomes of it.

use crate::service::Service;
use std::fmt;
use std::str::FromStr;

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It may be opened.
    Allow,
    /// Its frames are dropped.
    Drop,
}

/// The order in which groups of rules are asked: a whole tier before the next. The names are those that NSX and Antrea use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// For incidents: quarantine, a block that no other rule may undo.
    Emergency,
    /// What every machine needs: DNS, NTP, backups.
    Infrastructure,
    /// Between zones.
    Environment,
    /// Between applications. Where a rule belongs when nothing else is said.
    #[default]
    Application,
    /// What holds where nobody said anything else.
    Baseline,
}

impl Tier {
    /// Every tier, first asked first.
    pub const ALL: [Tier; 5] =
        [Tier::Emergency, Tier::Infrastructure, Tier::Environment, Tier::Application, Tier::Baseline];

    /// Its word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Emergency => "emergency",
            Tier::Infrastructure => "infrastructure",
            Tier::Environment => "environment",
            Tier::Application => "application",
            Tier::Baseline => "baseline",
        }
    }
}

/// One end of a flow: it matches when one of its terms does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The terms. An endpoint without any matches nothing.
    pub terms: Vec<Term>,
}

/// Part of an endpoint: a place in the switch, and at that place perhaps only some addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Which ports.
    pub place: Place,
    /// Name of the address set that the address is in, without the `$`.
    pub addresses: Option<String>,
}

/// Which ports of the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of them.
    Any,
    /// Those of the zone of this name, or the port of this name.
    Named(String),
    /// Those of the group of this name, without the `@`.
    Group(String),
}

impl Endpoint {
    /// Everybody.
    pub fn any() -> Self {
        Self { terms: vec![Term { place: Place::Any, addresses: None }] }
    }
}

impl FromStr for Endpoint {
    type Err = TermError;

    /// Reads one term; see [`Term`].
    fn from_str(text: &str) -> Result<Self, TermError> {
        Ok(Self { terms: vec![text.parse()?] })
    }
}

/// Why a text is not a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TermError {
    /// Nothing there, or nothing on one side of `&`.
    Empty,
    /// `@` or `$` without a name.
    NoName(char),
    /// More than one place, or more than one address set, joined by `&`.
    TwoOfAKind(String),
}

impl fmt::Display for TermError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "expected `any`, a zone, a port, `@group` or `$address_set`"),
            Self::NoName(sigil) => write!(f, "`{sigil}` without a name"),
            Self::TwoOfAKind(text) => {
                write!(f, "`{text}`: `&` joins one place (zone, port or @group) and one $address_set")
            }
        }
    }
}

impl std::error::Error for TermError {}

impl FromStr for Term {
    type Err = TermError;

    /// Reads `any`, a zone's or port's name, `@group`, `$address_set`, or a place and a set joined by `&`:
    /// `outside & $partners` is those addresses, at that place only.
    fn from_str(text: &str) -> Result<Self, TermError> {
        let (mut place, mut addresses) = (None, None);
        for part in text.split('&').map(str::trim) {
            let doubled = match (part.chars().next(), part.get(1..).unwrap_or_default()) {
                (None, _) => return Err(TermError::Empty),
                (Some(sigil @ ('@' | '$')), "") => return Err(TermError::NoName(sigil)),
                (Some('$'), name) => addresses.replace(name.to_string()).is_some(),
                (Some('@'), name) => place.replace(Place::Group(name.to_string())).is_some(),
                (Some(_), _) if part == "any" => place.replace(Place::Any).is_some(),
                (Some(_), _) => place.replace(Place::Named(part.to_string())).is_some(),
            };
            if doubled {
                return Err(TermError::TwoOfAKind(text.to_string()));
            }
        }
        Ok(Self { place: place.unwrap_or(Place::Any), addresses })
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which drops, alerts and counters are reported under.
    pub name: String,
    /// When it is asked.
    pub tier: Tier,
    /// Who opens the flow.
    pub from: Endpoint,
    /// Whom it is opened to.
    pub to: Endpoint,
    /// What is spoken.
    pub service: Service,
    /// What becomes of it.
    pub action: Action,
}

impl Rule {
    /// A rule of the default tier about everything from everybody to everybody.
    pub fn new(name: impl Into<String>, action: Action) -> Self {
        Self {
            name: name.into(),
            tier: Tier::default(),
            from: Endpoint::any(),
            to: Endpoint::any(),
            service: Service::any(),
            action,
        }
    }

    /// The same rule between two endpoints only.
    pub fn between(self, from: Endpoint, to: Endpoint) -> Self {
        Self { from, to, ..self }
    }

    /// The same rule for one service only.
    pub fn about(self, service: Service) -> Self {
        Self { service, ..self }
    }

    /// The same rule in another tier.
    pub fn in_tier(self, tier: Tier) -> Self {
        Self { tier, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read() {
        let check = |text: &str, place: Place, addresses: Option<&str>| {
            let expected = Term { place, addresses: addresses.map(str::to_string) };
            assert_eq!(text.parse::<Term>(), Ok(expected), "{text}");
        };
        check("any", Place::Any, None);
        check("web", Place::Named("web".into()), None);
        check("@web", Place::Group("web".into()), None);
        check("$dns", Place::Any, Some("dns"));
        check("outside & $partners", Place::Named("outside".into()), Some("partners"));
        check("$partners&@gateways", Place::Group("gateways".into()), Some("partners"));
    }

    #[test]
    fn other_texts_are_refused() {
        let check = |text: &str, expected: TermError| assert_eq!(text.parse::<Term>(), Err(expected), "{text}");
        check("", TermError::Empty);
        check("web &", TermError::Empty);
        check("@", TermError::NoName('@'));
        check("$ & web", TermError::NoName('$'));
        check("web & db", TermError::TwoOfAKind("web & db".into()));
        check("$a & $b", TermError::TwoOfAKind("$a & $b".into()));
    }

    #[test]
    fn a_term_may_be_of_any_letters() {
        assert_eq!("é".parse::<Term>(), Ok(Term { place: Place::Named("é".into()), addresses: None }));
    }
}
