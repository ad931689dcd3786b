//! The shape of a line: Suricata's EVE keys, so that what reads Suricata's log reads ours, and a `vswitch` object with what
//! only a switch knows.

use std::borrow::Cow;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use inspect::alert::AlertAction;
use inspect::file_hashes::HashList;
use inspect::inspector::{Direction, FileEvent};
use inspect::record::{Context, FlowSummary, Note};
use serde::Serialize;
use serde_json::Value;

use crate::event::{Around, Event, EventKind, Tuple};
use crate::generation::Generation;

use super::anomaly::{self, AnomalyPart};
use super::app::{self, Object};
use super::community_id::community_id;
use super::parts::{
    EtherPart, SignatureText, TuplePart, action_name, direction_name, has_ports, hash_list, list_text, mac_text,
    port_name, tuple_part, zone_name,
};
use super::settings::EveSettings;
use super::text::{address_text, printable};
use super::timestamp::WallClock;

/// Flow ids are cut to what JavaScript's numbers hold exactly, as Suricata does.
const FLOW_ID_MASK: u64 = (1 << 53) - 1;

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
    community_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_proto: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_proto_orig: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tx_guessed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ether: Option<EtherPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert: Option<AlertPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop: Option<DropPart>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<VerdictPart>,
    #[serde(flatten)]
    objects: Object,
    vswitch: SwitchPart<'a>,
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

/// What became of the packet in the end, in Suricata's words: `drop`, `alert` or `pass`.
#[derive(Serialize)]
struct VerdictPart {
    action: &'static str,
}

/// The `flow` object of an alert.
#[derive(Clone, Debug, Serialize)]
pub struct FlowPart {
    pkts_toserver: u64,
    pkts_toclient: u64,
    bytes_toserver: u64,
    bytes_toclient: u64,
    start: String,
    src_ip: String,
    dest_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dest_port: Option<u16>,
}

impl FlowPart {
    /// From what inspection knows of the flow, the time of its first packet as text, its client and its server, and their
    /// ports where it has some.
    pub fn new(
        summary: &FlowSummary,
        start: String,
        (client, server): (IpAddr, IpAddr),
        ports: Option<(u16, u16)>,
    ) -> Self {
        Self {
            src_ip: address_text(client),
            dest_ip: address_text(server),
            src_port: ports.map(|(client, _)| client),
            dest_port: ports.map(|(_, server)| server),
            pkts_toserver: summary.packets.0,
            pkts_toclient: summary.packets.1,
            bytes_toserver: summary.bytes.0,
            bytes_toclient: summary.bytes.1,
            start,
        }
    }
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
    /// The list of hashes that a file is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_list: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anomaly: Option<AnomalyPart>,
    /// What of the transaction's fields was too long to be written whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cut: Vec<&'static str>,
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
    /// Prevention would have dropped the frame; its profile is an audit.
    #[serde(skip_serializing_if = "is_false")]
    would_drop: bool,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Appends the line of an event, its end included.
///
/// Everything in it that a guest or a rule file has chosen is a JSON string or a number, so it cannot end the line or
/// forge a key (attack F09).
pub fn write(event: &Event, settings: &EveSettings, clock: WallClock, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, &record(event, settings, clock)).is_err() {
        // Writing to memory cannot fail, and no key of ours is anything but a string.
        out.truncate(start);
        return;
    }
    out.push(b'\n');
}

fn record<'a>(event: &'a Event, settings: &EveSettings, clock: WallClock) -> Record<'a> {
    let generation = &*event.generation;
    let mut record = Record {
        timestamp: clock.format(event.at_us),
        flow_id: Some(event.flow_id & FLOW_ID_MASK).filter(|&id| id != 0),
        in_iface: port_name(generation, event.from),
        event_type: event.kind.event_type().map_or("", |kind| kind.name()),
        tuple: event.tuple.as_ref().map(tuple_part),
        community_id: settings.community_id.zip(event.tuple).map(|(seed, tuple)| community_id(seed, &tuple)),
        app_proto: None,
        app_proto_orig: None,
        tx_id: None,
        tx_guessed: None,
        direction: None,
        ether: event
            .macs
            .map(|(source, destination)| EtherPart { src_mac: mac_text(source), dest_mac: mac_text(destination) }),
        alert: None,
        drop: None,
        verdict: None,
        objects: Object::new(),
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
            hash_list: None,
            anomaly: None,
            cut: Vec::new(),
            suppressed: event.suppressed,
            would_drop: false,
        },
    };
    match &event.kind {
        EventKind::Alert(alert) => {
            record.tx_id = alert.transaction;
            record.vswitch.transaction = alert.transaction;
            record.alert = alert_part(generation, alert.signature, alert.action, settings);
            if let Some(around) = &event.around {
                record.look_around(around, event.tuple, clock);
            }
            record.vswitch.would_drop = alert.action == AlertAction::WouldBlock;
            let action = if alert.action == AlertAction::Blocked { "drop" } else { "alert" };
            record.verdict = Some(VerdictPart { action });
        }
        EventKind::WouldDrop { reason, signature } => {
            let alert = signature.and_then(|index| alert_part(generation, index, AlertAction::WouldBlock, settings));
            let action = if alert.is_some() { "alert" } else { "pass" };
            (record.alert, record.verdict) = (alert, Some(VerdictPart { action }));
            record.drop = Some(DropPart { len: event.length, reason: reason.word() });
            record.vswitch.reason = Some(reason.word());
            record.vswitch.would_drop = true;
        }
        EventKind::Anomaly(anomaly, response) => {
            record.alert = Some(AlertPart { action: anomaly::action(*response), text: anomaly::text(anomaly.kind) });
            record.vswitch.anomaly = Some(AnomalyPart::new(anomaly, *response));
            record.vswitch.suppressed += anomaly.suppressed;
        }
        EventKind::FileAlert(file) => {
            record.alert = hash_list(generation, file)
                .map(|list| AlertPart { action: action_name(file.action), text: list_text(list) });
            record.tell_file(generation, file);
        }
        EventKind::FileInfo(file) => record.tell_file(generation, file),
        EventKind::Drop { reason, decider, cause, signature } => {
            record.drop = Some(DropPart { len: event.length, reason: reason.word() });
            record.alert = signature.and_then(|index| alert_part(generation, index, AlertAction::Blocked, settings));
            record.vswitch.rule = decider
                .and_then(|decider| generation.policy.deciders().get(usize::from(decider.0)))
                .map(String::as_str);
            record.vswitch.reason = Some(reason.word());
            record.vswitch.cause = *cause;
        }
        EventKind::Note(note) => {
            let described = describe(note);
            record.app_proto = described.app_proto;
            record.tx_id = Some(described.transaction);
            record.direction = described.side.map(direction_name);
            record.vswitch.cut = described.cut;
            record.objects = described.objects;
        }
        EventKind::Flow(flow) => {
            record.app_proto = flow.summary.as_ref().and_then(app_proto);
            record.app_proto_orig = flow.summary.and_then(|summary| summary.original).map(|protocol| protocol.name());
            let deciders = generation.policy.deciders();
            record.vswitch.rule = flow.decider.and_then(|index| deciders.get(usize::from(index))).map(String::as_str);
            record.objects = super::flow::objects(flow, clock);
        }
    }
    record
}

