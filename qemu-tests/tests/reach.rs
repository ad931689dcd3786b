//! Who may talk to whom: within a zone, and from one zone to another as the policy says.

use qemu_tests::setup::{Member, Setup};

#[test]
fn guests_reach_their_zone_and_what_the_policy_opens() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::web2())
        .guest(Member::db1())
        .rule("{name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}")
        .rule("{name: web-ping-db, from: web, to: db, proto: icmp, action: allow}")
        .start();
    let (web2, web2_v6) = (Member::web2().ip, Member::web2().ip6);
    let (db1, db1_v6) = (Member::db1().ip, Member::db1().ip6);

    // within zone web, whose guests may talk to each other
    assert!(lab.guest("web1").can_ping(web2, 5), "web1 pings web2");
    assert!(lab.guest("web1").can_ping(web2_v6, 5), "web1 pings web2 over IPv6");
    lab.guest("web2").serve_tcp(8080);
    assert!(lab.guest("web1").echo_tcp(web2, 8080, "hello web2", 5), "web1 talks TCP to web2");
    assert_eq!(lab.guest("web2").received(8080), "hello web2");

    // from zone web to zone db, where a rule allows it; the answers come back without a rule of their own
    assert!(lab.guest("web1").can_ping(db1, 5), "web1 pings db1");
    lab.guest("db1").serve_tcp(5432);
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "select 1", 5), "web1 talks TCP to db1");
    assert!(lab.guest("web2").echo_tcp(db1_v6, 5432, "select 2", 5), "web2 talks TCP to db1 over IPv6");
    assert_eq!(lab.guest("db1").received(5432), "select 1\nselect 2");

    // and not the other way round: an answer is not a permission to ask
    let before = lab.guest("web1").snmp("Icmp", "InEchos");
    assert!(!lab.guest("db1").can_ping(Member::web1().ip, 2), "db1 must not open a flow to web1");
    assert_eq!(lab.guest("web1").snmp("Icmp", "InEchos"), before, "no echo request reached web1");

    lab.balanced_books();
}

#[test]
fn large_transfers_arrive_unchanged() {
    let mut lab = Setup::new().guest(Member::web1()).guest(Member::web2()).start();
    // the service answers with the checksum of all that it got
    lab.guest("web2").must("nc -ll -p 9000 -e md5sum >/dev/null 2>&1 &");
    lab.guest("web1").must("dd if=/dev/urandom of=/tmp/original bs=1024 count=2048 2>/dev/null");
    let sent = lab.guest("web1").must("md5sum </tmp/original");
    let received = lab.guest("web1").must(&format!("timeout 20 nc {} 9000 </tmp/original", Member::web2().ip));
    assert_eq!(received, sent, "two megabytes over TCP");
    // the greatest datagram that fits one frame
    assert!(lab.guest("web1").run(&format!("ping -c 2 -W 1 -w 3 -s 1472 {}", Member::web2().ip)).ok());
    lab.balanced_books();
}
