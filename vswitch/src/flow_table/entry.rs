//! One flow as it lies in the table.

use inspect::stream::tcp_state::TcpPhase;

use super::TableKey;

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowState {
    /// Only the originator has sent; for TCP, the handshake is not complete.
    HalfOpen = 1,
    /// Both sides have sent.
    Open = 2,
    /// TCP: one side or both have said that they are done.
    Closing = 3,
    /// Inspection refused the flow: nothing of it passes any more.
    Refused = 4,
}

impl FlowState {
    /// How far a flow has come whose connection has come so far.
    pub fn reached_by(phase: TcpPhase) -> Self {
        match phase {
            TcpPhase::SynSent | TcpPhase::SynReceived => FlowState::HalfOpen,
            TcpPhase::Established => FlowState::Open,
            TcpPhase::Closing | TcpPhase::TimeWait | TcpPhase::Reset => FlowState::Closing,
        }
    }
}

pub(super) const FREE: u8 = 0;
pub(super) const HALF_OPEN: u8 = FlowState::HalfOpen as u8;
pub(super) const OPEN: u8 = FlowState::Open as u8;

/// One flow, one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    pub(super) addresses: [u64; 4],
    pub(super) ports: u64,
    pub(super) protocol: u8,
    pub(super) state: u8,
    pub(super) originator_is_low: u8,
    pub(super) displaced: u8,
    pub(super) generation: u32,
    pub(super) expires_ms: u32,
    pub(super) tcp: u32,
    pub(super) opened_ms: u32,
    pub(super) decider: u16,
    pub(super) spare: u16,
}

const _: () = assert!(size_of::<Entry>() == 64);

impl Entry {
    #[inline(always)]
    pub(super) fn holds(&self, key: &TableKey) -> bool {
        let differing = (self.addresses[0] ^ key.addresses[0])
            | (self.addresses[1] ^ key.addresses[1])
            | (self.addresses[2] ^ key.addresses[2])
            | (self.addresses[3] ^ key.addresses[3])
            | (self.ports ^ key.ports);
        differing == 0 && self.protocol == key.protocol && self.state != FREE
    }

    pub(super) fn key(&self) -> TableKey {
        TableKey { addresses: self.addresses, ports: self.ports, protocol: self.protocol }
    }

    pub(super) fn state(&self) -> Option<FlowState> {
        match self.state {
            1 => Some(FlowState::HalfOpen),
            2 => Some(FlowState::Open),
            3 => Some(FlowState::Closing),
            4 => Some(FlowState::Refused),
            _ => None,
        }
    }
}

/// A place that no flow is in.
pub(super) const FREE_ENTRY: Entry = Entry {
    addresses: [0; 4],
    ports: 0,
    protocol: 0,
    state: FREE,
    originator_is_low: 0,
    displaced: 0,
    generation: 0,
    expires_ms: 0,
    tcp: u32::MAX,
    opened_ms: 0,
    decider: 0,
    spare: 0,
};
