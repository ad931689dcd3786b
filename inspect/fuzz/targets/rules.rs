//! The text of a rule file.
#![no_main]

use inspect::signature::{RuleFile, RuleSet, Vars};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data).into_owned();
    let loaded = RuleSet::compile(&[RuleFile { name: "fuzz".to_owned(), text }], &Vars::conventional());
    for refusal in &loaded.refused {
        assert!(!refusal.to_string().is_empty());
    }
});
