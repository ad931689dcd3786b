//! Cycles per frame of each stage alone, put together here from the parts that the pipeline is made of. The stages run over a
//! whole burst each, as in the walk, so their sum is near what `walk` says: the rest is policy's part, counters and books.

use inspect::inspector::{Direction, FlowSlot, FlowView};
use inspect::wire::{self, Checksums, Headers, Packet};
use vswitch::flow_table::{FlowId, FlowTable, TableKey};
use vswitch::frame::{BURST_MAX, Batch, OffloadWord, PortId};
use vswitch::generation::Generation;
use vswitch::inspection::{Candidate, Cleared, Inspection, Judged};
use vswitch::port::Refusals;
use vswitch::sys;

use crate::Effort;
use crate::guest::Shape;
use crate::report;
use crate::rig::{self, Rig, UDP, readdress, template};
use crate::walk::Flows;

const NAMES: [&str; 6] = ["receive", "parse", "security+egress", "flow", "inspect", "transmit"];

/// The cycles of each stage for one burst, by the places of [`NAMES`].
struct Laps {
    cycles: [u64; NAMES.len()],
    before: u64,
}

impl Laps {
    fn start() -> Self {
        Self { cycles: [0; NAMES.len()], before: sys::cycles() }
    }

    fn end_of(&mut self, stage: usize) {
        let now = sys::cycles();
        self.cycles[stage] += now - self.before;
        self.before = sys::cycles();
    }
}

fn parse(batch: &Batch, headers: &mut [Headers; BURST_MAX]) {
    for (index, headers) in headers.iter_mut().enumerate().take(batch.len()) {
        wire::parse_into(batch.frame(index), Checksums::Verify, headers).expect("a sound frame");
    }
}

/// Whether the sender may say what it says, and the port that the frame leaves by.
fn secure_and_route(generation: &Generation, packet: &Packet<'_>) -> PortId {
    let view = generation.port(PortId(0)).expect("a port");
    let security = view.security.as_ref().expect("a binding");
    let (source, _) = packet.ipv4_addresses().expect("IPv4");
    assert!(security.is_own_ipv4(packet.source_mac(), source), "the frame is the guest's own");
    generation.fixed_macs.port(packet.destination_mac()).expect("a known address")
}

/// Finds the flow of each packet, or opens it.
fn find_flows(
    table: &mut FlowTable,
    packets: &[Packet<'_>],
    egress: &[PortId; BURST_MAX],
    now_ms: u64,
) -> [FlowId; 32] {
    let mut keyed = [(TableKey::ZERO, false, 0); BURST_MAX];
    for ((packet, egress), keyed) in packets.iter().zip(egress).zip(&mut keyed) {
        let (addresses, ports) = (packet.ipv4_addresses().expect("IPv4"), packet.ports().expect("UDP"));
        let (key, from_low) = TableKey::of_ipv4(addresses, ports, UDP, PortId(0), *egress);
        *keyed = (key, from_low, table.hash(&key));
        table.prefetch(keyed.2, table.is_large());
    }
    let mut flows = [FlowId(0); BURST_MAX];
    for ((key, from_low, hash), flow) in keyed.iter().take(packets.len()).zip(&mut flows) {
        *flow = match table.find(key, *hash) {
            Some(flow) => flow,
            None => table.open(key, *hash, *from_low, now_ms, &mut |_| ()).expect("room"),
        };
        table.seen(*flow, false, false, now_ms);
    }
    flows
}

struct Stages {
    table: FlowTable,
    inspection: Inspection,
    batch: Batch,
    now_ms: u64,
}

impl Stages {
    /// Carries up to a burst from the first guest's ring to the second's. Answers how many frames.
    fn carry(&mut self, rig: &mut Rig, laps: &mut Laps) -> usize {
        let [from, to] = &mut rig.queues;
        laps.before = sys::cycles();
        self.batch.clear();
        from.receive(&mut self.batch).expect("a sound ring");
        laps.end_of(0);
        let mut headers = [Headers::NONE; BURST_MAX];
        parse(&self.batch, &mut headers);
        laps.end_of(1);
        let frames = headers.iter().take(self.batch.len()).enumerate();
        let packets: arrayvec::ArrayVec<Packet<'_>, BURST_MAX> =
            frames.clone().map(|(index, headers)| Packet::new(self.batch.frame(index), *headers)).collect();
        laps.before = sys::cycles();
        let mut egress = [PortId(0); BURST_MAX];
        for (packet, egress) in packets.iter().zip(&mut egress) {
            *egress = secure_and_route(&rig.generation, packet);
        }
        laps.end_of(2);
        let flows = find_flows(&mut self.table, &packets, &egress, self.now_ms);
        laps.end_of(3);
        let mut cleared: arrayvec::ArrayVec<Cleared<'_>, BURST_MAX> = arrayvec::ArrayVec::new();
        for ((index, headers), flow) in frames.zip(flows) {
            let slot = Some(FlowSlot(flow.0));
            let view = FlowView { slot, direction: Direction::ToServer, established: false, is_first: false };
            let candidate = Candidate { frame: self.batch.frame(index), headers, offload: OffloadWord::NONE };
            let profile = &rig.generation.profiles.between(PortId(0), egress[0]).profile;
            match self.inspection.judge(&rig.generation.rules, profile, &candidate, &view, self.now_ms) {
                Judged::Cleared(frame) => cleared.push(frame),
                other => panic!("a sound frame: {other:?}"),
            }
        }
        laps.end_of(4);
        let mut refused = Refusals::new();
        to.transmit(&cleared, &mut refused).expect("a sound ring");
        laps.end_of(5);
        assert!(refused.is_empty(), "the guest has buffers");
        self.batch.len()
    }
}

pub(super) fn measure(effort: Effort, frame_len: usize, ring_size: u16, flow_count: u32, burst: u16) {
    let mut rig = Rig::new(effort, Shape::plain(ring_size));
    let template = template(UDP, frame_len);
    let (table, inspection, batch) = (rig::flow_table(effort.flows_max()), Inspection::default(), Batch::new());
    let mut stages = Stages { table, inspection, batch, now_ms: 1 };
    let mut flows = Flows::new(flow_count);
    let mut cycles = NAMES.map(|_| Vec::new());
    let mut sums = Vec::new();
    for _ in 0..flow_count.div_ceil(u32::from(burst)) + effort.rounds(30_000) {
        let is_opening = flows.is_opening();
        rig.guests[0].send(burst, frame_len, |frame| {
            frame.copy_from_slice(&template);
            readdress(frame, flows.next());
        });
        let (mut laps, mut carried) = (Laps::start(), 0);
        while carried < usize::from(burst) {
            carried += stages.carry(&mut rig, &mut laps);
        }
        assert_eq!(rig.guests[1].take(), u64::from(burst), "every frame arrives");
        if !is_opening {
            cycles.iter_mut().zip(laps.cycles).for_each(|(all, one)| all.push((one / u64::from(burst)) as u32));
            sums.push((laps.cycles.iter().sum::<u64>() / u64::from(burst)) as u32);
        }
    }
    let case = format!("{frame_len} {ring_size} {flow_count} {burst}");
    for (name, cycles) in NAMES.iter().zip(&mut cycles) {
        report::cycles(&format!("stage {name} {case}"), cycles);
    }
    report::cycles(&format!("stage sum {case}"), &mut sums);
}
