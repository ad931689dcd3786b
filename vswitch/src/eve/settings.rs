//! Which records are written, and what they say.

use inspect::protocol::AppProtocol;
use inspect::record::Wanted;
use schemars::JsonSchema;
use serde::Deserialize;

macro_rules! event_types {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal;)*) => {
        /// A kind of record, as `event_type` names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum EventType {
            $($(#[doc = $doc])* $variant,)*
        }

        impl EventType {
            /// Every kind, in the order of the enum: a kind's index here is `kind as usize`.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// How many kinds there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

event_types! {
    /// A signature matched.
    Alert = "alert";
    /// A frame was dropped.
    Drop = "drop";
    /// A flow has ended.
    Flow = "flow";
    /// The bytes of a protocol are not as they should be.
    Anomaly = "anomaly";
    /// An HTTP transaction.
    Http = "http";
    /// A DNS message.
    Dns = "dns";
    /// A TLS handshake.
    Tls = "tls";
    /// An SSH handshake.
    Ssh = "ssh";
    /// An SMTP transaction.
    Smtp = "smtp";
    /// An FTP command and its reply.
    Ftp = "ftp";
    /// An SMB connection to a share, or an authentication.
    Smb = "smb";
    /// A DHCP message.
    Dhcp = "dhcp";
    /// A file that has passed.
    Fileinfo = "fileinfo";
    /// What the switch has counted so far, at an interval.
    Stats = "stats";
}

/// Kinds whose records are made from what parsers say.
const BY_PROTOCOL: [(EventType, AppProtocol); 8] = [
    (EventType::Http, AppProtocol::Http1),
    (EventType::Dns, AppProtocol::Dns),
    (EventType::Tls, AppProtocol::Tls),
    (EventType::Ssh, AppProtocol::Ssh),
    (EventType::Smtp, AppProtocol::Smtp),
    (EventType::Ftp, AppProtocol::Ftp),
    (EventType::Smb, AppProtocol::Smb),
    (EventType::Dhcp, AppProtocol::Dhcp),
];

impl EventType {
    /// Finds a kind by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }

    /// The kind of the records of a protocol's transactions, where there are such.
    pub fn of_protocol(protocol: AppProtocol) -> Option<Self> {
        BY_PROTOCOL.iter().find(|(_, spoken)| *spoken == protocol).map(|(kind, _)| *kind)
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTypes(u32);

impl EventTypes {
    /// No kind.
    pub const NONE: Self = Self(0);

    /// The set of these kinds.
    pub fn of(kinds: &[EventType]) -> Self {
        Self(kinds.iter().fold(0, |set, kind| set | 1 << (*kind as u32)))
    }

    /// Whether a kind is in the set.
    #[inline]
    pub fn contains(self, kind: EventType) -> bool {
        self.0 & 1 << (kind as u32) != 0
    }
}

/// Milliseconds between two `stats` records unless something else is configured: as often as monitoring systems ask.
const STATS_INTERVAL_MS: u64 = 10_000;

/// What an operator chooses about the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EveSettings {
    /// The kinds of records that are written.
    pub types: EventTypes,
    /// Whether alerts show the metadata of their rule.
    pub metadata: bool,
    /// Whether alerts show the transaction that they are about.
    pub app_layer: bool,
    /// Bytes of the packet's payload that alerts show; 0 for none.
    pub payload_bytes_max: usize,
    /// The seed of the Community ID that records show; without one, they show none.
    pub community_id: Option<u16>,
    /// Milliseconds between two records of what was counted.
    pub stats_interval_ms: u64,
}

impl Default for EveSettings {
    /// What passes by is the guests' own business, until an operator asks; that something was stopped or noticed is not.
    fn default() -> Self {
        Self {
            types: EventTypes::of(&[EventType::Alert, EventType::Drop, EventType::Anomaly]),
            metadata: true,
            app_layer: true,
            payload_bytes_max: 0,
            community_id: None,
            stats_interval_ms: STATS_INTERVAL_MS,
        }
    }
}

impl EveSettings {
    /// A log that nobody reads: nothing is made for it.
    pub const NOTHING: Self = Self {
        types: EventTypes::NONE,
        metadata: false,
        app_layer: false,
        payload_bytes_max: 0,
        community_id: None,
        stats_interval_ms: STATS_INTERVAL_MS,
    };

    /// What inspection must note for it.
    pub fn wanted(&self) -> Wanted {
        let has = |kind| self.types.contains(kind);
        let mut wanted = Wanted {
            anomalies: has(EventType::Anomaly),
            files: has(EventType::Fileinfo),
            context: self.app_layer && has(EventType::Alert),
            ..Wanted::NOTHING
        };
        for (kind, protocol) in BY_PROTOCOL {
            if has(kind) {
                wanted = wanted.with_protocol(protocol);
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_is_not_noted() {
        assert_eq!(EveSettings::NOTHING.wanted(), Wanted::NOTHING);
        let default = EveSettings::default().wanted();
        assert_eq!(default, Wanted { anomalies: true, context: true, ..Wanted::NOTHING });
        let dns = EveSettings { types: EventTypes::of(&[EventType::Dns]), ..EveSettings::default() }.wanted();
        assert_eq!(dns, Wanted::NOTHING.with_protocol(AppProtocol::Dns));
    }

    #[test]
    fn every_name_finds_its_own_kind() {
        for (index, &kind) in EventType::ALL.iter().enumerate() {
            assert_eq!((EventType::from_name(kind.name()), kind as usize), (Some(kind), index));
            assert!(EventTypes::of(&[kind]).contains(kind) && !EventTypes::NONE.contains(kind));
        }
    }
}
