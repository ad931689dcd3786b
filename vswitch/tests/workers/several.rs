//! Two workers: a flow meets one of them both ways, frames keep their order, and the books balance over both.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use inspect::file_hashes::{FileChecks, FileLimits, HashListBuilder, ListAction};
use inspect::wire::emit::{self, FrameBuilder};
use vswitch::drop_reason::DropReason;
use vswitch::frame::PortId;
use vswitch::port::memory::MemoryPeer;
use vswitch::worker::{Attach, Detached, PollMode, QueueId};
use zones::rule::Action;

use crate::switch::{Switch, generation, ip, mac, udp, wait_until};

/// Ports of each switch here.
pub(crate) const PORTS: u16 = 4;

/// A switch with two workers, and what is plugged into it.
pub(crate) struct Ports {
    pub(crate) switch: Switch,
    /// The peers of each port's queue pairs.
    peers: Vec<Vec<MemoryPeer>>,
}

impl Ports {
    /// Workers that never sleep: ports in memory cannot wake them.
    pub(crate) fn new(pairs: u16) -> Self {
        let switch = Switch::new(PORTS, &[0, 1], PollMode::Busy);
        let peers: Vec<Vec<MemoryPeer>> =
            (0..PORTS).map(|_| (0..pairs).map(|_| MemoryPeer::default()).collect()).collect();
        for (port, pairs) in (0..).map(PortId).zip(&peers) {
            for (pair, peer) in (0..).zip(pairs) {
                switch.workers.attach(QueueId { port, pair }, Box::new(peer.queue()));
            }
        }
        let ports = Self { switch, peers };
        let mut probes = 0;
        // Every pair is attached once each port has heard a broadcast by it.
        for (port, pairs) in (0..).zip(&ports.peers) {
            for peer in pairs {
                wait_until("the queue is attached", || {
                    let before = ports.switch.totals().port(PortId(port)).received;
                    peer.send(&[0; 14]);
                    probes += 1;
                    std::thread::sleep(Duration::from_millis(2));
                    ports.switch.totals().port(PortId(port)).received > before
                });
            }
        }
        ports.settle(probes);
        ports
    }

    pub(crate) fn send(&self, port: u16, pair: usize, frame: &[u8]) {
        self.peers[usize::from(port)][pair].send(frame);
    }

    /// Waits until so many frames were received and all of them have come to an end.
    pub(crate) fn settle(&self, received: u64) {
        wait_until("all frames have come to an end", || {
            let all = self.switch.totals().all;
            all.received >= received && all.received + all.flood_copies == all.delivered + all.dropped() + all.held
        });
    }

    pub(crate) fn received(&self) -> u64 {
        self.switch.totals().all.received
    }

    /// What a port's peers have got since the last call.
    pub(crate) fn take(&self, port: u16) -> Vec<Vec<u8>> {
        self.peers[usize::from(port)].iter().flat_map(|peer| peer.take()).map(|sent| sent.frame).collect()
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        let drops = self.switch.totals().all.drops;
        DropReason::ALL.iter().map(|reason| (reason.word(), drops[*reason as usize])).filter(|(_, n)| *n > 0).collect()
    }

    fn handed_over(&self) -> u64 {
        self.switch.workers.counters().map(|counters| counters.handed_over.value()).sum()
    }
}

/// Source port, destination port and number of a frame made by [`udp`].
fn fields(frame: &[u8]) -> (u16, u16, u32) {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    (word(34), word(36), u32::from_be_bytes([frame[42], frame[43], frame[44], frame[45]]))
}

const FLOWS: u16 = 3_000;

fn flows_meet_one_worker(pairs: u16) {
    let ports = Ports::new(pairs);
    let before = ports.switch.totals();
    let mut offered = ports.received();
    const ROUNDS: u32 = 6;
    for round in 0..ROUNDS {
        for flow in 0..FLOWS {
            // Questions from 0 to 1 in even rounds, answers in odd ones; a guest keeps a flow on one pair.
            let pair = usize::from(flow % pairs);
            let number = round.to_be_bytes();
            match round % 2 {
                0 => ports.send(0, pair, &udp((0, 10_000 + flow), (1, 53), &number)),
                _ => ports.send(1, pair, &udp((1, 53), (0, 10_000 + flow), &number)),
            }
            offered += 1;
            if flow % 200 == 199 {
                ports.settle(offered);
            }
        }
        ports.settle(offered);
    }
    let after = ports.switch.totals();
    assert_eq!(after.all.dropped(), before.all.dropped(), "nothing is lost: {:?}", ports.drops());
    assert_eq!(after.flows, u64::from(FLOWS), "both ways are one flow");
    assert!(ports.handed_over() > 0);
    for counters in ports.switch.workers.counters() {
        let share = counters.flows_opened.value();
        assert!((1_000..2_000).contains(&share), "{share} of {FLOWS} flows");
    }
    for (port, rounds) in [(1, [0, 2, 4]), (0, [1, 3, 5])] {
        let mut seen: HashMap<(u16, u16), Vec<u32>> = HashMap::new();
        for frame in ports.take(port) {
            let (from, to, number) = fields(&frame);
            seen.entry((from, to)).or_default().push(number);
        }
        assert_eq!(seen.len(), usize::from(FLOWS));
        assert!(seen.values().all(|numbers| *numbers == rounds), "in order, at port {port}");
    }
    ports.switch.assert_books_balance();
}

