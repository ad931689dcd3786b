//! How a TCP flow begins: with its SYN, or where the profile of its zones says so, in the middle.
//!
//! Who picks up in the middle believes whoever sends a segment with ACK: that there is a connection, that its sender opened it,
//! and where in it inspection begins. So policy is asked as for any flow, the segment's sender counts as originator and pays for
//! the place in the table, and until a further segment comes the flow is the first to go when room is needed.

use inspect::inspector::Direction;
use inspect::stream::tcp_state::{TcpRefused, TcpState};
use inspect::wire::{Packet, TcpFlags, TcpView};

use super::Turn;
use super::decide::Denied;
use crate::drop_reason::DropReason;
use crate::frame::PortId;

/// How long a flow that was picked up waits for its next segment, in milliseconds: as long as a handshake may take.
pub(super) const PICKED_UP_TIMEOUT_MS: u32 = 40_000;

/// A connection by its first segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) state: TcpState,
    /// It was begun in the middle.
    pub(super) is_picked_up: bool,
}

/// The state of a connection between two ports that begins with this packet; `None` for what is no TCP.
///
/// # Errors
/// The segment begins none.
pub(super) fn begin(turn: &Turn<'_>, packet: &Packet<'_>, from: PortId, to: PortId) -> Result<Option<Begun>, Denied> {
    let Some(segment) = packet.tcp() else { return Ok(None) };
    let payload_len = packet.payload().len();
    let (begun, is_picked_up) = match TcpState::open(&segment, payload_len) {
        Err(TcpRefused::Midstream) if is_from_the_middle(&segment) && picks_up(turn, from, to) => {
            (TcpState::pick_up(Direction::ToServer, &segment, payload_len), true)
        }
        begun => (begun, false),
    };
    let state = begun.map_err(|refused| Denied::by_tcp(DropReason::NotOpened, refused))?;
    Ok(Some(Begun { state, is_picked_up }))
}

/// Whether a segment can be one of a connection that is established: its answer to a SYN is not, which comes again behind the
/// next SYN.
fn is_from_the_middle(segment: &TcpView<'_>) -> bool {
    segment.flags.contains(TcpFlags::ACK) && !segment.flags.contains(TcpFlags::SYN)
}

fn picks_up(turn: &Turn<'_>, from: PortId, to: PortId) -> bool {
    turn.generation.profiles.between(from, to).profile.settings().midstream
}
