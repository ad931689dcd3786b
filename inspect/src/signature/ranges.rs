//! Sets of addresses and ports as sorted, disjoint ranges; how rule expressions and variables become such sets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::cause::Cause;
use super::parse;
use super::syntax::{AddressRange, Expression, PortRange};
use crate::limits::{RANGES_PER_SET_MAX, RULE_LIST_DEPTH_MAX};

/// A number that ranges are made of.
pub(crate) trait Step: Copy + Ord {
    /// The lowest number.
    const MIN: Self;
    /// The highest number.
    const MAX: Self;
    /// The next number; only asked below `MAX`.
    fn next(self) -> Self;
    /// The previous number; only asked above `MIN`.
    fn previous(self) -> Self;
}

impl Step for u16 {
    const MIN: Self = u16::MIN;
    const MAX: Self = u16::MAX;
    fn next(self) -> Self {
        self.wrapping_add(1)
    }
    fn previous(self) -> Self {
        self.wrapping_sub(1)
    }
}

impl Step for u128 {
    const MIN: Self = u128::MIN;
    const MAX: Self = u128::MAX;
    fn next(self) -> Self {
        self.wrapping_add(1)
    }
    fn previous(self) -> Self {
        self.wrapping_sub(1)
    }
}

/// A set of numbers as sorted ranges that neither overlap nor touch. A copy shares them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RangeSet<T> {
    ranges: Arc<[(T, T)]>,
}

impl<T: Step> RangeSet<T> {
    /// Everything.
    pub(crate) fn any() -> Self {
        Self { ranges: Arc::new([(T::MIN, T::MAX)]) }
    }

    /// The union of ranges in any order.
    pub(crate) fn union(mut ranges: Vec<(T, T)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(open) if first <= open.1 || (open.1 < T::MAX && first == open.1.next()) => {
                    open.1 = open.1.max(last);
                }
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged.into() }
    }

    /// Everything that is not in the set.
    pub(crate) fn complement(&self) -> Self {
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        let mut from = Some(T::MIN);
        for &(first, last) in &*self.ranges {
            if let Some(start) = from
                && start < first
            {
                ranges.push((start, first.previous()));
            }
            from = (last < T::MAX).then(|| last.next());
        }
        if let Some(start) = from {
            ranges.push((start, T::MAX));
        }
        Self { ranges: ranges.into() }
    }

    /// What is in both sets.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let (mut left, mut right, mut ranges) = (0, 0, Vec::new());
        while let (Some(&(a, b)), Some(&(c, d))) = (self.ranges.get(left), other.ranges.get(right)) {
            if a.max(c) <= b.min(d) {
                ranges.push((a.max(c), b.min(d)));
            }
            if b < d {
                left += 1;
            } else {
                right += 1;
            }
        }
        Self { ranges: ranges.into() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether the set holds everything.
    pub(crate) fn is_any(&self) -> bool {
        matches!(*self.ranges, [(first, last)] if first == T::MIN && last == T::MAX)
    }

    #[inline]
    pub(crate) fn contains(&self, value: T) -> bool {
        match *self.ranges {
            [(first, last)] => first <= value && value <= last,
            _ => {
                let after = self.ranges.partition_point(|&(first, _)| first <= value);
                after > 0 && value <= self.ranges[after - 1].1
            }
        }
    }

    /// The ranges in rising order.
    pub(crate) fn ranges(&self) -> &[(T, T)] {
        &self.ranges
    }
}

/// Addresses as 128-bit numbers; IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), which [`crate::wire`] refuses as
/// real IPv6 addresses, so that the families cannot meet.
pub(crate) type AddressSet = RangeSet<u128>;

/// Transport ports.
pub(crate) type PortSet = RangeSet<u16>;

/// The number under which an address is held in an [`AddressSet`].
pub(crate) fn address_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The named addresses and ports that rules refer to as `$NAME`.
///
/// A value is an expression of the rule language and may refer to other variables. Whether it is one of addresses or of
/// ports is decided where it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vars {
    values: BTreeMap<String, String>,
}

