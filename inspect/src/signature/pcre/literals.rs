//! The bytes that a text must hold somewhere for an expression to match.

use regex_syntax::hir::{Class, ClassBytes, Hir, HirKind};

/// Bytes of a literal that are worth to be known; shorter ones are in most texts.
const LENGTH_MIN: usize = 4;

/// Literals of one expression that are known, the longest ones.
const LITERALS_MAX: usize = 4;

/// The runs of bytes, in lower case, that each match of an expression holds.
pub(super) fn required(hir: &Hir) -> Vec<Box<[u8]>> {
    let mut finder = Finder::default();
    finder.walk(hir);
    finder.end_run();
    finder.found.sort_by_key(|literal| std::cmp::Reverse(literal.len()));
    finder.found.truncate(LITERALS_MAX);
    finder.found
}

#[derive(Default)]
struct Finder {
    /// Bytes that follow one another up to the place at hand.
    run: Vec<u8>,
    found: Vec<Box<[u8]>>,
}

impl Finder {
    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.len() >= LENGTH_MIN {
            self.found.push(run.into());
        }
    }

    /// Goes through what each match passes through; the recursion is bounded by the nesting that the parser allows.
    fn walk(&mut self, hir: &Hir) {
        match hir.kind() {
            HirKind::Literal(literal) => self.run.extend(literal.0.iter().map(u8::to_ascii_lowercase)),
            HirKind::Class(Class::Bytes(class)) => match letter(class) {
                Some(byte) => self.run.push(byte),
                None => self.end_run(),
            },
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.walk(part)),
            HirKind::Capture(group) => self.walk(&group.sub),
            HirKind::Repetition(repetition) if repetition.min > 0 => {
                // The first time follows what is before; what comes behind the last is not known.
                self.walk(&repetition.sub);
                self.end_run();
            }
            // Of several ways, none must be taken.
            HirKind::Repetition(_) | HirKind::Alternation(_) | HirKind::Class(_) => self.end_run(),
            // Nothing is passed there.
            HirKind::Empty | HirKind::Look(_) => {}
        }
    }
}

/// The byte that a class stands for, in lower case: it has but this one, or its letter in both cases.
fn letter(class: &ClassBytes) -> Option<u8> {
    let mut bytes = class.ranges().iter().flat_map(|range| range.start()..=range.end());
    let first = bytes.next()?.to_ascii_lowercase();
    let is_same = |byte: u8| byte.to_ascii_lowercase() == first;
    bytes.take(3).all(is_same).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_automata::util::syntax;

    fn literals(pattern: &str, insensitive: bool) -> Vec<String> {
        let config = syntax::Config::new().unicode(false).utf8(false).case_insensitive(insensitive);
        let hir = syntax::parse_with(pattern, &config).unwrap();
        required(&hir).iter().map(|literal| String::from_utf8_lossy(literal).into_owned()).collect()
    }

    #[test]
    fn what_every_match_holds() {
        assert_eq!(literals("abcd.*efghi", false), ["efghi", "abcd"]);
        assert_eq!(literals("ABC(de)f", true), ["abcdef"]);
        assert_eq!(literals("abcd|efgh", false), [""; 0]);
        assert_eq!(literals("xabcd?yz", false), ["xabc"]);
        assert_eq!(literals("xabc(?:de){2,}fghi", false), ["xabcde", "fghi"]);
        assert_eq!(literals("(?:abcd)*", false), [""; 0]);
        assert_eq!(literals("^abc\\bdef$", false), ["abcdef"]);
        assert_eq!(literals("ab[cd]efghij[kK]l", false), ["efghijkl"]);
    }
}
