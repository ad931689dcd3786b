//! The shape of what the file says about lists of hashes of files.

use crate::config::spanned::At;
use schemars::JsonSchema;
use serde::Deserialize;

/// A list of hashes of files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct FileHashes {
    /// Its name in logs, events and metrics.
    pub(in crate::config) name: At<String>,
    /// The file, relative to this one; `*` and `?` stand for any letters of a name. A line is a SHA-256, SHA-1 or MD5 in
    /// hex digits, as sha256sum writes it, with any text behind it, or a comment behind `#`.
    pub(in crate::config) path: At<String>,
    /// What becomes of a file that is on the list.
    #[serde(default)]
    pub(in crate::config) action: FileHashAction,
}

/// What becomes of a file that is on a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum FileHashAction {
    /// It is reported.
    Alert,
    /// It is reported, and the frame that completes it is dropped with the rest of its flow.
    #[default]
    Drop,
}

/// What becomes of files that the lists of hashes cannot answer for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct FileLimitsFile {
    /// MiB of a file that are hashed at most.
    pub(in crate::config) size_max_mib: Option<At<u64>>,
    /// What becomes of a file with more.
    pub(in crate::config) too_big: FilePolicy,
    /// What becomes of a part of a file (HTTP's ranges), which has another hash than the whole. Between two addresses that a
    /// listed file was stopped between in the last ten minutes, parts are dropped whatever stands here.
    pub(in crate::config) partial: FilePolicy,
}

/// What becomes of a file that cannot be judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum FilePolicy {
    /// It passes, and is counted.
    #[default]
    Pass,
    /// It is dropped with the rest of its flow, and reported.
    Drop,
}
