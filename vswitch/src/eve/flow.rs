//! The end of a flow in Suricata's words.

use inspect::stream::tcp_state::TcpPhase;
use serde_json::json;

use super::app::Object;
use super::timestamp::WallClock;
use crate::event::FlowEnd;
use crate::flow_table::FlowState;

/// The objects that tell it: `flow`, and `tcp` where it was a connection.
pub fn objects(flow: &FlowEnd, clock: WallClock) -> Object {
    let tcp = flow.tcp.map(|(flags, phase)| (flags, phase, tcp_state(flags, phase)));
    let state = match flow.state {
        Some(FlowState::HalfOpen) | None => "new",
        Some(FlowState::Open) => "established",
        // One side may still send.
        Some(FlowState::Closing) if matches!(tcp, Some((.., "close_wait" | "fin_wait2"))) => "established",
        Some(FlowState::Closing | FlowState::Refused) => "closed",
    };
    let mut part = json!({
        "pkts_toserver": flow.packets[0],
        "pkts_toclient": flow.packets[1],
        "bytes_toserver": flow.bytes[0],
        "bytes_toclient": flow.bytes[1],
        "start": clock.format(flow.began_us),
        "end": clock.format(flow.last_us),
        "age": flow.last_us.saturating_sub(flow.began_us) / 1_000_000,
        "state": state,
        "reason": flow.reason,
        "alerted": flow.has_alert,
    });
    if flow.is_refused {
        part["action"] = "drop".into();
    } else if flow.is_passed {
        part["action"] = "pass".into();
    }
    let mut objects = Object::from_iter([("flow".to_owned(), part)]);
    if let Some((flags, _, state)) = tcp {
        objects.insert("tcp".to_owned(), tcp_object(flags, state).into());
    }
    objects
}

fn tcp_object([to_server, to_client]: [u8; 2], state: &str) -> Object {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let all = to_server | to_client;
    let mut tcp = Object::new();
    for (key, flags) in [("tcp_flags", all), ("tcp_flags_ts", to_server), ("tcp_flags_tc", to_client)] {
        tcp.insert(key.to_owned(), format!("{flags:02x}").into());
    }
    for (bit, name) in NAMES.into_iter().enumerate() {
        if all & 1 << bit != 0 {
            tcp.insert(name.to_owned(), true.into());
        }
    }
    tcp.insert("state".to_owned(), state.into());
    tcp
}

/// Suricata's word for how far a connection has come: it tells closing connections apart by who has sent a FIN.
fn tcp_state([to_server, to_client]: [u8; 2], phase: TcpPhase) -> &'static str {
    const FIN: u8 = 1;
    match (phase, to_server & FIN != 0, to_client & FIN != 0) {
        (TcpPhase::SynSent, ..) => "syn_sent",
        (TcpPhase::SynReceived, ..) => "syn_recv",
        (TcpPhase::Established, ..) => "established",
        (TcpPhase::Closing, true, true) => "last_ack",
        (TcpPhase::Closing, true, false) => "close_wait",
        (TcpPhase::Closing, false, _) => "fin_wait2",
        (TcpPhase::TimeWait | TcpPhase::Reset, ..) => "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_sent_a_fin_tells_closing_connections_apart() {
        let check = |flags: [u8; 2], phase: TcpPhase, tcp: &str, flow: &str| {
            let end = FlowEnd { tcp: Some((flags, phase)), state: Some(FlowState::Closing), ..FlowEnd::default() };
            let objects = objects(&end, WallClock { ahead_us: 0 });
            assert_eq!((objects["tcp"]["state"].as_str(), objects["flow"]["state"].as_str()), (Some(tcp), Some(flow)));
        };
        check([0x11, 0x10], TcpPhase::Closing, "close_wait", "established");
        check([0x10, 0x11], TcpPhase::Closing, "fin_wait2", "established");
        check([0x11, 0x11], TcpPhase::Closing, "last_ack", "closed");
        check([0x11, 0x11], TcpPhase::TimeWait, "closed", "closed");
    }

    #[test]
    fn what_inspection_did_with_the_flow_is_its_action() {
        let action = |is_refused, is_passed| {
            let end = FlowEnd { is_refused, is_passed, ..FlowEnd::default() };
            objects(&end, WallClock { ahead_us: 0 })["flow"].get("action").cloned()
        };
        assert_eq!(action(false, false), None);
        assert_eq!(action(true, false), Some("drop".into()));
        assert_eq!(action(false, true), Some("pass".into()));
    }
}
