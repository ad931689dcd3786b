//! The usual case of sending to a guest: complete frames, each into the one piece of memory that is offered next.

use arrayvec::ArrayVec;

use super::{Outgoing, PREFETCH_LINES, ToGuest};
use crate::frame::{BURST_MAX, OffloadWord};
use crate::memory::access::{self, Unaligned};
use crate::port::PortFault;
use crate::port::vhost::features::Features;
use crate::port::vhost::net_header::{self, NetHeader};
use crate::port::vhost::ring::Descriptor;

impl ToGuest {
    /// Sends the first frames, each of which is complete and fits the next buffer, which is in one piece: the usual
    /// case, for less. No buffers are posted. Answers how many frames they were.
    #[inline(always)]
    pub(super) fn transmit_plain<'a>(
        &mut self,
        count: usize,
        frame: &impl Fn(usize) -> Outgoing<'a>,
    ) -> Result<usize, PortFault> {
        let mut known = usize::from(self.ring.known());
        if known < count {
            known = usize::from(self.ring.offered()?);
        }
        self.ring.prefetch(count.min(known));
        let mut staged = ArrayVec::<(*mut u8, u16), BURST_MAX>::new();
        let (glance, header_len) = (self.ring.glance(), self.header_len);
        let mut unusual = None;
        for index in 0..count.min(known).min(BURST_MAX) {
            let (head, descriptor) = glance.peek(index as u16)?;
            let outgoing = frame(index);
            let need = header_len + outgoing.frame.len();
            let mut at = std::ptr::null_mut();
            if is_plain(&descriptor) && descriptor.len as usize >= need && outgoing.offload == OffloadWord::NONE {
                at = glance.locate(descriptor.addr, descriptor.len);
            }
            if at.is_null() {
                unusual = Some((head, descriptor));
                break;
            }
            access::prefetch_receive_buffer(at, header_len, outgoing.frame.len(), PREFETCH_LINES);
            staged.push((at, head));
        }
        if let Some((head, descriptor)) = unusual {
            self.keep(head, descriptor)?;
        }
        let glance = self.ring.glance();
        let has_flags = self.features.has(Features::GUEST_CSUM);
        for (index, (at, head)) in staged.iter().enumerate() {
            let outgoing = frame(index);
            let flags = if has_flags { net_header::complete_flags(outgoing.headers, self.features) } else { 0 };
            let header = NetHeader::complete(flags).with_buffers(1);
            // SAFETY: the buffer was located with as many bytes as the header and the frame have.
            unsafe {
                write_header(header_len, *at, header);
                access::copy_out(outgoing.frame, at.add(header_len));
            }
            glance.complete(index as u16, *head, (header_len + outgoing.frame.len()) as u32);
        }
        if let Some((_, head)) = staged.last() {
            self.ring.note_head(staged.len() as u16 - 1, *head);
        }
        self.ring.take_completed(staged.len() as u16);
        self.ring.take(unusual.is_some().into());
        // By the next burst they are there.
        self.ring.prefetch(usize::from(self.ring.known()).min(BURST_MAX));
        Ok(staged.len())
    }
}

/// Whether a descriptor is a receive buffer of its own.
#[inline(always)]
pub(super) fn is_plain(descriptor: &Descriptor) -> bool {
    descriptor.flags & (Descriptor::NEXT | Descriptor::WRITE | Descriptor::INDIRECT) == Descriptor::WRITE
}

/// Writes the header at the start of a buffer. Where the right header stands already (buffers are used again and again)
/// the guest's cache line is left alone. What is read here decides nothing but that.
///
/// # Safety
/// At `at` are `header_len` bytes of located guest memory.
#[inline(always)]
pub(super) unsafe fn write_header(header_len: usize, at: *mut u8, header: NetHeader) {
    if header_len != net_header::HEADER_LEN_MAX {
        let bytes = header.bytes();
        // SAFETY: by contract.
        return unsafe { access::copy_out(&bytes[..header_len], at) };
    }
    let (low, high) = (at.cast::<Unaligned<u64>>(), at.wrapping_add(8).cast::<Unaligned<u32>>());
    // SAFETY: by contract, all 12 bytes of the header; `Unaligned` needs no alignment.
    unsafe {
        if access::load(low).0 != header.low {
            access::store(low, Unaligned(header.low));
        }
        if access::load(high).0 != header.high {
            access::store(high, Unaligned(header.high));
        }
    }
}
