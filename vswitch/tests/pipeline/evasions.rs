//! The evasions of attacks N01 to N12 as cases: folders of text beside this file, each sent through the whole switch.
//!
//! The folders are those of `inspect/tests/cases` (`README`, `packets`, `rules`, `expected`), with more to expect:
//!
//! * `ports web1 db1` - the ports of client and server; these two unless it is said;
//! * `drops malformed 2 policy 1` - every drop there is, when the case is sent as it is written;
//! * `never BYTES` - what no receiver may read, however it puts together what it gets;
//! * `reads BYTES` - what the server's applications read in the end, connection after connection and datagram after datagram;
//! * `hops 2` - the receiver is so far away: what has no greater TTL does not get there.
//!
//! What is said over TCP is sent again cut at every byte, out of order and repeated, and datagrams in fragments: the same
//! rules alert, nobody reads what nobody may, and what may be read is.

#[path = "../../../inspect/tests/cases/bytes.rs"]
mod bytes;
#[path = "../../../inspect/tests/cases/script.rs"]
mod script;
mod victim;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use inspect::inspector::Direction;
use inspect::signature::{RuleFile, RuleSet, Vars};
use inspect::wire::emit::{DESTINATION_MAC, SOURCE_MAC};
use inspect::wire::{Checksums, Packet};
use vswitch::event::EventKind;
use vswitch::frame::PortId;

use crate::bench::*;
use script::{Cut, Order, Script, Variant};
use victim::Victims;

#[derive(Debug)]
struct Case {
    name: String,
    script: Script,
    rules: String,
    ports: [PortId; 2],
    drops: BTreeMap<String, u64>,
    alerts: Vec<u32>,
    never: Option<Vec<u8>>,
    reads: Option<Vec<u8>>,
    hops: u8,
}

fn port(name: &str) -> Result<PortId, String> {
    match name {
        "web1" => Ok(WEB1),
        "web2" => Ok(WEB2),
        "db1" => Ok(DB1),
        "lab1" => Ok(LAB1),
        "up0" => Ok(UP0),
        _ => Err(format!("no port {name}")),
    }
}

impl Case {
    fn read(folder: &Path) -> Result<Self, String> {
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|error| format!("{name}: {error}"));
        assert!(!text("README")?.trim().is_empty(), "README says what the case proves");
        let mut case = Self {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            script: Script::parse(&text("packets")?)?,
            rules: text("rules")?,
            ports: [WEB1, DB1],
            drops: BTreeMap::new(),
            alerts: Vec::new(),
            never: None,
            reads: None,
            hops: 0,
        };
        for line in text("expected")?.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            case.expect(line).map_err(|why| format!("expected: {why}, in {line:?}"))?;
        }
        Ok(case)
    }

    fn expect(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let number = |word: &str| word.parse::<u64>().map_err(|_| format!("{word} is no number"));
        match (word, words.as_slice()) {
            ("ports", [client, server]) => self.ports = [port(client)?, port(server)?],
            ("drops", pairs) if pairs.len().is_multiple_of(2) => {
                for pair in pairs.chunks_exact(2) {
                    self.drops.insert(pair[0].to_owned(), number(pair[1])?);
                }
            }
            ("alerts", sids) => {
                for sid in sids {
                    self.alerts.push(number(sid)? as u32);
                }
            }
            ("never", _) => self.never = Some(bytes::parse(rest)?),
            ("reads", _) => self.reads = Some(bytes::parse(rest)?),
            ("hops", [count]) => self.hops = number(count)? as u8,
            _ => return Err("nobody expects this".to_owned()),
        }
        Ok(())
    }

    fn compile(&self) -> RuleSet {
        let file = RuleFile { name: format!("{}/rules", self.name), text: self.rules.clone() };
        let loaded = RuleSet::compile(&[file], &Vars::conventional());
        assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
        loaded.rules
    }

    /// Sends the case in one way through a switch of its own, and says what is not as expected.
    fn play(&self, variant: &Variant) -> Vec<String> {
        let mut bench = Bench::new(policy(Vec::new()), self.compile(), 1024);
        let mut victims = Victims::new(self.hops);
        let mut sids = BTreeSet::new();
        let mut complaints = Vec::new();
        for shown in self.script.frames(variant) {
            let from = self.ports[usize::from(shown.by == Direction::ToClient)];
            let at_us = 1_000 * shown.at_ms;
            bench.now_us = bench.now_us.max(at_us);
            bench.send(from, &addressed_by_ip(shown.frame));
            for event in bench.take_events() {
                if let EventKind::Alert(alert) = event.kind {
                    sids.extend(event.generation.rules.signature(alert.signature).map(|info| info.sid));
                }
            }
            for port in [WEB1, WEB2, DB1, LAB1, UP0] {
                for sent in bench.received(port) {
                    victims.receive(&sent.frame, port == self.ports[1]);
                    if Packet::parse(&sent.frame, Checksums::Verify).map(|packet| packet.without_padding())
                        != Ok(&sent.frame)
                    {
                        complaints.push(format!("more than a datagram left by port {}", port.0));
                    }
                }
            }
        }
        bench.assert_books_balance();
        if self.never.as_ref().is_some_and(|never| victims.readings().iter().any(|read| contains(read, never))) {
            complaints.push("a receiver has read it".to_owned());
        }
        for (read, wanted) in victims.of_server().iter().zip(self.reads.iter().cycle()) {
            if read != wanted {
                complaints.push(format!("the server reads {}, not {}", read.escape_ascii(), wanted.escape_ascii()));
            }
        }
        if !sids.iter().eq(&self.alerts) {
            complaints.push(format!("alerts {sids:?}, not {:?}", self.alerts));
        }
        let is_plain = *variant == Variant::PLAIN;
        let mut drops = BTreeMap::new();
        for (name, count) in bench.drops() {
            let word = name.rsplit(' ').next().unwrap_or_default().to_owned();
            *drops.entry(word).or_insert(0) += count;
        }
        if is_plain && drops != self.drops {
            complaints.push(format!("drops {drops:?}, not {:?}", self.drops));
        }
        complaints.iter().map(|what| format!("{}, {variant:?}: {what}", self.name)).collect()
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Guests have the Ethernet addresses that belong to their IP addresses; frames whose addresses are written out keep them.
fn addressed_by_ip(mut frame: Vec<u8>) -> Vec<u8> {
    if frame.get(..6) != Some(&DESTINATION_MAC[..]) || frame.get(6..12) != Some(&SOURCE_MAC[..]) {
        return frame;
    }
    let (source, destination) = match (frame.get(12..14), frame.len()) {
        (Some([0x08, 0x00]), 34..) => (decimal(frame[29], false), decimal(frame[33], false)),
        (Some([0x86, 0xdd]), 54..) => (decimal(frame[37], true), decimal(frame[53], true)),
        _ => return frame,
    };
    frame[..6].copy_from_slice(&destination);
    frame[6..12].copy_from_slice(&source);
    frame
}

/// The Ethernet address of whose IP address ends so: fd00::21 is the guest that has 10.0.0.21. Nobody inside is above 21.
fn decimal(last: u8, is_v6: bool) -> [u8; 6] {
    let number = if is_v6 { (last >> 4) * 10 + (last & 15) } else { last };
    if number <= 21 { mac(number) } else { OUTSIDE_MAC }
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipeline/evasions");
    let entries = std::fs::read_dir(&root).expect("the cases are there").flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
        .iter()
        .map(|folder| Case::read(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display())))
        .collect()
}

