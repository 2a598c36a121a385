//! Bounds on the certificates that clients send.

use std::{sync::Arc, time::Instant};

use mproxy_transport::{TlsCause, TlsError, TlsFault, TlsServer, TlsViolation, accept_tls};
use rcgen::{CertificateParams, CustomExtension, PKCS_RSA_SHA256, PublicKeyData, SanType};
use rustls::{
    ClientConfig, RootCertStore, SignatureAlgorithm, SignatureScheme,
    client::ResolvesClientCert,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName},
    sign::{CertifiedKey, Signer, SigningKey},
};
use tokio::{io::AsyncReadExt, net::UnixStream};
use tokio_rustls::TlsConnector;

use crate::support::{Ca, Leaf, mutual};

/// A client that sends these certificates.
fn sends(ca: &Ca, leaf: &Leaf, chain: Vec<CertificateDer<'static>>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.cert.clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, leaf.key.clone_key())
        .unwrap()
}

/// The handshake of a client that goes away once it has been told by an alert.
async fn greet(server: &TlsServer, client: impl Into<Arc<ClientConfig>>) -> Result<(), TlsError> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let connector = TlsConnector::from(client.into());
    let name = ServerName::try_from("broker.test").unwrap();
    let told = async {
        if let Ok(mut stream) = connector.connect(name, theirs).await {
            let _ = stream.read_u8().await;
        }
        std::future::pending().await
    };
    tokio::select! {
        accepted = accept_tls(ours, server, |_| {}) => accepted.map(drop),
        never = told => never,
    }
}

/// Certificates that all say to be from the CA: each would be a signature to be checked.
#[tokio::test]
async fn a_chain_of_twenty_is_refused_unread() {
    let ca = Ca::new();
    let server = TlsServer::load(&mutual(&ca, &ca.issue(&["broker.test"]))).unwrap();
    let device = ca.issue(&["device-7"]);
    for (count, is_in) in [(1, true), (10, true), (11, false), (20, false)] {
        let spare = std::iter::repeat_with(|| ca.issue(&["spare"]).cert);
        let chain = std::iter::once(device.cert.clone()).chain(spare);
        let chain: Vec<_> = chain.take(count).collect();
        let client = sends(&ca, &device, chain.clone());
        let accepted = greet(&server, client).await;
        assert_eq!(accepted.is_ok(), is_in, "{count}");
        if let Err(error) = accepted {
            let TlsCause::Violation(violation) = error.cause() else {
                panic!("{error}");
            };
            assert_eq!(violation.fault(), TlsFault::LongChain);
            let told = format!("the client sent {count} certificates, 10 are allowed");
            assert!(error.to_string().contains(&told), "{error}");
        }
        let judged = server.judge(&chain);
        assert_eq!(judged.is_ok(), is_in, "{count}");
        let fault = judged.err().as_ref().map(TlsViolation::fault);
        assert_eq!(fault, (!is_in).then_some(TlsFault::LongChain));
    }
}

#[tokio::test]
async fn a_huge_certificate_is_refused_before_it_is_whole() {
    let ca = Ca::new();
    let server = TlsServer::load(&mutual(&ca, &ca.issue(&["broker.test"]))).unwrap();
    for (len, is_in) in [(30_000, true), (60_000, false)] {
        let device = ca.issue_with(&["device-7"], |it| {
            let content = vec![4; len];
            let extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], content);
            it.custom_extensions.push(extension);
        });
        let accepted = greet(&server, ca.client(Some(&device))).await;
        assert_eq!(accepted.is_ok(), is_in, "{len}");
        if let Err(error) = accepted {
            let cause = error.cause();
            assert!(matches!(cause, TlsCause::TooLarge(49_152)), "{error}");
        }
    }
}

/// An RSA key that nobody has the other half of.
#[derive(Debug)]
struct Rsa(Vec<u8>);

impl Rsa {
    /// With a modulus and an exponent of so many bytes, all of whose bits are set.
    fn new(modulus: usize, exponent: usize) -> Self {
        let integer = |len: usize| {
            let mut bytes = vec![2, 0x82];
            bytes.extend(u16::try_from(len + 1).unwrap().to_be_bytes());
            bytes.push(0);
            bytes.resize(bytes.len() + len, 0xff);
            bytes
        };
        let content = [integer(modulus), integer(exponent)].concat();
        let len = u16::try_from(content.len()).unwrap().to_be_bytes();
        Self([&[0x30, 0x82], &len[..], &content].concat())
    }
}

impl PublicKeyData for Rsa {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

/// Signs with any bytes.
#[derive(Debug, Clone, Copy)]
struct Scribble(usize);

impl SigningKey for Scribble {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(*self))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::RSA
    }
}

impl Signer for Scribble {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(vec![0x7f; self.0])
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::RSA_PSS_SHA256
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A client's key is used once, to check a signature: with a modulus of 16384 bits, or an exponent as
/// long as that, it would take up to a second.
#[tokio::test]
async fn a_key_that_would_be_work_is_refused_without_the_work() {
    let ca = Ca::new();
    let server = TlsServer::load(&mutual(&ca, &ca.issue(&["broker.test"]))).unwrap();
    for (modulus, exponent) in [(2048, 3), (2048, 2048), (1024, 1024)] {
        let key = Rsa::new(modulus, exponent);
        let mut params = CertificateParams::default();
        let name = "device-7".try_into().unwrap();
        params.subject_alt_names.push(SanType::DnsName(name));
        let cert = params.signed_by(&key, &ca.issuer).unwrap().der().clone();
        let signing = Arc::new(Scribble(modulus));
        let certified = Arc::new(CertifiedKey::new(vec![cert], signing));
        let mut client = ca.client(None);
        client.client_auth_cert_resolver = Arc::new(Always(certified));
        let client = Arc::new(client);
        let mut best = f64::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            let accepted = greet(&server, Arc::clone(&client)).await;
            best = best.min(begun.elapsed().as_secs_f64());
            // the certificate itself is one of the CA
            let error = accepted.unwrap_err().to_string();
            assert_eq!(error, "TLS: invalid peer certificate: BadSignature");
        }
        assert!(best < 0.1, "{modulus}, {exponent}: {best} s");
    }
}
