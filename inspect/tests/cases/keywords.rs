//! That no keyword is without a case.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use inspect::signature::{Cause, RuleFile, RuleSet, Vars};

use super::case::{Case, sid_of};

/// Keywords that say something about the rule rather than about packets: no packet is why they do not match.
const ABOUT: [&str; 9] = ["msg", "sid", "gid", "rev", "classtype", "priority", "reference", "metadata", "target"];

/// Keywords whose match, or its absence, no packet of a switch can bring about.
const ONE_ANSWER: [(&str, bool, &str); 2] = [
    ("sameip", false, "a packet from an address to itself is malformed and is never judged"),
    ("noalert", false, "a rule with it is silent; that it matches is seen by the bit that it sets"),
];

/// Every word in the sources that could be a keyword.
fn words() -> BTreeSet<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![sources.join("signature"), sources.join("protocol")];
    let mut words = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the sources are there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source is text");
            let is_word = |text: &&str| {
                !text.is_empty()
                    && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
            };
            words.extend(text.split('"').filter(is_word).map(str::to_owned));
        }
    }
    words
}

/// Whether the engine knows a keyword, with or without a value.
fn is_keyword(word: &str) -> bool {
    let forms = [format!("{word};"), format!("{word}:1;")];
    forms.iter().any(|form| {
        let text = format!(r#"alert ip any any -> any any (content:"x"; {form} sid:1;)"#);
        let loaded = RuleSet::compile(&[RuleFile { name: "t".into(), text }], &Vars::new());
        !loaded.refused.iter().any(|refusal| matches!(refusal.cause, Cause::UnknownKeyword(_) | Cause::Syntax(_)))
    })
}

/// The keyword that a rule says it is there for, in front of the colon in its `msg`.
fn claimed(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("msg:\"")?;
    rest.split_once(':').map(|(keyword, _)| keyword)
}

/// Whether a rule has an option.
fn has_option(line: &str, keyword: &str) -> bool {
    let places = line.match_indices(keyword);
    let is_option = |at: usize| {
        let before = line[..at].chars().last().unwrap_or(' ');
        let behind = line[at + keyword.len()..].chars().next().unwrap_or(' ');
        matches!(before, ' ' | ';' | '(') && matches!(behind, ':' | ';')
    };
    places.into_iter().any(|(at, _)| is_option(at))
}

#[test]
fn every_keyword_has_a_case_that_matches_and_one_that_does_not() {
    let keywords: BTreeSet<String> = words().into_iter().filter(|word| is_keyword(word)).collect();
    assert!(keywords.len() > 200 && keywords.contains("http.uri") && keywords.contains("byte_jump"), "{keywords:?}");
    let mut proved: BTreeMap<(String, bool), u32> = BTreeMap::new();
    let mut complaints = Vec::new();
    for case in Case::all("keywords") {
        for line in &case.rules {
            let sid = sid_of(line).expect("a rule has a sid");
            let matches = case.alerts.contains_key(&sid);
            match claimed(line) {
                Some(keyword) if has_option(line, keyword) => {
                    proved.insert((keyword.to_owned(), matches), sid);
                }
                Some(keyword) if keyword.starts_with("rule ") => {}
                claimed => complaints.push(format!("{}: {sid} claims {claimed:?}, which it has not", case.name)),
            }
        }
    }
    for keyword in &keywords {
        for matches in [true, false] {
            let is_about = !matches && ABOUT.contains(&keyword.as_str());
            let has_one_answer = ONE_ANSWER.iter().any(|(name, only, _)| name == keyword && *only != matches);
            if !proved.contains_key(&(keyword.clone(), matches)) && !is_about && !has_one_answer {
                complaints
                    .push(format!("no case in which {keyword} {}", if matches { "matches" } else { "does not match" }));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn a_word_that_is_no_keyword_is_told() {
    assert!(is_keyword("dsize") && is_keyword("http_uri") && is_keyword("nocase") && is_keyword("urilen"));
    assert!(!is_keyword("dsizes") && !is_keyword("to_server"));
    let line = r#"alert tcp any any -> any any (msg:"ttl: x"; content:"ttl:"; ttl:5; sid:1;)"#;
    assert!(has_option(line, "ttl") && !has_option(line, "tt") && !has_option(line, "tl"));
    assert_eq!(claimed(line), Some("ttl"));
}
