//! A switch with real workers and ports that tests make up: one zone that allows everything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use inspect::signature::RuleSet;
use inspect::wire::emit;
use vswitch::books::Totals;
use vswitch::flow_table::Timeouts;
use vswitch::frame::PortId;
use vswitch::generation::{Generation, PortView};
use vswitch::mac_table::LearnedMacs;
use vswitch::port::QueueIo;
use vswitch::worker::{Attach, PollMode, QueueId, WorkerConfig, Workers};
use zones::binding::PortSecurity;
use zones::policy::Policy;
use zones::rule::Action;
use zones::source::PolicySource;
use zones::zone::{Port, Zone};

/// Workers and the names of their ports.
pub struct Switch {
    pub workers: Workers,
    _events: crossbeam_channel::Receiver<vswitch::event::Event>,
    _alone: MutexGuard<'static, ()>,
}

/// Switches do not run beside one another: their workers would take the processors from each other, and some tests compare
/// what frames cost.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Switch {
    /// A switch with so many ports, each bound to [`mac`] and [`ip`], and a worker for each processor.
    pub fn new(ports: u16, cpus: &[usize], poll: PollMode) -> Self {
        let alone = alone();
        let (events, received) = crossbeam_channel::bounded(4096);
        let config = WorkerConfig {
            cpus: cpus.to_vec(),
            poll,
            flows_max: 65_536,
            flows_per_port_max: 65_536,
            timeouts: Timeouts::default(),
            flood_frames_per_s: 1_000,
            eve: vswitch::eve::settings::EveSettings::default(),
        };
        let generation = Arc::new(ArcSwap::from_pointee(generation(1, ports, cpus.len(), Action::Allow)));
        let learned = Arc::new(LearnedMacs::new(1024, 300_000));
        let workers = Workers::start(&config, generation, learned, &events).expect("workers");
        Self { workers, _events: received, _alone: alone }
    }

    /// Attaches the first queue pair of a port.
    pub fn attach(&self, port: u16, queue: impl QueueIo + 'static) {
        self.workers.attach(QueueId { port: PortId(port), pair: 0 }, Box::new(queue));
    }

    pub fn totals(&self) -> Totals {
        Totals::of(self.workers.counters())
    }

    /// Asserts, once all frames have come to an end, that the books balance.
    pub fn assert_books_balance(&self) {
        wait_until("all frames have come to an end", || {
            let all = self.totals().all;
            all.received + all.flood_copies == all.delivered + all.dropped() + all.held
        });
        let totals = self.totals();
        assert_eq!(totals.all.delivered, totals.all.transmitted);
        assert!(totals.all.delivered <= totals.cleared);
        for port in (0..256).map(PortId) {
            let port = totals.port(port);
            assert_eq!(port.received + port.flood_copies, port.delivered + port.dropped() + port.held);
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.workers.stop();
    }
}

/// Waits for something that comes soon, and fails when it does not come at all.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn mac(port: u16) -> [u8; 6] {
    let [high, low] = port.to_be_bytes();
    [0x52, 0x54, 0, 0, high, low]
}

pub fn ip(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [10, 0, high, low]
}

/// A UDP datagram from a transport port of one switch port to another's.
pub fn udp((from, from_port): (u16, u16), (to, to_port): (u16, u16), payload: &[u8]) -> Vec<u8> {
    emit::udp((ip(from), from_port), (ip(to), to_port)).macs(mac(from), mac(to)).payload(payload).build()
}

/// A generation in which ports of the one zone may talk, or may not.
pub fn generation(number: u32, ports: u16, workers: usize, intra_zone: Action) -> Generation {
    let name = |index: u16| format!("p{index}");
    let source = PolicySource {
        zones: vec![Zone::new("lan", Some(intra_zone))],
        ports: (0..ports).map(|index| Port::new(PortId(index), name(index), "lan")).collect(),
        ..PolicySource::default()
    };
    let view = |index| {
        let [a, b, c, d, e, f] = mac(index);
        let [w, x, y, z] = ip(index);
        let entry = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} {w}.{x}.{y}.{z}");
        let security = Some(PortSecurity::parse(&[entry]).expect("a binding"));
        Some(PortView { name: name(index), zone: "lan".into(), is_uplink: false, tenant: None, security })
    };
    let policy = Arc::new(Policy::compile(&source).expect("a policy"));
    Generation::new(number, (0..ports).map(view).collect(), policy, Arc::new(RuleSet::default()), workers)
}
