//! The record of a match.

/// What became of the packet that raised an alert, in Suricata's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertAction {
    /// The packet was forwarded.
    Allowed,
    /// The packet was dropped.
    Blocked,
    /// The packet was forwarded only because its profile is an audit.
    WouldBlock,
}

/// One match of one signature on one packet. Everything else about it (addresses, ports of the switch, zones, texts of
/// the signature) is known to the caller or to the rule set under [`Alert::signature`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The signature's index in its rule set.
    pub signature: u32,
    /// Whether the packet went on.
    pub action: AlertAction,
    /// Number of the application-layer transaction in its flow, where the match belongs to one.
    pub transaction: Option<u32>,
}
