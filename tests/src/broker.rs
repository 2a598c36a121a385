//! A broker that does what the test says.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};

use crate::deadline::within;
use crate::link::Link;
use crate::wire::{PROBE, Packet};

/// Accepts connections, and nothing else of its own accord.
#[derive(Debug)]
pub struct FakeBroker {
    listener: TcpListener,
    addr: SocketAddr,
}

impl FakeBroker {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let addr = listener.local_addr().expect("it is bound");
        Self { listener, addr }
    }

    /// Listens where another one was, which has [closed](Self::close).
    ///
    /// # Panics
    /// If somebody is there.
    pub async fn bind_at(addr: SocketAddr) -> Self {
        let listener = TcpListener::bind(addr).await;
        let listener = listener.unwrap_or_else(|error| panic!("{addr}: {error}"));
        Self { listener, addr }
    }

    /// For the key `address` of an upstream.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.addr)
    }

    /// The next connection on which something is said, before it is read. Probes of the proxy, which
    /// asks whether the broker is there, are answered and not given.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn session(&self) -> impl Future<Output = Link> {
        within("a session at the broker", async {
            loop {
                let stream = self.connection().await;
                if is_probe(&stream).await {
                    Link::over(stream).answer_probe().await;
                } else if matches!(stream.peek(&mut [0]).await, Ok(1..)) {
                    return Link::over(stream);
                }
            }
        })
    }

    /// Answers the next probe of the proxy.
    ///
    /// # Panics
    /// If none comes, or something else does.
    pub async fn probed(&self) {
        let stream = within("a probe", self.connection()).await;
        assert!(is_probe(&stream).await, "no probe");
        Link::over(stream).answer_probe().await;
    }

    /// Whether nobody has connected but those that were accepted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        // asks the system: the runtime may not have heard of a connection yet
        let next = socket2::SockRef::from(&self.listener).accept();
        next.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Accepts the next session with a CONNACK of success; gives its CONNECT too.
    ///
    /// # Panics
    /// If none comes.
    pub async fn accept(&self) -> (Link, Packet) {
        let mut link = self.session().await;
        let connect = link.accept().await;
        (link, connect)
    }

    /// For the key `address` of an upstream: the same by way of WebSocket, for
    /// [`ws_session`](Self::ws_session).
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}/mqtt", self.addr)
    }

    /// The next connection over WebSocket on which something is said. Probes are answered.
    ///
    /// # Panics
    /// If none comes.
    #[track_caller]
    pub fn ws_session(&self) -> impl Future<Output = Link> {
        within("a session at the broker", async {
            loop {
                match Link::upgraded(self.connection().await).await {
                    Some(link) if link.is_probe() => link.answer_probe().await,
                    Some(link) => return link,
                    None => {}
                }
            }
        })
    }

    /// The next connection, whatever it is for.
    ///
    /// # Panics
    /// If the listener breaks.
    pub async fn connection(&self) -> TcpStream {
        let (stream, _) = self.listener.accept().await.expect("the listener is sound");
        stream
    }

    /// Nobody listens from now on; the address stays free of other tests as long as connections are
    /// open.
    #[must_use]
    pub fn close(self) -> SocketAddr {
        self.addr
    }
}

/// Whether the proxy itself is there; nothing is read.
async fn is_probe(stream: &TcpStream) -> bool {
    let mut room = [0; PROBE.len()];
    loop {
        match stream.peek(&mut room).await {
            Ok(len @ 1..) if len < PROBE.len() && PROBE.starts_with(&room[..len]) => {
                tokio::task::yield_now().await;
            }
            Ok(len) => return room[..len] == PROBE,
            Err(_) => return false,
        }
    }
}
