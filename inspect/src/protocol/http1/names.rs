//! Names of header fields: which stand for something, and which come again.
//!
//! Each name has a hash that leaves NUL bytes and case out, as receivers do, so that the dozen names which are asked for are
//! found by comparing numbers. What such a hash makes collide, a guest can choose; beyond some fields, those that come again
//! are found by a hash with a secret.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use super::fields::is_named;
use crate::inspector::Direction;
use crate::protocol::buffer::Buffer;

/// A name that is asked for, in lower case, with its hash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    text: &'static [u8],
    hash: u64,
}

impl Name {
    const fn new(text: &'static [u8]) -> Self {
        Self { text, hash: hash(text) }
    }
}

pub(super) const AUTHORIZATION: Name = Name::new(b"authorization");
pub(super) const CONTENT_DISPOSITION: Name = Name::new(b"content-disposition");
pub(super) const CONTENT_ENCODING: Name = Name::new(b"content-encoding");
pub(super) const CONTENT_LENGTH: Name = Name::new(b"content-length");
pub(super) const CONTENT_RANGE: Name = Name::new(b"content-range");
pub(super) const CONTENT_TYPE: Name = Name::new(b"content-type");
pub(super) const HOST: Name = Name::new(b"host");
pub(super) const TRANSFER_ENCODING: Name = Name::new(b"transfer-encoding");

/// The buffers that values are delivered as.
const REQUEST: [(Name, Buffer); 9] = [
    (Name::new(b"user-agent"), Buffer::HttpUserAgent),
    (Name::new(b"cookie"), Buffer::HttpCookie),
    (CONTENT_TYPE, Buffer::HttpContentType),
    (CONTENT_LENGTH, Buffer::HttpContentLen),
    (Name::new(b"accept"), Buffer::HttpAccept),
    (Name::new(b"accept-language"), Buffer::HttpAcceptLang),
    (Name::new(b"accept-encoding"), Buffer::HttpAcceptEnc),
    (Name::new(b"referer"), Buffer::HttpReferer),
    (Name::new(b"connection"), Buffer::HttpConnection),
];
const RESPONSE: [(Name, Buffer); 5] = [
    (Name::new(b"set-cookie"), Buffer::HttpCookie),
    (CONTENT_TYPE, Buffer::HttpContentType),
    (CONTENT_LENGTH, Buffer::HttpContentLen),
    (Name::new(b"location"), Buffer::HttpLocation),
    (Name::new(b"server"), Buffer::HttpServer),
];

/// Names that are compared with each other one by one.
const COMPARED_MAX: usize = 32;

/// The names of one header.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// Of each name, in order.
    hashes: Vec<u64>,
    /// Places by name, once there are more than [`COMPARED_MAX`].
    places: HashMap<Folded<'a>, usize>,
}

impl<'a> Known<'a> {
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { hashes: Vec::with_capacity(count), places: HashMap::new() }
    }

    /// The place of an earlier field with the same name but for case; without one, the name is noted as the next one.
    /// `name_at` gives the names that were noted.
    pub(super) fn place_of(&mut self, name: &'a [u8], name_at: impl Fn(usize) -> &'a [u8]) -> Option<usize> {
        let (hash, next) = (hash_of(name), self.hashes.len());
        let known = if next < COMPARED_MAX {
            let is_same = |&(place, &other): &(usize, &u64)| other == hash && name_at(place).eq_ignore_ascii_case(name);
            self.hashes.iter().enumerate().find(is_same).map(|(place, _)| place)
        } else {
            if self.places.is_empty() {
                self.places = (0..next).map(|place| (Folded(name_at(place)), place)).collect();
            }
            self.places.get(&Folded(name)).copied()
        };
        if known.is_none() {
            self.hashes.push(hash);
            if !self.places.is_empty() {
                self.places.insert(Folded(name), next);
            }
        }
        known
    }

    /// The place of the first field that a receiver may take for one of this name.
    pub(super) fn find(&self, name: Name, name_at: impl Fn(usize) -> &'a [u8]) -> Option<usize> {
        let is_it = |&(place, &hash): &(usize, &u64)| hash == name.hash && is_named(name_at(place), name.text);
        self.hashes.iter().enumerate().find(is_it).map(|(place, _)| place)
    }

    /// The buffer that the value of the field at a place is delivered as.
    pub(super) fn buffer_of(&self, side: Direction, place: usize, name: &[u8]) -> Option<Buffer> {
        let table: &[(Name, Buffer)] = if side == Direction::ToServer { &REQUEST } else { &RESPONSE };
        let hash = self.hashes.get(place)?;
        let is_it = |(known, _): &&(Name, Buffer)| known.hash == *hash && is_named(name, known.text);
        table.iter().find(is_it).map(|&(_, buffer)| buffer)
    }
}

/// A name, whatever its case.
#[derive(Debug)]
struct Folded<'a>(&'a [u8]);

impl PartialEq for Folded<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for Folded<'_> {}

impl Hash for Folded<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.0.len());
        for at in (0..self.0.len()).step_by(8) {
            state.write_u64(eight(self.0, at));
        }
    }
}

/// The hash of a name, NUL bytes and case left out.
fn hash_of(name: &[u8]) -> u64 {
    if memchr::memchr(0, name).is_none() {
        return hash(name);
    }
    hash(&name.iter().copied().filter(|&byte| byte != 0).collect::<Vec<_>>())
}

const fn hash(name: &[u8]) -> u64 {
    let (mut hash, mut at) = (name.len() as u64, 0);
    while at < name.len() {
        hash = (hash ^ eight(name, at)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash ^= hash >> 32;
        at += 8;
    }
    hash
}

/// Eight bytes from a place on, the case of letters folded; blanks behind the end.
const fn eight(bytes: &[u8], at: usize) -> u64 {
    if at + 8 <= bytes.len() {
        let b = bytes;
        let eight = [b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5], b[at + 6], b[at + 7]];
        return u64::from_le_bytes(eight) | 0x2020_2020_2020_2020;
    }
    let mut eight = [0; 8];
    let mut index = 0;
    while index < 8 && at + index < bytes.len() {
        eight[index] = bytes[at + index];
        index += 1;
    }
    u64::from_le_bytes(eight) | 0x2020_2020_2020_2020
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case_and_nul_bytes() {
        let names: [&[u8]; 4] = [b"X", b"HoS\0t", b"host", b"Content-Length"];
        let mut known = Known::with_capacity(1);
        for name in names {
            assert_eq!(known.place_of(name, |place| names[place]), None);
        }
        assert_eq!(known.find(HOST, |place| names[place]), Some(1));
        assert_eq!(known.find(CONTENT_LENGTH, |place| names[place]), Some(3));
        assert_eq!(known.find(CONTENT_TYPE, |place| names[place]), None);
        assert_eq!(known.place_of(b"HOST", |place| names[place]), Some(2));
        assert_eq!(known.buffer_of(Direction::ToServer, 3, names[3]), Some(Buffer::HttpContentLen));
    }

    #[test]
    fn names_that_come_again_are_found_among_many() {
        let names: Vec<Vec<u8>> = (0..100).map(|index| format!("x-name-{index}").into_bytes()).collect();
        let mut known = Known::with_capacity(0);
        for (place, name) in names.iter().enumerate() {
            assert_eq!(known.place_of(name, |place| &names[place]), None);
            let again = names[place / 2].to_ascii_uppercase().leak();
            assert_eq!(known.place_of(again, |place| &names[place]), Some(place / 2));
        }
        assert_eq!(known.hashes.len(), names.len());
    }
}
