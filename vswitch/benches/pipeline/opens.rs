//! New flows per second, each frame opening one: into a table with room, and into a table at its limit, where a half-open flow
//! must go for each that comes. And the memory that a full table takes, and how much of it was not there from the start.

use crate::Effort;
use crate::guest::Shape;
use crate::report;
use crate::rig::{Rig, TCP, UDP, readdress, template};

const BURST: u16 = 32;

/// Opens flows from number `from` on, and answers the cycles that each burst took per flow.
fn open(rig: &mut Rig, template: &[u8], from: u32, count: u32) -> Vec<u32> {
    let mut cycles = Vec::new();
    for first in (from..from + count).step_by(usize::from(BURST)) {
        let mut flow = first;
        rig.guests[0].send(BURST, template.len(), |frame| {
            frame.copy_from_slice(template);
            readdress(frame, flow);
            flow += 1;
        });
        cycles.push((rig.carry(0, BURST.into()) / u64::from(BURST)) as u32);
        // A million flows in a second of the pipeline's clock: none of them ends meanwhile.
        rig.now_us += u64::from(BURST);
        rig.guests[1].take();
    }
    cycles
}

fn report_opens(name: &str, cycles: &mut [u32]) {
    let mean = cycles.iter().map(|cycles| f64::from(*cycles)).sum::<f64>() / cycles.len() as f64;
    let per_s = report::cycles_per_s() / mean;
    println!("opens {name}: flows/s {per_s:.0} mean-cycles {mean:.0}");
    report::cycles(&format!("opens {name}"), cycles);
}

pub(super) fn measure(effort: Effort) {
    // Some keys find no place within reach before the table is quite full: a quarter is left out of the first part.
    let limit = effort.flows_max();
    let (room, further) = (limit / 4 * 3, effort.flows(400_000) / u32::from(BURST) * u32::from(BURST));
    for (name, protocol) in [("udp", UDP), ("tcp-syn", TCP)] {
        let before = report::resident_bytes();
        let mut rig = Rig::new(effort, Shape::plain(256));
        let at_start = report::resident_bytes();
        let template = template(protocol, 60);
        let mut cycles = open(&mut rig, &template, 0, room);
        // Every frame opens a flow; where no place is within reach of its key, one of the half-open ones had to go for it.
        let displaced = room - rig.flow_count();
        assert!(displaced <= room / 100, "{displaced} of {room} flows went for others in a table with room");
        println!("opens {name} room: displaced {displaced}");
        report_opens(&format!("{name} room"), &mut cycles);
        open(&mut rig, &template, room, limit - room);
        let (all, grown) = (report::resident_bytes() - before, report::resident_bytes().saturating_sub(at_start));
        let per_flow = |bytes: u64| bytes as f64 / f64::from(limit);
        // What is there for any table would hide what a small one takes.
        if limit >= 1 << 20 {
            println!("opens {name} memory: bytes/flow {:.1} since-start {:.1}", per_flow(all), per_flow(grown));
        }
        let mut cycles = open(&mut rig, &template, limit, further);
        report_opens(&format!("{name} full"), &mut cycles);
    }
}
