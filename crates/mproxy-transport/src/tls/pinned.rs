//! Certificates that are trusted as they are.
//!
//! `openssl req -x509` makes self-signed certificates that say CA:TRUE, and webpki refuses any such one as a
//! certificate of a peer. Where an operator names the very certificate as trusted, other TLS libraries accept
//! it, and so does this one: there is nobody else to be trusted for it.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A peer shows the certificate of a CA as its own.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is that of a CA (basicConstraints CA:TRUE)")]
pub(super) struct CaAsPeer;

/// The certificates that are trusted as they are. None, if peers are looked up in revocation lists: none could
/// revoke such a certificate.
#[derive(Debug, Clone, Default)]
pub(super) struct Pinned(Arc<[CertificateDer<'static>]>);

impl Pinned {
    pub(super) fn new(roots: &[CertificateDer<'static>]) -> Self {
        Self(roots.into())
    }

    /// Accepts a certificate that was refused for being that of a CA, if it is trusted as it is.
    ///
    /// # Errors
    /// Why it was refused, or that it is not valid now, or not for this.
    pub(super) fn accept(
        &self,
        refused: Error,
        shown: &CertificateDer<'_>,
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<(), Error> {
        if !is_about_ca(&refused) {
            return Err(refused);
        }
        if !self.0.iter().any(|it| it == shown) {
            return Err(CertificateError::Other(OtherError(Arc::new(CaAsPeer))).into());
        }
        valid(shown, purpose, now)
    }
}

/// What a peer uses its certificate for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Client,
    Server,
}

fn is_about_ca(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    let cause = other.0.downcast_ref();
    matches!(cause, Some(webpki::Error::CaUsedAsEndEntity))
}

/// What webpki would have checked, too: it stops at CA:TRUE.
fn valid(shown: &CertificateDer<'_>, purpose: Purpose, now: UnixTime) -> Result<(), Error> {
    let (_, shown) = X509Certificate::from_der(shown).map_err(|_| CertificateError::BadEncoding)?;
    let usages = shown.extended_key_usage();
    let usages = usages.map_err(|_| CertificateError::BadEncoding)?;
    let is_for_it = usages.is_none_or(|it| match purpose {
        Purpose::Client => it.value.client_auth,
        Purpose::Server => it.value.server_auth,
    });
    if !is_for_it {
        return Err(CertificateError::InvalidPurpose.into());
    }
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = shown.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    match now > validity.not_after.timestamp() {
        true => Err(CertificateError::Expired.into()),
        false => Ok(()),
    }
}

/// A verifier of brokers that also accepts certificates that are trusted as they are.
#[derive(Debug)]
pub(super) struct Brokers {
    pub(super) verifier: Arc<WebPkiServerVerifier>,
    pub(super) pinned: Pinned,
}

impl ServerCertVerifier for Brokers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        verified.or_else(|refused| {
            self.pinned
                .accept(refused, end_entity, Purpose::Server, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            Ok(ServerCertVerified::assertion())
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.verifier.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.verifier.root_hint_subjects()
    }
}