impl Vars {
    /// No variables at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The variables that rule sets in common use refer to, with the values that Suricata ships: private networks are
    /// home, everything else is external, each server group is home, and the usual ports.
    pub fn conventional() -> Self {
        let mut vars = Self::new();
        vars.set("HOME_NET", "[192.168.0.0/16,10.0.0.0/8,172.16.0.0/12]");
        vars.set("EXTERNAL_NET", "!$HOME_NET");
        for name in ["HTTP", "SMTP", "SQL", "DNS", "TELNET", "DC", "DNP3", "MODBUS"] {
            vars.set(format!("{name}_SERVERS"), "$HOME_NET");
        }
        for name in ["AIM_SERVERS", "ENIP_SERVER"] {
            vars.set(name, if name == "AIM_SERVERS" { "$EXTERNAL_NET" } else { "$HOME_NET" });
        }
        for name in ["DNP3_CLIENT", "MODBUS_CLIENT", "ENIP_CLIENT", "DNP3_SERVER", "MODBUS_SERVER"] {
            vars.set(name, "$HOME_NET");
        }
        let ports = [
            ("HTTP_PORTS", "80"),
            ("SHELLCODE_PORTS", "!80"),
            ("ORACLE_PORTS", "1521"),
            ("SSH_PORTS", "22"),
            ("DNP3_PORTS", "20000"),
            ("MODBUS_PORTS", "502"),
            ("FILE_DATA_PORTS", "[$HTTP_PORTS,110,143]"),
            ("FTP_PORTS", "21"),
            ("GENEVE_PORTS", "6081"),
            ("VXLAN_PORTS", "4789"),
            ("TEREDO_PORTS", "3544"),
            ("SIP_PORTS", "[5060, 5061]"),
        ];
        for (name, value) in ports {
            vars.set(name, value);
        }
        vars
    }

    /// Defines a variable, or defines it anew. The name is written without the `$`.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.values.insert(name.into(), value.into());
    }

    /// The variables and their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The set that an address expression stands for.
    pub(crate) fn addresses(&self, expression: &Expression<AddressRange>) -> Result<AddressSet, Cause> {
        let resolver = Resolver {
            vars: self,
            what: "address",
            parse: parse::addresses,
            range: |range: &AddressRange| (address_number(range.first), address_number(range.last)),
        };
        resolver.resolve(expression, 0)
    }

    /// The set that a port expression stands for.
    pub(crate) fn ports(&self, expression: &Expression<PortRange>) -> Result<PortSet, Cause> {
        let resolver = Resolver {
            vars: self,
            what: "port",
            parse: parse::ports,
            range: |range: &PortRange| (range.first, range.last),
        };
        resolver.resolve(expression, 0)
    }
}

/// How expressions over one kind of item become a set.
struct Resolver<'v, I, T> {
    vars: &'v Vars,
    what: &'static str,
    parse: fn(&str) -> Result<Expression<I>, Cause>,
    range: fn(&I) -> (T, T),
}

