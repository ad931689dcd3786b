//! The text of a rule file, by itself and after another that it shares rules with.
#![no_main]

use inspect::signature::{Loaded, RuleFile, RuleSet, Vars};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data).into_owned();
    // Every second line, under other variables.
    let some: String = text.lines().step_by(2).flat_map(|line| [line, "\n"]).collect();
    let file = |text| [RuleFile { name: "fuzz".to_owned(), text }];
    let mut vars = Vars::conventional();
    vars.set("HOME_NET", "10.0.0.0/8");
    vars.set("HTTP_PORTS", "[80,8080]");
    let before = RuleSet::compile(&file(some), &vars).rules;
    let files = file(text);
    let alone = RuleSet::compile(&files, &Vars::conventional());
    let after = RuleSet::compile_after(&before, &files, &Vars::conventional());
    let told = |Loaded { rules, .. }: &Loaded| -> Vec<_> {
        (0..rules.len() as u32).map(|index| rules.signature(index).cloned()).collect()
    };
    assert_eq!((told(&alone), &alone.refused), (told(&after), &after.refused));
    for refusal in &alone.refused {
        assert!(!refusal.to_string().is_empty());
    }
});
