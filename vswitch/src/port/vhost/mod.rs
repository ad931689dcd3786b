//! Guest ports: virtual machines (or DPDK programs) plugged in over vhost-user.
//!
//! In the order in which a front-end and its guest meet them: [`place`] (the socket), [`session`] (one connection), [`gate`]
//! (its messages judged), `backend` (what vhost-user-backend makes of them), [`hand_over`] (rings go to a worker and come
//! back), and then, on the worker, `queue` with its two rings: `from_guest` and `to_guest`.
//!
//! Each port has one thread of its own, and one of the crate's while a front-end is connected. Neither touches a frame.

mod alarm;
mod backend;
mod call;
mod chain;
mod features;
mod from_guest;
mod gate;
mod guest_files;
mod hand_over;
mod message;
pub(crate) mod net_header;
mod place;
mod queue;
mod ring;
mod session;
mod status;
mod to_guest;

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

pub use features::Features;
pub use place::Mode;
pub use ring::RING_SIZE_MAX;
pub use status::{PortState, PortStatus};

use crate::frame::PortId;
use crate::worker::Attach;
use message::Closing;
use place::Place;

/// Queue pairs that a port may have. The crates count rings in one byte and mask them in 64 bits.
pub const QUEUES_MAX: u16 = 32;

/// How long a port stays closed after its front-end or guest broke the rules: what breaking them costs everybody else is
/// bounded by how often it can be done.
const HOLD_OFF: Duration = Duration::from_millis(500);

/// How a guest port is set up.
#[derive(Clone, Debug)]
pub struct VhostConfig {
    /// The port's number.
    pub port: PortId,
    /// The port's name, for logs and threads.
    pub name: String,
    /// Path of the socket.
    pub path: PathBuf,
    /// Who listens.
    pub mode: Mode,
    /// Queue pairs, 1 to [`QUEUES_MAX`].
    pub queues: u16,
    /// Permissions of the socket in server mode.
    pub permissions: u32,
    /// Virtio features that this port may have; [`Features::ALL`] for no restriction. VERSION_1 and PROTOCOL_FEATURES are
    /// always offered, MQ only to ports with several queue pairs.
    pub features: Features,
    /// Bytes of memory that the guest may share.
    pub memory_len_max: u64,
}

/// Bytes of memory that a guest may share unless configured otherwise. Address space, not memory: what costs is touched pages.
pub const MEMORY_LEN_MAX: u64 = 1 << 40;

impl VhostConfig {
    /// A port with one queue pair and the defaults for all else.
    pub fn new(port: PortId, name: impl Into<String>, path: impl Into<PathBuf>, mode: Mode) -> Self {
        Self {
            port,
            name: name.into(),
            path: path.into(),
            mode,
            queues: 1,
            permissions: 0o660,
            features: Features::ALL,
            memory_len_max: MEMORY_LEN_MAX,
        }
    }

    /// The features that the port offers.
    fn offered(&self) -> Features {
        let always = Features::VERSION_1.and(Features::PROTOCOL_FEATURES);
        let offered = Features(self.features.0 & Features::ALL.0).and(always);
        if self.queues > 1 { offered.consistent() } else { offered.without(Features::MQ).consistent() }
    }
}

/// What a port's thread works with.
struct PortShared {
    config: VhostConfig,
    attach: Arc<dyn Attach>,
    status: Arc<PortStatus>,
    stop: OwnedFd,
}

/// A guest port that waits for its front-end, serves it, and waits for the next.
pub struct VhostPort {
    shared: Arc<PortShared>,
    thread: Option<JoinHandle<()>>,
}

impl VhostPort {
    /// Starts a port. In server mode its socket exists when this returns.
    ///
    /// # Errors
    /// The socket could not be made, or the thread not started, or the number of queues is not 1 to [`QUEUES_MAX`].
    pub fn start(config: VhostConfig, attach: Arc<dyn Attach>, status: Arc<PortStatus>) -> io::Result<Self> {
        if !(1..=QUEUES_MAX).contains(&config.queues) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "number of queues"));
        }
        call::start_watchdog()?;
        let place = Place::open(config.mode, &config.path, config.permissions)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let name = format!("port-{}", config.name);
        let shared = Arc::new(PortShared { config, attach, status, stop });
        let for_thread = shared.clone();
        let thread = thread::Builder::new().name(name).spawn(move || serve(&for_thread, &place))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What is known of the port.
    pub fn status(&self) -> &Arc<PortStatus> {
        &self.shared.status
    }

    /// Stops the port: takes its queues back from their workers, disconnects its front-end, removes its socket.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // Ours alone, counter at 0: neither blocks nor fails.
        let _ = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        if thread.join().is_err() {
            tracing::error!(port = self.shared.config.name, "the port's thread panicked");
        }
    }
}

impl Drop for VhostPort {
    fn drop(&mut self) {
        self.end();
    }
}

/// The life of a port: one front-end after the other.
fn serve(shared: &PortShared, place: &Place) {
    let port = shared.config.name.as_str();
    loop {
        let front_end = match place.meet(&shared.stop) {
            Ok(Some(front_end)) => front_end,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(port, %error, "cannot meet a front-end");
                match place::wait(None::<&OwnedFd>, &shared.stop, Some(HOLD_OFF)) {
                    Ok(true) => continue,
                    Ok(false) | Err(_) => return,
                }
            }
        };
        let peer = rustix::net::sockopt::socket_peercred(&front_end).ok();
        let pid = peer.map(|p| p.pid.as_raw_nonzero().get());
        tracing::info!(port, pid, uid = peer.map(|p| p.uid.as_raw()), "front-end connected");
        shared.status.connected(pid);
        let closing = session::serve(shared, front_end);
        shared.status.disconnected();
        match closing {
            Closing::Stopped => return,
            Closing::HungUp => tracing::info!(port, "front-end disconnected"),
            Closing::Broken(_) | Closing::Fault(_) | Closing::System(..) => {
                tracing::warn!(port, reason = %closing, "port isolated until its front-end connects anew");
                shared.status.isolated(closing.to_string());
                if !matches!(place::wait(None::<&OwnedFd>, &shared.stop, Some(HOLD_OFF)), Ok(true)) {
                    return;
                }
            }
        }
    }
}
