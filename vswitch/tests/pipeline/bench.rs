//! A switch in memory, with a hand-cranked clock: four guests in three zones, and an uplink.

use std::collections::BTreeMap;
use std::sync::Arc;

use inspect::detect::{Detectors, Seed};
use inspect::signature::RuleSet;
use inspect::wire::emit::FrameBuilder;
use vswitch::counters::{PORTS_MAX, WorkerCounters};
use vswitch::detect::{Detect, DetectConfig};
use vswitch::drop_reason::DropReason;
use vswitch::eve::settings::EveSettings;
use vswitch::event::{Event, EventKind};
use vswitch::event_log::EventLog;
use vswitch::flow_table::{FlowTable, HashSecret, Timeouts};
use vswitch::forward::{Egress, QueueIndex};
use vswitch::frame::{Batch, ClaimedOffload, PortId};
use vswitch::generation::{Generation, PortView};
use vswitch::inspection::{Cleared, Inspection};
use vswitch::mac_table::LearnedMacs;
use vswitch::pipeline::{Pipeline, Turn};
use vswitch::port::memory::{MemoryPeer, MemoryQueue, Sent};
use vswitch::port::{PortFault, QueueIo, Refusals};
use vswitch::profiles::Profiles;
use vswitch::quarantine::Quarantines;
use zones::binding::PortSecurity;
use zones::policy::Policy;
use zones::rule::{Action, Endpoint, Rule};
use zones::service::Service;
use zones::source::PolicySource;
use zones::zone::{Port, Zone};

pub const WEB1: PortId = PortId(0);
pub const WEB2: PortId = PortId(1);
pub const DB1: PortId = PortId(2);
pub const LAB1: PortId = PortId(3);
pub const UP0: PortId = PortId(4);

/// A port's name, zone and, for guests, its number in addresses.
const PORTS: [(&str, &str, Option<u8>); 5] = [
    ("web1", "web", Some(11)),
    ("web2", "web", Some(12)),
    ("db1", "db", Some(21)),
    ("lab1", "lab", None),
    ("up0", "outside", None),
];

/// The Ethernet address of a guest by its number.
pub fn mac(number: u8) -> [u8; 6] {
    [0x52, 0x54, 0, 0, 0, number]
}

/// The IPv4 address of a guest by its number.
pub fn ip(number: u8) -> [u8; 4] {
    [10, 0, 0, number]
}

/// An Ethernet address outside.
pub const OUTSIDE_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xff, 1];

/// What `zones` and rules a test wants beyond the default: web to db on TCP 5432 and ICMP, anything to the outside.
pub fn policy(extra: Vec<Rule>) -> Policy {
    let between = |name: &str, from: &str, to: &str| {
        Rule::new(name, Action::Allow).between(from.parse().expect("an endpoint"), to.parse().expect("an endpoint"))
    };
    let mut rules = extra;
    rules.push(between("web-db", "web", "db").about(Service::tcp(5432)));
    rules.push(between("web-db-ping", "web", "db").about(Service::protocol(1)));
    rules.push(between("web-db-dns", "web", "db").about(Service::udp(53)));
    rules.push(between("out", "any", "outside"));
    rules.push(between("lab-in", "outside", "lab"));
    let source = PolicySource {
        zones: vec![
            Zone::new("web", Some(Action::Allow)),
            Zone::new("db", Some(Action::Drop)),
            Zone::new("lab", None),
            Zone::new("outside", None),
        ],
        ports: PORTS
            .iter()
            .enumerate()
            .map(|(id, (name, zone, _))| Port::new(PortId(id as u16), *name, *zone))
            .collect(),
        rules,
        ..PolicySource::default()
    };
    Policy::compile(&source).expect("the policy compiles")
}

struct MemoryEgress {
    queues: Vec<Option<MemoryQueue>>,
    faults: Vec<QueueIndex>,
}

impl Egress for MemoryEgress {
    fn queue(&self, port: PortId, _: u64) -> Option<QueueIndex> {
        self.queues[port.index()].as_ref().map(|_| QueueIndex(port.0))
    }

    fn transmit(&mut self, queue: QueueIndex, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault> {
        let port = self.queues[usize::from(queue.0)].as_mut().expect("a queue that was named is there");
        let sent = port.transmit(frames, refused);
        if sent.is_err() {
            self.faults.push(queue);
        }
        sent
    }
}

/// The switch, its peers and its clock.
pub struct Bench {
    pub pipeline: Pipeline,
    pub generation: Arc<Generation>,
    pub now_us: u64,
    pub counters: Arc<WorkerCounters>,
    peers: Vec<MemoryPeer>,
    egress: MemoryEgress,
    events: crossbeam_channel::Receiver<Event>,
    before: BTreeMap<String, u64>,
    /// How the next generation's ports are watched for scans and floods, if they are.
    pub watch: Option<DetectConfig>,
    detectors: Arc<Detectors>,
    pub quarantines: Arc<Quarantines>,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new(policy(Vec::new()), RuleSet::default(), 64)
    }
}

impl Bench {
    pub fn new(policy: Policy, rules: RuleSet, flows_max: u32) -> Self {
        Self::with_log(policy, rules, flows_max, Inspection::default(), |log| log)
    }

