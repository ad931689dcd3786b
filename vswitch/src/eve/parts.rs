//! The parts of a line that several kinds of records share, and the words in them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use inspect::alert::AlertAction;
use inspect::file_hashes::HashList;
use inspect::inspector::{Direction, FileEvent, FileFinding};
use inspect::signature::SignatureInfo;
use serde::{Serialize, Serializer};

use super::text::address_text;
use crate::event::Tuple;
use crate::frame::PortId;
use crate::generation::Generation;

/// Group and number of alerts about files on lists of hashes, for which there is no signature.
const FILE_HASH_GID: u32 = 501;
const FILE_HASH_SID: u32 = 1;

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
    /// What its class type is called; empty without one.
    pub category: &'a str,
    /// Priority, 1 is the gravest.
    pub severity: u8,
    /// What else the rule says about itself.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata<'a>,
}

impl<'a> SignatureText<'a> {
    /// What a signature says about itself.
    pub fn of(info: &'a SignatureInfo, with_metadata: bool) -> Self {
        Self {
            gid: info.gid,
            signature_id: info.sid,
            rev: info.rev,
            signature: &info.msg,
            category: info.category(),
            severity: info.priority,
            metadata: Metadata(if with_metadata { &info.metadata } else { &[] }),
        }
    }
}

/// A rule's metadata as Suricata writes it: each key with the list of its values.
#[derive(Clone, Copy, Debug)]
pub struct Metadata<'a>(pub &'a [(String, String)]);

impl Metadata<'_> {
    /// Whether the signature has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut lists: Vec<(&str, Vec<&str>)> = Vec::new();
        for (key, value) in self.0 {
            match lists.iter_mut().find(|(known, _)| known == key) {
                Some((_, values)) => values.push(value),
                None => lists.push((key, vec![value])),
            }
        }
        serializer.collect_map(lists)
    }
}

#[derive(Serialize)]
pub(super) struct TuplePart {
    pub(super) src_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) src_port: Option<u16>,
    pub(super) dest_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dest_port: Option<u16>,
    pub(super) proto: Cow<'static, str>,
    pub(super) ip_v: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) icmp_type: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) icmp_code: Option<u16>,
}

pub(super) fn tuple_part(tuple: &Tuple) -> TuplePart {
    let (mut ports, mut icmp) = (None, None);
    match tuple.protocol {
        1 | 58 => icmp = Some((tuple.source_port, tuple.destination_port)),
        protocol if has_ports(protocol) => ports = Some((tuple.source_port, tuple.destination_port)),
        _ => {}
    }
    TuplePart {
        src_ip: address_text(tuple.source),
        src_port: ports.map(|ports| ports.0),
        dest_ip: address_text(tuple.destination),
        dest_port: ports.map(|ports| ports.1),
        proto: protocol_name(tuple.protocol),
        ip_v: ip_version(tuple.source),
        icmp_type: icmp.map(|icmp| icmp.0),
        icmp_code: icmp.map(|icmp| icmp.1),
    }
}

#[derive(Serialize)]
pub(super) struct EtherPart {
    pub(super) src_mac: String,
    pub(super) dest_mac: String,
}

/// 4 or 6.
pub fn ip_version(address: IpAddr) -> u8 {
    if address.is_ipv4() { 4 } else { 6 }
}

/// What an alert says of a list of hashes, in place of a signature.
pub fn list_text(list: &HashList) -> SignatureText<'_> {
    SignatureText {
        gid: FILE_HASH_GID,
        signature_id: FILE_HASH_SID,
        rev: 1,
        signature: list.title(),
        category: "A file on a list of hashes was detected",
        severity: 1,
        metadata: Metadata(&[]),
    }
}

/// The list that a file is on.
pub(super) fn hash_list<'a>(generation: &'a Generation, file: &FileEvent) -> Option<&'a HashList> {
    let FileFinding::Listed(list) = file.finding else { return None };
    generation.file_checks.as_ref()?.lists().get(usize::from(list)).map(Arc::as_ref)
}

/// Suricata's word for a direction.
pub fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::ToServer => "to_server",
        Direction::ToClient => "to_client",
    }
}

/// Suricata's word for what became of a packet.
pub fn action_name(action: AlertAction) -> &'static str {
    match action {
        AlertAction::Allowed | AlertAction::WouldBlock => "allowed",
        AlertAction::Blocked => "blocked",
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

pub(super) fn zone_name(generation: &Generation, port: PortId) -> &str {
    generation.port(port).map_or("", |view| &view.zone)
}
