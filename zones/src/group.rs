//! Who, other than by zone: groups of ports chosen by their labels, and named sets of addresses.

use crate::zone::Port;
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A named group of ports, as written; rules call it `@name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name, without the `@`.
    pub name: String,
    /// Labels that a member carries, all of them. None at all selects nobody by label.
    pub labels: BTreeMap<String, String>,
    /// Names of ports that are members whatever their labels.
    pub ports: BTreeSet<String>,
}

impl Group {
    /// Whether a port is a member.
    pub fn contains(&self, port: &Port) -> bool {
        let by_label =
            !self.labels.is_empty() && self.labels.iter().all(|(label, value)| port.labels.get(label) == Some(value));
        by_label || self.ports.contains(&port.name)
    }
}

/// A named set of addresses, as written; rules call it `$name`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    /// Its name, without the `$`.
    pub name: String,
    /// Its members. A prefix stands for all of its addresses, whatever its host bits.
    pub prefixes: Vec<IpNet>,
}

/// Addresses as sorted ranges that neither touch nor overlap: one binary search answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRanges {
    ipv4: Box<[(u32, u32)]>,
    ipv6: Box<[(u128, u128)]>,
}

impl AddressRanges {
    /// Whether an address is in the set. The families never mix: `::ffff:10.0.0.1` is not 10.0.0.1.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => range_contains(&self.ipv4, u32::from(address)),
            IpAddr::V6(address) => range_contains(&self.ipv6, u128::from(address)),
        }
    }

    /// Whether every address of this set is in the other.
    pub fn is_subset(&self, of: &Self) -> bool {
        self.ipv4.iter().all(|range| covers(&of.ipv4, *range)) && self.ipv6.iter().all(|range| covers(&of.ipv6, *range))
    }

    /// Whether some address is in both sets.
    pub fn intersects(&self, other: &Self) -> bool {
        overlap(&self.ipv4, &other.ipv4) || overlap(&self.ipv6, &other.ipv6)
    }

    /// Whether there is no address in it.
    pub fn is_empty(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }
}

impl FromIterator<IpNet> for AddressRanges {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            match prefix {
                IpNet::V4(net) => ipv4.push((u32::from(net.network()), u32::from(net.broadcast()))),
                IpNet::V6(net) => ipv6.push((u128::from(net.network()), u128::from(net.broadcast()))),
            }
        }
        let next_ipv4 = |last: u32| last.checked_add(1);
        let next_ipv6 = |last: u128| last.checked_add(1);
        Self { ipv4: merge(ipv4, next_ipv4), ipv6: merge(ipv6, next_ipv6) }
    }
}

/// Sorts inclusive ranges and joins those that overlap or touch. `next` gives the number after one, if there is one.
pub(crate) fn merge<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(open) if next(open.1).is_none_or(|after| first <= after) => open.1 = open.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into_boxed_slice()
}

/// Whether a number is in one of the merged ranges.
pub(crate) fn range_contains<T: Copy + Ord>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= value);
    after > 0 && value <= ranges[after - 1].1
}

/// Whether one of the merged ranges covers a range whole.
pub(crate) fn covers<T: Copy + Ord>(ranges: &[(T, T)], range: (T, T)) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= range.0);
    after > 0 && range.1 <= ranges[after - 1].1
}

/// Whether some number is in both lists of merged ranges.
pub(crate) fn overlap<T: Copy + Ord>(a: &[(T, T)], b: &[(T, T)]) -> bool {
    a.iter().any(|(first, last)| {
        let after = b.partition_point(|(other, _)| other <= last);
        after > 0 && *first <= b[after - 1].1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges(prefixes: &[&str]) -> AddressRanges {
        prefixes.iter().map(|prefix| prefix.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn ranges_join_and_families_stay_apart() {
        let set = ranges(&["10.0.0.0/25", "10.0.0.128/25", "10.0.2.7/32", "fd00::/64", "255.255.255.0/24"]);
        assert_eq!(set.ipv4.len(), 3);
        let check = |address: &str, expected: bool| {
            assert_eq!(set.contains(address.parse().unwrap()), expected, "{address}");
        };
        check("10.0.0.0", true);
        check("10.0.0.255", true);
        check("10.0.1.0", false);
        check("9.255.255.255", false);
        check("10.0.2.7", true);
        check("255.255.255.255", true);
        check("fd00::ffff", true);
        check("fd00:0:0:1::", false);
        check("::ffff:10.0.0.1", false);
    }

    #[test]
    fn a_set_with_everything_holds_everything() {
        let set = ranges(&["0.0.0.0/0", "128.0.0.0/1", "::/0", "ff00::/8"]);
        assert_eq!((set.ipv4.len(), set.ipv6.len()), (1, 1));
        assert!(set.contains("255.255.255.255".parse().unwrap()));
        assert!(ranges(&["10.0.0.0/8", "::1/128"]).is_subset(&set));
        assert!(!set.is_subset(&ranges(&["0.0.0.0/0"])));
    }

    #[test]
    fn a_group_needs_all_of_its_labels_and_some() {
        let mut port = Port::new(crate::PortId(1), "web1", "web");
        port.labels.insert("tier".into(), "web".into());
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(l, v)| (l.to_string(), v.to_string())).collect();
        let group = |pairs: &[(&str, &str)]| Group { labels: labels(pairs), ..Group::default() };
        assert!(group(&[("tier", "web")]).contains(&port));
        assert!(!group(&[("tier", "web"), ("stage", "live")]).contains(&port));
        assert!(!group(&[("tier", "db")]).contains(&port));
        assert!(!group(&[]).contains(&port));
        assert!(Group { ports: ["web1".to_string()].into(), ..Group::default() }.contains(&port));
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_the_prefixes(
            prefixes in prop::collection::vec((0u32..64, 26u8..=32), 0..12),
            others in prop::collection::vec((0u32..64, 26u8..=32), 0..12),
        ) {
            let nets = |list: &[(u32, u8)]| -> Vec<IpNet> {
                list.iter().map(|(host, length)| {
                    IpNet::new(IpAddr::V4((0x0a00_0000 + host).into()), *length).unwrap()
                }).collect()
            };
            let (a, b) = (nets(&prefixes), nets(&others));
            let (set_a, set_b): (AddressRanges, AddressRanges) = (a.iter().copied().collect(), b.iter().copied().collect());
            let in_list = |list: &[IpNet], address: IpAddr| list.iter().any(|net| net.contains(&address));
            let all: Vec<IpAddr> = (0..70u32).map(|host| IpAddr::V4((0x0a00_0000 + host).into())).collect();
            for address in &all {
                prop_assert_eq!(set_a.contains(*address), in_list(&a, *address));
            }
            prop_assert_eq!(set_a.intersects(&set_b), all.iter().any(|x| in_list(&a, *x) && in_list(&b, *x)));
            prop_assert_eq!(set_a.is_subset(&set_b), all.iter().all(|x| !in_list(&a, *x) || in_list(&b, *x)));
        }
    }
}
