//! Front-ends that break the rules: each loses its connection, by a reason of its own, and leaves nothing behind.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create, open};
use vhost::vhost_user::message::FrontendReq as Code;

use super::connections::{PLAIN, assert_passes, guest, guests};
use super::front_end::{FrontEnd, encode, eventually, number, pair};
use super::guest::{GUEST_BASE, Memory};
use super::lone::{Lone, Traced};
use super::switch::Switch;
use crate::frame::Batch;
use crate::port::vhost::features::Features;
use crate::port::vhost::message::{Closing, MemoryRegion, memory_table};

/// How far a front-end gets before it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Greeted,
    Memory,
    Running,
    Stopped,
}

const STATES: [State; 5] = [State::Fresh, State::Greeted, State::Memory, State::Running, State::Stopped];

fn bring_to(state: State) -> (Lone, FrontEnd) {
    let (lone, mut front_end) = Lone::new();
    if state != State::Fresh {
        front_end.greet();
    }
    if state == State::Memory {
        let features = PLAIN.and(Features::PROTOCOL_FEATURES).0;
        assert_eq!(front_end.request(Code::SET_FEATURES, &number(features), &[]), Some(true));
        assert_eq!(front_end.share_memory(), Some(true));
    }
    if matches!(state, State::Running | State::Stopped) {
        front_end.start(PLAIN, |_| 0);
        assert_eq!(lone.shelf.len(), 1);
    }
    if state == State::Stopped {
        (0..2).for_each(|ring| assert_eq!(front_end.stop_ring(ring), Some(0)));
        assert_eq!(lone.shelf.len(), 0);
    }
    (lone, front_end)
}

#[track_caller]
fn check_closes(state: State, because: &'static str, misbehave: impl FnOnce(&mut FrontEnd)) {
    let (lone, mut front_end) = bring_to(state);
    misbehave(&mut front_end);
    assert_eq!(lone.closing(), Closing::Broken(because), "in {state:?}");
    assert!(front_end.is_closed());
}

#[test]
fn messages_out_of_shape_close_the_connection() {
    for state in STATES {
        let raw = |bytes: Vec<u8>| {
            move |f: &mut FrontEnd| {
                let _ = f.send_raw(&bytes, &[]);
            }
        };
        check_closes(state, "message flags", raw(encode(1, 0, &[])));
        check_closes(state, "message flags", raw(encode(1, 2, &[])));
        check_closes(state, "message flags", raw(encode(1, 1 | 4, &[])));
        check_closes(state, "message too long", raw([encode(5, 1, &[])[..8].to_vec(), vec![0xff; 4]].concat()));
        check_closes(state, "message length", raw(encode(1, 1, &[0])));
        check_closes(state, "message length", raw(encode(2, 1, &[0; 7])));
        check_closes(state, "message length", raw(encode(9, 1, &[0; 41])));
        check_closes(state, "unknown request", raw(encode(0, 1, &[])));
        check_closes(state, "unknown request", raw(encode(77, 1, &[])));
        check_closes(state, "unknown request", raw(encode(u32::MAX, 1, &[0; 8])));
        check_closes(state, "memory table length", raw(encode(5, 1, &[0; 4])));
        check_closes(state, "memory table length", raw(encode(5, 1, &[number(2), vec![0; 32]].concat())));
    }
}

