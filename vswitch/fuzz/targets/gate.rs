//! The gate of a guest port: a front-end says anything, with any descriptors, at any time. It must end in a closed connection or
//! in a port that still answers; what was handed to a worker is a sound queue, and all of it comes back.
#![no_main]

mod message;
mod script;
mod shelf;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vswitch::frame::PortId;
use vswitch::port::vhost::{Mode, PortStatus, VhostConfig, VhostPort};

use message::MEMORY_NAME;
use script::Script;
use shelf::Shelf;

/// What a port may take for anything: more is a hang.
const PATIENCE: Duration = Duration::from_secs(5);

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("our own descriptors").count()
}

/// Whether there was something to read; `false` when the port has hung up.
fn is_open(socket: &mut UnixStream) -> bool {
    loop {
        match socket.read(&mut [0; 256]) {
            Ok(count) => return count > 0,
            // The fuzzer's own alarm.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return false,
            Err(error) => panic!("the port neither answers nor hangs up: {error}"),
        }
    }
}

fn converse(data: &[u8], path: &Path) {
    let (shelf, status) = (Arc::new(Shelf::default()), Arc::new(PortStatus::default()));
    let mut config = VhostConfig::new(PortId(0), "fuzz", path, Mode::Server);
    (config.queues, config.memory_len_max) = (2, 1 << 30);
    let port = VhostPort::start(config, shelf.clone(), Arc::clone(&status)).expect("a port");
    let mut socket = UnixStream::connect(path).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let mut script = Script::new(data);
    while script.step(&mut socket) {
        shelf.work();
    }
    // What is no message yet need not be answered.
    if script.is_whole() && script.ask(&socket) {
        is_open(&mut socket);
    }
    shelf.work();
    let _ = socket.shutdown(std::net::Shutdown::Write);
    while is_open(&mut socket) {}
    drop(socket);
    port.stop();
    assert_eq!(status.state().pairs_attached, 0);
    assert!(shelf.is_empty(), "a queue is left behind");
    assert_eq!(status.worker_stuck(), 0);
}

fuzz_target!(|data: &[u8]| {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    static IS_WARM: AtomicBool = AtomicBool::new(false);
    let directory = DIRECTORY.get_or_init(|| tempfile::tempdir().expect("a directory"));
    let before = open_files();
    converse(data, &directory.path().join("port.sock"));
    // The first port starts what all share.
    if IS_WARM.swap(true, Ordering::Relaxed) {
        assert_eq!(open_files(), before, "descriptors leak");
    }
    let maps = std::fs::read_to_string("/proc/self/maps").expect("our own maps");
    assert!(!maps.contains(MEMORY_NAME), "memory stays mapped");
});
