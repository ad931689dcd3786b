//! A case as it lies on the disk: a folder with four text files.
//!
//! * `README` - what the case proves.
//! * `packets` - what is sent ([`super::script`]).
//! * `rules` - one rule a line. Its `msg` begins with the keyword that it is there for and a colon.
//! * `expected` - the rules that alert, by their `sid`: `alerts 1 2 3*2`, the last one twice when played as it is written. All
//!   others must be silent. Where an answer may change with the segments, a line says so and why:
//!   `uncut: why` (the answer is about single packets), `ordered: why`, `once: why` (not to be repeated), `detect: why`
//!   (in ips mode something else ends the flow before).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use inspect::signature::{RuleFile, RuleSet, Vars};

use super::script::Script;

/// A case.
#[derive(Debug)]
pub struct Case {
    /// The folder, from `cases` on.
    pub name: String,
    pub readme: String,
    pub script: Script,
    /// The rules' lines.
    pub rules: Vec<String>,
    /// How often each rule alerts when the script is played as it is written.
    pub alerts: BTreeMap<u32, usize>,
    /// Variants that change the answer.
    pub exempt: Vec<Exemption>,
}

/// What a case is not put to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exemption {
    Uncut,
    Ordered,
    Once,
    Detect,
}

impl Case {
    /// All cases under a folder of this crate's tests.
    pub fn all(folder: &str) -> Vec<Case> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(folder);
        let entries = std::fs::read_dir(&root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        folders
            .iter()
            .map(|folder| Case::read(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display())))
            .collect()
    }

    fn read(folder: &Path) -> Result<Self, String> {
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).map_err(|error| format!("{name}: {error}"));
        let is_rule = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
        let (alerts, exempt) = expected(&text("expected")?)?;
        Ok(Self {
            name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            readme: text("README")?,
            script: Script::parse(&text("packets")?)?,
            rules: text("rules")?.lines().filter(is_rule).map(str::to_owned).collect(),
            alerts,
            exempt,
        })
    }

    /// The rules, all of which must load; that with this `sid` with another action.
    pub fn compile(&self, dropping: Option<u32>) -> RuleSet {
        let line = |line: &String| match dropping {
            Some(sid) if sid_of(line) == Some(sid) => line.replacen("alert ", "drop ", 1),
            _ => line.clone(),
        };
        let text: Vec<String> = self.rules.iter().map(line).collect();
        let file = RuleFile { name: format!("{}/rules", self.name), text: text.join("\n") };
        let loaded = RuleSet::compile(&[file], &Vars::conventional());
        let refused: Vec<String> = loaded.refused.iter().map(ToString::to_string).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        loaded.rules
    }

    /// Whether the case is not to be put to something.
    pub fn is_exempt(&self, from: Exemption) -> bool {
        self.exempt.contains(&from)
    }

    /// The rules that alert.
    pub fn sids(&self) -> Vec<u32> {
        self.alerts.keys().copied().collect()
    }
}

/// The `sid` of a rule line.
pub fn sid_of(line: &str) -> Option<u32> {
    let (_, rest) = line.rsplit_once(" sid:")?;
    rest.split(';').next()?.trim().parse().ok()
}

fn expected(text: &str) -> Result<(BTreeMap<u32, usize>, Vec<Exemption>), String> {
    let (mut alerts, mut exempt) = (BTreeMap::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if let Some(list) = line.strip_prefix("alerts") {
            for word in list.split_whitespace() {
                let (sid, count) = word.split_once('*').unwrap_or((word, "1"));
                let sid = sid.parse().map_err(|_| format!("expected: {word} is no sid"))?;
                alerts.insert(sid, count.parse().map_err(|_| format!("expected: {word} is no count"))?);
            }
            continue;
        }
        let (word, why) = line.split_once(':').ok_or_else(|| format!("expected: {line}"))?;
        if why.trim().is_empty() {
            return Err(format!("expected: {word} without a reason"));
        }
        exempt.push(match word {
            "uncut" => Exemption::Uncut,
            "ordered" => Exemption::Ordered,
            "once" => Exemption::Once,
            "detect" => Exemption::Detect,
            _ => return Err(format!("expected: nothing is called {word}")),
        });
    }
    Ok((alerts, exempt))
}
