//! A CA, certificates in files, and both ends of a connection.

use std::{fs, path::PathBuf, sync::Arc};

use mproxy_transport::{
    ClientAuth, Stream, TlsError, TlsIdentity, TlsInfo, TlsServer, TlsServerOptions, accept_tls,
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A CA with its files.
pub(crate) struct Ca {
    pub(crate) dir: TempDir,
    pub(crate) issuer: Issuer<'static, KeyPair>,
    pub(crate) cert: CertificateDer<'static>,
}

/// A certificate of the CA, in files and in memory.
pub(crate) struct Leaf {
    pub(crate) identity: TlsIdentity,
    pub(crate) cert: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
    serial: SerialNumber,
}

impl Ca {
    pub(crate) fn new() -> Self {
        Self::named("test CA")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.crt"), cert.pem()).unwrap();
        Self {
            dir,
            cert: cert.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Issues a certificate for these DNS names and URIs; the first one is its common name, too.
    pub(crate) fn issue(&self, names: &[&str]) -> Leaf {
        self.issue_with(names, |_| {})
    }

    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        self.leaf(names, change, |params, key| {
            params.signed_by(key, &self.issuer).unwrap()
        })
    }

    /// Makes a certificate that nobody but itself has signed.
    pub(crate) fn self_signed(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        self.leaf(names, change, |params, key| {
            params.self_signed(key).unwrap()
        })
    }

    fn leaf(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
        sign: impl FnOnce(&CertificateParams, &KeyPair) -> Certificate,
    ) -> Leaf {
        let mut params = CertificateParams::default();
        for name in names {
            params.subject_alt_names.push(match name.contains("://") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            });
        }
        let distinguished = &mut params.distinguished_name;
        *distinguished = rcgen::DistinguishedName::new();
        distinguished.push(DnType::CommonName, names[0]);
        distinguished.push(DnType::OrganizationName, "Example");
        let serial = SerialNumber::from(fastrand::u64(1..));
        params.serial_number = Some(serial.clone());
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = sign(&params, &key);
        let file = |end: &str| self.path(&format!("{}.{end}", fastrand::u64(..)));
        let identity = TlsIdentity {
            cert: file("crt"),
            key: file("key"),
        };
        fs::write(&identity.cert, cert.pem()).unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        Leaf {
            identity,
            cert: cert.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            serial,
        }
    }

    /// A list that revokes these, as PEM; out of date if that is asked for.
    pub(crate) fn revoke(&self, leaves: &[&Leaf], is_current: bool) -> String {
        let revoked = leaves.iter().map(|leaf| RevokedCertParams {
            serial_number: leaf.serial.clone(),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(if is_current { 2200 } else { 2024 }, 1, 2),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A client that trusts the CA, and has a certificate or none.
    pub(crate) fn client(&self, leaf: Option<&Leaf>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match leaf {
            None => builder.with_no_client_auth(),
            Some(leaf) => builder
                .with_client_auth_cert(vec![leaf.cert.clone()], leaf.key.clone_key())
                .unwrap(),
        }
    }
}

/// What a listener with this certificate offers.
pub(crate) fn options(leaf: &Leaf) -> TlsServerOptions {
    let mut options = TlsServerOptions::default();
    options.certificates.push(leaf.identity.clone());
    options
}

/// The same, for clients with certificates of the CA.
pub(crate) fn mutual(ca: &Ca, leaf: &Leaf) -> TlsServerOptions {
    let mut options = options(leaf);
    options.client_auth = ClientAuth::Require;
    options.client_ca.push(ca.path("ca.crt"));
    options
}

type Accepted = Result<(Stream, TlsInfo), TlsError>;
type Connected = std::io::Result<TlsStream<UnixStream>>;

/// Both ends of a handshake.
pub(crate) async fn shake(
    server: &TlsServer,
    client: impl Into<Arc<ClientConfig>>,
    name: &str,
) -> (Accepted, Connected) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(client.into());
    tokio::join!(
        accept_tls(ours, server, |_| {}),
        connector.connect(name, theirs)
    )
}

/// Both ends of a connection.
pub(crate) async fn connected() -> (Stream, TlsStream<UnixStream>) {
    let ca = Ca::new();
    let leaf = ca.issue(&["broker.test"]);
    let server = TlsServer::load(&options(&leaf)).unwrap();
    let (accepted, connected) = shake(&server, ca.client(None), "broker.test").await;
    (accepted.unwrap().0, connected.unwrap())
}
