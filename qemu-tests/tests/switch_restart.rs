//! The switch dies and returns while guests run: they go on without a reboot, and nothing passes unjudged meanwhile.

use std::time::{Duration, Instant};

use qemu_tests::setup::{Member, Setup};

/// The promise: new connections work within this time of the switch's return.
const RETURN_MAX: Duration = Duration::from_secs(2);

#[test]
fn guests_go_on_when_the_switch_is_killed_and_started_again() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::db1().listening())
        .rule("{name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}")
        .start();
    let db1 = Member::db1().ip;
    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let boots = [lab.guest("web1").must(boot_id), lab.guest("db1").must(boot_id)];
    lab.guest("db1").serve_tcp(5432);
    lab.guest("db1").serve_tcp(6666);
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "before", 5), "before: the allowed port answers");

    // QEMU takes the link down while the switch is away, and Linux then forgets its neighbours and asks for each only
    // once a second. That second is the guest's: the promise is about the switch, and QEMU's redial takes one already.
    for name in ["web1", "db1"] {
        lab.guest(name).must("echo 100 >/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms");
    }

    // two probes of what is denied, all the time: echo requests, and connections
    lab.guest("web1").must(&format!("ping -i 0.05 {db1} >/dev/null 2>&1 &"));
    let connect = format!("echo probe | timeout 0.3 nc {db1} 6666");
    lab.guest("web1").must(&format!("(while true; do {connect}; sleep 0.1; done) >/dev/null 2>&1 &"));
    lab.guest("web1").must("sleep 1");

    for round in 1..=3 {
        lab.switch.kill();
        assert!(!lab.guest("web1").echo_tcp(db1, 5432, "while away", 1), "without a switch nothing passes");
        assert!(lab.guest("web1").is_running() && lab.guest("db1").is_running(), "QEMU survives the switch");
        lab.start_switch();
        let returned = Instant::now();
        let text = format!("after {round}");
        let line = format!("echo {text} | timeout 0.3 nc {db1} 5432");
        while lab.guest("web1").run(&line).text != text {
            assert!(returned.elapsed() < RETURN_MAX, "round {round}: no new connection within two seconds");
        }
        println!("round {round}: a new connection {:?} after the switch was ready", returned.elapsed());
    }
    lab.guest("web1").must("sleep 1");

    assert_eq!([lab.guest("web1").must(boot_id), lab.guest("db1").must(boot_id)], boots, "nobody has rebooted");
    assert_eq!(lab.guest("db1").received(6666), "", "the denied connection never passed");
    assert_eq!(lab.guest("db1").snmp("Icmp", "InEchos"), 0, "the denied echo request never passed");
    assert!(lab.switch.metrics().drops("policy") >= 2.0, "the probes did run: the switch kept dropping them");
    lab.guest("web1").must("kill $(jobs -p); killall -q ping; true");
    lab.balanced_books();
}
