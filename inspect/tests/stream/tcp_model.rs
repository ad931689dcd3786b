//! Two small but lawful TCP hosts talk through the tracker over links that lose, repeat and overtake: nothing they have to
//! say may be refused.
//!
//! A refusal is right only for a stray: a segment that tells its receiver nothing that it does not already know.

use inspect::inspector::Direction;
use inspect::stream::{TcpPhase, TcpState, Transition};
use inspect::wire::{TcpFlags, TcpView};
use proptest::prelude::*;

/// A segment in flight. Positions count from the sender's SYN, which is at 0; so data starts at 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Segment {
    from: usize,
    flags: TcpFlags,
    seq: u64,
    ack: u64,
    len: u64,
    window: u16,
}

impl Segment {
    fn end(&self) -> u64 {
        self.seq + self.len + u64::from(self.flags.intersects(TcpFlags::SYN | TcpFlags::FIN))
    }
}

/// A host: it keeps segments in order only (it has no queue), which makes for plenty of retransmissions.
#[derive(Clone, Debug)]
struct Host {
    index: usize,
    initial: u32,
    shift: u8,
    scales: bool,
    /// Lowest position not acknowledged, and highest sent.
    unacked: u64,
    sent: u64,
    /// Right edge that the other host allowed.
    edge: u64,
    /// Next position expected; 0 before the other's SYN.
    expected: u64,
    /// Right edge that this host promised.
    promised: u64,
    window: u64,
    is_established: bool,
    fin_at: Option<u64>,
}

impl Host {
    fn new(index: usize, initial: u32, shift: Option<u8>, window: u64) -> Self {
        Self {
            index,
            initial,
            shift: shift.unwrap_or(0),
            scales: shift.is_some(),
            unacked: 0,
            sent: 0,
            edge: 0,
            expected: 0,
            promised: 0,
            window,
            is_established: false,
            fin_at: None,
        }
    }

    fn segment(&mut self, flags: TcpFlags, seq: u64, len: u64) -> Segment {
        let is_syn = flags.contains(TcpFlags::SYN);
        let shift = if is_syn { 0 } else { self.shift };
        self.promised = self.promised.max(self.expected + self.window);
        let window = ((self.promised - self.expected) >> shift).min(65_535) as u16;
        // What the field cannot say is not promised.
        self.promised = self.expected + (u64::from(window) << shift);
        let segment = Segment { from: self.index, flags, seq, ack: self.expected, len, window };
        self.sent = self.sent.max(segment.end());
        segment
    }

    /// Data from `seq` on, as much as was asked for and may be sent; with the FIN where it belongs.
    fn data(&mut self, seq: u64, len: u64, limit: u64) -> Segment {
        let last = self.fin_at.unwrap_or(u64::MAX).min(limit).max(seq);
        let len = len.min(last - seq);
        let has_fin = self.fin_at == Some(seq + len);
        let flags = if has_fin { TcpFlags::ACK | TcpFlags::FIN } else { TcpFlags::ACK };
        self.segment(flags, seq, len)
    }

    /// Takes a segment in and answers, if it has to.
    fn receive(&mut self, segment: &Segment, peer_shift: u8) -> Option<Segment> {
        if segment.flags.contains(TcpFlags::SYN) {
            self.edge = self.edge.max(segment.ack + u64::from(segment.window));
            self.expected = self.expected.max(1);
            if segment.flags.contains(TcpFlags::ACK) {
                self.unacked = self.unacked.max(segment.ack);
                self.is_established = true;
                let seq = self.sent;
                return Some(self.segment(TcpFlags::ACK, seq, 0));
            }
            self.edge = self.edge.max(1 + u64::from(segment.window));
            return (!self.is_established).then(|| self.segment(TcpFlags::SYN | TcpFlags::ACK, 0, 0));
        }
        if self.expected == 0 {
            return None;
        }
        self.is_established = true;
        self.unacked = self.unacked.max(segment.ack);
        self.edge = self.edge.max(segment.ack + (u64::from(segment.window) << peer_shift));
        let is_next = segment.seq <= self.expected && segment.end() > self.expected;
        if is_next {
            // Data beyond the window is cut off, and a FIN behind it with it.
            let data_end = segment.seq + segment.len;
            self.expected = if data_end <= self.promised { segment.end() } else { self.promised.max(self.expected) };
        }
        let seq = self.sent;
        (segment.len > 0 || segment.end() > segment.seq).then(|| self.segment(TcpFlags::ACK, seq, 0))
    }

