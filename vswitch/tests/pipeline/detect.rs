//! Scans, sweeps, floods and bursts on the walk: what is told, what is stopped, and ports in quarantine.

use std::net::Ipv6Addr;

use inspect::detect::{Anomaly, AnomalyKind, Target, Threshold};
use inspect::signature::RuleSet;
use inspect::wire::emit;
use vswitch::detect::{DetectConfig, Response};
use vswitch::drop_reason::DropReason;
use vswitch::event::EventKind;
use vswitch::frame::PortId;

use crate::bench::*;

const THRESHOLD: u32 = 50;
const QUIET_MS: u64 = 60_000;
const QUARANTINE: Response = Response::Quarantine { ms: 5_000 };

/// A threshold of 50 in 10 s for each of these kinds.
pub fn config(kinds: &[(AnomalyKind, Response)]) -> DetectConfig {
    let threshold = Threshold { count_max: THRESHOLD, window_ms: 10_000, quiet_ms: QUIET_MS };
    let kinds = kinds.iter().map(|(kind, response)| (*kind, (threshold, *response))).collect();
    DetectConfig { kinds, exempt: Vec::new() }
}

/// A bench whose ports are watched.
struct Watched {
    bench: Bench,
}

impl Watched {
    /// Watches for these kinds, with a threshold of 50 in 10 s.
    fn new(kinds: &[(AnomalyKind, Response)]) -> Self {
        let mut watched = Self { bench: Bench::new(policy(Vec::new()), RuleSet::default(), 4096) };
        watched.reload(config(kinds));
        // What goes outside is for one port.
        watched.bench.send(UP0, &emit::arp_request(OUTSIDE_MAC, [192, 0, 2, 1], ip(11)).build());
        watched.send_all(UP0, [], WEB1);
        watched.bench.moved();
        watched
    }

    /// Puts the next generation in force, with another watch.
    fn reload(&mut self, config: DetectConfig) {
        self.bench.watch = Some(config);
        self.bench.reload(policy(Vec::new()));
    }

    /// Sends frames in bursts of up to 32, and answers how many arrived at `at`.
    fn send_all(&mut self, from: PortId, frames: impl IntoIterator<Item = Vec<u8>>, at: PortId) -> usize {
        self.bench.received(at);
        frames.into_iter().for_each(|frame| self.bench.peer(from).send(&frame));
        self.bench.walk(from);
        let arrived = self.bench.received(at).len();
        for port in [WEB1, WEB2, DB1, LAB1, UP0] {
            self.bench.received(port);
        }
        arrived
    }

    /// What was told since the last call, with the port that it came by.
    fn told(&self) -> Vec<(PortId, Anomaly, Response)> {
        let events = self.bench.take_events().into_iter();
        let anomaly = |event: vswitch::event::Event| match event.kind {
            EventKind::Anomaly(anomaly, response) => Some((event.from, anomaly, response)),
            EventKind::Alert(_)
            | EventKind::FileAlert(_)
            | EventKind::FileInfo(_)
            | EventKind::Drop { .. }
            | EventKind::WouldDrop { .. }
            | EventKind::Note(_)
            | EventKind::Flow(_) => None,
        };
        events.filter_map(anomaly).collect()
    }

    fn told_kinds(&self) -> Vec<AnomalyKind> {
        self.told().into_iter().map(|(_, anomaly, _)| anomaly.kind).collect()
    }

    /// Frames from a port that were dropped for a reason, since the last call of [`Bench::moved`].
    fn dropped(&mut self, port: &str, reason: DropReason) -> u64 {
        let moved = self.bench.moved();
        moved.get(&format!("{port} drop {}", reason.word())).copied().unwrap_or_default()
    }
}

fn numbers(count: u16) -> impl Iterator<Item = u16> {
    1..=count
}

/// SYNs from web1 to ports of db1, of which policy allows 5432 only.
fn scan(count: u16) -> Vec<Vec<u8>> {
    numbers(count).map(|port| addressed(emit::tcp((ip(11), 40_000), (ip(21), port)).syn(), 11, 21)).collect()
}

/// Datagrams of one flow from web1 to db1.
fn datagrams(count: u16) -> Vec<Vec<u8>> {
    let datagram = |n: u16| emit::udp((ip(11), 4_000), (ip(21), 53)).payload(n.to_be_bytes());
    numbers(count).map(|n| addressed(datagram(n), 11, 21)).collect()
}

