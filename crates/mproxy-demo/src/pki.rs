//! A CA of the demo, with a certificate for the proxy and one for a client. Gone when the demo ends.

use std::error::Error;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tempfile::TempDir;

/// A folder with `ca.crt`, `server.crt`, `server.key`, `client.crt` and `client.key`.
#[derive(Debug)]
pub(super) struct Pki(TempDir);

impl Pki {
    /// Makes keys and certificates.
    ///
    /// # Errors
    /// The system has no random numbers, or no folder for files.
    pub(super) fn create() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let dir = TempDir::with_prefix("mproxy-demo-")?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named("mproxy demo CA");
        let key = KeyPair::generate()?;
        fs::write(dir.path().join("ca.crt"), params.self_signed(&key)?.pem())?;
        let ca = Issuer::new(params, key);
        let server = vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ];
        issue(dir.path(), &ca, "server", server)?;
        issue(dir.path(), &ca, "client", Vec::new())?;
        Ok(Self(dir))
    }

    pub(super) fn dir(&self) -> &Path {
        self.0.path()
    }
}

fn issue(
    dir: &Path,
    ca: &Issuer<'_, KeyPair>,
    name: &str,
    names: Vec<SanType>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.distinguished_name = named(name);
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, ca)?;
    fs::write(dir.join(name).with_extension("crt"), cert.pem())?;
    fs::write(dir.join(name).with_extension("key"), key.serialize_pem())?;
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