impl<I, T: Step> Resolver<'_, I, T> {
    fn resolve(&self, expression: &Expression<I>, depth: usize) -> Result<RangeSet<T>, Cause> {
        let set = match expression {
            Expression::Any => RangeSet::any(),
            Expression::Item(item) => RangeSet::union(vec![(self.range)(item)]),
            Expression::Not(inner) => self.resolve(inner, depth)?.complement(),
            Expression::Variable(name) => {
                let value = self.vars.values.get(name).ok_or_else(|| Cause::UndefinedVariable(name.clone()))?;
                // Deeper than any sane definition: the name leads back to itself.
                if depth > RULE_LIST_DEPTH_MAX {
                    return Err(Cause::CircularVariable(name.clone()));
                }
                self.resolve(&(self.parse)(value)?, depth + 1)?
            }
            Expression::List(members) => self.list(members, depth)?,
        };
        if set.is_empty() {
            return Err(Cause::NothingLeft(self.what));
        }
        if set.ranges().len() > RANGES_PER_SET_MAX {
            return Err(Cause::Limit("ranges in one set"));
        }
        Ok(set)
    }

    /// Any of the positive members (everything, when there is none) and none of the negated ones.
    fn list(&self, members: &[Expression<I>], depth: usize) -> Result<RangeSet<T>, Cause> {
        let (mut positive, mut excluded) = (Vec::new(), RangeSet::any());
        for member in members {
            match member {
                Expression::Not(_) => excluded = excluded.intersection(&self.resolve(member, depth)?),
                _ => positive.extend_from_slice(self.resolve(member, depth)?.ranges()),
            }
        }
        let base = if positive.is_empty() { RangeSet::any() } else { RangeSet::union(positive) };
        Ok(base.intersection(&excluded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vars() -> Vars {
        let mut vars = Vars::conventional();
        vars.set("LOOP", "$LOOP");
        vars.set("BARE", "10.0.0.0/8, 192.168.1.1");
        vars
    }

    #[track_caller]
    fn check_address(expression: &str, inside: &[&str], outside: &[&str]) {
        let set = vars().addresses(&parse::addresses(expression).unwrap()).unwrap();
        let number = |text: &&str| address_number(text.parse().unwrap());
        for text in inside {
            assert!(set.contains(number(text)), "{expression} holds {text}");
        }
        for text in outside {
            assert!(!set.contains(number(text)), "{expression} does not hold {text}");
        }
    }

    #[test]
    fn address_sets() {
        check_address("any", &["1.2.3.4", "::1"], &[]);
        check_address("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["11.0.0.0", "9.255.255.255", "::1"]);
        check_address("10.0.0.0/255.255.255.0", &["10.0.0.7"], &["10.0.1.0"]);
        check_address("1.1.1.1-1.1.1.3", &["1.1.1.1", "1.1.1.3"], &["1.1.1.4"]);
        check_address("[10.0.0.0/8,!10.1.0.0/16]", &["10.0.0.1"], &["10.1.2.3", "11.1.1.1"]);
        check_address("[!10.0.0.0/8,!11.0.0.0/8]", &["9.1.1.1", "::2"], &["10.1.2.3", "11.1.1.1"]);
        check_address("$EXTERNAL_NET", &["8.8.8.8"], &["10.1.2.3"]);
        check_address("![$HOME_NET,8.8.8.8]", &["1.2.3.4"], &["10.1.2.3", "8.8.8.8"]);
        check_address("$BARE", &["192.168.1.1"], &["192.168.1.2"]);
        check_address("2001:db8::/32", &["2001:db8::1"], &["2001:db9::1", "1.1.1.1"]);
    }

    #[test]
    fn refusals() {
        let cause = |text: &str| vars().addresses(&parse::addresses(text)?).map(|_| ());
        assert_eq!(cause("$NOWHERE"), Err(Cause::UndefinedVariable("NOWHERE".into())));
        assert_eq!(cause("$LOOP"), Err(Cause::CircularVariable("LOOP".into())));
        assert_eq!(cause("!any"), Err(Cause::NothingLeft("address")));
        assert_eq!(cause("[10.0.0.1,!10.0.0.0/8]"), Err(Cause::NothingLeft("address")));
        for text in ["", "10.0.0.256", "10.0.0.0/33", "[10.0.0.1", "2.2.2.2-1.1.1.1", "10.0.0.0/255.0.255.0", "$", "a]"]
        {
            assert!(matches!(cause(text), Err(Cause::Syntax(_))), "{text}");
        }
        assert_eq!(cause(&"!".repeat(100)), Err(Cause::TooLong));
    }

    proptest! {
        #[test]
        fn port_set_algebra(ranges in proptest::collection::vec((0u16..300, 0u16..40), 0..8), probe in 0u16..400) {
            let ranges: Vec<(u16, u16)> = ranges.into_iter().map(|(first, more)| (first, first + more)).collect();
            let naive = ranges.iter().any(|&(first, last)| first <= probe && probe <= last);
            let set = RangeSet::union(ranges);
            prop_assert_eq!(set.contains(probe), naive);
            prop_assert_eq!(set.complement().contains(probe), !naive);
            prop_assert!(set.intersection(&set.complement()).is_empty());
            prop_assert_eq!(set.complement().complement(), set);
        }
    }
}
