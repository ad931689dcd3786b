//! Guests reboot, crash and come back; their ports follow, and nobody else notices.

use std::time::Duration;

use qemu_tests::lab::Lab;
use qemu_tests::setup::{Member, Setup};
use qemu_tests::tools::wait_until;

fn connected(lab: &Lab, port: &str) -> bool {
    lab.switch.metrics().labelled("vswitch_port_connected", "port", port) == 1.0
}

#[test]
fn a_guest_that_reboots_or_crashes_comes_back_on_the_same_port() {
    let mut lab = Setup::new().guest(Member::web1()).guest(Member::web2()).start();
    let (web1, web2) = (Member::web1().ip, Member::web2().ip);
    let switch = lab.switch.pid();
    assert!(lab.guest("web1").can_ping(web2, 5), "before: web1 pings web2");
    assert!(connected(&lab, "web1") && connected(&lab, "web2"));

    lab.guest("web2").reset();
    assert!(lab.guest("web1").can_ping(web2, 5), "after a reset web1 pings web2");
    assert!(lab.guest("web2").can_ping(web1, 5), "after a reset web2 pings web1");

    lab.guest("web2").kill();
    assert!(wait_until(Duration::from_secs(3), || !connected(&lab, "web2")), "the port sees that its guest is gone");
    assert!(connected(&lab, "web1"), "the other port does not care");
    assert!(!lab.guest("web1").can_ping(web2, 1), "nobody answers for a dead guest");

    lab.guest("web2").start_again();
    lab.guest("web2").wait_ready();
    assert!(connected(&lab, "web2"));
    assert!(lab.guest("web1").can_ping(web2, 5), "after a crash web1 pings web2");
    assert!(lab.switch.is_running() && lab.switch.pid() == switch, "all this with one switch process");
    lab.balanced_books();
}
