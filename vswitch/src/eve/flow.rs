//! The end of a flow in Suricata's words.

use inspect::stream::tcp_state::TcpPhase;
use serde_json::json;

use super::app::Object;
use super::timestamp::WallClock;
use crate::event::FlowEnd;
use crate::flow_table::FlowState;

/// The objects that tell it: `flow`, and `tcp` where it was a connection.
pub fn objects(flow: &FlowEnd, clock: WallClock) -> Object {
    let state = match flow.state {
        Some(FlowState::HalfOpen) | None => "new",
        Some(FlowState::Open) => "established",
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
    }
    let mut objects = Object::from_iter([("flow".to_owned(), part)]);
    if let Some((flags, phase)) = flow.tcp {
        objects.insert("tcp".to_owned(), tcp(flags, phase).into());
    }
    objects
}

fn tcp([to_server, to_client]: [u8; 2], phase: TcpPhase) -> Object {
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
    let state = match phase {
        TcpPhase::SynSent => "syn_sent",
        TcpPhase::SynReceived => "syn_recv",
        TcpPhase::Established => "established",
        TcpPhase::Closing => "closing",
        TcpPhase::TimeWait => "time_wait",
        TcpPhase::Reset => "closed",
    };
    tcp.insert("state".to_owned(), state.into());
    tcp
}
