//! What workers tell the log, as plain values. Formatting happens on the log's own thread.

use std::net::IpAddr;
use std::sync::Arc;

use inspect::alert::Alert;
use inspect::detect::Anomaly;
use inspect::inspector::{Direction, FileEvent};
use inspect::record::{Context, FlowSummary, Note};
use inspect::stream::tcp_state::TcpPhase;
use zones::policy::DeciderId;

use crate::detect::Response;
use crate::drop_reason::DropReason;
use crate::eve::settings::EventType;
use crate::flow_table::FlowState;
use crate::frame::PortId;
use crate::generation::Generation;

/// The addresses of a packet, in the direction that it travelled; of what is told of a flow, those of its originator first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Transport source port, or ICMP type.
    pub source_port: u16,
    /// Transport destination port, or ICMP code.
    pub destination_port: u16,
}

impl Tuple {
    /// The same, seen from the other end.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }
}

/// One thing worth a line in the log.
#[derive(Clone, Debug)]
pub struct Event {
    /// Time in microseconds on the monotonic clock.
    pub at_us: u64,
    /// The generation that judged.
    pub generation: Arc<Generation>,
    /// Port that the frame entered by.
    pub from: PortId,
    /// Port that it would have left by, where that was known.
    pub to: Option<PortId>,
    /// Its addresses, where it had any.
    pub tuple: Option<Tuple>,
    /// Ethernet source and destination addresses, where they were read.
    pub macs: Option<([u8; 6], [u8; 6])>,
    /// Length of the frame in bytes.
    pub length: u32,
    /// A number that all events of one flow share; 0 where there is no flow.
    pub flow_id: u64,
    /// Events of the same kind that were folded into this one.
    pub suppressed: u64,
    /// What happened.
    pub kind: EventKind,
    /// What is known around an alert.
    pub around: Option<Box<Around>>,
}

/// What is known around an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Around {
    /// Which side of the flow sent the packet.
    pub direction: Direction,
    /// The flow and the transaction, where they are followed and wanted.
    pub context: Option<Context>,
    /// The packet's payload, as far as it is wanted.
    pub payload: Vec<u8>,
    /// There was more of it.
    pub is_payload_cut: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A signature matched.
    Alert(Alert),
    /// It is part of a scan, sweep, flood or burst, and the first of it that is told.
    Anomaly(Anomaly, Response),
    /// A file is on a list of hashes.
    FileAlert(Arc<FileEvent>),
    /// A file that is on a list, or cannot be judged and may not pass.
    FileInfo(Arc<FileEvent>),
    /// The frame was dropped.
    Drop {
        /// Why.
        reason: DropReason,
        /// What of the policy decided, for [`DropReason::Policy`].
        decider: Option<DeciderId>,
        /// What exactly was wrong, in a word, for [`DropReason::Malformed`], [`DropReason::TcpState`],
        /// [`DropReason::NotOpened`] and [`DropReason::Anomaly`].
        cause: Option<&'static str>,
        /// Index of the signature in its rule set, for [`DropReason::Signature`].
        signature: Option<u32>,
    },
    /// The frame went on only because its profile is an audit.
    WouldDrop {
        /// Why it would have been dropped.
        reason: DropReason,
        /// Index of the signature in its rule set, for [`DropReason::Signature`].
        signature: Option<u32>,
    },
    /// A transaction, an anomaly or a file in a flow that is followed.
    Note(Note),
    /// A flow has ended.
    Flow(Box<FlowEnd>),
}

/// What there is to tell of a flow that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowEnd {
    /// What inspection knew of it, if it followed it to its end.
    pub summary: Option<FlowSummary>,
    /// Packets that policy let pass, to the server and to the client, whatever inspection said to them.
    pub packets: [u32; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
    /// When it was opened, in microseconds on the monotonic clock.
    pub began_us: u64,
    /// When its last packet came, likewise.
    pub last_us: u64,
    /// How far it had come.
    pub state: Option<FlowState>,
    /// Why it ended, in Suricata's word.
    pub reason: &'static str,
    /// Whether an alert was raised in it.
    pub has_alert: bool,
    /// Whether inspection has refused it.
    pub is_refused: bool,
    /// Whether inspection has let the rest of it pass unseen.
    pub is_passed: bool,
    /// Of TCP, the flags that each side has sent, and how far the connection had come.
    pub tcp: Option<([u8; 2], TcpPhase)>,
    /// What of the policy decided, as an index into the deciders of the event's generation, where that decided.
    pub decider: Option<u16>,
}

impl EventKind {
    /// The kind of its record; `None` for what has none.
    pub fn event_type(&self) -> Option<EventType> {
        match self {
            EventKind::Alert(_) | EventKind::Anomaly(..) | EventKind::FileAlert(_) => Some(EventType::Alert),
            EventKind::Drop { .. } | EventKind::WouldDrop { .. } => Some(EventType::Drop),
            EventKind::FileInfo(_) => Some(EventType::Fileinfo),
            EventKind::Note(note) => type_of(note),
            EventKind::Flow(_) => Some(EventType::Flow),
        }
    }
}

/// The kind of a note's record; `None` for what has none.
pub fn type_of(note: &Note) -> Option<EventType> {
    match note {
        Note::Transaction(transaction) => EventType::of_protocol(transaction.protocol),
        Note::Anomaly { .. } => Some(EventType::Anomaly),
        Note::File(_) => Some(EventType::Fileinfo),
    }
}
