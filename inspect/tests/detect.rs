//! Scans, sweeps, floods and bursts are noticed; what busy hosts do is not.

use std::collections::BTreeMap;

use inspect::detect::{
    Anomaly, AnomalyKind, AnomalySet, DetectConfig, DetectConfigError, Detectors, Seed, Target, Threshold,
};
use inspect::limits::DETECT_SOURCES_MAX;
use inspect::wire::emit::{self, FrameBuilder};
use inspect::wire::{Checksums, Packet};

/// A watch with one threshold, and what it said.
struct Bench {
    detectors: Detectors,
    events: Vec<Anomaly>,
}

impl Bench {
    fn new(kind: AnomalyKind, count_max: u32, window_ms: u32) -> Self {
        let thresholds = BTreeMap::from([(kind, Threshold { count_max, window_ms })]);
        let config = DetectConfig { thresholds, quiet_ms: 5000, seed: Seed([3, 4]) };
        Self { detectors: Detectors::new(&config).expect("a sound configuration"), events: Vec::new() }
    }

    fn default() -> Self {
        let config = DetectConfig { seed: Seed([3, 4]), ..DetectConfig::default() };
        Self { detectors: Detectors::new(&config).expect("a sound configuration"), events: Vec::new() }
    }

    fn see(&mut self, now_ms: u64, frame: &FrameBuilder) -> AnomalySet {
        self.see_from(1, now_ms, frame, true)
    }

    fn see_from(&mut self, source: u32, now_ms: u64, frame: &FrameBuilder, opens_flow: bool) -> AnomalySet {
        let frame = frame.build();
        let packet = Packet::parse(&frame, Checksums::Verify).expect("sound");
        self.detectors.observe(source, &packet, opens_flow, now_ms, &mut self.events)
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
    bench.detectors.remove_source(4);
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
fn sources_are_bounded() {
    let mut bench = Bench::new(AnomalyKind::SynFlood, 0, 1000);
    for source in 0..DETECT_SOURCES_MAX as u32 {
        assert!(bench.see_from(source, 0, &syn(0, 80), true).contains(AnomalyKind::SynFlood));
    }
    assert!(bench.see_from(u32::MAX, 0, &syn(0, 80), true).is_empty());
    assert_eq!(bench.detectors.unwatched_count(), 1);
}

#[test]
fn thresholds_that_cannot_be_kept_are_refused() {
    let with = |kind, count_max, window_ms| {
        let thresholds = BTreeMap::from([(kind, Threshold { count_max, window_ms })]);
        Detectors::new(&DetectConfig { thresholds, ..DetectConfig::default() }).err()
    };
    let scan = AnomalyKind::PortScan;
    assert_eq!(with(scan, 2049, 1000), Some(DetectConfigError::CountTooLarge(scan)));
    assert_eq!(with(scan, 2048, 1), Some(DetectConfigError::WindowTooShort(scan)));
    assert_eq!(with(AnomalyKind::UdpFlood, u32::MAX, 1000), None);
    for (index, kind) in AnomalyKind::ALL.iter().enumerate() {
        assert_eq!(*kind as usize, index);
    }
}