#[test]
fn requests_that_were_not_offered_are_refused() {
    use Code::*;
    let closing = [
        SET_LOG_BASE,
        SET_BACKEND_REQ_FD,
        IOTLB_MSG,
        GET_CONFIG,
        SET_CONFIG,
        CREATE_CRYPTO_SESSION,
        POSTCOPY_ADVISE,
        POSTCOPY_LISTEN,
        POSTCOPY_END,
        GET_INFLIGHT_FD,
        SET_INFLIGHT_FD,
        GPU_SET_SOCKET,
        RESET_DEVICE,
        VRING_KICK,
        GET_STATUS,
        GET_SHARED_OBJECT,
        SET_DEVICE_STATE_FD,
        CHECK_DEVICE_STATE,
        GET_SHMEM_CONFIG,
    ];
    for code in closing {
        check_closes(State::Running, "request that was not offered", |f| f.send(code, 0, &[0; 8], &[]));
    }
    let (lone, mut front_end) = bring_to(State::Running);
    for code in [SEND_RARP, NET_SET_MTU, SET_STATUS, SET_VRING_ENDIAN, SET_LOG_FD] {
        assert_eq!(front_end.request(code, &[0; 8], &[]), Some(false));
        front_end.send(code, 0, &[0; 8], &[]);
    }
    assert!(front_end.ask(GET_FEATURES, &[]).is_some());
    assert_eq!(lone.stop(), Closing::Stopped);
}

#[test]
fn numbers_out_of_range_close_the_connection() {
    for index in [2, 255, 256, 0x1_0000, 0x8000_0001, u32::MAX] {
        for code in [Code::SET_VRING_NUM, Code::SET_VRING_BASE, Code::GET_VRING_BASE, Code::SET_VRING_ENABLE] {
            check_closes(State::Memory, "ring index", |f| f.send(code, 0, &pair(index, 1), &[]));
        }
        let addresses = [pair(index, 0), vec![0; 32]].concat();
        check_closes(State::Memory, "ring index", |f| f.send(Code::SET_VRING_ADDR, 0, &addresses, &[]));
    }
    for index in [2, 0xff, 0x200, 0x1_0000_0000, !0x100] {
        for code in [Code::SET_VRING_CALL, Code::SET_VRING_KICK, Code::SET_VRING_ERR] {
            let event = Lone::new().1.rings.remove(0).call;
            check_closes(State::Memory, "ring index", |f| f.send(code, 0, &number(index), &[event.as_fd()]));
        }
    }
    for size in [0, 3, 63, 2048, 0x8000, 0xffff, 0x1_0000, 0x1_0040, u32::MAX] {
        check_closes(State::Memory, "ring size", |f| f.send(Code::SET_VRING_NUM, 0, &pair(0, size), &[]));
    }
    check_closes(State::Memory, "ring base", |f| f.send(Code::SET_VRING_BASE, 0, &pair(0, 0x1_0000), &[]));
    let neither = "ring neither enabled nor disabled";
    check_closes(State::Memory, neither, |f| f.send(Code::SET_VRING_ENABLE, 0, &pair(0, 2), &[]));
    let unoffered = "features that were not offered";
    for bit in [2, 5, 17, 26, 33, 34, 38, 63] {
        check_closes(State::Greeted, unoffered, |f| f.send(Code::SET_FEATURES, 0, &number(1 << bit), &[]));
    }
    let unoffered = "protocol features that were not offered";
    check_closes(State::Fresh, unoffered, |f| f.send(Code::SET_PROTOCOL_FEATURES, 0, &number(0x1009), &[]));
}

#[test]
fn what_is_frozen_while_a_ring_runs_stays_so() {
    let changed = "ring changed while it runs";
    check_closes(State::Running, changed, |f| f.send(Code::SET_VRING_NUM, 0, &pair(0, 64), &[]));
    check_closes(State::Running, changed, |f| f.send(Code::SET_VRING_BASE, 0, &pair(1, 0), &[]));
    check_closes(State::Running, changed, |f| {
        f.set_addresses(0);
    });
    let features = "features changed while rings run";
    let other = Features::VERSION_1.and(Features::PROTOCOL_FEATURES).0;
    check_closes(State::Running, features, |f| f.send(Code::SET_FEATURES, 0, &number(other), &[]));
    let logging = "ring logging was not offered";
    let body = [pair(0, 1), vec![0; 32]].concat();
    check_closes(State::Memory, logging, |f| f.send(Code::SET_VRING_ADDR, 0, &body, &[]));
}

