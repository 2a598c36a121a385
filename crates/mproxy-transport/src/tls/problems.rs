//! What is wrong with files and settings of TLS: all of it, each with the setting that it is about.

use std::{
    error::Error,
    fmt::{self, Display},
    io,
    path::{Path, PathBuf},
};

/// A setting that an error is about: a field of [`TlsServerOptions`](super::TlsServerOptions) or
/// [`TlsClientOptions`](super::TlsClientOptions). Of a list, with the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum TlsSetting {
    /// More than one, or none.
    #[default]
    Any,
    /// `cert` of one of the certificates, or of the only one.
    Cert(usize),
    /// `key`, likewise.
    Key(usize),
    /// One of the files with CAs.
    Ca(usize),
    /// One of the files or directories with revocation lists.
    RevocationLists(usize),
    /// Cipher suites.
    Ciphers,
    /// Key exchange groups.
    Groups,
    /// One of the names of protocols (ALPN).
    Alpn(usize),
    /// The file with keys of session tickets.
    TicketKeys,
    /// The file for secrets of connections.
    KeyLog,
    /// The name that the broker's certificate must have.
    ServerName,
}

/// A file or a setting of TLS that cannot be used: which one, and why.
#[derive(Debug)]
pub struct TlsFileError {
    setting: TlsSetting,
    file: Option<PathBuf>,
    what: String,
    io: Option<io::ErrorKind>,
}

/// All that is wrong with the files and settings of one side of TLS: at least one error.
#[derive(Debug)]
pub struct TlsFileErrors(Vec<TlsFileError>);

// ===== impl TlsFileError =====

impl TlsFileError {
    pub(super) fn of(file: &Path, what: impl Display) -> Self {
        Self {
            file: Some(file.to_owned()),
            ..Self::general(what)
        }
    }

    /// A file that cannot be read.
    pub(super) fn io(file: &Path, error: &io::Error) -> Self {
        Self {
            io: Some(error.kind()),
            ..Self::of(file, error)
        }
    }

    pub(super) fn general(what: impl Display) -> Self {
        Self {
            setting: TlsSetting::Any,
            file: None,
            what: what.to_string(),
            io: None,
        }
    }

    /// Says which setting it is about, if nobody has.
    pub(super) fn about(mut self, setting: TlsSetting) -> Self {
        if self.setting == TlsSetting::Any {
            self.setting = setting;
        }
        self
    }

    /// The setting that is to be changed, or whose file is.
    pub fn setting(&self) -> TlsSetting {
        self.setting
    }

    /// The file, if it is about one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Why the file cannot be read, if that is what is wrong.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.io
    }
}

impl Display for TlsFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "`{}`: ", file.display())?;
        }
        f.write_str(&self.what)
    }
}

impl Error for TlsFileError {}

// ===== impl TlsFileErrors =====

impl TlsFileErrors {
    /// The errors: those of files in the order of the options.
    pub fn iter(&self) -> std::slice::Iter<'_, TlsFileError> {
        self.0.iter()
    }
}

impl Display for TlsFileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{error}")?;
        }
        Ok(())
    }
}

impl Error for TlsFileErrors {}

impl From<TlsFileError> for TlsFileErrors {
    fn from(error: TlsFileError) -> Self {
        Self(vec![error])
    }
}

impl<'a> IntoIterator for &'a TlsFileErrors {
    type Item = &'a TlsFileError;
    type IntoIter = std::slice::Iter<'a, TlsFileError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<TlsFileError>);

impl Problems {
    pub(super) fn push(&mut self, setting: TlsSetting, error: TlsFileError) {
        self.0.push(error.about(setting));
    }

    /// What there is, or `None` and an error more.
    pub(super) fn take<T>(
        &mut self,
        setting: TlsSetting,
        result: Result<T, TlsFileError>,
    ) -> Option<T> {
        result.map_err(|error| self.push(setting, error)).ok()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// # Errors
    /// Something is wrong.
    pub(super) fn none(self) -> Result<(), TlsFileErrors> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(TlsFileErrors(self.0)),
        }
    }
}
