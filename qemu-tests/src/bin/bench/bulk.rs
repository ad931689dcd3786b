//! Bulk TCP between two Linux guests, with the offloads of their cards and without: what the segments bench measures, with real
//! drivers. Where QEMU emulates the processors they are the limit, so bytes per frame tell more than bytes per second.

use std::time::{Duration, Instant};

use qemu_tests::lab::Lab;
use qemu_tests::setup::{Member, Setup};

use crate::Plan;
use crate::results::Results;

/// The section of the results.
pub const BULK: &str = "bulk TCP between two Linux guests in QEMU";

const CARDS: [(&str, &str); 2] = [
    ("offloads", ""),
    (
        "no-offloads",
        ",csum=off,guest_csum=off,gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,\
         host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off",
    ),
];

/// Bytes and frames that entered by a port so far.
fn received(lab: &Lab, port: &str) -> (f64, f64) {
    let ports = lab.switch.show("ports");
    let row = ports.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == port)).expect("the port is there");
    let count = |name: &str| row[name].as_f64().expect("a count");
    (count("receive_bytes"), count("receive_packets"))
}

fn transfer(card: &'static str, mib: u32) -> (f64, f64) {
    let members = [Member::web1().card(card), Member::web2().card(card)];
    let mut lab = members.into_iter().fold(Setup::new(), Setup::guest).start();
    let sender = lab.guest("web1");
    assert!(sender.can_ping(Member::web2().ip, 5), "the guests reach each other");
    // A slow sender's segments are short unless it is told otherwise.
    sender.must("echo 40 >/proc/sys/net/ipv4/tcp_min_tso_segs");
    sender.must(&format!("dd if=/dev/zero of=/tmp/bulk bs=1M count={mib} 2>/dev/null && httpd -p 5001 -h /tmp"));
    let (bytes, frames) = received(&lab, "web1");
    let start = Instant::now();
    let line = format!("timeout 120 wget -q -O - http://{}:5001/bulk | wc -c", Member::web1().ip);
    let output = lab.guest("web2").run_for(&line, Duration::from_secs(125));
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(output.text.trim(), (u64::from(mib) << 20).to_string(), "every byte has arrived: {}", output.text);
    let (bytes_after, frames_after) = received(&lab, "web1");
    ((f64::from(mib) * 1_048_576.0) / seconds, (bytes_after - bytes) / (frames_after - frames))
}

/// One transfer with each kind of card.
pub fn round(plan: &Plan, results: &mut Results) {
    for (name, card) in CARDS {
        let (rate, frame_len) = transfer(card, if plan.is_short { 1 } else { 32 });
        eprintln!("bench: bulk {name}: {rate:.0} bytes/s in frames of {frame_len:.0} bytes");
        results.add(BULK, &format!("{name} rate"), "bytes/s", rate);
        results.add(BULK, &format!("{name} frame"), "bytes", frame_len);
    }
}
