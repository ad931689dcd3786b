//! Every combination of a sender's and a receiver's offloads: what arrives is what was sent.
//!
//! Who may leave segmentation and checksums to others sends segments of up to 64 KiB. They cross whole to who takes them, and
//! are cut and summed on the way to who does not.

use qemu_tests::firewall::CLIENT_IP;
use qemu_tests::guest::Guest;
use qemu_tests::lab::Lab;
use qemu_tests::setup::{Member, Setup};

/// What the card of a guest offers its driver, by name; and the feature bits that must have been negotiated, or must not.
struct Card {
    options: &'static str,
    has_checksums: bool,
    has_segments: bool,
    has_mergeable: bool,
}

const NO_SEGMENTS: &str = ",host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,gso=off,\
                           guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,mrg_rxbuf=off";

const CARDS: [Card; 4] = [
    Card {
        options: ",csum=off,guest_csum=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,gso=off,\
                  guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,mrg_rxbuf=off",
        has_checksums: false,
        has_segments: false,
        has_mergeable: false,
    },
    Card { options: NO_SEGMENTS, has_checksums: true, has_segments: false, has_mergeable: false },
    Card { options: ",mrg_rxbuf=off", has_checksums: true, has_segments: true, has_mergeable: false },
    Card { options: "", has_checksums: true, has_segments: true, has_mergeable: true },
];

/// Bits of virtio-net (virtio 1.2 section 5.1.3).
const CSUM: usize = 0;
const GUEST_CSUM: usize = 1;
const GUEST_TSO4: usize = 7;
const HOST_TSO4: usize = 11;
const MRG_RXBUF: usize = 15;

/// Bytes of one transfer: enough for segments of the largest size, also while the window opens.
const TRANSFER_BYTES: u64 = 512 << 10;
/// What one frame of an Ethernet carries of it at most.
const FRAME_PAYLOAD_MAX: u64 = 1460;

/// The port on which guests answer with the hash of what they get.
const HASH_PORT: u16 = 81;

impl Card {
    fn check(&self, guest: &mut Guest) {
        let bits = guest.must("cat /sys/bus/virtio/devices/virtio0/features");
        let has = |bit: usize| bits.as_bytes().get(bit) == Some(&b'1');
        let name = guest.name();
        for (bit, wanted) in [
            (CSUM, self.has_checksums),
            (GUEST_CSUM, self.has_checksums),
            (GUEST_TSO4, self.has_segments),
            (HOST_TSO4, self.has_segments),
            (MRG_RXBUF, self.has_mergeable),
        ] {
            assert_eq!(has(bit), wanted, "{name}: feature {bit} of {bits}");
        }
    }
}

/// Sends the file to a service that answers with its hash, and compares.
fn send(guest: &mut Guest, address: &str, port: u16) {
    let sum = guest.must("cat /tmp/original.sum");
    let line = format!("timeout 60 nc {address} {port} </tmp/original");
    let got = guest.run_for(&line, std::time::Duration::from_secs(90)).text;
    assert_eq!(got, sum, "{} to {address}: what arrived is not what was sent", guest.name());
}

/// Frames that a guest's card has handed to its driver.
fn received_frames(guest: &mut Guest) -> u64 {
    guest.must("cat /sys/class/net/eth0/statistics/rx_packets").parse().expect("a number")
}

fn prepare(lab: &mut Lab, name: &str) {
    let guest = lab.guest(name);
    let count = TRANSFER_BYTES / 1024;
    guest.must(&format!("dd if=/dev/urandom of=/tmp/original bs=1024 count={count} 2>/dev/null"));
    guest.must("md5sum </tmp/original >/tmp/original.sum");
    guest.must(&format!("nc -ll -p {HASH_PORT} -e md5sum >/dev/null 2>&1 &"));
}

#[test]
fn whoever_sends_to_whomever_the_bytes_are_the_same() {
    // Two guests with each card, so that each card also meets its like.
    let members: Vec<Member> = (0..8).map(|number| Member::web(number).card(CARDS[number % 4].options)).collect();
    let setup = members.iter().cloned().fold(Setup::new(), Setup::guest);
    let mut lab = setup
        .firewall()
        .rule("{name: out, from: web, to: outside, proto: tcp, action: allow}")
        .rule("{name: in, from: outside, to: web, proto: tcp, dport: 81, action: allow}")
        .start();
    for (number, member) in members.iter().enumerate() {
        CARDS[number % 4].check(lab.guest(member.name));
        prepare(&mut lab, member.name);
    }

    for (left, sender_card) in members[..4].iter().zip(&CARDS) {
        for (right, receiver_card) in members[4..].iter().zip(&CARDS) {
            let before = received_frames(lab.guest(right.name));
            send(lab.guest(left.name), right.ip, HASH_PORT);
            let frames = received_frames(lab.guest(right.name)) - before;
            // That segments crossed whole, and only where they may: fewer frames than that many bytes need if each is cut.
            // How large segments get is up to the sender's TCP, which on a slow machine sends what it has.
            let crossed_whole = frames < TRANSFER_BYTES / FRAME_PAYLOAD_MAX;
            let expected = sender_card.has_segments && receiver_card.has_segments;
            assert_eq!(crossed_whole, expected, "{} to {}: {frames} frames", left.name, right.name);
            send(lab.guest(right.name), left.ip, HASH_PORT);
        }
    }

    // The uplink, whose TAP takes everything.
    let mut service = lab.firewall().client.command("busybox");
    let mut service = service.args(["nc", "-ll", "-p", "9001", "-e", "md5sum"]).spawn().expect("nc starts");
    for member in &members[..4] {
        send(lab.guest(member.name), CLIENT_IP, 9001);
        let sums = lab.firewall().client.run(&format!(
            "data=$(mktemp); head -c {TRANSFER_BYTES} /dev/urandom >$data; md5sum <$data
             timeout 60 busybox nc {} {HASH_PORT} <$data; rm $data",
            member.ip
        ));
        let sums: Vec<&str> = sums.lines().collect();
        assert!(sums.len() == 2 && sums[0] == sums[1], "from outside to {}: {sums:?}", member.name);
    }
    service.kill().expect("nc runs");
    service.wait().expect("it was killed");
    lab.balanced_books();
}
