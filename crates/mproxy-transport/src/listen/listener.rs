//! A bound socket that is not registered with a runtime yet.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::unix::net::UnixListener,
    sync::Arc,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Acceptor, socket_file::SocketFile};
use crate::{
    addr::{Endpoint, ListenAddr},
    tcp::TcpOptions,
};

/// How to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Connections the kernel queues before they are accepted; it caps this at
    /// `net.core.somaxconn`.
    pub backlog: u32,
    /// Let several sockets share the address (`SO_REUSEPORT`), each with its own queue. Off by
    /// default: workers that share one socket through [`Listener::try_clone`] lose no connection
    /// when one of them stops.
    pub reuse_port: bool,
    /// Options of the accepted TCP sockets.
    pub tcp: TcpOptions,
}

/// A bound listening socket, TCP or Unix, not registered with any runtime.
///
/// A Unix socket's file is removed when the last clone (and [`Acceptor`]) is dropped.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: ListenSocket,
}

#[derive(Debug)]
pub(super) enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener, Arc<SocketFile>),
}

// ===== impl ListenOptions =====

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: DEFAULT_BACKLOG,
            reuse_port: false,
            tcp: TcpOptions::default(),
        }
    }
}

// ===== impl Listener =====

impl Listener {
    /// Binds and listens.
    ///
    /// `[::]` accepts IPv4 too, whatever the system's default is. A host name is resolved here,
    /// blocking, and its first address that can be bound is used. A Unix socket file that nobody
    /// listens on any more is replaced; one that is in use is not, and neither is a file of
    /// another kind.
    ///
    /// # Errors
    ///
    /// The error of the system, most often [`io::ErrorKind::AddrInUse`].
    pub fn bind(addr: &ListenAddr, options: &ListenOptions) -> io::Result<Self> {
        let socket = match &addr.0 {
            Endpoint::Ip(addr) => ListenSocket::Tcp(bind_tcp(*addr, options)?),
            Endpoint::Name { host, port } => ListenSocket::Tcp(bind_first(host, *port, options)?),
            Endpoint::Unix(path) => {
                let (socket, file) = SocketFile::bind(path, backlog(options))?;
                ListenSocket::Unix(socket, Arc::new(file))
            }
        };
        Ok(Self { socket })
    }

    /// Another handle of the same socket: all clones accept from one queue.
    ///
    /// # Errors
    ///
    /// If the process is out of file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            ListenSocket::Tcp(socket) => ListenSocket::Tcp(socket.try_clone()?),
            ListenSocket::Unix(socket, file) => {
                ListenSocket::Unix(socket.try_clone()?, Arc::clone(file))
            }
        };
        Ok(Self { socket })
    }

    /// The address that was bound, with the real port where 0 was asked for.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub fn local_addr(&self) -> io::Result<ListenAddr> {
        Ok(match &self.socket {
            ListenSocket::Tcp(socket) => socket.local_addr()?.into(),
            ListenSocket::Unix(_, file) => file.listen_addr(),
        })
    }

    /// Changes the options of TCP sockets that any clone accepts from now on. Does nothing for a
    /// Unix socket.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub fn set_tcp_options(&self, options: &TcpOptions) -> io::Result<()> {
        match &self.socket {
            ListenSocket::Tcp(socket) => options.replace(SockRef::from(socket)),
            ListenSocket::Unix(..) => Ok(()),
        }
    }

    /// Registers the socket with the runtime of the calling thread.
    ///
    /// # Errors
    ///
    /// If the registration fails.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with IO enabled.
    pub fn into_acceptor(self) -> io::Result<Acceptor> {
        Acceptor::new(self)
    }
}

fn bind_tcp(addr: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // [::] means "everybody" to an operator; net.ipv6.bindv6only must not change that.
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    // A restart must not wait for the last process's connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit them, which saves the system calls at each connection.
    options.tcp.apply(SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog(options))?;
    Ok(socket.into())
}

fn bind_first(host: &str, port: u16, options: &ListenOptions) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for addr in (host, port).to_socket_addrs()? {
        match bind_tcp(addr, options) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn backlog(options: &ListenOptions) -> i32 {
    i32::try_from(options.backlog).unwrap_or(i32::MAX)
}

/// The kernel's own default limit (`net.core.somaxconn`) since Linux 5.4: room for a fleet that
/// reconnects at once.
const DEFAULT_BACKLOG: u32 = 4096;
