//! Every malformed chain of small rings against a plain reference model, and every sound one against virtio-queue too.
//!
//! The chains are enumerated lazily: the model walks a chain and *chooses* each descriptor when it first looks at it, so all
//! chains that can be told apart are tried, and none twice. What the model never looked at is poison in the real ring.

use std::fs::File;

use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

use super::guest::{Driver, GUEST_BASE, Judged, Memory, descriptor_bytes};
use crate::drop_reason::DropReason;
use crate::frame::{Batch, FRAME_LEN_MIN};
use crate::memory::GuestMap;
use crate::memory::access::watch;
use crate::port::Refusals;
use crate::port::vhost::features::Features;
use crate::port::vhost::ring::Descriptor;

const LEN: usize = 1 << 16;
const HEADER_LEN: usize = 12;
const FEATURES: Features = Features::VERSION_1.and(Features::INDIRECT_DESC);
/// Where indirect tables lie, as an offset; each descriptor's own buffer is elsewhere.
const TABLE: usize = 0x8000;

/// Walks through all sequences of choices.
#[derive(Default)]
struct Choices {
    script: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        if self.next == self.script.len() {
            self.script.push((0, options.len()));
        }
        let (chosen, _) = self.script[self.next];
        self.next += 1;
        options[chosen]
    }

    /// Goes on to the next sequence; `false` after the last.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((chosen, options)) = self.script.pop() {
            if chosen + 1 < options {
                self.script.push((chosen + 1, options));
                return true;
            }
        }
        false
    }
}

/// What the model says of a chain.
#[derive(Debug, PartialEq)]
enum Expected {
    Fault,
    /// The buffers, as offsets and lengths.
    Buffers(Vec<(usize, usize)>),
}

/// A walk written for clarity: virtio 1.2 section 2.7.5 and nothing else.
struct Model<'a> {
    choices: &'a mut Choices,
    is_writable: bool,
    size: u16,
    ring: Vec<Option<Descriptor>>,
    table: Vec<Option<Descriptor>>,
    table_entries: usize,
}

impl Model<'_> {
    /// A descriptor of any kind; one in a table of tables refers to the same table, if to any. Rings of more than two
    /// descriptors get no sound tables, which would multiply chains beyond counting.
    fn choose(&mut self, slot: usize, entries: u16) -> Descriptor {
        let flags = self.choices.pick(&[0, 1, 2, 3, 4, 5, 6, 7]);
        if flags & Descriptor::INDIRECT != 0 {
            let entries = usize::from(self.size);
            let lens = [0, 8, 16, 16 * entries as u32, 16 * entries as u32 + 16, !15];
            let len = self.choices.pick(if entries > 2 { &lens[..1] } else { &lens });
            let addr = self.choices.pick(&[GUEST_BASE + TABLE as u64, GUEST_BASE + LEN as u64 - 8, 0, u64::MAX - 7]);
            return Descriptor { addr, len, flags, next: 0 };
        }
        let own = GUEST_BASE + 0x1000 + 0x100 * slot as u64;
        let end = GUEST_BASE + LEN as u64;
        let buffers = [(own, 40), (own, 0), (end - 4, 5), (own, 7), (end, 0), (u64::MAX, 2)];
        let buffers = if self.size > 2 { &buffers[..3] } else { &buffers[..] };
        let (addr, len) = self.choices.pick(buffers);
        let next = if flags & Descriptor::NEXT == 0 { 0 } else { self.choices.pick(&indices(entries)) };
        Descriptor { addr, len, flags, next }
    }

    fn buffer(&self, descriptor: Descriptor) -> Option<(usize, usize)> {
        let writable = descriptor.flags & Descriptor::WRITE != 0;
        let start = u128::from(descriptor.addr);
        let end = start + u128::from(descriptor.len.max(1));
        let inside = start >= u128::from(GUEST_BASE) && end <= u128::from(GUEST_BASE) + LEN as u128;
        (writable == self.is_writable && inside)
            .then(|| ((descriptor.addr - GUEST_BASE) as usize, descriptor.len as usize))
    }

    fn walk(&mut self) -> Expected {
        let mut buffers = Vec::new();
        let mut index = 0;
        for _ in 0..self.size {
            if index >= usize::from(self.size) {
                return Expected::Fault;
            }
            if self.ring[index].is_none() {
                self.ring[index] = Some(self.choose(index, self.size));
            }
            let descriptor = self.ring[index].unwrap();
            if descriptor.flags & Descriptor::INDIRECT != 0 {
                return self.walk_table(descriptor, buffers);
            }
            let Some(buffer) = self.buffer(descriptor) else { return Expected::Fault };
            buffers.push(buffer);
            if descriptor.flags & Descriptor::NEXT == 0 {
                return Expected::Buffers(buffers);
            }
            index = descriptor.next.into();
        }
        Expected::Fault
    }

    fn walk_table(&mut self, indirect: Descriptor, mut buffers: Vec<(usize, usize)>) -> Expected {
        let entries = indirect.len / 16;
        let whole = indirect.len.is_multiple_of(16) && entries > 0 && entries <= u32::from(self.size);
        if !whole || indirect.flags & Descriptor::NEXT != 0 || indirect.addr != GUEST_BASE + TABLE as u64 {
            return Expected::Fault;
        }
        self.table_entries = entries as usize;
        let mut index = 0;
        for _ in 0..entries {
            if index >= self.table_entries {
                return Expected::Fault;
            }
            if self.table[index].is_none() {
                self.table[index] = Some(self.choose(8 + index, entries as u16));
            }
            let descriptor = self.table[index].unwrap();
            if descriptor.flags & Descriptor::INDIRECT != 0 {
                return Expected::Fault;
            }
            let Some(buffer) = self.buffer(descriptor) else { return Expected::Fault };
            buffers.push(buffer);
            if descriptor.flags & Descriptor::NEXT == 0 {
                return Expected::Buffers(buffers);
            }
            index = descriptor.next.into();
        }
        Expected::Fault
    }
}

