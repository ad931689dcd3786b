//! The other end of the control socket, for the command line.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Request, Response};

/// Bytes of a reply that are read at most; the longest honest one is a list of flows.
const REPLY_MAX: u64 = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug)]
pub enum AskError {
    /// Nobody listens at the socket.
    Unreachable(PathBuf, io::Error),
    /// The connection broke, or no answer came in time.
    Lost(io::Error),
    /// What came is no answer.
    Garbled(serde_json::Error),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(path, error) => {
                let path = path.display();
                write!(f, "no vswitch answers at {path}: {error}")
            }
            Self::Lost(error) => write!(f, "the daemon did not answer: {error}"),
            Self::Garbled(error) => write!(f, "the daemon's answer makes no sense: {error}"),
        }
    }
}

impl std::error::Error for AskError {}

/// Asks the daemon behind `socket` one thing, and waits for the answer as long as `timeout`.
///
/// # Errors
/// No answer, and why.
pub fn ask(socket: &Path, request: &Request, timeout: Duration) -> Result<Response, AskError> {
    let unreachable = |error| AskError::Unreachable(socket.to_owned(), error);
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    let mut line = serde_json::to_vec(request).map_err(AskError::Garbled)?;
    line.push(b'\n');
    stream
        .set_read_timeout(Some(timeout))
        .and_then(|()| stream.set_write_timeout(Some(timeout)))
        .and_then(|()| stream.write_all(&line))
        .map_err(AskError::Lost)?;
    let mut reply = Vec::new();
    BufReader::new(stream.take(REPLY_MAX)).read_until(b'\n', &mut reply).map_err(AskError::Lost)?;
    if reply.is_empty() {
        return Err(AskError::Lost(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&reply).map_err(AskError::Garbled)
}
