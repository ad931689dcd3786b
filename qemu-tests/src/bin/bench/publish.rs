//! From the results of a run to the tree: `bench/results.txt`, and its table of figures in README.

use std::path::PathBuf;
use std::process::ExitCode;

use qemu_tests::tools::workspace;

/// What stands around the table in README.
const MARKS: [&str; 2] = ["<!-- figures: made by scripts/bench --publish -->\n", "<!-- end of figures -->"];

/// Where a run writes its results.
pub fn measured() -> PathBuf {
    workspace().join("target/bench/results.txt")
}

/// The lines of a text that are a Markdown table.
fn table(results: &str) -> String {
    results.lines().filter(|line| line.starts_with('|')).map(|line| format!("{line}\n")).collect()
}

/// What stands before the first empty line or table: when, of what, where and how.
fn heading(results: &str, what: &str) -> String {
    let found = results.lines().find_map(|line| line.strip_prefix(what));
    found.unwrap_or_default().trim().to_owned()
}

/// README with the table of these results between its marks.
fn with_table(readme: &str, results: &str) -> Option<String> {
    let (before, rest) = readme.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    let [date, commit, machine, load] = ["date", "commit", "machine", "load"].map(|what| heading(results, what));
    let (day, load) = (date.split('T').next().unwrap_or_default(), load.split(' ').next().unwrap_or_default());
    let told =
        format!("Measured on {day} at commit {commit}, on {machine}, with a load average of {load} before it began.");
    Some(format!("{before}{}\n{told}\n\n{}\n{}{after}", MARKS[0], table(results), MARKS[1]))
}

/// Copies the results of the last run into the tree, and puts their table into README.
pub fn publish() -> ExitCode {
    let (from, to, readme) = (measured(), workspace().join("bench/results.txt"), workspace().join("README.md"));
    let Ok(results) = std::fs::read_to_string(&from) else {
        eprintln!("bench: {} is not there: run scripts/bench first", from.display());
        return ExitCode::from(2);
    };
    let text = std::fs::read_to_string(&readme).expect("README.md is there");
    let Some(text) = with_table(&text, &results) else {
        eprintln!("bench: README.md has no line {:?}", MARKS[0].trim_end());
        return ExitCode::from(1);
    };
    std::fs::create_dir_all(to.parent().expect("it has a folder")).expect("the tree can be written");
    std::fs::write(&to, results).expect("the tree can be written");
    std::fs::write(&readme, text).expect("the tree can be written");
    eprintln!("bench: {} and the table in README.md are new", to.display());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readme_shows_the_published_results() {
        let read = |name: &str| std::fs::read_to_string(workspace().join(name)).expect("it is in the tree");
        let readme = read("README.md");
        let expected = with_table(&readme, &read("bench/results.txt")).expect("README has the marks");
        assert_eq!(readme, expected, "scripts/bench --publish writes both");
    }

    #[test]
    fn the_table_is_replaced_and_nothing_else() {
        let readme = format!("# A\n{}old\n{}\nend\n", MARKS[0], MARKS[1]);
        let results =
            "date     2026-01-02T03:04:05Z\ncommit   abc\nmachine  2 x B\nload     0.10 0 0\n| what |\nmore\n";
        let new = with_table(&readme, results).expect("marks");
        assert!(new.starts_with("# A\n") && new.ends_with("\nend\n") && !new.contains("old"), "{new}");
        assert!(new.contains("on 2026-01-02 at commit abc, on 2 x B, with a load average of 0.10"), "{new}");
        assert_eq!(with_table(&new, results), Some(new.clone()));
        assert_eq!(with_table("no marks", results), None);
    }
}
