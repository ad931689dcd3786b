//! Cycles per frame of the whole switch in one thread: out of one synthetic guest's ring, through every stage, into the other
//! guest's ring. The guests' own work is not timed. To be read beside a run of DPDK's bare vhost copy on the same machine:
//! same frame sizes, ring size, burst, and the same negotiated features.
//!
//! `cargo bench --bench pipeline -- [FRAME_BYTES RING_SIZE FLOWS BURST]...` prints one line for each four numbers; without
//! any, a table of sizes and flow counts. Flows above 16 are picked at random.

mod guest;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inspect::wire::emit;
use vswitch::counters::WorkerCounters;
use vswitch::event_log::EventLog;
use vswitch::flow_table::{FlowTable, HashSecret, Timeouts};
use vswitch::forward::{Egress, QueueIndex};
use vswitch::frame::{Batch, PortId};
use vswitch::generation::{Generation, PortView};
use vswitch::inspection::{Cleared, Inspection};
use vswitch::mac_table::LearnedMacs;
use vswitch::pipeline::{Pipeline, Turn};
use vswitch::port::vhost::{Mode, PortStatus, VhostConfig, VhostPort};
use vswitch::port::{PortFault, QueueIo, Refusals};
use vswitch::sys;
use vswitch::worker::{Attach, Detached, QueueId};
use zones::binding::PortSecurity;
use zones::policy::Policy;
use zones::rule::{Action, Rule};
use zones::service::Service;
use zones::source::PolicySource;
use zones::zone::{Port, Zone};

use guest::Guest;

const GUESTS: [(&str, &str, [u8; 6]); 2] =
    [("a", "left", [0x52, 0x54, 0, 0, 0, 0x0a]), ("b", "right", [0x52, 0x54, 0, 0, 0, 0x0b])];

/// Flows of all measurements fit: 2^20 and a quarter of room.
const FLOWS_MAX: u32 = 1 << 20;

/// Hands the ports' queues to the benchmark instead of a worker.
#[derive(Default)]
struct Collect(Mutex<HashMap<PortId, Box<dyn QueueIo>>>);

impl Attach for Collect {
    fn attach(&self, id: QueueId, queue: Box<dyn QueueIo>) {
        self.0.lock().expect("nobody panics with it").insert(id.port, queue);
    }

    fn detach(&self, _: QueueId) -> Detached {
        Detached::Absent
    }
}

struct Receiver<'a>(&'a mut Box<dyn QueueIo>);

impl Egress for Receiver<'_> {
    fn queue(&self, port: PortId, _: u64) -> Option<QueueIndex> {
        Some(QueueIndex(port.0))
    }

    fn transmit(&mut self, _: QueueIndex, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault> {
        self.0.transmit(frames, refused)
    }
}

fn generation() -> Arc<Generation> {
    let rule = Rule::new("a-b", Action::Allow)
        .between("left".parse().expect("a zone"), "right".parse().expect("a zone"))
        .about(Service::protocol(17));
    let source = PolicySource {
        zones: GUESTS.iter().map(|(_, zone, _)| Zone::new(*zone, None)).collect(),
        ports: (0..).zip(&GUESTS).map(|(id, (name, zone, _))| Port::new(PortId(id), *name, *zone)).collect(),
        rules: vec![rule],
        ..PolicySource::default()
    };
    let policy = Policy::compile(&source).expect("the policy compiles");
    let views = (10..).zip(&GUESTS).map(|(number, (name, zone, mac))| {
        let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let security = PortSecurity::parse(&[format!("{} 10.0.0.{number}", mac.join(":"))]).expect("a binding");
        Some(PortView { name: (*name).into(), zone: (*zone).into(), is_uplink: false, security: Some(security) })
    });
    Arc::new(Generation::new(1, views.collect(), Arc::new(policy), Arc::default(), 1))
}

/// Writes the frame of flow `flow`: source and destination port name it, and the checksum follows them (RFC 1624).
fn readdress(frame: &mut [u8], flow: u32) {
    let ports = 0x0400_0400u32 + (flow & 0x7ff) + ((flow >> 11) << 16);
    frame[34..38].copy_from_slice(&ports.to_be_bytes());
    // The template's ports are 0x0400 each.
    let delta = (ports >> 16) + (ports & 0xffff) - 0x800;
    let mut sum = u32::from(!u16::from_be_bytes([frame[40], frame[41]])) + delta;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !(sum as u16);
    frame[40..42].copy_from_slice(&if checksum == 0 { 0xffff } else { checksum }.to_be_bytes());
}