#[test]
fn rings_are_not_started_before_they_are_set_up() {
    let early = "ring started before it was set up";
    for state in [State::Fresh, State::Greeted, State::Memory] {
        let event = Lone::new().1.rings.remove(0).call;
        check_closes(state, early, |f| f.send(Code::SET_VRING_KICK, 0, &number(0), &[event.as_fd()]));
    }
    let none = "ring without a kick descriptor";
    check_closes(State::Stopped, none, |f| f.send(Code::SET_VRING_KICK, 0, &number(0x100), &[]));
    let early = "ring addresses before memory";
    let body = [pair(0, 0), vec![0; 32]].concat();
    check_closes(State::Greeted, early, |f| f.send(Code::SET_VRING_ADDR, 0, &body, &[]));
    // Addresses that no region holds are the handler's to refuse.
    let refused = "refused by the vhost-user handler";
    check_closes(State::Memory, refused, |f| f.send(Code::SET_VRING_ADDR, 0, &body, &[]));
}

#[test]
fn no_request_leaks_a_descriptor_whatever_comes_with_it() {
    let bodies: Vec<(u32, Vec<u8>)> = (0..46)
        .map(|code| match code {
            5 => (code, memory_table(&[MemoryRegion { guest: 0, len: 4096, user: 1 << 30, offset: 0 }])),
            37 | 38 => (code, [vec![0; 8], number(1 << 40), number(4096), number(1 << 41), number(0)].concat()),
            9 => (code, vec![0; 40]),
            1 | 3 | 4 | 15 | 17 | 34 | 36 => (code, vec![]),
            _ => (code, vec![0; 8]),
        })
        .collect();
    for state in STATES {
        for (code, body) in &bodies {
            for count in [1, 2, 32, 33, 64, 253] {
                let (lone, front_end) = bring_to(state);
                let traced = Traced::new();
                let files: Vec<BorrowedFd<'_>> = vec![traced.writer.as_fd(); count];
                let _ = front_end.send_raw(&encode(*code, 1, body), &files);
                drop(files);
                drop(front_end);
                lone.closing();
                traced.assert_closed();
            }
        }
    }
}

#[test]
fn descriptors_between_the_bytes_of_a_message_leak_no_more() {
    for (per_byte, because) in [(1, "wrong number of file descriptors"), (2, "too many file descriptors")] {
        let (lone, front_end) = bring_to(State::Greeted);
        let traced = Traced::new();
        for byte in encode(2, 1, &[0; 8]) {
            let _ = front_end.send_raw(&[byte], &vec![traced.writer.as_fd(); per_byte]);
        }
        assert_eq!(lone.closing(), Closing::Broken(because));
        traced.assert_closed();
    }
}

