//! Revocation lists that were fetched: checked before anybody relies on them.
//!
//! webpki checks the signature of a list too, each time that it looks into it. But then a list from
//! somebody else refuses every client; here it is refused itself, and the one before it stays in use.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use x509_parser::{
    asn1_rs::{Any, FromDer, Tag},
    prelude::{ParsedExtension, X509Certificate, X509Extension},
    time::ASN1Time,
    x509::X509Name,
};

use super::{
    TlsFileError,
    files::{certificates, find},
    name::text_of,
    signature::Signed,
};

/// A list of revoked certificates that its issuer has signed and that is in force. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Arc<[u8]>,
    this_update: i64,
    next_update: i64,
}

/// Why a list is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// It is something else.
    #[error("not a revocation list, neither PEM nor DER")]
    NotAList,
    /// More than one in PEM.
    #[error("more than one revocation list")]
    Several,
    /// No trusted CA has the name of its issuer.
    #[error("issued by `{0}`, which is not among the CAs of clients")]
    UnknownIssuer(String),
    /// The CA whose name it has did not sign it.
    #[error("not signed by `{0}`, whose name it has")]
    BadSignature(String),
    /// It is out of date: when it should have been replaced, in seconds since 1970.
    #[error("expired: a newer one was to be there {0} s ago")]
    Expired(i64),
    /// It is from the future.
    #[error("not valid yet, for {0} s; check the clocks of both sides")]
    NotYetValid(i64),
    /// It cannot be used for checks.
    #[error("it cannot be used: {0}")]
    Unusable(String),
    /// The CAs of clients cannot be read.
    #[error(transparent)]
    Issuers(#[from] TlsFileError),
}

impl RevocationList {
    /// Whether a list of at most `max` bytes may begin so; `is_all` if there is no more of it yet. What does not
    /// is none, however it goes on: DER has the length of the list in its first bytes, and before a list in PEM
    /// there is nothing but text.
    pub fn may_begin_with(first: &[u8], is_all: bool, max: usize) -> bool {
        match first {
            [] => true,
            [SEQUENCE, behind @ ..] => may_be_der(behind, max),
            text => {
                let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
                text.iter().all(is_text) && (is_all || find(text, b"-----BEGIN"))
            }
        }
    }

    /// The bytes of the list, in DER.
    pub fn size(&self) -> usize {
        self.der.len()
    }

    /// Checks a list, PEM or DER: one of the certificates in `client_ca` has issued it, and it is in
    /// force. Blocks.
    ///
    /// # Errors
    /// It is not to be used.
    pub fn check(
        bytes: Vec<u8>,
        client_ca: &[PathBuf],
        now: SystemTime,
    ) -> Result<Self, ListError> {
        let der = single(bytes)?;
        let head = Head::of(&der).ok_or(ListError::NotAList)?;
        let mut roots = Vec::new();
        for file in client_ca {
            roots.extend(certificates(file)?);
        }
        head.is_signed_by(&roots)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if head.next_update <= now {
            return Err(ListError::Expired(now.saturating_sub(head.next_update)));
        }
        if head.this_update > now.saturating_add(CLOCK_SKEW) {
            return Err(ListError::NotYetValid(head.this_update.saturating_sub(now)));
        }
        is_usable(&der, roots)?;
        Ok(Self {
            this_update: head.this_update,
            next_update: head.next_update,
            der: der.into(),
        })
    }

    /// When it was made, in seconds since 1970.
    pub fn this_update(&self) -> i64 {
        self.this_update
    }

    /// Until when it is in force, likewise.
    pub fn next_update(&self) -> i64 {
        self.next_update
    }

    pub(super) fn der(&self) -> CertificateRevocationListDer<'static> {
        self.der.to_vec().into()
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("len", &self.der.len())
            .field("this_update", &self.this_update)
            .field("next_update", &self.next_update)
            .finish_non_exhaustive()
    }
}

/// The only list in these bytes, as DER.
fn single(bytes: Vec<u8>) -> Result<Vec<u8>, ListError> {
    if !find(&bytes, b"-----BEGIN") {
        return Ok(bytes);
    }
    let mut lists = CertificateRevocationListDer::pem_slice_iter(&bytes);
    match (lists.next(), lists.next()) {
        (Some(Ok(list)), None) => Ok(list.as_ref().to_vec()),
        (Some(Ok(_)), Some(_)) => Err(ListError::Several),
        _ => Err(ListError::NotAList),
    }
}

/// Whether this is what stands behind the tag of a list in DER, as far as it has come: its length, and the
/// sequence of what is signed (RFC 5280, section 5.1).
fn may_be_der(behind: &[u8], max: usize) -> bool {
    let Some((&first, rest)) = behind.split_first() else {
        return true;
    };
    let digits = match first {
        ..LONG => 0,
        _ => usize::from(first - LONG),
    };
    if digits > 4 || (digits == 0 && first >= LONG) {
        return false;
    }
    let Some((length, content)) = rest.split_at_checked(digits) else {
        return true;
    };
    let length = match digits {
        0 => usize::from(first),
        _ => length
            .iter()
            .fold(0, |all, byte| all << 8 | usize::from(*byte)),
    };
    let total = 2 + digits + length;
    total <= max && behind.len() < total && content.first().is_none_or(|tag| *tag == SEQUENCE)
}

