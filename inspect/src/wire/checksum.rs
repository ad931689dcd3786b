//! The Internet checksum (RFC 1071), written so that the compiler can use vector instructions.
//!
//! Theory of operation: a one's complement sum of 16-bit words does not depend on the width in which the words are added
//! nor, up to one final swap, on their byte order (RFC 1071 section 2). So words are read in native order, each 64-bit
//! word as two 32-bit halves that are added into 64-bit lanes: a lane takes 2^32 such additions before it can overflow, a
//! frame has 2^14. Carries are folded once, at the end. No lane depends on another, which is what vector units want.

use super::ethernet::HEADER_LEN as NETWORK_OFFSET;
use super::{Headers, Network, Transport, tcp, udp};

const LOW_HALF: u64 = 0xffff_ffff;

/// The unfolded sum of `bytes` as 16-bit words in native byte order, an odd last byte padded with zero. Sums of parts that
/// start at even offsets add up (wrapping addition never wraps for less than 16 GiB).
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 4];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
            let word = u64::from_ne_bytes(*word);
            *lane = lane.wrapping_add(word & LOW_HALF).wrapping_add(word >> 32);
        }
    }
    let [a, b, c, d] = lanes;
    let (words, tail) = blocks.remainder().as_chunks::<8>();
    let mut total = a.wrapping_add(b).wrapping_add(c).wrapping_add(d);
    for word in words {
        let word = u64::from_ne_bytes(*word);
        total = total.wrapping_add(word & LOW_HALF).wrapping_add(word >> 32);
    }
    total.wrapping_add(sum_tail(tail))
}

/// [`sum`] of at most 7 bytes. Spelled out because copying them into a word costs a call to `memcpy`.
#[inline(always)]
fn sum_tail(mut tail: &[u8]) -> u64 {
    let mut total = 0;
    if let Some((word, rest)) = tail.split_first_chunk::<4>() {
        (total, tail) = (u64::from(u32::from_ne_bytes(*word)), rest);
    }
    if let Some((word, rest)) = tail.split_first_chunk::<2>() {
        (total, tail) = (total + u64::from(u16::from_ne_bytes(*word)), rest);
    }
    if let [last] = tail {
        total += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    total
}

/// [`sum`] for a header of known length.
#[inline(always)]
pub(super) fn sum_words<const LEN: usize>(header: &[u8; LEN]) -> u64 {
    const { assert!(LEN.is_multiple_of(4)) };
    header.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).fold(0, u64::wrapping_add)
}

/// [`sum`] for an IPv4 header without options: three loads, one carry.
#[inline(always)]
pub(super) fn sum_ipv4_header(header: &[u8; 20]) -> u64 {
    let mut words = [[0; 8]; 2];
    words[0].copy_from_slice(&header[..8]);
    words[1].copy_from_slice(&header[8..16]);
    let mut last = [0; 4];
    last.copy_from_slice(&header[16..]);
    let (total, has_carried) = u64::from_ne_bytes(words[0]).overflowing_add(u64::from_ne_bytes(words[1]));
    let (total, has_carried_again) = total.overflowing_add(u64::from(u32::from_ne_bytes(last)));
    // A sum that has wrapped is below its full value by more than the carries that are added.
    total.wrapping_add(u64::from(has_carried) + u64::from(has_carried_again))
}

/// Folds a sum into 16 bits, native byte order. Over data that includes its own correct checksum the result is 0xffff.
#[inline(always)]
pub fn fold(sum: u64) -> u16 {
    // A number plus itself with its halves swapped has, in the upper half, the sum of both halves with the carry added.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Whether a sum over data that includes its own checksum is right: [`fold`] makes 0xffff of it, which is to say that 65,535 (the
/// one's complement zero) divides it. The sum itself must not be zero, which it is of nothing but zeros.
#[inline(always)]
pub(super) fn is_sound(sum: u64) -> bool {
    debug_assert_ne!(sum, 0);
    sum.is_multiple_of(0xffff)
}

/// The bytes to write into a checksum field, for the sum of everything that it covers (the field itself as zero).
#[inline]
pub fn field(sum: u64) -> [u8; 2] {
    (!fold(sum)).to_ne_bytes()
}

/// The sum of the pseudo-header for a transport segment of `segment_len` bytes (RFC 9293 section 3.1, RFC 8200 section
/// 8.1). The frame must hold the fixed part of its IP header.
#[inline(always)]
pub(super) fn pseudo_header(frame: &[u8], network: Network, protocol: u8, segment_len: usize) -> u64 {
    let addresses = match network {
        Network::Ipv4 => sum_at::<8>(frame, NETWORK_OFFSET + 12),
        Network::Ipv6 => sum_at::<32>(frame, NETWORK_OFFSET + 8),
        Network::Arp => 0,
    };
    // Segments are shorter than 64 KiB, so both values fit one 16-bit word each.
    let words = u64::from(u16::from(protocol).to_be()) + u64::from((segment_len as u16).to_be());
    addresses.wrapping_add(words)
}

#[inline(always)]
fn sum_at<const LEN: usize>(frame: &[u8], at: usize) -> u64 {
    frame.get(at..).and_then(|bytes| bytes.first_chunk::<LEN>()).map_or(0, sum_words)
}

/// Where the transport's checksum stands, as virtio-net writes it (virtio 1.2 section 5.1.6.2): `csum_start` is the
/// transport's offset from the frame's start and `csum_offset` the field's offset from there. `None` for packets whose
/// checksum a driver cannot leave to the device, that is, all but TCP and UDP. A virtio-net header that says anything else
/// aims the checksum at other bytes of the frame (attack H01).
pub fn expected_partial(headers: &Headers) -> Option<(u16, u16)> {
    let field_at = match headers.transport {
        Transport::Tcp => tcp::CHECKSUM_AT,
        Transport::Udp => udp::CHECKSUM_AT,
        Transport::None | Transport::Icmp4 | Transport::Icmp6 | Transport::Other => return None,
    };
    Some((headers.transport_offset, field_at as u16))
}

/// Writes the transport checksum of a TCP or UDP packet, whatever stood in its field. `headers` must be what
/// [`super::parse`] found in this frame. Other packets stay as they are.
pub fn complete_transport_checksum(frame: &mut [u8], headers: &Headers) {
    let Some((start, field_at)) = expected_partial(headers) else {
        return;
    };
    let (start, end) = (usize::from(start), headers.end as usize);
    let at = start + usize::from(field_at);
    frame[at..at + 2].fill(0);
    let pseudo = pseudo_header(frame, headers.network, headers.protocol, end - start);
    let mut value = field(pseudo.wrapping_add(sum(&frame[start..end])));
    // RFC 768: zero means "no checksum", so a sum of zero is sent as all ones.
    if headers.transport == Transport::Udp && value == [0, 0] {
        value = [0xff, 0xff];
    }
    frame[at..at + 2].copy_from_slice(&value);
}

/// Writes the header checksum of the IPv4 header that starts at `network_offset`, `header_len` bytes long.
pub fn complete_ipv4_checksum(frame: &mut [u8], network_offset: usize, header_len: usize) {
    let at = network_offset + 10;
    frame[at..at + 2].fill(0);
    let value = field(sum(&frame[network_offset..network_offset + header_len]));
    frame[at..at + 2].copy_from_slice(&value);
}
