//! Files with lists of hashes, read line by line: they may be larger than what is made of them.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use inspect::file_hashes::HashListBuilder;
use inspect::limits::HASH_LINE_BYTES_MAX;

use crate::regular_file;

/// Bytes of one file at most: several times what as many hashes as all lists may have together take.
pub const FILE_LEN_MAX: u64 = 4 << 30;

/// Lines of one file that are told to be wrong one by one.
pub const FAULTS_TOLD_MAX: usize = 10;

/// Reads a file's lines into a list, until the end or one fault more than is told. Faults come with their line's number, from 1.
///
/// # Errors
/// The file cannot be read, is no regular file, or has more than [`FILE_LEN_MAX`] bytes.
pub fn read_file(path: &Path, list: &mut HashListBuilder, faults: &mut Vec<(u64, String)>) -> io::Result<()> {
    read_lines(BufReader::with_capacity(1 << 18, regular_file::open(path, FILE_LEN_MAX)?), list, faults)
}

fn read_lines(
    mut file: impl BufRead,
    builder: &mut HashListBuilder,
    faults: &mut Vec<(u64, String)>,
) -> io::Result<()> {
    let mut line = Vec::new();
    let mut number = 0;
    while faults.len() <= FAULTS_TOLD_MAX {
        number += 1;
        line.clear();
        // A line of any length, as a wrong file has, takes no more memory than the longest that is right.
        (&mut file).take(HASH_LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        if let Err(fault) = builder.line(line.strip_suffix(b"\n").unwrap_or(&line)) {
            faults.push((number, fault.to_string()));
            if !line.ends_with(b"\n") {
                // What follows are not lines.
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use inspect::file_hashes::ListAction;

    #[test]
    fn lines_are_counted_and_faults_are_bounded() {
        let read = |text: &str| {
            let mut builder = HashListBuilder::new("x", ListAction::Drop);
            let mut faults = Vec::new();
            read_lines(text.as_bytes(), &mut builder, &mut faults).unwrap();
            (builder.len(), faults.into_iter().map(|(line, _)| line).collect::<Vec<_>>())
        };
        let hash = "a".repeat(64);
        assert_eq!(read(&format!("# {hash}\n\n{hash}  x\r\nnonsense\n{hash}")), (2, vec![4]));
        assert_eq!(read(""), (0, vec![]));
        let many = read(&"x\n".repeat(1000)).1;
        assert_eq!(many, (1..=FAULTS_TOLD_MAX as u64 + 1).collect::<Vec<_>>());
        assert_eq!(read(&"x".repeat(1 << 20)).1, [1]);
        assert_eq!(read(&format!("{hash} {}\n{hash}", "x".repeat(HASH_LINE_BYTES_MAX - 65))), (2, vec![]));
    }
}
