//! The switch in one thread between two synthetic guests: their ports, a pipeline with all stages on, and frames for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inspect::inspector::Settings;
use inspect::wire::emit;
use vswitch::counters::WorkerCounters;
use vswitch::drop_reason::DropReason;
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

use crate::Effort;
use crate::extra::Extra;
use crate::guest::{Guest, Shape};

/// The guests: port, zone, MAC.
pub(super) const GUESTS: [(&str, &str, [u8; 6]); 2] =
    [("a", "left", [0x52, 0x54, 0, 0, 0, 0x0a]), ("b", "right", [0x52, 0x54, 0, 0, 0, 0x0b])];

/// Their IPv4 addresses.
pub(super) const ADDRESSES: [[u8; 4]; 2] = [[10, 0, 0, 10], [10, 0, 0, 11]];

/// IP protocol numbers.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

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

/// UDP and TCP may be opened from the first guest to the second.
pub(super) fn generation(extra: Extra) -> Arc<Generation> {
    let rule = |name: &str, protocol| {
        let (from, to) = (GUESTS[0].1.parse().expect("a zone"), GUESTS[1].1.parse().expect("a zone"));
        Rule::new(name, Action::Allow).between(from, to).about(Service::protocol(protocol))
    };
    let source = PolicySource {
        zones: GUESTS.iter().map(|(_, zone, _)| Zone::new(*zone, None)).collect(),
        ports: (0..).zip(&GUESTS).map(|(id, (name, zone, _))| Port::new(PortId(id), *name, *zone)).collect(),
        rules: vec![rule("udp", UDP), rule("tcp", TCP)],
        ..PolicySource::default()
    };
    let policy = Policy::compile(&source).expect("the policy compiles");
    let views = (10..).zip(&GUESTS).map(|(number, (name, zone, mac))| {
        let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let security = PortSecurity::parse(&[format!("{} 10.0.0.{number}", mac.join(":"))]).expect("a binding");
        Some(PortView {
            name: (*name).into(),
            zone: (*zone).into(),
            is_uplink: false,
            tenant: None,
            security: Some(security),
        })
    });
    let generation = Generation::new(1, views.collect(), Arc::new(policy), extra.rules(), 1);
    Arc::new(generation.with_watch(extra.detect(), Arc::default()))
}

/// A flow table for so many flows, which may all be of one port.
pub(super) fn flow_table(flows_max: u32) -> FlowTable {
    let mut random = [0; 56];
    getrandom::fill(&mut random).expect("random bytes");
    FlowTable::new(flows_max, flows_max, Timeouts::default(), HashSecret::new(random)).expect("memory")
}

/// A frame of the first guest to the second, from and to port 0x0400, for [`readdress`]: a datagram, or a SYN, which carries no
/// data and is padded.
pub(super) fn template(protocol: u8, frame_len: usize) -> Vec<u8> {
    let ends = ((ADDRESSES[0], 0x400), (ADDRESSES[1], 0x400));
    let builder = if protocol == TCP { emit::tcp(ends.0, ends.1).syn() } else { emit::udp(ends.0, ends.1) };
    let builder = builder.macs(GUESTS[0].2, GUESTS[1].2);
    let rest = vec![0x5a; frame_len.saturating_sub(builder.build().len())];
    if protocol == TCP { builder.padding(&rest).build() } else { builder.payload(rest).build() }
}

/// Makes a template the frame of flow `flow`: source and destination port name it, and the checksum follows them (RFC 1624).
pub(super) fn readdress(frame: &mut [u8], flow: u32) {
    let ports = 0x0400_0400u32 + (flow & 0x7ff) + ((flow >> 11) << 16);
    frame[34..38].copy_from_slice(&ports.to_be_bytes());
    let at = if frame[23] == TCP { 50 } else { 40 };
    // The template's ports are 0x0400 each.
    let delta = (ports >> 16) + (ports & 0xffff) - 0x800;
    let mut sum = u32::from(!u16::from_be_bytes([frame[at], frame[at + 1]])) + delta;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !(sum as u16);
    frame[at..at + 2].copy_from_slice(&if checksum == 0 { 0xffff } else { checksum }.to_be_bytes());
}

/// The switch and its two guests.
pub(super) struct Rig {
    pub(super) guests: [Guest; 2],
    pub(super) queues: [Box<dyn QueueIo>; 2],
    pub(super) generation: Arc<Generation>,
    /// The clock that the pipeline is shown, in microseconds.
    pub(super) now_us: u64,
    pipeline: Pipeline,
    counters: Arc<WorkerCounters>,
    batch: Batch,
    // Ports end their connections when they are dropped.
    _ports: Vec<VhostPort>,
    _folder: tempfile::TempDir,
}

impl Rig {
    pub(super) fn new(effort: Effort, shape: Shape) -> Self {
        Self::with(effort, shape, Extra::Nothing)
    }

    pub(super) fn with(effort: Effort, shape: Shape, extra: Extra) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let collect = Arc::new(Collect::default());
        let mut guests = [Guest::new(shape), Guest::new(shape)];
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
            if found.len() == 2 {
                break [0, 1].map(|id| found.remove(&PortId(id)).expect("it is there"));
            }
            assert!(Instant::now() < deadline, "the ports were not handed over");
            drop(found);
            std::thread::sleep(Duration::from_millis(5));
        };
        let learned = Arc::new(LearnedMacs::new(16, 300_000));
        let (sender, _) = crossbeam_channel::bounded(16);
        let counters = Arc::new(WorkerCounters::default());
        let (flows, log) = (flow_table(effort.flows_max()), EventLog::new(sender).by(&extra.eve()));
        let inspection = Inspection::new(Settings { records: extra.eve().wanted(), ..Settings::default() });
        let pipeline = Pipeline::new(flows, inspection, learned, Arc::clone(&counters), log);
        let (generation, batch) = (generation(extra), Batch::new());
        Self { guests, queues, generation, now_us: 0, pipeline, counters, batch, _ports: ports, _folder: folder }
    }

    /// Carries frames that guest `from` has offered to the other one, until so many have entered the switch. Answers the
    /// cycles that it took.
    pub(super) fn carry(&mut self, from: usize, frames: usize) -> u64 {
        let [a, b] = &mut self.queues;
        let (sender, receiver) = if from == 0 { (a, b) } else { (b, a) };
        let ingress = PortId(from as u16);
        let turn = Turn { generation: &self.generation, ingress, now_us: self.now_us, worker: 0 };
        let before = sys::cycles();
        let mut walked = 0;
        while walked < frames {
            self.batch.clear();
            sender.receive(&mut self.batch).expect("a sound ring");
            self.pipeline.walk(&turn, &self.batch, &mut Receiver(receiver));
            walked += self.batch.len();
        }
        sys::cycles() - before
    }

    /// Frames of the first guest that were dropped, by reason.
    pub(super) fn drops(&self) -> Vec<(&'static str, u64)> {
        let drops = &self.counters.port(PortId(0)).drops;
        let of = |reason: DropReason| (reason.word(), drops[reason as usize].value());
        DropReason::ALL.iter().copied().map(of).filter(|(_, count)| *count > 0).collect()
    }

    /// Flows in the switch's table.
    pub(super) fn flow_count(&self) -> u32 {
        self.pipeline.flows().len()
    }
}
