//! What is announced, while several workers announce and ask at once.

use inspect::announcements::{Announced, Announcements};

fn connection(port: u16) -> Announced {
    Announced { listener: 2, port, connector: 1 }
}

#[test]
fn workers_announce_and_ask_at_once() {
    // One set, so that all of them meet in it.
    let table = Announcements::default();
    std::thread::scope(|scope| {
        for worker in 0..3_u16 {
            let table = &table;
            scope.spawn(move || {
                for round in 0..2_000 {
                    let name = [b'a' + worker as u8; 100];
                    let name = &name[..1 + round % 100];
                    table.announce(connection(worker), (name, false), 0);
                    assert!(table.is_announced(connection(worker), 0), "nobody needs its place");
                    assert_eq!(table.file(connection(worker), 0), Some((name.to_vec(), false)));
                }
            });
        }
        for _ in 0..2_000 {
            let (name, _) = table.file(connection(0), 0).unwrap_or_default();
            assert!(name.iter().all(|&byte| byte == b'a'), "no word of another's");
        }
    });
    let counts = table.counts();
    assert_eq!((counts.met, counts.forgotten), (6_000, 0));
    // Who could not have its own place for a moment has taken another.
    assert!((3..=8).contains(&counts.made), "{counts:?}");
}
