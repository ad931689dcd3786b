//! Who is polled next: shares of a worker's time, per port.
//!
//! # Theory of operation
//!
//! Frames do not cost the same (a 64 KiB segment under a thousand signatures is not a ping), so shares are counted in cycles.
//! What the frames of a port cost is put on the port's *debt*, and a port in debt is not polled. At the end of each round the
//! least debt of all ports that had frames or still are in debt is forgiven to all of them. So:
//!
//! - a port that is busy alone is polled in every round: its own debt is the least, whatever it is;
//! - of ports that are busy together, each gets the same time: whose round cost ten times as much sits out ten rounds;
//! - a port that asks for less than its share gets all that it asks for: it has no debt when its next frame comes;
//! - no time is lost: if nobody but debtors has frames, the next round polls the least of them.
//!
//! How long a port waits at most is bounded too: in one round a port has at most [`BURST_MAX`] frames over all its queue pairs,
//! and fewer when its frames have been costly, so that a round spends about [`ROUND_CYCLES`] on it (attacks L02 and L03).

use crate::counters::PORTS_MAX;
use crate::frame::{BURST_MAX, PortId};

/// Cycles that one port's frames may cost in one round, by what they cost lately: some 25 microseconds, an eighth of the time
/// in which 64-byte frames at a million a second fill a ring of 256. Full bursts of ordinary frames stay far below it.
const ROUND_CYCLES: u32 = 65_536;

/// Cycles that one burst is charged with at most, one or two milliseconds. What takes longer was not the port's doing: the
/// worker's thread was not running.
const CHARGE_MAX: u64 = 1 << 22;

/// How much more than the average one burst may make of it: what interrupts a worker for once is no reason for small bursts.
const AVERAGE_GROWTH: u32 = 8;

#[derive(Clone, Copy, Debug)]
struct Account {
    /// Cycles that the port has used ahead of the others.
    debt: u64,
    /// Cycles per frame, averaged over the last bursts. Before the first one, the worst is assumed.
    frame_cycles: u32,
    /// Frames that it had in this round.
    round_frames: u32,
    /// Whether it is among the indebted.
    is_listed: bool,
}

impl Account {
    const NEW: Self = Self { debt: 0, frame_cycles: ROUND_CYCLES, round_frames: 0, is_listed: false };
}

/// The shares of all ports in one worker's time.
#[derive(Debug)]
pub(super) struct Accounts {
    ports: Box<[Account]>,
    /// Ports that had frames in this round or are in debt.
    indebted: Vec<u16>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { ports: vec![Account::NEW; PORTS_MAX].into_boxed_slice(), indebted: Vec::with_capacity(PORTS_MAX) }
    }
}

impl Accounts {
    /// How many frames may be taken from the port now; 0 while it has had its share.
    #[inline]
    pub(super) fn frames_max(&self, port: PortId) -> usize {
        let account = &self.ports[port.index()];
        if account.debt == 0 {
            return full_share(account);
        }
        // In debt for this round's own frames only when it has had some: another of its queue pairs may go on.
        match account.round_frames {
            0 => 0,
            had => full_share(account).saturating_sub(had as usize),
        }
    }

    /// Notes what frames of a port have cost, in cycles.
    #[inline]
    pub(super) fn charge(&mut self, port: PortId, frames: usize, cycles: u64) {
        let account = &mut self.ports[port.index()];
        let cycles = cycles.clamp(1, CHARGE_MAX);
        account.debt += cycles;
        account.round_frames += frames as u32;
        let each = (cycles / frames.max(1) as u64) as u32;
        let each = each.min(account.frame_cycles.max(AVERAGE_GROWTH) * AVERAGE_GROWTH);
        account.frame_cycles = if each > account.frame_cycles {
            each
        } else {
            account.frame_cycles - account.frame_cycles.div_ceil(8) + each / 8
        };
        if !account.is_listed {
            account.is_listed = true;
            self.indebted.push(port.0);
        }
    }

    /// Ends a round: forgives what all debtors have in common.
    #[inline]
    pub(super) fn end_round(&mut self) {
        let ports = &mut self.ports;
        let least = self.indebted.iter().map(|port| ports[usize::from(*port)].debt).min().unwrap_or(0);
        self.indebted.retain(|port| {
            let account = &mut ports[usize::from(*port)];
            account.debt -= least;
            account.round_frames = 0;
            account.is_listed = account.debt > 0;
            account.is_listed
        });
    }
}

