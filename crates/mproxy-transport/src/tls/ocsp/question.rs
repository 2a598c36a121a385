//! What a responder is asked.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use x509_cert::{
    der::{
        Decode, Encode,
        asn1::{Null, ObjectIdentifier, OctetString},
    },
    serial_number::SerialNumber,
    spki::AlgorithmIdentifierOwned,
};
use x509_ocsp::{CertId, OcspRequest, Request, TbsRequest, Version};
use x509_parser::prelude::X509Certificate;

use super::OcspError;

/// SHA-1. It protects nothing here, it only names the issuer, and some responders know no other one
/// (RFC 5019, section 2.1.1).
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// Which certificate a question is about: its issuer and its serial number. A key for those who keep answers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OcspCertificate {
    issuer_name: [u8; 20],
    issuer_key: [u8; 20],
    /// The content of its INTEGER.
    serial: Box<[u8]>,
}

/// A question about the certificate of a client, and what is needed to check the answer. Cheap to clone.
///
/// By HTTP, a request has the media type `application/ocsp-request`, and the answer
/// `application/ocsp-response` (RFC 6960, appendix A): the `media_type` and `accept` of a
/// [`Content`](crate::Content) for [`post`](crate::post).
#[derive(Clone, Debug)]
pub struct OcspQuestion {
    certificate: OcspCertificate,
    pub(super) issuer: Arc<Issuer>,
    place: usize,
}

/// The issuer of a certificate.
#[derive(Debug)]
pub(in crate::tls) struct Issuer {
    /// Its subject, as DER.
    pub(super) name: Box<[u8]>,
    /// Its SubjectPublicKeyInfo, as DER.
    pub(super) key: Box<[u8]>,
    /// The hash of its name.
    name_hash: [u8; 20],
    /// The hash of the bits of its key.
    pub(super) key_hash: [u8; 20],
}

impl Issuer {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let (name, key) = (certificate.subject().as_raw(), certificate.public_key());
        Self {
            name: name.into(),
            key: key.raw.into(),
            name_hash: sha1(name),
            key_hash: sha1(&key.subject_public_key.data),
        }
    }
}

impl OcspQuestion {
    pub(super) fn new(
        certificate: &X509Certificate<'_>,
        issuer: Arc<Issuer>,
        place: usize,
    ) -> Result<Self, OcspError> {
        let question = Self {
            certificate: OcspCertificate {
                issuer_name: issuer.name_hash,
                issuer_key: issuer.key_hash,
                serial: certificate.raw_serial().into(),
            },
            issuer,
            place,
        };
        question.cert_id().map(|_| question)
    }

    /// Which certificate it is about.
    pub fn certificate(&self) -> &OcspCertificate {
        &self.certificate
    }

    /// Where the certificate stands in what the client sent: 0 is its own.
    pub fn place(&self) -> usize {
        self.place
    }

    /// The body of a request (RFC 6960, section 4.1): one certificate, not signed, and without a nonce, so
    /// that responders can answer from a cache (RFC 5019, section 2.1).
    ///
    /// # Errors
    /// The certificate cannot be asked about.
    pub fn request(&self) -> Result<Vec<u8>, OcspError> {
        let request = OcspRequest {
            tbs_request: TbsRequest {
                version: Version::V1,
                requestor_name: None,
                request_list: vec![Request {
                    req_cert: self.cert_id()?,
                    single_request_extensions: None,
                }],
                request_extensions: None,
            },
            optional_signature: None,
        };
        request.to_der().map_err(|_| OcspError::Unreadable)
    }

    /// Whether an answer is about this certificate: all four parts of its CertID are the same.
    pub(super) fn is_about(&self, other: &CertId) -> bool {
        // the parameters of the algorithm are NULL, or left out
        self.cert_id().is_ok_and(|own| {
            own.hash_algorithm.oid == other.hash_algorithm.oid
                && own.issuer_name_hash == other.issuer_name_hash
                && own.issuer_key_hash == other.issuer_key_hash
                && own.serial_number == other.serial_number
        })
    }

    fn cert_id(&self) -> Result<CertId, OcspError> {
        let OcspCertificate {
            issuer_name,
            issuer_key,
            serial,
        } = &self.certificate;
        let hash = |hash: &[u8]| OctetString::new(hash).map_err(|_| OcspError::Unreadable);
        let len = u8::try_from(serial.len()).ok().filter(|len| *len < 0x80);
        let integer = [&[0x02, len.ok_or(OcspError::Unreadable)?], &**serial].concat();
        Ok(CertId {
            hash_algorithm: AlgorithmIdentifierOwned {
                oid: SHA1,
                parameters: Some(Null.into()),
            },
            issuer_name_hash: hash(issuer_name)?,
            issuer_key_hash: hash(issuer_key)?,
            serial_number: SerialNumber::from_der(&integer).map_err(|_| OcspError::Unreadable)?,
        })
    }
}

impl fmt::Debug for OcspCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.serial.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

pub(super) fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut hash = [0; 20];
    hash.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    hash
}
