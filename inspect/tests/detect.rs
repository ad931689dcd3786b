//! Scans, sweeps, floods and bursts are noticed; what busy hosts do is not.

use std::collections::BTreeMap;

use inspect::detect::{
    Anomaly, AnomalyKind, AnomalySet, Detectors, Seed, Target, Threshold, ThresholdError, Thresholds,
};
use inspect::limits::DETECT_SOURCES_MAX;
use inspect::wire::emit::{self, FrameBuilder};
use inspect::wire::{Checksums, Packet, Transport};

/// A watch with one threshold, and what it said.
struct Bench {
    detectors: Detectors,
    thresholds: Thresholds,
    events: Vec<Anomaly>,
}

impl Bench {
    fn new(kind: AnomalyKind, count_max: u32, window_ms: u32) -> Self {
        Self::with(BTreeMap::from([(kind, Threshold { count_max, window_ms, quiet_ms: 5000 })]))
    }

    fn default() -> Self {
        Self::with(AnomalyKind::ALL.into_iter().map(|kind| (kind, kind.default_threshold())).collect())
    }

    fn with(thresholds: BTreeMap<AnomalyKind, Threshold>) -> Self {
        let thresholds = Thresholds::new(&thresholds).expect("thresholds that can be kept");
        Self { detectors: Detectors::new(16, Seed([3, 4])), thresholds, events: Vec::new() }
    }

    fn see(&mut self, now_ms: u64, frame: &FrameBuilder) -> AnomalySet {
        self.see_from(1, now_ms, frame, true)
    }

    /// Shows one packet in all the ways in which it counts, as a switch does.
    fn see_from(&mut self, source: u32, now_ms: u64, frame: &FrameBuilder, opens_flow: bool) -> AnomalySet {
        let frame = frame.build();
        let packet = Packet::parse(&frame, Checksums::Verify).expect("sound");
        let watching = self.detectors.watching(&self.thresholds, source, now_ms).expect("a source");
        if let Some(found) = watching.asks(&packet, &mut self.events) {
            return found;
        }
        let flood = match packet.headers().transport {
            Transport::Tcp => packet.is_bare_syn().then_some(AnomalyKind::SynFlood),
            Transport::Udp => Some(AnomalyKind::UdpFlood),
            Transport::Icmp4 | Transport::Icmp6 => Some(AnomalyKind::IcmpFlood),
            Transport::None | Transport::Other => None,
        };
        let excess = flood.and_then(|kind| watching.flood(kind, 1));
        if let (Some(kind), Some(excess)) = (flood, excess) {
            watching.tell_flood(kind, excess, packet.destination(), &mut self.events);
        }
        let mut found = match opens_flow {
            true => watching.opens(&packet, &mut self.events),
            false => AnomalySet::default(),
        };
        flood.filter(|_| excess.is_some()).into_iter().for_each(|kind| found.insert(kind));
        found
    }
}

fn syn(host: u32, port: u16) -> FrameBuilder {
    emit::tcp(([10, 9, 9, 9], 40_000), (host_address(host), port)).syn()
}

fn host_address(host: u32) -> [u8; 4] {
    (0x0a00_0001 + host).to_be_bytes()
}

/// Shows frame after frame and answers at which the anomaly was first noticed.
fn noticed_at(kind: AnomalyKind, frames: impl IntoIterator<Item = FrameBuilder>) -> Option<usize> {
    let mut bench = Bench::new(kind, 50, 10_000);
    let at = frames.into_iter().position(|frame| bench.see(0, &frame).contains(kind));
    assert_eq!(bench.events.len(), usize::from(at.is_some()), "one event per quiet time");
    at
}

