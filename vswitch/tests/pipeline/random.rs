//! Random traffic from a seed: whatever guests send, the books balance, nothing leaves that did not come in, and what a flow
//! remembers never changes an answer. A failure names its seed; `check_books(seed, is_watched)` replays it.

use inspect::detect::AnomalyKind;
use inspect::signature::RuleSet;
use inspect::wire::emit::{self, FrameBuilder};
use vswitch::detect::{DetectConfig, Response};
use vswitch::drop_reason::DropReason;
use vswitch::frame::{ClaimedOffload, PortId};
use zones::policy::{Decision, FlowFacts, Policy};
use zones::rule::{Action, Rule};
use zones::service::Service;

use crate::bench::*;
use crate::detect;

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

const ALL_PORTS: [PortId; 5] = [WEB1, WEB2, DB1, LAB1, UP0];

/// The addresses behind [`ALL_PORTS`], by their number.
const GUESTS: [u8; 5] = [11, 12, 21, 31, 99];

/// A segment of some connection between two guests, in or out of its window.
fn segment(dice: &mut Dice, from: u8, to: u8) -> FrameBuilder {
    let ports = [5_432, 40_000];
    let tcp = emit::tcp((ip(from), dice.pick(&ports)), (ip(to), dice.pick(&ports)));
    let numbers = [999, 1_000, 1_001, 1_005, u32::MAX];
    let tcp = tcp.seq(dice.pick(&numbers)).ack(dice.pick(&numbers));
    match dice.below(5) {
        0 => tcp.ack(0).syn(),
        1 => tcp.syn_ack(),
        2 => tcp.rst(),
        3 => tcp.fin(),
        _ => tcp.payload([b'd'; 4]),
    }
}

/// A sound frame of some kind, mostly from the sender's own address.
fn sound_frame(dice: &mut Dice, ingress: PortId) -> Vec<u8> {
    let from = if dice.one_in(5) { dice.pick(&GUESTS) } else { GUESTS[ingress.index()] };
    let to = dice.pick(&GUESTS);
    let datagram = |dice: &mut Dice, from, to| {
        let port = |dice: &mut Dice| dice.pick(&[53, 67, 68, 1_000, 2_000]);
        emit::udp((ip(from), port(dice)), (ip(to), port(dice))).payload("text")
    };
    let builder = match dice.below(9) {
        0 => return emit::arp_request(mac(from), ip(from), ip(to)).build(),
        1 => return emit::arp_reply(mac(from), ip(from), mac(to), ip(to)).macs(mac(from), mac(to)).build(),
        2 => return datagram(dice, from, to).macs(mac(from), [0xff; 6]).build(),
        3 => {
            let fragments = datagram(dice, from, to).payload([7; 3_000]).macs(mac(from), mac(to)).fragments(1_500);
            return fragments[dice.below(fragments.len())].clone();
        }
        4 => emit::icmp_echo_request(ip(from), ip(to), 1, 1),
        5 => emit::icmp_echo_reply(ip(from), ip(to), 1, 1),
        6 => {
            let about = addressed(datagram(dice, to, from), to, from);
            emit::icmp_error(ip(from), ip(to), 3, 3, &about)
        }
        7 => datagram(dice, from, to),
        _ => segment(dice, from, to),
    };
    let to_mac = if dice.one_in(10) { OUTSIDE_MAC } else { mac(to) };
    builder.macs(mac(from), to_mac).build()
}

/// A frame that may have been damaged on purpose.
fn frame(dice: &mut Dice, ingress: PortId) -> Vec<u8> {
    let mut frame = sound_frame(dice, ingress);
    if dice.one_in(4) {
        match dice.below(4) {
            0 => frame.truncate(dice.below(frame.len() + 1)),
            1 => frame.extend([0; 40]),
            2 => drop(frame.splice(12..12, [0x81, 0, 0, 5])),
            _ => {
                for _ in 0..1 + dice.below(3) {
                    let at = dice.below(frame.len());
                    frame[at] = dice.next() as u8;
                }
            }
        }
    }
    frame
}

