//! The packet's bytes on their way into the flow: into its stream, and what becomes readable into its protocol's
//! parser.

use crate::inspector::budget::allow_parsers_waited;
use crate::inspector::collector::Collector;
use crate::inspector::flow::{Flow, Window, index};
use crate::inspector::{Decision, ExceptionPolicy, Inspector, Look, Mode};
use crate::protocol::Status;
use crate::signature::{Transports, Work};
use crate::stream::{Progress, Stream, StreamMemory};
use crate::verdict::Refused;
use crate::wire::{TcpFlags, TcpView};

impl Inspector {
    /// Takes the packet's bytes into the flow's stream and protocol.
    pub(super) fn follow(&mut self, look: &Look<'_>, flow: &mut Flow, work: &mut Work) -> Result<(), Decision> {
        let is_bounded = look.is_work_bounded();
        let direction = look.view.direction;
        let status = if look.facts.transport == Transports::UDP {
            let Flow { conversation, transactions, observed, announced, .. } = flow;
            let observed = observed.as_deref_mut();
            let hosts = look.hosts(&self.announcements, announced.as_deref());
            conversation.datagram(
                direction,
                look.facts.payload,
                &mut Collector {
                    rules: look.rules,
                    transactions,
                    pool: &mut self.pool,
                    observed,
                    files: &mut self.files,
                    is_for_files: look.is_for_files,
                    work,
                    is_bounded,
                    hosts,
                },
            )
        } else if let Some(tcp) = look.facts.packet.tcp() {
            flow.windows[index(direction)].turn();
            self.follow_segment(look, &tcp, flow, work)?
        } else {
            return Ok(());
        };
        match status {
            Status::Broken(_) => {
                let policy = look.profile.settings().protocol_exception;
                let decision = self.exception(policy, Refused::Protocol, look);
                if decision.stops() { Err(decision) } else { Ok(()) }
            }
            Status::Recognising | Status::Speaking(_) | Status::Opaque(_) | Status::Unrecognised => Ok(()),
        }
    }

    /// Takes a TCP segment into its stream; what becomes readable by it goes into the window and to the parser.
    fn follow_segment(
        &mut self,
        look: &Look<'_>,
        tcp: &TcpView<'_>,
        flow: &mut Flow,
        work: &mut Work,
    ) -> Result<Status, Decision> {
        let is_bounded = look.is_work_bounded();
        let direction = look.view.direction;
        let (own, other) = (index(direction), index(direction.reversed()));
        let is_syn = tcp.flags.contains(TcpFlags::SYN);
        let first_seq = if is_syn { tcp.seq.wrapping_add(1) } else { tcp.seq };
        let reads_streams = look.rules.selection.reads_streams && !look.is_for_files && !flow.is_sealed();
        let Flow { streams, windows, conversation, transactions, observed, announced, waited, .. } = flow;
        let hosts = look.hosts(&self.announcements, announced.as_deref());
        if streams[own].is_none() && (is_syn || look.profile.settings().midstream) {
            streams[own] = Some(Stream::new(domain(look.facts.source), first_seq));
        }
        if tcp.flags.contains(TcpFlags::ACK)
            && let Some(acknowledged) = &mut streams[other]
        {
            acknowledged.acknowledge(tcp.ack, &mut self.streams);
        }
        let Some(stream) = &mut streams[own] else { return Ok(conversation.status()) };
        let window = &mut windows[own];
        if reads_streams && window.bytes.capacity() == 0 && !look.facts.payload.is_empty() {
            window.bytes = self.pool.bytes();
        }
        let settings = &look.profile.settings().protocol;
        let has_files = self.files.is_on();
        let mut sink = Collector {
            rules: look.rules,
            transactions,
            pool: &mut self.pool,
            observed: observed.as_deref_mut(),
            files: &mut self.files,
            is_for_files: look.is_for_files,
            work,
            is_bounded,
            hosts,
        };
        if look.profile.settings().mode == Mode::Detect {
            let reader = reads_streams.then_some(&mut *window);
            pass_over(stream, first_seq, &mut self.streams, reader, |missing, bytes| match missing {
                0 => _ = conversation.stream(direction, bytes, settings, &mut sink),
                length => _ = conversation.gap(direction, length, settings, &mut sink),
            });
        }
        let mut own_left = look.facts.payload.len();
        let consume = |_, bytes: &[u8]| {
            let more = bytes.len() - bytes.len().min(own_left);
            own_left -= bytes.len() - more;
            if more > 0 {
                allow_parsers_waited(more, *waited, sink.work);
                *waited += more;
            }
            if reads_streams {
                window.append(bytes);
            }
            conversation.stream(direction, bytes, settings, &mut sink);
            if has_files {
                conversation.pause(direction, &mut sink);
            }
        };
        let has_fin = tcp.flags.contains(TcpFlags::FIN);
        // A bare acknowledgement brings nothing; behind a FIN it stands one past the stream's end.
        let progress = match (look.facts.payload, has_fin) {
            ([], false) => Ok(Progress::Queued),
            (payload, _) => stream.on_segment(first_seq, payload, has_fin, &mut self.streams, consume),
        };
        let mut lost = None;
        match progress {
            Ok(Progress::Delivered(_)) if stream.is_finished() => {
                conversation.closed(direction, settings, &mut sink);
            }
            Ok(Progress::Delivered(_) | Progress::Queued) => {}
            Err(why) => lost = Some(why),
        }
        if tcp.flags.contains(TcpFlags::RST) {
            for side in [direction, direction.reversed()] {
                conversation.closed(side, settings, &mut sink);
            }
        }
        let status = conversation.status();
        match lost {
            Some(why) => self.lose_segment(look, why.is_fatal()).map(|()| status),
            None => Ok(status),
        }
    }

    /// What becomes of a segment that its stream did not take: for good, or for want of memory.
    fn lose_segment(&mut self, look: &Look<'_>, for_good: bool) -> Result<(), Decision> {
        let settings = look.profile.settings();
        let decision = if for_good {
            self.exception(settings.stream_exception, Refused::Overlap, look)
        } else {
            // The sender will repeat the segment, when there may be room.
            let policy = match settings.memory_exception {
                ExceptionPolicy::Auto => ExceptionPolicy::DropPacket,
                chosen => chosen,
            };
            self.exception(policy, Refused::Memory, look)
        };
        if decision.stops() { Err(decision) } else { Ok(()) }
    }
}

/// Passes over what a receiver has read and a capture lacks, and gives what waited behind it: for each hole its length and
/// nothing, then no length and what lies there. Nobody forwards what was not seen, so nobody could have stopped it.
fn pass_over(
    stream: &mut Stream,
    first_seq: u32,
    memory: &mut StreamMemory,
    mut window: Option<&mut Window>,
    mut give: impl FnMut(u64, &[u8]),
) {
    loop {
        let length = stream.hole(first_seq);
        if length == 0 {
            return;
        }
        give(length, &[]);
        if let Some(window) = &mut window {
            window.skip(length);
        }
        let passed = stream.skip(length, memory, |_, bytes| {
            if let Some(window) = &mut window {
                window.append(bytes);
            }
            give(0, bytes);
        });
        if passed.is_err() {
            return;
        }
    }
}

/// Who pays for the memory of a stream: its sender, by address. Where addresses are bound to ports, one port's streams
/// cannot take the room of another's.
fn domain(sender: u128) -> u32 {
    let folded = sender ^ (sender >> 64);
    (folded ^ (folded >> 32)) as u32
}
