//! Reading files that a configuration names.
//!
//! Only regular files are read. Opening a FIFO waits for a writer that may never come, and opening some
//! devices has side effects, so the type is checked before; and again after, because
//! the name may refer to another file by then. Opening itself never waits.

use std::fs::{FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Reads a text of at most `limit` bytes.
///
/// # Errors
/// The file cannot be opened or read, is not a regular file, is larger, or is not UTF-8.
pub(super) fn read_regular(path: &Path, limit: u64) -> io::Result<String> {
    regular(&path.metadata()?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    regular(&file.metadata()?)?;
    read_at_most(file, limit)
}

/// Reads a text of at most `limit` bytes from an open file.
///
/// # Errors
/// It cannot be read, is larger, or is not UTF-8.
pub(super) fn read_at_most(from: impl Read, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    from.take(limit.saturating_add(1))
        .read_to_string(&mut text)?;
    if text.len() as u64 > limit {
        let error = format!("it is larger than {}", bytesize::ByteSize(limit));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
    }
    Ok(text)
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    match other_type(metadata.file_type()) {
        None => Ok(()),
        Some(found) => {
            let error = format!("it is {found}, not a regular file");
            Err(io::Error::new(io::ErrorKind::InvalidInput, error))
        }
    }
}

/// The type of a file that is not a regular one.
fn other_type(kind: FileType) -> Option<&'static str> {
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => Some("a directory"),
        _ if kind.is_fifo() => Some("a FIFO"),
        _ if kind.is_socket() => Some("a socket"),
        _ if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        _ => Some("of an unknown type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_file_may_be_as_large_as_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), "12345");
        let error = read_regular(&path, 4).unwrap_err().to_string();
        assert_eq!(error, "it is larger than 4 B");
        fs::write(&path, [0xff]).unwrap();
        assert!(read_regular(&path, 5).is_err());
    }

    #[test]
    fn what_is_not_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        for (path, found) in [
            (socket.as_path(), "a socket"),
            (folder.path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
        ] {
            let error = read_regular(path, 5).unwrap_err().to_string();
            assert_eq!(error, format!("it is {found}, not a regular file"));
        }
    }
}
