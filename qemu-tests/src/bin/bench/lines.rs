//! The lines that the programs under measurement print: `NAME: word value word value ...`.

use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use qemu_tests::tools::{tethered, wait_until};

/// One line: what stands before the colon, and the numbers behind it, each by the word in front.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What was measured.
    pub name: String,
    words: Vec<String>,
}

impl Line {
    /// Reads a line; `None` if there is no colon in it.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once(':')?;
        Some(Self { name: name.to_owned(), words: rest.split_whitespace().map(str::to_owned).collect() })
    }

    /// The number behind a word.
    pub fn value(&self, word: &str) -> Option<f64> {
        let at = self.words.iter().position(|found| found == word)?;
        self.words.get(at + 1)?.parse().ok()
    }
}

/// How long a program may take: many times what any of them does on a machine with other work.
const RUN_MAX: Duration = Duration::from_secs(600);

/// Runs a program to its end and reads what it prints. What it says on standard error is passed on.
///
/// # Panics
/// If it fails or does not end: a number that is missing must not look like one that was not asked for.
pub fn run(command: &mut Command) -> Vec<Line> {
    let mut output = tempfile::tempfile().expect("a temporary file");
    command.stdout(output.try_clone().expect("a file can be shared"));
    let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut status = None;
    wait_until(RUN_MAX, || {
        status = process.try_wait().expect("it is our child");
        status.is_some()
    });
    if status.is_none() {
        let _ = process.kill();
        let _ = process.wait();
    }
    assert!(status.is_some_and(|status| status.success()), "{command:?}: {status:?}; without a status, it did not end");
    let mut text = String::new();
    output.rewind().and_then(|()| output.read_to_string(&mut text)).expect("the file can be read");
    text.lines().filter_map(Line::parse).collect()
}

/// A program that runs on one processor only.
pub fn pinned(cpu: usize, program: &Path) -> Command {
    let mut command = tethered("taskset");
    command.args(["--cpu-list", &cpu.to_string()]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_the_word_in_front() {
        let line = Line::parse("walk 60 256 16 32: cyc/f med 138 p10 135 p90 150").expect("a line");
        assert_eq!(line.name, "walk 60 256 16 32");
        assert_eq!((line.value("med"), line.value("p90"), line.value("p99")), (Some(138.0), Some(150.0), None));
        assert_eq!(Line::parse("no colon"), None);
    }
}
