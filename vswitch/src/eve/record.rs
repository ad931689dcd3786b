//! The shape of a line: Suricata's EVE keys, so that what reads Suricata's log reads ours, and a `vswitch` object with what
//! only a switch knows.

use std::borrow::Cow;
use std::net::IpAddr;

use inspect::alert::AlertAction;
use serde::Serialize;

use crate::event::{Event, EventKind, Tuple};
use crate::frame::PortId;
use crate::generation::Generation;

use super::anomaly::{self, AnomalyPart};
use super::timestamp::WallClock;

/// Flow ids are cut to what JavaScript's numbers hold exactly, as Suricata does.
const FLOW_ID_MASK: u64 = (1 << 53) - 1;

/// What a signature says about itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SignatureText<'a> {
    /// Group id; 1 for signatures from rule files.
    pub gid: u32,
    /// `sid`.
    pub signature_id: u32,
    /// `rev`.
    pub rev: u32,
    /// `msg`.
    pub signature: &'a str,
    /// `classtype`; empty without one.
    pub category: &'a str,
    /// Priority, 1 is the gravest.
    pub severity: u8,
}

#[derive(Serialize)]
struct Record<'a> {
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_id: Option<u64>,
    in_iface: Cow<'a, str>,
    event_type: &'static str,
    #[serde(flatten)]
    tuple: Option<TuplePart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ether: Option<EtherPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<AlertPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<DropPart>,
    vswitch: SwitchPart<'a>,
}

#[derive(Serialize)]
struct TuplePart {
    src_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    dest_ip: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    dest_port: Option<u16>,
    proto: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u16>,
}

#[derive(Serialize)]
struct EtherPart {
    src_mac: String,
    dest_mac: String,
}

#[derive(Serialize)]
struct AlertPart<'a> {
    action: &'static str,
    #[serde(flatten)]
    text: SignatureText<'a>,
}

#[derive(Serialize)]
struct DropPart {
    len: u32,
    reason: &'static str,
}

#[derive(Serialize)]
struct SwitchPart<'a> {
    from_port: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_port: Option<Cow<'a, str>>,
    from_zone: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    generation: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anomaly: Option<AnomalyPart>,
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Appends the line of an event, its end included.
///
/// Everything in it that a guest or a rule file has chosen is a JSON string or a number, so it cannot end the line or
/// forge a key (attack F09).
pub fn write(event: &Event, clock: WallClock, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, &record(event, clock)).is_err() {
        // Writing to memory cannot fail, and no key of ours is anything but a string.
        out.truncate(start);
        return;
    }
    out.push(b'\n');
}

fn record(event: &Event, clock: WallClock) -> Record<'_> {
    let generation = &*event.generation;
    let mut record = Record {
        timestamp: clock.format(event.at_us),
        flow_id: Some(event.flow_id & FLOW_ID_MASK).filter(|&id| id != 0),
        in_iface: port_name(generation, event.from),
        event_type: "",
        tuple: event.tuple.as_ref().map(tuple_part),
        ether: event
            .macs
            .map(|(source, destination)| EtherPart { src_mac: mac_text(source), dest_mac: mac_text(destination) }),
        alert: None,
        drop: None,
        vswitch: SwitchPart {
            from_port: port_name(generation, event.from),
            to_port: event.to.map(|to| port_name(generation, to)),
            from_zone: zone_name(generation, event.from),
            to_zone: event.to.map(|to| zone_name(generation, to)),
            tenant: generation.port(event.from).and_then(|view| view.tenant.as_deref()),
            rule: None,
            reason: None,
            generation: generation.number,
            cause: None,
            transaction: None,
            anomaly: None,
            suppressed: 0,
        },
    };
    match event.kind {
        EventKind::Alert(alert) => {
            record.event_type = "alert";
            record.vswitch.transaction = alert.transaction;
            record.alert = alert_part(generation, alert.signature, alert.action);
        }
        EventKind::Anomaly(anomaly, response) => {
            record.event_type = "alert";
            record.alert = Some(AlertPart { action: anomaly::action(response), text: anomaly::text(anomaly.kind) });
            record.vswitch.anomaly = Some(AnomalyPart::new(&anomaly, response));
            record.vswitch.suppressed = anomaly.suppressed;
        }
        EventKind::Drop { reason, decider, cause, signature, suppressed } => {
            record.event_type = "drop";
            record.drop = Some(DropPart { len: event.length, reason: reason.word() });
            record.alert = signature.and_then(|index| alert_part(generation, index, AlertAction::Blocked));
            record.vswitch.rule = decider
                .and_then(|decider| generation.policy.deciders().get(usize::from(decider.0)))
                .map(String::as_str);
            record.vswitch.reason = Some(reason.word());
            record.vswitch.cause = cause;
            record.vswitch.suppressed = suppressed;
        }
    }
    record
}

fn alert_part(generation: &Generation, index: u32, action: AlertAction) -> Option<AlertPart<'_>> {
    let action = match action {
        AlertAction::Allowed => "allowed",
        AlertAction::Blocked => "blocked",
    };
    signature_text(generation, index).map(|text| AlertPart { action, text })
}

fn signature_text(generation: &Generation, index: u32) -> Option<SignatureText<'_>> {
    let info = generation.rules.signature(index)?;
    Some(SignatureText {
        gid: info.gid,
        signature_id: info.sid,
        rev: info.rev,
        signature: &info.msg,
        category: info.classtype.as_deref().unwrap_or(""),
        severity: info.priority,
    })
}

fn tuple_part(tuple: &Tuple) -> TuplePart {
    let (mut ports, mut icmp) = (None, None);
    match tuple.protocol {
        1 | 58 => icmp = Some((tuple.source_port, tuple.destination_port)),
        protocol if has_ports(protocol) => ports = Some((tuple.source_port, tuple.destination_port)),
        _ => {}
    }
    TuplePart {
        src_ip: tuple.source,
        src_port: ports.map(|ports| ports.0),
        dest_ip: tuple.destination,
        dest_port: ports.map(|ports| ports.1),
        proto: protocol_name(tuple.protocol),
        icmp_type: icmp.map(|icmp| icmp.0),
        icmp_code: icmp.map(|icmp| icmp.1),
    }
}

/// Whether an IP protocol has transport ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// An IP protocol in Suricata's spelling: its name, or three digits.
pub fn protocol_name(protocol: u8) -> Cow<'static, str> {
    Cow::Borrowed(match protocol {
        1 => "ICMP",
        2 => "IGMP",
        6 => "TCP",
        17 => "UDP",
        33 => "DCCP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        58 => "IPv6-ICMP",
        132 => "SCTP",
        other => return Cow::Owned(format!("{other:03}")),
    })
}

/// An Ethernet address in the usual spelling.
pub fn mac_text([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// A port's name, or its number if the generation does not know it.
pub(super) fn port_name(generation: &Generation, port: PortId) -> Cow<'_, str> {
    match generation.port(port) {
        Some(view) => Cow::Borrowed(&view.name),
        None => Cow::Owned(format!("port-{}", port.0)),
    }
}

fn zone_name(generation: &Generation, port: PortId) -> &str {
    generation.port(port).map_or("", |view| &view.zone)
}
