//! Who listens and who dials, in which order, with which rings: it has to come up all the same.

use qemu_tests::lab::Lab;
use qemu_tests::setup::{Member, Setup};

fn check_both_ways(lab: &mut Lab, when: &str) {
    assert!(lab.guest("web1").can_ping(Member::web2().ip, 5), "{when}: web1 pings web2");
    assert!(lab.guest("web2").can_ping(Member::web1().ip, 5), "{when}: web2 pings web1");
    assert!(lab.guest("web1").can_ping(Member::web2().ip6, 5), "{when}: web1 pings web2 over IPv6");
}

#[test]
fn guests_may_be_there_before_the_switch_in_either_mode() {
    let mut lab =
        Setup::new().guest(Member::web1().listening().queue_size(1024)).guest(Member::web2().queue_size(512)).prepare();
    lab.power_on();
    std::thread::sleep(std::time::Duration::from_millis(500));
    lab.start_switch();
    for name in ["web1", "web2"] {
        lab.guest(name).wait_ready();
    }
    check_both_ways(&mut lab, "guests first");
    lab.balanced_books();
}

#[test]
fn the_switch_may_be_there_before_guests_with_plain_rings() {
    // without mergeable buffers, event indices and indirect descriptors: the least that virtio 1 has
    let plain = ",mrg_rxbuf=off,event_idx=off,indirect_desc=off";
    let mut lab =
        Setup::new().guest(Member::web1().listening().card(plain)).guest(Member::web2().card(",mrg_rxbuf=off")).start();
    check_both_ways(&mut lab, "switch first");

    lab.guest("web2").serve_tcp(8080);
    assert!(lab.guest("web1").echo_tcp(Member::web2().ip, 8080, "plain rings", 5));
    // a guest that listens is dialled again when it comes back
    lab.guest("web1").start_again();
    lab.guest("web1").wait_ready();
    check_both_ways(&mut lab, "web1 came back");
    lab.balanced_books();
}
