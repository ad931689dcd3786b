//! Receivers of what the switch lets through. Which of two copies of a byte a receiver keeps, until its application has read
//! it, is its own affair: there is one that keeps the first and one that keeps the last.

use std::collections::BTreeMap;
use std::net::IpAddr;

use inspect::wire::{Checksums, Packet, TcpFlags, Transport};

/// Both kinds of receivers, behind all ports.
#[derive(Debug)]
pub struct Victims {
    hops: u8,
    both: [Victim; 2],
}

#[derive(Debug, Default)]
struct Victim {
    keeps_last: bool,
    /// By addresses and ports, and the order in which they began.
    streams: BTreeMap<(IpAddr, u16, IpAddr, u16), Stream>,
    /// What each datagram held that is whole.
    datagrams: Vec<(bool, Vec<u8>)>,
    fragments: BTreeMap<(IpAddr, IpAddr, u32), Fragments>,
    order: usize,
}

#[derive(Debug)]
struct Stream {
    order: usize,
    is_of_server: bool,
    first_seq: u32,
    bytes: BTreeMap<u32, u8>,
    read: Vec<u8>,
}

#[derive(Debug, Default)]
struct Fragments {
    bytes: BTreeMap<usize, u8>,
    len: Option<usize>,
}

impl Victims {
    pub fn new(hops: u8) -> Self {
        Self { hops, both: [Victim::default(), Victim { keeps_last: true, ..Victim::default() }] }
    }

    /// A frame that left the switch, towards the server or elsewhere.
    pub fn receive(&mut self, frame: &[u8], is_of_server: bool) {
        let Ok(packet) = Packet::parse(frame, Checksums::Verify) else { return };
        if packet.arp().is_none() && packet.ttl() > self.hops {
            self.both.iter_mut().for_each(|victim| victim.receive(&packet, is_of_server));
        }
    }

    /// All that applications have read.
    pub fn readings(&self) -> Vec<Vec<u8>> {
        self.both.iter().flat_map(|victim| victim.readings(|_| true)).collect()
    }

    /// What the server's applications have read, in the order in which the connections began; for either receiver.
    pub fn of_server(&self) -> [Vec<u8>; 2] {
        [0, 1].map(|which: usize| self.both[which].readings(|is_of_server| is_of_server).concat())
    }
}

impl Victim {
    fn receive(&mut self, packet: &Packet<'_>, is_of_server: bool) {
        let keeps_last = self.keeps_last;
        if let Some(fragment) = packet.headers().fragment {
            let name = (packet.source(), packet.destination(), fragment.identification);
            let held = self.fragments.entry(name).or_default();
            let offset = usize::from(fragment.offset);
            for (at, &byte) in (offset..).zip(packet.payload()) {
                let slot = held.bytes.entry(at).or_insert(byte);
                *slot = if keeps_last { byte } else { *slot };
            }
            if !fragment.more {
                held.len = Some(offset + packet.payload().len());
            }
            let is_whole = held.len.is_some_and(|len| (0..len).all(|at| held.bytes.contains_key(&at)));
            if is_whole {
                // Behind the header of UDP, which is what cases fragment.
                let bytes = std::mem::take(held).bytes.into_values().skip(8).collect();
                self.datagrams.push((is_of_server, bytes));
            }
            return;
        }
        if packet.headers().transport == Transport::Udp {
            self.datagrams.push((is_of_server, packet.payload().to_vec()));
        }
        let Some(tcp) = packet.tcp() else { return };
        let name = (packet.source(), packet.source_port(), packet.destination(), packet.destination_port());
        if tcp.flags.contains(TcpFlags::SYN) {
            self.order += 1;
            let first_seq = tcp.seq.wrapping_add(1);
            let is_known = self.streams.get(&name).is_some_and(|known| known.first_seq == first_seq);
            if !is_known {
                let stream =
                    Stream { order: self.order, is_of_server, first_seq, bytes: BTreeMap::new(), read: Vec::new() };
                self.streams.insert(name, stream);
            }
            return;
        }
        let Some(stream) = self.streams.get_mut(&name) else { return };
        let first = tcp.seq.wrapping_sub(stream.first_seq).cast_signed();
        for (index, &byte) in packet.payload().iter().enumerate() {
            let Ok(at) = u32::try_from(first + index as i32) else { continue };
            // What has been read stays read; nobody's window is wider.
            if at < stream.read.len() as u32 || at > 65_535 {
                continue;
            }
            let slot = stream.bytes.entry(at).or_insert(byte);
            *slot = if keeps_last { byte } else { *slot };
        }
        while let Some(byte) = stream.bytes.remove(&(stream.read.len() as u32)) {
            stream.read.push(byte);
        }
    }

    fn readings(&self, wanted: impl Fn(bool) -> bool) -> Vec<Vec<u8>> {
        let mut streams: Vec<&Stream> = self.streams.values().filter(|stream| wanted(stream.is_of_server)).collect();
        streams.sort_by_key(|stream| stream.order);
        let datagrams = self.datagrams.iter().filter(|(is_of_server, _)| wanted(*is_of_server));
        streams.into_iter().map(|stream| stream.read.clone()).chain(datagrams.map(|(_, bytes)| bytes.clone())).collect()
    }
}
