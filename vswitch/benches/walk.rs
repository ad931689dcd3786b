//! Cycles per frame of the walk alone: parse, port security, egress look-up, flow, policy, inspection, forward, without any
//! ring. Frames lie ready in a batch; the egress only looks at them.
//!
//! `cargo bench --bench walk` prints median and 10th percentile per burst of 32, for frame sizes and flow counts.

use std::sync::Arc;

use inspect::wire::emit;
use vswitch::counters::WorkerCounters;
use vswitch::event_log::EventLog;
use vswitch::flow_table::{FlowTable, HashSecret, Timeouts};
use vswitch::forward::{Egress, QueueIndex};
use vswitch::frame::{BURST_MAX, Batch, ClaimedOffload, PortId};
use vswitch::generation::{Generation, PortView};
use vswitch::inspection::{Cleared, Inspection};
use vswitch::mac_table::LearnedMacs;
use vswitch::pipeline::{Pipeline, Turn};
use vswitch::port::{PortFault, Refusals};
use vswitch::sys;
use zones::binding::PortSecurity;
use zones::policy::Policy;
use zones::rule::{Action, Rule};
use zones::service::Service;
use zones::source::PolicySource;
use zones::zone::{Port, Zone};

const GUESTS: [(&str, &str, [u8; 6], [u8; 4]); 2] = [
    ("a", "left", [0x52, 0x54, 0, 0, 0, 0x0a], [10, 0, 0, 10]),
    ("b", "right", [0x52, 0x54, 0, 0, 0, 0x0b], [10, 0, 0, 11]),
];

struct Sink(u64);

impl Egress for Sink {
    fn queue(&self, port: PortId, _: u64) -> Option<QueueIndex> {
        Some(QueueIndex(port.0))
    }

    fn transmit(&mut self, _: QueueIndex, frames: &[Cleared<'_>], _: &mut Refusals) -> Result<(), PortFault> {
        self.0 += frames.iter().map(|cleared| cleared.frame().len() as u64).sum::<u64>();
        Ok(())
    }
}

fn generation() -> Arc<Generation> {
    let rule = Rule::new("a-b", Action::Allow)
        .between("left".parse().expect("a zone"), "right".parse().expect("a zone"))
        .about(Service::udp(9_000));
    let source = PolicySource {
        zones: GUESTS.iter().map(|(_, zone, ..)| Zone::new(*zone, None)).collect(),
        ports: (0..).zip(&GUESTS).map(|(id, (name, zone, ..))| Port::new(PortId(id), *name, *zone)).collect(),
        rules: vec![rule],
        ..PolicySource::default()
    };
    let policy = Policy::compile(&source).expect("the policy compiles");
    let views = GUESTS.iter().map(|(name, zone, mac, ip)| {
        let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let entry = format!("{} {}", mac.join(":"), std::net::Ipv4Addr::from(*ip));
        let security = Some(PortSecurity::parse(&[entry]).expect("a binding"));
        Some(PortView { name: (*name).into(), zone: (*zone).into(), is_uplink: false, security })
    });
    Arc::new(Generation::new(1, views.collect(), Arc::new(policy), Arc::default(), 1))
}

fn measure(frame_len: usize, flows: u32, turns: u32) {
    let counters = Arc::new(WorkerCounters::default());
    let (sender, _events) = crossbeam_channel::bounded(16);
    let table = FlowTable::new(1 << 20, 1 << 20, Timeouts::default(), HashSecret::new([9; 56])).expect("memory");
    let learned = Arc::new(LearnedMacs::new(16, 300_000));
    let mut pipeline = Pipeline::new(table, Inspection::default(), learned, counters, EventLog::new(sender));
    let generation = generation();
    let (mut batch, mut sink) = (Batch::new(), Sink(0));
    let payload = vec![0x5a; frame_len - 42];
    let [(_, _, mac_a, ip_a), (_, _, mac_b, ip_b)] = GUESTS;
    let template = emit::udp((ip_a, 1_024), (ip_b, 9_000)).macs(mac_a, mac_b).payload(&payload).build();
    let mut random: u64 = 88_172_645_463_325_252;
    let mut cycles = Vec::new();
    for turn in 0..turns {
        batch.clear();
        for n in 0..BURST_MAX as u32 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let flow = if flows <= 16 { (turn + n) % flows } else { (random % u64::from(flows)) as u32 };
            let mut frame = template.clone();
            // The address's last 20 bits name the flow; the checksums are mended by hand, as they are sums.
            readdress(&mut frame, flow);
            assert!(batch.push_frame(&frame, ClaimedOffload::default()));
        }
        let turn = Turn { generation: &generation, ingress: PortId(0), now_us: u64::from(turn), worker: 0 };
        let before = sys::cycles();
        pipeline.walk(&turn, &mut batch, &mut sink);
        cycles.push((sys::cycles() - before) as u32 / BURST_MAX as u32);
    }
    let mut steady = cycles.split_off(cycles.len() / 2);
    steady.sort_unstable();
    println!(
        "{frame_len:5} B  {flows:8} flows  median {:4}  p10 {:4}  ({} bytes seen)",
        steady[steady.len() / 2],
        steady[steady.len() / 10],
        sink.0
    );
}

/// Makes source port and, through it, the flow; and mends the UDP checksum (RFC 1624).
fn readdress(frame: &mut [u8], flow: u32) {
    let old = u16::from_be_bytes([frame[34], frame[35]]);
    let new = 1_024 + (flow % 60_000) as u16;
    let old_dst = u16::from_be_bytes([frame[32], frame[33]]);
    let _ = old_dst;
    frame[34..36].copy_from_slice(&new.to_be_bytes());
    let sum = u16::from_be_bytes([frame[40], frame[41]]);
    let mut mended = u32::from(!sum) + u32::from(!old) + u32::from(new);
    mended = (mended & 0xffff) + (mended >> 16);
    mended = (mended & 0xffff) + (mended >> 16);
    let mended = !(mended as u16);
    frame[40..42].copy_from_slice(&if mended == 0 { 0xffff } else { mended }.to_be_bytes());
}

fn main() {
    for (frame_len, flows, turns) in [(60, 16, 40_000), (1_500, 16, 20_000), (60, 50_000, 40_000)] {
        measure(frame_len, flows, turns);
    }
}
