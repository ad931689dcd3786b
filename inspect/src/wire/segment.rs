//! Software segmentation: one TCP super-segment becomes frames that fit an MTU.
//!
//! Theory of operation: a driver with TSO hands over one frame whose TCP payload is many segments long (virtio 1.2 section
//! 5.1.6.2). It is inspected whole; when a receiver did not negotiate such frames, it is cut here, after the verdict. Each
//! piece repeats all headers; what differs is the IP length, the IPv4 identification (one more each, RFC 6864 section 4.1
//! asks them to differ), the TCP sequence number, FIN and PSH (only on the last), CWR (only on the first, RFC 3168 section
//! 6.1.2) and the checksums, all computed anew.

use super::{Headers, Network, TcpFlags, Transport, checksum};
use crate::limits::SEGMENTS_PER_FRAME_MAX;

/// Why a frame cannot be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotSegmentable {
    /// It is not TCP over IPv4 or IPv6, or a fragment.
    NotTcp,
    /// SYN, RST or URG is set: repeating it changes the meaning, and no stack leaves such segments to TSO.
    Flags,
    /// The segment size is zero, or so small that the frame would become more than
    /// [`SEGMENTS_PER_FRAME_MAX`] frames.
    SegmentSize,
}

impl std::fmt::Display for NotSegmentable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NotSegmentable::NotTcp => "only TCP segments can be cut",
            NotSegmentable::Flags => "a segment with SYN, RST or URG cannot be cut",
            NotSegmentable::SegmentSize => "the segment size is zero or makes too many frames",
        })
    }
}

impl std::error::Error for NotSegmentable {}

/// The caller's buffer is shorter than [`Segments::frame_len_max`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BufferTooShort;

impl std::fmt::Display for BufferTooShort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the buffer is shorter than a segment's frame")
    }
}

impl std::error::Error for BufferTooShort {}

/// The pieces of one super-segment, written one by one into buffers of the caller's.
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    frame: &'a [u8],
    headers: Headers,
    payload_len_max: usize,
    /// Pieces written so far.
    written_count: usize,
}

impl<'a> Segments<'a> {
    /// Prepares to cut `frame`, whose headers are `headers`, into pieces of at most `payload_len_max` bytes of TCP payload
    /// (virtio-net's `gso_size`). A frame with no more payload than that is one piece; its checksums are completed too.
    ///
    /// # Errors
    /// When the frame cannot be cut; see [`NotSegmentable`].
    pub fn new(frame: &'a [u8], headers: &Headers, payload_len_max: u16) -> Result<Self, NotSegmentable> {
        if headers.transport != Transport::Tcp {
            return Err(NotSegmentable::NotTcp);
        }
        let flags = TcpFlags(frame[usize::from(headers.transport_offset) + 13]);
        if flags.intersects(TcpFlags::SYN | TcpFlags::RST | TcpFlags::URG) {
            return Err(NotSegmentable::Flags);
        }
        let segments = Self { frame, headers: *headers, payload_len_max: payload_len_max.into(), written_count: 0 };
        if payload_len_max == 0 || segments.count() > SEGMENTS_PER_FRAME_MAX {
            return Err(NotSegmentable::SegmentSize);
        }
        Ok(segments)
    }

    /// How many pieces there are in all, at least one.
    pub fn count(&self) -> usize {
        self.payload_len().div_ceil(self.payload_len_max).max(1)
    }

    /// The length of the longest piece's frame, in bytes.
    pub fn frame_len_max(&self) -> usize {
        usize::from(self.headers.payload_offset) + self.payload_len().min(self.payload_len_max)
    }

    fn payload_len(&self) -> usize {
        self.headers.end as usize - usize::from(self.headers.payload_offset)
    }

    /// Writes the next piece's frame to the front of `buffer` and answers its length in bytes, or `None` when all have
    /// been written.
    ///
    /// # Errors
    /// When `buffer` is too short; nothing was written and the piece is still the next one.
    pub fn write_next(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, BufferTooShort> {
        let index = self.written_count;
        if index == self.count() {
            return Ok(None);
        }
        let headers_len = usize::from(self.headers.payload_offset);
        let start = index * self.payload_len_max;
        let len = (self.payload_len() - start).min(self.payload_len_max);
        let piece = buffer.get_mut(..headers_len + len).ok_or(BufferTooShort)?;
        piece[..headers_len].copy_from_slice(&self.frame[..headers_len]);
        let payload_at = headers_len + start;
        piece[headers_len..].copy_from_slice(&self.frame[payload_at..payload_at + len]);
        self.write_network(piece, index);
        self.write_transport(piece, index, start);
        self.written_count += 1;
        Ok(Some(headers_len + len))
    }

    fn write_network(&self, piece: &mut [u8], index: usize) {
        let at = usize::from(self.headers.network_offset);
        let datagram_len = piece.len() - at;
        match self.headers.network {
            Network::Ipv4 => {
                let identification = u16::from_be_bytes([piece[at + 4], piece[at + 5]]).wrapping_add(index as u16);
                let header_len = usize::from(piece[at] & 0xf) * 4;
                piece[at + 2..at + 4].copy_from_slice(&(datagram_len as u16).to_be_bytes());
                piece[at + 4..at + 6].copy_from_slice(&identification.to_be_bytes());
                checksum::complete_ipv4_checksum(piece, at, header_len);
            }
            Network::Ipv6 => {
                let payload_len = (datagram_len - super::ipv6::HEADER_LEN) as u16;
                piece[at + 4..at + 6].copy_from_slice(&payload_len.to_be_bytes());
            }
            // `new` took only TCP.
            Network::Arp => {}
        }
    }

    fn write_transport(&self, piece: &mut [u8], index: usize, start: usize) {
        let at = usize::from(self.headers.transport_offset);
        let seq = u32::from_be_bytes([piece[at + 4], piece[at + 5], piece[at + 6], piece[at + 7]]);
        piece[at + 4..at + 8].copy_from_slice(&seq.wrapping_add(start as u32).to_be_bytes());
        let mut flags = TcpFlags(piece[at + 13]);
        if index + 1 != self.count() {
            flags = flags.without(TcpFlags::FIN | TcpFlags::PSH);
        }
        if index != 0 {
            flags = flags.without(TcpFlags::CWR);
        }
        piece[at + 13] = flags.0;
        let headers = Headers { end: piece.len() as u32, ..self.headers };
        checksum::complete_transport_checksum(piece, &headers);
    }
}
