//! The IPv6 header and its extension headers (RFC 8200).

use super::ethernet::HEADER_LEN as NETWORK_OFFSET;
use super::fragment;
use super::transport::{self, Datagram};
use super::{Checksums, Fragment, Headers, Malformed, Network, protocol};
use crate::limits::{EXTENSION_HEADERS_MAX, IPV6_OPTIONS_PER_HEADER_MAX};

/// Length of the IPv6 header, in bytes.
pub(super) const HEADER_LEN: usize = 40;
/// Length of the fragment header, in bytes.
pub(crate) const FRAGMENT_HEADER_LEN: usize = 8;

const OPTION_PAD1: u8 = 0;

#[inline(never)]
pub(super) fn parse(frame: &[u8], checksums: Checksums, into: &mut Headers) -> Result<(), Malformed> {
    let Some(head) = frame.get(NETWORK_OFFSET..).and_then(|bytes| bytes.first_chunk::<HEADER_LEN>()) else {
        return Err(Malformed::Truncated);
    };
    if head[0] >> 4 != 6 {
        return Err(Malformed::IpVersion);
    }
    let payload_len = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let offset = NETWORK_OFFSET + HEADER_LEN;
    let end = offset + payload_len;
    // A zero length announces a jumbogram (RFC 2675), which no Ethernet carries, or nothing at all.
    if end > frame.len() || payload_len == 0 {
        return Err(Malformed::Ipv6PayloadLength);
    }
    if let Err(why) = check_addresses(head)
        && !checksums.is_captured()
    {
        return Err(why);
    }
    if head[7] == 0 {
        return Err(Malformed::TtlZero);
    }
    let datagram = Datagram {
        network: Network::Ipv6,
        protocol: head[6],
        offset,
        end,
        hop_limit: head[7],
        has_fragment_header: false,
    };
    match head[6] {
        protocol::TCP | protocol::UDP => transport::parse(frame, &datagram, checksums, into),
        _ => parse_chain(frame, datagram, checksums, into),
    }
}

#[inline(always)]
fn check_addresses(head: &[u8; HEADER_LEN]) -> Result<(), Malformed> {
    let source = address_at(head, 8);
    let destination = address_at(head, 24);
    let is_source_bad = source >> 120 == 0xff || source == 1;
    let is_destination_bad = destination <= 1;
    // The mapped prefix ::ffff:0:0/96: such a packet would share its flow key with an IPv4 packet.
    let is_mapped = source >> 32 == 0xffff || destination >> 32 == 0xffff;
    if is_source_bad || is_destination_bad || is_mapped || source == destination {
        return Err(if is_source_bad {
            Malformed::SourceAddress
        } else if is_destination_bad {
            Malformed::DestinationAddress
        } else if is_mapped {
            Malformed::MappedAddress
        } else {
            Malformed::SourceIsDestination
        });
    }
    Ok(())
}

#[inline(always)]
fn address_at(head: &[u8; HEADER_LEN], at: usize) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&head[at..at + 16]);
    u128::from_be_bytes(bytes)
}

/// Where a chain of extension headers ends.
pub(super) struct Chain {
    /// Number of the first header that is not an extension; within a fragment, the number that the fragment header names.
    pub(super) protocol: u8,
    /// Offset of that header in the bytes walked.
    pub(super) offset: usize,
    /// Set for fragments; the walk of all but a first fragment stops behind the fragment header.
    pub(super) fragment: Option<Fragment>,
    /// For fragments, the offset just behind the fragment header.
    pub(super) fragment_payload: usize,
    /// Whether there was a fragment header at all, atomic ones included.
    pub(super) has_fragment_header: bool,
}

fn parse_chain(frame: &[u8], datagram: Datagram, checksums: Checksums, into: &mut Headers) -> Result<(), Malformed> {
    let bytes = &frame[..datagram.end];
    let chain = walk(bytes, datagram.protocol, datagram.offset)?;
    protocol::check_for_ipv6(chain.protocol)?;
    let Some(fragment) = chain.fragment else {
        let behind = Datagram {
            protocol: chain.protocol,
            offset: chain.offset,
            has_fragment_header: chain.has_fragment_header,
            ..datagram
        };
        return transport::parse(frame, &behind, checksums, into);
    };
    let unfragmentable_len = chain.fragment_payload - FRAGMENT_HEADER_LEN - datagram.offset;
    let len = datagram.end - chain.fragment_payload;
    fragment::check_length(&fragment, len, unfragmentable_len)?;
    if fragment.offset == 0 {
        fragment::check_first(chain.protocol, &bytes[chain.offset..])?;
    }
    let numbered = Datagram {
        protocol: bytes[chain.fragment_payload - FRAGMENT_HEADER_LEN],
        offset: chain.fragment_payload,
        ..datagram
    };
    *into = numbered.fragment_headers(fragment);
    Ok(())
}

