//! Telling the service manager how far the switch is, by systemd's protocol (sd_notify(3)): one datagram to the socket that
//! it names in the environment. Without that variable nobody wants to know.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const VARIABLE: &str = "NOTIFY_SOCKET";

/// The switch serves.
pub(super) const READY: &str = "READY=1";

/// The switch is about to end.
pub(super) const STOPPING: &str = "STOPPING=1";

/// Says something. A service manager that cannot be told gives up on us by itself, so failing to is only logged.
pub(super) fn notify(state: &str) {
    let Some(address) = std::env::var_os(VARIABLE) else {
        return;
    };
    if let Err(error) = send(address.as_bytes(), state) {
        tracing::warn!(%error, state, "the service manager cannot be told");
    }
}

/// Sends to a path, or to an abstract name, which begins with `@`.
fn send(address: &[u8], state: &str) -> io::Result<()> {
    let address = match address.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listener: &UnixDatagram, address: &[u8]) {
        send(address, READY).expect("somebody listens");
        let mut told = [0; 64];
        let length = listener.recv(&mut told).expect("sent");
        assert_eq!(&told[..length], READY.as_bytes());
    }

    #[test]
    fn paths_and_abstract_names() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        check(&UnixDatagram::bind(&path).expect("free"), path.as_os_str().as_bytes());
        let name = format!("vswitch-notify-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).expect("a name");
        let listener = UnixDatagram::bind_addr(&abstract_name).expect("free");
        check(&listener, format!("@{name}").as_bytes());
        assert!(send(b"/does/not/exist", READY).is_err());
    }
}
