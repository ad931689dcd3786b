//! Cases as folders: what is sent, the rules, and which of them alert. Each case is played as it is written, and again with
//! what is said over TCP cut at every byte, out of order and repeated, and with datagrams in fragments: the answer is the same.
//! Each rule that alerts is also tried as `drop`: the packet that completes the match goes no further.
//!
//! The cases are text rather than captures: a review shows what is sent and why, and one text gives all the variants.
//! `keywords` has at least one rule that matches and one that does not for every keyword that the engine knows.

mod bytes;
mod case;
mod keywords;
mod player;
mod script;

use std::fmt::Write;

use inspect::inspector::Mode;
use inspect::verdict::Refused;

use case::{Case, Exemption};
use player::{Stop, play};
use script::{Cut, Order, Variant};

const FOLDERS: [&str; 1] = ["keywords"];

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = FOLDERS.into_iter().flat_map(Case::all).collect();
    assert!(!cases.is_empty());
    cases
}

/// What went wrong, for all cases at once.
#[derive(Default)]
struct Complaints {
    text: String,
}

impl Complaints {
    fn add(&mut self, case: &Case, what: impl std::fmt::Display) {
        writeln!(self.text, "{}: {what}", case.name).expect("a String takes everything");
    }

    fn tell(self) {
        assert!(self.text.is_empty(), "\n{}", self.text);
    }
}

/// Plays a variant to rules that only report and compares which alert.
fn compare(case: &Case, rules: &inspect::signature::RuleSet, variant: &Variant, complaints: &mut Complaints) -> bool {
    let outcome = play(rules, Mode::Detect, &case.script.frames(variant));
    let expected = case.sids();
    if outcome.distinct() == expected {
        return true;
    }
    complaints.add(case, format!("{variant:?}: alerts {:?}, not {expected:?}", outcome.distinct()));
    false
}

#[test]
fn as_they_are_written() {
    let mut complaints = Complaints::default();
    for case in cases() {
        let outcome = play(&case.compile(None), Mode::Detect, &case.script.frames(&Variant::PLAIN));
        let mut got = std::collections::BTreeMap::new();
        outcome.sids.iter().for_each(|&sid| *got.entry(sid).or_insert(0) += 1);
        if got != case.alerts {
            complaints.add(&case, format!("alerts {got:?}, not {:?}; {:?}", case.alerts, outcome.stops));
        }
        if case.readme.trim().is_empty() {
            complaints.add(&case, "README does not say what it proves");
        }
    }
    complaints.tell();
}

#[test]
fn cut_at_every_byte() {
    let mut complaints = Complaints::default();
    for case in cases() {
        if case.is_exempt(Exemption::Uncut) || case.script.cuttable().is_empty() {
            continue;
        }
        let rules = case.compile(None);
        let places = case.script.cuttable().into_iter().flat_map(|(say, len)| (1..len).map(move |at| Cut::At(say, at)));
        let sizes = [1, 2, 3, 7, 64].map(Cut::Every);
        // One complaint for each case is enough.
        places.chain(sizes).all(|cut| compare(&case, &rules, &Variant::cut(cut), &mut complaints));
    }
    complaints.tell();
}

#[test]
fn out_of_order_and_repeated() {
    let mut complaints = Complaints::default();
    for case in cases() {
        let rules = case.compile(None);
        let cuts =
            if case.is_exempt(Exemption::Uncut) { vec![Cut::Whole] } else { [1, 5, 16, 100].map(Cut::Every).to_vec() };
        let orders = if case.is_exempt(Exemption::Ordered) {
            vec![Order::AsSent]
        } else {
            vec![Order::AsSent, Order::Reversed, Order::Swapped]
        };
        let repetitions = if case.is_exempt(Exemption::Once) { vec![false] } else { vec![false, true] };
        let variants = cuts.iter().flat_map(|&cut| {
            orders.iter().flat_map(move |&order| {
                let variant = Variant { cut, order, ..Variant::PLAIN };
                [variant.initial, [u32::MAX - 7, u32::MAX - 70]].map(|initial| Variant { initial, ..variant })
            })
        });
        let variants =
            variants.flat_map(|variant| repetitions.iter().map(move |&repeated| Variant { repeated, ..variant }));
        // Sequence numbers that wrap are other numbers.
        let is_fixed = case.script.has_fixed_numbers() || case.is_exempt(Exemption::Uncut);
        let is_apt = |variant: &Variant| !is_fixed || variant.initial == Variant::PLAIN.initial;
        variants.filter(is_apt).all(|variant| compare(&case, &rules, &variant, &mut complaints));
    }
    complaints.tell();
}

#[test]
fn datagrams_in_fragments() {
    let mut complaints = Complaints::default();
    for case in cases() {
        if case.is_exempt(Exemption::Uncut) || !case.script.has_datagrams() {
            continue;
        }
        let rules = case.compile(None);
        let variants = [8, 16, 24, 40, 64, 128].into_iter().flat_map(|len| {
            [Order::AsSent, Order::Reversed, Order::Swapped]
                .map(|order| Variant { order, ..Variant::cut(Cut::Fragments(len)) })
        });
        variants.into_iter().all(|variant| compare(&case, &rules, &variant, &mut complaints));
    }
    complaints.tell();
}

#[test]
fn what_matches_can_be_dropped() {
    let mut complaints = Complaints::default();
    for case in cases() {
        if case.is_exempt(Exemption::Detect) {
            continue;
        }
        let cuts: &[Cut] = if case.is_exempt(Exemption::Uncut) { &[Cut::Whole] } else { &[Cut::Whole, Cut::Every(1)] };
        for sid in case.sids() {
            let rules = case.compile(Some(sid));
            for &cut in cuts {
                let outcome = play(&rules, Mode::Prevent, &case.script.frames(&Variant::cut(cut)));
                let first = outcome.stops.first().map(|(_, stop)| *stop);
                let dropped = match first {
                    Some(Stop::Inspection(Refused::Signature(index))) => rules.signature(index).map(|info| info.sid),
                    _ => None,
                };
                if dropped != Some(sid) {
                    complaints.add(&case, format!("{sid} as drop, {cut:?}: {first:?}"));
                }
            }
        }
    }
    complaints.tell();
}
