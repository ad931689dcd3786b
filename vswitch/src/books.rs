//! The sums of what workers count, and of what they counted in generations that are gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use inspect::detect::AnomalyKind;

use crate::counters::{FILE_STATES, PORTS_MAX, WorkerCounters};
use crate::drop_reason::DropReason;
use crate::eve::settings::EventType;
use crate::frame::PortId;
use crate::generation::Generation;

/// One port's counters, summed over all workers. The fields are those of [`crate::counters::PortCounters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortTotals {
    /// Frames that entered by the port.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Copies made of them by flooding.
    pub flood_copies: u64,
    /// Fragments that wait for the rest of their datagram.
    pub held: u64,
    /// Frames that entered by the port and were written to some port.
    pub delivered: u64,
    /// Frames written to the port.
    pub transmitted: u64,
    /// Their bytes.
    pub transmitted_bytes: u64,
    /// Frames that entered by the port and were dropped, by reason.
    pub drops: [u64; DropReason::COUNT],
}

impl Default for PortTotals {
    fn default() -> Self {
        Self {
            received: 0,
            received_bytes: 0,
            flood_copies: 0,
            held: 0,
            delivered: 0,
            transmitted: 0,
            transmitted_bytes: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}

impl PortTotals {
    /// Frames that entered by the port and were dropped.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.flood_copies += other.flood_copies;
        self.held += other.held;
        self.delivered += other.delivered;
        self.transmitted += other.transmitted;
        self.transmitted_bytes += other.transmitted_bytes;
        for (sum, drops) in self.drops.iter_mut().zip(other.drops) {
            *sum += drops;
        }
    }
}

/// All counters, summed over all workers.
#[derive(Clone, Debug)]
pub struct Totals {
    ports: Vec<PortTotals>,
    /// The sum over all ports.
    pub all: PortTotals,
    /// Forward verdicts, one per egress port.
    pub cleared: u64,
    /// Alerts whose frame was forwarded.
    pub alerts_allowed: u64,
    /// Alerts whose frame was dropped.
    pub alerts_blocked: u64,
    /// Scans, sweeps, floods and bursts that were told, by kind.
    pub anomalies: [u64; AnomalyKind::ALL.len()],
    /// Files by what was found out about them, in the order of [`FILE_STATES`].
    pub files: [u64; FILE_STATES.len()],
    /// Events that found the log's queue full, by type.
    pub events_lost: [u64; EventType::COUNT],
    /// Events that were folded into records of others, by type.
    pub events_suppressed: [u64; EventType::COUNT],
    /// Things to tell that one packet had too many of.
    pub notes_lost: u64,
    /// Frames that an audit let pass, by the reason for which prevention would have dropped them.
    pub would_drops: [u64; DropReason::COUNT],
    /// Flows in the tables.
    pub flows: u64,
    /// Flows that were opened so far.
    pub flows_opened: u64,
}

impl Totals {
    /// Adds up. Workers go on counting meanwhile, so the sums agree to the frame only while no frame is under way.
    pub fn of<'a>(workers: impl IntoIterator<Item = &'a Arc<WorkerCounters>>) -> Self {
        let workers: Vec<&WorkerCounters> = workers.into_iter().map(Arc::as_ref).collect();
        let workers = &workers;
        let sum = |of: fn(&WorkerCounters) -> u64| workers.iter().map(|worker| of(worker)).sum::<u64>();
        let ports: Vec<PortTotals> = (0..PORTS_MAX).map(|port| port_totals(workers, port)).collect();
        let mut all = PortTotals::default();
        for port in &ports {
            all.add(port);
        }
        let ended = sum(|worker| worker.flows_ended.value());
        let flows_opened = sum(|worker| worker.flows_opened.value());
        Self {
            ports,
            all,
            cleared: sum(|worker| worker.cleared.value()),
            alerts_allowed: sum(|worker| worker.alerts_allowed.value()),
            alerts_blocked: sum(|worker| worker.alerts_blocked.value()),
            anomalies: std::array::from_fn(|kind| workers.iter().map(|worker| worker.anomalies[kind].value()).sum()),
            files: std::array::from_fn(|state| workers.iter().map(|worker| worker.files[state].value()).sum()),
            events_lost: std::array::from_fn(|kind| workers.iter().map(|it| it.events_lost[kind].value()).sum()),
            events_suppressed: std::array::from_fn(|kind| {
                workers.iter().map(|worker| worker.events_suppressed[kind].value()).sum()
            }),
            notes_lost: sum(|worker| worker.notes_lost.value()),
            would_drops: std::array::from_fn(|reason| {
                workers.iter().map(|worker| worker.would_drops[reason].value()).sum()
            }),
            flows: flows_opened.saturating_sub(ended),
            flows_opened,
        }
    }

