//! The Ethernet II header: 6 bytes destination, 6 bytes source, 2 bytes type. No tags, no 802.3 lengths.

use super::{Malformed, Network, u64_at};

/// Length of an untagged Ethernet header, in bytes.
pub const HEADER_LEN: usize = 14;

pub(super) const TYPE_IPV4: u16 = 0x0800;
pub(super) const TYPE_ARP: u16 = 0x0806;
pub(super) const TYPE_IPV6: u16 = 0x86dd;

/// The smallest value of the type field that is a type and not an 802.3 length (IEEE 802.3 clause 3.2.6).
const TYPE_MIN: u16 = 0x0600;

/// Checks both addresses and the type.
#[inline(always)]
pub(super) fn check(head: &[u8; HEADER_LEN]) -> Result<Network, Malformed> {
    // Two overlapping words hold all 14 bytes: destination and a third of the source, source and type.
    let destination = u64_at::<0>(head) >> 16;
    let source_and_type = u64_at::<6>(head);
    let source = source_and_type >> 16;
    if destination & !0xf == 0x0180_c200_0000 || destination == 0 || source == 0 || source >> 40 & 1 != 0 {
        return Err(refused_address(destination, source));
    }
    match source_and_type as u16 {
        TYPE_IPV4 => Ok(Network::Ipv4),
        TYPE_IPV6 => Ok(Network::Ipv6),
        TYPE_ARP => Ok(Network::Arp),
        other => Err(refused_type(other)),
    }
}

#[cold]
fn refused_address(destination: u64, source: u64) -> Malformed {
    if destination == 0 {
        Malformed::DestinationMacZero
    } else if source == 0 {
        Malformed::SourceMacZero
    } else if source >> 40 & 1 != 0 {
        Malformed::SourceMacMulticast
    } else {
        Malformed::DestinationMacReserved
    }
}

#[cold]
fn refused_type(ethertype: u16) -> Malformed {
    match ethertype {
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => Malformed::VlanTag,
        length if length < TYPE_MIN => Malformed::LlcLength,
        _ => Malformed::UnknownEthertype,
    }
}
