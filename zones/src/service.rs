//! What is spoken: the protocol, the transport ports and the ICMP types that a rule is about.

use crate::decision::FlowFacts;
use crate::group::{covers, merge, overlap, range_contains};
use std::collections::BTreeSet;
use std::fmt;

/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// IP protocol number of ICMPv6.
pub const ICMP6: u8 = 58;

/// The protocols and ports of a rule. The empty lists mean "any".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    protocols: BTreeSet<u8>,
    source_ports: Box<[(u16, u16)]>,
    destination_ports: Box<[(u16, u16)]>,
    icmp_types: Vec<IcmpType>,
}

/// One ICMP type, with one code or with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpType {
    /// The type.
    pub icmp_type: u8,
    /// The code; all of them when there is none.
    pub code: Option<u8>,
}

/// Why protocols, ports and types do not make a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceError {
    /// Ports, with a protocol that the switch reads no ports of. Such a condition would never be met, and a drop rule that
    /// is never met lets through what its author meant to stop.
    PortsWithoutTransport,
    /// ICMP types, without exactly `icmp` or exactly `icmp6`: the two number their types differently.
    TypesWithoutIcmp,
    /// A range of ports whose end is before its start.
    BackwardRange {
        /// First port as written.
        first: u16,
        /// Last port as written.
        last: u16,
    },
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortsWithoutTransport => {
                write!(f, "ports need `proto: tcp` or `proto: udp` (or both)")
            }
            Self::TypesWithoutIcmp => write!(f, "ICMP types need `proto: icmp` or `proto: icmp6` (one of them)"),
            Self::BackwardRange { first, last } => {
                write!(f, "the range {first}-{last} ends before it starts")
            }
        }
    }
}

impl std::error::Error for ServiceError {}

impl Service {
    /// Everything.
    pub fn any() -> Self {
        Self::default()
    }

    /// One protocol, by its IP number, with all of its ports.
    pub fn protocol(number: u8) -> Self {
        Self { protocols: [number].into(), ..Self::default() }
    }

    /// TCP to one port.
    pub fn tcp(destination_port: u16) -> Self {
        Self { destination_ports: Box::new([(destination_port, destination_port)]), ..Self::protocol(TCP) }
    }

    /// UDP to one port.
    pub fn udp(destination_port: u16) -> Self {
        Self { destination_ports: Box::new([(destination_port, destination_port)]), ..Self::protocol(UDP) }
    }

    /// Any of several protocols, and inclusive ranges of ports, and ICMP types; an empty list is no condition.
    pub fn new(
        protocols: impl IntoIterator<Item = u8>,
        source_ports: Vec<(u16, u16)>,
        destination_ports: Vec<(u16, u16)>,
        icmp_types: Vec<IcmpType>,
    ) -> Result<Self, ServiceError> {
        let protocols: BTreeSet<u8> = protocols.into_iter().collect();
        if let Some((first, last)) = source_ports.iter().chain(&destination_ports).find(|(first, last)| first > last) {
            return Err(ServiceError::BackwardRange { first: *first, last: *last });
        }
        let has_ports = !source_ports.is_empty() || !destination_ports.is_empty();
        let is_transport = !protocols.is_empty() && protocols.iter().all(|number| [TCP, UDP].contains(number));
        if has_ports && !is_transport {
            return Err(ServiceError::PortsWithoutTransport);
        }
        let is_one_icmp = protocols.len() == 1 && (protocols.contains(&ICMP) || protocols.contains(&ICMP6));
        if !icmp_types.is_empty() && !is_one_icmp {
            return Err(ServiceError::TypesWithoutIcmp);
        }
        let next = |last: u16| last.checked_add(1);
        Ok(Self {
            protocols,
            source_ports: merge(source_ports, next),
            destination_ports: merge(destination_ports, next),
            icmp_types,
        })
    }

    /// Whether a flow is of this service.
    pub fn contains(&self, facts: &FlowFacts) -> bool {
        self.contains_protocol(facts.protocol) && self.contains_ports(facts)
    }