fn tell(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_evasion_of_the_list_has_a_case() {
    let cases = cases();
    for number in 1..=12 {
        let prefix = format!("N{number:02}-");
        assert!(cases.iter().any(|case| case.name.starts_with(&prefix)), "no case for {prefix}");
    }
}

#[test]
fn as_they_are_written() {
    tell(cases().iter().flat_map(|case| case.play(&Variant::PLAIN)).collect());
}

#[test]
fn cut_at_every_byte() {
    let mut complaints = Vec::new();
    for case in cases() {
        let places = case.script.cuttable().into_iter().flat_map(|(say, len)| (1..len).map(move |at| Cut::At(say, at)));
        let sizes = [1, 2, 3, 5].map(Cut::Every);
        let mut variants = places.chain(sizes).map(Variant::cut).filter(|_| !case.script.cuttable().is_empty());
        // One complaint for each case is enough.
        complaints.extend(variants.find_map(|variant| Some(case.play(&variant)).filter(|found| !found.is_empty())));
    }
    tell(complaints.concat());
}

#[test]
fn out_of_order_repeated_and_in_fragments() {
    let mut complaints = Vec::new();
    for case in cases() {
        let mut cuts = Vec::new();
        if !case.script.cuttable().is_empty() {
            cuts.extend([1, 3, 8].map(Cut::Every));
        }
        if case.script.has_datagrams() {
            cuts.extend([8, 16, 24].map(Cut::Fragments));
        }
        let variants = cuts.into_iter().flat_map(|cut| {
            [Order::AsSent, Order::Reversed, Order::Swapped].into_iter().flat_map(move |order| {
                let repetitions: &[bool] = if matches!(cut, Cut::Fragments(_)) { &[false] } else { &[false, true] };
                repetitions.iter().map(move |&repeated| Variant { order, repeated, ..Variant::cut(cut) })
            })
        });
        let wrapping = |variant: Variant| {
            let wrapped = Variant { initial: [u32::MAX - 3, u32::MAX - 20], ..variant };
            if case.script.has_fixed_numbers() { vec![variant] } else { vec![variant, wrapped] }
        };
        let mut variants = variants.flat_map(wrapping);
        complaints.extend(variants.find_map(|variant| Some(case.play(&variant)).filter(|found| !found.is_empty())));
    }
    tell(complaints.concat());
}
