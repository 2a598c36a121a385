//! A certificate and its key, in files.

use std::path::PathBuf;

use rustls::{crypto::CryptoProvider, pki_types::CertificateDer, sign::CertifiedKey};

use super::{
    CertificateNames, TlsFileError, TlsSetting,
    files::{certificates, key},
    problems::Problems,
};

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// A PEM file: the certificate, and behind it those between it and the CA.
    pub cert: PathBuf,
    /// A PEM file with the private key, not encrypted.
    pub key: PathBuf,
}

impl TlsIdentity {
    /// Reads both files, of which the key must be that of the certificate. `index` is its place in the
    /// options.
    pub(super) fn load(
        &self,
        index: usize,
        provider: &CryptoProvider,
        problems: &mut Problems,
    ) -> Option<(CertifiedKey, CertificateNames)> {
        let chain = problems.take(TlsSetting::Cert(index), certificates(&self.cert));
        let key = problems.take(TlsSetting::Key(index), key(&self.key));
        let chain = chain?;
        let names = CertificateNames::of(chain.first()?);
        let names = names.map_err(|error| TlsFileError::of(&self.cert, error));
        let names = problems.take(TlsSetting::Cert(index), names);
        let key = key?;
        let with = |chain| CertifiedKey::from_der(chain, key.clone_key(), provider);
        let certified = match with(chain.clone()) {
            Ok(certified) => certified,
            Err(error) => {
                let is_of = |other| with(vec![other]).is_ok();
                let error = self.mismatch(&error, chain, is_of);
                problems.push(TlsSetting::Key(index), error);
                return None;
            }
        };
        Some((certified, names?))
    }

    /// Why certificate and key do not fit.
    fn mismatch(
        &self,
        error: &rustls::Error,
        chain: Vec<CertificateDer<'static>>,
        is_of: impl Fn(CertificateDer<'static>) -> bool,
    ) -> TlsFileError {
        if !matches!(error, rustls::Error::InconsistentKeys(_)) {
            return TlsFileError::of(&self.key, error);
        }
        match chain.into_iter().skip(1).any(is_of) {
            true => TlsFileError::of(
                &self.cert,
                "its certificates are in the wrong order: that of the key must come first, then the one that \
                 has issued it",
            ),
            false => TlsFileError::of(
                &self.key,
                format_args!(
                    "not the key of the certificate in `{}`; if both are being replaced, wait \
                     until the second one is there",
                    self.cert.display()
                ),
            ),
        }
    }
}
