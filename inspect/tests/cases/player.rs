//! Plays frames to the inspection as the switch does: parsed, put together, held against their connection, judged.

use std::collections::HashMap;

use inspect::alert::Alert;
use inspect::flow_key::{FlowKey, Way};
use inspect::fragments::{FragmentOutcome, FragmentTable};
use inspect::inspector::{Direction, FlowSlot, FlowView, Inspector, Mode, Settings};
use inspect::signature::RuleSet;
use inspect::stream::{TcpState, Transition};
use inspect::verdict::{Refused, Verdict};
use inspect::wire::{Checksums, Packet};

use super::script::Shown;

/// Why a frame went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The parser, the fragment table or the connection's state refused it.
    Before(&'static str),
    /// Inspection did.
    Inspection(Refused),
}

/// What became of a script.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The signature ids of the alerts, in order.
    pub sids: Vec<u32>,
    /// The frames that went no further, by their number.
    pub stops: Vec<(usize, Stop)>,
}

impl Outcome {
    /// The signature ids, each once, sorted.
    pub fn distinct(&self) -> Vec<u32> {
        let mut sids = self.sids.clone();
        sids.sort_unstable();
        sids.dedup();
        sids
    }
}

struct Flow {
    slot: FlowSlot,
    to_server: Way,
    tcp: Option<TcpState>,
    has_answer: bool,
}

struct Player<'a> {
    rules: &'a RuleSet,
    inspector: Inspector,
    flows: HashMap<FlowKey, Flow>,
    fragments: FragmentTable,
    now_ms: u64,
    alerts: Vec<Alert>,
}

/// Plays frames under rules.
pub fn play(rules: &RuleSet, mode: Mode, shown: &[Shown]) -> Outcome {
    let settings = Settings { mode, ..Settings::default() };
    let mut player = Player {
        rules,
        inspector: Inspector::new(settings),
        flows: HashMap::new(),
        fragments: FragmentTable::default(),
        now_ms: 0,
        alerts: Vec::new(),
    };
    let mut outcome = Outcome::default();
    for (number, shown) in shown.iter().enumerate() {
        player.now_ms = shown.at_ms;
        if let Err(stop) = player.frame(&shown.frame) {
            outcome.stops.push((number, stop));
        }
        let sid = |alert: Alert| rules.signature(alert.signature).expect("it is one of the set's").sid;
        outcome.sids.extend(player.alerts.drain(..).map(sid));
    }
    outcome
}

impl Player<'_> {
    fn frame(&mut self, frame: &[u8]) -> Result<(), Stop> {
        let packet = Packet::parse(frame, Checksums::Verify).map_err(|why| Stop::Before(why.name()))?;
        if packet.headers().fragment.is_none() {
            return self.packet(&packet);
        }
        match self.fragments.insert(0, &packet, self.now_ms, &mut Vec::new()) {
            Ok(FragmentOutcome::Held) => Ok(()),
            Ok(FragmentOutcome::Complete(whole)) => {
                let whole = Packet::parse(&whole.frame, Checksums::Verify);
                self.packet(&whole.map_err(|why| Stop::Before(why.name()))?)
            }
            Err(why) => Err(Stop::Before(why.name())),
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), Stop> {
        let view = match FlowKey::of(packet) {
            Some((key, way)) => self.view(packet, key, way)?,
            None => FlowView { slot: None, direction: Direction::ToServer, established: false, is_first: true },
        };
        match self.inspector.inspect(self.rules, packet, &view, self.now_ms, &mut self.alerts) {
            Verdict::Forward | Verdict::WouldDrop(_) => Ok(()),
            Verdict::Drop(why) => Err(Stop::Inspection(why)),
        }
    }

    fn view(&mut self, packet: &Packet<'_>, key: FlowKey, way: Way) -> Result<FlowView, Stop> {
        let (tcp, payload_len) = (packet.tcp(), packet.payload().len());
        let Some(flow) = self.flows.get_mut(&key) else {
            let tcp = match &tcp {
                Some(tcp) => Some(TcpState::open(tcp, payload_len).map_err(|why| Stop::Before(why.name()))?),
                None => None,
            };
            let slot = FlowSlot(self.flows.len() as u32);
            self.flows.insert(key, Flow { slot, to_server: way, tcp, has_answer: false });
            let direction = Direction::ToServer;
            return Ok(FlowView { slot: Some(slot), direction, established: false, is_first: true });
        };
        let direction = if way == flow.to_server { Direction::ToServer } else { Direction::ToClient };
        if let (Some(state), Some(tcp)) = (&mut flow.tcp, &tcp) {
            match state.on_segment(direction, tcp, payload_len) {
                Ok(Transition::Unchanged | Transition::Entered(_)) => {}
                Ok(Transition::Reopen) => {
                    flow.tcp = Some(TcpState::open(tcp, payload_len).map_err(|why| Stop::Before(why.name()))?);
                    flow.to_server = way;
                    self.inspector.flow_ended(flow.slot);
                    let direction = Direction::ToServer;
                    return Ok(FlowView { slot: Some(flow.slot), direction, established: false, is_first: true });
                }
                Err(why) => return Err(Stop::Before(why.name())),
            }
        }
        flow.has_answer |= direction == Direction::ToClient;
        let established = flow.tcp.as_ref().map_or(flow.has_answer, TcpState::is_established);
        Ok(FlowView { slot: Some(flow.slot), direction, established, is_first: false })
    }
}
