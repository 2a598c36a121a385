//! Versions, cipher suites and groups.

use rustls::{
    SupportedProtocolVersion,
    crypto::{
        CryptoProvider,
        aws_lc_rs::{ALL_CIPHER_SUITES, ALL_KX_GROUPS, default_provider},
    },
    version::{TLS12, TLS13},
};

use super::{TlsFileError, TlsSetting, problems::Problems};

/// A version of TLS. Older ones are not safe, and not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    #[default]
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// This version and those after it.
    pub(super) fn and_newer(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &ALL,
            Self::Tls13 => &ALL[..1],
        }
    }
}

/// The library that does the cryptography of TLS, with the version that is linked in: `aws-lc-rs (AWS-LC 5.1.0)`.
#[must_use]
pub fn tls_provider() -> String {
    format!("aws-lc-rs (AWS-LC {})", aws_lc_rs::awslc_version())
}

/// Which algorithms are allowed, most wanted first. An empty list is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Algorithms {
    /// Cipher suites by the names of IANA: `TLS_AES_128_GCM_SHA256`.
    pub ciphers: Vec<String>,
    /// Key exchange groups by the names of IANA: `X25519MLKEM768`, `x25519`, `secp256r1`.
    pub groups: Vec<String>,
}

/// The names of all cipher suites.
fn cipher_names() -> impl Iterator<Item = String> {
    ALL_CIPHER_SUITES.iter().map(|it| cipher_name(it.suite()))
}

/// The names of all key exchange groups.
fn group_names() -> impl Iterator<Item = String> {
    ALL_KX_GROUPS.iter().map(|it| format!("{:?}", it.name()))
}

/// The name of IANA; rustls marks those of TLS 1.3.
pub(super) fn cipher_name(suite: rustls::CipherSuite) -> String {
    let name = format!("{suite:?}");
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name,
    }
}

/// The algorithms that are allowed; all of them in place of names that are unknown.
pub(super) fn provider(algorithms: &Algorithms, problems: &mut Problems) -> CryptoProvider {
    let mut provider = default_provider();
    if !algorithms.ciphers.is_empty() {
        let picked = pick(&algorithms.ciphers, ALL_CIPHER_SUITES, |it| {
            cipher_name(it.suite())
        });
        let picked = picked.map_err(|name| unknown("cipher suite", name, cipher_names()));
        if let Some(picked) = problems.take(TlsSetting::Ciphers, picked) {
            provider.cipher_suites = picked;
        }
    }
    if !algorithms.groups.is_empty() {
        let picked = pick(&algorithms.groups, ALL_KX_GROUPS, |it| {
            format!("{:?}", it.name())
        });
        let picked = picked.map_err(|name| unknown("group", name, group_names()));
        if let Some(picked) = problems.take(TlsSetting::Groups, picked) {
            provider.kx_groups = picked;
        }
    }
    provider
}

fn pick<'a, T: Copy>(
    names: &'a [String],
    all: &[T],
    name_of: impl Fn(&T) -> String,
) -> Result<Vec<T>, &'a str> {
    let found = names.iter().map(|name| {
        let mut all = all.iter();
        let found = all.find(|it| name_of(it).eq_ignore_ascii_case(name));
        found.copied().ok_or(name.as_str())
    });
    found.collect()
}

fn unknown(what: &str, name: &str, all: impl Iterator<Item = String>) -> TlsFileError {
    let all = all.collect::<Vec<_>>().join(", ");
    TlsFileError::general(format_args!("there is no {what} `{name}`; there are {all}"))
}
