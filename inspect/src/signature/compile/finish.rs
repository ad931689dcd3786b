//! From a draft whose options are all read to a compiled rule: what only the whole can tell.

use std::sync::Arc;

use super::super::cause::Cause;
use super::super::definition::{
    AppMatch, BufferCondition, FlowTest, Scope, Signature, SignatureInfo, Transports, shared,
};
use super::super::program::{Op, PacketTest, link};
use super::super::selection::witness;
use super::super::syntax::Rule;
use super::super::witness::Witness;
use super::{Compiled, Draft, Ends, Place, buffers};
use crate::inspector::Direction;
use crate::limits::STEPS_PER_RULE_MAX;
use crate::protocol::Sides;

impl Draft<'_> {
    /// Which program runs on what: Suricata's rules of thumb.
    fn scope(&self) -> Scope {
        let mut scope = self.needs;
        scope.stream |= self.only_stream;
        scope.packet |= self.no_stream;
        if !self.transports.meets(Transports::TCP) {
            return Scope { packet: true, stream: false };
        }
        if !scope.packet && !scope.stream {
            let payload = &self.lists[0].ops;
            let is_placed = |op: &Op| matches!(op, Op::Content(content) if content.offset.or(content.depth).is_some());
            scope.stream = !payload.is_empty();
            // A pattern at a fixed place is meant for the start of a packet as much as for the start of the stream.
            scope.packet = !scope.stream
                || payload.iter().any(is_placed)
                || self.tests.iter().any(|test| matches!(test, PacketTest::StreamSize(_)));
        }
        scope
    }

    pub(super) fn finish(mut self, rule: &Rule, ends: Ends) -> Result<Compiled, Cause> {
        if self.lists.iter().map(|list| list.ops.len()).sum::<usize>() > STEPS_PER_RULE_MAX {
            return Err(Cause::Limit("steps"));
        }
        let sid = self.sid.ok_or(Cause::NoSid)?;
        let scope = self.scope();
        self.close_base64()?;
        let mut lists = std::mem::take(&mut self.lists);
        let payload = link(std::mem::take(&mut lists[0].ops))?;
        let mut header_parts = Vec::new();
        let mut buffers = Vec::new();
        for list in lists.drain(1..).filter(|list| !list.is_unused()) {
            match list.place {
                Place::Header(part) => header_parts.push((part, link(list.ops)?)),
                Place::Buffer(buffer) => {
                    let transforms = list.transforms.into_boxed_slice();
                    buffers.push(BufferCondition { buffer, transforms, steps: link(list.ops)?, absence: list.absence });
                }
                Place::Payload | Place::Base64 => {}
            }
        }
        let app = self.app(buffers)?;
        let asks_packet = !payload.is_empty() || !header_parts.is_empty() || !self.tests.is_empty();
        let is_about_protocol = self.names_protocol && !self.is_for_protocol && app.is_none() && !asks_packet;
        let priority = self.priority.or_else(|| self.classtype.as_deref().map(super::super::classification::priority));
        let asks_protocol = self.protocols != 0 || !self.protocol_moments.is_empty();
        let asks_flow = app.is_some() || asks_protocol || self.flow != FlowTest::default();
        let asks_ports = !ends.source_ports.is_any() || !ends.destination_ports.is_any();
        // Suricata's "IP-only" signatures, which it looks at once per flow and direction. What they ask of memory may come true
        // with any packet.
        let is_about_addresses = !asks_packet && !asks_flow && !asks_ports && !self.is_narrowed();
        let info = SignatureInfo {
            sid,
            gid: self.gid.unwrap_or(1),
            rev: self.rev.unwrap_or(0),
            msg: self.msg.unwrap_or_default(),
            classtype: self.classtype,
            priority: priority.unwrap_or(crate::limits::PRIORITY_DEFAULT),
            action: self.action,
            target: self.target,
            metadata: self.metadata,
            references: self.references,
            // Told by who knows the file.
            group: "".into(),
        };
        let signature = Signature {
            identity: 0,
            action: self.action,
            silent: self.silent,
            transports: self.transports,
            ip_version: self.ip_version,
            sources: 0,
            destinations: 0,
            source_ports: 0,
            destination_ports: 0,
            bidirectional: rule.bidirectional,
            flow: self.flow,
            tests: shared(self.tests),
            payload: shared(payload.into_vec()),
            header_parts: shared(header_parts),
            scope,
            protocols: self.protocols,
            protocol_moments: shared(self.protocol_moments),
            app: app.map(Arc::new),
            asks: shared(self.asks),
            effects: shared(self.effects),
            rate: self.rate,
            is_about_addresses,
            is_about_protocol,
            witness: Witness::NONE,
        };
        let signature = Signature { witness: witness(&signature), ..signature };
        Ok(Compiled { info: Arc::new(info), ends, signature, is_kept: false })
    }

    /// Whether it asks for a scope, or for something remembered.
    fn is_narrowed(&self) -> bool {
        self.needs != Scope::default() || !self.asks.is_empty()
    }

    /// Puts the program over decoded base64 into the step that decodes it.
    fn close_base64(&mut self) -> Result<(), Cause> {
        let inner = self.lists.iter_mut().filter(|list| list.place == Place::Base64);
        let inner: Vec<Op> = inner.flat_map(|list| std::mem::take(&mut list.ops)).collect();
        let mut steps = Some(link(inner)?);
        for op in self.lists.iter_mut().flat_map(|list| &mut list.ops) {
            if let Op::Base64(base64) = op
                && let Some(steps) = steps.take()
            {
                base64.steps = steps;
            }
        }
        Ok(())
    }

    /// What the rule asks of transactions, and of which side.
    fn app(&mut self, buffers: Vec<BufferCondition>) -> Result<Option<AppMatch>, Cause> {
        if buffers.is_empty() && self.numbers.is_empty() && self.events.is_empty() {
            return Ok(None);
        }
        let mut side = self.flow.direction;
        for condition in &buffers {
            let name = condition.buffer.name();
            let own = match condition.buffer.sides() {
                Sides::Client => Direction::ToServer,
                Sides::Server => Direction::ToClient,
                Sides::Both => continue,
            };
            if side.replace(own).is_some_and(|side| side != own) {
                return Err(Cause::context(name, "no packet holds this buffer and what the rule asks beside it"));
            }
        }
        for condition in &buffers {
            let mask = buffers::protocols_of(condition.buffer);
            if mask != 0 {
                self.restrict_protocols(condition.buffer.name(), mask)?;
            }
        }
        let numbers = std::mem::take(&mut self.numbers).into_boxed_slice();
        let events = std::mem::take(&mut self.events).into_boxed_slice();
        Ok(Some(AppMatch { side, buffers: buffers.into_boxed_slice(), numbers, events }))
    }
}
