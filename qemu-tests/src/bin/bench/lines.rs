//! The lines that the programs under measurement print: `NAME: word value word value ...`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use qemu_tests::tools::tethered;
use rustix::process::{Pid, Signal, kill_process};

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
    let process = command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let id = Pid::from_child(&process);
    // Nothing looks at the clock meanwhile: whoever wakes up on a processor under measurement is measured as well.
    let (end, ended) = mpsc::channel();
    std::thread::spawn(move || end.send(process.wait_with_output()));
    let output = ended.recv_timeout(RUN_MAX).unwrap_or_else(|_| {
        let _ = kill_process(id, Signal::KILL);
        panic!("{command:?} did not end within {RUN_MAX:?}");
    });
    let output = output.expect("it is our child");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().filter_map(Line::parse).collect()
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
