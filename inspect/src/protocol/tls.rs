//! TLS records and handshakes.

/// Bytes of a record's payload: 2^14 and the expansion that RFC 5246 section 6.2.3 allows.
pub(super) const RECORD_BYTES_MAX: usize = (1 << 14) + 2048;
