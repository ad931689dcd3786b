//! The shapes of inspection profiles and of what they are chosen by.

use crate::config::selector::Selector;
use crate::config::spanned::{At, OneOrMany};
use schemars::JsonSchema;
use serde::Deserialize;

/// How flows are inspected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Profile {
    /// What signatures and exceptions may do.
    pub(in crate::config) mode: Mode,
    /// Signatures that apply: `any`, a signature id, or `group:`, `classtype:`, `sid:`, `priority:` or `metadata:` with what
    /// it must be; or a list of these, of which one must match.
    pub(in crate::config) enable: OneOrMany<Selector>,
    /// Signatures that do not apply, though `enable` matches them; written as `enable`.
    pub(in crate::config) disable: OneOrMany<Selector>,
    /// Signatures with action `alert` that count as `drop`; written as `enable`.
    pub(in crate::config) drop: OneOrMany<Selector>,
    /// Whether a TCP segment from the middle of a connection may open a flow that policy allows.
    pub(in crate::config) midstream: bool,
    /// What becomes of packets that cannot be inspected as they should.
    pub(in crate::config) exceptions: Exceptions,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            enable: OneOrMany(vec![At::from(Selector::Any)]),
            disable: OneOrMany::default(),
            drop: OneOrMany::default(),
            midstream: false,
            exceptions: Exceptions::default(),
        }
    }
}

/// What signatures and exceptions may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Mode {
    /// `drop` and `reject` stop packets and flows.
    #[default]
    Ips,
    /// All actions only alert.
    Ids,
    /// Nothing is stopped, and what `ips` would have stopped is recorded as such.
    Audit,
}

/// What becomes of packets that cannot be inspected as they should.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Exceptions {
    /// When a TCP segment brings other bytes for a place in its stream than came before.
    pub(in crate::config) stream: ExceptionPolicy,
    /// When there is no memory left for what a flow has said.
    pub(in crate::config) memory: ExceptionPolicy,
    /// When the bytes do not follow the protocol that the flow was recognised as.
    pub(in crate::config) protocol: ExceptionPolicy,
    /// When the work that one packet may cost is spent before there is an answer.
    pub(in crate::config) budget: ExceptionPolicy,
}

/// What becomes of a packet that cannot be inspected as it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum ExceptionPolicy {
    /// `drop-flow` with `mode: ips`; only a TCP segment for which there is no memory ends alone, and is sent again.
    #[default]
    Auto,
    /// The packet and the rest of its flow are dropped.
    DropFlow,
    /// The packet is dropped.
    DropPacket,
    /// The packet and the rest of its flow pass without inspection.
    PassFlow,
    /// The packet passes without a further look.
    PassPacket,
    /// As `pass-flow`.
    Bypass,
    /// Inspection goes on as well as it can.
    Ignore,
}

/// A pair of zones and how flows between them are inspected.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Pair {
    /// Zones of those who open the flow: `any`, a zone, or a list of zones.
    #[serde(default = "super::anybody")]
    pub(in crate::config) from: OneOrMany<String>,
    /// Zones of those whom it is opened to, written as `from`.
    #[serde(default = "super::anybody")]
    pub(in crate::config) to: OneOrMany<String>,
    /// Name of the profile.
    pub(in crate::config) profile: At<String>,
}
