//! Certificates, keys and lists in files.

use std::{
    cmp::Reverse,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use super::{
    TlsFileError, TlsSetting,
    problems::Problems,
    revocation::{RevocationList, Updates, age, is_usable, updates},
    unlisted::{UnlistedCa, unlisted},
};

/// A file with revocation lists that are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationFile {
    /// Its path. Of a directory of the options, it is one of the files in it.
    pub file: PathBuf,
    /// Which of the options names it.
    pub setting: TlsSetting,
    /// When the first of its lists expires, in seconds since 1970.
    pub next_update: i64,
    /// When that list was made, likewise.
    pub this_update: i64,
}

/// What files of revocation lists have.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) ders: Vec<CertificateRevocationListDer<'static>>,
    pub(super) files: Vec<RevocationFile>,
}

/// The certificates of CAs.
#[derive(Debug, Default)]
pub(super) struct Roots {
    pub(super) ders: Vec<CertificateDer<'static>>,
    /// Which of the options names the file of each.
    settings: Vec<TlsSetting>,
}

/// The largest file: a list of a million revoked certificates has about 40 MB.
const MAX_FILE: u64 = 256 << 20;

/// Editors of Windows begin a text with it. A line BEGIN behind it would not be found.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The content of a file, without a byte order mark: none of these files has one that means something.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, TlsFileError> {
    let metadata = fs::metadata(file).map_err(|error| TlsFileError::io(file, &error))?;
    if !metadata.is_file() {
        return Err(TlsFileError::of(file, "not a regular file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(TlsFileError::of(file, "larger than 256 MiB"));
    }
    let mut bytes = fs::read(file).map_err(|error| TlsFileError::io(file, &error))?;
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

/// The certificates of the CAs in these files.
pub(super) fn roots(files: &[PathBuf], problems: &mut Problems) -> Roots {
    let mut roots = Roots::default();
    for (index, file) in files.iter().enumerate() {
        let setting = TlsSetting::Ca(index);
        for root in problems
            .take(setting, certificates(file))
            .unwrap_or_default()
        {
            match RootCertStore::empty().add(root.clone()) {
                Ok(()) => {
                    roots.ders.push(root);
                    roots.settings.push(setting);
                }
                Err(error) => {
                    let what = format_args!("not the certificate of a CA: {error}");
                    problems.push(setting, TlsFileError::of(file, what));
                }
            }
        }
    }
    roots
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

impl Roots {
    /// Those without a list among these.
    pub(super) fn unlisted(&self, lists: &Lists) -> Vec<UnlistedCa> {
        let settings = self.settings.iter().copied();
        unlisted(settings.zip(&self.ders), &lists.ders)
    }
}

impl Lists {
    /// Reads revocation lists, files, PEM or DER, or all files of directories, beside `fetched` ones.
    ///
    /// The newest list of each issuer counts: it replaces those before it (RFC 5280, section 5), and webpki looks at the
    /// first list of an issuer, and at no other.
    pub(super) fn load(
        paths: &[PathBuf],
        fetched: &[Option<RevocationList>],
        problems: &mut Problems,
    ) -> Self {
        let mut lists = Self {
            ders: fetched.iter().flatten().map(RevocationList::der).collect(),
            files: Vec::new(),
        };
        for (index, path) in paths.iter().enumerate() {
            let setting = TlsSetting::RevocationLists(index);
            for file in problems.take(setting, files(path)).unwrap_or_default() {
                if let Some((ders, updates)) = problems.take(setting, lists_of(&file)) {
                    lists.ders.extend(ders);
                    lists.files.push(RevocationFile {
                        file,
                        setting,
                        next_update: updates.next_update,
                        this_update: updates.this_update,
                    });
                }
            }
        }
        lists.ders.sort_by_cached_key(|der| Reverse(age(der)));
        lists
    }

    /// Finds the files whose lists nobody can be verified with. Only after a failure: it reads them again.
    pub(super) fn unusable(&self, roots: &[CertificateDer<'static>], problems: &mut Problems) {
        for RevocationFile { file, setting, .. } in &self.files {
            let Some((lists, _)) = problems.take(*setting, lists_of(file)) else {
                continue;
            };
            let mut bad = lists.iter();
            if let Some(error) = bad.find_map(|list| is_usable(list, roots.to_vec()).err()) {
                problems.push(*setting, TlsFileError::of(file, error));
            }
        }
    }
}

/// The revocation lists of a file, at least one, and how long the one is valid that expires first.
fn lists_of(
    file: &Path,
) -> Result<(Vec<CertificateRevocationListDer<'static>>, Updates), TlsFileError> {
    let bytes = read(file)?;
    let mut all = Vec::new();
    if find(&bytes, b"-----BEGIN") {
        for list in CertificateRevocationListDer::pem_slice_iter(&bytes) {
            all.push(list.map_err(|error| TlsFileError::of(file, PemWords(&error)))?);
        }
    } else {
        all.push(bytes.into());
    }
    let valid = all.iter().map(|list| updates(list));
    // one without a time is none, and comes before all others
    match valid.min().flatten() {
        Some(first) => Ok((all, first)),
        None => {
            let what = "no revocation list in it; BEGIN X509 CRL is expected, or DER; of a directory, every \
                file that is not hidden is read";
            Err(TlsFileError::of(file, what))
        }
    }
}

/// The file itself, or those of a directory, in the order of their names. Hidden ones are left out: they
/// are how Kubernetes and editors swap files.
fn files(path: &Path) -> Result<Vec<PathBuf>, TlsFileError> {
    let failed = |error| TlsFileError::io(path, &error);
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
