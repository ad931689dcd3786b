//! Whole connections of well-behaved front-ends: frames pass between guests, rings stop and go on where they stood.

use std::os::unix::net::{UnixListener, UnixStream};

use inspect::wire::emit;
use vhost::vhost_user::message::FrontendReq as Code;

use super::front_end::{FrontEnd, eventually, pair};
use super::switch::Switch;
use crate::port::vhost::features::Features;
use crate::port::vhost::{Mode, VhostConfig};

const HEADER: [u8; 12] = [0; 12];
pub(super) const PLAIN: Features = Features::VERSION_1.and(Features::MRG_RXBUF);

/// A frame from one guest to another; guests are numbered from 1.
pub(super) fn frame(from: u8, to: u8, payload: &[u8]) -> Vec<u8> {
    let mac = |number| [0x52, 0x54, 0, 0, 0, number];
    emit::udp(([10, 0, 0, from], 1000), ([10, 0, 0, to], 2000)).macs(mac(from), mac(to)).payload(payload).build()
}

/// Guests with all receive buffers posted, connected to the ports of a switch.
pub(super) fn guests(switch: &Switch, features: Features) -> Vec<FrontEnd> {
    (0..switch.ports.len()).map(|port| guest(switch, port, features)).collect()
}

pub(super) fn guest(switch: &Switch, port: usize, features: Features) -> FrontEnd {
    let mut front_end = FrontEnd::connect(&switch.path(port), 1);
    front_end.greet();
    (0..64).for_each(|slot| front_end.rings[0].post(slot, 2048));
    front_end.start(features, |_| 0);
    assert!(eventually(|| switch.status(port).is_connected()), "{:?}", switch.status(port).state());
    front_end
}

/// Sends one frame and asserts that it arrives, without a kick being spared.
#[track_caller]
pub(super) fn assert_passes(guests: &mut [FrontEnd], from: usize, to: usize, payload: &[u8]) {
    let frame = frame(from as u8 + 1, to as u8 + 1, payload);
    let sender = &mut guests[from];
    let slot = sender.rings[1].offered & 63;
    sender.rings[1].send(slot, &HEADER, &frame);
    sender.kick();
    let mut arrived = Vec::new();
    assert!(eventually(|| {
        arrived.extend(guests[to].rings[0].received());
        !arrived.is_empty()
    }));
    assert_eq!(arrived.iter().map(|f| &f[12..]).collect::<Vec<_>>(), [&frame[..]]);
    assert!(eventually(|| !guests[from].rings[1].used().is_empty()));
    // The receiver's buffer goes back into its ring.
    let receiver = &mut guests[to].rings[0];
    let slot = receiver.seen.wrapping_sub(1) & 63;
    receiver.post(slot, 2048);
}

#[test]
fn frames_pass_between_two_guests_both_ways() {
    let switch = Switch::new(2);
    let mut guests = guests(&switch, PLAIN);
    for round in 0..200 {
        assert_passes(&mut guests, 0, 1, &[round; 100]);
        assert_passes(&mut guests, 1, 0, &[round; 1000]);
    }
    let state = switch.status(0).state();
    assert_eq!(state.ring_sizes, [64, 64]);
    assert_eq!(state.features, Some(PLAIN.and(Features::PROTOCOL_FEATURES)));
    assert_eq!(state.peer_pid, Some(std::process::id() as i32));
    assert!(state.memory_sealed);
}

#[test]
fn a_worker_that_sleeps_is_woken_by_a_kick() {
    for features in [PLAIN, PLAIN.and(Features::EVENT_IDX)] {
        let switch = Switch::new(2);
        let mut guests = guests(&switch, features);
        for round in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            assert_passes(&mut guests, 0, 1, &[round; 60]);
        }
    }
}