fn claim(dice: &mut Dice) -> ClaimedOffload {
    if !dice.one_in(8) {
        return ClaimedOffload::default();
    }
    ClaimedOffload {
        flags: dice.pick(&[0, 1, 2, 3, 0xff]),
        gso_type: dice.pick(&[0, 1, 3, 4, 0x81]),
        gso_size: dice.pick(&[0, 1, 1_448, u16::MAX]),
        csum_start: dice.pick(&[0, 34, 54, u16::MAX]),
        csum_offset: dice.pick(&[0, 6, 16, u16::MAX]),
    }
}

fn some_policy(dice: &mut Dice) -> Policy {
    let closed = Rule::new("closed", Action::Drop).between(any(), any());
    match dice.below(3) {
        0 => policy(Vec::new()),
        1 => policy(vec![closed.about(Service::udp(53))]),
        _ => policy(vec![closed]),
    }
}

/// What a receiver got must be what some sender sent in this burst, or had sent before as a fragment.
fn assert_only_copies(bench: &Bench, sent: &[Vec<u8>], seed: u64) {
    for port in ALL_PORTS {
        for arrived in bench.received(port) {
            // Padding behind the datagram may be cut off, nothing else may change.
            let is_copy = sent.iter().any(|frame| frame.starts_with(&arrived.frame));
            assert!(is_copy, "seed {seed}: {port:?} got {:02x?}, which nobody sent", arrived.frame);
        }
    }
}

/// A watch that soon finds something, and stops it.
fn some_watch(dice: &mut Dice) -> DetectConfig {
    let responses = [Response::Alert, Response::Drop, Response::Quarantine { ms: 10_000 }];
    let mut config = detect::config(&AnomalyKind::ALL.map(|kind| (kind, dice.pick(&responses))));
    config.kinds.values_mut().for_each(|(threshold, _)| threshold.count_max = 5);
    config
}

fn check_books(seed: u64, is_watched: bool) -> Bench {
    let mut dice = Dice(seed);
    let mut bench = Bench::new(policy(Vec::new()), RuleSet::default(), 16);
    if is_watched {
        bench.watch = Some(some_watch(&mut dice));
        bench.reload(policy(Vec::new()));
    }
    let mut sent = Vec::new();
    for _ in 0..60 {
        let from = dice.pick(&ALL_PORTS);
        for _ in 0..1 + dice.below(40) {
            let frame = frame(&mut dice, from);
            bench.peer(from).send_with(&frame, claim(&mut dice));
            sent.push(frame);
        }
        bench.walk(from);
        bench.assert_books_balance();
        assert_cleared_is_delivered_or_not_taken(&bench);
        assert_only_copies(&bench, &sent, seed);
        match dice.below(8) {
            0 => bench.unplug(dice.pick(&ALL_PORTS)),
            1 => ALL_PORTS.into_iter().for_each(|port| bench.plug(port)),
            2 => {
                let room = dice.below(6);
                bench.peer(dice.pick(&ALL_PORTS)).set_room((room < 5).then_some(room));
            }
            3 => {
                let policy = some_policy(&mut dice);
                bench.watch = bench.watch.is_some().then(|| some_watch(&mut dice));
                bench.reload(policy);
            }
            4 => bench.advance_ms(dice.pick(&[1, 20_000, 200_000])),
            5 => {
                bench.housekeep(8);
                bench.assert_books_balance();
            }
            _ => {}
        }
    }
    let delivered: u64 = ALL_PORTS.iter().map(|port| bench.counters.port(*port).delivered.value()).sum();
    let reason_count = DropReason::ALL
        .iter()
        .filter(|reason| ALL_PORTS.iter().any(|port| bench.counters.port(*port).drops[**reason as usize].value() > 0))
        .count();
    assert!(delivered > 20 && reason_count > 8, "seed {seed} is dull: {delivered} delivered, {reason_count} reasons");
    bench
}

/// What was cleared was delivered, unless its receiver did not take it.
fn assert_cleared_is_delivered_or_not_taken(bench: &Bench) {
    let not_taken = [DropReason::ReceiveBuffers, DropReason::TooBig, DropReason::PortFault];
    let (mut delivered, mut refused) = (0, 0);
    for port in ALL_PORTS {
        let port = bench.counters.port(port);
        delivered += port.delivered.value();
        refused += not_taken.iter().map(|reason| port.drops[*reason as usize].value()).sum::<u64>();
    }
    assert_eq!(bench.counters.cleared.value(), delivered + refused);
}