    /// Whether this host learns nothing from `segment`.
    fn knows(&self, segment: &Segment) -> bool {
        segment.end() <= self.expected
            && (segment.ack <= self.unacked || segment.flags.contains(TcpFlags::SYN) || segment.seq + 1 < self.expected)
    }
}

#[derive(Clone, Debug)]
enum Action {
    Data {
        host: usize,
        len: u64,
    },
    Retransmit {
        host: usize,
        len: u64,
    },
    KeepAlive {
        host: usize,
        len: u64,
    },
    Probe {
        host: usize,
    },
    Window {
        host: usize,
        window: u64,
    },
    Fin {
        host: usize,
    },
    /// Moves one segment of a queue on: queues 0 and 1 lead to the tracker, 2 and 3 behind it.
    Move {
        queue: usize,
        at: usize,
    },
    Drop {
        queue: usize,
        at: usize,
    },
    Repeat {
        queue: usize,
        at: usize,
    },
}

fn actions() -> impl Strategy<Value = Action> {
    let host = 0..2usize;
    let queue = 0..4usize;
    let at = || 0..1000usize;
    // Mostly the first of a queue: links overtake sometimes, not always.
    let near = prop_oneof![4 => Just(0usize), 1 => at()];
    prop_oneof![
        6 => (host.clone(), 1..3000u64).prop_map(|(host, len)| Action::Data { host, len }),
        3 => (host.clone(), 1..3000u64).prop_map(|(host, len)| Action::Retransmit { host, len }),
        1 => (host.clone(), 0..2u64).prop_map(|(host, len)| Action::KeepAlive { host, len }),
        1 => host.clone().prop_map(|host| Action::Probe { host }),
        1 => (host.clone(), 0..9000u64).prop_map(|(host, window)| Action::Window { host, window }),
        1 => host.prop_map(|host| Action::Fin { host }),
        24 => (queue.clone(), near).prop_map(|(queue, at)| Action::Move { queue, at }),
        2 => (queue.clone(), at()).prop_map(|(queue, at)| Action::Drop { queue, at }),
        2 => (queue, at()).prop_map(|(queue, at)| Action::Repeat { queue, at }),
    ]
}

struct World {
    hosts: [Host; 2],
    queues: [Vec<Segment>; 4],
    tracker: Option<TcpState>,
    passed_count: usize,
}

