//! ICMP for both families (RFC 792, RFC 4443), and the neighbour discovery messages among it (RFC 4861).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Malformed, ipv4, ipv6, protocol};
use crate::flow_key::{FlowKey, Way};
use crate::limits::ND_OPTIONS_MAX;

/// Length of what all ICMP messages share: type, code, checksum and four bytes that depend on the type.
pub(super) const HEADER_LEN: usize = 8;

/// Type of an ICMPv4 echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type of an ICMPv4 echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type of an ICMPv6 echo request.
pub const ECHO_REQUEST_V6: u8 = 128;
/// Type of an ICMPv6 echo reply.
pub const ECHO_REPLY_V6: u8 = 129;

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

const OPTION_SOURCE_LINK_LAYER: u8 = 1;
const OPTION_TARGET_LINK_LAYER: u8 = 2;

/// What every ICMP message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpView {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The identifier of an echo request or reply.
    pub echo_identifier: Option<u16>,
}

impl IcmpView {
    #[inline]
    pub(super) fn read(message: &[u8; HEADER_LEN], is_v6: bool) -> Self {
        let kind = message[0];
        let is_echo = if is_v6 {
            matches!(kind, ECHO_REQUEST_V6 | ECHO_REPLY_V6)
        } else {
            matches!(kind, ECHO_REQUEST | ECHO_REPLY)
        };
        let identifier = u16::from_be_bytes([message[4], message[5]]);
        Self { kind, code: message[1], echo_identifier: is_echo.then_some(identifier) }
    }

    /// The two port fields of this message's [`FlowKey`].
    #[inline]
    pub(crate) fn key_ports(&self) -> (u16, u16) {
        match self.echo_identifier {
            Some(identifier) => (identifier, identifier),
            None => (u16::from_be_bytes([self.kind, self.code]), 0),
        }
    }
}

/// Which neighbour discovery message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighbourKind {
    /// A host asks for routers.
    RouterSolicitation,
    /// A router announces itself: from a guest, a rogue one.
    RouterAdvertisement,
    /// A host asks for the target's link-layer address.
    NeighbourSolicitation,
    /// A host tells the target's link-layer address.
    NeighbourAdvertisement,
    /// A router names a better first hop.
    Redirect,
}

/// A neighbour discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourView {
    /// Which message.
    pub kind: NeighbourKind,
    /// The address that the message is about; `None` for router messages.
    pub target: Option<Ipv6Addr>,
    /// For redirects, the destination that is redirected to the target.
    pub destination: Option<Ipv6Addr>,
    /// For neighbour advertisements, whether existing cache entries shall be overridden.
    pub is_override: bool,
    /// The source link-layer address option: who claims to have sent it.
    pub source_mac: Option<[u8; 6]>,
    /// The target link-layer address option: where the target is claimed to be.
    pub target_mac: Option<[u8; 6]>,
}

/// Whether an ICMPv6 type is one of neighbour discovery's five.
pub(super) fn is_neighbour_discovery(kind: u8) -> bool {
    (ROUTER_SOLICITATION..=REDIRECT).contains(&kind)
}

#[inline]
pub(super) fn check_length(message: &[u8]) -> Result<(), Malformed> {
    if message.len() < HEADER_LEN { Err(Malformed::Truncated) } else { Ok(()) }
}

/// Checks the rules of RFC 4861 sections 6.1, 7.1 and 8.1 that a receiver must check too, and RFC 6980.
pub(super) fn check_neighbour_discovery(
    message: &[u8],
    hop_limit: u8,
    has_fragment_header: bool,
) -> Result<(), Malformed> {
    if !is_neighbour_discovery(message[0]) {
        return Ok(());
    }
    if hop_limit != 255 {
        return Err(Malformed::NdHopLimit);
    }
    if message[1] != 0 {
        return Err(Malformed::NdCode);
    }
    if has_fragment_header {
        return Err(Malformed::NdFragmented);
    }
    let view = NeighbourView::read(message)?;
    if view.target.is_some_and(|target| target.is_multicast() || target.is_unspecified())
        || view.destination.is_some_and(|destination| destination.is_multicast())
    {
        return Err(Malformed::NdTarget);
    }
    Ok(())
}

impl NeighbourView {
    /// Reads a whole neighbour discovery message. It was checked with this very function when the frame was parsed, so for
    /// packets it never fails.
    pub(super) fn read(message: &[u8]) -> Result<Self, Malformed> {
        let (kind, options_at) = match message[0] {
            ROUTER_SOLICITATION => (NeighbourKind::RouterSolicitation, 8),
            ROUTER_ADVERTISEMENT => (NeighbourKind::RouterAdvertisement, 16),
            NEIGHBOUR_SOLICITATION => (NeighbourKind::NeighbourSolicitation, 24),
            NEIGHBOUR_ADVERTISEMENT => (NeighbourKind::NeighbourAdvertisement, 24),
            _ => (NeighbourKind::Redirect, 40),
        };
        let options = message.get(options_at..).ok_or(Malformed::Truncated)?;
        let mut view = Self {
            kind,
            target: (options_at >= 24).then(|| ipv6_at(message, 8)).flatten(),
            destination: (options_at >= 40).then(|| ipv6_at(message, 24)).flatten(),
            is_override: kind == NeighbourKind::NeighbourAdvertisement && message[4] & 0x20 != 0,
            source_mac: None,
            target_mac: None,
        };
        view.read_options(options)?;
        Ok(view)
    }