/// A list as far as its first entry: there may be a million behind it, which nobody needs here.
struct Head<'a> {
    issuer: X509Name<'a>,
    this_update: i64,
    next_update: i64,
    signed: Signed<'a>,
    /// The entries and the extensions.
    rest: &'a [u8],
}

/// When a list in DER was made, and when it expires, in seconds since 1970; `None` if it is no list, or does
/// not say so, which makes it useless (RFC 5280, section 5.1.2.5).
pub(super) fn updates(der: &[u8]) -> Option<Updates> {
    let Head {
        this_update,
        next_update,
        ..
    } = Head::of(der)?;
    Some(Updates {
        next_update,
        this_update,
    })
}

/// When a list in DER was made, and its number, big-endian: of two lists of an issuer, the greater one is newer. Lists of
/// the same second differ in their numbers (RFC 5280, section 5.2.3).
pub(super) fn age(der: &[u8]) -> Option<(i64, usize, Vec<u8>)> {
    let Head {
        this_update, rest, ..
    } = Head::of(der)?;
    let number = number(rest).unwrap_or_default();
    Some((this_update, number.len(), number))
}

/// The number of a list, of which this is what stands behind its times.
fn number(behind_times: &[u8]) -> Option<Vec<u8>> {
    let mut rest = behind_times;
    while !rest.is_empty() {
        let (behind, part) = Any::from_der(rest).ok()?;
        rest = behind;
        // the entries are a sequence, the extensions are [0]
        if part.tag() != Tag(0) {
            continue;
        }
        let (_, all) = Any::from_der(part.data).ok()?;
        let mut left = all.data;
        while !left.is_empty() {
            let (behind, extension) = X509Extension::from_der(left).ok()?;
            if let ParsedExtension::CRLNumber(number) = extension.parsed_extension() {
                return Some(number.to_bytes_be());
            }
            left = behind;
        }
    }
    None
}

/// From when to when a list is valid. The one that expires first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Updates {
    pub(super) next_update: i64,
    pub(super) this_update: i64,
}

/// Whether a list in DER with the name of this issuer is signed by this key, a SubjectPublicKeyInfo; `None` if
/// it has another name.
pub(super) fn is_from(der: &[u8], issuer: &[u8], key: &[u8]) -> Option<bool> {
    let head = Head::of(der)?;
    (head.issuer.as_raw() == issuer).then(|| head.signed.is_by(key))
}

impl<'a> Head<'a> {
    fn of(der: &'a [u8]) -> Option<Self> {
        let signed = Signed::of(der)?;
        let (mut rest, first) = Any::from_der(signed.content).ok()?;
        if first.tag() == Tag::Integer {
            // the version; the algorithm once more is behind it
            (rest, _) = Any::from_der(rest).ok()?;
        }
        let (rest, issuer) = X509Name::from_der(rest).ok()?;
        let (rest, this_update) = ASN1Time::from_der(rest).ok()?;
        let (rest, next_update) = ASN1Time::from_der(rest).ok()?;
        Some(Self {
            issuer,
            this_update: this_update.timestamp(),
            next_update: next_update.timestamp(),
            signed,
            rest,
        })
    }

    fn is_signed_by(&self, roots: &[CertificateDer<'_>]) -> Result<(), ListError> {
        let parsed = roots.iter();
        let parsed = parsed.filter_map(|root| Some(X509Certificate::from_der(root).ok()?.1));
        let named: Vec<_> = parsed
            .filter(|root| root.subject().as_raw() == self.issuer.as_raw())
            .collect();
        let name = || text_of(&self.issuer);
        if named.is_empty() {
            return Err(ListError::UnknownIssuer(name()));
        }
        let mut keys = named.iter().map(|root| root.public_key().raw);
        match keys.any(|key| self.signed.is_by(key)) {
            true => Ok(()),
            false => Err(ListError::BadSignature(name())),
        }
    }
}

/// A listener could be set up with the list.
pub(super) fn is_usable(der: &[u8], roots: Vec<CertificateDer<'static>>) -> Result<(), ListError> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots);
    let list = CertificateRevocationListDer::from(der.to_vec());
    let built =
        WebPkiClientVerifier::builder_with_provider(store.into(), Arc::new(default_provider()));
    let built = built.with_crls([list]).build();
    built
        .map(drop)
        .map_err(|error| ListError::Unusable(error.to_string()))
}

/// The tag of a sequence in DER.
const SEQUENCE: u8 = 0x30;

/// From here on, a length in DER says how many bytes of length follow.
const LONG: u8 = 0x80;

/// How far the clocks of the issuer and of this machine may be apart, in seconds.
pub(super) const CLOCK_SKEW: i64 = 300;