    /// A switch that tells the log what these settings ask for.
    pub fn telling(policy: Policy, rules: RuleSet, flows_max: u32, eve: EveSettings) -> Self {
        let records = eve.wanted();
        let settings = inspect::inspector::Settings { records, ..inspect::inspector::Settings::default() };
        Self::with_log(policy, rules, flows_max, Inspection::new(settings), |log| log.by(&eve))
    }

    fn with_log(
        policy: Policy,
        rules: RuleSet,
        flows_max: u32,
        inspection: Inspection,
        log: impl FnOnce(EventLog) -> EventLog,
    ) -> Self {
        let counters = Arc::new(WorkerCounters::default());
        let (sender, events) = crossbeam_channel::bounded(4096);
        let flows = FlowTable::new(flows_max, flows_max * 3 / 4, Timeouts::default(), HashSecret::new([7; 56]))
            .expect("memory");
        let pipeline = Pipeline::new(
            flows,
            inspection,
            Arc::new(LearnedMacs::new(8, 300_000)),
            Arc::clone(&counters),
            log(EventLog::new(sender)),
        );
        let peers: Vec<MemoryPeer> = PORTS.iter().map(|_| MemoryPeer::default()).collect();
        let queues = peers.iter().map(|peer| Some(peer.queue())).collect();
        let mut bench = Self {
            pipeline,
            generation: Arc::new(generation(1, policy, rules)),
            now_us: 1_000_000,
            counters,
            peers,
            egress: MemoryEgress { queues, faults: Vec::new() },
            events,
            before: BTreeMap::new(),
            watch: None,
            detectors: Arc::new(Detectors::new(PORTS_MAX, Seed([3, 4]))),
            quarantines: Arc::default(),
        };
        bench.before = bench.snapshot();
        bench
    }

    /// Puts another generation in force.
    pub fn reload(&mut self, policy: Policy) {
        let number = self.generation.number + 1;
        let detect = |config| Detect::new(config, Arc::clone(&self.detectors)).expect("thresholds that can be kept");
        let watch = self.watch.as_ref().map(detect);
        let next = generation(number, policy, RuleSet::default()).with_watch(watch, Arc::clone(&self.quarantines));
        self.generation = Arc::new(next);
    }

    /// Puts another generation in force, with these signatures and profiles.
    pub fn reload_with(&mut self, policy: Policy, rules: RuleSet, profiles: Profiles) {
        let number = self.generation.number + 1;
        self.generation = Arc::new(generation(number, policy, rules).with_profiles(Arc::new(profiles)));
    }

    pub fn advance_ms(&mut self, ms: u64) {
        self.now_us += ms * 1_000;
    }

    /// Housekeeping in so many places of the flow table.
    pub fn housekeep(&mut self, places: usize) {
        let turn = Turn { generation: &self.generation, ingress: WEB1, now_us: self.now_us, worker: 0 };
        self.pipeline.housekeep(&turn, places);
    }

    /// Ends the switch's work.
    pub fn finish(&mut self) {
        let turn = Turn { generation: &self.generation, ingress: WEB1, now_us: self.now_us, worker: 0 };
        self.pipeline.finish(&turn);
    }

    pub fn peer(&self, port: PortId) -> &MemoryPeer {
        &self.peers[port.index()]
    }

    pub fn unplug(&mut self, port: PortId) {
        self.egress.queues[port.index()] = None;
    }

    /// Connects a port that was unplugged.
    pub fn plug(&mut self, port: PortId) {
        self.egress.queues[port.index()] = Some(self.peers[port.index()].queue());
    }

    /// Sends one frame by a port and walks it.
    pub fn send(&mut self, port: PortId, frame: &[u8]) {
        self.send_with(port, frame, ClaimedOffload::default());
    }

    pub fn send_with(&mut self, port: PortId, frame: &[u8], claimed: ClaimedOffload) {
        self.peer(port).send_with(frame, claimed);
        self.walk(port);
    }

    /// Walks everything that waits at a port.
    pub fn walk(&mut self, port: PortId) {
        let mut batch = Batch::new();
        loop {
            batch.clear();
            let mut queue = self.peers[port.index()].queue();
            if queue.receive(&mut batch).is_err() || batch.is_empty() && batch.rejected().is_empty() {
                return;
            }
            let turn = Turn { generation: &self.generation, ingress: port, now_us: self.now_us, worker: 0 };
            self.pipeline.walk(&turn, &batch, &mut self.egress);
        }
    }

    /// What a port's peer has received since the last call.
    pub fn received(&self, port: PortId) -> Vec<Sent> {
        self.peer(port).take()
    }

    /// Asserts that the frame arrived at exactly these ports, unchanged.
    pub fn assert_arrives(&mut self, from: PortId, frame: &[u8], at: &[PortId]) {
        self.send(from, frame);
        for port in (0..PORTS.len() as u16).map(PortId) {
            let arrived: Vec<_> = self.received(port).into_iter().map(|sent| sent.frame).collect();
            let expected: Vec<_> = at.contains(&port).then(|| frame.to_vec()).into_iter().collect();
            assert_eq!(arrived, expected, "at {} (dropped: {:?})", PORTS[port.index()].0, self.drops());
        }
    }