#[test]
fn each_kind_is_noticed_soon_after_its_threshold() {
    let v6 = |last: u32| std::net::Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(last));
    let mac = emit::SOURCE_MAC;
    let udp = |host, port| emit::udp(([10, 9, 9, 9], 40_000), (host_address(host), port));
    let echo = |host, id| emit::icmp_echo_request([10, 9, 9, 9], host_address(host), id, 1);
    type Cases = Vec<(&'static str, AnomalyKind, Vec<FrameBuilder>)>;
    let cases: Cases = vec![
        ("TCP ports", AnomalyKind::PortScan, (1..=80).map(|port| syn(0, port)).collect()),
        ("UDP ports", AnomalyKind::PortScan, (1..=80).map(|port| udp(0, port)).collect()),
        ("IPv6 ports", AnomalyKind::PortScan, (1..=80).map(|port| emit::udp((v6(1), 9), (v6(2), port))).collect()),
        ("hosts", AnomalyKind::HostSweep, (0..80).map(|host| syn(host, 22)).collect()),
        ("IPv6 hosts", AnomalyKind::HostSweep, (2..82).map(|host| emit::udp((v6(1), 9), (v6(host), 5))).collect()),
        ("pinged hosts", AnomalyKind::HostSweep, (0..80).map(|host| echo(host, 1)).collect()),
        (
            "ARP",
            AnomalyKind::ArpSweep,
            (0..80).map(|host| emit::arp_request(mac, [10, 9, 9, 9], host_address(host))).collect(),
        ),
        (
            "solicitations",
            AnomalyKind::ArpSweep,
            (2..82).map(|host| emit::neighbour_solicitation(mac, v6(1), v6(host))).collect(),
        ),
        ("SYNs", AnomalyKind::SynFlood, vec![syn(0, 80); 80]),
        ("datagrams", AnomalyKind::UdpFlood, vec![udp(0, 53); 80]),
        ("pings", AnomalyKind::IcmpFlood, vec![echo(0, 1); 80]),
        ("flows", AnomalyKind::ConnectionBurst, (0..80).map(|n| syn(n, n as u16 + 1)).collect()),
    ];
    let noticed: Vec<AnomalyKind> = cases.iter().map(|(_, kind, _)| *kind).collect();
    assert!(AnomalyKind::ALL.iter().all(|kind| noticed.contains(kind)), "every kind has a case");
    for (name, kind, frames) in cases {
        let at = noticed_at(kind, frames).unwrap_or_else(|| panic!("{name}: not noticed"));
        assert!((45..60).contains(&at), "{name}: noticed at {at}");
    }
}

#[test]
fn what_is_no_anomaly() {
    let mac = emit::SOURCE_MAC;
    let answer = |port| emit::tcp(([10, 9, 9, 9], 80), ([10, 0, 0, 1], port)).syn_ack();
    let announcement = |host| emit::arp_request(mac, host_address(host), host_address(host));
    let reply = |host| emit::arp_reply(mac, host_address(host), mac, [10, 9, 9, 9]);
    assert_eq!(noticed_at(AnomalyKind::PortScan, vec![syn(0, 80); 500]), None, "one port");
    assert_eq!(noticed_at(AnomalyKind::HostSweep, (1..500).map(|port| syn(0, port))), None, "one host");
    assert_eq!(noticed_at(AnomalyKind::SynFlood, (1..500).map(answer)), None, "answers");
    assert_eq!(noticed_at(AnomalyKind::ArpSweep, (0..500).map(announcement)), None, "announcements");
    assert_eq!(noticed_at(AnomalyKind::ArpSweep, (0..500).map(reply)), None, "replies");
    let mut bench = Bench::new(AnomalyKind::PortScan, 50, 10_000);
    for port in 1..500 {
        assert!(bench.see_from(1, 0, &syn(0, port), false).is_empty(), "packets of known flows");
    }
}

#[test]
fn a_busy_server_is_normal() {
    let mut bench = Bench::default();
    for now_ms in 0..5000 {
        let host = (now_ms % 90) as u32;
        bench.see(now_ms, &syn(host, 443));
        bench.see(now_ms, &emit::udp(([10, 9, 9, 9], 1024 + (now_ms % 5000) as u16), ([10, 0, 0, 53], 53)));
        bench.see_from(1, now_ms, &emit::tcp(([10, 9, 9, 9], 443), (host_address(host), now_ms as u16 + 1024)), false);
    }
    assert_eq!(bench.events, []);
}

