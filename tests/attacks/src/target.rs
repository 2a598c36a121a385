//! Where the attackers and the good client go, and how they connect.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mproxy_tests::pki::Pki;
use mproxy_tests::tls;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::socket::connect;

/// A connection, plain or over TLS.
pub type Wire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Where the attackers go.
#[derive(Debug, Clone)]
pub struct Target {
    /// MQTT.
    pub mqtt: SocketAddr,
    /// MQTT over WebSocket.
    pub ws: SocketAddr,
    /// What a client needs if both are over TLS.
    pub secure: Option<Secure>,
}

/// The CA of both listeners, and a client that trusts it.
#[derive(Debug, Clone)]
pub struct Secure {
    pub(crate) pki: Arc<Pki>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Secure {
    /// A new CA, with a certificate for the server and one for a client.
    #[must_use]
    pub fn new() -> Self {
        let pki = Pki::new();
        pki.server("server", 1);
        pki.client("client", 2);
        let client = tls::client(&pki);
        Self {
            pki: Arc::new(pki),
            client,
        }
    }

    /// The CA.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }
}

impl Default for Secure {
    fn default() -> Self {
        Self::new()
    }
}

impl Target {
    /// Connects to the listener of MQTT from this address.
    ///
    /// # Errors
    /// It is refused, or the handshake fails.
    pub async fn mqtt(&self, from: [u8; 4]) -> io::Result<Wire> {
        self.wrap(connect(self.mqtt, from).await?).await
    }

    /// Connects to the listener of MQTT over WebSocket from this address.
    ///
    /// # Errors
    /// It is refused, or the handshake fails.
    pub async fn ws(&self, from: [u8; 4]) -> io::Result<Wire> {
        self.wrap(connect(self.ws, from).await?).await
    }

    /// Does the handshake of TLS, if there is one.
    pub(crate) async fn wrap(&self, stream: TcpStream) -> io::Result<Wire> {
        let Some(secure) = &self.secure else {
            return Ok(Either::Left(stream));
        };
        let stream = tls::secure(&secure.client, stream).await?;
        Ok(Either::Right(Box::new(stream)))
    }

    /// What attacks on TLS need.
    pub(crate) fn secure(&self) -> &Secure {
        self.secure.as_ref().expect("attacks on TLS run over TLS")
    }
}

/// The socket below.
pub(crate) fn socket(wire: &Wire) -> &TcpStream {
    match wire {
        Either::Left(stream) => stream,
        Either::Right(stream) => stream.get_ref().0,
    }
}