/// As many frames of web1 as are asked for that are part of an anomaly of a kind, and of no other.
fn frames(kind: AnomalyKind, count: u16) -> Vec<Vec<u8>> {
    let outside = |n: u16| [192, 0, 2, n as u8];
    let numbers = numbers(count);
    match kind {
        AnomalyKind::PortScan => scan(count),
        AnomalyKind::HostSweep => numbers
            .map(|n| emit::tcp((ip(11), 40_000), (outside(n), 22)).syn().macs(mac(11), OUTSIDE_MAC).build())
            .collect(),
        AnomalyKind::ArpSweep => {
            numbers.map(|n| emit::arp_request(mac(11), ip(11), [10, 0, 1, n as u8]).build()).collect()
        }
        AnomalyKind::SynFlood => {
            numbers.map(|_| addressed(emit::tcp((ip(11), 40_000), (ip(21), 5_432)).syn(), 11, 21)).collect()
        }
        AnomalyKind::UdpFlood => datagrams(count),
        AnomalyKind::IcmpFlood => {
            numbers.map(|n| addressed(emit::icmp_echo_request(ip(11), ip(21), 7, n), 11, 21)).collect()
        }
        AnomalyKind::ConnectionBurst => {
            numbers.map(|n| addressed(emit::tcp((ip(11), 40_000 + n), (ip(21), 5_432)).syn(), 11, 21)).collect()
        }
    }
}

#[test]
fn each_kind_is_told_once_per_quiet_time_and_not_below_its_threshold() {
    for kind in AnomalyKind::ALL {
        let mut watched = Watched::new(&[(kind, Response::Alert)]);
        watched.send_all(WEB1, frames(kind, 40), DB1);
        assert_eq!(watched.told(), [], "{kind:?}: 40 are normal");
        watched.bench.advance_ms(60_000);
        watched.send_all(WEB1, frames(kind, 80), DB1);
        let [(from, anomaly, response)] = watched.told()[..] else { panic!("{kind:?}: one event for 80") };
        assert_eq!((from, anomaly.kind, response), (WEB1, kind, Response::Alert));
        assert!((45..=80).contains(&anomaly.count), "{kind:?}: {}", anomaly.count);
        assert_eq!((anomaly.count_max, anomaly.window_ms), (THRESHOLD, 10_000));
        watched.bench.advance_ms(20_000);
        watched.send_all(WEB1, frames(kind, 80), DB1);
        assert_eq!(watched.told(), [], "{kind:?}: it was told");
        watched.bench.advance_ms(QUIET_MS);
        watched.send_all(WEB1, frames(kind, 80), DB1);
        let [(_, anomaly, _)] = watched.told()[..] else { panic!("{kind:?}: one event after the quiet time") };
        assert!((25..75).contains(&anomaly.suppressed), "{kind:?}: {} were not told", anomaly.suppressed);
        assert_eq!(watched.dropped("web1", DropReason::Anomaly), 0, "{kind:?}: nothing is stopped");
        assert_eq!(watched.bench.counters.anomalies[kind as usize].value(), 2);
        watched.bench.assert_books_balance();
    }
}

#[test]
fn events_name_target_and_packet() {
    let mut watched = Watched::new(&[(AnomalyKind::PortScan, Response::Alert)]);
    watched.send_all(WEB1, scan(80), DB1);
    let events = watched.bench.take_events();
    let is_anomaly =
        |kind| matches!(kind, EventKind::Anomaly(anomaly, _) if anomaly.target == Target::Host(ip(21).into()));
    let event = events.iter().find(|event| is_anomaly(event.kind.clone())).expect("an event");
    let tuple = event.tuple.expect("addresses");
    assert_eq!((event.from, event.to), (WEB1, Some(DB1)));
    assert_eq!((tuple.source, tuple.destination, tuple.protocol), (ip(11).into(), ip(21).into(), 6));
    assert!((45..=60).contains(&tuple.destination_port), "{tuple:?}");
    let first = events.iter().position(|event| is_anomaly(event.kind.clone())).expect("an event");
    let of_policy =
        |event: &vswitch::event::Event| matches!(event.kind, EventKind::Drop { reason: DropReason::Policy, .. });
    assert!(events[..first].iter().any(of_policy), "attempts that policy denies count");
}

