//! The flow table held to a plain map: the same flows are found, whatever was opened, ended and expired before.

use std::collections::HashMap;
use std::net::IpAddr;

use inspect::flow_key::FlowKey;
use proptest::prelude::*;
use vswitch::flow_table::{FlowId, FlowRefused, FlowState, FlowTable, HashSecret, TableKey, Timeouts};
use vswitch::frame::PortId;

#[derive(Clone, Debug)]
enum Step {
    Open(u16),
    Answer(u16),
    End(u16),
    Wait(u16),
    Sweep(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let flow = 0..200u16;
    prop_oneof![
        4 => flow.clone().prop_map(Step::Open),
        3 => flow.clone().prop_map(Step::Answer),
        1 => flow.prop_map(Step::End),
        1 => (0..20_000u16).prop_map(Step::Wait),
        1 => any::<u8>().prop_map(Step::Sweep),
    ]
}

/// The key of flow `n`; both directions occur.
fn key(n: u16) -> (TableKey, bool) {
    let (near, far) = (IpAddr::from([10, 0, 0, 1 + (n % 3) as u8]), IpAddr::from([10, 0, 0, 9]));
    let (from, to) = if n.is_multiple_of(2) { (near, far) } else { (far, near) };
    let (key, way) = FlowKey::between(from, 1_000 + n, to, 53, 17);
    let is_low = way == inspect::flow_key::Way::LowToHigh;
    (TableKey::new(&key, way, PortId(n % 4), PortId(7)), is_low)
}

/// What the reference knows of a flow: since when it may be forgotten, and whether it was answered.
#[derive(Clone, Copy)]
struct Known {
    expires_ms: u64,
    is_answered: bool,
}

struct Check {
    table: FlowTable,
    reference: HashMap<u16, Known>,
    now_ms: u64,
    opened: u64,
    ended: u64,
}

impl Check {
    fn new(limit: u32, per_port: u32) -> Self {
        let secret = HashSecret::new(std::array::from_fn(|n| (n * 91 + 5) as u8));
        let table = FlowTable::new(limit, per_port, Timeouts::default(), secret).expect("memory");
        Self { table, reference: HashMap::new(), now_ms: 1_000, opened: 0, ended: 0 }
    }

    fn find(&self, n: u16) -> Option<FlowId> {
        let (key, _) = key(n);
        self.table.find(&key, self.table.hash(&key)).filter(|id| !self.table.is_expired(*id, self.now_ms))
    }

    fn open(&mut self, n: u16) -> Result<FlowId, FlowRefused> {
        let (key, is_low) = key(n);
        let (table, ended) = (&mut self.table, &mut self.ended);
        let hash = table.hash(&key);
        if let Some(stale) = table.find(&key, hash) {
            table.end(stale, &mut |_| *ended += 1);
        }
        let opened = table.open(&key, hash, is_low, self.now_ms, &mut |_| *ended += 1);
        self.opened += u64::from(opened.is_ok());
        opened
    }

    /// One step on table and reference, for a table that is never full.
    fn step(&mut self, step: &Step) {
        let timeouts = Timeouts::default();
        match *step {
            Step::Open(n) if self.find(n).is_none() => {
                self.open(n).expect("there is room");
                let expires_ms = self.now_ms + u64::from(timeouts.one_way_ms);
                self.reference.insert(n, Known { expires_ms, is_answered: false });
            }
            Step::Open(_) => {}
            Step::Answer(n) => {
                if let Some(id) = self.find(n) {
                    self.table.seen(id, true, false, self.now_ms);
                    let expires_ms = self.now_ms + u64::from(timeouts.two_way_ms);
                    self.reference.insert(n, Known { expires_ms, is_answered: true });
                }
            }
            Step::End(n) => {
                let (key, _) = key(n);
                if let Some(id) = self.table.find(&key, self.table.hash(&key)) {
                    let ended = &mut self.ended;
                    self.table.end(id, &mut |_| *ended += 1);
                }
                self.reference.remove(&n);
            }
            Step::Wait(ms) => self.now_ms += u64::from(ms),
            Step::Sweep(places) => {
                let ended = &mut self.ended;
                self.table.sweep(usize::from(places), self.now_ms, &mut |_| *ended += 1);
            }
        }
    }

    fn agree(&self) {
        for n in 0..200 {
            let known = self.reference.get(&n).filter(|known| known.expires_ms > self.now_ms);
            let found = self.find(n);
            assert_eq!(found.is_some(), known.is_some(), "flow {n} at {} ms", self.now_ms);
            if let (Some(id), Some(known)) = (found, known) {
                let state = if known.is_answered { FlowState::Open } else { FlowState::HalfOpen };
                assert_eq!(self.table.flow(id).state, state, "flow {n}");
                assert_eq!(self.table.flow(id).originator_is_low, key(n).1, "flow {n}");
            }
        }
        self.counts();
    }

    fn counts(&self) {
        assert_eq!(u64::from(self.table.len()), self.opened - self.ended, "every end is told, once");
        assert_eq!(self.table.records(0, usize::MAX, self.now_ms).0.len(), self.table.len() as usize);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_table_with_room_finds_what_a_map_finds(steps in prop::collection::vec(step(), 1..400)) {
        let mut check = Check::new(1_024, 1_024);
        for step in &steps {
            check.step(step);
        }
        check.agree();
    }

    #[test]
    fn a_small_table_never_holds_more_than_its_limits_and_loses_no_flow_untold(
        opens in prop::collection::vec((0..200u16, any::<bool>()), 1..400)
    ) {
        let mut check = Check::new(24, 9);
        for (n, is_answered) in opens {
            if check.find(n).is_none() {
                let before = check.table.len();
                match check.open(n) {
                    Ok(_) => {}
                    Err(FlowRefused::Full) => assert!(before > 0),
                    Err(FlowRefused::Quota) => assert!(before >= 9),
                }
            }
            if let Some(id) = check.find(n).filter(|_| is_answered) {
                check.table.seen(id, true, false, check.now_ms);
            }
            assert!(check.table.len() <= 24);
            check.counts();
        }
        let mut per_port = HashMap::new();
        for record in check.table.records(0, usize::MAX, check.now_ms).0 {
            let (_, low, high) = record.key.parts();
            *per_port.entry(if record.originator_is_low { low } else { high }).or_insert(0) += 1;
        }
        assert!(per_port.values().all(|count| *count <= 9), "{per_port:?}");
    }

    #[test]
    fn a_flow_that_both_sides_use_is_never_pushed_out(others in prop::collection::vec(1..200u16, 1..400)) {
        let mut check = Check::new(16, 16);
        let id = check.open(0).expect("the first one fits");
        check.table.seen(id, true, false, check.now_ms);
        for n in others {
            if check.find(n).is_none() {
                let _ = check.open(n);
            }
            prop_assert_eq!(check.find(0), Some(id), "its place is its name");
        }
    }
}
