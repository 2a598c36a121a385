//! Why the broker could not be reached.

use std::io;

use crate::{addr::UpstreamAddr, tls::TlsCause, ws::HandshakeError};

/// A failed dial: the address, and what went wrong.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {addr}: {cause}")]
pub struct DialError {
    addr: Box<UpstreamAddr>,
    // Part of the message, so not a source: a chain would print it twice.
    cause: DialCause,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialCause {
    /// The host answered that nothing listens there.
    #[error("connection refused")]
    Refused,
    /// No answer within [`connect_timeout`](super::DialOptions::connect_timeout).
    #[error("timed out")]
    TimedOut,
    /// The name has no address, or the resolver failed.
    #[error("name resolution failed: {0}")]
    Resolve(io::Error),
    /// Connected, but the TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(TlsCause),
    /// The address asks for TLS, and the dialer was given none, or there is no name to look for in the
    /// broker's certificate.
    #[error("TLS is not set up")]
    TlsNotSetUp,
    /// Connected, but the WebSocket handshake failed.
    #[error("websocket handshake failed: {0}")]
    Handshake(HandshakeError),
    /// Another error of the system, such as an unreachable network or a missing socket file.
    #[error("{0}")]
    Io(io::Error),
}

impl DialError {
    pub(super) fn new(addr: &UpstreamAddr, cause: DialCause) -> Self {
        Self {
            addr: Box::new(addr.clone()),
            cause,
        }
    }

    /// The address that was dialled.
    pub fn addr(&self) -> &UpstreamAddr {
        &self.addr
    }

    /// What went wrong.
    pub fn cause(&self) -> &DialCause {
        &self.cause
    }

    /// What went wrong, without the address.
    pub fn into_cause(self) -> DialCause {
        self.cause
    }
}

impl From<io::Error> for DialCause {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}

impl From<HandshakeError> for DialCause {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<TlsCause> for DialCause {
    fn from(cause: TlsCause) -> Self {
        Self::Tls(cause)
    }
}
