//! What operators may switch on, as far as the walk of a frame pays for it.

use std::sync::Arc;

use inspect::detect::{AnomalyKind, Detectors, Seed, Threshold};
use inspect::signature::{RuleFile, RuleSet, Vars};
use vswitch::counters::PORTS_MAX;
use vswitch::detect::{Detect, DetectConfig, Response};
use vswitch::eve::settings::{EveSettings, EventType, EventTypes};

/// What operators may switch on beyond what is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    /// Nothing.
    Nothing,
    /// The watch for scans and floods, of all kinds.
    Detect,
    /// Records of flows: packets and bytes are counted.
    FlowRecords,
    /// Records of DNS and others: every flow is followed.
    Transactions,
    /// A signature that concerns every datagram, and is never found.
    Signature,
}

impl Extra {
    pub(super) const ALL: [Self; 5] =
        [Self::Nothing, Self::Detect, Self::FlowRecords, Self::Transactions, Self::Signature];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Detect => "detect",
            Self::FlowRecords => "flow-records",
            Self::Transactions => "transactions",
            Self::Signature => "signature",
        }
    }

    pub(super) fn eve(self) -> EveSettings {
        let types = match self {
            Self::FlowRecords => EventTypes::of(&[EventType::Flow]),
            Self::Transactions => EventTypes::of(&[EventType::Dns, EventType::Http, EventType::Tls]),
            _ => return EveSettings::default(),
        };
        EveSettings { types, ..EveSettings::default() }
    }

    pub(super) fn detect(self) -> Option<Detect> {
        if self != Self::Detect {
            return None;
        }
        // Nobody exceeds them: what is measured is the counting.
        let never = |kind: AnomalyKind| {
            let count_max = if kind.is_distinct() { 2_000 } else { 1_000_000_000 };
            (kind, (Threshold { count_max, ..kind.default_threshold() }, Response::Alert))
        };
        let config = DetectConfig { kinds: AnomalyKind::ALL.into_iter().map(never).collect(), exempt: Vec::new() };
        Some(Detect::new(&config, Arc::new(Detectors::new(PORTS_MAX, Seed([7, 8])))).expect("sound thresholds"))
    }

    pub(super) fn rules(self) -> Arc<RuleSet> {
        if self != Self::Signature {
            return Arc::default();
        }
        let text = "alert udp any any -> any any (msg:\"never\"; content:\"not in here\"; sid:1;)";
        let loaded = RuleSet::compile(&[RuleFile { name: "bench".into(), text: text.into() }], &Vars::default());
        assert_eq!(loaded.rules.len(), 1, "the signature is understood");
        Arc::new(loaded.rules)
    }
}
