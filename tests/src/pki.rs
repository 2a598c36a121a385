//! A CA, and certificates in files.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use tempfile::TempDir;

/// A CA whose certificates are in a folder: `ca.crt`, and `NAME.crt` with `NAME.key`.
#[derive(Debug)]
pub struct Pki {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// A new CA.
    ///
    /// # Panics
    /// If no file can be written.
    #[must_use]
    pub fn new() -> Self {
        Self::named("test CA")
    }

    /// A new CA with this common name.
    ///
    /// # Panics
    /// If no file can be written.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named(name);
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params.self_signed(&key).expect("it can be signed");
        let dir = TempDir::new().expect("a temporary folder can be made");
        fs::write(dir.path().join("ca.crt"), cert.pem()).expect("the temporary folder is ours");
        Self {
            dir,
            issuer: Issuer::new(params, key),
        }
    }

    /// Where the files are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of a file, for a configuration or a command line.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Issues the certificate of a server at 127.0.0.1 with this serial number, as `NAME.crt` and
    /// `NAME.key`. Returns both paths.
    ///
    /// # Panics
    /// If no file can be written.
    pub fn server(&self, name: &str, serial: u64) -> [PathBuf; 2] {
        let names = vec![
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::DnsName("localhost".try_into().expect("a name")),
        ];
        self.issue(name, name, names, serial)
    }

    /// Issues the certificate of a client, with a SPIFFE id that ends in its name.
    ///
    /// # Panics
    /// If no file can be written.
    pub fn client(&self, name: &str, serial: u64) -> [PathBuf; 2] {
        let id = format!("spiffe://example.org/{name}");
        let names = vec![SanType::URI(id.as_str().try_into().expect("a URI"))];
        self.issue(name, name, names, serial)
    }

    /// Issues the certificate of a client with a common name that is no file name.
    ///
    /// # Panics
    /// If no file can be written.
    pub fn client_named(&self, file: &str, common_name: &str, serial: u64) -> [PathBuf; 2] {
        self.issue(file, common_name, Vec::new(), serial)
    }

    /// Issues the certificate of a client that is special in some way.
    ///
    /// # Panics
    /// If no file can be written.
    pub fn client_with(
        &self,
        name: &str,
        serial: u64,
        change: impl FnOnce(&mut CertificateParams),
    ) -> [PathBuf; 2] {
        let mut params = params(name, serial);
        change(&mut params);
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params.signed_by(&key, &self.issuer);
        self.write(name, &cert.expect("it can be signed"), &key)
    }

    /// Makes the certificate of a client that nobody but itself has signed.
    ///
    /// # Panics
    /// If no file can be written.
    pub fn self_signed(&self, name: &str) -> [PathBuf; 2] {
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params(name, 1).self_signed(&key);
        self.write(name, &cert.expect("it can be signed"), &key)
    }

    fn issue(&self, file: &str, name: &str, names: Vec<SanType>, serial: u64) -> [PathBuf; 2] {
        let mut params = params(name, serial);
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key can be made");
        let cert = params.signed_by(&key, &self.issuer);
        self.write(file, &cert.expect("it can be signed"), &key)
    }

    fn write(&self, file: &str, cert: &Certificate, key: &KeyPair) -> [PathBuf; 2] {
        let files = ["crt", "key"].map(|end| self.dir.path().join(format!("{file}.{end}")));
        fs::write(&files[0], cert.pem()).expect("the temporary folder is ours");
        fs::write(&files[1], key.serialize_pem()).expect("the temporary folder is ours");
        files
    }

    /// Writes the list of revoked certificates, `ca.crl`: those with these serial numbers.
    ///
    /// # Panics
    /// If no file can be written.
    pub fn revoke(&self, serials: &[u64]) {
        let text = self.list(serials, [2024, 2200]).pem();
        // as programs write files that others read
        let new = self.dir.path().join("ca.crl.new");
        let text = text.expect("it can be written");
        fs::write(&new, text).expect("the temporary folder is ours");
        fs::rename(new, self.dir.path().join("ca.crl")).expect("the temporary folder is ours");
    }

    /// A list of revoked certificates, which is valid from the first day of one year to that of another.
    ///
    /// # Panics
    /// If it cannot be signed.
    #[must_use]
    pub fn list(&self, serials: &[u64], [from, to]: [i32; 2]) -> CertificateRevocationList {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(from, 1, 1),
            next_update: date_time_ymd(to, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("it can be signed")
    }
}

fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
