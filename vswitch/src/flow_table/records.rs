//! What is told of flows: those that are in the table, and those that end.

use inspect::stream::tcp_state::TcpPhase;

use super::entry::FlowState;
use super::{FlowId, FlowTable, TableKey};

/// One line of `vswitch show flows`.
#[derive(Clone, Copy, Debug)]
pub struct FlowRecord {
    /// Its key.
    pub key: TableKey,
    /// How far it has come.
    pub state: FlowState,
    /// Whether the low end of its key opened it.
    pub originator_is_low: bool,
    /// Milliseconds since it was opened.
    pub age_ms: u32,
    /// Milliseconds until it ends without further traffic.
    pub remaining_ms: u32,
    /// What of the policy decided, as an index into the deciders of the generation below.
    pub decider: u16,
    /// Generation that last decided about it.
    pub generation: u32,
}

/// A flow that has just left the table. Times are the low 32 bits of the worker's clock in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct EndedFlow {
    /// Where it was.
    pub id: FlowId,
    /// Its key.
    pub key: TableKey,
    /// How far it had come.
    pub state: FlowState,
    /// Whether the low end of its key opened it.
    pub originator_is_low: bool,
    /// When it was opened.
    pub opened_ms: u32,
    /// When it would have ended for its silence.
    pub expires_ms: u32,
    /// What of the policy decided.
    pub decider: u16,
    /// Generation that last decided about it.
    pub generation: u32,
    /// How far its connection had come, if it was one.
    pub tcp: Option<TcpPhase>,
}

impl EndedFlow {
    /// Whether its time was over.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        (self.expires_ms.wrapping_sub(now_ms as u32) as i32) <= 0
    }
}

impl FlowTable {
    /// Up to `max` flows, from a place on; with the place to go on from, if there is more.
    pub fn records(&self, from: usize, max: usize, now_ms: u64) -> (Vec<FlowRecord>, Option<usize>) {
        let mut records = Vec::new();
        for place in from..self.entries.len() {
            let entry = &self.entries[place];
            let Some(state) = entry.state() else { continue };
            if records.len() == max {
                return (records, Some(place));
            }
            records.push(FlowRecord {
                key: entry.key(),
                state,
                originator_is_low: entry.originator_is_low != 0,
                age_ms: (now_ms as u32).wrapping_sub(entry.opened_ms),
                remaining_ms: (entry.expires_ms.wrapping_sub(now_ms as u32) as i32).max(0) as u32,
                decider: entry.decider,
                generation: entry.generation,
            });
        }
        (records, None)
    }
}