/// Solicitations sweep as ARP requests do, and are no flood of ICMP; other ICMPv6 is.
#[test]
fn neighbour_solicitations_are_questions() {
    let v6 = |last: u16| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last);
    let both = [(AnomalyKind::ArpSweep, Response::Alert), (AnomalyKind::IcmpFlood, Response::Alert)];
    let mut watched = Watched::new(&both);
    let questions = (1..=80).map(|n| emit::neighbour_solicitation(mac(11), v6(0x11), v6(0x100 + n)).build());
    watched.send_all(WEB1, questions, DB1);
    assert_eq!(watched.told_kinds(), [AnomalyKind::ArpSweep]);
    let mut watched = Watched::new(&both);
    let answers = (1..=80).map(|_| emit::neighbour_advertisement(mac(11), v6(0x11), v6(0x12), v6(0x11)).build());
    watched.send_all(WEB1, answers, DB1);
    assert_eq!(watched.told_kinds(), [AnomalyKind::IcmpFlood]);
}

/// What a guest floods with addresses that are not its own is dropped by port security, and is a flood all the same.
#[test]
fn a_spoofed_flood_is_a_flood() {
    let mut watched = Watched::new(&[(AnomalyKind::SynFlood, Response::Alert)]);
    let spoofed = (0..80).map(|n| addressed(emit::tcp(([10, 9, 9, n], 40_000), (ip(21), 5_432)).syn(), 11, 21));
    watched.send_all(WEB1, spoofed, DB1);
    assert_eq!(watched.told_kinds(), [AnomalyKind::SynFlood]);
    assert_eq!(watched.dropped("web1", DropReason::SpoofIpv4), 80);
}

#[test]
fn fragments_are_packets_of_a_flood() {
    let mut watched = Watched::new(&[(AnomalyKind::UdpFlood, Response::Alert)]);
    let whole =
        |n| emit::udp((ip(11), 4_000), (ip(21), 53)).payload([n; 200]).ip_id(u32::from(n)).macs(mac(11), mac(21));
    let fragments: Vec<Vec<u8>> = (0..30).flat_map(|n| whole(n).fragments(128)).collect();
    assert_eq!(fragments.len(), 60);
    watched.send_all(WEB1, fragments, DB1);
    assert_eq!(watched.told_kinds(), [AnomalyKind::UdpFlood]);
}

#[test]
fn without_a_watch_nothing_is_told() {
    let mut watched = Watched::new(&[]);
    for kind in AnomalyKind::ALL {
        watched.send_all(WEB1, frames(kind, 200), DB1);
    }
    let mut bench = Bench::new(policy(Vec::new()), RuleSet::default(), 4096);
    scan(200).iter().for_each(|frame| bench.send(WEB1, frame));
    assert!(watched.told().is_empty() && bench.generation.detect.is_none());
    assert!(bench.take_events().iter().all(|event| matches!(event.kind, EventKind::Drop { .. })));
}

#[test]
fn what_exceeds_a_flood_is_dropped_to_the_frame() {
    let mut watched = Watched::new(&[(AnomalyKind::UdpFlood, Response::Drop), (AnomalyKind::SynFlood, Response::Drop)]);
    assert_eq!(watched.send_all(WEB1, datagrams(40), DB1), 40);
    assert_eq!(watched.send_all(WEB1, datagrams(32), DB1), 10, "the burst is cut where the threshold is");
    assert_eq!(watched.dropped("web1", DropReason::Anomaly), 22);
    let scan = scan(20).into_iter().chain(datagrams(5));
    watched.send_all(WEB1, scan, DB1);
    assert_eq!(watched.dropped("web1", DropReason::Anomaly), 5, "only datagrams, not what came between them");
    let other = |n: u16| addressed(emit::udp((ip(12), 4_000), (ip(21), 53)).payload(n.to_be_bytes()), 12, 21);
    assert_eq!(watched.send_all(WEB2, (0..32).map(other), DB1), 32, "others have their own threshold");
    watched.bench.advance_ms(10_000);
    assert_eq!(watched.send_all(WEB1, datagrams(32), DB1), 32, "and after the window it is over");
    assert_eq!(watched.told_kinds(), [AnomalyKind::UdpFlood]);
    watched.bench.assert_books_balance();
}

