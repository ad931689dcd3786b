//! What leaves the host goes through the firewall outside, and what comes back through the policy.

use std::sync::atomic::Ordering;

use qemu_tests::firewall::{CLIENT_IP, FIREWALL_IP, Firewall};
use qemu_tests::setup::{Member, Setup};

#[test]
fn traffic_leaves_by_the_uplink_and_comes_back_through_the_firewall() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::db1())
        .firewall()
        .rule("{name: web-out, from: web, to: outside, proto: tcp, action: allow}")
        .rule("{name: web-ping-out, from: web, to: outside, proto: icmp, action: allow}")
        .rule("{name: out-web, from: outside, to: web, proto: tcp, dport: [80, 81], action: allow}")
        .rule("{name: ping-in, from: outside, to: web, proto: icmp, action: allow}")
        .rule("{name: routed-db, from: outside, to: db, proto: tcp, dport: 5432, action: allow}")
        .start();
    let (web1, db1) = (Member::web1().ip, Member::db1().ip);

    // out
    assert!(lab.guest("web1").can_ping(FIREWALL_IP, 5), "web1 pings its gateway");
    let forwarded = lab.firewall().forwarded();
    assert!(lab.guest("web1").can_ping(CLIENT_IP, 5), "web1 pings the client behind the firewall");
    assert!(lab.firewall().forwarded() >= forwarded + 2, "request and answer went through the firewall");
    lab.firewall().serve_client(9000);
    assert!(lab.guest("web1").echo_tcp(CLIENT_IP, 9000, "hello outside", 5), "web1 talks TCP to the client");

    // out, where the switch allows it and the firewall does not: so it really is in the way
    let closed = lab.firewall().serve_client(Firewall::CLOSED_PORT);
    assert!(!lab.guest("web1").echo_tcp(CLIENT_IP, Firewall::CLOSED_PORT, "hello", 2), "the firewall is in the way");
    assert_eq!(closed.load(Ordering::SeqCst), 0, "nothing got past the firewall");

    // in
    lab.guest("web1").serve_tcp(80);
    lab.guest("db1").serve_tcp(80);
    assert!(lab.firewall().client_echo(web1, 80), "the client talks TCP to web1");
    assert!(lab.firewall().client.try_run(&format!("busybox ping -c 1 -W 3 -w 3 {web1}")), "the client pings web1");
    assert!(!lab.firewall().client_echo(db1, 80), "the policy lets nobody outside reach db1's port 80");
    assert_eq!(lab.guest("db1").received(80), "");

    // a lot, both ways: long segments cross the uplink whole, and must come out the same
    lab.guest("web1").must("nc -ll -p 81 -e md5sum >/dev/null 2>&1 &");
    lab.guest("web1").must("dd if=/dev/urandom of=/tmp/original bs=1024 count=4096 2>/dev/null");
    let mut service = lab.firewall().client.command("busybox");
    let mut service = service.args(["nc", "-ll", "-p", "9001", "-e", "md5sum"]).spawn().expect("nc starts");
    let sent = lab.guest("web1").must("md5sum </tmp/original");
    assert_eq!(lab.guest("web1").must(&format!("timeout 20 nc {CLIENT_IP} 9001 </tmp/original")), sent, "4 MiB out");
    service.kill().expect("nc runs");
    service.wait().expect("it was killed");
    let sums = lab.firewall().client.run(&format!(
        "data=$(mktemp); head -c 4194304 /dev/urandom >$data; md5sum <$data
         timeout 20 busybox nc {web1} 81 <$data; rm $data"
    ));
    let sums: Vec<&str> = sums.lines().collect();
    assert!(sums.len() == 2 && sums[0] == sums[1], "4 MiB in: {sums:?}");

    // guest to guest: not directly, but by way of the firewall
    lab.guest("db1").serve_tcp(5432);
    assert!(!lab.guest("web1").echo_tcp(db1, 5432, "direct", 2), "no rule opens web to db directly");
    lab.guest("web1").must(&format!("ip route add {db1}/32 via {FIREWALL_IP}"));
    lab.guest("db1").must(&format!("ip route add {web1}/32 via {FIREWALL_IP}"));
    let forwarded = lab.firewall().forwarded();
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "routed", 5), "routed by the firewall, web1 reaches db1");
    assert!(lab.firewall().forwarded() >= forwarded + 6, "a TCP conversation went through the firewall");
    assert_eq!(lab.guest("db1").received(5432), "routed");

    let metrics = lab.settled();
    assert!(metrics.labelled("vswitch_port_transmit_packets_total", "port", "up0") >= 10.0);
    assert!(metrics.labelled("vswitch_port_receive_packets_total", "port", "up0") >= 10.0);
    lab.balanced_books();
}
