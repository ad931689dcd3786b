//! Which ports a frame would leave by.
//!
//! The answer comes before policy, because the zones that policy asks about are those of the ports that the frame enters and
//! would leave by, never those of addresses that a guest writes.

use arrayvec::ArrayVec;
use inspect::wire::Packet;

use super::Turn;
use super::storm::StormControl;
use crate::counters::PORTS_MAX;
use crate::drop_reason::DropReason;
use crate::forward::Egress;
use crate::frame::PortId;
use crate::mac_table::{LearnedCache, LearnedMacs};

/// Ports that a flooded frame may leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// All.
    Everybody,
    /// Those whose hosts configuration does not name: one of them may have the unknown address.
    OpenEnded,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To one port.
    One(PortId),
    /// To each port of a kind, judged by itself; see [`flood`].
    Flood(Flood),
    /// Nowhere.
    Nowhere(DropReason),
}

/// Whether an address is a group address (IEEE 802 I/G bit), broadcast included.
fn is_group(mac: [u8; 6]) -> bool {
    mac[0] & 1 != 0
}

/// Learns who is behind a port that has no fixed addresses; not to be called for others.
///
/// # Errors
/// The source address is bound to another port: whoever uses it here pretends to be that guest, or a loop brings the guest's
/// own frames back.
pub(super) fn learn(
    turn: &Turn<'_>,
    packet: &Packet<'_>,
    cache: &mut LearnedCache,
    learned: &LearnedMacs,
) -> Result<(), DropReason> {
    let source = packet.source_mac();
    match turn.generation.fixed_macs.port(source) {
        Some(owner) if owner != turn.ingress => Err(DropReason::SpoofMac),
        Some(_) => Ok(()),
        None => {
            cache.learn(learned, source, turn.ingress, turn.now_ms());
            Ok(())
        }
    }
}

/// Finds where a frame would leave.
#[inline]
pub(super) fn route(
    turn: &Turn<'_>,
    packet: &Packet<'_>,
    cache: &mut LearnedCache,
    learned: &LearnedMacs,
    storm: &mut StormControl,
) -> Route {
    let destination = packet.destination_mac();
    if is_group(destination) {
        return to_many(turn, Flood::Everybody, storm);
    }
    let known =
        turn.generation.fixed_macs.port(destination).or_else(|| cache.port(learned, destination, turn.now_ms()));
    match known {
        Some(port) if port == turn.ingress => Route::Nowhere(DropReason::Hairpin),
        Some(port) if turn.generation.port(port).is_none() => Route::Nowhere(DropReason::NoEgress),
        Some(port) if between_uplinks(turn, port) => Route::Nowhere(DropReason::NoEgress),
        Some(port) => Route::One(port),
        None => to_many(turn, Flood::OpenEnded, storm),
    }
}

#[cold]
fn to_many(turn: &Turn<'_>, kind: Flood, storm: &mut StormControl) -> Route {
    if storm.admits(turn.ingress, turn.now_us) { Route::Flood(kind) } else { Route::Nowhere(DropReason::Storm) }
}

/// Frames never go from one uplink to another: the host must not become a bridge between two outside networks.
fn between_uplinks(turn: &Turn<'_>, port: PortId) -> bool {
    let is_uplink = |port| turn.generation.port(port).is_some_and(|view| view.is_uplink);
    is_uplink(turn.ingress) && is_uplink(port)
}

/// Whether a flood of a kind reaches a port, connected or not.
pub(super) fn is_flooded(turn: &Turn<'_>, kind: Flood, port: PortId) -> bool {
    port != turn.ingress
        && turn.generation.port(port).is_some()
        && (kind == Flood::Everybody || turn.generation.is_open_ended(port))
        && !between_uplinks(turn, port)
}

/// The ports of a kind that are connected and not in quarantine, less the one that the frame entered by. Empty when there
/// is nobody.
pub(super) fn flood(turn: &Turn<'_>, kind: Flood, egress: &impl Egress) -> ArrayVec<PortId, PORTS_MAX> {
    (0..turn.generation.ports.len() as u16)
        .map(PortId)
        .filter(|port| is_flooded(turn, kind, *port) && egress.queue(*port, 0).is_some())
        .filter(|port| !turn.generation.quarantines.holds(*port, turn.now_us))
        .collect()
}
