//! One incomplete datagram: which fragments of it are held, and what they become once it is whole.

use std::net::IpAddr;

use super::{FragmentRefused, Whole};
use crate::limits::FRAGMENTS_PER_DATAGRAM_MAX;
use crate::wire::ipv6::FRAGMENT_HEADER_LEN;
use crate::wire::{Fragment, Headers, Network, Packet, checksum, protocol};

/// What a held fragment costs beside its bytes: its entry and the allocator's.
const PIECE_OVERHEAD: usize = 64;

/// The longest datagram, headers included as each family counts them.
const DATAGRAM_LEN_MAX: usize = 65_535;

/// What the fragments of one datagram share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    macs: [u8; 12],
    network: Network,
    protocol: u8,
    addresses: [IpAddr; 2],
    identification: u32,
}

#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) name: Name,
    pub(super) since_ms: u64,
    /// By offset, not overlapping.
    pub(super) pieces: Vec<Piece>,
    /// Length of the whole payload, known once the last fragment has come.
    len: Option<usize>,
    pub(super) is_doomed: bool,
    pub(super) byte_count: usize,
}

#[derive(Debug)]
pub(super) struct Piece {
    frame: Vec<u8>,
    headers: Headers,
    offset: usize,
    more: bool,
}

impl Piece {
    pub(super) fn new(packet: &Packet<'_>, fragment: &Fragment) -> Self {
        Self {
            frame: packet.without_padding().to_vec(),
            headers: *packet.headers(),
            offset: fragment.offset.into(),
            more: fragment.more,
        }
    }

    /// What holding it costs, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.frame.len() + PIECE_OVERHEAD
    }

    fn payload(&self) -> &[u8] {
        &self.frame[usize::from(self.headers.payload_offset)..]
    }

    fn end(&self) -> usize {
        self.offset + self.payload().len()
    }

    fn repeats(&self, other: &Piece) -> bool {
        self.offset == other.offset && self.more == other.more && self.payload() == other.payload()
    }
}

impl Name {
    pub(super) fn of(packet: &Packet<'_>, fragment: &Fragment) -> Self {
        let mut macs = [0; 12];
        macs.copy_from_slice(&packet.frame()[..12]);
        Self {
            macs,
            network: packet.headers().network,
            protocol: packet.headers().protocol,
            addresses: [packet.source(), packet.destination()],
            identification: fragment.identification,
        }
    }
}

impl Datagram {
    pub(super) fn new(name: Name, since_ms: u64) -> Self {
        Self { name, since_ms, pieces: Vec::new(), len: None, is_doomed: false, byte_count: 0 }
    }

    /// Takes a piece in and answers whether the datagram is whole.
    pub(super) fn add(&mut self, piece: Piece) -> Result<bool, FragmentRefused> {
        if self.is_doomed {
            return Err(FragmentRefused::Doomed);
        }
        let at = self.pieces.partition_point(|held| held.offset < piece.offset);
        if self.pieces.get(at).is_some_and(|held| held.repeats(&piece)) {
            return Err(FragmentRefused::Duplicate);
        }
        if let Err(why) = self.check(at, &piece) {
            self.is_doomed = true;
            self.pieces = Vec::new();
            self.byte_count = 0;
            return Err(why);
        }
        if !piece.more {
            self.len = Some(piece.end());
        }
        self.byte_count += piece.cost();
        self.pieces.insert(at, piece);
        let held_len: usize = self.pieces.iter().map(|piece| piece.payload().len()).sum();
        Ok(self.len == Some(held_len))
    }

    /// Checks a piece that would be number `at` by offset against all others.
    fn check(&self, at: usize, piece: &Piece) -> Result<(), FragmentRefused> {
        let overlaps_previous = at > 0 && self.pieces[at - 1].end() > piece.offset;
        let overlaps_next = self.pieces.get(at).is_some_and(|next| next.offset < piece.end());
        if overlaps_previous || overlaps_next {
            return Err(FragmentRefused::Overlap);
        }
        let end = self.pieces.last().map_or(0, Piece::end);
        let is_beyond_end = self.len.is_some_and(|len| piece.end() > len);
        if is_beyond_end || (!piece.more && (self.len.is_some() || end > piece.offset)) {
            return Err(FragmentRefused::EndMoved);
        }
        if self.pieces.len() == FRAGMENTS_PER_DATAGRAM_MAX {
            return Err(FragmentRefused::TooMany);
        }
        Ok(())
    }

    /// Puts the whole together, or answers how many pieces it had if that makes too long a datagram.
    pub(super) fn join(self) -> Result<Whole, usize> {
        let payload_len = self.len.unwrap_or_default();
        let first = &self.pieces[0];
        let payload_offset = usize::from(first.headers.payload_offset);
        let mut frame = Vec::with_capacity(payload_offset + payload_len);
        frame.extend_from_slice(&first.frame[..payload_offset]);
        let network_offset = usize::from(first.headers.network_offset);
        match self.name.network {
            Network::Ipv4 => {
                let header_len = payload_offset - network_offset;
                unfragment_ipv4(&mut frame, network_offset, header_len, payload_len).ok_or(self.pieces.len())?;
            }
            Network::Ipv6 => {
                unfragment_ipv6(&mut frame, network_offset, payload_len).ok_or(self.pieces.len())?;
            }
            // The parser finds no fragments in ARP.
            Network::Arp => return Err(self.pieces.len()),
        }
        for piece in &self.pieces {
            frame.extend_from_slice(piece.payload());
        }
        Ok(Whole { frame, fragments: self.pieces.into_iter().map(|piece| piece.frame).collect() })
    }
}

/// Clears the fragment fields of the IPv4 header that ends `frame`; `None` if the datagram would be too long.
fn unfragment_ipv4(frame: &mut [u8], network_offset: usize, header_len: usize, payload_len: usize) -> Option<()> {
    let total_len = u16::try_from(header_len + payload_len).ok()?;
    frame[network_offset + 2..network_offset + 4].copy_from_slice(&total_len.to_be_bytes());
    frame[network_offset + 6..network_offset + 8].fill(0);
    checksum::complete_ipv4_checksum(frame, network_offset, header_len);
    Some(())
}

/// Takes the fragment header off the chain that ends `frame`; `None` if the datagram would be too long. The chain was
/// walked by the parser, so the fragment header is there; it is the last.
fn unfragment_ipv6(frame: &mut Vec<u8>, network_offset: usize, payload_len: usize) -> Option<()> {
    let fragment_at = frame.len() - FRAGMENT_HEADER_LEN;
    let next = frame[fragment_at];
    let (mut number_at, mut header_at) = (network_offset + 6, network_offset + 40);
    while frame[number_at] != protocol::FRAGMENT && header_at < fragment_at {
        number_at = header_at;
        header_at += (usize::from(frame[header_at + 1]) + 1) * 8;
    }
    frame[number_at] = next;
    frame.truncate(fragment_at);
    let len = frame.len() - network_offset - 40 + payload_len;
    if len > DATAGRAM_LEN_MAX {
        return None;
    }
    frame[network_offset + 4..network_offset + 6].copy_from_slice(&(len as u16).to_be_bytes());
    Some(())
}
