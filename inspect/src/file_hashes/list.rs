//! One list of hashes, read line by line, held as sorted arrays.
//!
//! A lookup goes to the few hashes that share their leading bits with the one that is looked for, by a table of starts,
//! and halves its way there: two or three cache misses whatever the length. A list takes 32 bytes per SHA-256 and half
//! a byte of table.

use std::fmt;

use super::{Digests, ListAction};
use crate::limits::{HASH_LINE_BYTES_MAX, HASHES_MAX};

/// Hashes per entry of the table of starts, on average.
const PER_BUCKET: usize = 8;

/// Leading bits that the table of starts is indexed by at most: 2^24 entries serve 2^27 hashes.
const BUCKET_BITS_MAX: u32 = 24;

/// Hashes of one length.
#[derive(Debug, Default, PartialEq, Eq)]
struct Table<const N: usize> {
    hashes: Box<[[u8; N]]>,
    /// By leading bits, the place of the first hash; one more at the end. Empty without hashes.
    starts: Box<[u32]>,
    bits: u32,
}

impl<const N: usize> Table<N> {
    fn of(mut hashes: Vec<[u8; N]>) -> Self {
        if hashes.is_empty() {
            return Self { hashes: Box::default(), starts: Box::default(), bits: 0 };
        }
        hashes.sort_unstable();
        hashes.dedup();
        let bits = (hashes.len() / PER_BUCKET).max(1).ilog2().min(BUCKET_BITS_MAX);
        let mut starts = vec![0u32; (1 << bits) + 1];
        for hash in &hashes {
            starts[bucket(hash, bits) + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Self { hashes: hashes.into_boxed_slice(), starts: starts.into_boxed_slice(), bits }
    }

    fn contains(&self, hash: &[u8; N]) -> bool {
        let bucket = bucket(hash, self.bits);
        let (Some(&start), Some(&end)) = (self.starts.get(bucket), self.starts.get(bucket + 1)) else { return false };
        let shared = self.hashes.get(start as usize..end as usize).unwrap_or_default();
        shared.binary_search(hash).is_ok()
    }

    fn byte_count(&self) -> usize {
        size_of_val(&*self.hashes) + size_of_val(&*self.starts)
    }
}

/// The leading bits of a hash, as a number.
fn bucket<const N: usize>(hash: &[u8; N], bits: u32) -> usize {
    let leading = hash.first_chunk().map_or(0, |leading| u32::from_be_bytes(*leading));
    (u64::from(leading) >> (32 - bits)) as usize
}

/// A list of hashes with its name and what becomes of a file that is on it.
#[derive(Debug, PartialEq, Eq)]
pub struct HashList {
    name: String,
    title: String,
    action: ListAction,
    sha256: Table<32>,
    sha1: Table<20>,
    md5: Table<16>,
}

impl HashList {
    /// The name that reports give it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What alerts call a match of it.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What becomes of a file that is on it.
    pub fn action(&self) -> ListAction {
        self.action
    }

    /// Hashes on the list, each counted once.
    pub fn len(&self) -> usize {
        self.sha256.hashes.len() + self.sha1.hashes.len() + self.md5.hashes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that it takes, in bytes.
    pub fn byte_count(&self) -> usize {
        self.sha256.byte_count() + self.sha1.byte_count() + self.md5.byte_count()
    }

    /// Whether any of these hashes is on the list.
    pub fn contains(&self, digests: &Digests) -> bool {
        digests.sha256.is_some_and(|hash| self.sha256.contains(&hash))
            || digests.sha1.is_some_and(|hash| self.sha1.contains(&hash))
            || digests.md5.is_some_and(|hash| self.md5.contains(&hash))
    }

    pub(super) fn has_sha256(&self) -> bool {
        !self.sha256.hashes.is_empty()
    }

    pub(super) fn has_sha1(&self) -> bool {
        !self.sha1.hashes.is_empty()
    }

    pub(super) fn has_md5(&self) -> bool {
        !self.md5.hashes.is_empty()
    }
}

/// What was taken from a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Nothing: an empty line or a comment.
    Nothing,
    /// A hash.
    Hash,
}

/// Why a line of a list is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFault {
    /// It has more bytes than [`HASH_LINE_BYTES_MAX`].
    TooLong,
    /// It begins with so many hex digits, which are no hash.
    Length(usize),
    /// It does not begin with a hash.
    NoHash,
    /// The hash runs into something else.
    RunsOn,
    /// The lists hold [`HASHES_MAX`] hashes already.
    Full,
}

impl fmt::Display for LineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the line has more than {HASH_LINE_BYTES_MAX} bytes"),
            Self::Length(digits) => {
                write!(f, "{digits} hex digits are no hash: SHA-256 has 64, SHA-1 has 40, MD5 has 32")
            }
            Self::NoHash => f.write_str("the line does not begin with a hash in hex digits, nor with `#`"),
            Self::RunsOn => f.write_str("a hash ends with white space, a comma, a colon or a semicolon"),
            Self::Full => write!(f, "there are more than {HASHES_MAX} hashes"),
        }
    }
}

impl std::error::Error for LineFault {}

/// Reads a list line by line.
#[derive(Debug)]
pub struct HashListBuilder {
    name: String,
    action: ListAction,
    room: usize,
    sha256: Vec<[u8; 32]>,
    sha1: Vec<[u8; 20]>,
    md5: Vec<[u8; 16]>,
}