    /// A repeated address option is refused: which of the two a receiver believes differs, and port security would judge
    /// the other one.
    fn read_options(&mut self, mut options: &[u8]) -> Result<(), Malformed> {
        for _ in 0..ND_OPTIONS_MAX {
            let [kind, units, ..] = options else {
                return if options.is_empty() { Ok(()) } else { Err(Malformed::NdOption) };
            };
            let len = usize::from(*units) * 8;
            let option = options.get(..len).filter(|_| len != 0).ok_or(Malformed::NdOption)?;
            let slot = match *kind {
                OPTION_SOURCE_LINK_LAYER => Some(&mut self.source_mac),
                OPTION_TARGET_LINK_LAYER => Some(&mut self.target_mac),
                _ => None,
            };
            if let Some(slot) = slot {
                let &[_, _, m0, m1, m2, m3, m4, m5] = option else {
                    return Err(Malformed::NdOption);
                };
                if slot.replace([m0, m1, m2, m3, m4, m5]).is_some() {
                    return Err(Malformed::NdOption);
                }
            }
            options = &options[len..];
        }
        if options.is_empty() { Ok(()) } else { Err(Malformed::NdOption) }
    }
}

fn ipv6_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk::<16>()).map(|address| Ipv6Addr::from(*address))
}

fn ipv4_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>()).map(|address| Ipv4Addr::from(*address))
}

/// Whether messages of this type report that a packet could not be delivered as sent and quote it. Source quench and
/// redirects are left out: no flow needs them, and both have been used to harm flows.
pub(super) fn is_error(kind: u8, is_v6: bool) -> bool {
    if is_v6 { matches!(kind, 1..=4) } else { matches!(kind, 3 | 11 | 12) }
}

/// The flow of the packet that an ICMP error quotes, and the way that packet went. The quotation is the word of whoever
/// sent the error: its lengths are not believed, and 8 bytes behind its IP headers are all that is read. `None` when it
/// does not hold that much, is a fragment other than the first, or could not have been let into the switch.
pub(super) fn quoted_flow(quoted: &[u8], is_v6: bool) -> Option<(FlowKey, Way)> {
    let (source, destination, number, at) = if is_v6 { quoted_ipv6(quoted)? } else { quoted_ipv4(quoted)? };
    let head: &[u8; HEADER_LEN] = quoted.get(at..)?.first_chunk()?;
    let (source_port, destination_port) = match number {
        protocol::TCP | protocol::UDP => {
            let ports = (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
            if ports.0 == 0 || ports.1 == 0 {
                return None;
            }
            ports
        }
        protocol::ICMP4 if !is_v6 => quoted_icmp(head, false)?,
        protocol::ICMP6 if is_v6 => quoted_icmp(head, true)?,
        protocol::ICMP4 | protocol::ICMP6 => return None,
        _ => (0, 0),
    };
    Some(FlowKey::between(source, source_port, destination, destination_port, number))
}

/// An error about an error must not exist (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e), so only echoes are followed.
fn quoted_icmp(head: &[u8; HEADER_LEN], is_v6: bool) -> Option<(u16, u16)> {
    IcmpView::read(head, is_v6).echo_identifier.map(|identifier| (identifier, identifier))
}

fn quoted_ipv4(quoted: &[u8]) -> Option<(IpAddr, IpAddr, u8, usize)> {
    let head: &[u8; ipv4::HEADER_LEN] = quoted.first_chunk()?;
    let header_len = usize::from(head[0] & 0xf) * 4;
    let is_first = u16::from_be_bytes([head[6], head[7]]) & 0x1fff == 0;
    if head[0] >> 4 != 4 || header_len < ipv4::HEADER_LEN || !is_first {
        return None;
    }
    Some((ipv4_at(quoted, 12)?.into(), ipv4_at(quoted, 16)?.into(), head[9], header_len))
}

fn quoted_ipv6(quoted: &[u8]) -> Option<(IpAddr, IpAddr, u8, usize)> {
    let head: &[u8; ipv6::HEADER_LEN] = quoted.first_chunk()?;
    if head[0] >> 4 != 6 {
        return None;
    }
    let (source, destination) = (ipv6_at(quoted, 8)?, ipv6_at(quoted, 24)?);
    if source.to_ipv4_mapped().is_some() || destination.to_ipv4_mapped().is_some() {
        return None;
    }
    let chain = ipv6::walk(quoted, head[6], ipv6::HEADER_LEN).ok()?;
    if chain.fragment.is_some_and(|fragment| fragment.offset != 0) {
        return None;
    }
    Some((source.into(), destination.into(), chain.protocol, chain.offset))
}
