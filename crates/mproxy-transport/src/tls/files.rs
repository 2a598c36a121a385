//! Certificates, keys and lists in files.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::revocation::next_update;

/// Files of TLS that cannot be used: which one, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}{what}", .file.as_ref().map(|file| format!("`{}`: ", file.display())).unwrap_or_default())]
pub struct TlsFileError {
    file: Option<PathBuf>,
    what: String,
}

impl TlsFileError {
    pub(super) fn of(file: &Path, what: impl Display) -> Self {
        Self {
            file: Some(file.to_owned()),
            what: what.to_string(),
        }
    }

    pub(super) fn general(what: impl Display) -> Self {
        Self {
            file: None,
            what: what.to_string(),
        }
    }

    /// The file, if it is about one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// The largest file: a list of a million revoked certificates has about 40 MB.
const MAX_FILE: u64 = 256 << 20;

/// Editors of Windows begin a text with it. A line BEGIN behind it would not be found.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The content of a file, without a byte order mark: none of these files has one that means something.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, TlsFileError> {
    let metadata = fs::metadata(file).map_err(|error| TlsFileError::of(file, error))?;
    if !metadata.is_file() {
        return Err(TlsFileError::of(file, "not a regular file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(TlsFileError::of(file, "larger than 256 MiB"));
    }
    let mut bytes = fs::read(file).map_err(|error| TlsFileError::of(file, error))?;
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

/// The certificates of a PEM file: at least one.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let bytes = read(file)?;
    let all = CertificateDer::pem_slice_iter(&bytes);
    let all = all.collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| TlsFileError::of(file, PemWords(&error)))?;
    match all.is_empty() {
        true => Err(TlsFileError::of(
            file,
            "no certificate in it; a file of PEM with BEGIN CERTIFICATE is expected",
        )),
        false => Ok(all),
    }
}

/// The private key of a PEM file.
pub(super) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let bytes = read(file)?;
    if find(&bytes, b"BEGIN ENCRYPTED PRIVATE KEY") || find(&bytes, b"Proc-Type: 4,ENCRYPTED") {
        let what = "the key is encrypted; decrypt it with `openssl pkey -in FILE -out NEW`";
        return Err(TlsFileError::of(file, what));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsFileError::of(
            file,
            "no private key in it; a file of PEM with BEGIN PRIVATE KEY is expected",
        ),
        error => TlsFileError::of(file, PemWords(&error)),
    })
}

/// The revocation lists of a file, PEM or DER, or of all files of a directory.
pub(super) fn lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFileError> {
    let mut all = Vec::new();
    for file in files(path)? {
        let bytes = read(&file)?;
        let mut of_file = Vec::new();
        if find(&bytes, b"-----BEGIN") {
            for list in CertificateRevocationListDer::pem_slice_iter(&bytes) {
                of_file.push(list.map_err(|error| TlsFileError::of(&file, PemWords(&error)))?);
            }
        } else {
            of_file.push(bytes.into());
        }
        if of_file.is_empty() || !of_file.iter().all(|list| next_update(list).is_some()) {
            let what = "no revocation list in it; BEGIN X509 CRL is expected, or DER; of a directory, every \
                file that is not hidden is read";
            return Err(TlsFileError::of(&file, what));
        }
        all.extend(of_file);
    }
    Ok(all)
}

/// The file itself, or those of a directory, in the order of their names. Hidden ones are left out: they
/// are how Kubernetes and editors swap files.
fn files(path: &Path) -> Result<Vec<PathBuf>, TlsFileError> {
    let failed = |error| TlsFileError::of(path, error);
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_hidden = file
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(TlsFileError::of(path, "the directory has no file")),
        false => Ok(files),
    }
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|it| it == what)
}

/// An error of PEM, without the content of the file, which may be a key.
struct PemWords<'a>(&'a pem::Error);

impl Display for PemWords<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            pem::Error::MissingSectionEnd { .. } => f.write_str("cut off: a line END is missing"),
            pem::Error::IllegalSectionStart { .. } => f.write_str("a line BEGIN is malformed"),
            pem::Error::Base64Decode(_) => {
                f.write_str("what is between BEGIN and END is no base64")
            }
            error => error.fmt(f),
        }
    }
}
