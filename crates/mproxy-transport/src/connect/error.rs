//! Why the broker could not be reached.

use std::{error::Error, fmt, io};

use super::round::Failures;
use crate::{addr::UpstreamAddr, tls::TlsCause, ws::HandshakeError};

/// A failed dial: each address that was tried, and what went wrong.
///
/// The source is what went wrong with the first address. Messages include those of their sources.
#[derive(Debug)]
pub struct DialError {
    first: Box<Failure>,
    others: Vec<Failure>,
}

type Failure = (UpstreamAddr, DialCause);

/// All in one line.
impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (addr, cause) = &*self.first;
        write!(f, "cannot reach {addr}: {cause}")?;
        for (addr, cause) in &self.others {
            write!(f, "; nor {addr}: {cause}")?;
        }
        Ok(())
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause())
    }
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
    Resolve(#[source] io::Error),
    /// Connected, but the TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] TlsCause),
    /// The address asks for TLS, and the dialer was given none, or there is no name to look for in the
    /// broker's certificate.
    #[error("TLS is not set up")]
    TlsNotSetUp,
    /// Connected, but the WebSocket handshake failed.
    #[error("websocket handshake failed: {0}")]
    Handshake(#[source] HandshakeError),
    /// Another error of the system, such as an unreachable network or a missing socket file.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl DialError {
    /// Of failures by the position of the address; `None` if there are none.
    pub(super) fn new(addrs: &[UpstreamAddr], mut failures: Failures) -> Option<Self> {
        failures.sort_by_key(|(index, _)| *index);
        let named = |(index, cause): (usize, _)| Some((addrs.get(index)?.clone(), cause));
        let mut failures = failures.into_iter().filter_map(named);
        Some(Self {
            first: Box::new(failures.next()?),
            others: failures.collect(),
        })
    }

    pub(super) fn late(addr: &UpstreamAddr) -> Self {
        Self {
            first: Box::new((addr.clone(), DialCause::TimedOut)),
            others: Vec::new(),
        }
    }

    /// The first address that was tried.
    pub fn addr(&self) -> &UpstreamAddr {
        &self.first.0
    }

    /// What went wrong with it.
    pub fn cause(&self) -> &DialCause {
        &self.first.1
    }

    /// What went wrong with it, without the address.
    pub fn into_cause(self) -> DialCause {
        self.first.1
    }
}

impl DialCause {
    /// Whether it is what a broker that restarts looks like.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Refused | Self::Resolve(_) | Self::Io(_))
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