    /// The sums of one port.
    pub fn port(&self, port: PortId) -> &PortTotals {
        &self.ports[port.index()]
    }
}

fn port_totals(workers: &[&WorkerCounters], port: usize) -> PortTotals {
    let mut totals = PortTotals::default();
    // Configuration numbers ports from 0 below PORTS_MAX, which fits.
    let port = PortId(port as u16);
    for worker in workers {
        let counters = worker.port(port);
        totals.add(&PortTotals {
            received: counters.received.value(),
            received_bytes: counters.received_bytes.value(),
            flood_copies: counters.flood_copies.value(),
            held: counters.held.value(),
            delivered: counters.delivered.value(),
            transmitted: counters.transmitted.value(),
            transmitted_bytes: counters.transmitted_bytes.value(),
            drops: std::array::from_fn(|reason| counters.drops[reason].value()),
        });
    }
    totals
}

/// Names of rules that are gone and whose hits are still remembered. Each reload may bring new names, and a scrape lists
/// them all; what is beyond is forgotten, and its series ends.
const RETIRED_NAMES_MAX: usize = 4_096;

/// Hits of the policy's deciders, over all generations: a reload starts new cells, and a counter that operators watch must
/// not go back to zero for that.
#[derive(Debug, Default)]
pub struct HitLedger {
    /// Hits from generations that no worker judges by any more.
    retired: BTreeMap<String, u64>,
    /// The same of lists of hashes.
    retired_files: BTreeMap<String, u64>,
    /// Generations that a worker may still judge by, the newest last.
    live: Vec<Arc<Generation>>,
}

impl HitLedger {
    /// Adds the generation that is about to be put in force.
    pub fn begin(&mut self, generation: Arc<Generation>) {
        self.live.push(generation);
    }

    /// Says that every worker judges by the newest generation: the cells of the others will not move any more.
    pub fn settle(&mut self) {
        let Some(newest) = self.live.pop() else {
            return;
        };
        for generation in self.live.drain(..) {
            add_hits(&mut self.retired, &generation);
            add_file_hits(&mut self.retired_files, &generation);
        }
        let current = newest.policy.deciders();
        forget_surplus(&mut self.retired, |name| current.contains(name));
        let lists = newest.file_checks.as_ref().map(|checks| checks.lists()).unwrap_or_default();
        forget_surplus(&mut self.retired_files, |name| lists.iter().any(|list| list.name() == name));
        self.live.push(newest);
    }

    /// Generations that some worker may still judge by.
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// Hits by decider since the switch started.
    pub fn hits(&self) -> BTreeMap<String, u64> {
        let mut hits = self.retired.clone();
        for generation in &self.live {
            add_hits(&mut hits, generation);
        }
        hits
    }
}

impl HitLedger {
    /// Files found by list of hashes since the switch started.
    pub fn file_hits(&self) -> BTreeMap<String, u64> {
        let mut hits = self.retired_files.clone();
        for generation in &self.live {
            add_file_hits(&mut hits, generation);
        }
        hits
    }
}

/// Forgets names that are gone, down to the bound.
fn forget_surplus(retired: &mut BTreeMap<String, u64>, is_current: impl Fn(&String) -> bool) {
    let mut surplus = retired.len().saturating_sub(RETIRED_NAMES_MAX);
    if surplus > 0 {
        retired.retain(|name, _| {
            let goes = surplus > 0 && !is_current(name);
            surplus -= usize::from(goes);
            !goes
        });
    }
}

