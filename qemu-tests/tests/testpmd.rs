//! DPDK's testpmd as a guest: another virtio driver, which polls and acknowledges features in another order.

use std::time::Duration;

use qemu_tests::setup::{Member, Setup};
use qemu_tests::testpmd::Testpmd;

#[test]
fn a_linux_guest_pings_a_dpdk_guest() {
    let mut lab = Setup::new().guest(Member::web1()).guest(Member::web2().without_machine()).start();
    let web2 = Member::web2();
    // the smallest ring that the switch supports
    let mut pmd = Testpmd::start("web2", lab.dir(), &lab.socket("web2"), web2.mac, 64, &["--forward-mode=icmpecho"]);
    pmd.command("start");
    assert!(lab.guest("web1").can_ping(web2.ip, 5), "web1 pings the DPDK guest:\n{}", pmd.report());
    let output = lab.guest("web1").run(&format!("ping -q -c 100 -i 0.01 -s 1000 -W 1 -w 10 {}", web2.ip));
    assert!(output.text.contains(" 100 packets received"), "{}", output.text);
    let stats = pmd.stop();
    assert!(stats.received > 100 && stats.sent > 100, "{stats:?}");
    lab.balanced_books();
}

#[test]
fn two_dpdk_guests_at_full_speed_keep_the_books_balanced() {
    let (web1, web2) = (Member::web1(), Member::web2());
    let lab = Setup::new().guest(web1.clone().without_machine()).guest(web2.clone().without_machine()).start();
    let peer = format!("--eth-peer=0,{}", web2.mac);
    let ips = format!("--tx-ip={},{}", web1.ip, web2.ip);
    let sender = ["--forward-mode=txonly", &peer, &ips, "--tx-udp=9000,9000", "--txpkts=128"];
    let mut receiver =
        Testpmd::start("web2", lab.dir(), &lab.socket("web2"), web2.mac, 1024, &["--forward-mode=rxonly"]);
    let mut sender = Testpmd::start("web1", lab.dir(), &lab.socket("web1"), web1.mac, 1024, &sender);
    receiver.command("start");
    sender.command("start");
    std::thread::sleep(Duration::from_secs(3));
    let sent = sender.stop().sent;
    std::thread::sleep(Duration::from_millis(500));
    let received = receiver.stop().received;
    println!("{sent} sent, {received} received in 3 s");
    assert!(received > 10_000, "{sent} sent, {received} received:\n{}", lab.switch.metrics_text());

    let metrics = lab.settled();
    let count = |name: &str, port: &str| metrics.labelled(name, "port", port);
    assert!(count("vswitch_port_receive_packets_total", "web1") >= sent as f64 - 1024.0, "all but a ring's worth");
    assert!(count("vswitch_port_transmit_packets_total", "web2") >= received as f64);
    lab.balanced_books();
}
