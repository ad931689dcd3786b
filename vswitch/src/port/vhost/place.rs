//! Where a port meets its front-end: a socket that we listen on, or one that we dial.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode as FileMode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};

use super::session::timeout;

/// Which side of the socket the switch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The switch listens and front-ends connect.
    Server,
    /// The front-end listens and the switch dials.
    Client,
}

/// Front-ends that may wait while one is served.
const BACKLOG: i32 = 4;

const REDIAL_FIRST: Duration = Duration::from_millis(20);
const REDIAL_MAX: Duration = Duration::from_millis(500);

/// A meeting place.
#[derive(Debug)]
pub(crate) enum Place {
    Listening { listener: OwnedFd, path: PathBuf },
    Dialling { path: PathBuf },
}

impl Place {
    /// Opens the place. A server's socket has the given permissions from its first moment; what else lies in its path is
    /// only removed if it is a socket.
    pub(crate) fn open(mode: Mode, path: &Path, permissions: u32) -> io::Result<Self> {
        let path = path.to_owned();
        match mode {
            Mode::Client => Ok(Self::Dialling { path }),
            Mode::Server => {
                if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                    fs::DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
                }
                remove_stale(&path)?;
                Ok(Self::Listening { listener: listen_at(&path, permissions)?, path })
            }
        }
    }

    /// Waits for a front-end. `None` when `stop` became readable first.
    pub(crate) fn meet(&self, stop: &impl AsFd) -> io::Result<Option<UnixStream>> {
        match self {
            Place::Listening { listener, .. } => loop {
                if !wait(Some(listener), stop, None)? {
                    return Ok(None);
                }
                match accept_with(listener, SocketFlags::CLOEXEC) {
                    Ok(socket) => return Ok(Some(socket.into())),
                    // It hung up between its connect and our accept.
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            },
            Place::Dialling { path } => {
                let mut pause = REDIAL_FIRST;
                loop {
                    if let Ok(socket) = UnixStream::connect(path) {
                        return Ok(Some(socket));
                    }
                    if !wait(None::<&OwnedFd>, stop, Some(pause))? {
                        return Ok(None);
                    }
                    pause = (pause * 2).min(REDIAL_MAX);
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Place::Listening { path, .. } = self {
            let _ = fs::remove_file(path);
        }
    }
}

/// Waits until `wanted` is readable or the time is up; `false` when `stop` is readable.
pub(crate) fn wait(wanted: Option<&impl AsFd>, stop: &impl AsFd, time: Option<Duration>) -> io::Result<bool> {
    let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
    fds.extend(wanted.map(|fd| PollFd::new(fd, PollFlags::IN)));
    match poll(&mut fds, timeout(time).as_ref()) {
        Ok(_) => Ok(fds[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path is taken by something that is not a socket"))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn listen_at(path: &Path, permissions: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The socket file gets its mode from the socket, less the umask; nobody connects before `listen`, and by then the mode
    // is the one that was asked for.
    fchmod(&socket, FileMode::from_raw_mode(permissions))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(permissions))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}
