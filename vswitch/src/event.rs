//! What workers tell the log: alerts, anomalies and drops, as plain values. Formatting happens on the log's own thread.

use std::net::IpAddr;
use std::sync::Arc;

use inspect::alert::Alert;
use inspect::detect::Anomaly;
use zones::policy::DeciderId;

use crate::detect::Response;
use crate::drop_reason::DropReason;
use crate::frame::PortId;
use crate::generation::Generation;

/// The addresses of a packet, in the direction that it travelled.
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
    /// What happened.
    pub kind: EventKind,
}

/// What happened to the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A signature matched.
    Alert(Alert),
    /// It is part of a scan, sweep, flood or burst, and the first of it that is told.
    Anomaly(Anomaly, Response),
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
        /// Drops of the same port and reason that were folded into this record.
        suppressed: u64,
    },
}