/// Of a scan, new flows to its target are dropped while it lasts. What is open goes on.
#[test]
fn a_scan_is_dropped_and_open_flows_go_on() {
    let mut watched = Watched::new(&[(AnomalyKind::PortScan, Response::Drop), (AnomalyKind::ArpSweep, Response::Drop)]);
    let query = || datagrams(1);
    assert_eq!(watched.send_all(WEB1, query(), DB1), 1);
    watched.send_all(WEB1, scan(200), DB1);
    let moved = watched.bench.moved();
    let (denied, stopped) = (moved["web1 drop policy"], moved["web1 drop anomaly"]);
    assert!((44..60).contains(&denied) && denied + stopped == 200, "{moved:?}");
    let allowed = addressed(emit::tcp((ip(11), 40_001), (ip(21), 5_432)).syn(), 11, 21);
    watched.bench.assert_dropped(WEB1, &allowed, DropReason::Anomaly);
    assert_eq!(watched.send_all(WEB1, query(), DB1), 1, "the flow that is open");
    let elsewhere = addressed(emit::tcp((ip(11), 40_001), (ip(12), 80)).syn(), 11, 12);
    watched.bench.assert_arrives(WEB1, &elsewhere, &[WEB2]);
    watched.bench.moved();
    watched.send_all(WEB1, frames(AnomalyKind::ArpSweep, 80), DB1);
    assert!((20..36).contains(&watched.dropped("web1", DropReason::Anomaly)), "what is asked behind the threshold");
    watched.bench.advance_ms(10_000);
    watched.bench.assert_arrives(WEB1, &allowed, &[DB1]);
    watched.bench.assert_books_balance();
}

/// The record of a frame that was dropped says as part of what.
#[test]
fn dropped_frames_name_the_kind() {
    let mut watched = Watched::new(&[(AnomalyKind::PortScan, Response::Drop)]);
    watched.send_all(WEB1, scan(80), DB1);
    let is_named = |kind| matches!(kind, EventKind::Drop { reason: DropReason::Anomaly, cause: Some("port_scan"), .. });
    assert!(watched.bench.take_events().iter().any(|event| is_named(event.kind.clone())));
}

/// web1 scans db1 and is in quarantine.
fn quarantined() -> Watched {
    let mut watched = Watched::new(&[(AnomalyKind::PortScan, QUARANTINE)]);
    assert_eq!(watched.send_all(WEB1, datagrams(1), DB1), 1, "an open flow");
    watched.send_all(WEB1, scan(64), DB1);
    let told = watched.told();
    assert_eq!(
        told.iter().map(|told| (told.1.kind, told.2)).collect::<Vec<_>>(),
        [(AnomalyKind::PortScan, QUARANTINE)]
    );
    assert!(watched.bench.quarantines.holds(WEB1, watched.bench.now_us));
    watched.bench.moved();
    watched
}

#[test]
fn a_port_in_quarantine_neither_sends_nor_receives() {
    let mut watched = quarantined();
    let question = emit::arp_request(mac(11), ip(11), ip(12)).build();
    for frame in datagrams(1).into_iter().chain(scan(1)).chain([question, vec![0; 14]]) {
        watched.bench.assert_dropped(WEB1, &frame, DropReason::Quarantined);
    }
    let answer = addressed(emit::udp((ip(21), 53), (ip(11), 4_000)).payload("answer"), 21, 11);
    watched.bench.assert_dropped(DB1, &answer, DropReason::Quarantined);
    let greeting = addressed(emit::udp((ip(12), 1_000), (ip(11), 2_000)).payload("x"), 12, 11);
    watched.bench.assert_dropped(WEB2, &greeting, DropReason::Quarantined);
    let broadcast = emit::arp_request(mac(12), ip(12), ip(21)).build();
    watched.bench.assert_arrives(WEB2, &broadcast, &[DB1, UP0]);
    assert_eq!(watched.dropped("web2", DropReason::Quarantined), 0, "it is not flooded to");
    assert_eq!(watched.told(), [], "what does not pass is no anomaly");
    // The others do not notice.
    let other = addressed(emit::udp((ip(12), 4_000), (ip(21), 53)).payload("x"), 12, 21);
    watched.bench.assert_arrives(WEB2, &other, &[DB1]);
    watched.bench.assert_books_balance();
}

