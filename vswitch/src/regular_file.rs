//! Opening the files that a configuration names: regular files of a bounded size and nothing else. A named pipe that nobody
//! writes to, a terminal or a device would hold up whoever reads it, and every reload behind it, for good.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Opens a regular file of at most `len_max` bytes for reading. Symbolic links are followed. A file can grow while it is read, so
/// who reads it stops at the bound too.
///
/// # Errors
/// There is no such file, it must not be read, or it is something else; the message says what to do.
pub fn open(path: &Path, len_max: u64) -> io::Result<File> {
    // Only a name for it as yet: opening a pipe waits for its writer, and opening some devices does something already. What it
    // turns out to be is opened through that name, so nobody can exchange it in between.
    let place = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
    is_fit(&place.metadata()?, len_max)?;
    File::open(format!("/proc/self/fd/{}", place.as_raw_fd()))
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

/// Says that a file is longer than the bound of its kind.
pub fn too_long(len_max: u64) -> io::Error {
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
}
