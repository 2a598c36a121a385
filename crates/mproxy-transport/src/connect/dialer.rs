//! Dialling one broker, again and again.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{
    DialError, Resolver,
    outages::Outages,
    round::{Failures, Round},
};
use crate::{
    addr::UpstreamAddr,
    later::later,
    stream::Stream,
    tcp::TcpOptions,
    tls::TlsClient,
    ws::{Subprotocol, WRITE_TIMEOUT},
};

/// The pause before the first repetition, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two repetitions.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How to dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DialOptions {
    /// Maximum time for resolving, connecting and handshakes together; 5 s by default.
    pub connect_timeout: Duration,
    /// How long to try again if no address can be reached, within `connect_timeout`; zero, the default, is
    /// not at all.
    pub retry_for: Duration,
    /// Options of the socket, if it is TCP. A broker on the same machine, at a loopback address, is not probed:
    /// it does not vanish without a FIN.
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
    pub(super) addrs: Arc<[UpstreamAddr]>,
    pub(super) options: DialOptions,
    pub(super) resolver: Resolver,
    pub(super) tls: Option<TlsClient>,
    pub(super) outages: Arc<Outages>,
}

/// A connection to a broker with several addresses.
#[derive(Debug)]
#[non_exhaustive]
pub struct Dialled {
    /// The connection.
    pub stream: Stream,
    /// By which address: its position, 0 for that of [`Dialer::new`].
    pub address: usize,
    /// Why not by others, as far as they were tried now.
    pub instead: Option<DialError>,
}

// ===== impl DialOptions =====

impl Default for DialOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            retry_for: Duration::ZERO,
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
            addrs: [addr].into(),
            options,
            resolver: Resolver::system(),
            tls: None,
            outages: Arc::default(),
        }
    }

    /// Adds addresses of the same broker, which are used only while those before them cannot be reached.
    #[must_use]
    pub fn also(mut self, addrs: impl IntoIterator<Item = UpstreamAddr>) -> Self {
        self.addrs = self.addrs.iter().cloned().chain(addrs).collect();
        self
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

    /// The addresses to be dialled, in their order.
    pub fn addrs(&self) -> &[UpstreamAddr] {
        &self.addrs
    }

    /// Connects. The addresses are tried in their order, and those of a name in the order of the resolver, each with
    /// its share of the time that is left. One that failed is tried last for ten seconds, by this dialer
    /// and its clones. `subprotocol` is what to ask a WebSocket broker for, and is unused otherwise.
    ///
    /// # Errors
    ///
    /// If no connection could be made.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the attempt and closes its socket.
    pub fn dial(
        &self,
        subprotocol: Subprotocol,
    ) -> impl Future<Output = Result<Stream, DialError>> + Send {
        let dialled = self.dial_behind(Vec::new(), subprotocol);
        Box::pin(async move { Ok(dialled.await?.stream) })
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
    ) -> impl Future<Output = Result<Dialled, DialError>> + Send {
        // Boxed: resolver and handshake are large, and the caller's task is kept for the
        // session's life.
        Box::pin(async move {
            match self.connect(&head, subprotocol).await {
                Ok((stream, address, failures)) => Ok(Dialled {
                    stream,
                    address,
                    instead: DialError::new(&self.addrs, failures),
                }),
                Err(failures) => {
                    let error = DialError::new(&self.addrs, failures);
                    // where none is connected to, each has failed
                    Err(error.unwrap_or_else(|| DialError::late(&self.addrs[0])))
                }
            }
        })
    }

    /// Tries again, with longer and longer pauses, as long as that is asked for.
    async fn connect(
        &self,
        head: &[u8],
        subprotocol: Subprotocol,
    ) -> Result<(Stream, usize, Failures), Failures> {
        let begin = Instant::now();
        let deadline = later(begin, self.options.connect_timeout);
        let give_up = later(begin, self.options.retry_for).min(deadline);
        let mut failures = match Round::new(self, head, subprotocol, deadline).run().await {
            Err(failures) => failures,
            connected => return connected,
        };
        let mut pause = FIRST_PAUSE;
        while failures.iter().any(|(_, cause)| cause.may_pass()) {
            let jitter = rand::random_range(0.5..1.0);
            let next = Instant::now() + pause.mul_f64(jitter);
            if next >= give_up {
                break;
            }
            // at once if another client succeeds
            let _ = timeout_at(next, self.outages.over()).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            if self.outages.may_repeat(Instant::now()) {
                failures = match Round::new(self, head, subprotocol, deadline).run().await {
                    Err(failures) => failures,
                    connected => return connected,
                };
            }
        }
        Err(failures)
    }
}
