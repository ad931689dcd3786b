//! Reading rule files, for the configuration and for `vswitch replay`.

use std::io;
use std::path::Path;

use inspect::signature::RuleFile;

use crate::regular_file::{self, Bounded};

/// Bytes of one rule file at most: the public sets in one file have about 30 MiB.
pub const FILE_LEN_MAX: u64 = 64 << 20;

/// Reads a rule file. Rule sets in the wild have comments in Latin-1; a signature that has such bytes will not match by accident.
///
/// # Errors
/// The file cannot be read, is no regular file, or has more than [`FILE_LEN_MAX`] bytes.
pub fn read(path: &Path) -> io::Result<RuleFile> {
    let bytes = regular_file::open(path, FILE_LEN_MAX).and_then(Bounded::read_all)?;
    // Without a copy where the bytes are text.
    let text = String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(RuleFile { name: path.display().to_string(), text })
}
