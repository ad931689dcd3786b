//! The flows of a capture: who spoke first, how far its connection has come, and the slot of its inspection.

use std::collections::HashMap;

use inspect::flow_key::{FlowKey, Way};
use inspect::inspector::{Direction, FlowSlot};
use inspect::stream::TcpState;
use inspect::wire::Packet;

use crate::flow_table::FlowState;

/// Flows kept at once; at the limit all silent ones are ended, and if that does not help, all.
pub const FLOWS_MAX: usize = 500_000;

/// One flow.
#[derive(Debug)]
pub struct Flow {
    /// The place of its inspection state.
    pub slot: FlowSlot,
    /// The way that goes to the server.
    pub to_server: Way,
    /// Its connection, if it is TCP and its handshake was seen or it was picked up midstream.
    pub tcp: Option<TcpState>,
    /// Whether both sides have sent.
    pub has_answer: bool,
    /// When its last packet came, in milliseconds.
    pub last_ms: u64,
    /// What has passed in it.
    pub counts: Counts,
}

/// What has passed in a flow; by direction, `Direction as usize`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Packets.
    pub packets: [u32; 2],
    /// Their bytes, headers included.
    pub bytes: [u64; 2],
    /// All flags that TCP segments had.
    pub tcp_flags: [u8; 2],
    /// When the first was captured, in nanoseconds since 1970.
    pub began_ns: u64,
    /// When the last was captured, likewise.
    pub last_ns: u64,
    /// Type and code of the first, if it was ICMP.
    pub icmp: Option<(u8, u8)>,
    /// Whether there was an alert.
    pub has_alert: bool,
}

impl Counts {
    /// Counts a packet.
    pub fn count(&mut self, direction: Direction, packet: &Packet<'_>, at_ns: u64) {
        if self.packets == [0, 0] {
            self.began_ns = at_ns;
            self.icmp = packet.icmp().map(|message| (message.kind, message.code));
        }
        let side = direction as usize;
        self.packets[side] = self.packets[side].saturating_add(1);
        self.bytes[side] += packet.frame().len() as u64;
        if let Some(tcp) = packet.tcp() {
            self.tcp_flags[side] |= tcp.flags.0;
        }
        self.last_ns = at_ns;
    }
}

impl Flow {
    /// The direction of a packet that goes `way`.
    pub fn direction(&self, way: Way) -> Direction {
        if way == self.to_server { Direction::ToServer } else { Direction::ToClient }
    }

    /// How far it has come.
    pub fn state(&self, protocol: u8) -> FlowState {
        match &self.tcp {
            Some(tcp) => FlowState::reached_by(tcp.phase()),
            None if self.is_established(protocol) => FlowState::Open,
            None => FlowState::HalfOpen,
        }
    }

    /// Whether the conversation counts as established.
    pub fn is_established(&self, protocol: u8) -> bool {
        match &self.tcp {
            Some(tcp) => tcp.is_established(),
            None => protocol != TCP && self.has_answer,
        }
    }

    /// How long it may be silent before it is over, in milliseconds. Those of Suricata's sample configuration, so that
    /// flows of captures end alike.
    fn timeout_ms(&self, protocol: u8) -> u64 {
        match (protocol == TCP, self.is_established(protocol)) {
            (true, true) => 600_000,
            (true, false) => 60_000,
            (false, true) => 300_000,
            (false, false) => 30_000,
        }
    }
}

const TCP: u8 = 6;

/// The flows of a capture.
#[derive(Debug, Default)]
pub struct Flows {
    flows: HashMap<FlowKey, Flow>,
    free: Vec<u32>,
    next: u32,
}

impl Flows {
    /// The flow of a packet, if it is known and has not been silent for too long. One that has is taken out, to be ended.
    pub fn find(&mut self, key: &FlowKey, now_ms: u64) -> Found<'_> {
        let is_silent = match self.flows.get(key) {
            None => return Found::None,
            Some(flow) => now_ms.saturating_sub(flow.last_ms) > flow.timeout_ms(key.protocol),
        };
        if is_silent {
            return match self.remove(key) {
                Some(flow) => Found::Silent(flow),
                None => Found::None,
            };
        }
        match self.flows.get_mut(key) {
            Some(flow) => Found::Flow(flow),
            None => Found::None,
        }
    }

    /// Opens a flow.
    pub fn open(&mut self, key: FlowKey, to_server: Way, tcp: Option<TcpState>, now_ms: u64) -> &mut Flow {
        let slot = FlowSlot(self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        }));
        let flow = Flow { slot, to_server, tcp, has_answer: false, last_ms: now_ms, counts: Counts::default() };
        self.flows.entry(key).insert_entry(flow).into_mut()
    }

    /// A flow that is known, however long it was silent.
    pub fn known(&mut self, key: &FlowKey) -> Option<&mut Flow> {
        self.flows.get_mut(key)
    }

    /// Takes a flow out and frees its slot: end its inspection before the next is opened.
    pub fn remove(&mut self, key: &FlowKey) -> Option<Flow> {
        let flow = self.flows.remove(key)?;
        self.free.push(flow.slot.0);
        Some(flow)
    }

    /// Takes out all flows that are silent; all at all, if there are too many still.
    pub fn sweep(&mut self, now_ms: u64) -> Vec<(FlowKey, Flow)> {
        let silent: Vec<FlowKey> = self
            .flows
            .iter()
            .filter(|(key, flow)| now_ms.saturating_sub(flow.last_ms) > flow.timeout_ms(key.protocol))
            .map(|(key, _)| *key)
            .collect();
        if self.flows.len() - silent.len() >= FLOWS_MAX {
            return self.drain();
        }
        silent.into_iter().filter_map(|key| self.remove(&key).map(|flow| (key, flow))).collect()
    }

    /// Takes out all flows, in the order in which they fell silent.
    pub fn drain(&mut self) -> Vec<(FlowKey, Flow)> {
        let mut all: Vec<_> = self.flows.drain().collect();
        all.sort_by_key(|(_, flow)| (flow.last_ms, flow.slot.0));
        self.free.extend(all.iter().map(|(_, flow)| flow.slot.0));
        all
    }

    /// Flows at the moment.
    pub fn len(&self) -> usize {
        self.flows.len()
    }
}

/// What [`Flows::find`] found.
#[derive(Debug)]
pub enum Found<'a> {
    /// No such flow.
    None,
    /// The flow.
    Flow(&'a mut Flow),
    /// The flow was silent for too long and is over.
    Silent(Flow),
}
