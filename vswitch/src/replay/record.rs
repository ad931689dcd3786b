//! What a replay reports, and its lines in the event log: Suricata's EVE keys.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use inspect::alert::{Alert, AlertAction};
use inspect::file_hashes::FileChecks;
use inspect::inspector::{Direction, FileEvent, FileFinding};
use inspect::protocol::AppProtocol;
use inspect::record::{Context, Note};
use inspect::signature::{RuleSet, SignatureInfo};
use inspect::verdict::Refused;
use inspect::wire::{Packet, Transport};
use serde::Serialize;
use serde_json::Value;

use crate::eve;
use crate::eve::app::{self, Object, file_event};
use crate::eve::parts::{Metadata, action_name, direction_name, ip_version, list_text, protocol_name};
use crate::eve::record::{FlowPart, app_proto, describe};
use crate::eve::settings::EventType;
use crate::eve::text::address_text;
use crate::eve::timestamp::{WallClock, format_utc};
use crate::event::{FlowEnd, type_of};

/// Flow ids are cut to what JavaScript's numbers hold exactly, as Suricata does.
const FLOW_ID_MASK: u64 = (1 << 53) - 1;

/// Who a packet is from and for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    source: IpAddr,
    destination: IpAddr,
    /// Of TCP and UDP.
    ports: Option<(u16, u16)>,
    /// Type and code of ICMP.
    icmp: Option<(u8, u8)>,
    protocol: u8,
}

impl Ends {
    /// Reads them from a packet.
    pub fn of(packet: &Packet<'_>) -> Self {
        let has_ports = matches!(packet.headers().transport, Transport::Tcp | Transport::Udp);
        Self {
            source: packet.source(),
            destination: packet.destination(),
            ports: has_ports.then(|| (packet.source_port(), packet.destination_port())),
            icmp: packet.icmp().map(|message| (message.kind, message.code)),
            protocol: packet.headers().protocol,
        }
    }

    /// Those of a flow: its client, its server, and type and code of its first message if it is ICMP.
    pub fn between(from: SocketAddr, to: SocketAddr, protocol: u8, icmp: Option<(u8, u8)>) -> Self {
        let ports = matches!(protocol, 6 | 17).then(|| (from.port(), to.port()));
        Self { source: from.ip(), destination: to.ip(), ports, icmp, protocol }
    }

    /// The same seen from the client, of a packet that went in this direction.
    #[must_use]
    pub fn of_flow(self, direction: Direction) -> Self {
        match direction {
            Direction::ToServer => self,
            Direction::ToClient => Self {
                source: self.destination,
                destination: self.source,
                ports: self.ports.map(|(from, to)| (to, from)),
                ..self
            },
        }
    }

    /// The same number for both directions of a conversation.
    fn flow_id(&self) -> u64 {
        let (from, to) = self.ports.unwrap_or_default();
        let (low, high) = if (self.source, from) <= (self.destination, to) { (0, 1) } else { (1, 0) };
        let ends = [(self.source, from), (self.destination, to)];
        let mut hasher = DefaultHasher::new();
        (ends[low], ends[high], self.protocol).hash(&mut hasher);
        hasher.finish() & FLOW_ID_MASK
    }

    fn protocol_name(&self) -> Cow<'static, str> {
        if self.protocol == 0 { Cow::Borrowed("ARP") } else { protocol_name(self.protocol) }
    }
}

/// A packet that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drop {
    /// Its length in bytes.
    pub length: u32,
    /// Why.
    pub reason: &'static str,
    /// The signature that asked for it, as an index into the rule set.
    pub signature: Option<u32>,
}

/// What is reported.
#[derive(Clone, Debug)]
pub enum What {
    /// A signature matched, in a flow that speaks this protocol, on a packet in this direction.
    Alert(Alert, Option<AppProtocol>, Direction, Option<Box<Context>>),
    /// A file is on a list of hashes.
    FileAlert(Arc<FileEvent>),
    /// A file that is on a list.
    FileInfo(Arc<FileEvent>),
    /// A packet was stopped.
    Drop(Drop),
    /// A transaction, an anomaly or a file.
    Note(Note),
    /// A flow is over.
    Flow(Box<FlowEnd>),
}

/// One line to be.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the packet was captured, in nanoseconds since 1970.
    pub at_ns: u64,
    /// The number of its frame in the capture, from 1; 0 for what no packet has brought about.
    pub frame: u64,
    /// Who the packet was from and for; of a note, its flow's client and server.
    pub ends: Ends,
    /// What happened.
    pub what: What,
}

impl Record {
    /// Its kind.
    pub fn event_type(&self) -> Option<EventType> {
        match &self.what {
            What::Alert(..) | What::FileAlert(_) => Some(EventType::Alert),
            What::FileInfo(_) => Some(EventType::Fileinfo),
            What::Drop(_) => Some(EventType::Drop),
            What::Note(note) => type_of(note),
            What::Flow(_) => Some(EventType::Flow),
        }
    }
}

