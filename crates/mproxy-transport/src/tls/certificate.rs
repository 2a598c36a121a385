//! The names in a certificate.

use std::fmt;

use x509_parser::{
    extensions::GeneralName,
    prelude::{FromDer, X509Certificate},
};

use super::name::{common_name, text_of};

/// What a certificate says about its owner: trustworthy as far as its issuer is. Of the texts, only the
/// subject and the issuer are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateNames {
    /// The common name (CN) of the subject. `None` also if there are several, because programs differ in
    /// which of them they take, or if it is not a text, or has control characters.
    pub common_name: Option<String>,
    /// The whole subject, as in RFC 4514 and as `openssl x509 -subject -nameopt RFC2253` writes it:
    /// `CN=device-7,O=Example\, Inc`. The order is the reverse of the certificate's. Special characters,
    /// control characters and the bytes of characters outside of ASCII are escaped, so that no two subjects
    /// have the same text.
    pub subject: String,
    /// The issuer, likewise.
    pub issuer: String,
    /// The serial number: hexadecimal digits in pairs with colons between them.
    pub serial: String,
    /// DNS names among the subject's alternative names.
    pub dns_names: Vec<String>,
    /// URIs among them; a SPIFFE id is one.
    pub uris: Vec<String>,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is valid, likewise.
    pub not_after: i64,
}

/// A certificate that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate: {0}")]
pub struct CertificateError(String);

impl CertificateNames {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// It is none.
    pub fn of(der: &[u8]) -> Result<Self, CertificateError> {
        let failed = |error: &dyn fmt::Display| CertificateError(error.to_string());
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| failed(&error))?;
        let alternatives = certificate.subject_alternative_name();
        let alternatives = alternatives.map_err(|error| failed(&error))?;
        let (mut dns_names, mut uris) = (Vec::new(), Vec::new());
        for name in alternatives.iter().flat_map(|it| &it.value.general_names) {
            match name {
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        let validity = certificate.validity();
        Ok(Self {
            common_name: common_name(certificate.subject()),
            subject: text_of(certificate.subject()),
            issuer: text_of(certificate.issuer()),
            serial: certificate.raw_serial_as_string(),
            dns_names,
            uris,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }
}