struct Setup {
    guests: [Guest; 2],
    queues: [Box<dyn QueueIo>; 2],
    pipeline: Pipeline,
    // Ports end their connections when they are dropped.
    _ports: Vec<VhostPort>,
    _folder: tempfile::TempDir,
}

fn set_up(ring_size: u16) -> Setup {
    let folder = tempfile::tempdir().expect("a folder");
    let collect = Arc::new(Collect::default());
    let mut guests = [Guest::new(ring_size), Guest::new(ring_size)];
    let mut ports = Vec::new();
    for (id, guest) in (0..).zip(&mut guests) {
        guest.post_all();
        let path = folder.path().join(GUESTS[usize::from(id)].0);
        let config = VhostConfig::new(PortId(id), GUESTS[usize::from(id)].0, &path, Mode::Server);
        let attach: Arc<dyn Attach> = Arc::<Collect>::clone(&collect);
        ports.push(VhostPort::start(config, attach, Arc::new(PortStatus::default())).expect("a port"));
        guest.connect(&path);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    let queues = loop {
        let mut found = collect.0.lock().expect("nobody panics with it");
        if let (Some(_), Some(_)) = (found.get(&PortId(0)), found.get(&PortId(1))) {
            break [0, 1].map(|id| found.remove(&PortId(id)).expect("it is there"));
        }
        assert!(Instant::now() < deadline, "the ports were not handed over");
        drop(found);
        std::thread::sleep(Duration::from_millis(5));
    };
    let (sender, _) = crossbeam_channel::bounded(16);
    let mut random = [0; 56];
    getrandom::fill(&mut random).expect("random bytes");
    let table = FlowTable::new(FLOWS_MAX, FLOWS_MAX, Timeouts::default(), HashSecret::new(random)).expect("memory");
    let learned = Arc::new(LearnedMacs::new(16, 300_000));
    let counters = Arc::new(WorkerCounters::default());
    let pipeline = Pipeline::new(table, Inspection::default(), learned, counters, EventLog::new(sender));
    Setup { guests, queues, pipeline, _ports: ports, _folder: folder }
}

fn measure(frame_len: usize, ring_size: u16, flows: u32, burst: u16) {
    let mut setup = set_up(ring_size);
    let generation = generation();
    let [(_, _, mac_a), (_, _, mac_b)] = GUESTS;
    let template = emit::udp(([10, 0, 0, 10], 0x400), ([10, 0, 0, 11], 0x400))
        .macs(mac_a, mac_b)
        .payload(vec![0x5a; frame_len - 42])
        .build();
    let mut batch = Batch::new();
    let mut random: u64 = 88_172_645_463_325_252;
    let (mut next, mut moved, mut seen) = (0, 0, 0);
    let mut cycles = Vec::new();
    // First every flow once, then what is measured.
    let bursts = flows.div_ceil(u32::from(burst)) + 60_000;
    for number in 0..bursts {
        let is_opening = next < flows;
        setup.guests[0].send(burst, frame_len, |frame| {
            let flow = if flows <= 16 || next < flows {
                next % flows
            } else {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random % u64::from(flows)) as u32
            };
            next += 1;
            frame.copy_from_slice(&template);
            readdress(frame, flow);
        });
        let [from, to] = &mut setup.queues;
        let turn = Turn { generation: &generation, ingress: PortId(0), now_us: u64::from(number), worker: 0 };
        let before = sys::cycles();
        let mut walked = 0;
        while walked < usize::from(burst) {
            batch.clear();
            from.receive(&mut batch).expect("a sound ring");
            setup.pipeline.walk(&turn, &batch, &mut Receiver(to));
            walked += batch.len();
        }
        let took = sys::cycles() - before;
        seen += u64::from(burst);
        moved += setup.guests[1].take();
        if !is_opening {
            cycles.push((took / u64::from(burst)) as u32);
        }
    }
    assert_eq!(moved, seen, "every frame arrives");
    cycles.sort_unstable();
    let [p10, median, p90] = [10, 50, 90].map(|percent| cycles[cycles.len() * percent / 100]);
    println!(
        "vswitch flen {frame_len} qs {ring_size} flows {flows} burst {burst}: cyc/f med {median} p10 {p10} p90 {p90}"
    );
}

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let table: Vec<[u32; 4]> = if numbers.is_empty() {
        vec![[60, 256, 16, 32], [1_500, 256, 16, 32], [60, 256, 100_000, 32], [60, 256, 1_000_000, 32]]
    } else {
        numbers.as_chunks::<4>().0.to_vec()
    };
    for [frame_len, ring_size, flows, burst] in table {
        measure(frame_len as usize, ring_size as u16, flows, burst as u16);
    }
}