    /// Whether an IP protocol is of this service, with some ports.
    pub(crate) fn contains_protocol(&self, number: u8) -> bool {
        self.protocols.is_empty() || self.protocols.contains(&number)
    }

    /// Whether the ports or ICMP type of a flow are of this service, given that its protocol is.
    pub(crate) fn contains_ports(&self, facts: &FlowFacts) -> bool {
        (self.source_ports.is_empty() || range_contains(&self.source_ports, facts.source_port))
            && (self.destination_ports.is_empty() || range_contains(&self.destination_ports, facts.destination_port))
            && (self.icmp_types.is_empty() || self.icmp_types.iter().any(|t| t.contains(facts.destination_port)))
    }

    /// Whether there is a condition on ports or ICMP types.
    pub(crate) fn has_details(&self) -> bool {
        !(self.source_ports.is_empty() && self.destination_ports.is_empty() && self.icmp_types.is_empty())
    }

    /// Whether every flow is of this service.
    pub fn is_any(&self) -> bool {
        self.protocols.is_empty() && !self.has_details()
    }

    /// Whether every flow of this service is of the other.
    pub fn is_subset(&self, of: &Self) -> bool {
        let protocols =
            of.protocols.is_empty() || (!self.protocols.is_empty() && self.protocols.is_subset(&of.protocols));
        let types = of.icmp_types.is_empty()
            || (!self.icmp_types.is_empty()
                && self.icmp_types.iter().all(|t| of.icmp_types.iter().any(|o| t.is_in(*o))));
        protocols
            && ports_subset(&self.source_ports, &of.source_ports)
            && ports_subset(&self.destination_ports, &of.destination_ports)
            && types
    }

    /// Whether some flow is of both services.
    pub fn intersects(&self, other: &Self) -> bool {
        let either = |a: bool, b: bool, both: bool| a || b || both;
        either(
            self.protocols.is_empty(),
            other.protocols.is_empty(),
            self.protocols.intersection(&other.protocols).next().is_some(),
        ) && either(
            self.source_ports.is_empty(),
            other.source_ports.is_empty(),
            overlap(&self.source_ports, &other.source_ports),
        ) && either(
            self.destination_ports.is_empty(),
            other.destination_ports.is_empty(),
            overlap(&self.destination_ports, &other.destination_ports),
        ) && either(
            self.icmp_types.is_empty(),
            other.icmp_types.is_empty(),
            self.icmp_types.iter().any(|t| other.icmp_types.iter().any(|o| t.is_in(*o) || o.is_in(*t))),
        )
    }
}

fn ports_subset(ports: &[(u16, u16)], of: &[(u16, u16)]) -> bool {
    let full = [(0, u16::MAX)];
    let ports = if ports.is_empty() { &full[..] } else { ports };
    of.is_empty() || ports.iter().all(|range| covers(of, *range))
}

impl IcmpType {
    /// A type with all of its codes.
    pub fn all_codes(icmp_type: u8) -> Self {
        Self { icmp_type, code: None }
    }

    fn contains(self, type_and_code: u16) -> bool {
        let [icmp_type, code] = type_and_code.to_be_bytes();
        self.icmp_type == icmp_type && self.code.is_none_or(|own| own == code)
    }

    fn is_in(self, other: Self) -> bool {
        self.icmp_type == other.icmp_type && (other.code.is_none() || other.code == self.code)
    }
}

impl fmt::Display for Service {
    /// As in a rule: `tcp dport 80,443`, `icmp type 8`, `any`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocols.is_empty() {
            write!(f, "any")?;
        }
        for (index, number) in self.protocols.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match *number {
                ICMP => write!(f, "{comma}icmp")?,
                TCP => write!(f, "{comma}tcp")?,
                UDP => write!(f, "{comma}udp")?,
                ICMP6 => write!(f, "{comma}icmp6")?,
                other => write!(f, "{comma}{other}")?,
            }
        }
        write_ports(f, " sport ", &self.source_ports)?;
        write_ports(f, " dport ", &self.destination_ports)?;
        for (index, t) in self.icmp_types.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { " type " } else { "," }, t.icmp_type)?;
            if let Some(code) = t.code {
                write!(f, "/{code}")?;
            }
        }
        Ok(())
    }
}