#[test]
fn a_message_may_come_in_pieces_but_not_for_ever() {
    let (lone, mut front_end) = bring_to(State::Greeted);
    for byte in encode(Code::GET_FEATURES.into(), 1, &[]) {
        front_end.send_raw(&[byte], &[]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(front_end.reply().is_some());
    let started = Instant::now();
    front_end.send_raw(&[1, 0, 0], &[]).unwrap();
    assert_eq!(lone.closing(), Closing::Broken("message not finished in time"));
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_front_end_that_does_not_read_replies_is_not_waited_for() {
    let (lone, front_end) = bring_to(State::Greeted);
    let message = encode(Code::GET_FEATURES.into(), 1, &[]);
    while front_end.send_raw(&message, &[]).is_ok() {}
    let closing = lone.closing();
    assert!(matches!(closing, Closing::Broken("replies are not read")), "{closing:?}");
}

#[test]
fn only_memory_files_are_mapped() {
    let region = MemoryRegion { guest: GUEST_BASE, len: 4096, user: 1 << 30, offset: 0 };
    #[track_caller]
    fn check(file: OwnedFd, region: MemoryRegion, because: &'static str) {
        check_closes(State::Greeted, because, |f| {
            f.send(Code::SET_MEM_TABLE, 0, &memory_table(&[region]), &[file.as_fd()]);
        });
    }
    let memfd = |flags: MemfdFlags, len: u64| {
        let file = memfd_create("m", flags | MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, len).unwrap();
        file
    };
    let opened = |path: &str, flags: OFlags| open(path, flags | OFlags::CLOEXEC, Mode::empty()).unwrap();
    let irregular = "memory is not a regular file";
    check(opened("/dev/zero", OFlags::RDWR), region, irregular);
    check(opened("/dev/null", OFlags::RDWR), region, irregular);
    check(opened("/dev", OFlags::RDONLY), region, irregular);
    check(Traced::new().writer, region, irregular);
    check(UnixStream::pair().unwrap().0.into(), region, irregular);
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    check(event, region, irregular);
    check(rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap(), region, irregular);
    let foreign = "memory is not on tmpfs or hugetlbfs";
    check(opened("/proc/self/status", OFlags::RDONLY), region, foreign);
    let mode = "memory is not open for reading and writing";
    let shared = memfd(MemfdFlags::empty(), 4096);
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&shared));
    check(opened(&path, OFlags::RDONLY), region, mode);
    check(opened(&path, OFlags::WRONLY), region, mode);
    check(opened(&path, OFlags::PATH), region, mode);
    for seal in [SealFlags::WRITE, SealFlags::FUTURE_WRITE] {
        let file = memfd(MemfdFlags::ALLOW_SEALING, 4096);
        fcntl_add_seals(&file, seal).unwrap();
        check(file, region, "memory is sealed against writing");
    }
    // Mapping beyond the end would succeed, and the first touch would kill.
    let longer = "memory region is longer than its file";
    check(memfd(MemfdFlags::empty(), 4096), MemoryRegion { len: 1 << 24, ..region }, longer);
    check(memfd(MemfdFlags::empty(), 4096), MemoryRegion { offset: 4096, ..region }, longer);
    check(memfd(MemfdFlags::empty(), 0), region, longer);
    let pages = "memory region is not made of whole pages";
    check(memfd(MemfdFlags::empty(), 8192), MemoryRegion { offset: 100, ..region }, pages);
    check(memfd(MemfdFlags::empty(), 8192), MemoryRegion { len: 5000, ..region }, pages);
}

#[test]
fn memory_tables_that_do_not_add_up_are_refused() {
    let region = MemoryRegion { guest: 1 << 20, len: 4096, user: 1 << 30, offset: 0 };
    let memory = Memory::new(1 << 20);
    #[track_caller]
    fn check(memory: &Memory, regions: &[MemoryRegion], because: &'static str) {
        check_closes(State::Greeted, because, |f| {
            let files = vec![memory.file.as_fd(); regions.len()];
            f.send(Code::SET_MEM_TABLE, 0, &memory_table(regions), &files);
        });
    }
    check(&memory, &[], "number of memory regions");
    let bounds = "memory region bounds";
    check(&memory, &[MemoryRegion { len: 0, ..region }], bounds);
    check(&memory, &[MemoryRegion { guest: u64::MAX - 4095, ..region }], bounds);
    check(&memory, &[MemoryRegion { user: u64::MAX - 100, ..region }], bounds);
    check(&memory, &[MemoryRegion { offset: u64::MAX - 4095, ..region }], bounds);
    check(&memory, &[MemoryRegion { len: 1 << 40, ..region }], "memory quota");
    let overlap = "memory regions overlap";
    check(&memory, &[region, MemoryRegion { user: 1 << 31, ..region }], overlap);
    check(&memory, &[region, MemoryRegion { guest: 1 << 21, ..region }], overlap);
    check(&memory, &[region, MemoryRegion { guest: (1 << 20) - 1, user: 1 << 31, ..region }], overlap);
}

#[test]
fn regions_in_any_order_are_accepted() {
    let (lone, mut front_end) = bring_to(State::Greeted);
    let memory = Memory::new(1 << 20);
    let region = |guest, user| MemoryRegion { guest, len: 4096, user, offset: 0 };
    let regions = [region(1 << 22, 1 << 30), region(1 << 20, 1 << 31), region(1 << 21, 1 << 29)];
    let files = vec![memory.file.as_fd(); 3];
    assert_eq!(front_end.request(Code::SET_MEM_TABLE, &memory_table(&regions), &files), Some(true));
    lone.stop();
}

#[test]
fn only_eventfds_are_polled_and_written() {
    for code in [Code::SET_VRING_CALL, Code::SET_VRING_KICK, Code::SET_VRING_ERR] {
        let files: [OwnedFd; 3] =
            [Traced::new().writer, File::open("/dev/zero").unwrap().into(), UnixStream::pair().unwrap().0.into()];
        for file in files {
            check_closes(State::Stopped, "not an eventfd", |f| f.send(code, 0, &number(0), &[file.as_fd()]));
        }
    }
}

#[test]
fn a_message_repeated_without_end_costs_nothing() {
    let (lone, mut front_end) = bring_to(State::Stopped);
    let before = lone.status.state();
    for _ in 0..2000 {
        front_end.set_call(0);
        front_end.share_memory();
        front_end.set_size(0, 64);
    }
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let inode = rustix::fs::fstat(&front_end.memory.file).unwrap().st_ino.to_string();
    let count = maps.lines().filter(|line| line.split_whitespace().nth(4) == Some(&inode)).count();
    assert_eq!(count, 2, "the guest's own mapping and ours");
    assert_eq!(lone.status.state(), before);
    lone.stop();
}

/// A small generator of numbers: the scripts that it makes are the same on each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn requests_in_any_order_end_in_a_closed_connection_or_a_sound_one() {
    for seed in 0..300 {
        let mut random = Random(seed);
        // From the greeting on, since before it nothing is acknowledged.
        let (lone, mut front_end) = bring_to(STATES[1 + seed as usize % 4]);
        let mut is_open = true;
        for _ in 0..50 {
            let ring = random.below(2) as u32;
            let done = match random.below(14) {
                0 => front_end.ask(Code::GET_FEATURES, &[]).map(|_| true),
                1 => {
                    let features = PLAIN.and(Features::PROTOCOL_FEATURES).0 & !((random.below(8) / 7) << 15);
                    front_end.send(Code::SET_FEATURES, 0, &number(features), &[]);
                    Some(true)
                }
                2 => {
                    front_end.send(Code::SET_OWNER, 0, &[], &[]);
                    Some(true)
                }
                3 => front_end.set_size(ring, 1 << random.below(11)),
                4 => front_end.stop_ring(ring).map(|_| true),
                5 => front_end.request(Code::SET_PROTOCOL_FEATURES, &number(super::front_end::PROTOCOL), &[]),
                6 => front_end.share_memory(),
                7 => front_end.set_addresses(ring),
                8 => front_end.kick_with_new(ring),
                9 => front_end.set_call(ring),
                10 => front_end.enable(ring, random.below(2) == 1),
                11 => front_end.request(Code::SET_VRING_BASE, &pair(ring, random.below(3) as u32), &[]),
                12 => front_end.ask(Code::GET_QUEUE_NUM, &[]).map(|_| true),
                _ => {
                    lone.shelf.with(|queue| queue.receive(&mut Batch::new()));
                    Some(true)
                }
            };
            if done.is_none() {
                is_open = false;
                break;
            }
        }
        if is_open {
            front_end.ask(Code::GET_FEATURES, &[]);
        }
        drop(front_end);
        lone.closing();
    }
}

