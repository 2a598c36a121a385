//! A bound on the certificates that a client sends.
//!
//! webpki looks for a way from the client's certificate to a CA through all that the client has sent. The
//! way has seven certificates at most, but a client could have a hundred signatures checked until there is
//! none. The bytes of all certificates are bounded before, with the message that they come in, and so are
//! keys: aws-lc-rs has no use for RSA keys of more than 8192 bits.
//!
//! What is refused is [noted](refused::note), so that an operator learns whose certificate it was.

use std::{fmt::Debug, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::{
    pinned::{Pinned, Purpose},
    refused,
};

/// The most certificates that a client may send, its own among them: as many as can be between it and a
/// CA, the CA, and two that nobody needs.
pub(super) const MAX_CHAIN: usize = 10;

/// A client sent more certificates than it may.
#[derive(Debug, thiserror::Error)]
#[error("the client sent {0} certificates, {MAX_CHAIN} are allowed")]
pub(super) struct LongChain(usize);

/// A verifier that is only asked about chains that are short enough.
#[derive(Debug)]
pub(super) struct Bounded {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) pinned: Pinned,
    /// Clients are to be looked up in lists, and there is none yet.
    pub(super) knows_nothing: bool,
}

impl Bounded {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let count = 1 + intermediates.len();
        if count > MAX_CHAIN {
            let error = OtherError(Arc::new(LongChain(count)));
            return Err(CertificateError::Other(error).into());
        }
        let verifier = &self.verifier;
        let verified = verifier.verify_client_cert(end_entity, intermediates, now);
        let verified = verified.or_else(|refused| {
            self.pinned
                .accept(refused, end_entity, Purpose::Client, now)?;
            Ok::<_, Error>(ClientCertVerified::assertion())
        })?;
        match self.knows_nothing {
            true => Err(CertificateError::UnknownRevocationStatus.into()),
            false => Ok(verified),
        }
    }
}

impl ClientCertVerifier for Bounded {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verify(end_entity, intermediates, now);
        verified.inspect_err(|_| refused::note(end_entity))
    }

    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.verifier.verify_tls12_signature(message, cert, dss);
        verified.inspect_err(|_| refused::note(cert))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.verifier.verify_tls13_signature(message, cert, dss);
        verified.inspect_err(|_| refused::note(cert))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.verifier.requires_raw_public_keys()
    }
}
