//! A bound socket that is not registered with a runtime yet.

use std::{
    io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{self, net::UnixListener},
    },
    sync::Arc,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{Acceptor, PassedSockets, socket_file::SocketFile};
use crate::{
    addr::{Endpoint, ListenAddr, Place},
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
    /// Let clients use several network paths at once (Multipath TCP). A kernel without it gives a plain
    /// socket, as [`Listener::is_multipath`] tells. Clients of plain TCP connect to either.
    pub multipath: bool,
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
    /// Without a file if the service manager owns that.
    Unix(UnixListener, Option<Arc<SocketFile>>),
}

// ===== impl ListenOptions =====

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            backlog: DEFAULT_BACKLOG,
            reuse_port: false,
            multipath: false,
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
    /// The error of the system, most often [`io::ErrorKind::AddrInUse`]. [`io::ErrorKind::NotFound`] for
    /// an address that stands for a passed socket.
    pub fn bind(addr: &ListenAddr, options: &ListenOptions) -> io::Result<Self> {
        Self::bind_or_take(addr, options, &PassedSockets::default())
    }

    /// Like [`bind`](Self::bind), but takes the socket that was passed under the name of the address, or
    /// that is at the address already.
    ///
    /// # Errors
    ///
    /// As of [`bind`](Self::bind); and if no such socket was passed, or it cannot be used.
    pub fn bind_or_take(
        addr: &ListenAddr,
        options: &ListenOptions,
        passed: &PassedSockets,
    ) -> io::Result<Self> {
        let socket = match (&addr.0, passed.take(addr)?) {
            (_, Some(socket)) => {
                if let ListenSocket::Tcp(socket) = &socket {
                    options.tcp.apply(SockRef::from(socket))?;
                }
                socket
            }
            (Place::Passed(name), None) => return Err(passed.missing(name)),
            (Place::Endpoint(endpoint), None) => bind(endpoint, options)?,
        };
        Ok(Self { socket })
    }

    /// Another handle of the same socket: all clones accept from one queue.
    ///
    /// # Errors
    ///
    /// If the process is out of file descriptors.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = self.socket.try_clone()?;
        Ok(Self { socket })
    }

    /// The address that was bound, with the real port where 0 was asked for.
    ///
    /// # Errors
    ///
    /// The error of the system; or the socket has no address with a name.
    pub fn local_addr(&self) -> io::Result<ListenAddr> {
        self.socket.local_addr()
    }

    /// Whether clients can use several network paths at once.
    pub fn is_multipath(&self) -> bool {
        match &self.socket {
            ListenSocket::Tcp(socket) => {
                SockRef::from(socket).protocol().ok().flatten() == Some(Protocol::MPTCP)
            }
            ListenSocket::Unix(..) => false,
        }
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

/// To hand it to the service manager.
impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            ListenSocket::Tcp(socket) => socket.as_fd(),
            ListenSocket::Unix(socket, _) => socket.as_fd(),
        }
    }
}

// ===== impl ListenSocket =====

impl ListenSocket {
    pub(super) fn local_addr(&self) -> io::Result<ListenAddr> {
        Ok(match self {
            Self::Tcp(socket) => socket.local_addr()?.into(),
            Self::Unix(_, Some(file)) => file.listen_addr(),
            Self::Unix(socket, None) => path_of(&socket.local_addr()?)?,
        })
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
            Self::Unix(socket, file) => Self::Unix(socket.try_clone()?, file.clone()),
        })
    }
}

/// The address of a Unix socket whose file is not ours.
pub(super) fn path_of(addr: &unix::net::SocketAddr) -> io::Result<ListenAddr> {
    let path = addr.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(Endpoint::Unix(path.to_owned()).into())
}

fn bind(endpoint: &Endpoint, options: &ListenOptions) -> io::Result<ListenSocket> {
    Ok(match endpoint {
        Endpoint::Ip(addr) => ListenSocket::Tcp(bind_tcp(*addr, options)?),
        Endpoint::Name { host, port } => ListenSocket::Tcp(bind_first(host, *port, options)?),
        Endpoint::Unix(path) => {
            let (socket, file) = SocketFile::bind(path, backlog(options))?;
            ListenSocket::Unix(socket, Some(Arc::new(file)))
        }
    })
}

fn bind_tcp(addr: SocketAddr, options: &ListenOptions) -> io::Result<TcpListener> {
    let socket = tcp_socket(Domain::for_address(addr), options.multipath)?;
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

fn tcp_socket(domain: Domain, multipath: bool) -> io::Result<Socket> {
    with_fallback(multipath, |protocol| {
        Socket::new(domain, Type::STREAM, Some(protocol))
    })
}

fn with_fallback<T>(multipath: bool, open: impl Fn(Protocol) -> io::Result<T>) -> io::Result<T> {
    // The errors of a kernel built without it, of one where net.mptcp.enabled is 0, and of filters of
    // system calls differ, and none of them may keep clients out.
    let multipath = multipath.then(|| open(Protocol::MPTCP).ok()).flatten();
    multipath.map_or_else(|| open(Protocol::TCP), Ok)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_multipath_gives_a_plain_socket() {
        let without = |error: i32| {
            move |protocol| match protocol == Protocol::MPTCP {
                true => Err(io::Error::from_raw_os_error(error)),
                false => Ok(protocol),
            }
        };
        // not built in, switched off, unknown to a filter of system calls
        for error in [
            libc::EPROTONOSUPPORT,
            libc::ENOPROTOOPT,
            libc::EINVAL,
            libc::EPERM,
        ] {
            assert_eq!(with_fallback(true, without(error)).unwrap(), Protocol::TCP);
        }
        assert_eq!(with_fallback(true, Ok).unwrap(), Protocol::MPTCP);
        assert_eq!(with_fallback(false, Ok).unwrap(), Protocol::TCP);
        let full = |_| Err::<(), _>(io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(
            with_fallback(true, full).unwrap_err().raw_os_error(),
            Some(libc::EMFILE)
        );
    }
}