impl<'a> Record<'a> {
    fn tell_file(&mut self, generation: &'a Generation, file: &FileEvent) {
        self.app_proto = file.protocol.map(|protocol| protocol.name());
        self.tx_id = Some(file.transaction);
        self.direction = Some(direction_name(file.side));
        self.objects.insert("fileinfo".to_owned(), app::file_event(file));
        self.vswitch.transaction = Some(file.transaction);
        self.vswitch.hash_list = hash_list(generation, file).map(HashList::name);
    }
}

impl Record<'_> {
    fn look_around(&mut self, around: &Around, tuple: Option<Tuple>, clock: WallClock) {
        self.direction = Some(direction_name(around.direction));
        if let Some(context) = &around.context {
            let Context { flow, transaction } = context;
            self.app_proto = app_proto(flow);
            self.app_proto_orig = flow.original.map(|protocol| protocol.name());
            if let Some(known) = transaction {
                self.tx_guessed = self.tx_id.is_none().then_some(true);
                self.tx_id = Some(known.number);
                self.objects = app::transaction(known);
                self.vswitch.cut = app::cut(known);
            }
            let start = clock.format(flow.began_ms.saturating_mul(1_000));
            if let Some(tuple) = tuple {
                let of_client = if around.direction == Direction::ToServer { tuple } else { tuple.reversed() };
                let ends = (of_client.source, of_client.destination);
                let ports = has_ports(tuple.protocol).then_some((of_client.source_port, of_client.destination_port));
                let part = serde_json::to_value(FlowPart::new(flow, start, ends, ports)).unwrap_or_default();
                self.objects.insert("flow".to_owned(), part);
            }
        }
        if !around.payload.is_empty() {
            self.objects.insert("payload".to_owned(), STANDARD.encode(&around.payload).into());
            self.objects.insert("payload_printable".to_owned(), printable(&around.payload).into());
            if around.is_payload_cut {
                self.vswitch.cut.push("payload");
            }
        }
    }
}

/// What a flow speaks, in Suricata's words: `failed` is what nobody recognises.
pub fn app_proto(flow: &FlowSummary) -> Option<&'static str> {
    flow.protocol.map(|protocol| protocol.name()).or(flow.is_unrecognised.then_some("failed"))
}

/// What a note says, in the words of a record.
pub struct Described {
    /// Its protocol.
    pub app_proto: Option<&'static str>,
    /// Its transaction's number.
    pub transaction: u32,
    /// Whose bytes it is about, where it is about one side's.
    pub side: Option<Direction>,
    /// What of it was cut.
    pub cut: Vec<&'static str>,
    /// The objects that tell it.
    pub objects: Object,
}

/// Puts a note into the words of a record.
pub fn describe(note: &Note) -> Described {
    let one = |key: &str, value: Value| Object::from_iter([(key.to_owned(), value)]);
    match note {
        Note::Transaction(transaction) => Described {
            app_proto: Some(transaction.protocol.name()),
            transaction: transaction.number,
            side: None,
            cut: app::cut(transaction),
            objects: app::transaction(transaction),
        },
        Note::Anomaly { transaction, side, anomaly } => {
            let (protocol, object) = app::anomaly(*anomaly);
            Described {
                app_proto: Some(protocol),
                transaction: *transaction,
                side: Some(*side),
                cut: Vec::new(),
                objects: one("anomaly", object),
            }
        }
        Note::File(file) => {
            let mut objects = file.carrier.as_deref().map(app::transaction).unwrap_or_default();
            objects.insert("fileinfo".to_owned(), app::file(file));
            Described {
                app_proto: file.protocol.map(|protocol| protocol.name()),
                transaction: file.transaction,
                side: Some(file.side),
                cut: file.carrier.as_deref().map(app::cut).unwrap_or_default(),
                objects,
            }
        }
    }
}

fn alert_part<'a>(
    generation: &'a Generation,
    index: u32,
    action: AlertAction,
    settings: &EveSettings,
) -> Option<AlertPart<'a>> {
    let info = generation.rules.signature(index)?;
    Some(AlertPart { action: action_name(action), text: SignatureText::of(info, settings.metadata) })
}
