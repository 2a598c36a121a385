//! TLS as the clients speak it.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::Endpoint;
use crate::error::{During, Error};

/// What clients trust, and the one kind of handshake that they offer.
///
/// TLS 1.3 with X25519 and AES-256-GCM, and no resumption: every server has the same work. An
/// older OpenSSL has no hybrid with ML-KEM, for one.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Trusts the certificates of a PEM file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, or has something that is no certificate.
    pub fn trusting(file: &Path) -> Result<Self, Error> {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let config = || -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file)? {
                roots.add(certificate?)?;
            }
            let mut config = ClientConfig::builder_with_provider(provider.into())
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.resumption = Resumption::disabled();
            Ok(config)
        };
        let config = config()
            .map_err(io::Error::other)
            .during(format!("trust {}", file.display()))?;
        Ok(Self(config.into()))
    }

    /// A client that knows the server by its IP address; one behind a Unix socket by loopback's.
    pub(crate) fn client(&self, server: &Endpoint) -> io::Result<ClientConnection> {
        let ip = match server {
            Endpoint::Tcp(addr) => addr.ip(),
            Endpoint::Unix(_) => Ipv4Addr::LOCALHOST.into(),
        };
        let name = ServerName::from(ip);
        let mut client =
            ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        // The loads send only to sockets that took everything before.
        client.set_buffer_limit(None);
        Ok(client)
    }
}
