//! One frame: what parses can be asked anything.
#![no_main]

use inspect::flow_key::FlowKey;
use inspect::wire::{Checksums, Packet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for checksums in [Checksums::Verify, Checksums::TransportPartial, Checksums::Unchecked, Checksums::VerifyCaptured] {
        let Ok(packet) = Packet::parse(data, checksums) else { continue };
        assert!(packet.without_padding().len() <= data.len());
        let _ = (packet.source(), packet.destination(), packet.ttl(), packet.ip_id(), packet.payload());
        let _ = (packet.arp(), packet.icmp(), packet.neighbour(), packet.quoted_flow(), FlowKey::of(&packet));
        if let Some(tcp) = packet.tcp() {
            let _ = (tcp.window_shift(), tcp.options().count());
        }
    }
});
