//! The log as a file and as a thread.

use super::*;

/// Takes so many bytes, then fails until it is given more room.
struct Disk {
    bytes: Vec<u8>,
    room: usize,
}

impl Write for &mut Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room);
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= taken;
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes three pieces of two events: with ample room, then with `room` bytes, then with ample room again.
fn check_full_disk(room: usize, written: u64) {
    let mut disk = Disk { bytes: Vec::new(), room: usize::MAX };
    let counters = Arc::new(LogCounters::default());
    let clock = WallClock { ahead_us: 0 };
    let two = || (0..2).map(|_| event(drop_kind(DropReason::Runt)));
    let (mut is_torn, mut is_failing) = (false, false);
    for room in [usize::MAX, room, usize::MAX] {
        disk.room = room;
        let mut writer = LineWriter::new(&mut disk, EveSettings::default(), Arc::clone(&counters));
        (writer.is_torn, writer.is_failing) = (is_torn, is_failing);
        assert_eq!(writer.write_events(two(), clock), 2);
        (is_torn, is_failing) = (writer.is_torn, writer.is_failing);
    }
    let kind = EventType::Drop as usize;
    assert_eq!(values(&counters.written)[kind], written, "room {room}");
    assert_eq!(values(&counters.lost)[kind], 6 - written, "room {room}");
    let whole = line(&event(drop_kind(DropReason::Runt)));
    let text = String::from_utf8(disk.bytes).expect("text");
    let whole_count = text.lines().filter(|line| *line == whole.trim_end()).count();
    assert_eq!(whole_count as u64, written, "room {room}: {text}");
}

#[test]
fn a_full_disk_loses_events_and_tears_at_most_one_line() {
    let length = line(&event(drop_kind(DropReason::Runt))).len();
    check_full_disk(0, 4);
    check_full_disk(1, 4);
    check_full_disk(length - 2, 4);
    check_full_disk(length, 5);
    check_full_disk(length + 1, 5);
    check_full_disk(2 * length, 6);
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_log_is_written_rotated_and_finished() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, old) = (dir.path().join("made/for/it/eve.json"), dir.path().join("eve.json.1"));
    let (sender, receiver) = queue();
    let log = Log::start(Some(&path), EveSettings::default(), receiver, Instant::now()).expect("a log");
    let lines = |path: &Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    sender.try_send(event(drop_kind(DropReason::Runt))).expect("room");
    wait_for("the first line", || lines(&path) == 1);
    std::fs::rename(&path, &old).expect("rotated");
    log.reopen();
    wait_for("a new file", || path.exists());
    for _ in 0..2 {
        sender.try_send(event(drop_kind(DropReason::Policy))).expect("room");
    }
    drop(log);
    assert_eq!((lines(&path), lines(&old)), (2, 1), "what was queued is written before the end");
}

/// How often a thread of this process went to sleep so far.
fn sleeps(thread: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("the thread is there");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.expect("Linux tells").trim().parse().expect("a number")
}

#[test]
fn a_log_without_events_sleeps_until_one_comes_or_an_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("eve.json");
    let (sender, queue) = queue();
    let ((bell, rung), counters) = (crossbeam_channel::bounded(1), Arc::new(LogCounters::default()));
    let orders = Arc::new(Orders::default());
    let log = LogThread {
        out: Some(LineWriter::new(open(&path).expect("a file"), EveSettings::default(), Arc::clone(&counters))),
        path: Some(path.clone()),
        queue,
        started: Instant::now(),
        recent: Arc::default(),
        orders: Arc::clone(&orders),
        rung,
    };
    let (say, said) = crossbeam_channel::bounded(1);
    let thread = std::thread::spawn(move || {
        say.send(rustix::thread::gettid().as_raw_nonzero().get()).expect("somebody listens");
        log.run();
    });
    let id = said.recv().expect("it says who it is");
    let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
    for count in 1..=2 {
        sender.try_send(event(drop_kind(DropReason::Runt))).expect("room");
        wait_for("the line", || lines() == count);
        // It looks once more for what may follow, and then no more.
        wait_for("a long sleep", || {
            let before = sleeps(id);
            std::thread::sleep(10 * GATHER_SLEEP);
            sleeps(id) == before
        });
    }
    drop(sender);
    orders.stop.store(true, Ordering::Release);
    bell.try_send(()).expect("room");
    thread.join().expect("it ends by order");
}

#[test]
fn a_queue_that_is_full_says_so_at_once() {
    let (sender, receiver) = queue();
    for _ in 0..QUEUE_MAX {
        sender.try_send(event(drop_kind(DropReason::Runt))).expect("room");
    }
    assert!(sender.try_send(event(drop_kind(DropReason::Runt))).is_err());
    let log = Log::start(None, EveSettings::NOTHING, receiver, Instant::now()).expect("a log without a file");
    wait_for("room", || sender.try_send(event(drop_kind(DropReason::Runt))).is_ok());
    assert_eq!(values(&log.counters().lost), [0; EventType::COUNT]);
}

#[test]
fn a_pipe_is_no_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("pipe");
    let made = rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    );
    made.expect("a pipe");
    assert!(Log::start(Some(&path), EveSettings::default(), queue().1, Instant::now()).is_err());
    assert!(Log::start(Some(&path.join("eve.json")), EveSettings::default(), queue().1, Instant::now()).is_err());
}
