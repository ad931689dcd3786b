//! Names with `*` and `?` in them.

/// Whether a name is as in a pattern of letters, `*` (any letters) and `?` (any letter). Linear in practice, and at worst
/// in the product of both lengths.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(letter) if *letter == '?' || *letter == name[n] => {
                p += 1;
                n += 1;
            }
            // The last star takes one letter more.
            Some(_) | None => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("*.rules", "web.rules", true);
        check("*.rules", ".rules", true);
        check("*.rules", "web.rules.bak", false);
        check("a*b*c", "axxbxbxc", true);
        check("a*b*c", "axxbxbx", false);
        check("rule?", "rules", true);
        check("rule?", "rule", false);
        check("*", "", true);
        check("é?", "éß", true);
    }
}
