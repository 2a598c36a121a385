//! The certificate that all peers with TLS show, and the clients trust.

use std::io;
use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::rig::write;
use crate::error::{During, Error};
use crate::net::Tls;

/// Files of a self-signed certificate for loopback, with a P-256 key.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) cert: String,
    pub(super) key: String,
    /// Certificate and key in one file, as HAProxy wants it.
    pub(super) both: String,
    pub(super) trust: Tls,
}

impl Identity {
    pub(super) fn generate(dir: &Path) -> Result<Self, Error> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()])
                .map_err(io::Error::other)
                .during("make a certificate")?;
        let (pem, key) = (cert.pem(), signing_key.serialize_pem());
        let cert = write(dir, "tls.crt", &pem)?;
        Ok(Self {
            trust: Tls::trusting(cert.as_ref())?,
            cert,
            both: write(dir, "tls.pem", &format!("{pem}{key}"))?,
            key: write(dir, "tls.key", &key)?,
        })
    }
}
