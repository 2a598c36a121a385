//! The signatures of X.509: certificates, revocation lists and answers of OCSP are signed in one way.

use rustls::crypto::aws_lc_rs::default_provider;
use x509_parser::asn1_rs::{Any, BitString, FromDer, Sequence};

/// `SEQUENCE { content, algorithm, signature, ... }`, as DER (RFC 5280, section 4.1.1).
pub(super) struct Signed<'a> {
    /// What was signed, with its tag and its length.
    pub(super) bytes: &'a [u8],
    /// What that has in it.
    pub(super) content: &'a [u8],
    /// What stands behind the signature.
    #[cfg_attr(not(feature = "ocsp"), expect(dead_code, reason = "only OCSP has it"))]
    pub(super) behind: &'a [u8],
    /// The content of its AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// `None` if it is something else, or has bytes behind it.
    pub(super) fn of(der: &'a [u8]) -> Option<Self> {
        let (behind, all) = element(der, SEQUENCE)?;
        if !behind.is_empty() {
            return None;
        }
        let (behind, to_be_signed) = element(all.data, SEQUENCE)?;
        let bytes = &all.data[..all.data.len() - behind.len()];
        let (behind, algorithm) = element(behind, SEQUENCE)?;
        let (behind, signature) = element(behind, BIT_STRING)?;
        Some(Self {
            bytes,
            content: to_be_signed.data,
            behind,
            algorithm: algorithm.data,
            // no unused bits
            signature: signature.data.strip_prefix(&[0])?,
        })
    }

    /// Whether this key has made the signature, by an algorithm that certificates may be signed with. The
    /// key is a SubjectPublicKeyInfo, as DER.
    pub(super) fn is_by(&self, key: &[u8]) -> bool {
        self.verified(key).is_some()
    }

    fn verified(&self, key: &[u8]) -> Option<()> {
        let (_, info) = Sequence::from_der(key).ok()?;
        let (behind, algorithm) = Any::from_der(&info.content).ok()?;
        let (_, bits) = BitString::from_der(behind).ok()?;
        let provider = default_provider();
        let all = provider.signature_verification_algorithms.all.iter();
        let mut fitting = all.filter(|it| {
            it.signature_alg_id().as_ref() == self.algorithm
                && it.public_key_alg_id().as_ref() == algorithm.data
        });
        let is_valid = fitting.any(|it| {
            it.verify_signature(&bits.data, self.bytes, self.signature)
                .is_ok()
        });
        is_valid.then_some(())
    }
}

/// The identifier octets of what is read here (X.690, section 8.1.2).
pub(super) const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// The first element, if it begins with this identifier, and what is behind it.
pub(super) fn element(der: &[u8], identifier: u8) -> Option<(&[u8], Any<'_>)> {
    let is_it = der.first() == Some(&identifier);
    is_it.then(|| Any::from_der(der).ok()).flatten()
}