#[test]
fn a_guest_that_breaks_its_ring_loses_its_port_and_nobody_elses() {
    let switch = Switch::new(3);
    let mut guests = guests(&switch, PLAIN);
    assert_passes(&mut guests, 0, 1, b"before");
    let mut evil = guests.pop().unwrap();
    evil.rings[1].offered = evil.rings[1].offered.wrapping_add(1000);
    evil.rings[1].publish();
    evil.kick();
    assert!(evil.is_closed());
    assert!(eventually(|| switch.status(2).state().isolated.as_deref() == Some("avail_index_jump")));
    assert!(!switch.status(2).is_connected());
    assert_eq!(switch.status(2).isolations(), 1);
    assert_passes(&mut guests, 0, 1, b"after");
    // Its next connection starts with a clean sheet.
    drop(evil);
    guests.push(guest(&switch, 2, PLAIN));
    assert_eq!(switch.status(2).state().isolated, None);
    assert_passes(&mut guests, 2, 0, b"again");
}

#[test]
fn memory_that_is_cut_short_isolates_its_port() {
    let switch = Switch::new(3);
    let mut guests = guests(&switch, PLAIN);
    // From here on nothing is flooded to them.
    assert_passes(&mut guests, 0, 1, b"learn");
    assert_passes(&mut guests, 1, 0, b"learn");
    for round in 0..5 {
        let mut evil = guests.pop().unwrap();
        // Seals would forbid it, so this file has none; huge pages and /dev/shm behave like that anyway.
        assert!(ftruncate(&evil.memory.file, 0).is_err(), "sealed by the switch");
        drop(evil);
        evil = FrontEnd::connect(&switch.path(2), 1);
        evil.memory = Memory::unsealable(8 << 20);
        evil.rings = (0..2).map(|ring| super::guest::Driver::new(&evil.memory, ring << 20, 64, 2048)).collect();
        evil.greet();
        (0..64).for_each(|slot| evil.rings[0].post(slot, 2048));
        evil.start(PLAIN, |_| 0);
        assert!(eventually(|| switch.status(2).is_connected()));
        assert!(!switch.status(2).state().memory_sealed);
        guests.push(evil);
        assert_passes(&mut guests, 2, 0, &[round; 100]);
        let mut evil = guests.pop().unwrap();
        ftruncate(&evil.memory.file, 0).unwrap();
        evil.kick();
        // An idle worker looks into the ring when it is kicked, or when somebody sends to it.
        assert!(evil.is_closed());
        assert!(eventually(|| switch.status(2).state().isolated.as_deref() == Some("memory_lost")));
        assert_passes(&mut guests, 0, 1, b"others");
        guests.push(guest(&switch, 2, PLAIN));
    }
}

