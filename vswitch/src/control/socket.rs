//! Where the control socket is, and who else may have one there.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use mio::net::UnixListener;
use rustix::fs::FlockOperation;

/// Name of the control socket in the run directory.
pub const SOCKET_NAME: &str = "control.sock";
const LOCK_NAME: &str = "vswitch.lock";

/// Why the control socket could not be made.
#[derive(Debug)]
pub enum SocketError {
    /// Another daemon holds the run directory.
    Taken(PathBuf),
    /// Something other than a socket is in the socket's place, and is left alone.
    NotASocket(PathBuf),
    /// The system refused.
    Io(PathBuf, io::Error),
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(path) => write!(f, "another vswitch uses {}", path.display()),
            Self::NotASocket(path) => {
                write!(f, "{} is in the way: it is not a socket", path.display())
            }
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for SocketError {}

/// The run directory, held for as long as the daemon runs, and the control socket in it.
#[derive(Debug)]
pub struct RunDir {
    socket: PathBuf,
    /// Locked; the lock goes with the descriptor, so also with a daemon that was killed.
    _lock: File,
}

impl RunDir {
    /// Makes the directory if it is not there, and takes it for this process.
    ///
    /// # Errors
    /// It cannot be made, or another daemon holds it.
    pub fn take(dir: &Path) -> Result<Self, SocketError> {
        let io_error = |error| SocketError::Io(dir.to_owned(), error);
        // Search permission for all: the sockets of the ports below have modes of their own.
        DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(io_error)?;
        let lock_path = dir.join(LOCK_NAME);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&lock_path)
            .map_err(|error| SocketError::Io(lock_path, error))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| SocketError::Taken(dir.to_owned()))?;
        Ok(Self { socket: dir.join(SOCKET_NAME), _lock: lock })
    }

    /// Path of the control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Listens at the control socket. A socket that a dead daemon has left is replaced; the lock on the directory says
    /// that it is dead.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn listen(&self) -> Result<UnixListener, SocketError> {
        let path = &self.socket;
        let io_error = |error| SocketError::Io(path.clone(), error);
        match std::fs::symlink_metadata(path) {
            Ok(found) if found.file_type().is_socket() => {
                std::fs::remove_file(path).map_err(io_error)?;
            }
            Ok(_) => return Err(SocketError::NotASocket(path.clone())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error(error)),
        }
        // The mode must hold from the first moment (attack C01), and `bind` takes it from the umask. `main` does this
        // before there is another thread that could make files.
        let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(path);
        rustix::process::umask(umask);
        let listener = bound.map_err(io_error)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(io_error)?;
        Ok(listener)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // Gone already is as good; there is nobody left to tell about anything else.
        drop(std::fs::remove_file(&self.socket));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemon_per_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let run_dir = dir.path().join("run");
        let first = RunDir::take(&run_dir).expect("free");
        let listener = first.listen().expect("free");
        let mode = std::fs::metadata(first.socket()).expect("bound").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(RunDir::take(&run_dir), Err(SocketError::Taken(_))));
        drop((first, listener));
        let again = RunDir::take(&run_dir).expect("free again");
        assert!(!again.socket().exists(), "a clean end leaves no socket");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join(SOCKET_NAME);
        drop(std::os::unix::net::UnixListener::bind(&socket).expect("free"));
        let run_dir = RunDir::take(dir.path()).expect("free");
        run_dir.listen().expect("a stale socket is no obstacle");
        std::fs::remove_file(&socket).expect("bound");
        std::fs::write(&socket, "precious").expect("writable");
        assert!(matches!(run_dir.listen(), Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read(&socket).expect("kept"), b"precious");
        std::fs::remove_file(&socket).expect("kept");
        let target = dir.path().join("elsewhere");
        std::os::unix::fs::symlink(&target, &socket).expect("writable");
        assert!(matches!(run_dir.listen(), Err(SocketError::NotASocket(_))));
        assert!(!target.exists());
    }
}