#[test]
fn events_name_what_happened() {
    let mut bench = Bench::new(AnomalyKind::PortScan, 50, 10_000);
    for port in 1..=60 {
        bench.see_from(7, 0, &syn(3, port), true);
    }
    let [event] = bench.events[..] else { panic!("one event: {:?}", bench.events) };
    assert_eq!((event.source, event.kind, event.window_ms), (7, AnomalyKind::PortScan, 10_000));
    assert_eq!(event.target, Target::Host(std::net::IpAddr::from(host_address(3))));
    assert!((45..=60).contains(&event.count), "{}", event.count);

    let mut bench = Bench::new(AnomalyKind::HostSweep, 50, 10_000);
    for host in 0..60 {
        bench.see(0, &syn(host, 22));
    }
    assert_eq!(bench.events[0].target, Target::Service { protocol: 6, port: 22 });
}

/// Of a scan of all ports every step behind the threshold is part of the anomaly, so that dropping stops it.
#[test]
fn a_long_scan_stays_an_anomaly() {
    let mut bench = Bench::new(AnomalyKind::PortScan, 50, 10_000);
    let let_through = (1..=u16::MAX).filter(|port| bench.see(0, &syn(0, *port)).is_empty()).count();
    assert!((45..60).contains(&let_through), "{let_through}");
}

#[test]
fn sources_are_watched_apart() {
    let mut bench = Bench::new(AnomalyKind::SynFlood, 50, 1000);
    for source in 0..10 {
        for _ in 0..50 {
            assert!(bench.see_from(source, 0, &syn(0, 80), true).is_empty());
        }
    }
    assert!(bench.see_from(4, 0, &syn(0, 80), true).contains(AnomalyKind::SynFlood));
    bench.detectors.forget(4);
    assert!(bench.see_from(4, 0, &syn(0, 80), true).is_empty());
}

#[test]
fn slow_is_normal_and_events_come_again_after_the_quiet_time() {
    let mut bench = Bench::new(AnomalyKind::SynFlood, 50, 1000);
    for step in 0..1000 {
        assert!(bench.see(step * 25, &syn(0, 80)).is_empty(), "40 per second");
    }
    let mut bench = Bench::new(AnomalyKind::SynFlood, 50, 1000);
    for now_ms in 0..12_000 {
        bench.see(now_ms, &syn(0, 80));
    }
    assert_eq!(bench.events.len(), 3, "one per 5 s");
}

/// Decoys that push a scanned host out of its place make a sweep or a burst of themselves.
#[test]
fn decoys_are_noticed_themselves() {
    let mut bench = Bench::default();
    let mut noticed = AnomalySet::default();
    'scan: for port in 1..=1000u16 {
        for decoy in 1..=20u32 {
            let frame = syn(decoy + u32::from(port) * 20, 2000 + (decoy % 3) as u16);
            for frame in [&frame, &syn(0, port)] {
                noticed = bench.see(u64::from(port) * 5, frame);
                if !noticed.is_empty() {
                    break 'scan;
                }
            }
        }
    }
    assert!(!noticed.is_empty());
}

#[test]
fn what_is_not_told_is_counted() {
    let mut bench = Bench::new(AnomalyKind::SynFlood, 50, 1000);
    assert_eq!(bench.detectors.last(1, AnomalyKind::SynFlood), None);
    for _ in 0..70 {
        bench.see(100, &syn(0, 80));
    }
    assert_eq!(bench.detectors.last(1, AnomalyKind::SynFlood), Some((100, 19)));
    for _ in 0..60 {
        bench.see(6_000, &syn(0, 80));
    }
    let suppressed: Vec<u64> = bench.events.iter().map(|event| event.suppressed).collect();
    assert_eq!(suppressed, [0, 19]);
    assert_eq!(bench.detectors.last(1, AnomalyKind::SynFlood), Some((6_000, 9)));
}