    /// Asserts that the frame arrives nowhere, and that exactly one drop is counted, for this reason.
    pub fn assert_dropped(&mut self, from: PortId, frame: &[u8], reason: DropReason) {
        self.moved();
        self.send(from, frame);
        self.assert_only_drop(from, reason);
    }

    pub fn assert_only_drop(&mut self, from: PortId, reason: DropReason) {
        for port in (0..PORTS.len() as u16).map(PortId) {
            assert_eq!(self.received(port), [], "at {}", PORTS[port.index()].0);
        }
        let moved: BTreeMap<String, u64> = self
            .moved()
            .into_iter()
            .filter(|(name, _)| name.contains("drop") || name.contains("transmit") || name.contains("copies"))
            .collect();
        let expected = BTreeMap::from([(format!("{} drop {}", PORTS[from.index()].0, reason.word()), 1)]);
        assert_eq!(moved, expected);
    }

    /// The counters that moved since the last call, and by how much.
    pub fn moved(&mut self) -> BTreeMap<String, u64> {
        let now = self.snapshot();
        let before = std::mem::replace(&mut self.before, now.clone());
        now.into_iter()
            .map(|(name, value)| (name.clone(), value - before.get(&name).unwrap_or(&0)))
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    pub fn drops(&self) -> Vec<(String, u64)> {
        self.snapshot().into_iter().filter(|(name, value)| name.contains("drop") && *value > 0).collect()
    }

    fn snapshot(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (id, (name, ..)) in PORTS.iter().enumerate() {
            let port = self.counters.port(PortId(id as u16));
            all.insert(format!("{name} received"), port.received.value());
            all.insert(format!("{name} received bytes"), port.received_bytes.value());
            all.insert(format!("{name} copies"), port.flood_copies.value());
            all.insert(format!("{name} delivered"), port.delivered.value());
            all.insert(format!("{name} transmitted"), port.transmitted.value());
            all.insert(format!("{name} transmitted bytes"), port.transmitted_bytes.value());
            for reason in DropReason::ALL {
                all.insert(format!("{name} drop {}", reason.word()), port.drops[*reason as usize].value());
            }
        }
        all.insert("cleared".into(), self.counters.cleared.value());
        all.insert("flows opened".into(), self.counters.flows_opened.value());
        all.insert("flows ended".into(), self.counters.flows_ended.value());
        all
    }

    /// Asserts that the books balance: per ingress port, received + copies = delivered + drops; and over all,
    /// delivered = transmitted, and nothing was delivered that was not cleared.
    pub fn assert_books_balance(&self) {
        let (mut delivered, mut transmitted) = (0, 0);
        for (id, (name, ..)) in PORTS.iter().enumerate() {
            let port = self.counters.port(PortId(id as u16));
            let drops: u64 = port.drops.iter().map(|cell| cell.value()).sum();
            let came = port.received.value() + port.flood_copies.value();
            assert_eq!(came, port.delivered.value() + drops + port.held.value(), "at {name}");
            delivered += port.delivered.value();
            transmitted += port.transmitted.value();
        }
        assert_eq!(delivered, transmitted);
        assert!(delivered <= self.counters.cleared.value());
    }

    /// What was recorded since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        self.events.try_iter().collect()
    }

    /// The name of what decided, from the last recorded drop for policy.
    pub fn last_decider(&self) -> Option<String> {
        let deciders = self.events.try_iter().filter_map(|event| match event.kind {
            EventKind::Drop { decider: Some(decider), .. } => {
                Some(event.generation.policy.decider_name(decider).to_owned())
            }
            EventKind::Drop { .. } | EventKind::WouldDrop { .. } => None,
            EventKind::Alert(_)
            | EventKind::Anomaly(..)
            | EventKind::FileAlert(_)
            | EventKind::FileInfo(_)
            | EventKind::Note(_)
            | EventKind::Flow(_) => None,
        });
        deciders.last()
    }
}

/// A generation of these ports.
pub fn generation(number: u32, policy: Policy, rules: RuleSet) -> Generation {
    let ports = PORTS
        .iter()
        .map(|(name, zone, guest)| {
            let security = guest.map(|number| {
                let [a, b, c, d, e, f] = mac(number);
                let entry = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} 10.0.0.{number} fd00::{number}");
                PortSecurity::parse(&[entry]).expect("a binding")
            });
            Some(PortView {
                name: (*name).to_owned(),
                zone: (*zone).to_owned(),
                is_uplink: *zone == "outside",
                tenant: guest.map(|_| "acme".to_owned()),
                security,
            })
        })
        .collect();
    Generation::new(number, ports, Arc::new(policy), Arc::new(rules), 1)
}

/// The endpoint that is everybody.
pub fn any() -> Endpoint {
    Endpoint::any()
}

/// A frame from one guest's addresses to another's.
pub fn addressed(builder: FrameBuilder, from: u8, to: u8) -> Vec<u8> {
    builder.macs(mac(from), mac(to)).build()
}