#[inline]
fn full_share(account: &Account) -> usize {
    match account.frame_cycles {
        cheap if cheap <= ROUND_CYCLES / BURST_MAX as u32 => BURST_MAX,
        costly => ((ROUND_CYCLES / costly) as usize).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that offers a frame every `period` cycles into a ring; `period` 0 keeps its ring full.
    struct Guest {
        period: u64,
        frame_cycles: u64,
        offered: u64,
        taken: u64,
        lost: u64,
        used: u64,
    }

    impl Guest {
        fn new(period: u64, frame_cycles: u64) -> Self {
            Self { period, frame_cycles, offered: 0, taken: 0, lost: 0, used: 0 }
        }
    }

    const RING: u64 = 256;

    /// Polls guests by their accounts for so many cycles of a clock that only work moves.
    fn run(guests: &mut [Guest], cycles: u64) {
        let mut accounts = Accounts::default();
        let mut now = 0;
        while now < cycles {
            for (index, guest) in guests.iter_mut().enumerate() {
                let port = PortId(index as u16);
                now += 20;
                let frames_max = accounts.frames_max(port) as u64;
                match guest.period {
                    0 => guest.offered = guest.taken + RING,
                    period => {
                        let due = now / period;
                        let room = RING - (guest.offered - guest.taken - guest.lost);
                        let fresh = due - guest.offered;
                        guest.lost += fresh.saturating_sub(room);
                        guest.offered = due;
                    }
                }
                let frames = (guest.offered - guest.taken - guest.lost).min(frames_max);
                if frames == 0 {
                    continue;
                }
                guest.taken += frames;
                let cost = 200 + frames * guest.frame_cycles;
                guest.used += cost;
                now += cost;
                accounts.charge(port, frames as usize, cost);
            }
            accounts.end_round();
        }
    }

    #[test]
    fn one_that_floods_takes_nothing_from_three_that_do_not() {
        // Each of the three asks for 23 percent of the time at 400 cycles a frame.
        for flood_cycles in [100, 400, 5_000, 300_000] {
            let mut guests =
                [Guest::new(0, flood_cycles), Guest::new(1_770, 400), Guest::new(1_770, 400), Guest::new(1_770, 400)];
            run(&mut guests, 400_000_000);
            for guest in &guests[1..] {
                assert_eq!(guest.lost, 0, "beside frames of {flood_cycles} cycles");
                assert!(guest.taken > 200_000);
            }
        }
    }

    #[test]
    fn who_is_busy_gets_the_same_time_whatever_its_frames_cost() {
        let mut guests = [Guest::new(0, 100), Guest::new(0, 1_000), Guest::new(0, 20_000), Guest::new(0, 500_000)];
        run(&mut guests, 1_000_000_000);
        for guest in &guests {
            assert!((230_000_000..270_000_000).contains(&guest.used), "{} of 1000000000 cycles", guest.used);
        }
    }

    fn known_to_be_cheap(port: PortId) -> Accounts {
        let mut accounts = Accounts::default();
        for _ in 0..100 {
            accounts.charge(port, BURST_MAX, 10_000);
            accounts.end_round();
        }
        accounts
    }

    #[test]
    fn alone_nobody_waits() {
        let mut accounts = Accounts::default();
        for cost in [100, 5_000, 1 << 40, 7] {
            assert!(accounts.frames_max(PortId(3)) > 0);
            accounts.charge(PortId(3), 1, cost);
            accounts.end_round();
        }
    }

    #[test]
    fn queue_pairs_of_a_port_share_its_round() {
        let mut accounts = known_to_be_cheap(PortId(1));
        assert_eq!(accounts.frames_max(PortId(1)), BURST_MAX);
        accounts.charge(PortId(1), 20, 4_000);
        assert_eq!(accounts.frames_max(PortId(1)), BURST_MAX - 20);
        accounts.charge(PortId(1), BURST_MAX - 20, 2_000);
        assert_eq!(accounts.frames_max(PortId(1)), 0);
        accounts.end_round();
        assert_eq!(accounts.frames_max(PortId(1)), BURST_MAX);
    }

    #[test]
    fn costly_frames_come_in_small_bursts() {
        let mut accounts = known_to_be_cheap(PortId(0));
        accounts.charge(PortId(0), BURST_MAX, 2_000_000);
        accounts.end_round();
        assert!(accounts.frames_max(PortId(0)) > BURST_MAX / 2, "once is never");
        for _ in 0..100 {
            accounts.charge(PortId(0), 1, u64::from(ROUND_CYCLES) / 4);
            accounts.end_round();
        }
        assert!((3..=5).contains(&accounts.frames_max(PortId(0))));
    }
}
