//! Guests with several pairs of rings.

use qemu_tests::setup::{Member, Setup};

#[test]
fn a_guest_with_two_queue_pairs_uses_both() {
    let mut lab = Setup::new().guest(Member::web1().queue_pairs(2)).guest(Member::web2()).start();
    let (web1, web2) = (Member::web1().ip, Member::web2().ip);
    assert!(lab.guest("web1").can_ping(web2, 5), "web1 pings web2");
    assert!(lab.guest("web2").can_ping(web1, 5), "web2 pings web1");

    // The driver sends by the ring of the processor that it runs on, so each processor says something.
    lab.guest("web2").serve_tcp(8080);
    for processor in 0..2 {
        let talk = format!("echo ring {processor} | timeout 5 taskset -c {processor} nc {web2} 8080");
        assert_eq!(lab.guest("web1").must(&talk), format!("ring {processor}"));
    }
    // What comes back may take either ring; many flows take both.
    lab.guest("web1").serve_tcp(8080);
    for round in 0..16 {
        assert!(lab.guest("web2").echo_tcp(web1, 8080, &format!("round {round}"), 5), "round {round}");
    }
    lab.balanced_books();
}
