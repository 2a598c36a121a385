//! TLS clients that share no code with the proxy but the library.

use std::fs;
use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::Pki;

/// A table of TLS for a listener whose certificate is `server.crt` of this CA.
#[must_use]
pub fn table(pki: &Pki) -> String {
    let [cert, key] = ["server.crt", "server.key"].map(|it| pki.file(it));
    format!("[listeners.tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n")
}

/// A client that trusts this CA, and shows no certificate.
///
/// # Panics
/// If the file of the CA is none.
#[must_use]
pub fn client(pki: &Pki) -> Arc<ClientConfig> {
    Arc::new(trusting(pki).with_no_client_auth())
}

/// A client that shows these certificates in front of the key of `name`.
///
/// # Panics
/// If the files of the client are none.
#[must_use]
pub fn client_with(
    pki: &Pki,
    name: &str,
    chain: Vec<CertificateDer<'static>>,
) -> Arc<ClientConfig> {
    let key = fs::read(pki.file(&format!("{name}.key"))).expect("the key was written");
    let key = PrivateKeyDer::from_pem_slice(&key).expect("a key");
    let client = trusting(pki).with_client_auth_cert(chain, key);
    Arc::new(client.expect("the first certificate is that of the key"))
}

/// The certificate in a file of the CA.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn certificate(pki: &Pki, file: &str) -> CertificateDer<'static> {
    let pem = fs::read(pki.file(file)).expect("the file was written");
    CertificateDer::from_pem_slice(&pem).expect("a certificate")
}

/// A ClientHello in its record.
///
/// # Panics
/// If the file of the CA is none.
#[must_use]
pub fn hello(pki: &Pki) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(client(pki), name).expect("a client");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("a vector takes it");
    bytes
}

/// Does the handshake.
///
/// # Errors
/// It fails, or the connection breaks.
pub async fn secure(
    client: &Arc<ClientConfig>,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::clone(client))
        .connect(name, stream)
        .await
}

fn trusting(pki: &Pki) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(pki, "ca.crt")).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions();
    builder
        .expect("the provider has them")
        .with_root_certificates(roots)
}