#[test]
fn a_quarantine_ends_by_time_and_the_port_starts_anew() {
    let mut watched = quarantined();
    watched.bench.advance_ms(4_999);
    assert_eq!(watched.send_all(WEB1, datagrams(1), DB1), 0);
    watched.bench.advance_ms(1);
    assert_eq!(watched.send_all(WEB1, datagrams(1), DB1), 1, "the flow is still open");
    let answer = addressed(emit::udp((ip(21), 53), (ip(11), 4_000)).payload("answer"), 21, 11);
    watched.bench.assert_arrives(DB1, &answer, &[WEB1]);
    watched.send_all(WEB1, scan(40), DB1);
    assert_eq!(watched.told(), [], "what it did before is forgotten");
    watched.send_all(WEB1, scan(80), DB1);
    assert_eq!(watched.told().len(), 1, "and so is the quiet time: each quarantine is told");
    assert!(watched.bench.quarantines.holds(WEB1, watched.bench.now_us));
    assert_eq!(watched.bench.quarantines.count(WEB1), 2);
}

#[test]
fn a_quarantine_ends_by_hand_and_outlives_a_reload() {
    let mut watched = quarantined();
    watched.reload(config(&[]));
    assert_eq!(watched.send_all(WEB1, datagrams(1), DB1), 0, "after a reload without a watch");
    assert!(watched.bench.quarantines.end(WEB1, watched.bench.now_us));
    assert_eq!(watched.send_all(WEB1, datagrams(1), DB1), 1);
    watched.bench.assert_books_balance();
}

/// Fragments of a datagram that were held when the port came into quarantine go nowhere, and are not lost in the books.
#[test]
fn a_datagram_that_was_half_there_stays_half() {
    let mut watched = Watched::new(&[(AnomalyKind::PortScan, QUARANTINE)]);
    let whole = emit::udp((ip(11), 4_000), (ip(21), 53)).payload([7; 200]).ip_id(9).macs(mac(11), mac(21));
    let [first, second] = &whole.fragments(128)[..] else { panic!("two fragments") };
    watched.bench.send(WEB1, first);
    watched.send_all(WEB1, scan(64), DB1);
    watched.bench.assert_dropped(WEB1, second, DropReason::Quarantined);
    watched.bench.assert_books_balance();
    // A datagram for the port in quarantine, in fragments.
    let back = emit::udp((ip(12), 53), (ip(11), 4_000)).payload([7; 200]).ip_id(9).macs(mac(12), mac(11));
    watched.bench.moved();
    back.fragments(128).iter().for_each(|fragment| watched.bench.send(WEB2, fragment));
    assert_eq!(watched.dropped("web2", DropReason::Quarantined), 2);
    watched.bench.assert_books_balance();
}

#[test]
fn who_is_exempt_is_not_watched() {
    let every = AnomalyKind::ALL.map(|kind| (kind, QUARANTINE));
    let mut watched = Watched::new(&every);
    watched.reload(DetectConfig { exempt: vec![WEB1], ..config(&every) });
    for kind in AnomalyKind::ALL {
        watched.send_all(WEB1, frames(kind, 200), DB1);
    }
    assert_eq!((watched.told(), watched.bench.quarantines.count(WEB1)), (vec![], 0));
    let scan = numbers(80).map(|port| addressed(emit::tcp((ip(12), 40_000), (ip(21), port)).syn(), 12, 21));
    watched.send_all(WEB2, scan, DB1);
    assert_eq!(watched.bench.quarantines.count(WEB2), 1, "others are");
}

/// Nobody out there can cut everybody in here off from the world.
#[test]
fn an_uplink_is_not_put_in_quarantine() {
    let mut watched = Watched::new(&[(AnomalyKind::PortScan, QUARANTINE)]);
    let scan = numbers(80)
        .map(|port| emit::tcp(([192, 0, 2, 1], 40_000), (ip(11), port)).syn().macs(OUTSIDE_MAC, mac(11)).build());
    watched.send_all(UP0, scan, WEB1);
    assert_eq!(watched.told().iter().map(|told| told.2).collect::<Vec<_>>(), [Response::Drop]);
    assert!((20..36).contains(&watched.dropped("up0", DropReason::Anomaly)));
    assert_eq!(watched.bench.quarantines.count(UP0), 0);
}
