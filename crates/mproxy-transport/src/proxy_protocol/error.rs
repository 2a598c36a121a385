//! Why there is no header.

use std::{error::Error, fmt, io};

use crate::beginning::Beginning;

/// A header that could not be read, and the first bytes of the peer.
#[derive(Debug)]
pub struct ProxyError(Box<(ProxyCause, Beginning)>);

/// Why a header could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyCause {
    /// The connection begins with something else.
    #[error("there is no PROXY protocol header")]
    Missing,
    /// A header of the version that is not accepted.
    #[error("a PROXY protocol header of version {0}")]
    Version(u8),
    /// The header breaks the protocol.
    #[error("the PROXY protocol header is not valid")]
    Invalid,
    /// The header has more bytes than this.
    #[error("the PROXY protocol header has more than {0} bytes")]
    TooLarge(usize),
    /// The header did not come in time.
    #[error("the PROXY protocol header did not arrive in time")]
    TimedOut,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// The peer closed the connection.
    #[error("closed before the end of the PROXY protocol header")]
    Closed,
}

impl ProxyError {
    pub(super) fn new(cause: ProxyCause, beginning: Beginning) -> Self {
        Self(Box::new((cause, beginning)))
    }

    /// Why it failed.
    pub fn cause(&self) -> &ProxyCause {
        &self.0.0
    }

    /// How many bytes of a header the peer sent. With 0 it asked for nothing, unless the cause is
    /// [`Missing`](ProxyCause::Missing): it was a port scan, or the check of a load balancer.
    pub fn received(&self) -> u64 {
        self.0.1.received()
    }

    /// The first bytes that the peer sent, at most 32: enough to recognise another protocol.
    pub fn first_bytes(&self) -> &[u8] {
        self.0.1.first()
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause().fmt(f)
    }
}

/// The source is what is below [`cause`](ProxyError::cause), whose message this one has. Messages include those of
/// their sources.
impl Error for ProxyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause().source()
    }
}
