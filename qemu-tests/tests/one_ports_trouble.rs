//! A guest that hangs, or a front-end that talks nonsense, loses its own port at most; nobody else notices.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use qemu_tests::setup::{Member, Setup};
use qemu_tests::tools::wait_until;

#[test]
fn a_guest_that_hangs_costs_only_its_own_frames() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::web2())
        .guest(Member::db1())
        .rule("{name: web-db, from: web, to: db, action: allow}")
        .start();
    let (web2, db1) = (Member::web2().ip, Member::db1().ip);
    assert!(lab.guest("web1").can_ping(web2, 5), "before: web1 pings web2");
    lab.guest("db1").serve_tcp(5432);

    lab.guest("web2").freeze();
    // more frames than web2's ring has buffers, while nobody empties it
    lab.guest("web1").run(&format!("ping -q -c 500 -i 0.002 -W 1 {web2}"));
    assert!(lab.switch.metrics().drops("receive_buffers") > 0.0, "{}", lab.switch.metrics_text());
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "hello", 5), "web1 and db1 do not notice");

    lab.guest("web2").thaw();
    assert!(lab.guest("web1").can_ping(web2, 5), "web2 goes on where it was");
    lab.balanced_books();
}

#[test]
fn a_front_end_that_talks_nonsense_hurts_nobody() {
    let mut lab = Setup::new()
        .guest(Member::web1())
        .guest(Member::web2())
        .guest(Member::db1().without_machine())
        .rule("{name: web-db, from: web, to: db, action: allow}")
        .start();
    let web2 = Member::web2().ip;
    let switch = lab.switch.pid();
    assert!(lab.guest("web1").can_ping(web2, 5), "before: web1 pings web2");

    // A vhost-user message is three 32-bit words (request, flags, length of the body), then the body.
    let message = |request: u32, flags: u32, length: u32, body: &[u8]| {
        [&request.to_ne_bytes()[..], &flags.to_ne_bytes(), &length.to_ne_bytes(), body].concat()
    };
    let nonsense: Vec<(&str, Vec<u8>)> = vec![
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("an unknown request", message(9999, 1, 0, &[])),
        ("a body of 4 GiB", message(2, 1, u32::MAX, &[0; 64])),
        ("half a message", message(2, 1, 8, &[0; 3])),
        ("another version", message(1, 2, 0, &[])),
        ("memory without files", message(5, 1, 40, &[1; 40])),
        ("a ring that is not there", message(8, 1, 8, &[0xff; 8])),
        ("a ring started before anything", message(12, 1, 8, &[0; 8])),
        ("nothing", Vec::new()),
    ];
    let mut held = Vec::new();
    for (index, (what, bytes)) in nonsense.iter().enumerate() {
        // On a port whose guest is not there, and on one whose guest is: there they wait in the listener's queue, which
        // is short, so that a few are enough.
        let ports = if index < 3 { &["db1", "web2"][..] } else { &["db1"] };
        for port in ports {
            let connected = UnixStream::connect(lab.socket(port));
            let mut stream = connected.unwrap_or_else(|error| panic!("{port} after {what}: {error}"));
            // The switch may hang up before the end, which is an answer too.
            let _ = stream.write_all(bytes);
            held.push(stream);
        }
        assert!(lab.guest("web1").can_ping(web2, 3), "after {what}: web1 pings web2");
    }
    assert!(lab.switch.is_running() && lab.switch.pid() == switch, "the switch is the same process");

    // with the intruders gone, the port takes its rightful guest
    drop(held);
    lab.admit("db1");
    lab.boot_guests();
    let arrived = wait_until(Duration::from_secs(5), || lab.guest("web1").can_ping(Member::db1().ip, 1));
    assert!(arrived, "db1's guest uses its port");
    lab.balanced_books();
}