impl World {
    fn send(&mut self, segment: Segment) {
        self.queues[segment.from].push(segment);
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Data { host, len } => self.with_established(host, |host| {
                let (seq, edge) = (host.sent, host.edge);
                (host.fin_at.is_none() && edge > seq).then(|| host.data(seq, len, edge))
            }),
            Action::Retransmit { host, len } => self.retransmit(host, len),
            Action::KeepAlive { host, len } => self.with_established(host, |host| {
                let seq = host.sent - 1;
                (host.fin_at.is_none()).then(|| host.segment(TcpFlags::ACK, seq, len))
            }),
            Action::Probe { host } => self.with_established(host, |host| {
                let seq = host.sent;
                (host.fin_at.is_none() && host.edge == seq).then(|| host.segment(TcpFlags::ACK, seq, 1))
            }),
            Action::Window { host, window } => self.hosts[host].window = window,
            Action::Fin { host } => self.with_established(host, |host| {
                let seq = host.sent;
                let at = *host.fin_at.get_or_insert(seq);
                Some(host.data(at.min(seq), 0, u64::MAX))
            }),
            Action::Move { queue, at } => self.forward(queue, at),
            Action::Drop { queue, at } => drop(take(&mut self.queues[queue], at)),
            Action::Repeat { queue, at } => {
                let queue = &mut self.queues[queue];
                if !queue.is_empty() {
                    queue.push(queue[at % queue.len()]);
                }
            }
        }
    }

    fn with_established(&mut self, host: usize, send: impl FnOnce(&mut Host) -> Option<Segment>) {
        if self.hosts[host].is_established
            && let Some(segment) = send(&mut self.hosts[host])
        {
            self.send(segment);
        }
    }

    fn retransmit(&mut self, index: usize, len: u64) {
        let host = &mut self.hosts[index];
        let segment = match (host.is_established, index) {
            (false, 0) => host.segment(TcpFlags::SYN, 0, 0),
            (false, _) if host.expected > 0 => host.segment(TcpFlags::SYN | TcpFlags::ACK, 0, 0),
            (true, _) if host.unacked < host.sent => {
                let (seq, sent) = (host.unacked.max(1), host.sent);
                host.data(seq, len, sent)
            }
            _ => return,
        };
        self.send(segment);
    }

    fn forward(&mut self, queue: usize, at: usize) {
        let Some(segment) = take(&mut self.queues[queue], at) else {
            return;
        };
        if queue < 2 {
            if self.track(&segment) {
                self.queues[2 + queue].push(segment);
            }
            return;
        }
        let shifts = self.shifts();
        if let Some(answer) = self.hosts[1 - segment.from].receive(&segment, shifts[segment.from]) {
            self.send(answer);
        }
    }

    /// Both hosts scale, or none does; `run` has made them agree.
    fn shifts(&self) -> [u8; 2] {
        [self.hosts[0].shift, self.hosts[1].shift]
    }

    fn track(&mut self, segment: &Segment) -> bool {
        let (own, other) = (&self.hosts[segment.from], &self.hosts[1 - segment.from]);
        let option = [1, 3, 3, own.shift];
        let has_option = segment.flags.contains(TcpFlags::SYN) && own.scales;
        let view = TcpView {
            seq: own.initial.wrapping_add(segment.seq as u32),
            ack: other.initial.wrapping_add(segment.ack as u32),
            flags: segment.flags,
            window: segment.window,
            urgent: 0,
            option_bytes: if has_option { &option } else { &[] },
        };
        let direction = if segment.from == 0 { Direction::ToServer } else { Direction::ToClient };
        let answer = match &mut self.tracker {
            Some(tracker) => {
                let mut short = *tracker;
                let goes_on = short.goes_on(direction, &view, segment.len as usize);
                let answer = tracker.on_segment(direction, &view, segment.len as usize);
                if goes_on {
                    assert_eq!((answer, &short), (Ok(Transition::Unchanged), &*tracker));
                }
                answer
            }
            None => TcpState::open(&view, segment.len as usize).map(|state| {
                self.tracker = Some(state);
                Transition::Entered(TcpPhase::SynSent)
            }),
        };
        match answer {
            Ok(_) => self.passed_count += 1,
            Err(why) => assert!(other.knows(segment), "{why}: {segment:?}\n{:?}\n{other:?}", self.tracker),
        }
        answer.is_ok()
    }
}

fn take(queue: &mut Vec<Segment>, at: usize) -> Option<Segment> {
    if queue.is_empty() { None } else { Some(queue.remove(at % queue.len())) }
}

/// Everything still in flight arrives, in order and without loss, until both hosts have said and heard all.
fn settle(world: &mut World) {
    for _ in 0..400 {
        for host in 0..2 {
            world.retransmit(host, 3000);
            world.hosts[host].window = 9000;
            world.act(&Action::Fin { host });
        }
        for _ in 0..8 {
            for queue in 0..4 {
                while !world.queues[queue].is_empty() {
                    world.forward(queue, 0);
                }
            }
        }
        if world.tracker.is_some_and(|tracker| tracker.phase() == TcpPhase::TimeWait) {
            return;
        }
    }
    panic!("the connection did not end: {:?}\n{:?}", world.tracker, world.hosts);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn lawful_hosts_are_never_refused(
        initial in any::<[u32; 2]>(),
        scales in any::<bool>(),
        shifts in (0..8u8, 0..8u8),
        windows in (1000..9000u64, 1000..9000u64),
        actions in proptest::collection::vec(actions(), 1..250),
    ) {
        let shift = |shift| scales.then_some(shift);
        let hosts = [
            Host::new(0, initial[0], shift(shifts.0), windows.0),
            Host::new(1, initial[1], shift(shifts.1), windows.1),
        ];
        let mut world = World { hosts, queues: Default::default(), tracker: None, passed_count: 0 };
        let syn = world.hosts[0].segment(TcpFlags::SYN, 0, 0);
        world.send(syn);
        for action in &actions {
            world.act(action);
        }
        settle(&mut world);
        prop_assert!(world.passed_count >= 5);
    }
}
