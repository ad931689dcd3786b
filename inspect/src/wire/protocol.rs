//! IP protocol numbers, as IANA assigns them.

use super::Malformed;

/// IPv6 hop-by-hop options header.
pub const HOP_BY_HOP: u8 = 0;
/// ICMP for IPv4.
pub const ICMP4: u8 = 1;
/// IGMP, IPv4's group membership.
pub const IGMP: u8 = 2;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// IPv6 routing header.
pub const ROUTING: u8 = 43;
/// IPv6 fragment header.
pub const FRAGMENT: u8 = 44;
/// Authentication header.
pub const AUTHENTICATION: u8 = 51;
/// ICMPv6.
pub const ICMP6: u8 = 58;
/// IPv6 no next header.
pub const NO_NEXT_HEADER: u8 = 59;
/// IPv6 destination options header.
pub const DESTINATION_OPTIONS: u8 = 60;
/// The number that is reserved.
pub const RESERVED: u8 = 255;

/// Whether `number` is an IPv6 extension header that we do not walk: authentication, mobility, HIP, shim6 and the two
/// numbers for experiments (IANA "IPv6 Extension Header Types"). ESP is not among them: nothing behind it can be read,
/// so it counts as a transport of its own.
pub(super) fn is_unwalked_extension(number: u8) -> bool {
    matches!(number, AUTHENTICATION | 135 | 139 | 140 | 253 | 254)
}

/// Refuses numbers that have no meaning in IPv4. Number 0 in particular: CVE-2023-1668 shows what "0 means any" does.
pub(super) fn check_for_ipv4(number: u8) -> Result<(), Malformed> {
    match number {
        HOP_BY_HOP | RESERVED => Err(Malformed::ProtocolReserved),
        ROUTING | FRAGMENT | ICMP6 | NO_NEXT_HEADER | DESTINATION_OPTIONS => Err(Malformed::ProtocolOfOtherFamily),
        // Receivers walk it as they do in IPv6, so what stands behind it would reach them unread.
        AUTHENTICATION => Err(Malformed::ExtensionHeaderUnknown),
        _ => Ok(()),
    }
}

/// Refuses numbers that have no meaning behind an IPv6 header chain.
pub(super) fn check_for_ipv6(number: u8) -> Result<(), Malformed> {
    match number {
        RESERVED => Err(Malformed::ProtocolReserved),
        // Group membership is ICMPv6's there (RFC 3810).
        ICMP4 | IGMP => Err(Malformed::ProtocolOfOtherFamily),
        _ => Ok(()),
    }
}
