//! One connection with a front-end, from its first message to the return of its rings.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use super::PortShared;
use super::alarm::Alarm;
use super::backend::{Device, with_vrings_of};
use super::gate::Gate;
use super::hand_over::HandOver;
use super::message::{self, Closing, Inbox};

/// Messages that are handled before the alarm and the stop are looked at again.
const MESSAGES_PER_TURN_MAX: usize = 64;

/// Serves a front-end until it hangs up, breaks the rules, or the port is stopped. All that it brought is gone on return,
/// but for what a stuck worker holds on to.
pub(crate) fn serve(shared: &PortShared, front_end: UnixStream) -> Closing {
    match Session::start(shared, &front_end) {
        Ok(mut session) => {
            let closing = session.run(shared, front_end.as_fd());
            // The front-end learns first: it need not wait for our tidying up.
            drop(front_end);
            session.end();
            closing
        }
        Err(closing) => closing,
    }
}

struct Session {
    gate: Gate,
    daemon: VhostUserDaemon<Device>,
    hand_over: Arc<HandOver>,
    alarm: Arc<Alarm>,
}

impl Session {
    fn start(shared: &PortShared, front_end: &UnixStream) -> Result<Self, Closing> {
        let system = |call| move |e: io::Error| Closing::System(call, Errno::from_io_error(&e).unwrap_or(Errno::IO));
        front_end.set_nonblocking(true).map_err(system("fcntl"))?;
        let alarm = Arc::new(Alarm::new().map_err(system("eventfd"))?);
        let config = &shared.config;
        let hand_over =
            Arc::new(HandOver::new(config.port, shared.attach.clone(), shared.status.clone(), alarm.clone()));
        let rings_count = 2 * usize::from(config.queues);
        let offered = config.offered();
        let device = Device { hand_over: hand_over.clone(), offered, rings_count };
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let name = format!("vhost-{}", config.name);
        let mut daemon = with_vrings_of(&hand_over, || VhostUserDaemon::new(name, device, memory))
            .map_err(|_| Closing::Broken("no vhost-user daemon"))?;
        let inside = connect_inside(&mut daemon).map_err(system("inner socket"))?;
        let gate = Gate::new(inside, offered, rings_count, config.memory_len_max)?;
        Ok(Self { gate, daemon, hand_over, alarm })
    }

    /// The conversation itself.
    fn run(&mut self, shared: &PortShared, front_end: BorrowedFd<'_>) -> Closing {
        let mut inbox = Inbox::default();
        loop {
            match self.turn(shared, front_end, &mut inbox) {
                Ok(()) => {}
                // What the handler refused, it may have refused because of a fault that has a better name.
                Err(closing) => match self.alarm.reason() {
                    Some(reason) => return Closing::Fault(reason.to_owned()),
                    None => return closing,
                },
            }
        }
    }

    fn turn(&mut self, shared: &PortShared, front_end: BorrowedFd<'_>, inbox: &mut Inbox) -> Result<(), Closing> {
        let left = inbox.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let mut fds = [
            PollFd::new(&front_end, PollFlags::IN),
            PollFd::new(&self.alarm, PollFlags::IN),
            PollFd::new(&shared.stop, PollFlags::IN),
        ];
        match poll(&mut fds, timeout(left).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Closing::System("poll", errno)),
        }
        if !fds[2].revents().is_empty() {
            return Err(Closing::Stopped);
        }
        if let Some(reason) = self.alarm.reason() {
            return Err(Closing::Fault(reason.to_owned()));
        }
        if !fds[0].revents().is_empty() {
            self.read(shared, front_end, inbox)?;
        }
        if inbox.deadline().is_some_and(|at| at <= Instant::now()) {
            return Err(Closing::Broken("message not finished in time"));
        }
        Ok(())
    }

    fn read(&mut self, shared: &PortShared, front_end: BorrowedFd<'_>, inbox: &mut Inbox) -> Result<(), Closing> {
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let Some(message) = inbox.read(front_end)? else {
                return Ok(());
            };
            let code = message.code;
            if let Some(body) = self.gate.handle(message)? {
                message::reply(front_end, code, &body)?;
            }
            let is_sealed = self.gate.is_memory_sealed();
            shared.status.update(|s| s.memory_sealed = is_sealed);
        }
        Ok(())
    }

    /// Ends the daemon, then takes the rings back, then lets go of the memory.
    fn end(mut self) {
        // First the rings, so that a worker stops as soon as it can; the daemon's thread changes nothing any more, since
        // it only ever acts on our requests.
        self.hand_over.close();
        drop(self.gate);
        self.daemon.request_shutdown();
        if let Err(error) = self.daemon.wait() {
            tracing::debug!(%error, "vhost-user daemon ended");
        }
    }
}

pub(crate) fn timeout(left: Option<Duration>) -> Option<Timespec> {
    left.and_then(|left| Timespec::try_from(left).ok())
}

/// Starts the daemon on a connection that only we can make, and answers our end of it. The daemon takes listeners only, so
/// there is one for a moment, in a directory that nobody else may enter.
fn connect_inside(daemon: &mut VhostUserDaemon<Device>) -> io::Result<UnixStream> {
    let directory = PrivateDirectory::new()?;
    let path = directory.0.join("inside");
    let listener = UnixListener::bind(&path)?;
    let inside = UnixStream::connect(&path);
    let _ = fs::remove_file(&path);
    let inside = inside?;
    daemon.start(&mut Listener::from(listener)).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(inside)
}

struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        // A name that is taken was left by a process of the same number, or put there to annoy us.
        for _ in 0..64 {
            let name = format!("vswitch-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            match builder.create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