/// All indices of a table, one beyond, and one far beyond.
fn indices(entries: u16) -> Vec<u16> {
    (0..=entries).chain([0xffff]).collect()
}

struct Case {
    driver: Driver,
    expected: Expected,
}

/// Runs `check` on every chain that starts at descriptor 0 of a ring of `size`.
fn for_each_chain(size: u16, is_writable: bool, mut check: impl FnMut(&mut Case)) -> usize {
    let memory = Memory::new(LEN);
    let poison = Descriptor { addr: 1, len: 1, flags: 7, next: 0x7777 };
    let mut driver = Driver::new(&memory, 0, size, 256);
    let mut choices = Choices::default();
    let mut count = 0;
    let pattern: Vec<u8> = (0..0x1000).map(|at| (at ^ (at >> 8)) as u8).collect();
    loop {
        let slots = vec![None; usize::from(size)];
        let (ring, table) = (slots.clone(), slots);
        let mut model = Model { choices: &mut choices, is_writable, size, ring, table, table_entries: 0 };
        let expected = model.walk();
        // All sound buffers lie there.
        memory.write(0x1000, &pattern);
        for (index, descriptor) in model.ring.iter().enumerate() {
            driver.describe(index as u16, descriptor.unwrap_or(poison));
        }
        for (index, descriptor) in model.table.iter().enumerate() {
            memory.write(TABLE + 16 * index, &descriptor_bytes(descriptor.unwrap_or(poison)));
        }
        driver = driver.starting_at(count as u16);
        driver.offer(0);
        let mut case = Case { driver, expected };
        check(&mut case);
        driver = case.driver;
        count += 1;
        // Miri takes a thousand times as long, and is to see some of each kind.
        for _ in 0..if cfg!(miri) { 211 } else { 1 } {
            if !choices.advance() {
                return count;
            }
        }
    }
}

fn bytes(memory: &Memory, buffers: &[(usize, usize)]) -> Vec<u8> {
    buffers.iter().flat_map(|&(at, len)| memory.read(at, len)).collect()
}

/// The buffers of the waiting chain as virtio-queue sees them.
fn by_virtio_queue(driver: &Driver, memory: &GuestMemoryMmap) -> Vec<u8> {
    let mut queue = Queue::new(driver.size).unwrap();
    let setup = driver.setup();
    queue.set_size(setup.size);
    queue.try_set_desc_table_address(GuestAddress(setup.descriptors)).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(setup.avail)).unwrap();
    queue.try_set_used_ring_address(GuestAddress(setup.used)).unwrap();
    queue.set_next_avail(setup.position);
    queue.set_ready(true);
    let chain = queue.iter(memory).unwrap().next().expect("a chain is offered");
    chain
        .flat_map(|descriptor| {
            let mut bytes = vec![0; descriptor.len() as usize];
            memory.read_slice(&mut bytes, descriptor.addr()).unwrap();
            bytes
        })
        .collect()
}

fn check_sent(case: &mut Case, map: &std::sync::Arc<GuestMap>, oracle: &GuestMemoryMmap) {
    let driver = &mut case.driver;
    let mut batch = Batch::new();
    let mut ring = driver.transmit_ring(map, FEATURES);
    let sent = match &case.expected {
        Expected::Buffers(buffers) => {
            let sent = bytes(&driver.memory, buffers);
            assert_eq!(by_virtio_queue(driver, oracle), sent);
            Some(sent)
        }
        Expected::Fault => None,
    };
    // A table or a buffer may well be offered twice within one chain; only words of the ring must be read once.
    let received = ring.receive(&mut batch);
    let Some(sent) = sent else {
        assert!(received.is_err(), "{:?}", case.expected);
        assert!(driver.used().is_empty());
        return;
    };
    assert_eq!(received, Ok(()), "{:?}", case.expected);
    assert_eq!(driver.used(), [(0, 0)]);
    match sent.get(HEADER_LEN..).filter(|frame| frame.len() >= FRAME_LEN_MIN) {
        Some(frame) => {
            assert_eq!(batch.len(), 1);
            assert_eq!(batch.frame(0), frame);
        }
        None => {
            let len = sent.len().saturating_sub(HEADER_LEN) as u32;
            assert_eq!((batch.len(), batch.rejected()), (0, &[(DropReason::Runt, len)][..]));
        }
    }
}

