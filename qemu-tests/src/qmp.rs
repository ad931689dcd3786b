//! QEMU's own control socket (QMP, docs/interop/qmp-spec): the guest's power switch.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

/// An open QMP conversation.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and gets through the greeting.
    ///
    /// # Panics
    /// If QEMU does not answer within `timeout`.
    pub fn connect(path: &Path, timeout: Duration) -> Self {
        let deadline = Instant::now() + timeout;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{}: {error}", path.display()),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(timeout)).expect("a socket takes a timeout");
        let mut qmp = Self { reader: BufReader::new(stream) };
        let greeting = qmp.read();
        assert!(greeting.get("QMP").is_some(), "not a QMP greeting: {greeting}");
        qmp.command("qmp_capabilities");
        qmp
    }

    /// Sends a command that takes no arguments and returns its result; events in between are passed over.
    ///
    /// # Panics
    /// If QEMU refuses it or does not answer.
    pub fn command(&mut self, name: &str) -> Value {
        let request = serde_json::json!({ "execute": name });
        writeln!(self.reader.get_mut(), "{request}").unwrap_or_else(|error| panic!("QMP {name}: {error}"));
        loop {
            let mut answer = self.read();
            assert!(answer.get("error").is_none(), "QMP {name}: {answer}");
            if let Some(result) = answer.get_mut("return") {
                return result.take();
            }
        }
    }

    /// QEMU's word for what the machine does: `running`, `paused`, `internal-error` and so on.
    pub fn status(&mut self) -> String {
        self.command("query-status")["status"].as_str().unwrap_or_default().to_owned()
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        let count = self.reader.read_line(&mut line).unwrap_or_else(|error| panic!("QMP: {error}"));
        assert!(count > 0, "QMP: QEMU has closed the socket");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("QMP: {line:?}: {error}"))
    }
}
