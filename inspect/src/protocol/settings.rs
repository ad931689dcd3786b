//! The bounds and choices of protocol parsing that operators can set, and the fixed ones beside them.

/// What operators can choose about protocol parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Bytes of one HTTP request body, after unpacking, that reach the sink; 0 for all of them.
    pub request_body_bytes_max: u64,
    /// Bytes of one HTTP response body, after unpacking, that reach the sink; 0 for all of them.
    pub response_body_bytes_max: u64,
    /// Unpacked bytes of one body beyond which the ratio is looked at; Suricata's
    /// `compression-bomb-limit` is four times that.
    pub bomb_bytes_max: u64,
    /// Unpacked bytes per packed byte that make a body beyond `bomb_bytes_max` a bomb. Deflate cannot exceed 1032.
    pub bomb_ratio_max: u64,
    /// Content encodings on top of each other that are undone. Servers use one; browsers undo any number.
    pub encoding_layers_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            request_body_bytes_max: 0,
            response_body_bytes_max: 0,
            bomb_bytes_max: 256 << 10,
            bomb_ratio_max: 200,
            encoding_layers_max: 3,
        }
    }
}

/// Bytes of each side that are kept while the protocol is not recognised. Every probe decides within a first line, and
/// request lines beyond 2 KiB are rare enough to go unrecognised.
pub(super) const RECOGNITION_BYTES_MAX: usize = 2048;

/// Datagrams of each side that are looked at before a UDP flow counts as unrecognised.
pub(super) const RECOGNITION_DATAGRAMS_MAX: u8 = 4;