/// Suricata's words for why a packet was stopped.
pub fn reason(why: Refused) -> &'static str {
    match why {
        Refused::Signature(_) => "rules",
        Refused::FlowRefused => "flow drop",
        Refused::Overlap => "stream reassembly",
        Refused::Memory => "stream memcap",
        Refused::Budget => "inspection budget",
        Refused::Protocol => "applayer error",
        Refused::File(_) => "file hash",
        Refused::FileUnjudged => "file not judged",
    }
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    flow_id: u64,
    /// The frame's number in the capture, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pcap_cnt: Option<u64>,
    event_type: &'static str,
    src_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    dest_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dest_port: Option<u16>,
    proto: Cow<'static, str>,
    ip_v: u8,
    /// Suricata's words for where a packet came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pkt_src: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_proto: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_proto_orig: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<AlertPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<DropPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fileinfo: Option<Value>,
    #[serde(flatten)]
    objects: Object,
}

#[derive(Serialize)]
struct AlertPart<'a> {
    action: &'static str,
    gid: u32,
    signature_id: u32,
    rev: u32,
    signature: &'a str,
    category: &'a str,
    severity: u8,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct DropPart {
    len: u32,
    reason: &'static str,
}

/// Writes a record as one line. Alerts of signatures that are not in `rules` are left out: there are none.
///
/// # Errors
/// The output cannot be written.
pub fn write(record: &Record, rules: &RuleSet, files: Option<&FileChecks>, out: &mut impl Write) -> io::Result<()> {
    let ends = &record.ends;
    let is_of_packet = record.frame != 0;
    let origin = if is_of_packet { "wire/pcap" } else { "stream (flow timeout)" };
    let mut line = Line {
        timestamp: format_utc(record.at_ns / 1_000),
        flow_id: ends.flow_id(),
        pcap_cnt: is_of_packet.then_some(record.frame),
        event_type: record.event_type().map_or("", EventType::name),
        src_ip: address_text(ends.source),
        src_port: ends.ports.map(|(source, _)| source),
        dest_ip: address_text(ends.destination),
        dest_port: ends.ports.map(|(_, destination)| destination),
        proto: ends.protocol_name(),
        ip_v: ip_version(ends.source),
        pkt_src: (!matches!(record.what, What::Flow(_))).then_some(origin),
        icmp_type: ends.icmp.map(|(kind, _)| kind),
        icmp_code: ends.icmp.map(|(_, code)| code),
        tx_id: None,
        app_proto: None,
        app_proto_orig: None,
        direction: None,
        alert: None,
        drop: None,
        fileinfo: None,
        objects: Object::new(),
    };
    match &record.what {
        What::Alert(alert, protocol, direction, context) => {
            let Some(info) = rules.signature(alert.signature) else { return Ok(()) };
            line.tx_id = alert.transaction;
            line.app_proto = protocol.map(AppProtocol::name);
            line.direction = Some(direction_name(*direction));
            line.alert = Some(alert_part(alert.action, info));
            if let Some(context) = context {
                line.objects = context.transaction.as_deref().map(app::transaction).unwrap_or_default();
                line.app_proto = app_proto(&context.flow);
                let began = format_utc(context.flow.began_ms.saturating_mul(1_000));
                let of_client = ends.of_flow(*direction);
                let flow =
                    FlowPart::new(&context.flow, began, (of_client.source, of_client.destination), of_client.ports);
                line.objects.insert("flow".to_owned(), serde_json::to_value(flow)?);
            }
        }
        What::FileAlert(file) => {
            let FileFinding::Listed(list) = file.finding else { return Ok(()) };
            let Some(list) = files.and_then(|files| files.lists().get(usize::from(list))) else { return Ok(()) };
            tell_file(file, &mut line);
            let text = list_text(list);
            line.alert = Some(AlertPart {
                action: action_name(file.action),
                gid: text.gid,
                signature_id: text.signature_id,
                rev: text.rev,
                signature: text.signature,
                category: text.category,
                severity: text.severity,
                metadata: Metadata(&[]),
            });
        }
        What::FileInfo(file) => {
            tell_file(file, &mut line);
        }
        What::Drop(drop) => {
            line.drop = Some(DropPart { len: drop.length, reason: drop.reason });
            line.alert = drop
                .signature
                .and_then(|index| rules.signature(index))
                .map(|info| alert_part(AlertAction::Blocked, info));
        }
        What::Note(note) => {
            let described = describe(note);
            line.tx_id = Some(described.transaction);
            line.app_proto = described.app_proto;
            line.direction = described.side.map(direction_name);
            line.objects = described.objects;
        }
        What::Flow(flow) => {
            line.app_proto = flow.summary.as_ref().and_then(app_proto);
            line.app_proto_orig = flow.summary.and_then(|summary| summary.original).map(AppProtocol::name);
            // Its times are the capture's.
            line.objects = eve::flow::objects(flow, WallClock { ahead_us: 0 });
        }
    }
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

fn tell_file(file: &FileEvent, line: &mut Line<'_>) {
    line.tx_id = Some(file.transaction);
    line.app_proto = file.protocol.map(AppProtocol::name);
    line.direction = Some(direction_name(file.side));
    line.fileinfo = Some(file_event(file));
}

fn alert_part(action: AlertAction, info: &SignatureInfo) -> AlertPart<'_> {
    AlertPart {
        action: action_name(action),
        gid: info.gid,
        signature_id: info.sid,
        rev: info.rev,
        signature: &info.msg,
        category: info.category(),
        severity: info.priority,
        metadata: Metadata(&info.metadata),
    }
}
