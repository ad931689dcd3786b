//! What a tracked TCP flow holds, in bytes of heap: `cargo bench -p inspect --bench memory [-- RULES]`.
//!
//! Thousands of flows are shown to one inspector and stay open; what it holds more by then, divided by their number, is
//! what each costs, as far as the program asks for it: the allocator adds some percent. The caller's own flow table (one
//! cache line per flow in the switch) comes on top.

#[expect(dead_code, reason = "the other bench uses the rest")]
mod talk;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use inspect::inspector::{Direction, Inspector, Settings};
use inspect::signature::RuleSet;
use talk::{MSS, Shown, Talk};

/// Bytes that are allocated.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with a count.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps what the trait asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, bytes: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps what the trait asks for.
        unsafe { System.dealloc(bytes, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let rules = talk::rules();
    let get = b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n";
    let answer = [
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", 20 * MSS).into_bytes(),
        b"<p>what the web is full of</p>\n".iter().copied().cycle().take(20 * MSS).collect(),
    ]
    .concat();
    measure(&rules, "TCP, handshake only", 10_000, |_| {});
    measure(&rules, "HTTP, idle after a request and an answer of 29 KB, all acknowledged", 10_000, |talk| {
        talk.say(Direction::ToServer, get, MSS);
        talk.say(Direction::ToClient, &answer, MSS);
    });
    measure(&rules, "unknown protocol, idle after 10 KB, all acknowledged", 10_000, |talk| {
        talk.say(Direction::ToServer, &vec![7; 10_000], MSS);
    });
    // The limit on what waits behind gaps allows no more of these.
    measure(&rules, "TCP, with 64 KiB out of order", 200, |talk| {
        for piece in 0..64u32 {
            talk.segment(Direction::ToServer, 1 + piece * 1024, &[7; 1024]);
        }
    });
}

fn measure(rules: &RuleSet, name: &str, flow_count: u32, converse: impl Fn(&mut Talk)) {
    let mut inspector = Inspector::new(Settings::default());
    let mut shown = Shown::default();
    // Pools, tables and automata are there before anything is counted.
    for slot in 0..200 {
        play(&mut inspector, rules, slot, &converse, &mut shown);
    }
    shown = Shown::default();
    let before = HELD.load(Relaxed);
    for slot in 200..200 + flow_count {
        play(&mut inspector, rules, slot, &converse, &mut shown);
    }
    let per_flow = HELD.load(Relaxed).saturating_sub(before) / flow_count as usize;
    println!("{per_flow:8} bytes per flow  {name} ({flow_count} flows, {} refused)", shown.refused);
}

fn play(inspector: &mut Inspector, rules: &RuleSet, slot: u32, converse: &impl Fn(&mut Talk), shown: &mut Shown) {
    let mut talk = Talk::tcp(slot, 80);
    converse(&mut talk);
    talk.show(usize::MAX, inspector, rules, slot, 0, shown);
}