#[test]
fn flows_meet_one_worker_both_ways() {
    flows_meet_one_worker(1);
}

#[test]
fn flows_meet_one_worker_whatever_queue_pair_they_use() {
    flows_meet_one_worker(2);
}

/// More than the lanes hold: what is lost is counted, what is not lost is in order, and no frame is unaccounted for.
#[test]
fn a_blast_is_accounted_for() {
    let ports = Ports::new(2);
    let offered = ports.received() + 80_000;
    let senders: Vec<_> = (0..4u16)
        .map(|from| {
            let peers = ports.peers[usize::from(from)].clone();
            std::thread::spawn(move || {
                for n in 0..20_000u32 {
                    let flow = (n % 500) as u16;
                    let to = (from + 1 + flow % 3) % 4;
                    peers[usize::from(flow % 2)].send(&udp((from, 10_000 + flow), (to, 53), &n.to_be_bytes()));
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("a sender");
    }
    ports.settle(offered);
    ports.switch.assert_books_balance();
    let totals = ports.switch.totals();
    let overload = totals.all.drops[DropReason::WorkerOverload as usize];
    let missed: u64 = ports.switch.workers.counters().map(|counters| counters.parcels_missed.value()).sum();
    assert_eq!(overload, missed);
    assert_eq!(totals.all.dropped() - totals.all.drops[DropReason::Malformed as usize], overload);
    let mut arrived = 0;
    for port in 0..PORTS {
        for peer in &ports.peers[usize::from(port)] {
            let mut last: HashMap<([u8; 6], u16), u32> = HashMap::new();
            for sent in peer.take() {
                let (from_port, _, number) = fields(&sent.frame);
                let mut source = [0; 6];
                source.copy_from_slice(&sent.frame[6..12]);
                if let Some(before) = last.insert((source, from_port), number) {
                    assert!(before < number, "frames of a flow in order");
                }
                arrived += 1;
            }
        }
    }
    assert_eq!(arrived, totals.all.delivered);
}

/// An answer is let in only if its question is known, and an ICMP error only if its flow is: both must meet the owner.
#[test]
fn a_connection_is_followed_by_one_worker() {
    let ports = Ports::new(1);
    let before = ports.switch.totals().all.dropped();
    let mut offered = ports.received();
    let mut step = |frames: Vec<(u16, Vec<u8>)>| {
        offered += frames.len() as u64;
        for (port, frame) in &frames {
            ports.send(*port, 0, frame);
        }
        ports.settle(offered);
    };
    let tcp = |from: u16, from_port: u16, to: u16, to_port: u16| {
        emit::tcp((ip(from), from_port), (ip(to), to_port)).macs(mac(from), mac(to))
    };
    let clients: Vec<u16> = (20_000..20_200).collect();
    step(clients.iter().map(|&port| (0, tcp(0, port, 1, 80).syn().seq(100).build())).collect());
    step(clients.iter().map(|&port| (1, tcp(1, 80, 0, port).syn_ack().seq(500).ack(101).build())).collect());
    step(clients.iter().map(|&port| (0, tcp(0, port, 1, 80).seq(101).ack(501).build())).collect());
    step(clients.iter().map(|&port| (0, tcp(0, port, 1, 80).seq(101).ack(501).payload(b"hello").build())).collect());
    assert_eq!(ports.switch.totals().all.dropped(), before, "{:?}", ports.drops());
    assert_eq!(ports.switch.totals().flows, 200);
    ports.switch.assert_books_balance();
}

/// Once a reload has returned, no frame passes on the word of the generation before, whichever worker it is with.
#[test]
fn a_reload_reaches_both_workers() {
    let ports = Ports::new(2);
    let mut offered = ports.received();
    let burst = |offset: u32| {
        for flow in 0..200u16 {
            let frame = udp((0, 10_000 + flow), (1, 53), &(offset + u32::from(flow)).to_be_bytes());
            ports.send(0, usize::from(flow % 2), &frame);
        }
    };
    for number in 2..30 {
        let action = if number % 2 == 0 { Action::Drop } else { Action::Allow };
        burst(0);
        let next = Arc::new(generation(number, PORTS, 2, action));
        assert!(ports.switch.workers.set_generation(next, Duration::from_secs(5)));
        offered += 200;
        ports.settle(offered);
        ports.take(1);
        burst(1_000_000);
        offered += 200;
        ports.settle(offered);
        let arrived = ports.take(1).len();
        assert_eq!(arrived, if action == Action::Allow { 200 } else { 0 }, "under generation {number}");
    }
    ports.switch.assert_books_balance();
}

#[test]
fn queues_come_and_go_under_traffic() {
    let ports = Ports::new(1);
    let mut offered = ports.received();
    for round in 0..200u32 {
        for flow in 0..50u16 {
            ports.send(0, 0, &udp((0, 10_000 + flow), (1, 53), &round.to_be_bytes()));
            ports.send(2, 0, &udp((2, 10_000 + flow), (3, 53), &round.to_be_bytes()));
        }
        offered += 100;
        let id = QueueId { port: PortId(1), pair: 0 };
        match ports.switch.workers.detach(id) {
            Detached::Queue(queue) => ports.switch.workers.attach(id, queue),
            Detached::Absent | Detached::Stuck => panic!("the queue must come back"),
        }
        if round % 5 == 4 {
            ports.settle(offered);
        }
    }
    ports.settle(offered);
    let totals = ports.switch.totals();
    assert_eq!(totals.port(PortId(3)).transmitted, 200 * 50, "others lose nothing: {:?}", ports.drops());
    ports.switch.assert_books_balance();
}

/// A data connection is known by what its control connection has said, whichever worker each of them is with.
#[test]
fn what_one_worker_hears_announced_all_know() {
    const ROUNDS: u16 = 24;
    let ports = Ports::new(1);
    let mut list = HashListBuilder::new("malware", ListAction::Drop);
    list.line(b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824").expect("SHA-256 of hello");
    let checks = Arc::new(FileChecks::new(vec![list.build()], FileLimits::default()));
    let next = generation(2, PORTS, 2, Action::Allow).with_file_checks(Some(checks));
    assert!(ports.switch.workers.set_generation(Arc::new(next), Duration::from_secs(5)));
    let mut offered = ports.received();
    let mut step = |port: u16, frame: FrameBuilder| {
        let to = 1 - port;
        ports.send(port, 0, &frame.macs(mac(port), mac(to)).build());
        offered += 1;
        ports.settle(offered);
    };
    let connect = |step: &mut dyn FnMut(u16, FrameBuilder), client: u16, server: u16| {
        let (client, server) = ((ip(0), client), (ip(1), server));
        step(0, emit::tcp(client, server).seq(99).syn());
        step(1, emit::tcp(server, client).seq(99).ack(100).syn_ack());
        step(0, emit::tcp(client, server).seq(100).ack(100));
    };
    connect(&mut step, 40_000, 21);
    let (client, server) = ((ip(0), 40_000), (ip(1), 21));
    let (mut asked, mut answered) = (100, 100);
    let mut answer = |step: &mut dyn FnMut(u16, FrameBuilder), asked: u32, text: &str| {
        step(1, emit::tcp(server, client).seq(answered).ack(asked).payload(text));
        answered += text.len() as u32;
        answered
    };
    let mut seen = answer(&mut step, asked, "220 FTP\r\n");
    let mut ask = |step: &mut dyn FnMut(u16, FrameBuilder), seen: u32, text: &str| {
        step(0, emit::tcp(client, server).seq(asked).ack(seen).payload(text));
        asked += text.len() as u32;
        asked
    };
    let mut said = ask(&mut step, seen, "USER a\r\n");
    seen = answer(&mut step, said, "331 who?\r\n");
    let refused = || ports.switch.totals().all.drops[DropReason::FileHash as usize];
    for round in 0..ROUNDS {
        said = ask(&mut step, seen, "PASV\r\n");
        let [high, low] = (2_000 + round).to_be_bytes();
        seen = answer(&mut step, said, &format!("227 (10,0,0,1,{high},{low})\r\n"));
        connect(&mut step, 41_000 + round, 2_000 + round);
        let data = emit::tcp((ip(1), 2_000 + round), (ip(0), 41_000 + round)).seq(100).ack(100).payload("hello");
        step(1, data);
        assert_eq!(refused(), u64::from(round) + 1, "{:?}", ports.drops());
    }
    for counters in ports.switch.workers.counters() {
        assert!(counters.flows_opened.value() > 1, "both workers had some");
    }
    let counts = ports.switch.workers.announcements();
    assert_eq!((counts.made, counts.met), (u64::from(ROUNDS), u64::from(ROUNDS)));
    ports.switch.assert_books_balance();
}
