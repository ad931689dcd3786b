//! Reading the files that a configuration names: regular files of a bounded size and nothing else. A named pipe that nobody
//! writes to, a terminal or a device would hold up whoever reads it, and every reload behind it, for good.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read, Take};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Reads a source up to its bound. A file can grow while it is read, so its length at the beginning is no promise: whoever reads
/// beyond the bound gets an error that says so, and never takes the beginning of a longer file for the whole.
#[derive(Debug)]
pub struct Bounded<R> {
    source: Take<R>,
    len_max: u64,
}

impl<R: Read> Bounded<R> {
    /// The first `len_max` bytes of a source, and an error behind them unless it ends there.
    pub fn new(source: R, len_max: u64) -> Self {
        Self { source: source.take(len_max.saturating_add(1)), len_max }
    }

    /// All of it.
    ///
    /// # Errors
    /// It cannot be read, or has more than its bound.
    pub fn read_all(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        // The limit is one byte more than the bound.
        if self.source.limit() == 0 { Err(too_long(self.len_max)) } else { Ok(count) }
    }
}

/// Opens a regular file of at most `len_max` bytes for reading. Symbolic links are followed.
///
/// # Errors
/// There is no such file, it must not be read, or it is something else; the message says what to do.
pub fn open(path: &Path, len_max: u64) -> io::Result<Bounded<File>> {
    // Only a name for it as yet: opening a pipe waits for its writer, and opening some devices does something already. What it
    // turns out to be is opened through that name, so nobody can exchange it in between.
    let place = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    is_fit(&place.metadata()?, len_max)?;
    Ok(Bounded::new(File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))?, len_max))
}

fn is_fit(metadata: &Metadata, len_max: u64) -> io::Result<()> {
    if !metadata.is_file() {
        let kind = kind(metadata.file_type());
        return Err(io::Error::other(format!("it is {kind}; name a regular file, for nothing else is read")));
    }
    if metadata.len() > len_max {
        return Err(too_long(len_max));
    }
    Ok(())
}

fn too_long(len_max: u64) -> io::Error {
    io::Error::other(format!("it has more than {} MiB; split it, or name another file", len_max >> 20))
}

fn kind(of: FileType) -> &'static str {
    if of.is_dir() {
        "a directory"
    } else if of.is_fifo() {
        "a named pipe"
    } else if of.is_socket() {
        "a socket"
    } else if of.is_char_device() || of.is_block_device() {
        "a device"
    } else {
        "no regular file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType as Node, Mode, mknodat};

    /// What opening a path comes to; a test that never ends is one that waits.
    fn fault(path: &Path) -> String {
        open(path, 1 << 20).map_or_else(|error| error.to_string(), |_| "opened".to_owned())
    }

    #[test]
    fn only_regular_files_of_a_fit_size_are_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        mknodat(CWD, at("pipe"), Node::Fifo, Mode::RUSR, 0).expect("a pipe");
        std::os::unix::fs::symlink(at("pipe"), at("link")).expect("a link");
        drop(std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket"));
        std::fs::write(at("good"), "text").expect("written");
        File::create(at("huge")).and_then(|file| file.set_len((1 << 20) + 1)).expect("a hole");
        File::create(at("full")).and_then(|file| file.set_len(1 << 20)).expect("a hole");

        assert_eq!([fault(&at("good")), fault(&at("full"))], ["opened", "opened"]);
        let not_regular = |kind| format!("it is {kind}; name a regular file, for nothing else is read");
        assert_eq!(fault(&at("pipe")), not_regular("a named pipe"));
        assert_eq!(fault(&at("link")), not_regular("a named pipe"));
        assert_eq!(fault(&at("socket")), not_regular("a socket"));
        assert_eq!(fault(dir.path()), not_regular("a directory"));
        assert_eq!(fault(Path::new("/dev/zero")), not_regular("a device"));
        assert_eq!(fault(&at("huge")), "it has more than 1 MiB; split it, or name another file");
        std::fs::set_permissions(at("good"), std::os::unix::fs::PermissionsExt::from_mode(0o0)).expect("ours");
        let is_root = rustix::process::geteuid().is_root();
        assert_eq!(fault(&at("good")).contains("Permission denied"), !is_root);
        assert!(fault(&at("missing")).contains("No such file"));
    }

    #[test]
    fn what_grows_beyond_its_bound_is_not_taken_for_whole() {
        const BOUND: usize = 1 << 20;
        let fault = "it has more than 1 MiB; split it, or name another file";
        let read = |length: usize| Bounded::new(&vec![b'x'; length][..], BOUND as u64).read_all();
        assert_eq!([0, 1, BOUND].map(|length| read(length).expect("whole").len()), [0, 1, BOUND]);
        assert_eq!(read(BOUND + 1).expect_err("too long").to_string(), fault);

        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(BOUND as u64).expect("a hole");
        let mut opened = open(file.path(), BOUND as u64).expect("as long as it may be");
        opened.read_exact(&mut [0; 100]).expect("its beginning");
        file.as_file().set_len(BOUND as u64 + 1).expect("grown");
        assert_eq!(opened.read_all().expect_err("too long").to_string(), fault);
        // Piece by piece too, whoever asks again and again.
        let mut pieces = Bounded::new(io::repeat(0), 10);
        let told = std::iter::repeat_with(|| pieces.read(&mut [0; 4]).is_ok()).take(5).collect::<Vec<_>>();
        assert_eq!(told, [true, true, false, false, false]);
    }
}
