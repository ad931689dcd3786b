//! An uplink over a TAP interface: what the switch sends on it, the host's network receives, and the other way round.
//!
//! The interface keeps the virtio-net header, so that segments and partial checksums cross whole; its fields are built from
//! [`crate::frame::Offload`] on the way out and read as claims on the way in, as with guests. The kernel completes what the
//! next hop cannot take.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::drop_reason::DropReason;
use crate::frame::{Batch, FRAME_LEN_MAX, FRAME_LEN_MIN};
use crate::inspection::Cleared;
use crate::port::vhost::Features;
use crate::port::vhost::net_header::{self, HEADER_LEN_MAX, Handing};
use crate::port::{PortFault, QueueIo, Refusals};

/// Reads that a polling worker skips after one that found nothing: each read is a system call, and guests' rings are asked
/// far more often. At a polling round of about a microsecond this bounds the delay to some 20 of them.
const SKIPPED_READS: u32 = 20;

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const TUNSETVNETHDRSZ: libc::c_ulong = 0x4004_54d8;
const TUN_F_CSUM: libc::c_ulong = 0x01;
const TUN_F_TSO4: libc::c_ulong = 0x02;
const TUN_F_TSO6: libc::c_ulong = 0x04;
const TUN_F_TSO_ECN: libc::c_ulong = 0x08;

/// Longest name of a network interface, in bytes.
pub const INTERFACE_NAME_LEN_MAX: usize = libc::IFNAMSIZ - 1;

/// A TAP interface as a queue pair.
#[derive(Debug)]
pub struct Tap {
    file: File,
    // One frame behind its header, as the kernel hands it over.
    received: Box<[u8]>,
    waiting: Option<usize>,
    skip: u32,
}

impl Tap {
    /// Makes the interface, or attaches to it where it exists and nobody else is, and sets it up.
    ///
    /// # Errors
    /// What the kernel said: no /dev/net/tun, no privilege, a name in use by another kind of interface or another process.
    pub fn open(interface: &str) -> io::Result<Self> {
        if interface.is_empty() || interface.len() > INTERFACE_NAME_LEN_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "interface names have 1 to 15 bytes"));
        }
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        let mut request = named_request(interface);
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which lives through the call.
        check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &mut request) })?;
        let header_len = HEADER_LEN_MAX as libc::c_int;
        // SAFETY: TUNSETVNETHDRSZ reads one int, which lives through the call.
        check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETVNETHDRSZ, &header_len) })?;
        let offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        check(unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD, offloads) })?;
        set_up(interface)?;
        Ok(Self { file, received: vec![0; HEADER_LEN_MAX + FRAME_LEN_MAX].into_boxed_slice(), waiting: None, skip: 0 })
    }

    /// Reads the next frame into `received`; its length with the header.
    fn read(&mut self) -> Option<usize> {
        if let Some(len) = self.waiting.take() {
            return Some(len);
        }
        self.file.read(&mut self.received).ok().filter(|len| *len > 0)
    }
}

fn named_request(interface: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain old data; zero is a value of each of its members.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets an interface administratively up.
fn set_up(interface: &str) -> io::Result<()> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    let mut request = named_request(interface);
    // SAFETY: SIOCGIFFLAGS reads and writes one ifreq, which lives through the call.
    // A Unix socket serves as well as any other for interface requests.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) })?;
    // SAFETY: SIOCGIFFLAGS has filled in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request) })
}

/// The header for a frame that leaves: as for a guest that takes every offload, which the kernel does. `None` for an offload
/// that this kind of frame cannot have.
fn header(cleared: &Cleared<'_>) -> Option<[u8; HEADER_LEN_MAX]> {
    match net_header::handing(cleared.offload(), cleared.headers(), Features::ALL) {
        Handing::Whole(header) => Some(header.bytes()),
        Handing::CompleteChecksum | Handing::Segment(_) | Handing::Not => None,
    }
}

impl QueueIo for Tap {
    fn receive(&mut self, batch: &mut Batch) -> Result<(), PortFault> {
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(());
        }
        while batch.room() > 0 && batch.bytes_room() >= FRAME_LEN_MAX {
            let Some(len) = self.read() else {
                self.skip = SKIPPED_READS;
                break;
            };
            let frame = &self.received[HEADER_LEN_MAX.min(len)..len];
            if frame.len() < FRAME_LEN_MIN {
                batch.reject(DropReason::Runt, frame.len() as u32);
            } else {
                let claimed = self.received.first_chunk().map(net_header::claimed).unwrap_or_default();
                batch.push_frame(frame, claimed);
            }
        }
        Ok(())
    }

    fn transmit(&mut self, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault> {
        for (index, cleared) in frames.iter().enumerate() {
            let Some(header) = header(cleared) else {
                refused.push((index as u8, DropReason::TooBig));
                continue;
            };
            let parts = [IoSlice::new(&header), IoSlice::new(cleared.frame())];
            let whole = HEADER_LEN_MAX + cleared.frame().len();
            match self.file.write_vectored(&parts) {
                Ok(written) if written == whole => {}
                Ok(_) => refused.push((index as u8, DropReason::TooBig)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    refused.push((index as u8, DropReason::ReceiveBuffers));
                }
                // The interface is down or gone from this side: it may come back, so it is no fault of the port.
                Err(_) => refused.push((index as u8, DropReason::PortDown)),
            }
        }
        Ok(())
    }

    fn wake_fd(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }

    fn arm(&mut self) -> Result<bool, PortFault> {
        // An edge-triggered watch reports what arrives from now on; what has arrived already is found by reading.
        self.skip = 0;
        if self.waiting.is_none() {
            self.waiting = self.file.read(&mut self.received).ok().filter(|len| *len > 0);
        }
        Ok(self.waiting.is_some())
    }

    fn disarm(&mut self) {
        self.skip = 0;
    }
}
