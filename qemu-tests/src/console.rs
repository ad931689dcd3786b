//! A guest's serial line: one command goes in, its output and exit status come back.
//!
//! The guest's init ends each command's output with a line `@NUMBER STATUS`. The number counts up on this side, so an
//! answer that arrives late is never taken for the answer to the next command.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a command did in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit status.
    pub status: i32,
    /// What it wrote on stdout and stderr, without the last line break.
    pub text: String,
}

impl Output {
    /// Whether the command succeeded.
    pub fn ok(&self) -> bool {
        self.status == 0
    }
}

/// Why nothing sensible came back from the serial line.
#[derive(Debug)]
pub enum ConsoleError {
    /// QEMU's socket did not appear or refused us.
    NotThere(std::io::Error),
    /// The line broke: QEMU has ended.
    Closed,
    /// The awaited text did not come in time; here is what did.
    Timeout(String),
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere(error) => write!(f, "the guest's serial line is not there: {error}"),
            Self::Closed => write!(f, "the guest's serial line closed: its QEMU has ended"),
            Self::Timeout(seen) => write!(f, "the guest did not answer in time; it said: {seen:?}"),
        }
    }
}

impl std::error::Error for ConsoleError {}

/// An open serial line.
#[derive(Debug)]
pub struct Console {
    stream: UnixStream,
    /// Bytes that came and were not yet asked for.
    pending: Vec<u8>,
    sequence: u64,
}

impl Console {
    /// Connects to the Unix socket of QEMU's character device, which may still be about to appear.
    ///
    /// # Errors
    /// [`ConsoleError::NotThere`] when `timeout` has passed.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ConsoleError> {
        let deadline = Instant::now() + timeout;
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    return Ok(Self { stream, pending: Vec::new(), sequence: 0 });
                }
                Err(error) if Instant::now() >= deadline => {
                    return Err(ConsoleError::NotThere(error));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Waits for a line that is exactly `line`, and forgets everything before it.
    ///
    /// # Errors
    /// [`ConsoleError::Timeout`] or [`ConsoleError::Closed`].
    pub fn wait_for(&mut self, line: &str, timeout: Duration) -> Result<(), ConsoleError> {
        self.read_past(&format!("\n{line}\n"), timeout).map(|_| ())
    }

    /// Runs one line of shell and waits for its end. What a line sets (variables, jobs, open files) stays for the next.
    ///
    /// # Errors
    /// [`ConsoleError::Timeout`] or [`ConsoleError::Closed`]; a command that fails is an [`Output`], not an error.
    pub fn run(&mut self, line: &str, timeout: Duration) -> Result<Output, ConsoleError> {
        assert!(!line.contains('\n') && line.len() < 4000, "one line of less than the terminal's 4096 bytes: {line:?}");
        self.sequence += 1;
        let number = self.sequence;
        self.stream.write_all(format!("{number} {line}\n").as_bytes()).map_err(|_| ConsoleError::Closed)?;
        let deadline = Instant::now() + timeout;
        let text = self.read_past(&format!("\n@{number} "), timeout)?;
        let status = self.read_past("\n", deadline.saturating_duration_since(Instant::now()))?;
        let status = status.trim().parse().map_err(|_| ConsoleError::Timeout(format!("status {status:?}")))?;
        Ok(Output { status, text: text.trim_end_matches(['\r', '\n']).to_owned() })
    }

    /// Reads until `mark` has come; returns what stood before it.
    fn read_past(&mut self, mark: &str, timeout: Duration) -> Result<String, ConsoleError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(at) = self.pending.windows(mark.len()).position(|window| window == mark.as_bytes()) {
                let before = String::from_utf8_lossy(&self.pending[..at]).into_owned();
                self.pending.drain(..at + mark.len());
                return Ok(before);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ConsoleError::Timeout(String::from_utf8_lossy(&self.pending).into_owned()));
            }
            self.stream.set_read_timeout(Some(left)).map_err(|_| ConsoleError::Closed)?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ConsoleError::Closed),
                Ok(count) => self.pending.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(ConsoleError::Closed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A console whose guest is `script`: it gets the other end of the line.
    fn console_on(script: impl FnOnce(UnixStream) + Send + 'static) -> Console {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        std::thread::spawn(move || script(theirs));
        Console { stream: ours, pending: Vec::new(), sequence: 0 }
    }

    fn read_line(stream: &mut UnixStream) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).expect("the line is open") == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn a_command_comes_back_with_its_output_and_status() {
        let mut console = console_on(|mut guest| {
            assert_eq!(read_line(&mut guest), "1 uname");
            guest.write_all(b"Linux\n\n@1").expect("open");
            guest.write_all(b" 3\n").expect("open");
        });
        let output = console.run("uname", Duration::from_secs(5)).expect("an answer");
        assert_eq!(output, Output { status: 3, text: "Linux".to_owned() });
    }

    #[test]
    fn the_answer_to_an_earlier_command_is_not_taken_for_this_one() {
        let mut console = console_on(|mut guest| {
            read_line(&mut guest);
            read_line(&mut guest);
            guest.write_all(b"late\n\n@1 0\nnow\n\n@2 1\n").expect("open");
        });
        let first = console.run("sleep 9", Duration::from_millis(50));
        assert!(matches!(first, Err(ConsoleError::Timeout(_))), "{first:?}");
        let second = console.run("false", Duration::from_secs(5)).expect("an answer");
        assert_eq!(second.status, 1);
        assert!(second.text.ends_with("now"), "{second:?}");
    }

    #[test]
    fn a_dead_guest_is_told_apart_from_a_slow_one() {
        let mut console = console_on(drop);
        assert!(matches!(console.run("true", Duration::from_secs(5)), Err(ConsoleError::Closed)));
    }
}