#[test]
fn the_books_balance_over_random_traffic() {
    for seed in 0..60 {
        check_books(seed, false);
    }
}

#[test]
fn the_books_balance_while_floods_are_stopped_and_ports_are_in_quarantine() {
    let mut stopped = [0; 2];
    for seed in 100..130 {
        let bench = check_books(seed, true);
        for (sum, reason) in stopped.iter_mut().zip([DropReason::Anomaly, DropReason::Quarantined]) {
            *sum += ALL_PORTS.map(|port| bench.counters.port(port).drops[reason as usize].value()).iter().sum::<u64>();
        }
    }
    assert!(stopped.iter().all(|count| *count > 100), "it is about frames that were stopped: {stopped:?}");
}

/// The verdict without a cache: flows are remembered by who opened them, and policy is asked anew about every frame.
#[derive(Default)]
struct Uncached(Vec<Open>);

#[derive(Clone, Copy)]
struct Open {
    by: FlowFacts,
    seen_ms: u64,
    is_answered: bool,
}

/// The facts of the answers to a flow.
fn answers(facts: &FlowFacts) -> FlowFacts {
    FlowFacts {
        from: facts.to,
        to: facts.from,
        source: facts.destination,
        destination: facts.source,
        source_port: facts.destination_port,
        destination_port: facts.source_port,
        ..*facts
    }
}

impl Uncached {
    fn allows(&mut self, policy: &Policy, facts: &FlowFacts, now_ms: u64) -> bool {
        let timeout = |open: &Open| if open.is_answered { 180_000 } else { 30_000 };
        self.0.retain(|open| now_ms < open.seen_ms + timeout(open));
        let answered = self.0.iter().position(|open| open.by == answers(facts));
        let known = answered.or_else(|| self.0.iter().position(|open| open.by == *facts));
        let place = known.unwrap_or_else(|| {
            self.0.push(Open { by: *facts, seen_ms: now_ms, is_answered: false });
            self.0.len() - 1
        });
        let open = &mut self.0[place];
        if matches!(policy.decide(&open.by), Decision::Deny(_)) {
            self.0.remove(place);
            return false;
        }
        open.seen_ms = now_ms;
        open.is_answered |= answered.is_some();
        true
    }
}

#[test]
fn what_a_flow_remembers_never_changes_an_answer() {
    let guests = [(WEB1, 11), (WEB2, 12), (DB1, 21)];
    for seed in 0..30 {
        let mut dice = Dice(seed ^ 0xcac4e);
        let mut bench = Bench::new(policy(Vec::new()), RuleSet::default(), 4_096);
        let mut model = Uncached::default();
        let (mut passed, mut stopped) = (0, 0);
        for step in 0..400 {
            let (from, from_number) = dice.pick(&guests);
            let (to, to_number) = dice.pick(&guests);
            if from == to {
                continue;
            }
            let (source_port, destination_port) = (dice.pick(&[53, 54, 1_000]), dice.pick(&[53, 54, 1_000]));
            let datagram = emit::udp((ip(from_number), source_port), (ip(to_number), destination_port)).payload("x");
            bench.send(from, &addressed(datagram, from_number, to_number));
            let arrived = bench.received(to).len() == 1;
            let facts = FlowFacts {
                from,
                to,
                source: ip(from_number).into(),
                destination: ip(to_number).into(),
                protocol: 17,
                source_port,
                destination_port,
            };
            let expected = model.allows(&bench.generation.policy, &facts, bench.now_us / 1_000);
            assert_eq!(arrived, expected, "seed {seed}, step {step}: {facts:?}; drops {:?}", bench.drops());
            if arrived {
                passed += 1
            } else {
                stopped += 1
            }
            match dice.below(20) {
                0 => {
                    let policy = some_policy(&mut dice);
                    bench.reload(policy);
                }
                1..=3 => bench.advance_ms(dice.pick(&[7, 7_001, 29_003, 61_007, 181_009])),
                _ => {}
            }
        }
        assert!(passed > 30 && stopped > 30, "seed {seed} is dull: {passed} passed, {stopped} stopped");
    }
}