/// Walks the extension headers in `bytes` from the header of kind `first` at `start`, at most
/// [`EXTENSION_HEADERS_MAX`] of them.
pub(super) fn walk(bytes: &[u8], first: u8, start: usize) -> Result<Chain, Malformed> {
    let mut chain =
        Chain { protocol: first, offset: start, fragment: None, fragment_payload: 0, has_fragment_header: false };
    let (mut has_routing, mut destination_options_count) = (false, 0);
    for step in 0..=EXTENSION_HEADERS_MAX {
        let number = chain.protocol;
        let is_extension = matches!(
            number,
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::FRAGMENT | protocol::DESTINATION_OPTIONS
        );
        if !is_extension {
            return if protocol::is_unwalked_extension(number) {
                Err(Malformed::ExtensionHeaderUnknown)
            } else {
                Ok(chain)
            };
        }
        if step == EXTENSION_HEADERS_MAX {
            break;
        }
        if number == protocol::HOP_BY_HOP && step != 0 {
            return Err(Malformed::HopByHopNotFirst);
        }
        let missing = if chain.fragment.is_some() { Malformed::FirstFragmentIncomplete } else { Malformed::Truncated };
        let header = extension_at(bytes, number, chain.offset).ok_or(missing)?;
        match number {
            protocol::HOP_BY_HOP => check_options(header)?,
            protocol::DESTINATION_OPTIONS => {
                destination_options_count += 1;
                if destination_options_count > 2 {
                    return Err(Malformed::ExtensionHeaderOrder);
                }
                check_options(header)?;
            }
            protocol::ROUTING => {
                if std::mem::replace(&mut has_routing, true) {
                    return Err(Malformed::ExtensionHeaderOrder);
                }
                check_routing(header)?;
            }
            _ => {
                if std::mem::replace(&mut chain.has_fragment_header, true) {
                    return Err(Malformed::ExtensionHeaderOrder);
                }
                chain.fragment = read_fragment(header);
                chain.fragment_payload = chain.offset + header.len();
            }
        }
        chain.protocol = header[0];
        chain.offset += header.len();
        if chain.fragment.is_some_and(|fragment| fragment.offset != 0) {
            return Ok(chain);
        }
    }
    Err(Malformed::ExtensionHeaderCount)
}

/// The extension header at `offset`, at least 8 bytes, if all of it is there.
fn extension_at(bytes: &[u8], number: u8, offset: usize) -> Option<&[u8]> {
    let header = bytes.get(offset..)?;
    let len = if number == protocol::FRAGMENT { FRAGMENT_HEADER_LEN } else { (usize::from(*header.get(1)?) + 1) * 8 };
    header.get(..len)
}

/// The fragment that a fragment header describes; `None` for an atomic one (RFC 6946).
fn read_fragment(header: &[u8]) -> Option<Fragment> {
    let offset_and_flags = u16::from_be_bytes([header[2], header[3]]);
    let fragment = Fragment {
        identification: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
        offset: offset_and_flags & 0xfff8,
        more: offset_and_flags & 1 != 0,
    };
    (fragment.offset != 0 || fragment.more).then_some(fragment)
}

fn check_routing(header: &[u8]) -> Result<(), Malformed> {
    let (kind, segments_left) = (header[2], header[3]);
    if kind == 0 {
        return Err(Malformed::RoutingTypeZero);
    }
    // With segments left the destination in the header is not the one that will read the packet.
    if segments_left != 0 {
        return Err(Malformed::RoutingSegmentsLeft);
    }
    Ok(())
}

/// Walks the options of a hop-by-hop or destination options header. An option whose two high bits ask an ignorant
/// receiver to discard the packet (RFC 8200 section 4.2) would let a guest show us packets that no receiver accepts.
fn check_options(header: &[u8]) -> Result<(), Malformed> {
    let mut options = &header[2..];
    let mut count = 0;
    while let [kind, rest @ ..] = options {
        count += 1;
        if count > IPV6_OPTIONS_PER_HEADER_MAX {
            return Err(Malformed::Ipv6OptionInvalid);
        }
        if *kind == OPTION_PAD1 {
            options = rest;
            continue;
        }
        if kind & 0xc0 != 0 {
            return Err(Malformed::Ipv6OptionInvalid);
        }
        let len = usize::from(*rest.first().ok_or(Malformed::Ipv6OptionInvalid)?);
        options = options.get(2 + len..).ok_or(Malformed::Ipv6OptionInvalid)?;
    }
    Ok(())
}
