//! Delivered means judged: whatever an attacker does with segments and fragments, a victim's application never reads bytes
//! that a drop signature forbids (attacks N04 and N06, after Ptacek and Newsham).
//!
//! The attacker sends any frames it likes. Those that the switch lets pass reach victims that treat ambiguity differently;
//! if any of them reads the forbidden word, the switch has failed. The other way round, a sender that means no harm is never
//! stopped.

mod datagrams;
mod streams;

use inspect::inspector::{Direction, FlowSlot, FlowView, Inspector, Settings};
use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::stream::{TcpState, Transition};
use inspect::verdict::Verdict;
use inspect::wire::{Checksums, Packet};

/// What no victim may read.
const FORBIDDEN: &[u8] = b"EXPLOIT";

/// A switch of which only the inspection is there, with one flow in either direction between the attacker and the victim.
struct Switch {
    rules: RuleSet,
    inspector: Inspector,
    tcp: Option<TcpState>,
}

impl Switch {
    fn new(rule: &str) -> Self {
        let file = RuleFile { name: "evasion.rules".into(), text: rule.into() };
        let loaded = RuleSet::compile(&[file], &Vars::default());
        assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
        Self { rules: loaded.rules, inspector: Inspector::new(Settings::default()), tcp: None }
    }

    /// Whether the frame may go on.
    fn passes(&mut self, direction: Direction, frame: &[u8]) -> bool {
        let Ok(packet) = Packet::parse(frame, Checksums::Verify) else { return false };
        let (is_first, established) = match packet.tcp() {
            Some(tcp) => match (&mut self.tcp, packet.payload().len()) {
                (None, len) => match TcpState::open(&tcp, len) {
                    Ok(state) => {
                        self.tcp = Some(state);
                        (true, false)
                    }
                    Err(_) => return false,
                },
                (Some(state), len) => match state.on_segment(direction, &tcp, len) {
                    Ok(Transition::Unchanged | Transition::Entered(_)) => (false, state.is_established()),
                    Ok(Transition::Reopen) | Err(_) => return false,
                },
            },
            None => (false, true),
        };
        let view = FlowView { slot: Some(FlowSlot(1)), direction, established, is_first };
        let verdict = self.inspector.inspect(&self.rules, &packet, &view, 1, &mut Vec::new());
        verdict == Verdict::Forward
    }
}

fn contains_forbidden(bytes: &[u8]) -> bool {
    bytes.windows(FORBIDDEN.len()).any(|window| window == FORBIDDEN)
}
