//! What the data of a resource record say.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::record::DnsData;

pub(super) const TYPE_A: u16 = 1;
pub(super) const TYPE_NS: u16 = 2;
pub(super) const TYPE_CNAME: u16 = 5;
pub(super) const TYPE_SOA: u16 = 6;
pub(super) const TYPE_NULL: u16 = 10;
pub(super) const TYPE_PTR: u16 = 12;
pub(super) const TYPE_MX: u16 = 15;
pub(super) const TYPE_TXT: u16 = 16;
pub(super) const TYPE_AAAA: u16 = 28;
pub(super) const TYPE_SRV: u16 = 33;
pub(super) const TYPE_SSHFP: u16 = 44;

/// What a record says. `names` are the two names within it, or the one as the last; `behind` is what of the message follows
/// them.
pub(super) fn said<'s>(kind: u16, bytes: &'s [u8], (first, last): (&'s [u8], &'s [u8]), behind: &[u8]) -> DnsData<'s> {
    let name = Cow::Borrowed(last);
    let word = |at: usize| bytes.get(at..at + 2).map_or(0, |word| u16::from_be_bytes([word[0], word[1]]));
    match (kind, bytes.len()) {
        (TYPE_NS | TYPE_CNAME | TYPE_PTR | TYPE_MX, 1..) => DnsData::Name(name),
        (TYPE_NULL, _) => DnsData::Text(bytes.into()),
        (TYPE_SOA, 1..) => {
            let number = |index: usize| behind.get(index * 4..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
            let numbers = [0, 1, 2, 3, 4].map(|index| number(index).unwrap_or(0));
            DnsData::Authority { server: first.into(), mailbox: name, numbers }
        }
        (TYPE_SRV, 7..) => DnsData::Service { numbers: [word(0), word(2), word(4)], target: name },
        (TYPE_SSHFP, 3..) => DnsData::SshKey { algorithm: bytes[0], kind: bytes[1], fingerprint: bytes[2..].into() },
        _ => address(kind, bytes).map_or(DnsData::Other, DnsData::Address),
    }
}

/// The strings of a TXT record, each behind its length; at least one.
pub(super) fn strings(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_first = true;
    std::iter::from_fn(move || {
        let is_empty = bytes.is_empty();
        if is_empty && !std::mem::take(&mut is_first) {
            return None;
        }
        is_first = false;
        let (&length, rest) = bytes.split_first().unwrap_or((&0, &[]));
        let (string, rest) = rest.split_at(usize::from(length).min(rest.len()));
        bytes = rest;
        Some(string)
    })
}

/// The address of an A or AAAA record.
fn address(kind: u16, bytes: &[u8]) -> Option<IpAddr> {
    match kind {
        TYPE_A => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        TYPE_AAAA => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}