fn add_file_hits(sums: &mut BTreeMap<String, u64>, generation: &Generation) {
    let lists = generation.file_checks.iter().flat_map(|checks| checks.lists());
    for (index, list) in lists.enumerate() {
        let cells = generation.file_hits.iter().filter_map(|worker| worker.get(index));
        *sums.entry(list.name().to_owned()).or_default() += cells.map(|cell| cell.value()).sum::<u64>();
    }
}

fn add_hits(sums: &mut BTreeMap<String, u64>, generation: &Generation) {
    for (index, name) in generation.policy.deciders().iter().enumerate() {
        let cells = generation.rule_hits.iter().filter_map(|worker| worker.get(index));
        let hits: u64 = cells.map(|cell| cell.value()).sum();
        *sums.entry(name.clone()).or_default() += hits;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inspect::signature::RuleSet;
    use zones::policy::Policy;
    use zones::source::PolicySource;
    use zones::zone::Zone;

    /// A generation for two workers, with a decider for each zone and the default.
    fn generation(number: u32, zones: &[String]) -> Arc<Generation> {
        let zones = zones.iter().map(|name| Zone::new(name, None)).collect();
        let source = PolicySource { zones, ..PolicySource::default() };
        let policy = Policy::compile(&source).expect("a policy");
        Arc::new(Generation::new(number, Vec::new(), Arc::new(policy), Arc::new(RuleSet::empty()), 2))
    }

    fn hit(generation: &Generation, decider: usize) {
        for worker in &generation.rule_hits {
            worker[decider].add(1);
        }
    }

    fn check(ledger: &HitLedger, expected: &[(&str, u64)]) {
        let hits = ledger.hits();
        let seen: Vec<(&str, u64)> = hits.iter().map(|(name, hits)| (name.as_str(), *hits)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn hits_survive_reloads() {
        let names = ["web", "db"].map(str::to_owned);
        let (first, second) = (generation(1, &names), generation(2, &names[1..]));
        let mut ledger = HitLedger::default();
        ledger.begin(Arc::clone(&first));
        hit(&first, 0);
        hit(&first, 2);
        check(&ledger, &[("default", 2), ("intra-zone:db", 0), ("intra-zone:web", 2)]);
        ledger.begin(Arc::clone(&second));
        hit(&second, 0);
        // A worker that is late still counts in the first generation.
        hit(&first, 0);
        let sums = [("default", 2), ("intra-zone:db", 2), ("intra-zone:web", 4)];
        check(&ledger, &sums);
        ledger.settle();
        assert_eq!(ledger.live_count(), 1);
        check(&ledger, &sums);
        ledger.settle();
        check(&ledger, &sums);
    }

    #[test]
    fn matches_of_hash_lists_survive_reloads() {
        let with_list = |number, name: &str| {
            let list = inspect::file_hashes::HashListBuilder::new(name, Default::default()).build();
            let checks = inspect::file_hashes::FileChecks::new(vec![list], Default::default());
            let generation = Arc::into_inner(generation(number, &[])).expect("ours alone");
            Arc::new(generation.with_file_checks(Some(Arc::new(checks))))
        };
        let (first, second) = (with_list(1, "a"), with_list(2, "b"));
        let mut ledger = HitLedger::default();
        ledger.begin(Arc::clone(&first));
        ledger.begin(Arc::clone(&second));
        first.file_hits[1][0].add(3);
        second.file_hits[0][0].add(2);
        let expected = BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2)]);
        assert_eq!(ledger.file_hits(), expected);
        ledger.settle();
        assert_eq!(ledger.file_hits(), expected);
    }

    #[test]
    fn names_that_are_gone_are_remembered_up_to_a_bound() {
        let mut ledger = HitLedger::default();
        for number in 1..=6 {
            let names: Vec<String> = (0..1_000).map(|zone| format!("{number}-{zone}")).collect();
            let generation = generation(number, &names);
            ledger.begin(Arc::clone(&generation));
            hit(&generation, 1_000);
            ledger.settle();
            assert!(ledger.hits().len() <= RETIRED_NAMES_MAX + 1_001);
        }
        assert_eq!(ledger.hits().get("default"), Some(&12), "a name that is not gone is kept");
        assert!(ledger.hits().contains_key("intra-zone:6-0"));
    }
}