impl HashListBuilder {
    /// A list without hashes.
    pub fn new(name: impl Into<String>, action: ListAction) -> Self {
        let (sha256, sha1, md5) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.into(), action, room: HASHES_MAX, sha256, sha1, md5 }
    }

    /// The same, but for so many hashes at most.
    #[must_use]
    pub fn with_room(self, room: usize) -> Self {
        Self { room, ..self }
    }

    /// Hashes taken so far.
    pub fn len(&self) -> usize {
        self.sha256.len() + self.sha1.len() + self.md5.len()
    }

    /// Whether none was taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a line: a hash in hex digits and perhaps a text behind it, as `sha256sum` prints it and as feeds have it
    /// (`hash,family`, ClamAV's `hash:size:name`); nothing; or a comment behind `#`.
    ///
    /// # Errors
    /// Why the line is not understood.
    pub fn line(&mut self, line: &[u8]) -> Result<Listed, LineFault> {
        if line.len() > HASH_LINE_BYTES_MAX {
            return Err(LineFault::TooLong);
        }
        // A byte order mark, as editors leave it, and the backslash with which sha256sum marks an escaped name.
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii();
        let text = text.strip_prefix(b"\\").unwrap_or(text);
        if text.is_empty() || text.starts_with(b"#") {
            return Ok(Listed::Nothing);
        }
        let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if text.get(digits).is_some_and(|byte| !byte.is_ascii_whitespace() && !b",:;".contains(byte)) {
            return Err(if digits < 32 { LineFault::NoHash } else { LineFault::RunsOn });
        }
        if !matches!(digits, 64 | 40 | 32) {
            return Err(if digits == 0 { LineFault::NoHash } else { LineFault::Length(digits) });
        }
        if self.len() >= self.room {
            return Err(LineFault::Full);
        }
        let hex = &text[..digits];
        match digits {
            64 => self.sha256.push(decoded(hex)),
            40 => self.sha1.push(decoded(hex)),
            _ => self.md5.push(decoded(hex)),
        }
        Ok(Listed::Hash)
    }

    /// The list, sorted, each hash once.
    pub fn build(self) -> HashList {
        HashList {
            title: format!("file on hash list {}", self.name),
            name: self.name,
            action: self.action,
            sha256: Table::of(self.sha256),
            sha1: Table::of(self.sha1),
            md5: Table::of(self.md5),
        }
    }
}

/// The bytes that two hex digits each stand for.
fn decoded<const N: usize>(hex: &[u8]) -> [u8; N] {
    let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = value(pair[0]) << 4 | value(pair[1]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(text: &[u8]) -> (Result<Listed, LineFault>, HashList) {
        let mut builder = HashListBuilder::new("x", ListAction::Drop);
        let listed = builder.line(text);
        (listed, builder.build())
    }

    #[test]
    fn lines_of_every_kind() {
        let sha256 = "0123456789abcdefABCDEF0123456789".repeat(2);
        let expected: [u8; 32] = decoded(sha256.as_bytes());
        assert_eq!(expected[..6], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
        for text in [
            sha256.clone(),
            format!("  {sha256}\r"),
            format!("{sha256}  name of the file"),
            format!("{sha256} *binary.exe"),
            format!("\\{sha256}  line\\nbreak"),
            format!("\u{feff}{sha256}\tEmotet"),
            format!("{sha256},Emotet,2024-01-01"),
            format!("{sha256}:1234:Win.Emotet"),
        ] {
            let (listed, list) = line(text.as_bytes());
            assert_eq!(listed, Ok(Listed::Hash), "{text}");
            assert_eq!(&*list.sha256.hashes, &[expected], "{text}");
        }
        for text in ["", "  ", "# a comment", "  # another"] {
            assert_eq!(line(text.as_bytes()).0, Ok(Listed::Nothing), "{text}");
        }
        assert_eq!(line(&[b'a'; 40]).1.sha1.hashes.len(), 1);
        assert_eq!(line(&[b'a'; 32]).1.md5.hashes.len(), 1);
    }

    #[test]
    fn lines_that_are_not_understood_say_why() {
        let check = |text: &str, fault: LineFault| assert_eq!(line(text.as_bytes()).0, Err(fault), "{text}");
        check("hello", LineFault::NoHash);
        check("bad cafe", LineFault::Length(3));
        check("fade", LineFault::Length(4));
        check("decade-old", LineFault::NoHash);
        check(&"a".repeat(63), LineFault::Length(63));
        check(&"a".repeat(65), LineFault::Length(65));
        check(&format!("{}x", "a".repeat(64)), LineFault::RunsOn);
        check(&" ".repeat(HASH_LINE_BYTES_MAX + 1), LineFault::TooLong);
        let mut builder = HashListBuilder::new("x", ListAction::Drop).with_room(1);
        assert_eq!(builder.line(&[b'a'; 64]), Ok(Listed::Hash));
        assert_eq!(builder.line(&[b'b'; 32]), Err(LineFault::Full));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Few leading bytes, so that hashes share buckets and some buckets are empty.
        #[test]
        fn a_table_holds_what_was_put_in_and_nothing_else(
            heads in proptest::collection::vec((0u8..4, any::<u8>()), 0..400),
            asked in proptest::collection::vec((0u8..5, any::<u8>()), 0..50),
        ) {
            let hash = |&(first, second): &(u8, u8)| {
                let mut hash = [0x5a; 20];
                (hash[0], hash[2]) = (first << 6, second);
                hash
            };
            let table = Table::of(heads.iter().map(hash).collect());
            for head in heads.iter().chain(&asked) {
                let is_in = heads.iter().any(|known| hash(known) == hash(head));
                prop_assert_eq!(table.contains(&hash(head)), is_in);
            }
        }
    }
}
