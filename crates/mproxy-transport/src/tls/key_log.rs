//! The secrets of connections, for those who look at them with Wireshark.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::TlsFileError;

/// A file in the format of `SSLKEYLOGFILE`.
#[derive(Debug)]
pub(super) struct KeyLog(Mutex<File>);

impl KeyLog {
    /// Opens a file that only its owner may read.
    pub(super) fn open(file: &Path) -> Result<Self, TlsFileError> {
        let mut options = OpenOptions::new();
        let opened = options.create(true).append(true).mode(0o600).open(file);
        let opened = opened.map_err(|error| TlsFileError::io(file, &error))?;
        Ok(Self(Mutex::new(opened)))
    }
}

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = format!("{label} ");
        for byte in client_random {
            let _ = write!(line, "{byte:02x}");
        }
        line.push(' ');
        for byte in secret {
            let _ = write!(line, "{byte:02x}");
        }
        line.push('\n');
        // for debugging: a full disk must not end connections
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(line.as_bytes());
    }
}