#[test]
fn a_second_front_end_waits_for_its_turn() {
    let switch = Switch::new(2);
    let mut guests = guests(&switch, PLAIN);
    let waiting = UnixStream::connect(switch.path(1)).unwrap();
    assert_passes(&mut guests, 0, 1, b"the first is served");
    drop(guests.pop());
    let mut next = FrontEnd::over(waiting, 1, 64);
    next.greet();
    (0..64).for_each(|slot| next.rings[0].post(slot, 2048));
    next.start(PLAIN, |_| 0);
    guests.push(next);
    assert!(eventually(|| switch.status(1).is_connected()));
    assert_passes(&mut guests, 0, 1, b"then the second");
}

#[test]
fn a_call_that_blocks_is_interrupted_and_isolates_its_port() {
    crate::port::vhost::call::start_watchdog().unwrap();
    for _ in 0..20 {
        let (lone, mut front_end) = bring_to(State::Running);
        lone.shelf.with(|queue| queue.receive(&mut Batch::new())).unwrap().unwrap();
        front_end.rings[1].calls();
        // The counter is as full as it gets, and the flag that would spare the writer is gone.
        let call = front_end.rings[1].call.clone();
        rustix::io::write(&*call, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        rustix::fs::fcntl_setfl(&*call, OFlags::empty()).unwrap();
        front_end.rings[1].send(0, &[0; 12], &[7; 60]);
        let started = Instant::now();
        let received = lone.shelf.with(|queue| queue.receive(&mut Batch::new())).unwrap();
        assert_eq!(received.map_err(|fault| fault.word), Err("call_blocked"));
        // Within a millisecond on a quiet machine; this bound only tells a stall from a hang.
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!(lone.closing(), Closing::Fault("call_blocked".into()));
    }
}
