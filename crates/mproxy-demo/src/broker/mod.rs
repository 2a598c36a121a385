//! The broker that the demo brings along: in memory, on loopback, gone with the demo.
//!
//! MQTT 3.1, 3.1.1 and 5.0 on one port; QoS 0 to 2, retained messages, wills, wildcards,
//! subscription identifiers and options, user properties. What it does not do it says in CONNACK
//! or SUBACK: no session outlives its connection, there are no shared subscriptions and no topic
//! aliases. Everybody is admitted; the proxy in front is what says no.
//!
//! ```text
//! accept -> connection (one task a client) -> router (one lock) -> session queues -> connections
//! ```
//!
//! Good for a demo and for tests, and for nothing else: nothing is stored, and one lock serves all.

mod connection;
mod message;
mod router;
mod session;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use self::router::Router;

/// Clients at once; the next one waits in the listener's queue.
const MAX_CLIENTS: usize = 1024;

/// How long to wait after a failed accept, which is mostly "too many open files": trying again at
/// once would only spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// A running broker. It stops when it is dropped.
#[derive(Debug)]
pub(super) struct Broker {
    address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl Broker {
    /// Starts a broker on a free loopback port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            address: listener.local_addr()?,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accept(listener))),
        })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Accepts until it is aborted; the connections are its own, and end with it.
async fn accept(listener: TcpListener) {
    let router = Arc::new(Router::default());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CLIENTS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(stream, Arc::clone(&router)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests;