#[test]
fn a_ring_that_was_stopped_goes_on_where_it_stood() {
    let switch = Switch::new(2);
    let mut guests = guests(&switch, PLAIN);
    for round in 0..10u8 {
        for _ in 0..7 {
            assert_passes(&mut guests, 0, 1, &[round; 60]);
        }
        let bases = [0, 1].map(|ring| guests[1].stop_ring(ring).unwrap());
        assert_eq!(bases, [guests[1].rings[0].seen, guests[1].rings[1].seen]);
        assert_eq!(switch.status(1).state().pairs_attached, 0);
        guests[1].kicks.clear();
        for ring in [0, 1] {
            guests[1].start_ring(ring, bases[ring as usize].into());
        }
        assert!(eventually(|| switch.status(1).is_connected()));
    }
    assert_passes(&mut guests, 1, 0, b"done");
}

#[test]
fn a_front_end_that_died_comes_back_and_the_guest_goes_on() {
    let switch = Switch::new(2);
    let mut guests = guests(&switch, PLAIN);
    for round in 0..5u32 {
        for _ in 0..9 {
            assert_passes(&mut guests, 0, 1, &[round as u8; 60]);
        }
        // No GET_VRING_BASE: the connection breaks. What the front-end then says as base is what QEMU says, the used index,
        // or what DPDK says, 0.
        let guest = guests.pop().unwrap();
        let socket = UnixStream::connect(switch.path(1)).unwrap();
        let mut guest = guest.reconnect(socket);
        guest.greet();
        let bases = [guest.rings[0].seen, guest.rings[1].seen];
        guest.start(PLAIN, |ring| if round % 2 == 0 { u32::from(bases[ring as usize]) } else { 0 });
        assert!(eventually(|| switch.status(1).is_connected()));
        guests.push(guest);
        assert_passes(&mut guests, 1, 0, b"back again");
    }
    assert_eq!(switch.status(1).connections(), 6);
    assert_eq!(switch.status(1).isolations(), 0);
}

#[test]
fn a_guest_that_reboots_starts_with_fresh_rings() {
    let switch = Switch::new(2);
    let mut guests = guests(&switch, PLAIN);
    for round in 0..3 {
        assert_passes(&mut guests, 0, 1, &[round; 60]);
        let guest = guests.pop().unwrap();
        guest.memory.write(0, &vec![0; guest.memory.len]);
        drop(guest);
        guests.push(self::guest(&switch, 1, PLAIN));
    }
    assert_passes(&mut guests, 0, 1, b"once more");
}

#[test]
fn rings_enabled_and_disabled_come_and_go() {
    let switch = Switch::new(2);
    let mut guests = guests(&switch, PLAIN);
    for _ in 0..20 {
        assert_eq!(guests[0].enable(0, false), Some(true));
        assert_eq!(switch.status(0).state().pairs_attached, 0);
        assert_eq!(guests[0].enable(0, true), Some(true));
        assert_passes(&mut guests, 0, 1, b"on");
    }
}

#[test]
fn memory_is_exchanged_while_rings_run() {
    let switch = Switch::new(2);
    let mut guests = guests(&switch, PLAIN);
    for round in 0..50 {
        assert_eq!(guests[0].share_memory(), Some(true));
        assert_passes(&mut guests, 0, 1, &[round; 90]);
    }
    // Another region comes and goes.
    let extra = super::guest::Memory::new(1 << 20);
    let region =
        crate::port::vhost::message::MemoryRegion { guest: 1 << 40, len: 1 << 20, user: extra.base as u64, offset: 0 };
    let body = [vec![0; 8], crate::port::vhost::message::memory_table(&[region])[8..].to_vec()].concat();
    use std::os::fd::AsFd;
    for _ in 0..20 {
        assert_eq!(guests[0].request(Code::ADD_MEM_REG, &body, &[extra.file.as_fd()]), Some(true));
        assert_passes(&mut guests, 1, 0, b"more");
        assert_eq!(guests[0].request(Code::REM_MEM_REG, &body, &[]), Some(true));
        assert_passes(&mut guests, 0, 1, b"less");
    }
}

#[test]
fn features_repeated_while_rings_run_change_nothing() {
    let switch = Switch::new(2);
    let mut guests = guests(&switch, PLAIN);
    let features = PLAIN.and(Features::PROTOCOL_FEATURES).0;
    assert_eq!(guests[0].request(Code::SET_FEATURES, &features.to_ne_bytes(), &[]), Some(true));
    assert_passes(&mut guests, 0, 1, b"still");
}

