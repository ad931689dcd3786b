//! Every frame that came in is accounted for, whatever the guests do, and every view of the switch tells the same.

use qemu_tests::setup::{Member, Setup};

#[test]
fn the_books_balance_after_traffic_of_every_kind() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::web2())
        .guest(Member::db1())
        .firewall()
        .rule("{name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}")
        .rule("{name: web-out, from: web, to: outside, action: allow}")
        .start();
    let (web1, web2, db1) = (Member::web1().ip, Member::web2().ip, Member::db1().ip);

    lab.guest("db1").serve_tcp(5432);
    for text in ["one", "two", "three"] {
        assert!(lab.guest("web1").echo_tcp(db1, 5432, text, 5), "unicast across zones");
    }
    lab.guest("web1").must(&format!("ping -q -c 50 -i 0.01 -s 1000 {web2}"));
    lab.guest("web1").run("ping -q -c 3 -W 1 -w 2 10.0.7.7"); // nobody: ARP requests are flooded
    lab.guest("web1").run("ping -q -c 3 -W 1 -w 2 10.0.255.255"); // broadcast
    lab.guest("db1").run(&format!("ping -q -c 3 -W 1 -w 2 {web1}")); // denied
    lab.guest("web1").run("ping -q -c 20 -i 0.05 -W 1 -w 2 10.0.0.1"); // the uplink
    lab.guest("db1").kill();
    lab.guest("web1").run(&format!("ping -q -c 3 -W 1 -w 2 {db1}")); // a port without a guest

    let books = lab.balanced_books();
    assert!(books.received > 100.0, "{books}");
    assert!(books.flood_copies > 0.0, "somebody was flooded to several ports: {books}");
    assert!(books.dropped > 0.0 && books.transmitted > 100.0, "{books}");

    // the command line tells what /metrics tells
    for what in ["ports", "mac", "flows", "drops", "rules"] {
        let shown = lab.switch.show(what);
        assert!(shown.is_object() || shown.is_array(), "show {what} --json: {shown}");
        let table = lab.switch.cli(&["show", what]);
        assert!(table.ok(), "show {what}: {}", table.text);
    }
    assert!(lab.switch.cli(&["show", "ports"]).text.contains("web2"));
    for page in ["/healthz", "/readyz"] {
        assert_eq!(lab.switch.http(page).expect("the listener answers").0, 200, "{page}");
    }
    assert_eq!(lab.switch.http("/nothing").expect("the listener answers").0, 404);
}
