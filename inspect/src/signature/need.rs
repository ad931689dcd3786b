//! What a whole buffer must hold for a signature that no pattern selects, told at a glance: such a signature asks for less than
//! a prefilter searches for, a single byte at the start for instance, and would be fetched for every text.

use super::content::Letter;
use super::definition::BufferCondition;
use super::program::{Op, Step};
use super::reach::with_reaches;

/// Bytes at the start that are compared at most.
const START_BYTES_MAX: usize = 4;

/// What a text cannot do without. Without any knowledge every text will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// The first bytes, and whether their case counts.
    start: Option<(Box<[u8]>, bool)>,
    /// A byte.
    letter: Option<Letter>,
}

impl Need {
    /// What the texts of one buffer must hold for a signature with these conditions. One condition decides: each of them may
    /// be met by another text, and the signature is looked at for every text that meets this one.
    pub(crate) fn of<'s>(conditions: impl Iterator<Item = &'s BufferCondition>) -> Self {
        conditions
            .filter(|condition| condition.is_needed() && condition.transforms.is_empty())
            .map(|condition| Self::of_steps(&condition.steps))
            .max_by_key(|need| (need.start.is_some(), need.letter.is_some()))
            .unwrap_or_default()
    }

    fn of_steps(steps: &[Step]) -> Self {
        let contents = with_reaches(steps).filter_map(|(step, reach)| match &step.op {
            Op::Content(content) if !content.negated && content.pattern.len() > 0 => Some((content, reach)),
            _ => None,
        });
        let mut need = Self::default();
        for (content, reach) in contents {
            let pattern = &content.pattern;
            if reach == Some(pattern.len()) && need.start.is_none() {
                let start = &pattern.bytes()[..pattern.len().min(START_BYTES_MAX)];
                need.start = Some((start.into(), !pattern.nocase));
            } else if need.letter.is_none_or(|known| pattern.rarest().commonness() < known.commonness()) {
                need.letter = Some(pattern.rarest());
            }
        }
        need
    }

    /// Whether a text may be what the signature looks for. Adds what it cost to find out to `work`.
    #[inline]
    pub(crate) fn is_met_by(&self, text: &[u8], work: &mut u64) -> bool {
        if let Some((start, has_case)) = &self.start {
            let Some(first) = text.get(..start.len()) else { return false };
            if !(if *has_case { first == &**start } else { first.eq_ignore_ascii_case(start) }) {
                return false;
            }
        }
        let Some(letter) = self.letter else { return true };
        let found = letter.find(text);
        *work += found.unwrap_or(text.len()) as u64 / 16;
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use crate::signature::{RuleFile, RuleSet, Vars};

    /// Whether the need of a rule about the host of HTTP lets texts through.
    fn lets_through(steps: &str, texts: &[&str]) -> Vec<bool> {
        let text = format!("alert http any any -> any any (http.host; {steps} sid:1;)");
        let loaded = RuleSet::compile(&[RuleFile { name: "t".into(), text }], &Vars::new());
        assert!(loaded.refused.is_empty(), "{:?}", loaded.refused);
        let app = loaded.rules.signatures[0].app.as_ref();
        let need = super::Need::of(app.into_iter().flat_map(|app| &app.buffers));
        texts.iter().map(|text| need.is_met_by(text.as_bytes(), &mut 0)).collect()
    }

    #[test]
    fn a_text_is_let_through_unless_what_is_asked_for_cannot_be_there() {
        let quad = r#"pcre:"/^1\d\.\d$/"; content:"1"; depth:1;"#;
        assert_eq!(lets_through(quad, &["10.1", "1", "www.1", ""]), [true, true, false, false]);
        assert_eq!(
            lets_through(r#"content:"Ab"; startswith; nocase;"#, &["aBc", "AB", "a", "xab"]),
            [true, true, false, false]
        );
        assert_eq!(lets_through(r#"content:"Ab"; startswith;"#, &["Abc", "abc"]), [true, false]);
        assert_eq!(lets_through(r#"content:"-"; offset:2;"#, &["a-b", "ab"]), [true, false]);
        assert_eq!(lets_through(r#"content:"x"; nocase; content:"x"; distance:3;"#, &["aXb", "ab"]), [true, false]);
        assert_eq!(lets_through(r#"content:!"a"; pcre:"/b/";"#, &["a", ""]), [true, true]);
        assert_eq!(lets_through(r#"to_uppercase; content:"A";"#, &["a"]), [true]);
    }
}
