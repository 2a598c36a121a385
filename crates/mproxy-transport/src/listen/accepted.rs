//! An accepted connection that can move to another runtime.

use std::time::Duration;
use std::{io, net, os::unix};

use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

use crate::{addr::ClientAddr, stream::Stream};

/// An accepted connection that is not registered with a runtime yet: it can be sent to another thread and
/// registered there.
#[derive(Debug)]
pub struct Accepted {
    pub(super) socket: AcceptedSocket,
    pub(super) peer: ClientAddr,
}

#[derive(Debug)]
pub(super) enum AcceptedSocket {
    Tcp(net::TcpStream),
    Unix(unix::net::UnixStream),
}

impl Accepted {
    /// Who connected.
    pub fn peer(&self) -> ClientAddr {
        self.peer
    }

    /// The local address of a TCP connection; `None` on a Unix socket.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub fn local_addr(&self) -> io::Result<Option<net::SocketAddr>> {
        match &self.socket {
            AcceptedSocket::Tcp(socket) => socket.local_addr().map(Some),
            AcceptedSocket::Unix(_) => Ok(None),
        }
    }

    /// Closes the connection so that a client beyond the next router learns nothing of it: the reset has a
    /// hop limit of one. The client waits until its own time is up, and a port scan finds nothing.
    ///
    /// A client on this host or in its network sees the reset.
    pub fn drop_silently(self) {
        if let AcceptedSocket::Tcp(socket) = &self.socket {
            let socket = SockRef::from(socket);
            // where it cannot be set, the client sees a reset
            let _ = match self.peer.socket_addr() {
                Some(peer) if peer.is_ipv6() && peer.ip().to_canonical().is_ipv6() => {
                    socket.set_unicast_hops_v6(1)
                }
                _ => socket.set_ttl_v4(1),
            };
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// Registers the connection with the runtime of the calling thread.
    ///
    /// # Errors
    ///
    /// If the registration fails.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    pub fn into_stream(self) -> io::Result<Stream> {
        Ok(match self.socket {
            AcceptedSocket::Tcp(socket) => TcpStream::from_std(socket)?.into(),
            AcceptedSocket::Unix(socket) => UnixStream::from_std(socket)?.into(),
        })
    }
}
