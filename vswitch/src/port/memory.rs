//! Ports in memory: what tests put in comes out as frames, and what the switch sends is kept.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{PortFault, QueueIo, Refusals};
use crate::drop_reason::DropReason;
use crate::frame::{Batch, ClaimedOffload, FRAME_LEN_MAX, FRAME_LEN_MIN, Offload};
use crate::inspection::Cleared;

/// A frame as it left the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// What was left to be done to it.
    pub offload: Offload,
}

#[derive(Debug, Default)]
struct Wires {
    inbound: VecDeque<(Vec<u8>, ClaimedOffload)>,
    sent: Vec<Sent>,
    room: Option<usize>,
    fault: Option<PortFault>,
}

/// The peer's end of a port in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryPeer(Arc<Mutex<Wires>>);

impl MemoryPeer {
    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The switch's end.
    pub fn queue(&self) -> MemoryQueue {
        MemoryQueue(self.clone())
    }

    /// Offers a frame to the switch.
    pub fn send(&self, frame: &[u8]) {
        self.send_with(frame, ClaimedOffload::default());
    }

    /// Offers a frame with a virtio-net header's claims.
    pub fn send_with(&self, frame: &[u8], claimed: ClaimedOffload) {
        self.wires().inbound.push_back((frame.to_vec(), claimed));
    }

    /// Takes what the switch has sent.
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.wires().sent)
    }

    /// Receives at most `room` more frames; `None` for any number.
    pub fn set_room(&self, room: Option<usize>) {
        self.wires().room = room;
    }

    /// Makes the next use of the queue a fault.
    pub fn set_fault(&self, fault: PortFault) {
        self.wires().fault = Some(fault);
    }
}

/// The switch's end of a port in memory.
#[derive(Debug)]
pub struct MemoryQueue(MemoryPeer);

impl QueueIo for MemoryQueue {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortFault> {
        let mut wires = self.0.wires();
        if let Some(fault) = wires.fault {
            return Err(fault);
        }
        while batch.room() > 0 {
            let Some((frame, claimed)) = wires.inbound.pop_front() else {
                break;
            };
            if frame.len() < FRAME_LEN_MIN {
                batch.reject(DropReason::Runt, frame.len() as u32);
            } else if frame.len() > FRAME_LEN_MAX {
                batch.reject(DropReason::Oversize, frame.len() as u32);
            } else if !batch.push_frame(&frame, claimed) {
                wires.inbound.push_front((frame, claimed));
                break;
            }
        }
        Ok(())
    }

    fn transmit(&mut self, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault> {
        let mut wires = self.0.wires();
        if let Some(fault) = wires.fault {
            return Err(fault);
        }
        for (index, cleared) in frames.iter().enumerate() {
            match &mut wires.room {
                Some(0) => {
                    refused.push((index as u8, DropReason::ReceiveBuffers));
                    continue;
                }
                Some(room) => *room -= 1,
                None => {}
            }
            wires.sent.push(Sent { frame: cleared.frame().to_vec(), offload: cleared.offload() });
        }
        Ok(())
    }

    fn wake_fd(&self) -> Option<RawFd> {
        None
    }

    fn arm(&mut self) -> Result<bool, PortFault> {
        Ok(!self.0.wires().inbound.is_empty())
    }

    fn disarm(&mut self) {}
}
