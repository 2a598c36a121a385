//! An accepted connection that can move to another runtime.

use std::{io, net, os::unix};

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
