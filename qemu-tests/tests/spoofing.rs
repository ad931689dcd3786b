//! A guest that says it is somebody else is not heard, and its own identity still works afterwards.

use std::time::Duration;

use qemu_tests::lab::Lab;
use qemu_tests::setup::{Member, Setup};
use qemu_tests::tools::wait_until;

/// Runs `attempt` in web1, which has to fail, raise the drops for `reason`, and never reach web2's ping service.
fn check(lab: &mut Lab, reason: &str, attempt: &str) {
    let before = lab.switch.metrics().drops(reason);
    let echoes = lab.guest("web2").snmp("Icmp", "InEchos");
    let output = lab.guest("web1").run(attempt);
    assert!(!output.ok(), "`{attempt}` worked: {}", output.text);
    let counted = wait_until(Duration::from_secs(3), || lab.switch.metrics().drops(reason) > before);
    assert!(counted, "`{attempt}` counted no {reason}:\n{}", lab.switch.metrics_text());
    assert_eq!(lab.guest("web2").snmp("Icmp", "InEchos"), echoes, "`{attempt}` reached web2");
    let event = lab.switch.wait_eve(reason, |event| event["vswitch"]["reason"] == reason);
    assert_eq!(event["vswitch"]["from_port"], "web1", "{event}");
}

#[test]
fn spoofed_sources_are_dropped_with_the_right_reason() {
    let mut lab = Setup::new().guest(Member::web1()).guest(Member::web2()).start();
    let (web2, web2_v6) = (Member::web2().ip, Member::web2().ip6);
    assert!(lab.guest("web1").can_ping(web2, 5), "before: web1 pings web2");
    assert!(lab.guest("web1").can_ping(web2_v6, 5), "before: web1 pings web2 over IPv6");

    lab.guest("web1").must("ip addr add 10.0.1.99/16 dev eth0; ip -6 addr add fd00::99/64 dev eth0");
    check(&mut lab, "spoof_ipv4", &format!("ping -c 2 -W 1 -w 2 -I 10.0.1.99 {web2}"));
    check(&mut lab, "spoof_ipv6", &format!("ping -c 2 -W 1 -w 2 -I fd00::99 {web2_v6}"));
    // claims web2's address for itself: the classic way to be in the middle
    check(&mut lab, "spoof_arp", &format!("arping -q -c 2 -w 2 -I eth0 -s 10.0.1.99 {web2}"));
    lab.guest("web1").must("ip addr del 10.0.1.99/16 dev eth0; ip -6 addr del fd00::99/64 dev eth0");

    let change_mac =
        |mac: &str| format!("ip link set eth0 down; ip link set eth0 address {mac}; ip link set eth0 up; sleep 0.2");
    lab.guest("web1").must(&change_mac("52:54:00:00:09:99"));
    lab.guest("web1").must(&format!("arp -i eth0 -s {web2} {}", Member::web2().mac));
    check(&mut lab, "spoof_mac", &format!("ping -c 2 -W 1 -w 2 {web2}"));

    lab.guest("web1").must(&change_mac(Member::web1().mac));
    assert!(lab.guest("web1").can_ping(web2, 5), "after: web1, itself again, pings web2");
    lab.balanced_books();
}
