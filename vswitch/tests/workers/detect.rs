//! Two workers watch as one, and a port in quarantine is in it for both.

use std::sync::Arc;
use std::time::Duration;

use inspect::detect::{AnomalyKind, Detectors, Seed, Threshold};
use vswitch::counters::PORTS_MAX;
use vswitch::detect::{Detect, DetectConfig, Response};
use vswitch::drop_reason::DropReason;
use vswitch::frame::PortId;
use vswitch::quarantine::Quarantines;
use zones::rule::Action;

use crate::several::{PORTS, Ports};
use crate::switch::{generation, udp, wait_until};

const THRESHOLD: u32 = 400;

/// Has every port watched for scans.
fn watch(ports: &Ports, response: Response) -> Arc<Quarantines> {
    let threshold = Threshold { count_max: THRESHOLD, window_ms: 600_000, quiet_ms: 600_000 };
    let kinds = [(AnomalyKind::PortScan, (threshold, response))].into();
    let config = DetectConfig { kinds, exempt: Vec::new() };
    let detectors = Arc::new(Detectors::new(PORTS_MAX, Seed([5, 6])));
    let detect = Detect::new(&config, detectors).expect("a threshold that can be kept");
    let quarantines = Arc::<Quarantines>::default();
    let next = generation(2, PORTS, 2, Action::Allow).with_watch(Some(detect), Arc::clone(&quarantines));
    assert!(ports.switch.workers.set_generation(Arc::new(next), Duration::from_secs(5)));
    quarantines
}

/// Sends datagrams from port 0 to ports of port 1's guest, over both queue pairs, and waits for all of them.
fn scan(ports: &Ports, to_ports: std::ops::Range<u16>) {
    let mut offered = ports.received();
    for to_port in to_ports {
        ports.send(0, usize::from(to_port % 2), &udp((0, 9_000), (1, to_port), b"?"));
        offered += 1;
        // No more at a time than the lanes between workers hold.
        if to_port % 50 == 0 {
            ports.settle(offered);
        }
    }
    ports.settle(offered);
}

fn anomalies(ports: &Ports) -> u64 {
    ports.switch.totals().anomalies.iter().sum()
}

#[test]
fn a_scan_over_two_workers_is_one_scan() {
    let ports = Ports::new(2);
    watch(&ports, Response::Alert);
    scan(&ports, 1..341);
    assert_eq!(anomalies(&ports), 0, "340 of 400 are normal");
    let shares: Vec<u64> = ports.switch.workers.counters().map(|counters| counters.flows_opened.value()).collect();
    assert!(shares.iter().all(|share| *share > 100), "both workers have seen some: {shares:?}");
    scan(&ports, 341..500);
    assert_eq!(anomalies(&ports), 1, "one event of the two");
    assert_eq!(ports.take(1).iter().filter(|frame| frame.len() > 14).count(), 499, "nothing is stopped");
    ports.switch.assert_books_balance();
}

#[test]
fn a_quarantine_reaches_all_workers() {
    let ports = Ports::new(2);
    let quarantines = watch(&ports, Response::Quarantine { ms: 3_600_000 });
    scan(&ports, 1..600);
    wait_until("port 0 is in quarantine", || quarantines.holds(PortId(0), ports.switch.workers.now_us()));
    for port in 0..PORTS {
        ports.take(port);
    }
    let quarantined = || ports.switch.totals().all.drops[DropReason::Quarantined as usize];
    let before = quarantined();
    scan(&ports, 1..201);
    assert_eq!((ports.take(1).len(), quarantined() - before), (0, 200), "open flows and new ones");
    let mut offered = ports.received();
    // From 100 on: what comes from port 67 says that it is a DHCP server.
    for flow in 0..200 {
        let pair = usize::from(flow % 2);
        ports.send(1, pair, &udp((1, 100 + flow), (0, 9_000), b"!"));
        ports.send(2, pair, &udp((2, 9_000), (0, 1 + flow), b"?"));
        ports.send(2, pair, &udp((2, 9_000), (3, 1 + flow), b"?"));
        offered += 3;
        if flow % 20 == 19 {
            ports.settle(offered);
        }
    }
    assert_eq!((ports.take(0).len(), quarantined() - before), (0, 600), "what is for it");
    assert_eq!(ports.take(3).len(), 200, "others go on");
    ports.switch.assert_books_balance();

    assert!(quarantines.end(PortId(0), ports.switch.workers.now_us()));
    scan(&ports, 1..201);
    assert_eq!(ports.take(1).len(), 200);
    assert_eq!(anomalies(&ports), 1);
    ports.switch.assert_books_balance();
}
