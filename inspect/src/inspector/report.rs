//! What the caller's log is told beside alerts: see [`crate::record`].

use super::flow::Flow;
use super::observer::Observed;
use super::{FlowSlot, Inspector};
use crate::alert::Alert;
use crate::limits::NOTES_MAX;
use crate::record::{Context, FlowSummary, Note};
use crate::wire::{Packet, Transport};

impl Inspector {
    /// Whether anything is waiting to be taken by [`Inspector::take_notes`].
    #[inline]
    pub fn has_notes(&self) -> bool {
        !self.told.is_empty()
    }

    /// What the last packet, or the last end of a flow, has brought to an end, at most
    /// [`crate::limits::NOTES_MAX`] notes. To be taken before the next packet is looked at: nothing says whose they are.
    pub fn take_notes(&mut self) -> std::vec::Drain<'_, Note> {
        self.told.drain(..)
    }

    /// What is known about an alert of the last packet, by its place among them: `None` when that is not wanted, or its
    /// flow is not followed.
    pub fn take_context(&mut self, alert: usize) -> Option<Context> {
        let context = self.contexts.get_mut(alert)?;
        Some(Context { transaction: context.transaction.take(), flow: context.flow })
    }

    /// Notes so far for which there was no room.
    pub fn lost_notes(&self) -> u64 {
        self.lost_notes
    }

    /// What is known of a flow that is followed.
    pub fn summary_of(&self, slot: FlowSlot) -> Option<FlowSummary> {
        self.flows.peek(slot).map(Flow::summary)
    }

    /// Whether the packet is of a flow whose transactions can be noted.
    #[inline]
    pub(super) fn is_noted(&self, packet: &Packet<'_>) -> bool {
        matches!(packet.headers().transport, Transport::Tcp | Transport::Udp)
    }

    /// The memory for what is noted of a new flow.
    pub(super) fn observer(&self) -> Option<Box<Observed>> {
        let wanted = self.records;
        wanted.is_anything().then(|| Box::new(Observed::new(wanted)))
    }

    /// Says what is known about the alerts of a packet, and what the packet has brought to its end.
    pub(super) fn explain(&mut self, alerts: &[Alert], flow: Option<&mut Flow>) {
        self.contexts.clear();
        let Some(flow) = flow else { return };
        if self.records.context {
            let summary = flow.summary();
            for alert in alerts {
                let observed = flow.observed.as_deref();
                let transaction = observed.and_then(|observed| observed.of_alert(alert.transaction));
                let transaction = transaction.map(|known| Box::new(known.clone()));
                self.contexts.push(Context { flow: summary, transaction });
            }
        }
        if flow.observed.as_deref().is_some_and(Observed::has_news) {
            self.tell(flow);
        }
    }

    /// Tells what was still to be told of a flow that is given up.
    pub(super) fn tell_rest(&mut self, flow: &mut Flow) {
        if let Some(observed) = &mut flow.observed {
            observed.end();
            self.tell(flow);
            flow.observed = None;
        }
    }

    fn tell(&mut self, flow: &mut Flow) {
        let protocol = flow.conversation.protocol();
        if let Some(observed) = &mut flow.observed {
            self.lost_notes += observed.tell(protocol, &mut self.told);
            debug_assert!(self.told.len() <= NOTES_MAX);
        }
    }
}
