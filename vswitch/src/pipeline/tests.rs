//! What cannot be brought about from outside: inspection that panics.

use std::sync::Arc;

use inspect::signature::RuleSet;
use inspect::wire::emit;
use zones::policy::Policy;
use zones::rule::Action;
use zones::source::PolicySource;
use zones::zone::{Port, Zone};

use super::decide::Keyed;
use super::*;
use crate::flow_table::{HashSecret, Timeouts};
use crate::forward::QueueIndex;
use crate::inspection::Cleared;
use crate::port::memory::MemoryPeer;
use crate::port::{PortFault, QueueIo, Refusals};

/// Every port leads to one receiver.
struct One(MemoryPeer);

impl Egress for One {
    fn queue(&self, _: PortId, _: u64) -> Option<QueueIndex> {
        Some(QueueIndex(0))
    }

    fn transmit(&mut self, _: QueueIndex, frames: &[Cleared<'_>], refused: &mut Refusals) -> Result<(), PortFault> {
        self.0.queue().transmit(frames, refused)
    }
}

fn generation() -> Arc<Generation> {
    let names = ["a", "b"];
    let source = PolicySource {
        zones: vec![Zone::new("all", Some(Action::Allow))],
        ports: (0..).zip(names).map(|(id, name)| Port::new(PortId(id), name, "all")).collect(),
        ..PolicySource::default()
    };
    let view = |name: &str| {
        Some(PortView { name: name.to_owned(), zone: "all".to_owned(), is_uplink: false, tenant: None, security: None })
    };
    let policy = Policy::compile(&source).expect("the policy compiles");
    Arc::new(Generation::new(1, names.map(view).into(), Arc::new(policy), Arc::new(RuleSet::default()), 1))
}

#[test]
fn a_flow_whose_inspection_panicked_is_refused() {
    let flows = FlowTable::new(64, 64, Timeouts::default(), HashSecret::new([7; 56])).expect("memory");
    let counters = Arc::new(WorkerCounters::default());
    let (events, _log) = crossbeam_channel::bounded(64);
    let learned = Arc::new(LearnedMacs::new(8, 300_000));
    let log = EventLog::new(events);
    let mut pipeline = Pipeline::new(flows, Inspection::default(), learned, Arc::clone(&counters), log);
    let (generation, mut egress) = (generation(), One(MemoryPeer::default()));
    let turn = Turn { generation: &generation, ingress: PortId(0), now_us: 1_000_000, worker: 0 };
    let frame = |source_port| emit::udp(([10, 0, 0, 1], source_port), ([10, 0, 0, 2], 2)).build();
    let mut walk = |pipeline: &mut Pipeline, source_port| {
        let mut batch = Batch::new();
        assert!(batch.push_frame(&frame(source_port), crate::frame::ClaimedOffload::default()));
        pipeline.walk(&turn, &batch, &mut egress);
        egress.0.take().len()
    };
    assert_eq!(walk(&mut pipeline, 1), 1);
    let headers = wire::parse(&frame(1), wire::Checksums::Verify).expect("a sound frame");
    let mut keyed = Keyed::NONE;
    decide::key(&turn, &Packet::new(&frame(1), headers), PortId(1), &pipeline.flows, &mut keyed);
    let id = pipeline.flows.find(&keyed.key, keyed.hash).expect("the flow is open");

    pipeline.judging = Some(FlowSlot(id.0));
    pipeline.recover(PortId(0));
    assert_eq!(walk(&mut pipeline, 1), 0);
    assert_eq!(counters.port(PortId(0)).drops[DropReason::FlowRefused as usize].value(), 1);
    assert_eq!(walk(&mut pipeline, 2), 1, "another flow goes on");
}