#[test]
fn without_protocol_features_rings_are_enabled_from_the_start() {
    let switch = Switch::new(1);
    let mut front_end = FrontEnd::connect(&switch.path(0), 1);
    front_end.ask(Code::GET_FEATURES, &[]).unwrap();
    front_end.send(Code::SET_OWNER, 0, &[], &[]);
    front_end.send(Code::SET_FEATURES, 0, &PLAIN.0.to_ne_bytes(), &[]);
    let body = crate::port::vhost::message::memory_table(&[front_end.region()]);
    let memory = front_end.memory.clone();
    use std::os::fd::AsFd;
    front_end.send(Code::SET_MEM_TABLE, 0, &body, &[memory.file.as_fd()]);
    for ring in [0, 1] {
        let driver = &front_end.rings[ring as usize];
        let user = |at: usize| memory.base as u64 + at as u64;
        let addresses = [user(driver.descriptors), user(driver.used), user(driver.avail), 0];
        let addresses: Vec<u8> = addresses.iter().flat_map(|a| a.to_ne_bytes()).collect();
        front_end.send(Code::SET_VRING_NUM, 0, &pair(ring, 64), &[]);
        front_end.send(Code::SET_VRING_BASE, 0, &pair(ring, 0), &[]);
        front_end.send(Code::SET_VRING_ADDR, 0, &[pair(ring, 0), addresses].concat(), &[]);
        let call = front_end.rings[ring as usize].call.clone();
        front_end.send(Code::SET_VRING_KICK, 0, &u64::from(ring).to_ne_bytes(), &[call.as_fd()]);
    }
    assert!(eventually(|| switch.status(0).is_connected()), "{:?}", switch.status(0).state());
}

#[test]
fn two_queue_pairs_are_served() {
    let switch = Switch::with(1, |config| VhostConfig { queues: 2, ..config });
    let mut front_end = FrontEnd::connect(&switch.path(0), 2);
    front_end.greet();
    front_end.start(PLAIN.and(Features::MQ), |_| 0);
    assert!(eventually(|| switch.status(0).state().pairs_attached == 2));
    assert_eq!(switch.status(0).state().ring_sizes.len(), 4);
}

#[test]
fn a_client_port_dials_until_somebody_listens() {
    let switch = Switch::with(1, |config| VhostConfig { mode: Mode::Client, ..config });
    for _ in 0..2 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let listener = UnixListener::bind(switch.path(0)).unwrap();
        let (socket, _) = listener.accept().unwrap();
        drop(listener);
        std::fs::remove_file(switch.path(0)).unwrap();
        let mut front_end = FrontEnd::over(socket, 1, 64);
        front_end.greet();
        front_end.start(PLAIN, |_| 0);
        assert!(eventually(|| switch.status(0).is_connected()));
        drop(front_end);
        assert!(eventually(|| !switch.status(0).is_connected()));
    }
}

#[test]
fn a_port_that_stops_lets_go_of_everything() {
    let mut switch = Switch::new(1);
    let mut front_end = guest(&switch, 0, PLAIN);
    let path = switch.path(0);
    switch.ports.pop().unwrap().stop();
    assert!(!path.exists());
    assert!(front_end.is_closed());
}

#[test]
fn a_stale_socket_is_replaced_and_anything_else_is_left_alone() {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    let directory = tempfile::tempdir().unwrap();
    let switch = Switch::new(0);
    let start = |path: &std::path::Path| {
        let config = VhostConfig::new(crate::frame::PortId(0), "p", path, Mode::Server);
        crate::port::vhost::VhostPort::start(config, switch.workers.clone(), Arc::default())
    };
    let stale = directory.path().join("deep/er/stale.sock");
    std::fs::create_dir_all(stale.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&stale).unwrap());
    let port = start(&stale).unwrap();
    assert_eq!(std::fs::metadata(&stale).unwrap().permissions().mode() & 0o777, 0o660);
    port.stop();
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(start(&file).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(start(&link).is_err());
}