fn write_ports(f: &mut fmt::Formatter<'_>, word: &str, ports: &[(u16, u16)]) -> fmt::Result {
    for (index, (first, last)) in ports.iter().enumerate() {
        write!(f, "{}{first}", if index == 0 { word } else { "," })?;
        if last > first {
            write!(f, "-{last}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PortId;
    use std::net::{IpAddr, Ipv4Addr};

    fn facts(protocol: u8, source_port: u16, destination_port: u16) -> FlowFacts {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        FlowFacts {
            from: PortId(0),
            to: PortId(1),
            source: address,
            destination: address,
            protocol,
            source_port,
            destination_port,
        }
    }

    #[test]
    fn ports_and_types_are_matched() {
        let check = |service: &Service, protocol: u8, source: u16, destination: u16, expected: bool| {
            assert_eq!(service.contains(&facts(protocol, source, destination)), expected, "{service}");
        };
        check(&Service::any(), 132, 0, 0, true);
        check(&Service::tcp(80), TCP, 5, 80, true);
        check(&Service::tcp(80), TCP, 80, 5, false);
        check(&Service::tcp(80), UDP, 5, 80, false);
        let dns = Service::new([TCP, UDP], vec![], vec![(53, 53), (853, 860)], vec![]).unwrap();
        check(&dns, UDP, 9, 53, true);
        check(&dns, TCP, 9, 860, true);
        check(&dns, TCP, 9, 861, false);
        let ping = Service::new([ICMP], vec![], vec![], vec![IcmpType::all_codes(8)]).unwrap();
        check(&ping, ICMP, 0, 8 << 8, true);
        check(&ping, ICMP, 0, 8 << 8 | 1, true);
        check(&ping, ICMP, 0, 8, false);
        let one = Service::new([ICMP], vec![], vec![], vec![IcmpType { icmp_type: 3, code: Some(4) }]).unwrap();
        check(&one, ICMP, 0, 3 << 8 | 4, true);
        check(&one, ICMP, 0, 3 << 8 | 1, false);
        assert_eq!(dns.to_string(), "tcp,udp dport 53,853-860");
        assert_eq!(one.to_string(), "icmp type 3/4");
    }

    #[test]
    fn conditions_that_could_never_be_met_are_refused() {
        let check = |protocols: &[u8], ports: &[(u16, u16)], types: &[IcmpType], expected: ServiceError| {
            let error = Service::new(protocols.iter().copied(), vec![], ports.to_vec(), types.to_vec()).unwrap_err();
            assert_eq!(error, expected);
        };
        check(&[], &[(80, 80)], &[], ServiceError::PortsWithoutTransport);
        check(&[ICMP], &[(80, 80)], &[], ServiceError::PortsWithoutTransport);
        check(&[TCP, 132], &[(80, 80)], &[], ServiceError::PortsWithoutTransport);
        check(&[TCP], &[(81, 80)], &[], ServiceError::BackwardRange { first: 81, last: 80 });
        check(&[ICMP, ICMP6], &[], &[IcmpType::all_codes(8)], ServiceError::TypesWithoutIcmp);
        check(&[], &[], &[IcmpType::all_codes(8)], ServiceError::TypesWithoutIcmp);
    }

    #[test]
    fn services_compare() {
        let web = Service::new([TCP], vec![], vec![(80, 443)], vec![]).unwrap();
        assert!(Service::tcp(80).is_subset(&web) && !web.is_subset(&Service::tcp(80)));
        assert!(web.is_subset(&Service::any()) && !Service::any().is_subset(&web));
        assert!(Service::protocol(TCP).intersects(&web) && !Service::udp(80).intersects(&web));
        let from_low = Service::new([TCP], vec![(1, 1023)], vec![], vec![]).unwrap();
        assert!(from_low.intersects(&web) && !from_low.is_subset(&web) && !web.is_subset(&from_low));
    }
}
