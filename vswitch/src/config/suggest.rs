//! "Did you mean ...?": the known word that a mistyped one is nearest to.

/// Longest word that is compared; longer ones are no names.
const WORD_MAX: usize = 64;

/// The known word nearest to a mistyped one, if any is near: about one slip in three letters.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(slips, candidate)| *slips <= slips_max && *slips < candidate.chars().count())
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Words that a list of them shows at most.
const LISTED_MAX: usize = 20;

/// Words in a row, each between quotes.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>, quote: char) -> String {
    let mut words = words.into_iter();
    let shown: Vec<String> = words.by_ref().take(LISTED_MAX).map(|word| format!("{quote}{word}{quote}")).collect();
    let more = if words.next().is_some() { ", ..." } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// How many slips lead from one word to the other: a letter too many, too few, wrong, or two letters swapped (the optimal
/// string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    if a.len() > WORD_MAX || b.len() > WORD_MAX {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let mut slips = (rows[i][j] + usize::from(left != right)).min(row[j] + 1).min(rows[i][j + 1] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                slips = slips.min(rows[i - 1][j - 1] + 1);
            }
            row.push(slips);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        let check = |word: &str, known: &[&str], expected: Option<&str>| {
            assert_eq!(nearest(word, known.iter().copied()), expected, "{word}");
        };
        check("wbe", &["web", "db"], Some("web"));
        check("dbb", &["web", "db"], Some("db"));
        check("Web", &["web"], Some("web"));
        check("vhost-user", &["tap", "vhost_user"], Some("vhost_user"));
        check("outside", &["web", "db"], None);
        check("x", &["y"], None);
        check("é", &["è1", "éé"], Some("éé"));
        check(&"a".repeat(1000), &["a"], None);
    }
}
