//! Receivers that are slow or dead lose their own frames, and nobody else's (attack V13).

use vswitch::drop_reason::DropReason;
use vswitch::frame::PortId;
use vswitch::port::memory::MemoryPeer;
use vswitch::worker::PollMode;

use crate::switch::{Switch, udp, wait_until};

const SENDER: u16 = 0;
const HONEST: u16 = 1;
const DEAD: u16 = 2;
const SLOW: u16 = 3;

#[test]
fn a_dead_receiver_loses_its_own_frames_only_and_recovers() {
    let switch = Switch::new(4, &[0], PollMode::Adaptive);
    let peers: Vec<MemoryPeer> = (0..4).map(|_| MemoryPeer::default()).collect();
    peers[usize::from(DEAD)].set_room(Some(0));
    for (port, peer) in peers.iter().enumerate() {
        switch.attach(port as u16, peer.queue());
    }
    const FRAMES: u16 = 2_000;
    for n in 0..FRAMES {
        peers[usize::from(SLOW)].set_room(Some(1));
        for to in [HONEST, DEAD, SLOW] {
            peers[usize::from(SENDER)].send(&udp((SENDER, 1_000), (to, 2_000), &n.to_be_bytes()));
        }
    }
    let received = |port: u16| switch.totals().port(PortId(port)).transmitted;
    wait_until("all frames were taken", || {
        let totals = switch.totals();
        let sender = totals.port(PortId(SENDER));
        sender.received == u64::from(FRAMES) * 3 && sender.delivered + sender.dropped() == sender.received
    });
    assert_eq!(received(HONEST), u64::from(FRAMES));
    assert_eq!(received(DEAD), 0);
    let drops = switch.totals().port(PortId(SENDER)).drops;
    let lost = u64::from(FRAMES) * 2 - received(SLOW);
    assert_eq!(drops[DropReason::ReceiveBuffers as usize], lost);
    assert_eq!(switch.totals().port(PortId(SENDER)).dropped(), lost);
    let order: Vec<u16> = peers[usize::from(HONEST)].take().iter().map(|sent| number(&sent.frame)).collect();
    assert_eq!(order, (0..FRAMES).collect::<Vec<_>>(), "in order");

    peers[usize::from(DEAD)].set_room(None);
    for n in 0..50 {
        peers[usize::from(SENDER)].send(&udp((SENDER, 1_000), (DEAD, 2_000), &[n, n]));
    }
    wait_until("the receiver is alive again", || received(DEAD) == 50);
    switch.assert_books_balance();
}

fn number(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[42], frame[43]])
}
