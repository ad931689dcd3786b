//! Cycles per frame of the rings alone, in one thread: out of one synthetic guest's ring into private memory, and from there
//! into the other guest's ring. Judging the frames, and the guests' own work, is not timed. To be read beside a run of DPDK's
//! bare vhost copy on the same machine: same frame sizes, ring size, burst, and the same negotiated features.
//!
//! `cargo bench --bench rings -- [FRAME_BYTES RING_SIZE BURST]...` prints one line for each three numbers.

#[path = "pipeline/guest.rs"]
mod guest;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inspect::inspector::{Direction, FlowView};
use inspect::signature::RuleSet;
use inspect::wire::{self, Checksums, Headers, emit};
use vswitch::frame::{BURST_MAX, Batch, Offload, PortId};
use vswitch::inspection::{Candidate, Cleared, Inspection};
use vswitch::port::vhost::{Mode, PortStatus, VhostConfig, VhostPort};
use vswitch::port::{QueueIo, Refusals};
use vswitch::sys;
use vswitch::worker::{Attach, Detached, QueueId};

use guest::Guest;

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

struct Setup {
    guests: [Guest; 2],
    queues: [Box<dyn QueueIo>; 2],
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
        let path = folder.path().join(format!("{id}"));
        let config = VhostConfig::new(PortId(id), format!("{id}"), &path, Mode::Server);
        let attach: Arc<dyn Attach> = Arc::<Collect>::clone(&collect);
        ports.push(VhostPort::start(config, attach, Arc::new(PortStatus::default())).expect("a port"));
        guest.connect(&path);
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut found = collect.0.lock().expect("nobody panics with it");
        if found.len() == 2 {
            let queues = [0, 1].map(|id| found.remove(&PortId(id)).expect("it is there"));
            return Setup { guests, queues, _ports: ports, _folder: folder };
        }
        assert!(Instant::now() < deadline, "the ports were not handed over");
        drop(found);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn judge<'batch>(
    inspection: &mut Inspection,
    rules: &RuleSet,
    batch: &'batch Batch,
    headers: &'batch [Headers],
) -> Vec<Cleared<'batch>> {
    let view = FlowView { slot: None, direction: Direction::ToServer, established: false, is_first: false };
    let candidates = headers.iter().enumerate();
    candidates
        .map(|(index, headers)| {
            let candidate = Candidate { frame: batch.frame(index), headers, offload: Offload::None };
            inspection.judge(rules, &candidate, &view, 0).expect("a sound frame")
        })
        .collect()
}

/// Moves the frames that wait, in as many bursts as the ring makes of them; answers the cycles that receiving and transmitting
/// took.
fn forward(
    setup: &mut Setup,
    batch: &mut Batch,
    inspection: &mut Inspection,
    rules: &RuleSet,
    waiting: usize,
) -> [u64; 2] {
    let [from, to] = &mut setup.queues;
    let mut took = [0; 2];
    let mut moved = 0;
    while moved < waiting {
        batch.clear();
        let before = sys::cycles();
        from.receive(batch).expect("a sound ring");
        took[0] += sys::cycles() - before;
        let headers: Vec<Headers> = (0..batch.len())
            .map(|index| wire::parse(batch.frame(index), Checksums::Verify).expect("a sound frame"))
            .collect();
        let cleared = judge(inspection, rules, batch, &headers);
        let mut refused = Refusals::new();
        let before = sys::cycles();
        to.transmit(&cleared, &mut refused).expect("a sound ring");
        took[1] += sys::cycles() - before;
        moved += batch.len();
    }
    took
}

fn measure(frame_len: usize, ring_size: u16, burst: u16) {
    let mut setup = set_up(ring_size);
    let template = emit::any_udp4(&vec![0x5a; frame_len - 42]);
    let (mut inspection, rules) = (Inspection::default(), RuleSet::default());
    let mut batch = Batch::new();
    let (mut moved, mut seen) = (0, 0);
    let mut cycles = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..60_000 {
        setup.guests[0].send(burst, frame_len, |frame| frame.copy_from_slice(&template));
        let took = forward(&mut setup, &mut batch, &mut inspection, &rules, burst.into());
        seen += u64::from(burst);
        moved += setup.guests[1].take();
        for (all, took) in cycles.iter_mut().zip([took[0], took[1], took[0] + took[1]]) {
            all.push((took / u64::from(burst)) as u32);
        }
    }
    assert_eq!(moved, seen, "every frame arrives");
    print!("rings flen {frame_len} qs {ring_size} burst {burst}: cyc/f");
    for (name, mut all) in ["receive", "transmit", "both"].into_iter().zip(cycles) {
        all.sort_unstable();
        let [p10, median, p90] = [10, 50, 90].map(|percent| all[all.len() * percent / 100]);
        print!("  {name} med {median} p10 {p10} p90 {p90}");
    }
    println!();
}

fn main() {
    let numbers: Vec<u16> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let table: Vec<[u16; 3]> = if numbers.is_empty() {
        vec![[60, 256, 32], [60, 1_024, 32], [1_500, 256, 32], [1_500, 1_024, 32], [60, 256, 1]]
    } else {
        numbers.as_chunks::<3>().0.to_vec()
    };
    for [frame_len, ring_size, burst] in table {
        assert!(usize::from(burst) <= BURST_MAX);
        measure(frame_len.into(), ring_size, burst);
    }
}
