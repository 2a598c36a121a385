//! Dialling one broker, again and again.

use std::{net::SocketAddr, time::Duration};

use socket2::SockRef;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
    time::{Instant, timeout, timeout_at},
};

use super::{DialCause, DialError, Resolver};
use crate::{
    addr::{Carrier, Endpoint, UpstreamAddr},
    stream::Stream,
    tcp::TcpOptions,
    tls::{TlsClient, connect_tls},
    ws::{Subprotocol, WRITE_TIMEOUT, connect_websocket},
};

/// How to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialOptions {
    /// Maximum time for resolving, connecting and handshakes together; 5 s by default.
    pub connect_timeout: Duration,
    /// Options of the socket, if it is TCP.
    pub tcp: TcpOptions,
    /// How long a broker may accept none of the WebSocket's own bytes, if it is reached by WebSocket;
    /// 120 s by default. See [`WsOptions::write_timeout`].
    ///
    /// [`WsOptions::write_timeout`]: crate::WsOptions::write_timeout
    pub write_timeout: Duration,
}

/// Opens connections to one broker.
///
/// ```no_run
/// use mproxy_transport::{DialOptions, Dialer, Subprotocol};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let dialer = Dialer::new("mqtt://127.0.0.1:1883".parse()?, DialOptions::default());
/// let stream = dialer.dial(Subprotocol::Mqtt).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Dialer {
    addr: UpstreamAddr,
    options: DialOptions,
    resolver: Resolver,
    tls: Option<TlsClient>,
}

// ===== impl DialOptions =====

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            tcp: TcpOptions::default(),
            write_timeout: WRITE_TIMEOUT,
        }
    }
}

// ===== impl Dialer =====

impl Dialer {
    /// A dialer for that address, which asks the system for the addresses of a name. Nothing is
    /// resolved or opened yet.
    pub fn new(addr: UpstreamAddr, options: DialOptions) -> Self {
        Self {
            addr,
            options,
            resolver: Resolver::system(),
            tls: None,
        }
    }

    /// Sets the resolver of host names. Dialers with the same resolver look up a shared name only
    /// once.
    #[must_use]
    pub fn resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// Sets how a broker of a `mqtts://` or `wss://` address is trusted.
    #[must_use]
    pub fn tls(mut self, tls: TlsClient) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The address to be dialled.
    pub fn addr(&self) -> &UpstreamAddr {
        &self.addr
    }

    /// Connects. A name's addresses are tried in the order of the resolver, each with its share
    /// of the time that is left. `subprotocol` is what to ask a WebSocket broker for, and is unused
    /// otherwise.
    ///
    /// # Errors
    ///
    /// If no connection could be made; the error of the last address if there were several.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt and closes its socket.
    pub fn dial(
        &self,
        subprotocol: Subprotocol,
    ) -> impl Future<Output = Result<Stream, DialError>> + Send {
        self.dial_behind(Vec::new(), subprotocol)
    }

    /// Connects, and sends `head` in front of everything else, of TLS too: a header of the
    /// [PROXY protocol](crate::ProxyHeader). For the rest see [`dial`](Self::dial).
    ///
    /// # Errors
    ///
    /// As above.
    ///
    /// # Cancel safety
    ///
    /// As above.
    pub fn dial_behind(
        &self,
        head: Vec<u8>,
        subprotocol: Subprotocol,
    ) -> impl Future<Output = Result<Stream, DialError>> + Send {
        // Boxed: resolver and handshake are large, and the caller's task is kept for the
        // session's life.
        Box::pin(async move {
            let connect = self.connect(&head, subprotocol);
            let result = match timeout(self.options.connect_timeout, connect).await {
                Ok(result) => result,
                Err(_) => Err(DialCause::TimedOut),
            };
            result.map_err(|cause| DialError::new(&self.addr, cause))
        })
    }

    async fn connect(&self, head: &[u8], subprotocol: Subprotocol) -> Result<Stream, DialCause> {
        let mut stream = match &self.addr.endpoint {
            // A literal address must not go through the blocking pool.
            Endpoint::Ip(addr) => self.connect_tcp(*addr).await?,
            Endpoint::Name { host, port } => self.connect_name(host, *port).await?,
            Endpoint::Unix(path) => UnixStream::connect(path).await?.into(),
        };
        stream.write_all(head).await?;
        let stream = match self.addr.is_tls {
            true => self.secure(stream).await?,
            false => stream,
        };
        match &self.addr.carrier {
            Carrier::Plain => Ok(stream),
            Carrier::WebSocket { path } => {
                let authority = self.addr.endpoint.to_string();
                let patience = self.options.write_timeout;
                Ok(connect_websocket(stream, &authority, path, subprotocol, patience).await?)
            }
        }
    }

    async fn secure(&self, stream: Stream) -> Result<Stream, DialCause> {
        let host = self.addr.host();
        let tls = self.tls.as_ref();
        let name = tls.and_then(|tls| tls.server_name(host.as_deref()));
        let (Some(tls), Some(name)) = (tls, name) else {
            return Err(DialCause::TlsNotSetUp);
        };
        Ok(connect_tls(stream, tls, name).await?)
    }

    async fn connect_name(&self, host: &str, port: u16) -> Result<Stream, DialCause> {
        let deadline = Instant::now() + self.options.connect_timeout;
        // the other half is for an address from an earlier answer
        let patience = self.options.connect_timeout / 2;
        let answer = self.resolver.lookup(host, patience).await;
        let answer = answer.map_err(|failure| DialCause::Resolve(failure.into()))?;
        let mut last = DialCause::Resolve(std::io::ErrorKind::NotFound.into());
        for (index, addr) in answer.addrs.iter().enumerate() {
            // One address that drops packets must not use up the time of the next ones.
            let now = Instant::now();
            let count = u32::try_from(answer.addrs.len() - index).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(now) / count;
            let mut addr = *addr;
            addr.set_port(port);
            match timeout_at(now + share, self.connect_tcp(addr)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(cause)) => last = cause,
                Err(_) => last = DialCause::TimedOut,
            }
        }
        Err(match answer.doubt {
            // it is expected that nobody listens at an old address
            Some(failure) => DialCause::Resolve(failure.into()),
            None => last,
        })
    }

    async fn connect_tcp(&self, addr: SocketAddr) -> Result<Stream, DialCause> {
        let stream = TcpStream::connect(addr).await?;
        self.options.tcp.apply(SockRef::from(&stream))?;
        Ok(stream.into())
    }
}