#[test]
fn packets_are_counted_by_the_burst_too() {
    let bench = Bench::new(AnomalyKind::UdpFlood, 50, 1000);
    let watching = bench.detectors.watching(&bench.thresholds, 1, 0).expect("a source");
    let over = |packets| watching.flood(AnomalyKind::UdpFlood, packets).map(|excess| (excess.packets, excess.count));
    assert_eq!([over(32), over(18), over(32), over(1)], [None, None, Some((32, 82)), Some((1, 83))]);
    bench.detectors.forget(1);
    assert_eq!([over(40), over(32)], [None, Some((22, 72))]);
    assert_eq!(watching.flood(AnomalyKind::IcmpFlood, 1_000_000), None, "what has no threshold");
}

/// What was counted in one window says nothing in another one.
#[test]
fn a_longer_window_starts_anew() {
    let mut bench = Bench::new(AnomalyKind::SynFlood, 50, 1000);
    bench.see(1_000_000, &syn(0, 80));
    let longer = Threshold { count_max: 50, window_ms: 100_000, quiet_ms: 0 };
    bench.thresholds = Thresholds::new(&BTreeMap::from([(AnomalyKind::SynFlood, longer)])).expect("sound");
    bench.detectors.forget_all();
    for step in 0..100 {
        assert!(bench.see(1_001_000 + step * 3_000, &syn(0, 80)).is_empty(), "33 in a window");
    }
}

/// Threads that count in the same sketches find the same as one does, to the tenth that sketches are good to.
#[test]
fn workers_share_what_they_see() {
    let thresholds = [AnomalyKind::PortScan, AnomalyKind::ConnectionBurst]
        .map(|kind| (kind, Threshold { count_max: 1000, window_ms: 60_000, quiet_ms: 60_000 }));
    let bench = Bench::with(BTreeMap::from(thresholds));
    let shows = |ports: std::ops::Range<u16>| {
        let mut events = Vec::new();
        for port in ports {
            let frame = syn(0, port).build();
            let packet = Packet::parse(&frame, Checksums::Verify).expect("sound");
            let watching = bench.detectors.watching(&bench.thresholds, 1, 0).expect("a source");
            watching.opens(&packet, &mut events);
        }
        events
    };
    let told: Vec<Anomaly> = std::thread::scope(|scope| {
        let shows = &shows;
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || shows(1 + n * 225..1 + (n + 1) * 225))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(told, [], "900 in all");
    let told: Vec<Anomaly> = std::thread::scope(|scope| {
        let shows = &shows;
        let threads: Vec<_> =
            (0..4).map(|n| scope.spawn(move || shows(1_000 + n * 100..1_000 + (n + 1) * 100))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let mut kinds: Vec<AnomalyKind> = told.iter().map(|event| event.kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [AnomalyKind::PortScan, AnomalyKind::ConnectionBurst], "1300 in all, and one event of each");
}

#[test]
fn sources_are_bounded() {
    let thresholds = Thresholds::default();
    let detectors = Detectors::new(usize::MAX, Seed([3, 4]));
    assert!(detectors.watching(&thresholds, DETECT_SOURCES_MAX as u32 - 1, 0).is_some());
    assert!(detectors.watching(&thresholds, DETECT_SOURCES_MAX as u32, 0).is_none());
    detectors.forget(u32::MAX);
    assert_eq!(detectors.last(u32::MAX, AnomalyKind::PortScan), None);
}

#[test]
fn thresholds_that_cannot_be_kept_are_refused() {
    let with = |kind, count_max, window_ms| {
        Thresholds::new(&BTreeMap::from([(kind, Threshold { count_max, window_ms, quiet_ms: 0 })])).err()
    };
    let scan = AnomalyKind::PortScan;
    assert_eq!(with(scan, 2049, 1000), Some(ThresholdError::CountTooLarge(scan)));
    assert_eq!(with(scan, 2048, 1), Some(ThresholdError::WindowTooShort(scan)));
    assert_eq!(with(AnomalyKind::UdpFlood, u32::MAX, 1000), None);
    for (index, kind) in AnomalyKind::ALL.iter().enumerate() {
        assert_eq!(*kind as usize, index);
        assert!(Thresholds::new(&BTreeMap::from([(*kind, kind.default_threshold())])).is_ok());
    }
}