fn oracle(memory: &Memory) -> GuestMemoryMmap {
    let file: File = memory.file.try_clone().unwrap();
    let ranges = [(GuestAddress(GUEST_BASE), LEN, Some(FileOffset::new(file, 0)))];
    GuestMemoryMmap::from_ranges_with_files(ranges).unwrap()
}

#[test]
fn every_chain_that_a_guest_can_send() {
    let mut total = 0;
    for size in [1, 2, 4] {
        let mut shared = None;
        total += for_each_chain(size, false, |case| {
            let memory = case.driver.memory.clone();
            let (map, oracle) = shared.get_or_insert_with(|| (memory.map(&[]), oracle(&memory)));
            check_sent(case, map, oracle);
        });
    }
    assert!(total > 10_000, "only {total} chains were tried");
}

#[test]
fn every_chain_that_a_guest_can_receive_by() {
    let frame = Judged::udp(3, 0x77);
    let need = HEADER_LEN + frame.frame.len();
    let whole = [&[0; HEADER_LEN][..], &frame.frame].concat();
    for size in [1, 2, 4] {
        let mut shared = None;
        for_each_chain(size, true, |case| {
            let driver = &mut case.driver;
            let map = shared.get_or_insert_with(|| driver.memory.map(&[]));
            let mut ring = driver.receive_ring(map, FEATURES);
            let mut refused = Refusals::new();
            let result = ring.transmit(1, |_| frame.outgoing(), &mut refused);
            let Expected::Buffers(buffers) = &case.expected else {
                assert!(result.is_err());
                return;
            };
            let room: usize = buffers.iter().map(|(_, len)| len).sum();
            if room < HEADER_LEN {
                assert!(result.is_err());
                return;
            }
            assert_eq!(result, Ok(()));
            if room < need {
                assert_eq!(refused[..], [(0, DropReason::TooBig)]);
                assert!(driver.used().is_empty());
                return;
            }
            assert_eq!(driver.used(), [(0, need as u32)]);
            // Buffers that overlap show what was written last; a model of that would be the code itself.
            let mut places: Vec<usize> = buffers.iter().map(|(at, _)| *at).collect();
            places.sort_unstable();
            places.dedup();
            if places.len() == buffers.len() {
                let mut written = bytes(&driver.memory, buffers);
                written.truncate(need);
                written[10] = 0;
                assert_eq!(written, whole);
            }
        });
    }
}

#[test]
fn no_word_is_read_twice_whatever_the_chain() {
    for size in [1, 2, 4] {
        let mut map = None;
        for_each_chain(size, false, |case| {
            // A chain that loops reads descriptors again, but not more often than the ring is long, and to be refused.
            let Expected::Buffers(buffers) = &case.expected else { return };
            let expected = bytes(&case.driver.memory, buffers);
            let map = map.get_or_insert_with(|| case.driver.memory.map(&[]));
            let mut ring = case.driver.transmit_ring(map, FEATURES);
            let mut batch = Batch::new();
            watch::pass(true, || ring.receive(&mut batch)).unwrap();
            if let Some(frame) = expected.get(HEADER_LEN..).filter(|frame| frame.len() >= FRAME_LEN_MIN) {
                assert_eq!(batch.frame(0), frame);
            }
        });
    }
}

#[test]
fn every_jump_of_the_available_index() {
    for size in [1u16, 2, 4, 8] {
        let memory = Memory::new(LEN);
        let map = memory.map(&[]);
        for start in [0u16, 1, 0x7fff, 0xfffc, 0xffff] {
            for jump in 0..=u16::MAX {
                if jump > 40 && jump < 0xffd8 && jump % 251 != 0 {
                    continue;
                }
                let mut driver = Driver::new(&memory, 0, size, 256).starting_at(start);
                let at = driver.buffer(0);
                (0..size).for_each(|i| driver.describe(i, Descriptor { addr: at, len: 100, flags: 0, next: 0 }));
                let mut ring = driver.transmit_ring(&map, FEATURES);
                driver.offered = start.wrapping_add(jump);
                driver.publish();
                let mut batch = Batch::new();
                let expected = if jump <= size { Ok(()) } else { Err("avail_index_jump") };
                assert_eq!(ring.receive(&mut batch).map_err(|fault| fault.word), expected, "{size} {start} {jump}");
                assert_eq!(batch.len(), if jump <= size { usize::from(jump) } else { 0 });
            }
        }
    }
}
