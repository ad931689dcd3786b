//! What stages 1 and 2 said of the frame before.
//!
//! Frames of one burst come from one port and often go from one guest to one other. What port security and egress look-up
//! say of an IPv4 packet depends, within a burst (one port, one generation, one moment), on the link addresses, the source
//! address, and on whether it is a DHCP server's message; so a packet that is equal in these gets the same answer without
//! being asked about again. Only answers that let a packet go to one port are remembered.

use inspect::wire::Network;

use super::DHCP_SERVER_PORT;
use crate::frame::PortId;
use crate::inspection::Candidate;

/// The last packet of the burst that was let, and where it goes.
#[derive(Debug)]
pub(super) struct LinkMemo {
    /// Both link addresses, overlapping in four bytes.
    link: [u64; 2],
    /// The source address; 0 while nothing is remembered.
    source: u32,
    egress: PortId,
}

impl Default for LinkMemo {
    fn default() -> Self {
        Self { link: [0; 2], source: 0, egress: PortId(0) }
    }
}

/// What the answers depend on, of an IPv4 packet that is no fragment; a source of 0 stands for all others.
#[inline(always)]
fn parts(candidate: &Candidate<'_>) -> ([u64; 2], u32) {
    let (frame, headers) = (candidate.frame, candidate.headers);
    let Some(head) = frame.first_chunk::<34>() else { return ([0; 2], 0) };
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&head[at..at + 8]);
        u64::from_ne_bytes(bytes)
    };
    let source = if headers.network == Network::Ipv4 && headers.fragment.is_none() {
        u32::from_be_bytes([head[26], head[27], head[28], head[29]])
    } else {
        0
    };
    ([word(0), word(4)], source)
}

impl LinkMemo {
    /// Where the packet goes, if it is like the one that is remembered.
    #[inline(always)]
    pub(super) fn recall(&self, candidate: &Candidate<'_>) -> Option<PortId> {
        let (link, source) = parts(candidate);
        let is_same = source == self.source && link == self.link && source != 0;
        (is_same && !is_from_dhcp_server(candidate)).then_some(self.egress)
    }

    /// Remembers that the packet was let and goes to `egress`. A packet without a source address is let for what else it
    /// says, so it is not remembered.
    pub(super) fn note(&mut self, candidate: &Candidate<'_>, egress: PortId) {
        (self.link, self.source) = parts(candidate);
        self.egress = egress;
    }
}

#[inline(always)]
fn is_from_dhcp_server(candidate: &Candidate<'_>) -> bool {
    let at = usize::from(candidate.headers.transport_offset);
    let port = candidate.frame.get(at..).and_then(|segment| segment.first_chunk::<2>());
    port.is_some_and(|port| u16::from_be_bytes(*port) == DHCP_SERVER_PORT)
}
