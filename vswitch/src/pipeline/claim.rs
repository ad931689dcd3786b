//! What a packet claims about its sender, in the words of port security.

use std::net::IpAddr;

use inspect::wire::{NeighbourKind, NeighbourView, Packet, Transport};
use zones::binding::{Claim, Neighbour, PortSecurity};

use crate::drop_reason::DropReason;

/// Holds a packet's claim against what its port may say.
///
/// # Errors
/// The claim that was not the port's to make.
pub(super) fn check(security: &PortSecurity, packet: &Packet<'_>) -> Result<(), DropReason> {
    security.check(packet.source_mac(), &claim(packet)).map_err(DropReason::from)
}

/// The claim that a packet makes.
fn claim(packet: &Packet<'_>) -> Claim {
    if let Some(arp) = packet.arp() {
        return Claim::Arp { hardware: arp.sender_mac, address: arp.sender_address, target: arp.target_address };
    }
    let udp_ports =
        (packet.headers().transport == Transport::Udp).then(|| (packet.source_port(), packet.destination_port()));
    match (packet.source(), packet.destination()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Claim::Ipv4 { source, destination, udp_ports },
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Claim::Ipv6 { source, destination, udp_ports, neighbour: packet.neighbour().map(neighbour) }
        }
        // A packet has one family; the parser gives both addresses from one header.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Claim::Arp {
            hardware: [0; 6],
            address: std::net::Ipv4Addr::BROADCAST,
            target: std::net::Ipv4Addr::BROADCAST,
        },
    }
}

fn neighbour(view: NeighbourView) -> Neighbour {
    let target = view.target.unwrap_or(std::net::Ipv6Addr::UNSPECIFIED);
    match view.kind {
        NeighbourKind::RouterSolicitation => Neighbour::RouterSolicitation(view.source_mac),
        NeighbourKind::RouterAdvertisement => Neighbour::RouterAdvertisement,
        NeighbourKind::NeighbourSolicitation => Neighbour::Solicitation(target, view.source_mac),
        NeighbourKind::NeighbourAdvertisement => Neighbour::Advertisement(target, view.target_mac),
        NeighbourKind::Redirect => Neighbour::Redirect,
    }
}
