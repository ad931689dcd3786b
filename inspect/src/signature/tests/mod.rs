//! Rules against packets: each case is a rule text, a packet and whether they match.

mod loading;
mod matching;
mod reloading;

use super::{Loaded, RuleFile, RuleSet, Vars};
use crate::alert::Alert;
use crate::inspector::{Direction, FlowSlot, FlowView, Inspector, Mode, Settings};
use crate::verdict::Verdict;
use crate::wire::{Checksums, Packet, parse};

/// Compiles one file of rules.
pub(super) fn load(text: &str) -> Loaded {
    let file = RuleFile { name: "test.rules".into(), text: text.into() };
    RuleSet::compile(&[file], &Vars::conventional())
}

/// An inspector in a mode, everything else by default.
pub(super) fn inspector(mode: Mode) -> Inspector {
    Inspector::new(Settings { mode, ..Settings::default() })
}

/// Compiles rules that must all load.
#[track_caller]
pub(super) fn rules(text: &str) -> RuleSet {
    let loaded = load(text);
    let refused: Vec<String> = loaded.refused.iter().map(ToString::to_string).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    loaded.rules
}

/// A packet under construction, 10.0.0.1:1024 to 8.8.8.8:80 over TCP unless said otherwise.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    transport: Kind,
    source: [u8; 4],
    destination: [u8; 4],
    source_port: u16,
    destination_port: u16,
    ttl: u8,
    payload: Vec<u8>,
    flags: &'static str,
    view: FlowView,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp,
    Udp,
    Icmp(u8, u8),
}

pub(super) fn tcp(payload: &[u8]) -> Draft {
    let slot = Some(FlowSlot(0));
    Draft {
        transport: Kind::Tcp,
        source: [10, 0, 0, 1],
        destination: [8, 8, 8, 8],
        source_port: 1024,
        destination_port: 80,
        ttl: 64,
        payload: payload.to_vec(),
        flags: "PA",
        view: FlowView { slot, direction: Direction::ToServer, established: true, is_first: false },
    }
}

pub(super) fn udp(payload: &[u8]) -> Draft {
    Draft { transport: Kind::Udp, destination_port: 53, ..tcp(payload) }
}

pub(super) fn icmp(kind: u8, code: u8, payload: &[u8]) -> Draft {
    Draft { transport: Kind::Icmp(kind, code), ..tcp(payload) }
}

impl Draft {
    fn from(mut self, address: [u8; 4], port: u16) -> Self {
        (self.source, self.source_port) = (address, port);
        self
    }

    fn to(mut self, address: [u8; 4], port: u16) -> Self {
        (self.destination, self.destination_port) = (address, port);
        self
    }

    fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    fn flags(mut self, flags: &'static str) -> Self {
        self.flags = flags;
        self
    }

    fn answering(mut self) -> Self {
        self.view.direction = Direction::ToClient;
        self
    }

    fn not_established(mut self) -> Self {
        self.view.established = false;
        self
    }

    fn slot(mut self, slot: u32) -> Self {
        self.view.slot = Some(FlowSlot(slot));
        self
    }

    fn frame(&self) -> Vec<u8> {
        let ip = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(
            self.source,
            self.destination,
            self.ttl,
        );
        let mut frame = Vec::new();
        let written = match self.transport {
            Kind::Tcp => {
                let mut step = ip.tcp(self.source_port, self.destination_port, 1000, 500);
                for flag in self.flags.chars() {
                    step = match flag {
                        'S' => step.syn(),
                        'F' => step.fin(),
                        'P' => step.psh(),
                        'A' => step.ack(1),
                        _ => unreachable!("no such flag in tests"),
                    };
                }
                step.write(&mut frame, &self.payload)
            }
            Kind::Udp => ip.udp(self.source_port, self.destination_port).write(&mut frame, &self.payload),
            Kind::Icmp(kind, code) => ip.icmpv4_raw(kind, code, [0, 7, 0, 9]).write(&mut frame, &self.payload),
        };
        written.unwrap();
        frame
    }

    /// Shows the packet to an inspector: the verdict, and the signature ids of the alerts.
    pub(super) fn show(&self, inspector: &mut Inspector, rules: &RuleSet, now_ms: u64) -> (Verdict, Vec<u32>) {
        let frame = self.frame();
        let packet = Packet::new(&frame, parse(&frame, Checksums::Verify).unwrap());
        let mut alerts: Vec<Alert> = Vec::new();
        let verdict = inspector.inspect(rules, &packet, &self.view, now_ms, &mut alerts);
        let sid = |alert: &Alert| rules.signature(alert.signature).unwrap().sid;
        (verdict, alerts.iter().map(sid).collect())
    }
}

/// Whether an alert rule with these options over `header` matches the packet.
#[track_caller]
pub(super) fn check(header: &str, options: &str, draft: &Draft, matches: bool) {
    let rules = rules(&format!("alert {header} ({options} sid:1;)"));
    let (verdict, sids) = draft.show(&mut inspector(Mode::Prevent), &rules, 0);
    assert_eq!(verdict, Verdict::Forward);
    assert_eq!(sids, if matches { vec![1] } else { vec![] }, "{header} ({options}) on {draft:?}");
}
