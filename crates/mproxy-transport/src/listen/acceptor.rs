//! The body of an accept loop: one connection per call, with temporary errors handled.

use std::{
    io::{self, ErrorKind},
    os::fd::AsRawFd,
    sync::{Arc, Mutex, PoisonError},
};

use mio::net::{TcpListener, UnixListener};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{
    Accepted, Listener,
    accepted::AcceptedSocket,
    backoff::Backoff,
    listener::{ListenSocket, path_of},
    socket_file::SocketFile,
};
use crate::addr::{ClientAddr, ListenAddr};

/// A listening socket registered with a runtime.
#[derive(Debug)]
pub struct Acceptor {
    socket: Socket,
    /// Outlives a cancelled `accept`, so that a caller in a `select!` loop backs off as well.
    backoff: Mutex<Backoff>,
}

// mio's listeners, because theirs is the one safe, portable accept4(2) that leaves the new socket
// nonblocking and unregistered.
#[derive(Debug)]
enum Socket {
    Tcp(AsyncFd<TcpListener>),
    Unix(AsyncFd<UnixListener>, Option<Arc<SocketFile>>),
}

impl Acceptor {
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        let socket = match listener.socket {
            ListenSocket::Tcp(socket) => Socket::Tcp(register(TcpListener::from_std(socket))?),
            ListenSocket::Unix(socket, file) => {
                Socket::Unix(register(UnixListener::from_std(socket))?, file)
            }
        };
        Ok(Self {
            socket,
            backoff: Mutex::new(Backoff::new(Instant::now())),
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    ///
    /// The error of the system; or the socket has no address with a name.
    pub fn local_addr(&self) -> io::Result<ListenAddr> {
        match &self.socket {
            Socket::Tcp(socket) => Ok(socket.get_ref().local_addr()?.into()),
            Socket::Unix(_, Some(file)) => Ok(file.listen_addr()),
            Socket::Unix(socket, None) => path_of(&socket.get_ref().local_addr()?),
        }
    }

    /// A connection that is in the queue now. Never waits: not for a connection, and not for resources.
    ///
    /// Closing a listening socket resets the connections in its queue, whose clients believe that they
    /// are connected. Before that, take them out.
    pub fn accept_queued(&self) -> Option<Accepted> {
        loop {
            let accepted = match &self.socket {
                Socket::Tcp(socket) => socket.get_ref().accept().map(|(stream, peer)| Accepted {
                    socket: AcceptedSocket::Tcp(stream.into()),
                    peer: peer.into(),
                }),
                Socket::Unix(socket, _) => socket.get_ref().accept().map(|(stream, _)| Accepted {
                    socket: AcceptedSocket::Unix(stream.into()),
                    peer: ClientAddr::UNIX,
                }),
            };
            match accepted {
                Ok(accepted) => return Some(accepted),
                // each of these took a connection out of the queue
                Err(error) if Severity::of(&error) == Severity::Connection => {}
                Err(_) => return None,
            }
        }
    }

    /// Waits for the next connection.
    ///
    /// Connections that died in the queue are skipped. When the process or the system runs out of
    /// file descriptors or memory, the call waits (10 ms, doubling to 1 s) and tries again, and
    /// logs it at most once per second.
    ///
    /// # Errors
    ///
    /// Only permanent errors: the socket itself is unusable.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe: no accepted connection is lost, and the next call continues a wait.
    pub async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let resume_at = self.with_backoff(|backoff| backoff.resume_at());
            if let Some(resume_at) = resume_at {
                sleep_until(resume_at).await;
            }
            let error = match self.accept_once().await {
                Ok((socket, peer)) => {
                    self.with_backoff(Backoff::succeeded);
                    return Ok(Accepted { socket, peer });
                }
                Err(error) => error,
            };
            match Severity::of(&error) {
                Severity::Connection => {}
                Severity::Exhausted => {
                    let report = self.with_backoff(|backoff| backoff.failed(Instant::now()));
                    if let Some(report) = report {
                        warn!(
                            target: "mproxy::listener",
                            event = "error",
                            detail = %error,
                            retry_in_s = report.delay.as_secs_f64(),
                            suppressed = (report.suppressed > 0).then_some(report.suppressed),
                            "cannot accept connections: waiting for resources"
                        );
                    }
                }
                Severity::Listener => return Err(error),
            }
        }
    }

    async fn accept_once(&self) -> io::Result<(AcceptedSocket, ClientAddr)> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let accept = |listener: &TcpListener| listener.accept();
                let (stream, peer) = socket.async_io(Interest::READABLE, accept).await?;
                Ok((AcceptedSocket::Tcp(stream.into()), peer.into()))
            }
            Socket::Unix(socket, _) => {
                let accept = |listener: &UnixListener| listener.accept();
                let (stream, _) = socket.async_io(Interest::READABLE, accept).await?;
                Ok((AcceptedSocket::Unix(stream.into()), ClientAddr::UNIX))
            }
        }
    }

    fn with_backoff<T>(&self, f: impl FnOnce(&mut Backoff) -> T) -> T {
        // The state is plain numbers: a panic elsewhere leaves it usable.
        f(&mut self.backoff.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn register<T: AsRawFd>(listener: T) -> io::Result<AsyncFd<T>> {
    // Deprecated in favour of an unsafe constructor, because of types whose descriptor changes or
    // is closed under the `AsyncFd`. mio's listeners own theirs.
    #[allow(deprecated)]
    AsyncFd::with_interest(listener, Interest::READABLE)
}

/// What a failed accept(2) concerns.
#[derive(Debug, PartialEq, Eq)]
enum Severity {
    /// The connection at hand: the next one may be fine.
    Connection,
    /// File descriptors or memory: waiting may help.
    Exhausted,
    /// The listening socket: nothing will help.
    Listener,
}

impl Severity {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                return Self::Exhausted;
            }
            // A kernel or a filter that refuses this one peer.
            Some(libc::EPROTO | libc::EPERM) => return Self::Connection,
            _ => {}
        }
        match error.kind() {
            // accept(2), "Error handling": Linux passes pending network errors of the new socket.
            ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown => Self::Connection,
            ErrorKind::OutOfMemory => Self::Exhausted,
            _ => Self::Listener,
        }
    }
}
